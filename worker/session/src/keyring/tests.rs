use bytes::Bytes;
use coordinator_lib::rng::SeededRng;
use coordinator_lib::store::{Value, from_fields, to_fields};

use super::*;

const ACCOUNT: &str = "account_1";

/// A ring of the given keys; the first is the active one.
fn ring_of(parts: &[&KeyRing]) -> KeyRing {
    let keys = parts.iter().flat_map(|ring| ring.ring.read().keys.clone());
    KeyRing::of(Ring {
        keys: keys.collect(),
        recipients: Vec::new(),
        active: parts[0].active(),
    })
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
        recipient: ring.active(),
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
    let active = one.active();
    let id = active.as_str();
    let json = one.to_json();
    assert_eq!(
        KeyRing::from_json(&json.replacen(id, "0123456789abcdef", 1)).unwrap_err(),
        ParseError::Id {
            position: 1,
            actual: one.active()
        }
    );
    assert_eq!(
        KeyRing::from_json(&ring_of(&[&one, &one]).to_json()).unwrap_err(),
        ParseError::Twice(one.active())
    );
    let of_keys = |keys: Vec<RingKey>| {
        KeyRing::of(Ring {
            keys,
            recipients: Vec::new(),
            active: one.active(),
        })
    };
    let orphaned = of_keys(two.ring.read().keys.clone());
    assert_eq!(
        KeyRing::from_json(&orphaned.to_json()).unwrap_err(),
        ParseError::Active
    );
    let empty = of_keys(Vec::new());
    assert_eq!(
        KeyRing::from_json(&empty.to_json()).unwrap_err(),
        ParseError::Count { found: 0 }
    );
    assert_eq!(
        KeyRing::from_json(&json.replace("\"schemaVersion\": 1", "\"schemaVersion\": 3"))
            .unwrap_err(),
        ParseError::Schema { found: 3 }
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
    for secret in [ring.ring.read().keys[0].secret.to_bytes(), *data_key.root()] {
        crate::testing::assert_hidden(&output, &secret);
    }
}

#[test]
fn a_rotation_leaves_the_old_key_useless() {
    let rng = SeededRng::new(1);
    let old = KeyRing::generate(&rng);
    let data_key = DataKey::generate(&rng);
    let before = old.wrap(&rng, &data_key, ACCOUNT);
    let both = old.with_new_key(&rng).unwrap();
    assert_ne!(both.active(), old.active());
    assert!(both.is_due(&before));
    let between = both.wrap(&rng, &data_key, ACCOUNT);
    assert!(same_key(&old.unwrap(&between, ACCOUNT).unwrap(), &data_key));

    let retired = both.with_retired(old.active().as_str()).unwrap();
    assert!(retired.is_due(&between));
    assert!(
        same_key(&retired.unwrap(&before, ACCOUNT).unwrap(), &data_key),
        "what was wrapped for it still opens"
    );
    let after = retired.wrap(&rng, &data_key, ACCOUNT);
    assert!(!retired.is_due(&after));
    assert!(old.unwrap(&after, ACCOUNT).is_err());
    let new = retired.without(old.active().as_str()).unwrap();
    assert!(same_key(&new.unwrap(&after, ACCOUNT).unwrap(), &data_key));
    assert!(new.unwrap(&before, ACCOUNT).is_err());
}

#[test]
fn a_ring_with_retired_keys_and_recipients_reads_back() {
    let rng = SeededRng::new(1);
    let old = KeyRing::generate(&rng);
    assert!(old.to_json().contains("\"schemaVersion\": 1"));
    let safe = KeyRing::generate(&rng);
    let public = safe.views()[0].public.clone();
    let ring = old
        .with_new_key(&rng)
        .and_then(|ring| ring.with_retired(old.active().as_str()))
        .and_then(|ring| ring.with_recipient(&public))
        .unwrap();
    let read = KeyRing::from_json(&ring.to_json()).unwrap();
    assert_eq!(read.views(), ring.views());
    assert!(ring.to_json().contains("\"schemaVersion\": 2"));

    // Who has the safe's key opens what any worker wraps.
    let data_key = DataKey::generate(&rng);
    let wrapped = read.wrap(&rng, &data_key, ACCOUNT);
    assert_eq!(wrapped.recipients().len(), 2);
    assert!(same_key(
        &safe.unwrap(&wrapped, ACCOUNT).unwrap(),
        &data_key
    ));
    let without = read.without(safe.active().as_str()).unwrap();
    assert!(without.is_due(&wrapped));
}

#[test]
fn a_ring_does_not_lose_what_is_in_use() {
    let rng = SeededRng::new(1);
    let ring = KeyRing::generate(&rng);
    let active = ring.active();
    let both = ring.with_new_key(&rng).unwrap();
    assert_eq!(
        ring.with_retired(active.as_str()).err(),
        Some(RingChangeError::Active(active.clone()))
    );
    assert_eq!(
        both.without(active.as_str()).err(),
        Some(RingChangeError::InUse(active))
    );
    assert!(matches!(
        both.without("x").err(),
        Some(RingChangeError::Unknown(_))
    ));
    assert_eq!(
        ring.with_recipient("eA==").err(),
        Some(RingChangeError::Public)
    );
    let own = ring.views()[0].public.clone();
    assert!(matches!(
        ring.with_recipient(&own).err(),
        Some(RingChangeError::Twice(_))
    ));
}

#[test]
fn clones_see_a_replacement() {
    let rng = SeededRng::new(1);
    let ring = KeyRing::generate(&rng);
    let clone = ring.clone();
    let mut revisions = clone.revisions();
    let both = ring.with_new_key(&rng).unwrap();
    assert!(ring.replace(&both));
    assert!(!ring.replace(&both), "it is the same");
    assert!(revisions.has_changed().unwrap());
    revisions.mark_unchanged();
    assert_eq!(clone.active(), both.active());
}
