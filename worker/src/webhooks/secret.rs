//! The secret that a webhook's deliveries are signed with.
//!
//! The store has it sealed with a data key of the webhook's own, which is
//! wrapped for the cluster's key ring. It is shown when it is made and never
//! again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use coordinator_lib::rng::Rng;
use session::{DataKey, KeyRing, WrappedKeys};
use zeroize::Zeroizing;

/// What it is sealed for.
const PURPOSE: &str = "webhook_secret";

/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// Bytes of a secret that somebody chose.
const GIVEN_BYTES_MAX: usize = 256;

/// A secret in clear. Not `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// The stored secret does not open with this key ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the webhook's secret does not open with this worker's key ring; give it a new one")]
pub struct SecretUnreadable;

/// A text is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret has 1 to {GIVEN_BYTES_MAX} bytes")]
pub struct NotASecret;

impl Secret {
    /// One that somebody chose.
    ///
    /// # Errors
    /// [`NotASecret`].
    pub fn given(text: String) -> Result<Self, NotASecret> {
        match (1..=GIVEN_BYTES_MAX).contains(&text.len()) {
            true => Ok(Self(Zeroizing::new(text))),
            false => Err(NotASecret),
        }
    }

    /// A new one: `whsec_…`.
    pub fn generate(rng: &dyn Rng) -> Self {
        let mut random = Zeroizing::new([0_u8; SECRET_BYTES]);
        rng.fill(random.as_mut());
        let text = URL_SAFE_NO_PAD.encode(random.as_ref());
        Self(Zeroizing::new(format!("whsec_{text}")))
    }

    /// Seals it for a webhook.
    pub fn seal(&self, keys: &KeyRing, rng: &dyn Rng, webhook: &str) -> (WrappedKeys, Bytes) {
        let data_key = DataKey::generate(rng);
        let sealed = data_key.seal_secret(rng, webhook, PURPOSE, self.0.as_bytes());
        (keys.wrap(rng, &data_key, webhook), sealed.into())
    }

    /// Opens what was sealed for a webhook.
    ///
    /// # Errors
    /// [`SecretUnreadable`].
    pub fn open(
        keys: &KeyRing,
        webhook: &str,
        wrapped: &WrappedKeys,
        sealed: &[u8],
    ) -> Result<Self, SecretUnreadable> {
        let data_key = keys
            .unwrap(wrapped, webhook)
            .map_err(|_| SecretUnreadable)?;
        let plain = data_key
            .open_secret(webhook, PURPOSE, sealed)
            .map_err(|_| SecretUnreadable)?;
        let text = String::from_utf8(plain.to_vec()).map_err(|_| SecretUnreadable)?;
        Ok(Self(Zeroizing::new(text)))
    }

    /// In clear, to sign with or to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use coordinator_lib::rng::SeededRng;

    use super::*;

    #[test]
    fn a_secret_opens_for_its_webhook_only() {
        let rng = SeededRng::new(1);
        let keys = KeyRing::generate(&rng);
        let secret = Secret::generate(&rng);
        let (wrapped, sealed) = secret.seal(&keys, &rng, "whk_1");
        assert!(!sealed.windows(6).any(|part| part == b"whsec_"));
        let opened = Secret::open(&keys, "whk_1", &wrapped, &sealed);
        assert!(opened.is_ok_and(|opened| opened == secret));
        assert!(Secret::open(&keys, "whk_2", &wrapped, &sealed).is_err());
        let others = KeyRing::generate(&rng);
        assert!(Secret::open(&others, "whk_1", &wrapped, &sealed).is_err());
    }
}
