use std::collections::BTreeMap;

use super::*;

const NOW: i64 = 1_000;

/// The files that a store would hold.
#[derive(Default)]
struct Stored(BTreeMap<FileName, Entries>);

impl Stored {
    /// The next commit, made; the names that it writes.
    fn commit(&mut self, table: &mut Table, through: u64) -> Option<Vec<String>> {
        let names = self.0.keys().copied().collect();
        let batch = table.begin(&names, self.0.len(), through, Extent::All, NOW)?;
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
        let through = table.number();
        std::iter::from_fn(|| self.commit(table, through)).collect()
    }

    fn load(&self) -> Table {
        let mut table = table();
        for (name, entries) in &self.0 {
            table.restore(*name, entries.clone(), NOW);
        }
        table.drop_moved();
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

/// How long the value is.
fn length(table: &Table, number: u32) -> Option<usize> {
    let record = table.get(Kind::SentMessages, &number.to_be_bytes())?;
    Some(record.value.len())
}

fn count(table: &Table) -> usize {
    table.scan(Kind::SentMessages, &[]).count()
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
    let all: Vec<&Bytes> = loaded
        .scan(Kind::SentMessages, &[])
        .map(|(key, _)| key)
        .collect();
    let once: BTreeSet<&&Bytes> = all.iter().collect();
    assert_eq!(once.len(), all.len());
    assert_eq!(length(&loaded, first), Some(1_001));
}

#[test]
fn a_move_is_a_part_of_the_first_change_that_it_takes_along() {
    let (mut table, mut stored) = (table(), Stored::default());
    for number in 0..2 {
        put(&mut table, number, 100_000);
    }
    stored.flush(&mut table);
    put(&mut table, 2, 100_000);
    let through = table.number();
    // In its place, but later than the flush began; then enough to move.
    put(&mut table, 0, 100_001);
    put(&mut table, 3, 100_000);
    while stored.commit(&mut table, through).is_some() {}
    assert_eq!(
        length(&stored.load(), 2),
        Some(100_000),
        "stored when the flush ended"
    );
}
