//! Two devices and an unreliable server between them; libsignal's vectors.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};
use serde::Deserialize;

use super::{
    CiphertextKind, SignalError, header, pad,
    ratchet::SKIPPED_KEYS_MAX,
    store::{Ciphertext, SignalDevice},
    unpad, xeddsa,
};
use crate::keys::KeyPair;

const ALICE: &str = "alice";
const BOB: &str = "bob";

fn devices(seed: u64) -> (SignalDevice, SignalDevice) {
    let rng = &mut StdRng::seed_from_u64(seed);
    (SignalDevice::generate(rng), SignalDevice::generate(rng))
}

/// Alice has Bob's bundle.
fn introduced(seed: u64) -> (SignalDevice, SignalDevice) {
    let (mut alice, mut bob) = devices(seed);
    alice.start_session(BOB, &bob.bundle()).unwrap();
    (alice, bob)
}

/// Both have answered each other.
fn acquainted(seed: u64) -> (SignalDevice, SignalDevice) {
    let (mut alice, mut bob) = introduced(seed);
    let first = alice.encrypt(BOB, b"hello").unwrap();
    receive(&mut bob, ALICE, &first).unwrap();
    let answer = bob.encrypt(ALICE, b"hi").unwrap();
    receive(&mut alice, BOB, &answer).unwrap();
    (alice, bob)
}

fn receive(
    device: &mut SignalDevice,
    from: &str,
    message: &Ciphertext,
) -> Result<Vec<u8>, SignalError> {
    device.decrypt(from, message.kind, &message.bytes)
}

#[test]
fn a_session_begins_with_prekey_messages_until_it_is_answered() {
    let (mut alice, mut bob) = introduced(1);
    for text in [b"one", b"two"] {
        let message = alice.encrypt(BOB, text).unwrap();
        assert_eq!(message.kind, CiphertextKind::PreKeyMsg);
        assert_eq!(receive(&mut bob, ALICE, &message).unwrap(), text);
    }
    let answer = bob.encrypt(ALICE, b"three").unwrap();
    assert_eq!(answer.kind, CiphertextKind::Msg);
    assert_eq!(receive(&mut alice, BOB, &answer).unwrap(), b"three");
    assert_eq!(
        alice.encrypt(BOB, b"four").unwrap().kind,
        CiphertextKind::Msg
    );
    assert_eq!(bob.remote_identity(ALICE), Some(alice.identity().public()));
}

#[test]
fn a_bundle_without_one_time_prekey_will_do() {
    let (mut alice, mut bob) = devices(2);
    let mut bundle = bob.bundle();
    bundle.prekey = None;
    alice.start_session(BOB, &bundle).unwrap();
    let message = alice.encrypt(BOB, b"one").unwrap();
    assert_eq!(receive(&mut bob, ALICE, &message).unwrap(), b"one");
}

#[test]
fn a_bundle_with_a_forged_signature_is_refused() {
    let (mut alice, mut bob) = devices(3);
    let mut bundle = bob.bundle();
    bundle.signed_prekey.1 = *alice.identity().public();
    assert_eq!(
        alice.start_session(BOB, &bundle),
        Err(SignalError::BadSignature)
    );
    assert!(!alice.has_session(BOB));
}

#[test]
fn order_does_not_matter_and_repetition_is_noticed() {
    let (mut alice, mut bob) = acquainted(4);
    let messages: Vec<_> = (0..6u8)
        .map(|n| alice.encrypt(BOB, &[n]).unwrap())
        .collect();
    for at in [3, 0, 5, 1] {
        assert_eq!(receive(&mut bob, ALICE, &messages[at]).unwrap(), [at as u8]);
    }
    // The ratchet turns, and the stragglers of the old chain still arrive.
    let answer = bob.encrypt(ALICE, b"answer").unwrap();
    receive(&mut alice, BOB, &answer).unwrap();
    let newer = alice.encrypt(BOB, b"newer").unwrap();
    assert_eq!(receive(&mut bob, ALICE, &newer).unwrap(), b"newer");
    for at in [4, 2] {
        assert_eq!(receive(&mut bob, ALICE, &messages[at]).unwrap(), [at as u8]);
    }
    for message in &messages {
        let counter = header(message.kind, &message.bytes).unwrap().counter;
        assert_eq!(
            receive(&mut bob, ALICE, message),
            Err(SignalError::Duplicate(counter))
        );
    }
}

#[test]
fn a_replayed_prekey_message_is_a_duplicate_not_a_session() {
    let (mut alice, mut bob) = introduced(5);
    let first = alice.encrypt(BOB, b"first").unwrap();
    receive(&mut bob, ALICE, &first).unwrap();
    assert_eq!(
        receive(&mut bob, ALICE, &first),
        Err(SignalError::Duplicate(0))
    );

    // To who has forgotten the session, its one-time prekey is spent.
    bob.forget(ALICE);
    assert_eq!(
        receive(&mut bob, ALICE, &first),
        Err(SignalError::UnknownPreKey(1))
    );
}

