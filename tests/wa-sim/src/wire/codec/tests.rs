//! Round trips, what Baileys makes of the same nodes, and hostile bytes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write as _;

use proptest::prelude::*;
use serde::Deserialize;

use super::{DecodeError, FLAG_ZLIB, INFLATED_BYTES_MAX, NODE_DEPTH_MAX, decode, encode, unpack};
use crate::wire::node::{Content, Node};

/// Made by `tests/baileys/vectors.mjs`.
const VECTORS: &str = include_str!("vectors.json");

#[derive(Deserialize)]
struct Vector {
    node: Plain,
    hex: String,
}

#[derive(Deserialize)]
struct Plain {
    tag: String,
    attrs: Vec<(String, String)>,
    children: Option<Vec<Plain>>,
    bytes: Option<String>,
}

impl From<Plain> for Node {
    fn from(plain: Plain) -> Self {
        let content = match (plain.children, plain.bytes) {
            (Some(children), _) => {
                Content::Children(children.into_iter().map(Node::from).collect())
            }
            (None, Some(bytes)) => Content::Bytes(hex::decode(bytes).unwrap()),
            (None, None) => Content::Empty,
        };
        Node {
            tag: plain.tag,
            attrs: plain.attrs,
            content,
        }
    }
}

fn vectors() -> impl Iterator<Item = (Node, Vec<u8>)> {
    let vectors: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
    vectors
        .into_iter()
        .map(|vector| (vector.node.into(), hex::decode(vector.hex).unwrap()))
}

#[test]
fn baileys_bytes_decode_to_the_same_nodes() {
    for (node, bytes) in vectors() {
        assert_eq!(decode(&bytes).unwrap(), node);
    }
}

#[test]
fn nodes_encode_to_the_same_bytes_as_baileys() {
    for (node, bytes) in vectors() {
        assert_eq!(hex::encode(encode(&node)), hex::encode(bytes), "{node:?}");
    }
}

#[test]
fn addresses_of_every_kind_become_text() {
    let decoded = |value: &[u8]| {
        // LIST_8 of 3: tag `iq` (25), name `to` (17), value.
        let mut bytes = vec![248, 3, 25, 17];
        bytes.extend_from_slice(value);
        decode(&bytes).map(|node| node.get("to").unwrap().to_owned())
    };
    let user = [255, 2, 0x12, 0x34];
    let with = |head: &[u8], tail: &[u8]| [head, &user, tail].concat();

    assert_eq!(decoded(&with(&[250], &[3])).unwrap(), "1234@s.whatsapp.net");
    assert_eq!(decoded(&[250, 0, 3]).unwrap(), "@s.whatsapp.net");
    assert_eq!(
        decoded(&with(&[247, 0, 0], &[])).unwrap(),
        "1234@s.whatsapp.net"
    );
    assert_eq!(decoded(&with(&[247, 1, 9], &[])).unwrap(), "1234:9@lid");
    assert_eq!(
        decoded(&with(&[247, 129, 9], &[])).unwrap(),
        "1234:9@hosted.lid"
    );
    assert_eq!(
        decoded(&with(&[246], b"\x01\x00\xfc\x04msgr")).unwrap(),
        "1234:256@msgr"
    );
    assert_eq!(
        decoded(&with(&[245], b"\x00\x02\x00\x05\xfc\x07interop")).unwrap(),
        "5-1234:2@interop",
    );
    assert!(matches!(
        decoded(&with(&[247, 7, 0], &[])),
        Err(DecodeError::BadAddress)
    ));
    assert!(matches!(
        decoded(&with(&[250], &[0])),
        Err(DecodeError::BadAddress)
    ));
    // An address in an address.
    assert!(matches!(
        decoded(&[250, 250, 0, 3, 3]),
        Err(DecodeError::UnknownToken(250))
    ));
}

#[test]
fn nesting_is_bounded() {
    let nested =
        |depth: usize| (1..depth).fold(Node::new("x"), |inner, _| Node::new("x").child(inner));
    assert!(decode(&encode(&nested(NODE_DEPTH_MAX))).is_ok());
    let too_deep = decode(&encode(&nested(NODE_DEPTH_MAX + 1)));
    assert!(matches!(too_deep, Err(DecodeError::TooDeep)));
}

#[test]
fn malformed_nodes_are_refused() {
    for (bytes, wanted) in [
        (&b""[..], "Truncated"),
        (&[0][..], "NoTag"),
        (&[248, 0][..], "NoTag"),
        (&[248, 1, 0][..], "NoTag"),
        (&[25, 25][..], "NotAList(25)"),
        (&[248, 1, 25, 7][..], "Trailing(1)"),
        (&[248, 1, 240][..], "UnknownToken(240)"),
        (&[248, 2, 25, 252, 9, 1][..], "Truncated"),
        (&[248, 1, 252, 1, 0xff][..], "NotText"),
        // 12 is no digit; an odd text whose last half is not 15.
        (&[248, 1, 255, 1, 0xc1][..], "BadDigit"),
        (&[248, 1, 255, 0x81, 0x12][..], "BadDigit"),
    ] {
        let error = decode(bytes).unwrap_err();
        assert_eq!(format!("{error:?}"), wanted);
    }
}

#[test]
fn compressed_frames_are_unpacked_up_to_a_limit() {
    let deflate = |bytes: &[u8]| {
        let mut encoder =
            flate2::write::ZlibEncoder::new(vec![FLAG_ZLIB], flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(&*unpack(b"\0plain").unwrap(), b"plain");
    assert_eq!(&*unpack(&deflate(b"packed")).unwrap(), b"packed");
    assert!(matches!(unpack(b""), Err(DecodeError::Truncated)));
    assert!(matches!(
        unpack(b"\x02nonsense"),
        Err(DecodeError::Inflate(_))
    ));
    let bomb = deflate(&vec![0; INFLATED_BYTES_MAX + 1]);
    assert!(matches!(unpack(&bomb), Err(DecodeError::TooBig)));
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{0,12}",
        "[0-9.-]{0,140}",
        "[0-9A-F]{0,140}",
        "\\PC{0,300}",
        (
            "[0-9]{0,15}",
            prop::option::of(any::<u16>()),
            "(s.whatsapp.net|lid|g.us|msgr|x)"
        )
            .prop_map(|(user, device, server)| match device {
                Some(device) => format!("{user}:{device}@{server}"),
                None => format!("{user}@{server}"),
            }),
        Just("read-self".to_owned()),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let bytes = prop::collection::vec(any::<u8>(), 0..600);
    let leaf = (
        "[a-z]{1,9}",
        prop::collection::vec((text(), text()), 0..4),
        prop::option::of(bytes),
    )
        .prop_map(|(tag, attrs, bytes)| Node {
            tag,
            attrs,
            content: bytes.map_or(Content::Empty, Content::Bytes),
        });
    leaf.prop_recursive(4, 40, 6, |inner| {
        (
            "[a-z]{1,9}",
            prop::collection::vec((text(), text()), 0..4),
            prop::collection::vec(inner, 0..6),
        )
            .prop_map(|(tag, attrs, children)| Node {
                tag,
                attrs,
                content: Content::Children(children),
            })
    })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(node in node()) {
        prop_assert_eq!(decode(&encode(&node)).unwrap(), node);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = unpack(&bytes).map(|node| decode(&node));
        let _ = decode(&[&[248, 4, 25][..], &bytes].concat());
    }
}
