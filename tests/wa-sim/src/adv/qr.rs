//! What is in a linking QR code.
//!
//! `ref,noise,identity,secret[,type[,…]]`, the keys in base64; newer clients
//! put a URL with a `#` before it, so that phones' cameras open WhatsApp.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// A device that wants to be linked.
#[derive(Clone, PartialEq, Eq)]
pub struct Qr {
    /// The server's reference for the connection that waits.
    pub ref_: String,
    /// The static Noise key with which it will log in.
    pub noise: [u8; 32],
    /// Its Signal identity.
    pub identity: [u8; 32],
    adv_secret: [u8; 32],
}

/// Why a text is no linking code. It does not repeat the text: that is a secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QrError {
    #[error("a linking code has at least four fields, this text {0}")]
    Fields(usize),
    #[error("the code's reference is empty")]
    NoRef,
    #[error("the code's {0} is not 32 bytes in base64")]
    BadKey(&'static str),
}

impl Qr {
    /// What a code would have said, where it was agreed on otherwise.
    pub(super) fn new(
        ref_: String,
        noise: [u8; 32],
        identity: [u8; 32],
        adv_secret: [u8; 32],
    ) -> Self {
        Self {
            ref_,
            noise,
            identity,
            adv_secret,
        }
    }

    /// What only the device and who saw its screen know.
    pub(super) fn adv_secret(&self) -> &[u8] {
        &self.adv_secret
    }
}

/// Reads the text of a linking QR code.
///
/// # Errors
/// See [`QrError`].
pub fn parse_qr(text: &str) -> Result<Qr, QrError> {
    let code = text.rsplit_once('#').map_or(text, |(_, code)| code);
    let fields: Vec<_> = code.trim().split(',').collect();
    let [ref_, noise, identity, adv_secret, ..] = fields[..] else {
        return Err(QrError::Fields(fields.len()));
    };
    if ref_.is_empty() {
        return Err(QrError::NoRef);
    }
    Ok(Qr {
        ref_: ref_.to_owned(),
        noise: key(noise, "Noise key")?,
        identity: key(identity, "identity key")?,
        adv_secret: key(adv_secret, "secret")?,
    })
}

fn key(text: &str, what: &'static str) -> Result<[u8; 32], QrError> {
    BASE64_STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(QrError::BadKey(what))
}

impl fmt::Debug for Qr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Qr")
    }
}
