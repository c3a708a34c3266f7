use coordinator_lib::rng::SeededRng;
use proptest::prelude::*;

use super::*;

const ACCOUNT: &str = "account_1";

fn name(text: &str) -> FileName {
    text.parse().unwrap()
}

fn versions(list: &[(&str, u64)]) -> Versions {
    list.iter()
        .map(|(file, version)| (name(file), *version))
        .collect()
}

fn session(key: &'static [u8], value: &'static [u8]) -> (crate::trie::RecordKey, Record) {
    (
        (Kind::Sessions, Bytes::from_static(key)),
        Record::until(value, 77),
    )
}

fn keyed(seed: u64) -> (SeededRng, DataKey) {
    let rng = SeededRng::new(seed);
    let key = DataKey::generate(&rng);
    (rng, key)
}

fn sealer(data_key: &DataKey) -> Sealer<'_> {
    Sealer {
        account: ACCOUNT,
        data_key,
        epoch: 3,
    }
}

#[test]
fn a_file_reads_back_with_its_records_and_the_list_of_files() {
    let (rng, data_key) = keyed(1);
    let sealer = sealer(&data_key);
    let entries = vec![session(b"a", b"1"), session(b"b", b"")];
    let list = versions(&[("peers", 9), ("device", 4)]);
    for content in [
        Content::Records(entries),
        Content::Records(Vec::new()),
        Content::Retired,
    ] {
        let fields = sealer
            .seal(&rng, name("peers"), &list, 9, &content)
            .unwrap();
        let file = sealer.open(name("peers"), &fields).unwrap();
        assert_eq!(
            (file.version, &file.versions, file.content),
            (9, &list, content)
        );
    }
}

#[test]
fn fields_that_disagree_with_what_was_sealed_are_refused() {
    let (rng, data_key) = keyed(1);
    let sealer = sealer(&data_key);
    let good = sealer
        .seal(&rng, name("peers"), &Versions::new(), 9, &Content::Retired)
        .unwrap();
    let fault = |field: &str, value: Option<Value>| {
        let mut fields = good.clone();
        match value {
            Some(value) => fields.insert(field.to_owned(), value),
            None => fields.remove(field),
        };
        sealer.open(name("peers"), &fields).err().unwrap()
    };
    assert_eq!(fault(FIELD_EPOCH, Some(Value::Int(2))), FileFault::Sealed);
    assert_eq!(fault(FIELD_VERSION, Some(Value::Int(8))), FileFault::Sealed);
    assert_eq!(
        fault(FIELD_EPOCH, Some(Value::Int(4))),
        FileFault::Epoch { found: 4, own: 3 }
    );
    assert_eq!(
        fault(FIELD_VERSION, Some(Value::Int(-1))),
        FileFault::Field(FIELD_VERSION)
    );
    assert_eq!(
        fault(FIELD_SCHEMA, Some(Value::Int(3))),
        FileFault::Schema { found: 3 }
    );
    for field in [FIELD_SCHEMA, FIELD_EPOCH, FIELD_VERSION, FIELD_SEALED] {
        assert_eq!(fault(field, None), FileFault::Field(field));
        assert_eq!(fault(field, Some(Value::Null)), FileFault::Field(field));
    }
    let empty = Value::Bytes(Bytes::new());
    assert_eq!(fault(FIELD_SEALED, Some(empty)), FileFault::Sealed);
    // Fields that others add, as the writer's nonce, do no harm.
    let mut fields = good.clone();
    fields.insert("commit".to_owned(), Value::from("nonce"));
    assert!(sealer.open(name("peers"), &fields).is_ok());
}

