//! Ids of documents: random where a thing is created once, derived where the
//! same write can be repeated.
//!
//! Random ids are ULIDs: 48 bits of time in milliseconds, then 80 random bits,
//! in Crockford's base 32, so they sort by time. Derived ids are the first 128
//! bits of a SHA-256 over length-prefixed parts (no two lists of parts give the
//! same bytes).

use chrono::{DateTime, Utc};
use coordinator_lib::rng::Rng;
use sha2::{Digest, Sha256};

/// Crockford's alphabet: no I, L, O or U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 128 bits in base 32, five bits a character.
const ULID_LENGTH: usize = 26;

/// A new account: `account_…`.
pub fn account(now: DateTime<Utc>, rng: &dyn Rng) -> String {
    format!("account_{}", ulid(now, rng))
}

/// A new outgoing message: `msg_…`.
pub fn outgoing(now: DateTime<Utc>, rng: &dyn Rng) -> String {
    format!("msg_{}", ulid(now, rng))
}

/// A file to be sent: `med_…`.
pub fn media(now: DateTime<Utc>, rng: &dyn Rng) -> String {
    format!("med_{}", ulid(now, rng))
}

/// A file that came, to be kept: `rec_…`.
pub fn received(now: DateTime<Utc>, rng: &dyn Rng) -> String {
    format!("rec_{}", ulid(now, rng))
}

/// An entry of the audit log: `aud_…`.
pub fn audit(now: DateTime<Utc>, rng: &dyn Rng) -> String {
    format!("aud_{}", ulid(now, rng))
}

/// A webhook: `whk_…`.
pub fn webhook(now: DateTime<Utc>, rng: &dyn Rng) -> String {
    format!("whk_{}", ulid(now, rng))
}

/// A made-up event, to try a webhook with: `test_…`.
pub fn test_event(now: DateTime<Utc>, rng: &dyn Rng) -> String {
    format!("test_{}", ulid(now, rng))
}

/// The conversation of an account with a chat (a JID without device).
pub fn thread(account: &str, chat: &str) -> String {
    format!("thr_{}", derive(&["thread", account, chat]))
}

/// A stored message. `sender` tells senders within one thread apart: see
/// `messages::identity`.
pub fn message(thread: &str, sender: &str, wa_message_id: &str) -> String {
    format!(
        "wam_{}",
        derive(&["message", thread, sender, wa_message_id])
    )
}

/// What is known of somebody, by the address that is preferred.
pub fn contact(account: &str, address: &str) -> String {
    format!("con_{}", derive(&["contact", account, address]))
}

/// A piece of history, by what it holds: the same, however often it comes.
pub fn history_piece(account: &str, compressed: &[u8]) -> String {
    let content = hex::encode(Sha256::digest(compressed));
    format!("his_{}", derive(&["history_piece", account, &content]))
}

/// The document of an idempotency key.
pub fn idempotency(account: &str, key: &str) -> String {
    format!("idk_{}", derive(&["idempotency", account, key]))
}

/// The do-not-contact entry of an address.
pub fn do_not_contact(address: &str) -> String {
    format!("dnc_{}", derive(&["do_not_contact", address]))
}

/// A hash of what a request asks for, to tell a repetition from another body.
pub fn body_hash(parts: &[&str]) -> String {
    derive(parts)
}

fn ulid(now: DateTime<Utc>, rng: &dyn Rng) -> String {
    let mut random = [0_u8; 16];
    rng.fill(&mut random);
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    // The six bytes of time over the first six random ones.
    random[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    let mut bits = u128::from_be_bytes(random);
    let mut text = [0_u8; ULID_LENGTH];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}

fn derive(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use coordinator_lib::rng::SeededRng;

    #[test]
    fn random_ids_sort_by_time() {
        let rng = SeededRng::new(1);
        let early = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let late = DateTime::from_timestamp(1_700_000_001, 0).unwrap();
        let ids = [outgoing(early, &rng), outgoing(late, &rng)];
        assert!(ids[0] < ids[1], "{ids:?}");
        assert_eq!(ids[0].len(), "msg_".len() + ULID_LENGTH);
    }

    #[test]
    fn random_ids_of_one_moment_differ() {
        let rng = SeededRng::new(1);
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        assert_ne!(account(now, &rng), account(now, &rng));
    }

    #[test]
    fn derived_ids_depend_on_where_parts_end() {
        assert_ne!(thread("ab", "c"), thread("a", "bc"));
        assert_eq!(thread("ab", "c"), thread("ab", "c"));
        assert_ne!(message("t", "peer", "1"), message("t", "me", "1"));
    }
}
