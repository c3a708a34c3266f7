//! Archives that are whole, cut off, altered and hostile; and a session that
//! comes back from one.

use std::sync::Arc;

use coordinator_lib::identity::AccountId;
use coordinator_lib::lease::LeaseConfig;
use coordinator_lib::rng::SeededRng;
use coordinator_lib::store::{
    CommitOutcome, Fields, Path, Precondition, Store, StoreTime, Value, Write,
};
use session::{KeyRing, Kind};
use whatsapp::baileys::{ImportOptions, Records, import};

use super::archive::{ArchiveError, Count, Reader, Writer};
use super::collect::{CollectError, Source};
use super::contents::{Contents, ContentsError, Part};
use super::restore::{Restore, RestoreError, RestoreOptions, Restored};
use crate::baileys::intake::{Intake, IntakeOutcome};
use crate::baileys::outlet::records;
use crate::baileys::source;
use crate::model::{AccountDoc, Desired, Status, Stored as _};
use crate::operator::{Operator, OperatorError, OperatorParts};
use crate::testing::Bench;

const FIXTURE: &str = include_str!("../../whatsapp/src/baileys/fixture.json");
const NOW: i64 = 1_800_000_000;
const MADE_AT: StoreTime = StoreTime::from_micros(1_700_000_000_000_000);

fn parts(bench: &Bench, keys: &Arc<KeyRing>) -> OperatorParts {
    let store = Arc::clone(&bench.store);
    OperatorParts {
        store: Arc::clone(&bench.store),
        heartbeat: Arc::new(move || {
            let store = Arc::clone(&store);
            Box::pin(async move { Ok(store) })
        }),
        presence: None,
        keys: Arc::clone(keys),
        clock: Arc::clone(&bench.clock),
        rng: Arc::clone(&bench.rng),
        lease: LeaseConfig::default(),
    }
}

/// A store with an imported session and something said.
struct Stage {
    bench: Bench,
    operator: Operator,
    keys: Arc<KeyRing>,
    account: AccountId,
}

impl Stage {
    /// Without accounts.
    async fn empty(keys: Option<Arc<KeyRing>>) -> Self {
        let bench = Bench::new();
        let keys = keys.unwrap_or_else(|| Arc::clone(&bench.keys));
        Self {
            operator: Operator::begin(parts(&bench, &keys), "backup")
                .await
                .unwrap(),
            keys,
            account: AccountId::new("eu").unwrap(),
            bench,
        }
    }

    async fn new() -> Self {
        let stage = Self::empty(None).await;
        let found = source::from_bytes(FIXTURE.as_bytes(), "fixture").unwrap();
        let files = found[0].files().unwrap().into_owned();
        let session = import(&files, ImportOptions::at(NOW)).unwrap();
        let intake = Intake {
            account: stage.account.clone(),
            name: "sales".to_owned(),
            session: &session,
            files: &files,
            start: true,
        };
        let outcome = intake.run(&stage.operator).await.unwrap();
        assert_eq!(outcome, IntakeOutcome::Imported);
        stage.say("threads/t1", "first").await;
        stage.say("threads/t1/messages/m1", "first").await;
        stage
    }

    async fn say(&self, path: &str, body: &str) {
        let fields = [
            ("accountId".to_owned(), Value::from("eu")),
            ("body".to_owned(), Value::from(body)),
        ];
        put(&self.bench.store, path, fields.into()).await;
    }

    async fn backup(&self) -> Vec<u8> {
        let rng = SeededRng::new(3);
        let mut out = Writer::begin(Vec::new(), &self.keys, &rng, MADE_AT).unwrap();
        let source = Source {
            store: &self.bench.store,
            keys: &self.keys,
            clock: &self.bench.clock,
        };
        source.account(&self.account, &mut out).await.unwrap();
        let (count, bytes) = out.end().unwrap();
        assert_eq!(count.accounts, 1);
        bytes
    }