#[test]
fn a_record_in_the_wrong_file_is_refused() {
    let (rng, data_key) = keyed(1);
    let sealer = sealer(&data_key);
    let check = |part: &str, record, is_right: bool| {
        let entries = Content::Records(vec![record]);
        let fields = sealer
            .seal(&rng, name(part), &Versions::new(), 1, &entries)
            .unwrap();
        let fault = sealer.open(name(part), &fields).err();
        assert_eq!(fault, (!is_right).then_some(FileFault::Content), "{part}");
    };
    let hash = data_key.hasher().hash(Kind::Sessions, b"a");
    for part in ["device", "peers.0", "peers.1", "peers.2", "peers.3"] {
        let is_right = part != "device" && name(part).prefix.contains(hash);
        check(part, session(b"a", b"1"), is_right);
    }
    for (part, is_right) in [
        ("secrets", true),
        ("youngsecrets", true),
        ("youngsent", false),
    ] {
        let key = (Kind::MsgSecrets, Bytes::from_static(b"a"));
        check(part, (key, Record::until("1", 77)), is_right);
    }
}

#[test]
fn files_of_version_1_are_read() {
    let (rng, data_key) = keyed(1);
    let sealer = sealer(&data_key);
    let mut fields = sealer
        .seal(&rng, name("peers"), &Versions::new(), 9, &Content::Retired)
        .unwrap();
    fields.insert(FIELD_SCHEMA.to_owned(), Value::Int(1));
    assert!(sealer.open(name("peers"), &fields).is_ok());
    fields.insert(FIELD_SCHEMA.to_owned(), Value::Int(0));
    let fault = sealer.open(name("peers"), &fields).err();
    assert_eq!(fault, Some(FileFault::Schema { found: 0 }));
}

#[test]
fn a_file_that_the_store_would_refuse_is_refused_before() {
    let (rng, data_key) = keyed(1);
    let sealer = sealer(&data_key);
    let large = Record::from(vec![0; SEALED_BYTES_MAX]);
    let entries = Content::Records(vec![((Kind::Sessions, Bytes::new()), large)]);
    let result = sealer.seal(&rng, name("peers"), &Versions::new(), 1, &entries);
    assert!(result.is_err_and(|TooLarge { bytes }| bytes > SEALED_BYTES_MAX));
}

#[test]
fn the_newest_file_vouches_for_all() {
    let vouched = versions(&[("device", 2), ("peers.0", 9), ("peers.1.2", 8)]);
    assert_eq!(check_set(&vouched, &vouched, |_| true), Ok(()));
    assert_eq!(
        check_set(&Versions::new(), &Versions::new(), |_| true),
        Ok(())
    );
    let faults = [
        (
            &[("device", 1), ("peers.0", 9), ("peers.1.2", 8)][..],
            FileFault::Replayed {
                found: 1,
                vouched: 2,
            },
        ),
        (&[("device", 2), ("peers.0", 9)], FileFault::Missing),
        (
            &[("device", 2), ("peers.0", 9), ("peers.1.2", 8), ("sent", 3)],
            FileFault::Unvouched,
        ),
    ];
    for (found, fault) in faults {
        assert_eq!(
            check_set(&versions(found), &vouched, |_| true)
                .unwrap_err()
                .1,
            fault
        );
    }
    let list = versions(&[("peers.1", 9), ("peers.1.2", 9)]);
    let holding = |holding: &'static [&str]| {
        move |file: &FileName| holding.contains(&file.to_string().as_str())
    };
    let fault = check_set(&list, &list, holding(&["peers.1", "peers.1.2"]));
    assert_eq!(fault, Err((name("peers.1.2"), FileFault::Overlap)));
    assert_eq!(check_set(&list, &list, holding(&["peers.1"])), Ok(()));
    assert_eq!(check_set(&list, &list, holding(&["peers.1.2"])), Ok(()));
}

proptest! {
    #[test]
    fn bytes_that_are_no_session_file_are_read_without_panic(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (_, data_key) = keyed(1);
        let _ = decode(name("peers"), &data_key.hasher(), &plain);
    }

    #[test]
    fn the_list_of_files_is_never_longer_than_planned_for(starts in proptest::collection::btree_set(any::<u64>(), 0..50)) {
        let list: Versions = starts
            .iter()
            .map(|start| FileName { family: crate::kind::Family::YoungSecrets, prefix: crate::place::Prefix::of(*start, 8) })
            .map(|file| (file, u64::MAX))
            .collect();
        prop_assert!(encode(&list, &Content::Retired).len() <= versions_bytes(list.len()));
    }
}
