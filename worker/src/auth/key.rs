//! The form of a key: `lh_<id>_<secret>`, both in lower-case hex. The id is
//! eight random bytes and no secret; the secret is 32.

use coordinator_lib::rng::Rng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Lets scanners of source code find a key that got lost.
const PREFIX: &str = "lh_";

/// Random bytes of an id.
const ID_BYTES: usize = 8;

/// Random bytes of a secret: more than anybody can try.
const SECRET_BYTES: usize = 32;

/// A key as its owner has it.
pub struct ApiKey {
    id: String,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

/// What is stored of a key. A secret that nobody can guess needs no slow hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl ApiKey {
    /// A new one.
    pub fn generate(rng: &dyn Rng) -> Self {
        let mut id = [0; ID_BYTES];
        rng.fill(&mut id);
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        rng.fill(secret.as_mut());
        Self {
            id: hex::encode(id),
            secret,
        }
    }

    /// Reads one; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_id = id.len() == 2 * ID_BYTES
            && id
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        hex::decode_to_slice(secret, bytes.as_mut()).ok()?;
        is_id.then(|| Self {
            id: id.to_owned(),
            secret: bytes,
        })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is stored of it.
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.secret.as_slice()).into())
    }

    /// The key in full, to be shown once.
    pub fn expose(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(hex::encode(self.secret.as_slice()));
        Zeroizing::new(format!("{PREFIX}{}_{}", self.id, *secret))
    }
}

impl KeyHash {
    /// The stored one; `None` if it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// To be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is this key's, in a time that does not tell how much of it is.
    pub fn is_of(&self, key: &ApiKey) -> bool {
        self.0.ct_eq(&key.hash().0).into()
    }
}

// The secret stays out of logs.
impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use coordinator_lib::rng::SeededRng;

    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_shown() {
        let key = ApiKey::generate(&*SeededRng::shared(1));
        let shown = key.expose();
        let read = ApiKey::parse(&shown).unwrap();
        assert_eq!(read.id(), key.id());
        assert!(key.hash().is_of(&read));
        assert!(!format!("{key:?} {:?}", key.hash()).contains(&shown[20..]));
    }

    #[test]
    fn another_secret_is_not_it_wherever_it_differs() {
        let key = ApiKey::generate(&*SeededRng::shared(1));
        let shown = key.expose();
        for at in [20, 50, shown.len() - 1] {
            let other = if &shown[at..=at] == "0" { "1" } else { "0" };
            let mut changed = shown.to_string();
            changed.replace_range(at..=at, other);
            assert!(!key.hash().is_of(&ApiKey::parse(&changed).unwrap()));
        }
    }

    #[test]
    fn what_has_another_form_is_no_key() {
        let shown = ApiKey::generate(&*SeededRng::shared(1)).expose();
        for text in [
            "",
            "lh_",
            "lh__",
            &shown[3..],
            &shown[..shown.len() - 1],
            &format!("{}0", *shown),
            &shown.replace("lh_", "lh_/"),
            &shown.to_uppercase(),
        ] {
            assert!(ApiKey::parse(text).is_none(), "{text}");
        }
    }

    /// How long one comparison takes with so many equal first bytes, of many
    /// that are made one length after the other: the median.
    #[allow(clippy::disallowed_methods, reason = "it measures real time")]
    fn medians(key: &ApiKey, equal: &[usize]) -> Vec<u128> {
        const ROUNDS: usize = 2_001;
        const REPETITIONS: u32 = 200;
        let hashes: Vec<KeyHash> = equal
            .iter()
            .map(|equal| {
                let mut bytes = key.hash().0;
                bytes[*equal..].iter_mut().for_each(|byte| *byte = !*byte);
                KeyHash(bytes)
            })
            .collect();
        let mut times = vec![Vec::with_capacity(ROUNDS); equal.len()];
        for _ in 0..ROUNDS {
            // Interleaved: whatever disturbs the machine disturbs all alike.
            for (hash, times) in hashes.iter().zip(&mut times) {
                let began = std::time::Instant::now();
                for _ in 0..REPETITIONS {
                    std::hint::black_box(std::hint::black_box(hash).is_of(key));
                }
                times.push(began.elapsed().as_nanos());
            }
        }
        let middle = |mut times: Vec<u128>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        times.into_iter().map(middle).collect()
    }

    #[test]
    #[ignore = "measures time: `cargo nextest run --run-ignored only -E 'test(/equal_first_bytes/)'`"]
    fn the_time_of_a_comparison_does_not_tell_the_number_of_equal_first_bytes() {
        let key = ApiKey::generate(&*SeededRng::shared(1));
        let medians = medians(&key, &[0, 1, 8, 16, 24, 31, 32]);
        println!("{medians:?} ns for 200 comparisons");
        let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
        // One that stops at the first difference takes a multiple.
        assert!(most * 4 < least * 5, "{medians:?}");
    }
}
