use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::place::Hasher;

fn trie() -> Trie {
    Trie::new(Hasher::new(&[7; 32]))
}

fn record(value: impl Into<Bytes>) -> Record {
    Record::from(value.into())
}

fn put(trie: &mut Trie, key: &[u8], value: impl Into<Bytes>, number: u64) {
    trie.set(
        Kind::Sessions,
        Bytes::copy_from_slice(key),
        Some(record(value)),
        number,
    );
}

fn remove(trie: &mut Trie, key: &[u8], number: u64) {
    trie.set(Kind::Sessions, Bytes::copy_from_slice(key), None, number);
}

/// Everything becomes stored as it is.
fn store(trie: &mut Trie) {
    trie.begin(Prefix::ALL);
    trie.commit();
}

fn map(entries: Entries) -> BTreeMap<RecordKey, Record> {
    let count = entries.len();
    let map: BTreeMap<_, _> = entries.into_iter().collect();
    assert_eq!(map.len(), count, "a key twice");
    map
}

fn content(trie: &Trie) -> BTreeMap<RecordKey, Record> {
    map(trie
        .leaves()
        .flat_map(|leaf| trie.entries(leaf.prefix))
        .collect())
}

fn fill(trie: &mut Trie, records: u32, bytes: usize) {
    for index in 0..records {
        put(trie, &index.to_be_bytes(), vec![1; bytes], 1);
    }
    trie.balance(|_| true);
}

#[test]
fn what_is_changed_back_is_not_dirty() {
    let mut trie = trie();
    put(&mut trie, b"a", "1", 1);
    remove(&mut trie, b"a", 2);
    assert!(!trie.is_dirty());
    put(&mut trie, b"a", "1", 3);
    store(&mut trie);
    put(&mut trie, b"a", "2", 4);
    assert_eq!(trie.since(), Some(4));
    put(&mut trie, b"a", "1", 5);
    assert!(!trie.is_dirty());
    remove(&mut trie, b"a", 6);
    assert!(trie.is_dirty());
    put(&mut trie, b"a", "1", 7);
    assert!(!trie.is_dirty() && trie.since().is_none());
}

#[test]
fn what_changes_during_a_commit_is_relative_to_that_commit() {
    let mut trie = trie();
    put(&mut trie, b"a", "1", 1);
    trie.begin(Prefix::ALL);
    assert_eq!(trie.since(), None);
    remove(&mut trie, b"a", 2);
    assert_eq!(
        trie.since(),
        Some(2),
        "the commit in flight stores it, so removing it is a change"
    );
    trie.commit();
    assert_eq!(map(trie.stored(Prefix::ALL)).len(), 1);
    assert!(trie.is_dirty());
}

#[test]
fn a_failed_commit_leaves_its_changes_and_later_ones() {
    let mut trie = trie();
    put(&mut trie, b"a", "1", 1);
    put(&mut trie, b"b", "1", 2);
    trie.begin(Prefix::ALL);
    put(&mut trie, b"c", "1", 3);
    remove(&mut trie, b"a", 4);
    trie.abort();
    assert_eq!(trie.since(), Some(1));
    assert!(trie.stored(Prefix::ALL).is_empty());
    remove(&mut trie, b"b", 5);
    remove(&mut trie, b"c", 6);
    assert!(!trie.is_dirty());
}

#[test]
fn a_leaf_is_split_once_it_is_too_large_and_merged_once_it_is_small() {
    let mut trie = trie();
    fill(&mut trie, 300, 1_000);
    assert!(trie.leaves().count() >= 4);
    assert!(trie.leaves().all(|leaf| leaf.bytes <= SPLIT_BYTES));
    store(&mut trie);
    for index in 10..300u32 {
        remove(&mut trie, &index.to_be_bytes(), 2);
    }
    trie.balance(|_| false);
    assert!(trie.leaves().count() >= 4);
    trie.balance(|_| true);
    assert_eq!(trie.leaves().count(), 1);
    assert_eq!(content(&trie).len(), 10);
    assert_eq!(map(trie.stored(Prefix::ALL)).len(), 300);
}

#[test]
fn one_large_record_is_not_split() {
    let mut trie = trie();
    fill(&mut trie, 1, 2 * SPLIT_BYTES);
    assert_eq!(trie.leaves().count(), 1);
}

