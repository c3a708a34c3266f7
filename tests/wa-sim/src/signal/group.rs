//! Sender keys: one ciphertext for a whole group.
//!
//! A member draws a chain and a signing key, gives both to every other member's
//! devices over one-to-one sessions (a *distribution*), and encrypts each
//! message once. Whoever has left still has the chain: the others draw new ones.
//!
//! Senders are named by whatever text the owner likes; all is in memory.

use std::collections::{BTreeMap, HashMap, VecDeque};

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use prost::Message as _;
use proto::whatsapp::{SenderKeyDistributionMessage, SenderKeyMessage};
use rand::{CryptoRng, RngExt as _};
use sha2::Sha256;

use super::{SignalError, message::VERSION_BYTE, xeddsa};
use crate::keys::{KeyPair, typed, untyped};

/// Chains kept of one sender in one group; as in public implementations.
const CHAINS_MAX: usize = 5;

/// Messages that a chain may be ahead of what was read.
const AHEAD_MAX: u32 = 2_000;

const SIGNATURE_BYTES: usize = 64;

/// What anyone can read of a group's ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// Names the chain.
    pub chain: u32,
    /// Names the message key within it.
    pub iteration: u32,
}

/// One device's own chains, and those of others that it was given.
#[derive(Default)]
pub struct SenderKeys {
    own: HashMap<String, Own>,
    /// By group and sender, the newest first.
    others: HashMap<(String, String), VecDeque<Theirs>>,
}

struct Own {
    id: u32,
    chain: Chain,
    signing: KeyPair,
}

struct Theirs {
    id: u32,
    chain: Chain,
    /// Seeds of messages that were passed over, by iteration.
    skipped: BTreeMap<u32, [u8; 32]>,
    signing: [u8; 32],
}

#[derive(Clone)]
struct Chain {
    key: [u8; 32],
    iteration: u32,
}

impl SenderKeys {
    /// What the others need to read from here on; draws the key if there is none.
    pub fn distribution<R: CryptoRng + ?Sized>(&mut self, group: &str, rng: &mut R) -> Vec<u8> {
        let own = self.own.entry(group.to_owned()).or_insert_with(|| Own {
            id: rng.random_range(1..i32::MAX.unsigned_abs()),
            chain: Chain {
                key: rng.random(),
                iteration: 0,
            },
            signing: KeyPair::generate(rng),
        });
        with_version(&SenderKeyDistributionMessage {
            id: Some(own.id),
            iteration: Some(own.chain.iteration),
            chain_key: Some(own.chain.key.to_vec()),
            signing_key: Some(typed(own.signing.public()).to_vec()),
        })
    }

    /// Forgets the own key: the next message needs a new one, which whoever has
    /// left does not get.
    pub fn rotate(&mut self, group: &str) {
        self.own.remove(group);
    }

    /// Encrypts a padded plaintext.
    ///
    /// # Errors
    /// Nothing was distributed since the last rotation → [`SignalError::NoSession`].
    pub fn encrypt<R: CryptoRng + ?Sized>(
        &mut self,
        group: &str,
        padded: &[u8],
        rng: &mut R,
    ) -> Result<Vec<u8>, SignalError> {
        let own = self.own.get_mut(group).ok_or(SignalError::NoSession)?;
        let iteration = own.chain.iteration;
        let (key, iv) = message_key(&own.chain.advance());
        let ciphertext = cbc::Encryptor::<Aes256>::new(&key.into(), &iv.into())
            .encrypt_padded_vec::<Pkcs7>(padded);
        let mut bytes = with_version(&SenderKeyMessage {
            id: Some(own.id),
            iteration: Some(iteration),
            ciphertext: Some(ciphertext),
        });
        let signature = xeddsa::sign(&own.signing, &bytes, rng);
        bytes.extend(signature);
        Ok(bytes)
    }