    async fn restore(
        &self,
        archive: &[u8],
        options: RestoreOptions,
    ) -> Result<(Restored, u64), RestoreError> {
        let mut contents = contents(archive, &self.keys).unwrap();
        let Some(Part::Session(saved)) = contents.part().unwrap() else {
            panic!("it begins with an account")
        };
        let (data_key, snapshot) = saved.open(&self.keys).unwrap();
        let restore = Restore {
            operator: &self.operator,
            saved: &saved,
            data_key: &data_key,
            options,
        };
        let restored = restore.session(snapshot).await?;
        let mut added = 0;
        while let Some(part) = contents.part().unwrap() {
            let Part::Conversations(entries) = part else {
                panic!("there is one account")
            };
            added += restore.conversations(entries).await?;
        }
        restore.open().await?;
        Ok((restored, added))
    }

    async fn records(&self) -> Records {
        let term = self.operator.claim(&self.account).await.unwrap();
        let records = records(&term.files);
        self.operator.give_back(term).await.unwrap();
        records
    }

    /// Traffic: the session goes on.
    async fn go_on(&self) {
        let term = self.operator.claim(&self.account).await.unwrap();
        term.files
            .put(Kind::TcTokens, b"later", b"later".to_vec())
            .unwrap();
        term.files.flush().await.unwrap();
        self.operator.give_back(term).await.unwrap();
    }

    async fn doc(&self) -> AccountDoc {
        let found = self.bench.store.get(&[self.account.account_path()]).await;
        let document = found.unwrap().documents.remove(0).unwrap();
        AccountDoc::read_or_skip(&document).unwrap().value
    }

    async fn body(&self, path: &str) -> Option<Value> {
        let found = self.bench.store.get(&[Path::new(path).unwrap()]).await;
        let document = found.unwrap().documents.remove(0)?;
        document.fields.get("body").cloned()
    }
}

async fn put(store: &Store, path: &str, fields: Fields) {
    let write = Write::Set {
        path: Path::new(path).unwrap(),
        fields,
        precondition: Precondition::None,
    };
    let outcome = store.commit(vec![write]).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
}

fn contents<'a>(archive: &'a [u8], keys: &KeyRing) -> Result<Contents<&'a [u8]>, ArchiveError> {
    Ok(Contents::new(Reader::open(archive, keys)?))
}

/// All of it, opened and checked.
fn read(archive: &[u8], keys: &KeyRing) -> Result<usize, ContentsError> {
    let mut contents = contents(archive, keys)?;
    let mut parts = 0;
    while let Some(part) = contents.part()? {
        if let Part::Session(saved) = part {
            saved.open(keys)?;
        }
        parts += 1;
    }
    Ok(parts)
}

