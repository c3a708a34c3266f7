//! Signal's wire messages: what is on the outside of a ciphertext.
//!
//! A message is the version byte, a protobuf and, unless it wraps another, the
//! first 8 bytes of a MAC. Everything but the innermost ciphertext is readable
//! without keys, which is how the oracle sees counters.

use std::{fmt, str::FromStr};

use prost::Message as _;
use proto::whatsapp::{PreKeySignalMessage, SignalMessage};

use super::SignalError;
use crate::keys::{typed, untyped};

/// Current and oldest supported version, four bits each.
pub(super) const VERSION_BYTE: u8 = 0x33;
pub(super) const MAC_BYTES: usize = 8;

/// The two kinds of one-to-one ciphertext, named as in `<enc type>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CiphertextKind {
    /// `pkmsg`: carries what the receiver needs to begin the session.
    PreKeyMsg,
    /// `msg`: within a session that both sides have.
    Msg,
}

impl CiphertextKind {
    /// The value of `<enc type>`.
    pub fn as_str(self) -> &'static str {
        match self {
            CiphertextKind::PreKeyMsg => "pkmsg",
            CiphertextKind::Msg => "msg",
        }
    }
}

impl fmt::Display for CiphertextKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CiphertextKind {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        match text {
            "pkmsg" => Ok(CiphertextKind::PreKeyMsg),
            "msg" => Ok(CiphertextKind::Msg),
            _ => Err(SignalError::Malformed),
        }
    }
}

/// What anyone can read of a ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CiphertextHeader {
    /// With `counter`, names the message key: the pair must never come twice
    /// with different contents.
    pub ratchet_key: [u8; 32],
    pub counter: u32,
    pub previous_counter: u32,
    /// Only of [`CiphertextKind::PreKeyMsg`].
    pub prekey: Option<PreKeyHeader>,
}

/// How a session begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreKeyHeader {
    /// The sender's.
    pub registration_id: u32,
    /// The receiver's one-time prekey, if the sender got one.
    pub prekey_id: Option<u32>,
    /// The receiver's.
    pub signed_prekey_id: u32,
    /// The sender's, drawn for this session: it names the session.
    pub base_key: [u8; 32],
    /// The sender's.
    pub identity_key: [u8; 32],
}

/// Reads the outside of a ciphertext.
///
/// # Errors
/// [`SignalError::Malformed`], [`SignalError::BadKey`].
pub fn header(kind: CiphertextKind, bytes: &[u8]) -> Result<CiphertextHeader, SignalError> {
    match kind {
        CiphertextKind::Msg => Ok(Parsed::new(bytes)?.header(None)),
        CiphertextKind::PreKeyMsg => {
            let (prekey, inner) = parse_prekey(bytes)?;
            Ok(Parsed::new(&inner)?.header(Some(prekey)))
        }
    }
}

/// A `SignalMessage` and the bytes that its MAC is over.
pub(super) struct Parsed<'a> {
    pub(super) ratchet_key: [u8; 32],
    pub(super) counter: u32,
    previous_counter: u32,
    pub(super) ciphertext: Vec<u8>,
    /// Version byte and protobuf.
    pub(super) signed: &'a [u8],
    pub(super) mac: &'a [u8],
}

impl<'a> Parsed<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, SignalError> {
        let at = bytes
            .len()
            .checked_sub(MAC_BYTES)
            .ok_or(SignalError::Malformed)?;
        let (signed, mac) = bytes.split_at(at);
        let message =
            SignalMessage::decode(without_version(signed)?).map_err(|_| SignalError::Malformed)?;
        Ok(Self {
            ratchet_key: key(message.ratchet_key.as_deref())?,
            counter: message.counter.ok_or(SignalError::Malformed)?,
            previous_counter: message.previous_counter.unwrap_or(0),
            ciphertext: message.ciphertext.ok_or(SignalError::Malformed)?,
            signed,
            mac,
        })
    }

    fn header(self, prekey: Option<PreKeyHeader>) -> CiphertextHeader {
        CiphertextHeader {
            ratchet_key: self.ratchet_key,
            counter: self.counter,
            previous_counter: self.previous_counter,
            prekey,
        }
    }
}

/// A `PreKeySignalMessage`'s own part, and the message in it.
pub(super) fn parse_prekey(bytes: &[u8]) -> Result<(PreKeyHeader, Vec<u8>), SignalError> {
    let message =
        PreKeySignalMessage::decode(without_version(bytes)?).map_err(|_| SignalError::Malformed)?;
    let header = PreKeyHeader {
        registration_id: message.registration_id.ok_or(SignalError::Malformed)?,
        prekey_id: message.pre_key_id,
        signed_prekey_id: message.signed_pre_key_id.ok_or(SignalError::Malformed)?,
        base_key: key(message.base_key.as_deref())?,
        identity_key: key(message.identity_key.as_deref())?,
    };
    Ok((header, message.message.ok_or(SignalError::Malformed)?))
}

/// Wraps a message of a session that the receiver may not have yet.
pub(super) fn encode_prekey(header: &PreKeyHeader, inner: Vec<u8>) -> Vec<u8> {
    with_version(&PreKeySignalMessage {
        pre_key_id: header.prekey_id,
        base_key: Some(typed(&header.base_key).to_vec()),
        identity_key: Some(typed(&header.identity_key).to_vec()),
        message: Some(inner),
        registration_id: Some(header.registration_id),
        signed_pre_key_id: Some(header.signed_prekey_id),
    })
}

/// A message up to its MAC.
pub(super) fn encode(
    ratchet_key: &[u8; 32],
    counter: u32,
    previous_counter: u32,
    ciphertext: Vec<u8>,
) -> Vec<u8> {
    with_version(&SignalMessage {
        ratchet_key: Some(typed(ratchet_key).to_vec()),
        counter: Some(counter),
        previous_counter: Some(previous_counter),
        ciphertext: Some(ciphertext),
    })
}

fn with_version(message: &impl prost::Message) -> Vec<u8> {
    let mut bytes = vec![VERSION_BYTE];
    bytes.extend(message.encode_to_vec());
    bytes
}

fn without_version(bytes: &[u8]) -> Result<&[u8], SignalError> {
    match bytes {
        [VERSION_BYTE, rest @ ..] => Ok(rest),
        _ => Err(SignalError::Malformed),
    }
}

fn key(bytes: Option<&[u8]>) -> Result<[u8; 32], SignalError> {
    untyped(bytes.ok_or(SignalError::Malformed)?).ok_or(SignalError::BadKey)
}