#[test]
fn expiry_is_no_reason_to_write_but_happens_with_the_next_write() {
    let mut trie = trie();
    let key = Bytes::from_static(b"old");
    trie.set(Kind::Sessions, key.clone(), Some(Record::until("1", 10)), 1);
    store(&mut trie);
    trie.drop_expired(10);
    assert!(!trie.is_dirty());
    put(&mut trie, b"new", "1", 2);
    trie.drop_expired(9);
    assert!(trie.get(Kind::Sessions, &key).is_some());
    trie.drop_expired(10);
    assert!(trie.get(Kind::Sessions, &key).is_none());
    assert_eq!(map(trie.stored(Prefix::ALL)).len(), 1);
}

#[test]
fn scans_find_keys_by_their_beginning_in_every_leaf() {
    let mut trie = trie();
    fill(&mut trie, 600, 1_000);
    assert_eq!(trie.scan(Kind::Sessions, &[0, 0, 1]).count(), 256);
    assert_eq!(trie.scan(Kind::Sessions, &[]).count(), 600);
    assert_eq!(trie.scan(Kind::Identities, &[]).count(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u16),
    Remove(u8),
    Balance,
    Begin(u64),
    Commit,
    Abort,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (any::<u8>(), prop_oneof![Just(3u16), 0..9_000u16]).prop_map(|(key, size)| Step::Put(key, size)),
        4 => any::<u8>().prop_map(Step::Remove),
        1 => Just(Step::Balance),
        2 => any::<u64>().prop_map(Step::Begin),
        1 => Just(Step::Commit),
        1 => Just(Step::Abort),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Memory equals a map; what is stored, as the trie knows it, equals what a
    /// store would hold; and it is dirty exactly if the two differ.
    #[test]
    fn memory_and_stored_content_follow_their_models(steps in steps()) {
        let mut trie = trie();
        let mut memory: HashMap<u8, Record> = HashMap::new();
        let mut stored: BTreeMap<RecordKey, Record> = BTreeMap::new();
        // What the commit in flight writes: a part of the hashes.
        let mut in_flight: Option<(Vec<Prefix>, Entries)> = None;
        for (number, step) in (1..).zip(steps) {
            match step {
                Step::Put(key, size) => {
                    put(&mut trie, &[key], vec![key; size.into()], number);
                    memory.insert(key, record(vec![key; size.into()]));
                }
                Step::Remove(key) => {
                    remove(&mut trie, &[key], number);
                    memory.remove(&key);
                }
                Step::Balance if in_flight.is_none() => trie.balance(|_| true),
                Step::Begin(hash) if in_flight.is_none() => {
                    let leaf = trie.leaves().find(|leaf| leaf.prefix.contains(hash)).unwrap().prefix;
                    in_flight = Some((vec![leaf], trie.entries(leaf)));
                    trie.begin(leaf);
                }
                Step::Commit => {
                    if let Some((prefixes, entries)) = in_flight.take() {
                        stored.retain(|(kind, key), _| {
                            let hash = trie.hasher.hash(*kind, key);
                            !prefixes.iter().any(|prefix| prefix.contains(hash))
                        });
                        stored.extend(entries);
                        trie.commit();
                    }
                }
                Step::Abort => {
                    in_flight = None;
                    trie.abort();
                }
                Step::Balance | Step::Begin(_) => {}
            }
            let expected: BTreeMap<RecordKey, Record> = memory
                .iter()
                .map(|(key, record)| ((Kind::Sessions, Bytes::copy_from_slice(&[*key])), record.clone()))
                .collect();
            prop_assert_eq!(&content(&trie), &expected);
            prop_assert_eq!(&map(trie.stored(Prefix::ALL)), &stored);
            if in_flight.is_none() {
                prop_assert_eq!(trie.is_dirty(), expected != stored);
            }
            let bytes: usize = expected.iter().map(|((_, key), record)| packed_bytes(key, record)).sum();
            prop_assert_eq!(trie.bytes(), bytes);
            prop_assert_eq!(trie.count(), expected.len());
            let covered: u128 = trie.leaves().map(|leaf| 1u128 << (64 - 2 * u32::from(leaf.prefix.depth()))).sum();
            prop_assert_eq!(covered, 1 << 64);
        }
    }
}