#[tokio::test]
async fn a_session_comes_back_into_an_empty_store() {
    let stage = Stage::new().await;
    let before = stage.records().await;
    let epoch = stage.doc().await.lease_epoch;
    let archive = stage.backup().await;
    stage.operator.close().await;

    let other = Stage::empty(Some(Arc::clone(&stage.keys))).await;
    let restored = other.restore(&archive, RestoreOptions::default()).await;
    assert_eq!(restored.unwrap(), (Restored::Made, 2));
    let doc = other.doc().await;
    assert_eq!(
        (doc.status, doc.desired),
        (Status::Stopped, Desired::Stopped)
    );
    assert_eq!(doc.name, "sales");
    assert!(doc.jid.is_some() && doc.paired_at.is_some());
    assert!(
        doc.lease_epoch > epoch + super::NUMBERS_AHEAD,
        "{}",
        doc.lease_epoch
    );
    assert_eq!(
        other.body("threads/t1/messages/m1").await,
        Some("first".into())
    );
    let after = other.records().await;
    let places = |records: &Records| records.keys().cloned().collect::<Vec<_>>();
    assert_eq!(places(&before), places(&after));
    // Chains that send were moved.
    for kind in [Kind::Device, Kind::Sessions] {
        let of = |records: &Records| {
            let own = records.iter().filter(|((one, _), _)| *one == kind);
            own.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        assert_ne!(of(&before), of(&after), "{kind:?}");
    }
    // It is the newer one, once it goes on.
    other.go_on().await;
    let again = other.restore(&archive, RestoreOptions::default()).await;
    assert!(matches!(again, Err(RestoreError::Stale { .. })));
    other.operator.close().await;
}

#[tokio::test]
async fn a_session_that_went_on_is_not_overwritten_unless_that_is_forced() {
    let stage = Stage::new().await;
    let archive = stage.backup().await;
    let same = stage.restore(&archive, RestoreOptions::default()).await;
    assert_eq!(same.unwrap(), (Restored::Kept, 0));
    assert_eq!(
        stage.doc().await.desired,
        Desired::Running,
        "nothing was changed"
    );

    stage.go_on().await;
    stage.say("threads/t1/messages/m1", "edited since").await;
    let before = stage.records().await;
    let refused = stage.restore(&archive, RestoreOptions::default()).await;
    assert!(
        matches!(refused, Err(RestoreError::Stale { .. })),
        "{refused:?}"
    );
    assert_eq!(stage.records().await, before);
    assert_eq!(stage.doc().await.desired, Desired::Running);

    let forced = RestoreOptions {
        force_stale: true,
        start: false,
    };
    let epoch = stage.doc().await.lease_epoch;
    let restored = stage.restore(&archive, forced).await.unwrap();
    assert_eq!(restored, (Restored::Replaced, 0));
    let doc = stage.doc().await;
    assert_eq!(doc.status, Status::Stopped);
    assert!(doc.lease_epoch > epoch);
    let later = (Kind::TcTokens, b"later".to_vec());
    assert!(!stage.records().await.contains_key(&later));
    // What was said since stays as it is.
    let body = stage.body("threads/t1/messages/m1").await;
    assert_eq!(body, Some("edited since".into()));
    stage.operator.close().await;
}

#[tokio::test]
async fn an_account_that_somebody_owns_is_left_alone() {
    let stage = Stage::new().await;
    let archive = stage.backup().await;
    let other = Operator::begin(parts(&stage.bench, &stage.keys), "other").await;
    let other = other.unwrap();
    let held = other.claim(&stage.account).await.unwrap();
    let refused = stage.restore(&archive, RestoreOptions::default()).await;
    assert!(matches!(
        refused,
        Err(RestoreError::Operator(OperatorError::Held))
    ));
    other.give_back(held).await.unwrap();
    other.close().await;
    stage.operator.close().await;
}

#[tokio::test]
async fn a_session_that_does_not_open_is_replaced_where_that_is_forced() {
    let stage = Stage::new().await;
    let archive = stage.backup().await;
    let files = session::files_collection(&stage.account).to_string();
    let broken = [("schemaVersion".to_owned(), Value::Int(1))];
    put(
        &stage.bench.store,
        &format!("{files}/device"),
        broken.into(),
    )
    .await;
    let refused = stage.restore(&archive, RestoreOptions::default()).await;
    assert!(matches!(
        refused,
        Err(RestoreError::Operator(OperatorError::Term(_)))
    ));
    let forced = RestoreOptions {
        force_stale: true,
        start: true,
    };
    let restored = stage.restore(&archive, forced).await.unwrap();
    assert_eq!(restored.0, Restored::Replaced);
    assert_eq!(stage.doc().await.desired, Desired::Running);
    stage.operator.close().await;
}

#[tokio::test]
async fn what_is_cut_off_or_altered_is_refused_wherever_that_is() {
    let stage = Stage::new().await;
    let archive = stage.backup().await;
    assert_eq!(read(&archive, &stage.keys).unwrap(), 2);
    let step = (archive.len() / 400).max(1);
    for at in (0..archive.len()).step_by(step) {
        assert!(read(&archive[..at], &stage.keys).is_err(), "cut at {at}");
        let mut altered = archive.clone();
        altered[at] ^= 0x20;
        assert!(read(&altered, &stage.keys).is_err(), "altered at {at}");
    }
    let longer = [&archive[..], b"x"].concat();
    assert!(read(&longer, &stage.keys).is_err(), "something follows");
    let foreign = read(b"PK\x03\x04 something else entirely", &stage.keys);
    assert!(matches!(
        foreign,
        Err(ContentsError::Archive(ArchiveError::Foreign))
    ));
    let stranger = KeyRing::generate(&SeededRng::new(9));
    assert!(matches!(
        read(&archive, &stranger),
        Err(ContentsError::Archive(ArchiveError::Keys(_)))
    ));
    stage.operator.close().await;
}

/// An archive that somebody made who knows the public key, of these documents.
fn made_of(keys: &KeyRing, documents: &[(&str, Fields)]) -> Vec<u8> {
    let rng = SeededRng::new(4);
    let mut out = Writer::begin(Vec::new(), keys, &rng, MADE_AT).unwrap();
    for (path, fields) in documents {
        out.add(&Path::new(path).unwrap(), fields).unwrap();
    }
    let (count, bytes) = out.end().unwrap();
    assert_eq!(count.entries as usize, documents.len());
    bytes
}

#[tokio::test]
async fn a_document_that_has_no_business_in_a_backup_refuses_it() {
    let stage = Stage::new().await;
    let head = stage.bench.store.get(&[stage.account.head_path()]).await;
    let head = head.unwrap().documents.remove(0).unwrap().fields;
    let of = |account: &str| Fields::from([("accountId".to_owned(), Value::from(account))]);
    let (own, others) = (|| of("eu"), || of("us"));
    let account = ("accounts/eu", Fields::new());
    let roots = vec![account.clone(), ("wa_sessions/eu", head.clone())];
    assert_eq!(read(&made_of(&stage.keys, &roots), &stage.keys).unwrap(), 1);
    for bad in [
        vec![("threads/t1", own())],
        vec![account.clone(), ("threads/t1", own())],
        vec![account.clone(), ("wa_sessions/us", head.clone())],
        [roots.clone(), vec![("threads/t1", others())]].concat(),
        [roots.clone(), vec![("threads/t1", Fields::new())]].concat(),
        [roots.clone(), vec![("api_keys/k1", own())]].concat(),
        [roots.clone(), vec![("config/record_sweep", own())]].concat(),
        [roots.clone(), vec![("wa_sessions/us/files/device", own())]].concat(),
        [roots.clone(), vec![("wa_sessions/eu/files/device", own())]].concat(),
        [roots.clone(), roots.clone()].concat(),
    ] {
        let refused = read(&made_of(&stage.keys, &bad), &stage.keys);
        assert!(refused.is_err(), "{bad:?}");
    }
    stage.operator.close().await;
}

#[tokio::test]
async fn a_purged_account_is_neither_saved_nor_brought_back() {
    let stage = Stage::new().await;
    let archive = stage.backup().await;
    let media = crate::media::MediaStore::default();
    let limit = std::time::Duration::from_secs(10);
    let purged = crate::purge::run(&stage.operator, &media, &stage.account, limit).await;
    assert!(matches!(purged, Ok(crate::purge::Progress::Purged { .. })));
    let refused = stage.restore(&archive, RestoreOptions::default()).await;
    assert!(matches!(refused, Err(RestoreError::Purged)), "{refused:?}");
    let rng = SeededRng::new(5);
    let mut out = Writer::begin(Vec::new(), &stage.keys, &rng, MADE_AT).unwrap();
    let source = Source {
        store: &stage.bench.store,
        keys: &stage.keys,
        clock: &stage.bench.clock,
    };
    let left_out = source.account(&stage.account, &mut out).await;
    assert!(matches!(left_out, Err(CollectError::Purged)));
    assert_eq!(out.end().unwrap().0, Count::default());
    stage.operator.close().await;
}
