//! A person's sign-in at the dashboard: what their browser keeps in the place of
//! an API key.
//!
//! It names the key and says until when it is good, and the cluster's key ring
//! vouches for it. No worker remembers it, so all of them accept it; the key
//! itself is looked up for each request, so that a sign-in ends with its key.

use chrono::{DateTime, Utc};
use session::KeyRing;

/// What the key ring vouches for it as.
const PURPOSE: &str = "dashboard sign-in";

/// The form of the text below.
const VERSION: &str = "1";

/// Longer than any that was made here.
const TEXT_LENGTH_MAX: usize = 256;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// The key that it stands for.
    pub key_id: String,
    /// When it ends, in whole seconds.
    pub until: DateTime<Utc>,
}

/// Why a text is no sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// It was not made by this cluster, or was altered.
    #[error("not a sign-in of this cluster")]
    Unreadable,
    /// It was one.
    #[error("the sign-in has ended")]
    Ended,
}

impl SignIn {
    /// The text for the browser: version, key, end and voucher, with dots
    /// between them.
    pub fn to_text(&self, keys: &KeyRing) -> String {
        let claims = format!("{VERSION}.{}.{}", self.key_id, self.until.timestamp());
        let voucher = keys.vouch(PURPOSE, &claims);
        format!("{claims}.{voucher}")
    }

    /// Reads one that is good at `now`.
    ///
    /// # Errors
    /// [`SignInError`].
    pub fn from_text(text: &str, keys: &KeyRing, now: DateTime<Utc>) -> Result<Self, SignInError> {
        if text.len() > TEXT_LENGTH_MAX {
            return Err(SignInError::Unreadable);
        }
        let mut parts = text.splitn(4, '.');
        let (Some(version), Some(key_id), Some(until), Some(voucher)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SignInError::Unreadable);
        };
        let claims = format!("{version}.{key_id}.{until}");
        if version != VERSION || !keys.is_vouched(PURPOSE, &claims, voucher) {
            return Err(SignInError::Unreadable);
        }
        let until = until.parse().ok();
        let until = until.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let until = until.ok_or(SignInError::Unreadable)?;
        match now < until {
            true => Ok(Self {
                key_id: key_id.to_owned(),
                until,
            }),
            false => Err(SignInError::Ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use coordinator_lib::rng::SeededRng;

    use super::*;

    fn sign_in() -> SignIn {
        SignIn {
            key_id: "0123456789abcdef".to_owned(),
            until: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        }
    }

    #[test]
    fn it_is_read_as_it_was_written_until_its_end() {
        let keys = KeyRing::generate(&*SeededRng::shared(1));
        let text = sign_in().to_text(&keys);
        let at = |seconds| sign_in().until + TimeDelta::seconds(seconds);
        assert_eq!(SignIn::from_text(&text, &keys, at(-1)), Ok(sign_in()));
        assert_eq!(
            SignIn::from_text(&text, &keys, at(0)),
            Err(SignInError::Ended)
        );
    }

    #[test]
    fn nobody_makes_or_alters_one() {
        let keys = KeyRing::generate(&*SeededRng::shared(1));
        let strangers = KeyRing::generate(&*SeededRng::shared(2));
        let text = sign_in().to_text(&keys);
        let now = sign_in().until - TimeDelta::seconds(1);
        for altered in [
            String::new(),
            "1.2".to_owned(),
            text.replacen("1.", "2.", 1),
            text.replacen("0123", "0124", 1),
            text.replacen("1800000000", "1900000000", 1),
            format!("{text}0"),
            "x".repeat(10_000),
            sign_in().to_text(&strangers),
        ] {
            assert_eq!(
                SignIn::from_text(&altered, &keys, now),
                Err(SignInError::Unreadable),
                "{altered}"
            );
        }
    }
}
