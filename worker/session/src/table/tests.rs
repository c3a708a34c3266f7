use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_000;

/// The files that a store would hold.
#[derive(Default)]
struct Stored(BTreeMap<FileName, Entries>);

impl Stored {
    /// The next commit, which is under way then.
    fn begin(&self, table: &mut Table, through: u64) -> Option<Batch> {
        let names = self.0.keys().copied().collect();
        table.begin(&names, self.0.len(), through, Extent::All, NOW)
    }

    /// The next commit, made; the names that it writes.
    fn commit(&mut self, table: &mut Table, through: u64) -> Option<Vec<String>> {
        let batch = self.begin(table, through)?;
        let written = batch.sets.iter().map(|(name, _)| name.to_string());
        let written = written.collect();
        self.0.extend(batch.sets);
        for name in batch.retires {
            self.0.remove(&name);
        }
        table.commit();
        Some(written)
    }

    /// All that is dirty; the names of each commit.
    fn flush(&mut self, table: &mut Table) -> Vec<Vec<String>> {
        table.settle_young();
        let through = table.number();
        std::iter::from_fn(|| self.commit(table, through)).collect()
    }

    fn load(&self) -> Table {
        let mut table = table();
        for (name, entries) in &self.0 {
            table.restore(*name, entries.clone(), NOW);
        }
        table.drop_doubled();
        table
    }
}

fn hasher() -> Hasher {
    Hasher::new(&[7; 32])
}

fn table() -> Table {
    Table::new(&hasher())
}

fn put(table: &mut Table, number: u32, bytes: usize) {
    let value = vec![1; bytes].into();
    table
        .put(Kind::SentMessages, &number.to_be_bytes(), value)
        .unwrap();
}

/// The lengths of the values, by their keys.
type Model = BTreeMap<Bytes, usize>;

fn content(table: &Table) -> Model {
    let records = table.scan(Kind::SentMessages, &[]);
    let records: Vec<_> = records
        .map(|(key, record)| (key.clone(), record.value.len()))
        .collect();
    let model: Model = records.iter().cloned().collect();
    assert_eq!(model.len(), records.len(), "a key twice");
    model
}

fn count(table: &Table) -> usize {
    content(table).len()
}

/// How long the value is.
fn length(table: &Table, number: u32) -> Option<usize> {
    let record = table.get(Kind::SentMessages, &number.to_be_bytes())?;
    Some(record.value.len())
}

#[test]
fn one_record_more_is_one_small_file_however_many_there_are() {
    let (mut table, mut stored) = (table(), Stored::default());
    for number in 0..20_000 {
        put(&mut table, number, 100);
    }
    stored.flush(&mut table);
    assert!(stored.0.len() > 4, "{}", stored.0.len());
    for number in 20_000..20_100 {
        put(&mut table, number, 100);
        assert_eq!(stored.flush(&mut table), [["youngsent"]]);
    }
    assert_eq!(count(&stored.load()), 20_100);
}

#[test]
fn young_records_move_to_their_places_once_they_are_many() {
    let (mut table, mut stored) = (table(), Stored::default());
    put(&mut table, 0, 100_000);
    assert_eq!(stored.flush(&mut table), [["youngsent"]]);
    put(&mut table, 1, 100_000);
    assert_eq!(stored.flush(&mut table), [["sent", "youngsent"]]);
    assert!(stored.0[&"youngsent".parse().unwrap()].is_empty());

    // There they are changed, removed and put again.
    put(&mut table, 0, 50_000);
    assert_eq!(stored.flush(&mut table), [["sent"]]);
    assert!(table.remove(Kind::SentMessages, &0u32.to_be_bytes()));
    put(&mut table, 0, 60_000);
    assert_eq!(stored.flush(&mut table), [["sent"]]);
    // Once its removal is stored, it is a new one.
    assert!(table.remove(Kind::SentMessages, &0u32.to_be_bytes()));
    stored.flush(&mut table);
    put(&mut table, 0, 70_000);
    assert_eq!(stored.flush(&mut table), [["youngsent"]]);

    let loaded = stored.load();
    assert!(!loaded.is_dirty());
    assert_eq!(count(&loaded), 2);
    assert_eq!(length(&loaded, 0), Some(70_000));
}