    /// Takes a key that a sender gave.
    ///
    /// # Errors
    /// [`SignalError::Malformed`], [`SignalError::BadKey`].
    pub fn learn(
        &mut self,
        group: &str,
        sender: &str,
        distribution: &[u8],
    ) -> Result<(), SignalError> {
        let [VERSION_BYTE, rest @ ..] = distribution else {
            return Err(SignalError::Malformed);
        };
        let message =
            SenderKeyDistributionMessage::decode(rest).map_err(|_| SignalError::Malformed)?;
        let id = message.id.ok_or(SignalError::Malformed)?;
        let key = message.chain_key.ok_or(SignalError::Malformed)?;
        let signing = message.signing_key.ok_or(SignalError::Malformed)?;
        let theirs = Theirs {
            id,
            chain: Chain {
                key: key.try_into().map_err(|_| SignalError::BadKey)?,
                iteration: message.iteration.unwrap_or(0),
            },
            skipped: BTreeMap::new(),
            signing: untyped(&signing).ok_or(SignalError::BadKey)?,
        };
        let chains = self
            .others
            .entry((group.to_owned(), sender.to_owned()))
            .or_default();
        // The same chain, told again for a device that asked: what was read of it
        // stays read.
        if chains.iter().any(|known| known.id == id) {
            return Ok(());
        }
        chains.truncate(CHAINS_MAX - 1);
        chains.push_front(theirs);
        Ok(())
    }

    /// Decrypts a message of the group; the plaintext is still padded.
    ///
    /// # Errors
    /// Decrypted before → [`SignalError::Duplicate`]; the sender's key is not
    /// known → [`SignalError::NoSession`]; see [`SignalError`].
    pub fn decrypt(
        &mut self,
        group: &str,
        sender: &str,
        bytes: &[u8],
    ) -> Result<Vec<u8>, SignalError> {
        let (message, signed, signature) = parse(bytes)?;
        let (id, iteration) = (message.id, message.iteration.unwrap_or(0));
        let ciphertext = message.ciphertext.ok_or(SignalError::Malformed)?;
        let chain = self
            .others
            .get_mut(&(group.to_owned(), sender.to_owned()))
            .and_then(|chains| chains.iter_mut().find(|known| Some(known.id) == id))
            .ok_or(SignalError::NoSession)?;
        if !xeddsa::verify(&chain.signing, signed, signature) {
            return Err(SignalError::BadSignature);
        }
        let (key, iv) = message_key(&chain.seed(iteration)?);
        cbc::Decryptor::<Aes256>::new(&key.into(), &iv.into())
            .decrypt_padded_vec::<Pkcs7>(&ciphertext)
            .map_err(|_| SignalError::Malformed)
    }
}

/// Reads the outside of a group's ciphertext.
///
/// # Errors
/// [`SignalError::Malformed`]
pub fn group_header(bytes: &[u8]) -> Result<GroupHeader, SignalError> {
    let (message, ..) = parse(bytes)?;
    Ok(GroupHeader {
        chain: message.id.ok_or(SignalError::Malformed)?,
        iteration: message.iteration.unwrap_or(0),
    })
}

impl Chain {
    /// The seed of the next message's key.
    fn advance(&mut self) -> [u8; 32] {
        let seed = derive(&self.key, 1);
        self.key = derive(&self.key, 2);
        self.iteration += 1;
        seed
    }
}

impl Theirs {
    /// The seed of a message's key, once.
    fn seed(&mut self, iteration: u32) -> Result<[u8; 32], SignalError> {
        let Some(ahead) = iteration.checked_sub(self.chain.iteration) else {
            let seed = self.skipped.remove(&iteration);
            return seed.ok_or(SignalError::Duplicate(iteration));
        };
        if ahead > AHEAD_MAX || iteration == u32::MAX {
            return Err(SignalError::TooFarAhead(iteration));
        }
        while self.chain.iteration < iteration {
            let skipped = self.chain.iteration;
            self.skipped.insert(skipped, self.chain.advance());
            if self.skipped.len() > AHEAD_MAX as usize {
                self.skipped.pop_first();
            }
        }
        Ok(self.chain.advance())
    }
}

/// The message, what is signed of it, and the signature.
fn parse(bytes: &[u8]) -> Result<(SenderKeyMessage, &[u8], &[u8]), SignalError> {
    let at = bytes
        .len()
        .checked_sub(SIGNATURE_BYTES)
        .ok_or(SignalError::Malformed)?;
    let (signed, signature) = bytes.split_at(at);
    let [VERSION_BYTE, rest @ ..] = signed else {
        return Err(SignalError::Malformed);
    };
    let message = SenderKeyMessage::decode(rest).map_err(|_| SignalError::Malformed)?;
    Ok((message, signed, signature))
}

