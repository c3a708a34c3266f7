//! The double ratchet: one session of two devices.
//!
//! After Signal's specification. A session is a value: decrypting works on a
//! copy that takes the original's place only if the message was genuine, so
//! that forged or repeated messages change nothing.

use std::collections::{BTreeMap, VecDeque};

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use rand::CryptoRng;
use sha2::Sha256;

use super::{
    SignalError,
    message::{self, MAC_BYTES, Parsed},
};
use crate::keys::{KeyPair, typed};

/// How far ahead in a chain a message may be, and how many keys of skipped
/// messages a chain keeps; as in public implementations.
pub const SKIPPED_KEYS_MAX: usize = 2_000;

/// Receiving chains kept for stragglers; as in public implementations.
pub const RECEIVING_CHAINS_MAX: usize = 5;

/// One side of a session.
#[derive(Clone)]
pub(super) struct Session {
    our_identity: [u8; 32],
    their_identity: [u8; 32],
    root: [u8; 32],
    ratchet: KeyPair,
    /// None until there is a ratchet key to send to.
    sending: Option<Chain>,
    /// Messages sent on the chain before, less one.
    previous_counter: u32,
    /// Newest first.
    receiving: VecDeque<Receiving>,
}

#[derive(Clone)]
struct Chain {
    key: [u8; 32],
    /// Of the next message.
    counter: u32,
}

#[derive(Clone)]
struct Receiving {
    ratchet_key: [u8; 32],
    chain: Chain,
    /// Seeds of message keys that were skipped, by counter.
    skipped: BTreeMap<u32, [u8; 32]>,
}

impl Session {
    /// The side that begins, with the other's signed prekey.
    ///
    /// # Errors
    /// A degenerate signed prekey → [`SignalError::BadKey`].
    pub(super) fn initiate<R: CryptoRng + ?Sized>(
        root: [u8; 32],
        our_identity: [u8; 32],
        their_identity: [u8; 32],
        signed_prekey: &[u8; 32],
        rng: &mut R,
    ) -> Result<Self, SignalError> {
        let mut session = Self {
            our_identity,
            their_identity,
            root,
            ratchet: KeyPair::generate(rng),
            sending: None,
            previous_counter: 0,
            receiving: VecDeque::new(),
        };
        session.sending = Some(session.step(signed_prekey)?);
        Ok(session)
    }

    /// The side that was written to, with its signed prekey.
    pub(super) fn respond(
        root: [u8; 32],
        our_identity: [u8; 32],
        their_identity: [u8; 32],
        signed_prekey: KeyPair,
    ) -> Self {
        Self {
            our_identity,
            their_identity,
            root,
            ratchet: signed_prekey,
            sending: None,
            previous_counter: 0,
            receiving: VecDeque::new(),
        }
    }

    pub(super) fn their_identity(&self) -> &[u8; 32] {
        &self.their_identity
    }

    /// # Errors
    /// Written to and nothing read yet → [`SignalError::NoSession`].
    pub(super) fn encrypt(&mut self, plain: &[u8]) -> Result<Vec<u8>, SignalError> {
        let chain = self.sending.as_mut().ok_or(SignalError::NoSession)?;
        let counter = chain.counter;
        let keys = MessageKeys::new(&chain.advance());
        let mut message = message::encode(
            self.ratchet.public(),
            counter,
            self.previous_counter,
            keys.encrypt(plain),
        );
        let mac = keys.mac(&self.our_identity, &self.their_identity, &message);
        message.extend(mac.finalize().into_bytes().iter().take(MAC_BYTES));
        Ok(message)
    }

    /// # Errors
    /// [`SignalError::BadMac`] if the message is not of this session; further
    /// [`SignalError::Duplicate`] and [`SignalError::TooFarAhead`]. The session
    /// is then as it was.
    pub(super) fn decrypt<R: CryptoRng + ?Sized>(
        &mut self,
        bytes: &[u8],
        rng: &mut R,
    ) -> Result<Vec<u8>, SignalError> {
        let message = Parsed::new(bytes)?;
        let mut session = self.clone();
        let seed = session
            .receiving_chain(&message.ratchet_key, rng)?
            .seed(message.counter)?;
        let keys = MessageKeys::new(&seed);
        keys.mac(&self.their_identity, &self.our_identity, message.signed)
            .verify_truncated_left(message.mac)
            .map_err(|_| SignalError::BadMac)?;
        let plain = keys.decrypt(&message.ciphertext)?;
        *self = session;
        Ok(plain)
    }