#[test]
fn both_may_begin_at_once() {
    let (mut alice, mut bob) = devices(6);
    alice.start_session(BOB, &bob.bundle()).unwrap();
    bob.start_session(ALICE, &alice.bundle()).unwrap();
    let from_alice = alice.encrypt(BOB, b"from alice").unwrap();
    let from_bob = bob.encrypt(ALICE, b"from bob").unwrap();
    assert_eq!(receive(&mut alice, BOB, &from_bob).unwrap(), b"from bob");
    assert_eq!(
        receive(&mut bob, ALICE, &from_alice).unwrap(),
        b"from alice"
    );
    for round in 0..4u8 {
        let message = alice.encrypt(BOB, &[round]).unwrap();
        assert_eq!(receive(&mut bob, ALICE, &message).unwrap(), [round]);
        let message = bob.encrypt(ALICE, &[round]).unwrap();
        assert_eq!(receive(&mut alice, BOB, &message).unwrap(), [round]);
    }
}

#[test]
fn a_new_session_leaves_the_old_one_for_stragglers() {
    let (mut alice, mut bob) = acquainted(7);
    let straggler = alice.encrypt(BOB, b"straggler").unwrap();
    alice.start_session(BOB, &bob.bundle()).unwrap();
    let renewed = alice.encrypt(BOB, b"renewed").unwrap();
    assert_eq!(receive(&mut bob, ALICE, &renewed).unwrap(), b"renewed");
    assert_eq!(receive(&mut bob, ALICE, &straggler).unwrap(), b"straggler");
    assert_eq!(
        receive(&mut bob, ALICE, &straggler),
        Err(SignalError::Duplicate(0))
    );
}

#[test]
fn tampering_changes_nothing() {
    let (mut alice, mut bob) = acquainted(8);
    let genuine = alice.encrypt(BOB, b"genuine").unwrap();
    let mut forged = genuine.clone();
    *forged.bytes.last_mut().unwrap() ^= 1;
    assert_eq!(receive(&mut bob, ALICE, &forged), Err(SignalError::BadMac));
    assert_eq!(receive(&mut bob, ALICE, &genuine).unwrap(), b"genuine");
    assert_eq!(
        receive(&mut bob, "nobody", &genuine),
        Err(SignalError::NoSession)
    );
}

#[test]
fn messages_may_be_ahead_up_to_a_limit() {
    let (mut alice, mut bob) = acquainted(9);
    let mut messages: Vec<_> = (0..SKIPPED_KEYS_MAX + 2)
        .map(|_| alice.encrypt(BOB, b"text").unwrap())
        .collect();
    let too_far = messages.pop().unwrap();
    let last = messages.pop().unwrap();
    let far = Err(SignalError::TooFarAhead(SKIPPED_KEYS_MAX as u32 + 1));
    assert_eq!(receive(&mut bob, ALICE, &too_far), far);
    assert!(receive(&mut bob, ALICE, &last).is_ok());
    assert!(receive(&mut bob, ALICE, &messages[0]).is_ok());
    assert!(receive(&mut bob, ALICE, &too_far).is_ok());
}

#[test]
fn headers_show_what_the_oracle_needs() {
    let (mut alice, mut bob) = introduced(10);
    alice.encrypt(BOB, b"lost").unwrap();
    let message = alice.encrypt(BOB, b"text").unwrap();
    let outside = header(message.kind, &message.bytes).unwrap();
    let prekey = outside.prekey.unwrap();
    assert_eq!(outside.counter, 1);
    assert_eq!(prekey.prekey_id, Some(1));
    assert_eq!(prekey.registration_id, alice.registration_id());
    assert_eq!(&prekey.identity_key, alice.identity().public());
    receive(&mut bob, ALICE, &message).unwrap();

    let answer = bob.encrypt(ALICE, b"answer").unwrap();
    let answer = header(answer.kind, &answer.bytes).unwrap();
    assert_eq!(
        (answer.counter, answer.previous_counter, answer.prekey),
        (0, 0, None)
    );
}

#[test]
fn the_previous_chains_last_counter_is_announced() {
    let (mut alice, mut bob) = acquainted(11);
    for _ in 0..3 {
        let message = alice.encrypt(BOB, b"text").unwrap();
        receive(&mut bob, ALICE, &message).unwrap();
    }
    let answer = bob.encrypt(ALICE, b"answer").unwrap();
    receive(&mut alice, BOB, &answer).unwrap();
    let message = alice.encrypt(BOB, b"text").unwrap();
    let message = header(message.kind, &message.bytes).unwrap();
    assert_eq!((message.counter, message.previous_counter), (0, 2));
}

#[test]
fn wrong_padding_is_refused() {
    assert_eq!(unpad(b"text\x02\x02"), Ok(&b"text"[..]));
    for bytes in [&b""[..], b"text\x00", b"text\x11", b"\x02", b"text\x01\x02"] {
        assert_eq!(unpad(bytes), Err(SignalError::BadPadding));
    }
}