/// The key and the IV of one message.
fn message_key(seed: &[u8; 32]) -> ([u8; 32], [u8; 16]) {
    let mut bytes = [0; 48];
    Hkdf::<Sha256>::new(None, seed)
        .expand(b"WhisperGroup", &mut bytes)
        .expect("48 bytes are fewer than HKDF's limit");
    let (mut key, mut iv) = ([0; 32], [0; 16]);
    iv.copy_from_slice(&bytes[..16]);
    key.copy_from_slice(&bytes[16..]);
    (key, iv)
}

fn derive(key: &[u8; 32], what: u8) -> [u8; 32] {
    Hmac::<Sha256>::new_from_slice(key)
        .expect("HMAC takes keys of any length")
        .chain_update([what])
        .finalize()
        .into_bytes()
        .into()
}

fn with_version(message: &impl prost::Message) -> Vec<u8> {
    let mut bytes = vec![VERSION_BYTE];
    bytes.extend(message.encode_to_vec());
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    const GROUP: &str = "1@g.us";

    #[test]
    fn whoever_was_given_the_key_reads_in_any_order_and_once() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut ada, mut bob) = (SenderKeys::default(), SenderKeys::default());
        let distribution = ada.distribution(GROUP, &mut rng);
        bob.learn(GROUP, "ada", &distribution).unwrap();
        let messages: Vec<_> = ["one", "two", "three"]
            .map(|text| ada.encrypt(GROUP, text.as_bytes(), &mut rng).unwrap())
            .into();
        for (at, text) in [(2, "three"), (0, "one"), (1, "two")] {
            let plain = bob.decrypt(GROUP, "ada", &messages[at]).unwrap();
            assert_eq!(plain, text.as_bytes());
        }
        assert_eq!(
            bob.decrypt(GROUP, "ada", &messages[1]),
            Err(SignalError::Duplicate(1))
        );
        // Told once more, it is still read.
        bob.learn(GROUP, "ada", &distribution).unwrap();
        assert_eq!(
            bob.decrypt(GROUP, "ada", &messages[1]),
            Err(SignalError::Duplicate(1))
        );
        let header = group_header(&messages[2]).unwrap();
        assert_eq!(header.iteration, 2);
    }

    #[test]
    fn a_new_key_is_unreadable_with_the_old_one() {
        let mut rng = StdRng::seed_from_u64(2);
        let (mut ada, mut bob) = (SenderKeys::default(), SenderKeys::default());
        bob.learn(GROUP, "ada", &ada.distribution(GROUP, &mut rng))
            .unwrap();
        ada.rotate(GROUP);
        assert_eq!(
            ada.encrypt(GROUP, b"x", &mut rng),
            Err(SignalError::NoSession)
        );
        let next = ada.distribution(GROUP, &mut rng);
        let message = ada.encrypt(GROUP, b"x", &mut rng).unwrap();
        assert_eq!(
            bob.decrypt(GROUP, "ada", &message),
            Err(SignalError::NoSession)
        );
        bob.learn(GROUP, "ada", &next).unwrap();
        assert_eq!(bob.decrypt(GROUP, "ada", &message).unwrap(), b"x");
    }

    #[test]
    fn a_forged_message_is_refused() {
        let mut rng = StdRng::seed_from_u64(3);
        let (mut ada, mut bob) = (SenderKeys::default(), SenderKeys::default());
        bob.learn(GROUP, "ada", &ada.distribution(GROUP, &mut rng))
            .unwrap();
        let mut message = ada.encrypt(GROUP, b"x", &mut rng).unwrap();
        if let Some(last) = message.last_mut() {
            *last ^= 1;
        }
        assert_eq!(
            bob.decrypt(GROUP, "ada", &message),
            Err(SignalError::BadSignature)
        );
        assert_eq!(bob.decrypt(GROUP, "ada", b"x"), Err(SignalError::Malformed));
    }
}
