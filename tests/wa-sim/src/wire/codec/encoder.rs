//! Nodes to bytes.
//!
//! Texts take the shortest form that clients read: a dictionary word, packed
//! digits, an address, else UTF-8. Content bytes are always written as they are.

use super::{AD_DOMAINS, tag};
use crate::wire::{
    jid::Jid,
    node::{Content, Node},
    tokens::{self, Token},
};

/// Packed texts are shorter than this.
const PACKED_CHARS_MAX: usize = 127;

/// Writes a node, without the flag byte.
///
/// # Panics
/// More than 32,766 attributes or 65,535 children: the server's own mistake.
pub fn encode(node: &Node) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write_node(&mut out, node);
    out
}

fn write_node(out: &mut Vec<u8>, node: &Node) {
    let has_content = !matches!(node.content, Content::Empty);
    write_list_start(out, 1 + 2 * node.attrs.len() + usize::from(has_content));
    write_text(out, &node.tag);
    for (name, value) in &node.attrs {
        write_text(out, name);
        write_text(out, value);
    }
    match &node.content {
        Content::Empty => {}
        Content::Bytes(bytes) => write_binary(out, bytes),
        Content::Children(children) => {
            write_list_start(out, children.len());
            for child in children {
                write_node(out, child);
            }
        }
    }
}

fn write_list_start(out: &mut Vec<u8>, size: usize) {
    match u16::try_from(size).expect("lists of the server are short") {
        0 => out.push(tag::LIST_EMPTY),
        size @ 1..=255 => out.extend([tag::LIST_8, size as u8]),
        size => {
            out.push(tag::LIST_16);
            out.extend(size.to_be_bytes());
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    if let Some(token) = tokens::token(text) {
        match token {
            Token::Single(index) => out.push(index),
            Token::Double(dictionary, index) => out.extend([tag::DICTIONARY_0 + dictionary, index]),
        }
    } else if let Some(digits) = digits_of(text, nibble) {
        write_packed(out, tag::NIBBLE_8, &digits);
    } else if let Some(digits) = digits_of(text, hex) {
        write_packed(out, tag::HEX_8, &digits);
    } else if !write_address(out, text) {
        write_binary(out, text.as_bytes());
    }
}

/// Writes a text as an address if it is exactly the text of one.
fn write_address(out: &mut Vec<u8>, text: &str) -> bool {
    let Ok(jid) = text.parse::<Jid>() else {
        return false;
    };
    // `1:0@lid` would come back as `1@lid`; a second `@` or `:` is no address.
    if jid.to_string() != text || jid.user.contains(['@', ':']) {
        return false;
    }
    if jid.device == 0 {
        out.push(tag::JID_PAIR);
        match jid.user.as_str() {
            "" => out.push(tag::LIST_EMPTY),
            user => write_text(out, user),
        }
        write_text(out, &jid.server);
        return true;
    }
    let domain = AD_DOMAINS.iter().find(|(_, server)| *server == jid.server);
    let (Some((domain, _)), Ok(device)) = (domain, u8::try_from(jid.device)) else {
        return false;
    };
    out.extend([tag::AD_JID, *domain, device]);
    write_text(out, &jid.user);
    true
}

fn write_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len())
        .expect("contents of the server are short")
        .to_be_bytes();
    match bytes.len() {
        0..=0xff => out.extend([tag::BINARY_8, length[3]]),
        0x100..=0xf_ffff => out.extend([tag::BINARY_20, length[1], length[2], length[3]]),
        _ => {
            out.push(tag::BINARY_32);
            out.extend(length);
        }
    }
    out.extend_from_slice(bytes);
}

fn write_packed(out: &mut Vec<u8>, tag: u8, digits: &[u8]) {
    let odd = digits.len() % 2 == 1;
    let head = digits.len().div_ceil(2) as u8;
    out.extend([tag, if odd { head | 0x80 } else { head }]);
    for pair in digits.chunks(2) {
        out.push(pair[0] << 4 | pair.get(1).copied().unwrap_or(15));
    }
}

/// The digits of a text all of whose characters are such.
fn digits_of(text: &str, digit: fn(u8) -> Option<u8>) -> Option<Vec<u8>> {
    if text.is_empty() || text.len() > PACKED_CHARS_MAX {
        return None;
    }
    text.bytes().map(digit).collect()
}

fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'-' => Some(10),
        b'.' => Some(11),
        _ => None,
    }
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
