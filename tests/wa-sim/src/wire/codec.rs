//! Binary nodes: the encoding inside decrypted frames.
//!
//! A decrypted frame is a flag byte, then one node, zlib-compressed when the
//! flag has [`FLAG_ZLIB`]. [`unpack`] takes the flag off, [`decode`] and
//! [`encode`] work without it; what the server sends is flag 0 and the node.
//!
//! Decoding is strict: an unknown token, a byte too much or a nonsensical
//! address is an error, since the clients under test should not send any. It is
//! bounded in depth and in size.

mod decoder;
mod encoder;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, io::Read};

pub use decoder::{DecodeError, decode};
pub use encoder::encode;

/// The flag's bit that says that the node is compressed.
pub const FLAG_ZLIB: u8 = 2;

/// Nodes in nodes. What clients send is below ten.
pub const NODE_DEPTH_MAX: usize = 64;

/// What a compressed frame may grow to.
pub const INFLATED_BYTES_MAX: usize = 16 << 20;

/// First bytes of a value that is not a single-byte word.
mod tag {
    pub(super) const LIST_EMPTY: u8 = 0;
    pub(super) const DICTIONARY_0: u8 = 236;
    pub(super) const DICTIONARY_3: u8 = 239;
    pub(super) const INTEROP_JID: u8 = 245;
    pub(super) const FB_JID: u8 = 246;
    pub(super) const AD_JID: u8 = 247;
    pub(super) const LIST_8: u8 = 248;
    pub(super) const LIST_16: u8 = 249;
    pub(super) const JID_PAIR: u8 = 250;
    pub(super) const HEX_8: u8 = 251;
    pub(super) const BINARY_8: u8 = 252;
    pub(super) const BINARY_20: u8 = 253;
    pub(super) const BINARY_32: u8 = 254;
    pub(super) const NIBBLE_8: u8 = 255;
}

/// The servers that a device address spells in one byte.
const AD_DOMAINS: [(u8, &str); 4] = [
    (0, super::jid::SERVER_PN),
    (1, super::jid::SERVER_LID),
    (128, "hosted"),
    (129, "hosted.lid"),
];

/// Takes the flag byte off a decrypted frame and decompresses the rest if it
/// says so.
///
/// # Errors
/// No byte at all → [`DecodeError::Truncated`]; broken compression →
/// [`DecodeError::Inflate`]; more than [`INFLATED_BYTES_MAX`] →
/// [`DecodeError::TooBig`].
pub fn unpack(frame: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let (flag, node) = frame.split_first().ok_or(DecodeError::Truncated)?;
    if flag & FLAG_ZLIB == 0 {
        return Ok(Cow::Borrowed(node));
    }
    let mut inflated = Vec::new();
    flate2::read::ZlibDecoder::new(node)
        .take(INFLATED_BYTES_MAX as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(DecodeError::Inflate)?;
    if inflated.len() > INFLATED_BYTES_MAX {
        return Err(DecodeError::TooBig);
    }
    Ok(Cow::Owned(inflated))
}