/// Made by `tests/baileys/vectors.mjs` with libsignal.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vectors {
    signatures: Vec<Signature>,
    sessions: Vec<Session>,
}

#[derive(Deserialize)]
struct Signature {
    private: String,
    public: String,
    message: String,
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    identity: String,
    signed_pre_key: String,
    signed_pre_key_signature: String,
    pre_key_id: u32,
    pre_key: String,
    alice: Alice,
    one_time: bool,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alice {
    identity: String,
    registration_id: u32,
}

#[derive(Deserialize)]
struct Message {
    text: String,
    kind: String,
    hex: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

#[test]
fn signatures_of_libsignal_verify_and_nothing_else_does() {
    for vector in vectors().signatures {
        let public = bytes::<32>(&vector.public);
        let message = hex::decode(&vector.message).unwrap();
        let signature = bytes::<64>(&vector.signature);
        assert_eq!(
            KeyPair::from_private(bytes(&vector.private)).public(),
            &public
        );
        assert!(xeddsa::verify(&public, &message, &signature));

        assert!(!xeddsa::verify(
            &public,
            &[&message[..], b"!"].concat(),
            &signature
        ));
        for at in [0, 31, 32, 60] {
            let mut forged = signature;
            forged[at] ^= 4;
            assert!(!xeddsa::verify(&public, &message, &forged));
        }
        assert!(!xeddsa::verify(&public, &message, &signature[..63]));
    }
}

#[test]
fn sessions_that_libsignal_begins_are_understood() {
    for vector in vectors().sessions {
        let rng = &mut StdRng::seed_from_u64(12);
        let mut bob = SignalDevice::with_keys(
            KeyPair::from_private(bytes(&vector.identity)),
            KeyPair::from_private(bytes(&vector.signed_pre_key)),
            bytes(&vector.signed_pre_key_signature),
            (
                vector.pre_key_id,
                KeyPair::from_private(bytes(&vector.pre_key)),
            ),
            rng,
        );
        // The last first: libsignal's keys are skipped and kept as well.
        for message in vector.messages.iter().rev() {
            let kind: CiphertextKind = message.kind.parse().unwrap();
            let ciphertext = hex::decode(&message.hex).unwrap();
            let outside = header(kind, &ciphertext).unwrap().prekey.unwrap();
            assert_eq!(outside.identity_key, bytes(&vector.alice.identity));
            assert_eq!(outside.registration_id, vector.alice.registration_id);
            assert_eq!(outside.prekey_id.is_some(), vector.one_time);
            assert_eq!(
                bob.decrypt(ALICE, kind, &ciphertext).unwrap(),
                message.text.as_bytes()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn signatures_verify(seed in any::<u64>(), message in prop::collection::vec(any::<u8>(), 0..100)) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let key = KeyPair::generate(rng);
        let signature = xeddsa::sign(&key, &message, rng);
        prop_assert!(xeddsa::verify(key.public(), &message, &signature));
        prop_assert!(!xeddsa::verify(KeyPair::generate(rng).public(), &message, &signature));
    }

    #[test]
    fn padding_comes_off_again(seed in any::<u64>(), plain in prop::collection::vec(any::<u8>(), 0..50)) {
        let padded = pad(&plain, &mut StdRng::seed_from_u64(seed));
        prop_assert!(padded.len() > plain.len());
        prop_assert_eq!(unpad(&padded).unwrap(), plain);
    }

    /// Either side writes; each message is delivered at once, late or twice.
    #[test]
    fn every_message_is_read_exactly_once(
        seed in any::<u64>(),
        turns in prop::collection::vec((any::<bool>(), 0u8..4), 1..60),
    ) {
        let (mut alice, mut bob) = introduced(seed);
        let first = alice.encrypt(BOB, b"hello").unwrap();
        receive(&mut bob, ALICE, &first).unwrap();
        let mut late = Vec::new();
        for (number, (from_alice, fate)) in turns.into_iter().enumerate() {
            let text = number.to_be_bytes();
            let message = match from_alice {
                true => alice.encrypt(BOB, &text),
                false => bob.encrypt(ALICE, &text),
            }
            .unwrap();
            late.push((from_alice, text, message));
            if fate == 0 {
                continue;
            }
            for (from_alice, text, message) in late.drain(..).rev() {
                let (receiver, from) = match from_alice {
                    true => (&mut bob, ALICE),
                    false => (&mut alice, BOB),
                };
                prop_assert_eq!(receive(receiver, from, &message).unwrap(), text);
                let again = receive(receiver, from, &message);
                prop_assert!(matches!(again, Err(SignalError::Duplicate(_))));
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut alice, _) = acquainted(13);
        let versioned = [&[0x33][..], &bytes].concat();
        for kind in [CiphertextKind::Msg, CiphertextKind::PreKeyMsg] {
            let _ = header(kind, &bytes);
            prop_assert!(alice.decrypt(BOB, kind, &versioned).is_err());
        }
    }
}
