//! Bytes to nodes.

use super::{AD_DOMAINS, NODE_DEPTH_MAX, tag};
use crate::wire::{
    node::{Content, Node},
    tokens::{self, Token},
};

/// Why bytes are no node.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the node ends before its end")]
    Truncated,
    #[error("{0} bytes after the node")]
    Trailing(usize),
    #[error("unknown token {0}")]
    UnknownToken(u8),
    #[error("token {0} where a list must begin")]
    NotAList(u8),
    #[error("a node without a tag")]
    NoTag,
    #[error("nodes are nested more than {NODE_DEPTH_MAX} deep")]
    TooDeep,
    #[error("a text is not UTF-8")]
    NotText,
    #[error("a packed text has a digit that does not exist")]
    BadDigit,
    #[error("an address that cannot be")]
    BadAddress,
    #[error("the compressed node does not decompress")]
    Inflate(#[source] std::io::Error),
    #[error("the node is too big")]
    TooBig,
}

/// Reads one node, which must be all there is (without the flag byte).
///
/// Addresses become text (`user:device@server`); a text as content becomes
/// bytes.
///
/// # Errors
/// Anything but exactly one well-formed node; see [`DecodeError`].
pub fn decode(bytes: &[u8]) -> Result<Node, DecodeError> {
    let mut decoder = Decoder { rest: bytes };
    let node = decoder.node(0)?;
    match decoder.rest.len() {
        0 => Ok(node),
        left => Err(DecodeError::Trailing(left)),
    }
}

struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn node(&mut self, depth: usize) -> Result<Node, DecodeError> {
        if depth == NODE_DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        let first = self.byte()?;
        // The tag, two for each attribute, one for the content if any.
        let parts = self.list_size(first)?;
        if parts == 0 {
            return Err(DecodeError::NoTag);
        }
        let mut node = Node::new(self.text()?);
        if node.tag.is_empty() {
            return Err(DecodeError::NoTag);
        }
        for _ in 0..(parts - 1) / 2 {
            let attribute = (self.text()?, self.text()?);
            node.attrs.push(attribute);
        }
        if parts % 2 == 0 {
            node.content = self.content(depth)?;
        }
        Ok(node)
    }

    fn content(&mut self, depth: usize) -> Result<Content, DecodeError> {
        let first = self.byte()?;
        match first {
            tag::LIST_EMPTY | tag::LIST_8 | tag::LIST_16 => {
                let size = self.list_size(first)?;
                // Not reserved ahead: the size is only the sender's word.
                let mut children = Vec::new();
                for _ in 0..size {
                    children.push(self.node(depth + 1)?);
                }
                Ok(Content::Children(children))
            }
            tag::BINARY_8 | tag::BINARY_20 | tag::BINARY_32 => {
                Ok(Content::Bytes(self.binary(first)?.to_vec()))
            }
            other => Ok(Content::Bytes(self.text_from(other)?.into_bytes())),
        }
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let first = self.byte()?;
        self.text_from(first)
    }

    fn text_from(&mut self, first: u8) -> Result<String, DecodeError> {
        match first {
            tag::JID_PAIR => self.jid_pair(),
            tag::AD_JID => self.ad_jid(),
            tag::FB_JID => self.fb_jid(),
            tag::INTEROP_JID => self.interop_jid(),
            other => self.word_from(other),
        }
    }

    /// A text that is no address: the parts of an address are such, so that
    /// addresses do not nest.
    fn word(&mut self) -> Result<String, DecodeError> {
        let first = self.byte()?;
        self.word_from(first)
    }

    fn word_from(&mut self, first: u8) -> Result<String, DecodeError> {
        match first {
            tag::LIST_EMPTY => Ok(String::new()),
            tag::BINARY_8 | tag::BINARY_20 | tag::BINARY_32 => {
                let bytes = self.binary(first)?;
                let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::NotText)?;
                Ok(text.to_owned())
            }
            tag::NIBBLE_8 => self.packed(|digit| match digit {
                0..=9 => Some(char::from(b'0' + digit)),
                10 => Some('-'),
                11 => Some('.'),
                _ => None,
            }),
            tag::HEX_8 => self.packed(|digit| match digit {
                0..=9 => Some(char::from(b'0' + digit)),
                10..=15 => Some(char::from(b'A' + digit - 10)),
                _ => None,
            }),
            tag::DICTIONARY_0..=tag::DICTIONARY_3 => {
                let token = Token::Double(first - tag::DICTIONARY_0, self.byte()?);
                known_word(token, first)
            }
            single => known_word(Token::Single(single), single),
        }
    }

    fn jid_pair(&mut self) -> Result<String, DecodeError> {
        let user = self.word()?;
        let server = self.word()?;
        if server.is_empty() {
            return Err(DecodeError::BadAddress);
        }
        Ok(format!("{user}@{server}"))
    }

    fn ad_jid(&mut self) -> Result<String, DecodeError> {
        let domain = self.byte()?;
        let device = self.byte()?;
        let user = self.word()?;
        let (_, server) = AD_DOMAINS
            .iter()
            .find(|(byte, _)| *byte == domain)
            .ok_or(DecodeError::BadAddress)?;
        Ok(device_address(&user, u16::from(device), server))
    }

    fn fb_jid(&mut self) -> Result<String, DecodeError> {
        let user = self.word()?;
        let device = self.u16()?;
        let server = self.word()?;
        Ok(device_address(&user, device, &server))
    }

    fn interop_jid(&mut self) -> Result<String, DecodeError> {
        let user = self.word()?;
        let device = self.u16()?;
        let integrator = self.u16()?;
        let server = self.word()?;
        let user = format!("{integrator}-{user}");
        Ok(device_address(&user, device, &server))
    }

    /// Two digits a byte; the first byte counts the bytes and its highest bit
    /// says that the last half does not count.
    fn packed(&mut self, digit: fn(u8) -> Option<char>) -> Result<String, DecodeError> {
        let head = self.byte()?;
        let bytes = self.bytes(usize::from(head & 0x7f))?;
        let mut halves: Vec<u8> = bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .collect();
        if head & 0x80 != 0 && halves.pop() != Some(15) {
            return Err(DecodeError::BadDigit);
        }
        halves
            .into_iter()
            .map(|half| digit(half).ok_or(DecodeError::BadDigit))
            .collect()
    }

    fn list_size(&mut self, first: u8) -> Result<usize, DecodeError> {
        match first {
            tag::LIST_EMPTY => Ok(0),
            tag::LIST_8 => Ok(usize::from(self.byte()?)),
            tag::LIST_16 => Ok(usize::from(self.u16()?)),
            other => Err(DecodeError::NotAList(other)),
        }
    }

    fn binary(&mut self, first: u8) -> Result<&'a [u8], DecodeError> {
        let length_bytes = match first {
            tag::BINARY_8 => 1,
            tag::BINARY_20 => 3,
            tag::BINARY_32 => 4,
            other => return Err(DecodeError::UnknownToken(other)),
        };
        let length = self
            .bytes(length_bytes)?
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        // Of the 24 bits of BINARY_20, the upper four say nothing.
        let length = if first == tag::BINARY_20 {
            length & 0xf_ffff
        } else {
            length
        };
        self.bytes(length)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from(self.byte()?) << 8 | u16::from(self.byte()?))
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }
}

fn known_word(token: Token, first: u8) -> Result<String, DecodeError> {
    tokens::word(token)
        .map(str::to_owned)
        .ok_or(DecodeError::UnknownToken(first))
}

fn device_address(user: &str, device: u16, server: &str) -> String {
    match device {
        0 => format!("{user}@{server}"),
        device => format!("{user}:{device}@{server}"),
    }
}
