//! Files that are not what the owner wrote last are refused.

use bytes::Bytes;
use coordinator_lib::rng::SystemRng;
use coordinator_lib::store::{Fields, Value};
use session::{DataKey, FileFault, Kind, SessionError};

use crate::bench::Bench;

const SECRET: &[u8] = b"the ratchet of somebody's conversation";

/// A session of three files, one of them older than the others.
async fn written(bench: Bench) -> Bench {
    let owner = bench.claim().await;
    owner.put(Kind::Device, "", "device");
    owner.put(Kind::PreKeys, "1", "key");
    owner.put(Kind::Sessions, "peer", "1");
    owner.files.flush().await.unwrap();
    owner.put(Kind::Sessions, "peer", SECRET);
    owner.files.flush().await.unwrap();
    bench
}

/// The file and the fault of a load that must be refused.
async fn refused(bench: &Bench) -> (String, FileFault) {
    let Err(error) = bench.try_claim().await else {
        panic!("the load should be refused")
    };
    let text = format!("{error} {error:?}");
    assert!(text.contains("account_1"), "{text}");
    assert!(!text.contains("somebody"), "{text}");
    assert!(error.is_final());
    let SessionError::Refused { file, fault, .. } = error else {
        panic!("{error}")
    };
    assert!(text.contains(&file), "{text}");
    (file, fault)
}

fn sealed(fields: &Fields) -> Vec<u8> {
    let Value::Bytes(bytes) = &fields["sealed"] else {
        panic!("{fields:?}")
    };
    bytes.to_vec()
}

fn with_sealed(fields: &Fields, sealed: Vec<u8>) -> Fields {
    let mut fields = fields.clone();
    fields.insert("sealed".to_owned(), Value::Bytes(Bytes::from(sealed)));
    fields
}

#[tokio::test]
async fn swapped_files_are_refused() {
    for bench in [Bench::memory(), Bench::sqlite()] {
        let bench = written(bench).await;
        let peers = bench.document("peers").await.fields;
        bench.overwrite("prekeys", peers).await;
        assert_eq!(
            refused(&bench).await,
            ("prekeys".to_owned(), FileFault::Sealed)
        );
    }
}

#[tokio::test]
async fn another_accounts_file_is_refused_even_under_the_same_key() {
    let bench = written(Bench::memory()).await;
    let other = written(bench.account("account_2")).await;
    bench
        .overwrite("peers", other.document("peers").await.fields)
        .await;
    assert_eq!(
        refused(&bench).await,
        ("peers".to_owned(), FileFault::Sealed)
    );
}

#[tokio::test]
async fn an_older_version_put_back_is_refused() {
    for bench in [Bench::memory(), Bench::sqlite()] {
        let bench = written(bench).await;
        let old = bench.document("peers").await.fields;
        let owner = bench.claim().await;
        owner.put(Kind::Sessions, "peer", "3");
        owner.files.flush().await.unwrap();
        owner.put(Kind::Device, "", "device 2");
        owner.files.flush().await.unwrap();
        bench.overwrite("peers", old).await;
        let fault = FileFault::Replayed {
            found: 2,
            vouched: 3,
        };
        assert_eq!(refused(&bench).await, ("peers".to_owned(), fault));
    }
}

#[tokio::test]
async fn an_older_version_in_a_newer_ones_fields_is_refused() {
    let bench = written(Bench::memory()).await;
    let old = bench.document("peers").await.fields;
    let owner = bench.claim().await;
    owner.put(Kind::Sessions, "peer", "3");
    owner.files.flush().await.unwrap();
    let new = bench.document("peers").await.fields;
    bench
        .overwrite("peers", with_sealed(&new, sealed(&old)))
        .await;
    assert_eq!(
        refused(&bench).await,
        ("peers".to_owned(), FileFault::Sealed)
    );
}

#[tokio::test]
async fn truncated_and_altered_files_are_refused() {
    let bench = written(Bench::memory()).await;
    let good = bench.document("peers").await.fields;
    let whole = sealed(&good);
    for length in [0, 1, 12, 27, whole.len() - 1] {
        bench
            .overwrite("peers", with_sealed(&good, whole[..length].to_vec()))
            .await;
        assert_eq!(
            refused(&bench).await,
            ("peers".to_owned(), FileFault::Sealed)
        );
    }
    for index in [0, 11, 12, whole.len() / 2, whole.len() - 1] {
        let mut altered = whole.clone();
        altered[index] ^= 0x10;
        bench.overwrite("peers", with_sealed(&good, altered)).await;
        assert_eq!(
            refused(&bench).await,
            ("peers".to_owned(), FileFault::Sealed)
        );
    }
    bench.overwrite("peers", good).await;
    assert_eq!(
        bench.claim().await.get(Kind::Sessions, "peer").unwrap(),
        SECRET
    );
}

#[tokio::test]
async fn a_removed_file_is_missed_and_one_put_back_is_refused() {
    for bench in [Bench::memory(), Bench::sqlite()] {
        let bench = written(bench).await;
        let prekeys = bench.document("prekeys").await.fields;
        bench.delete("prekeys").await;
        assert_eq!(
            refused(&bench).await,
            ("prekeys".to_owned(), FileFault::Missing)
        );
        bench.overwrite("prekeys", prekeys).await;
        bench.claim().await;

        // Split, and the whole put back beside its parts.
        let whole = bench.document("peers").await.fields;
        let owner = bench.claim().await;
        for index in 0..200 {
            owner.put(Kind::Sessions, &format!("peer{index}"), vec![1; 2_000]);
        }
        owner.files.flush().await.unwrap();
        bench.overwrite("peers", whole).await;
        assert_eq!(
            refused(&bench).await,
            ("peers".to_owned(), FileFault::Unvouched)
        );
    }
}

#[tokio::test]
async fn newer_programs_and_later_epochs_files_are_refused_as_such() {
    let bench = written(Bench::memory()).await;
    let good = bench.document("peers").await.fields;
    let mut newer = good.clone();
    newer.insert("schemaVersion".to_owned(), Value::Int(3));
    bench.overwrite("peers", newer.clone()).await;
    assert_eq!(refused(&bench).await.1, FileFault::Schema { found: 3 });
    bench.overwrite("peers", good.clone()).await;
    bench.overwrite("a-file-of-the-future", newer).await;
    assert_eq!(refused(&bench).await.1, FileFault::Schema { found: 3 });
    bench.overwrite("a-file-of-the-future", good.clone()).await;
    assert_eq!(refused(&bench).await.1, FileFault::Name);
    bench.delete("a-file-of-the-future").await;
    let mut later = good;
    later.insert("epoch".to_owned(), Value::Int(99));
    bench.overwrite("peers", later).await;
    assert!(matches!(
        refused(&bench).await.1,
        FileFault::Epoch { found: 99, .. }
    ));
}

#[tokio::test]
async fn another_data_key_opens_nothing() {
    let mut bench = written(Bench::memory()).await;
    bench.data_key = DataKey::generate(&SystemRng);
    assert_eq!(refused(&bench).await.1, FileFault::Sealed);
}

#[tokio::test]
async fn nothing_of_a_record_is_stored_in_clear() {
    let bench = written(Bench::memory()).await;
    for document in bench.documents().await {
        let bytes = sealed(&document.fields);
        assert!(!bytes.windows(8).any(|window| window == &SECRET[..8]));
        assert!(!bytes.windows(4).any(|window| window == b"peer"));
    }
}
