//! An account's own proxy, as a client gives it.
//!
//! It is stored sealed, and shown without its credentials ever after.

use coordinator_lib::rng::Rng;
use session::DataKey;
use whatsapp::Proxy;

use super::problem::{Problem, ProblemKind};
use crate::model::account::{PROXY_PURPOSE, SealedProxy};

/// A proxy that can be used. Not `Debug`: its text may hold a password.
pub struct CheckedProxy {
    text: String,
    address: String,
}

impl CheckedProxy {
    /// Checks what a client gives.
    ///
    /// # Errors
    /// `invalid_body`; the text is not repeated.
    pub(super) fn new(text: &str) -> Result<Self, Problem> {
        let proxy: Proxy = text
            .trim()
            .parse()
            .map_err(|error: whatsapp::InvalidProxy| {
                Problem::new(ProblemKind::InvalidBody, format!("`proxy`: {error}"))
            })?;
        if whatsapp::assert_proxy_is_allowed(Some(&proxy)).is_err() {
            return Err(Problem::new(
                ProblemKind::InvalidBody,
                "`proxy`: this is a simulation build, which stays on this machine",
            ));
        }
        Ok(Self {
            text: text.trim().to_owned(),
            address: proxy.to_string(),
        })
    }

    /// As it is stored.
    pub(super) fn seal(&self, data_key: &DataKey, rng: &dyn Rng, account: &str) -> SealedProxy {
        SealedProxy {
            sealed: data_key
                .seal_secret(rng, account, PROXY_PURPOSE, self.text.as_bytes())
                .into(),
            address: self.address.clone(),
        }
    }
}
