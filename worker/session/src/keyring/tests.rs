use bytes::Bytes;
use coordinator_lib::rng::SeededRng;
use coordinator_lib::store::{Value, from_fields, to_fields};

use super::*;

const ACCOUNT: &str = "account_1";

/// A ring of the given keys; the first is the active one.
fn ring_of(parts: &[&KeyRing]) -> KeyRing {
    KeyRing {
        keys: parts.iter().flat_map(|ring| ring.keys.clone()).collect(),
        active: parts[0].active.clone(),
    }
}

fn same_key(left: &DataKey, right: &DataKey) -> bool {
    left.root() == right.root()
}

#[test]
fn a_wrapped_key_opens_with_any_key_of_the_ring_that_wrapped_it() {
    let rng = SeededRng::new(1);
    let (old, new) = (KeyRing::generate(&rng), KeyRing::generate(&rng));
    let data_key = DataKey::generate(&rng);
    let wrapped = ring_of(&[&new, &old]).wrap(&rng, &data_key, ACCOUNT);
    assert_eq!(wrapped.recipients().len(), 2);
    for ring in [&old, &new] {
        assert!(same_key(
            &ring.unwrap(&wrapped, ACCOUNT).unwrap(),
            &data_key
        ));
    }
}

#[test]
fn a_wrong_ring_is_told_which_key_it_lacks() {
    let rng = SeededRng::new(1);
    let (owner, stranger) = (KeyRing::generate(&rng), KeyRing::generate(&rng));
    let wrapped = owner.wrap(&rng, &DataKey::generate(&rng), ACCOUNT);
    let error = stranger.unwrap(&wrapped, ACCOUNT).unwrap_err();
    assert_eq!(
        error,
        UnwrapError::MissingKey {
            account: ACCOUNT.to_owned(),
            wanted: owner.fingerprints(),
            held: stranger.fingerprints(),
        }
    );
    assert!(
        error.to_string().contains(owner.active().as_str()),
        "{error}"
    );
}

#[test]
fn wrapped_keys_of_another_account_or_altered_ones_are_refused() {
    let rng = SeededRng::new(1);
    let ring = KeyRing::generate(&rng);
    let wrapped = ring.wrap(&rng, &DataKey::generate(&rng), ACCOUNT);
    let altered = UnwrapError::Altered {
        account: "account_2".to_owned(),
        recipient: ring.active().clone(),
    };
    assert_eq!(ring.unwrap(&wrapped, "account_2").unwrap_err(), altered);

    let entry = wrapped.iter().next().unwrap().clone();
    let flipped = |bytes: &Bytes, index: usize| {
        let mut bytes = bytes.to_vec();
        bytes[index] ^= 1;
        Bytes::from(bytes)
    };
    let broken = [
        WrappedKey {
            sealed: flipped(&entry.sealed, 20),
            ..entry.clone()
        },
        WrappedKey {
            ephemeral: flipped(&entry.ephemeral, 3),
            ..entry.clone()
        },
        WrappedKey {
            ephemeral: entry.ephemeral.slice(..31),
            ..entry.clone()
        },
        // The point of order 1: its shared secret is zero for everybody.
        WrappedKey {
            ephemeral: Bytes::from_static(&[0; 32]),
            ..entry.clone()
        },
    ];
    for key in broken {
        let error = ring
            .unwrap(&WrappedKeys::from_keys(vec![key]), ACCOUNT)
            .unwrap_err();
        assert!(matches!(error, UnwrapError::Altered { .. }), "{error}");
    }
}

#[test]
fn json_round_trips() {
    let rng = SeededRng::new(1);
    let ring = ring_of(&[&KeyRing::generate(&rng), &KeyRing::generate(&rng)]);
    let read = KeyRing::from_json(&ring.to_json()).unwrap();
    assert_eq!(read.fingerprints(), ring.fingerprints());
    assert_eq!(read.active(), ring.active());
    let wrapped = ring.wrap(&rng, &DataKey::generate(&rng), ACCOUNT);
    assert!(read.unwrap(&wrapped, ACCOUNT).is_ok());
}

#[test]
fn wrapped_keys_are_stored_in_a_document_and_read_back() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        wrapped_keys: WrappedKeys,
    }
    let rng = SeededRng::new(1);
    let ring = KeyRing::generate(&rng);
    let head = Head {
        wrapped_keys: ring.wrap(&rng, &DataKey::generate(&rng), ACCOUNT),
    };
    let fields = to_fields(&head).unwrap();
    assert!(matches!(fields["wrappedKeys"], Value::List(_)));
    assert_eq!(from_fields::<Head>(&fields).unwrap(), head);
}

#[test]
fn each_fault_of_a_ring_is_told_apart() {
    let rng = SeededRng::new(1);
    let (one, two) = (KeyRing::generate(&rng), KeyRing::generate(&rng));
    let id = one.active().as_str();
    let json = one.to_json();
    assert_eq!(
        KeyRing::from_json(&json.replacen(id, "0123456789abcdef", 1)).unwrap_err(),
        ParseError::Id {
            position: 1,
            actual: one.active().clone()
        }
    );
    assert_eq!(
        KeyRing::from_json(&ring_of(&[&one, &one]).to_json()).unwrap_err(),
        ParseError::Twice(one.active().clone())
    );
    let orphaned = KeyRing {
        keys: two.keys.clone(),
        active: one.active.clone(),
    };
    assert_eq!(
        KeyRing::from_json(&orphaned.to_json()).unwrap_err(),
        ParseError::Active
    );
    let empty = KeyRing {
        keys: Vec::new(),
        active: one.active.clone(),
    };
    assert_eq!(
        KeyRing::from_json(&empty.to_json()).unwrap_err(),
        ParseError::Count { found: 0 }
    );
    assert_eq!(
        KeyRing::from_json(&json.replace("\"schemaVersion\": 1", "\"schemaVersion\": 2"))
            .unwrap_err(),
        ParseError::Schema { found: 2 }
    );
}

#[test]
fn debug_shows_fingerprints_and_no_key() {
    let rng = SeededRng::new(1);
    let ring = KeyRing::generate(&rng);
    let data_key = DataKey::generate(&rng);
    let wrapped = ring.wrap(&rng, &data_key, ACCOUNT);
    let output = format!(
        "{ring:?} {data_key:?} {wrapped:?} {:?}",
        wrapped.iter().next().unwrap()
    );
    assert!(output.contains(ring.active().as_str()), "{output}");
    for secret in [ring.keys[0].secret.to_bytes(), *data_key.root()] {
        crate::testing::assert_hidden(&output, &secret);
    }
}