#[test]
fn what_was_moved_by_half_is_there_once_and_as_it_was_stored_last() {
    let (mut table, mut stored) = (table(), Stored::default());
    for number in 0..100 {
        put(&mut table, number, 1_000);
    }
    assert_eq!(stored.flush(&mut table), [["youngsent"]]);
    for number in 100..150 {
        put(&mut table, number, 100_000);
    }
    // Files are written in the order of their hashes.
    let hash = |number: &u32| hasher().hash(Kind::SentMessages, &number.to_be_bytes());
    let first = (0..100).min_by_key(hash).unwrap();
    table.settle_young();
    // The owner dies before the commit that takes them from the young ones.
    let half = loop {
        let before = stored.0.clone();
        let through = table.number();
        let written = stored.commit(&mut table, through).unwrap();
        if written.iter().any(|name| name == "youngsent") {
            break before;
        }
        // In its place it is changed meanwhile, and that is stored.
        put(&mut table, first, 1_001);
    };
    let copies = half.values().flatten();
    let copies = copies.filter(|(key, _)| *key.1 == first.to_be_bytes());
    assert_eq!(copies.count(), 2, "else this shows nothing");
    let loaded = Stored(half).load();
    assert!((0..100).all(|number| length(&loaded, number).is_some()));
    assert!(count(&loaded) >= 100);
    assert_eq!(length(&loaded, first), Some(1_001));
}

#[test]
fn of_two_that_were_not_moved_the_one_that_is_kept_longer_counts() {
    let young: FileName = "youngsent".parse().unwrap();
    let place: FileName = "sent".parse().unwrap();
    let key = (Kind::SentMessages, Bytes::copy_from_slice(&[0; 4]));
    let of = |length: usize, expires_at| {
        let record = Record::until(vec![1; length], expires_at);
        vec![(key.clone(), record)]
    };
    for (in_place, expires_at, counts) in [
        (NOW + 10, NOW + 10, 1),
        (NOW + 10, NOW + 5, 1),
        (0, NOW + 5, 1),
        (NOW + 10, NOW + 20, 2),
        (NOW + 10, 0, 2),
        // It had expired: the other one was put when nobody knew it any more.
        (NOW - 10, NOW + 20, 2),
    ] {
        let mut stored = Stored(BTreeMap::from([
            (place, of(1, in_place)),
            (young, of(2, expires_at)),
        ]));
        let mut table = stored.load();
        assert_eq!(length(&table, 0), Some(counts));
        assert_eq!(count(&table), 1);
        stored.flush(&mut table);
        assert_eq!(length(&stored.load(), 0), Some(counts));
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Key and size.
    Put(Bytes, usize),
    Remove(Bytes),
    /// A flush begins.
    Round,
    /// The next commit of the flush, or its end.
    Commit,
    /// The next commit fails, and the flush with it.
    Fail,
    /// The next owner loads what is stored.
    Load,
}

fn key() -> impl Strategy<Value = Bytes> {
    (0..60u8).prop_map(|number| Bytes::copy_from_slice(&[number]))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (key(), 0..120_000usize).prop_map(|(key, size)| Step::Put(key, size)),
        3 => key().prop_map(Step::Remove),
        3 => Just(Step::Round),
        6 => Just(Step::Commit),
        1 => Just(Step::Fail),
        1 => Just(Step::Load),
    ];
    proptest::collection::vec(step, 0..250)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What is loaded is, record by record, as it was when the last flush that
    /// ended began, or as it became later.
    #[test]
    fn what_is_loaded_is_what_was_flushed_or_came_later(steps in steps()) {
        let (mut table, mut stored) = (table(), Stored::default());
        let mut memory = Model::new();
        // Since the last flush that ended began; the flush, and what it began with.
        let mut history = vec![Model::new()];
        let mut round: Option<(u64, usize)> = None;
        for (number, step) in (1..).zip(steps) {
            match step {
                Step::Put(key, size) => {
                    // No two have the same length.
                    let value = vec![1; 500 * size.div_ceil(500) + number];
                    let length = value.len();
                    table.put(Kind::SentMessages, &key, value.into()).unwrap();
                    memory.insert(key, length);
                }
                Step::Remove(key) => {
                    let existed = table.remove(Kind::SentMessages, &key);
                    prop_assert_eq!(existed, memory.remove(&key).is_some());
                }
                Step::Round if round.is_none() => {
                    table.settle_young();
                    round = Some((table.number(), history.len() - 1));
                }
                Step::Commit => if let Some((through, began)) = round
                    && stored.commit(&mut table, through).is_none() {
                        history.drain(..began);
                        round = None;
                    },
                Step::Fail => if let Some((through, _)) = round.take() {
                    stored.begin(&mut table, through);
                    table.abort();
                },
                Step::Load => {
                    table = stored.load();
                    let loaded = content(&table);
                    for number in 0..60u8 {
                        let key = &[number][..];
                        let mut legal = history.iter().map(|model| model.get(key));
                        prop_assert!(legal.any(|value| value == loaded.get(key)), "{}", number);
                    }
                    (memory, round) = (loaded.clone(), None);
                    history = vec![loaded];
                }
                Step::Round => {}
            }
            history.push(memory.clone());
            prop_assert_eq!(&content(&table), &memory);
        }
        stored.flush(&mut table);
        prop_assert!(!table.is_dirty());
        let table = stored.load();
        prop_assert!(!table.is_dirty());
        prop_assert_eq!(content(&table), memory);
    }
}