    /// The chain of that ratchet key; a key not seen before turns the ratchet.
    fn receiving_chain<R: CryptoRng + ?Sized>(
        &mut self,
        theirs: &[u8; 32],
        rng: &mut R,
    ) -> Result<&mut Receiving, SignalError> {
        let known = self
            .receiving
            .iter()
            .position(|chain| chain.ratchet_key == *theirs);
        if let Some(known) = known {
            return Ok(&mut self.receiving[known]);
        }
        let chain = self.step(theirs)?;
        let sent = self.sending.as_ref().map_or(0, |chain| chain.counter);
        self.previous_counter = sent.saturating_sub(1);
        self.ratchet = KeyPair::generate(rng);
        self.sending = Some(self.step(theirs)?);
        self.receiving.truncate(RECEIVING_CHAINS_MAX - 1);
        self.receiving.push_front(Receiving {
            ratchet_key: *theirs,
            chain,
            skipped: BTreeMap::new(),
        });
        Ok(&mut self.receiving[0])
    }

    /// Mixes our ratchet key's agreement with theirs into the root: a new chain.
    fn step(&mut self, theirs: &[u8; 32]) -> Result<Chain, SignalError> {
        let secret = self.ratchet.agree(theirs).ok_or(SignalError::BadKey)?;
        let mut keys = [0; 64];
        Hkdf::<Sha256>::new(Some(&self.root), &secret)
            .expand(b"WhisperRatchet", &mut keys)
            .expect("64 bytes are fewer than HKDF's limit");
        self.root.copy_from_slice(&keys[..32]);
        let mut chain = Chain {
            key: [0; 32],
            counter: 0,
        };
        chain.key.copy_from_slice(&keys[32..]);
        Ok(chain)
    }
}

impl Chain {
    /// The seed of the next message's keys.
    fn advance(&mut self) -> [u8; 32] {
        let seed = hmac(&self.key)
            .chain_update([1])
            .finalize()
            .into_bytes()
            .into();
        self.key = hmac(&self.key)
            .chain_update([2])
            .finalize()
            .into_bytes()
            .into();
        self.counter += 1;
        seed
    }
}

impl Receiving {
    /// The seed of a message's keys, once.
    fn seed(&mut self, counter: u32) -> Result<[u8; 32], SignalError> {
        let Some(ahead) = counter.checked_sub(self.chain.counter) else {
            return self
                .skipped
                .remove(&counter)
                .ok_or(SignalError::Duplicate(counter));
        };
        // The last counter would overflow the next.
        if ahead as usize > SKIPPED_KEYS_MAX || counter == u32::MAX {
            return Err(SignalError::TooFarAhead(counter));
        }
        while self.chain.counter < counter {
            let skipped = self.chain.counter;
            self.skipped.insert(skipped, self.chain.advance());
            if self.skipped.len() > SKIPPED_KEYS_MAX {
                self.skipped.pop_first();
            }
        }
        Ok(self.chain.advance())
    }
}

/// The keys of one message.
struct MessageKeys {
    cipher: [u8; 32],
    mac: [u8; 32],
    iv: [u8; 16],
}

impl MessageKeys {
    fn new(seed: &[u8; 32]) -> Self {
        let mut bytes = [0; 80];
        Hkdf::<Sha256>::new(None, seed)
            .expand(b"WhisperMessageKeys", &mut bytes)
            .expect("80 bytes are fewer than HKDF's limit");
        let mut keys = Self {
            cipher: [0; 32],
            mac: [0; 32],
            iv: [0; 16],
        };
        keys.cipher.copy_from_slice(&bytes[..32]);
        keys.mac.copy_from_slice(&bytes[32..64]);
        keys.iv.copy_from_slice(&bytes[64..]);
        keys
    }

    fn encrypt(&self, plain: &[u8]) -> Vec<u8> {
        cbc::Encryptor::<Aes256>::new(&self.cipher.into(), &self.iv.into())
            .encrypt_padded_vec::<Pkcs7>(plain)
    }

    fn decrypt(&self, ciphertext: &[u8]) -> Result<Vec<u8>, SignalError> {
        cbc::Decryptor::<Aes256>::new(&self.cipher.into(), &self.iv.into())
            .decrypt_padded_vec::<Pkcs7>(ciphertext)
            .map_err(|_| SignalError::Malformed)
    }

    /// Over both identities and the message with its version byte.
    fn mac(&self, sender: &[u8; 32], receiver: &[u8; 32], message: &[u8]) -> Hmac<Sha256> {
        hmac(&self.mac)
            .chain_update(typed(sender))
            .chain_update(typed(receiver))
            .chain_update(message)
    }
}

fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}
