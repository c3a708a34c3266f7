//! Two accounts in every collection of the table; one of them is purged.

use std::collections::BTreeSet;

use coordinator_lib::coordinator::StoreMaker;
use coordinator_lib::lease::LeaseConfig;
use coordinator_lib::store::{Collection, Fault, Path, Store, fields_to_bytes};

use super::belongings::{BELONGINGS, Belonging, own_name, pattern};
use super::resume::{LEFT_AFTER, PurgeSweep, Resumed};
use super::*;
use crate::media::FileName;
use crate::media::tests::{in_folder, put};
use crate::model::Stored as _;
use crate::operator::OperatorParts;
use crate::testing::Bench;

const GONE: &str = "account_gone";
const STAYS: &str = "account_stays";
/// Long enough for a memory store.
const LIMIT: Duration = Duration::from_secs(10);

fn canary(account: &str) -> String {
    format!("canary of {account}")
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

fn path(collection: &str, id: &str) -> Path {
    Collection::new(collection).unwrap().doc(id).unwrap()
}

/// A document of this collection, or two, that belong to an account.
fn of_line(name: &str, belonging: Belonging, account: &str) -> Vec<(Path, Fields)> {
    let secret = ("body".to_owned(), text(canary(account)));
    let owner = ("accountId".to_owned(), text(account));
    let file = ("mediaId".to_owned(), text(format!("med_{}", account.len())));
    match belonging {
        Belonging::Root | Belonging::Nobodys(_) | Belonging::ByUse => Vec::new(),
        Belonging::BelowRoot => {
            let collection = name.replace('*', account);
            vec![(path(&collection, "x1"), [secret].into())]
        }
        Belonging::ById => vec![(path(name, account), [secret].into())],
        Belonging::ByAccount => ["x1", "x2"]
            .map(|id| {
                let fields = [secret.clone(), owner.clone(), file.clone()].into();
                (path(name, &format!("{account}-{id}")), fields)
            })
            .into(),
        Belonging::Below(parent) => {
            let below = format!("{parent}/{account}-x1/{}", own_name(name));
            vec![(path(&below, "x1"), [secret].into())]
        }
        Belonging::Listed => {
            let list = |ids: &[&str]| {
                let ids = ids.iter().map(|id| text(*id)).collect();
                [("accounts".to_owned(), Value::List(ids))].into()
            };
            vec![
                (
                    path(name, &format!("{}-alone", account.len())),
                    list(&[account]),
                ),
                (path(name, "both"), list(&[GONE, STAYS])),
                (path(name, "all"), [secret_of_nobody()].into()),
            ]
        }
        Belonging::Named => {
            let subject = ("subject".to_owned(), text(account));
            let entry = |method: &str| {
                let method = ("method".to_owned(), text(method));
                let route = ("route".to_owned(), text("/v1/accounts/{id}"));
                [subject.clone(), method, route].into()
            };
            vec![
                (
                    path(name, &format!("{}-patch", account.len())),
                    entry("PATCH"),
                ),
                (
                    path(name, &format!("{}-delete", account.len())),
                    entry("DELETE"),
                ),
            ]
        }
    }
}

fn secret_of_nobody() -> (String, Value) {
    ("name".to_owned(), text("everybody"))
}

struct Stage {
    bench: Bench,
    operator: Operator,
    media: MediaStore,
    _folder: tempfile::TempDir,
    gone: AccountId,
}

impl Stage {
    /// Both accounts, with something in every collection.
    async fn new() -> Self {
        let bench = Bench::new();
        let gone = bench.account(GONE).await;
        bench.account(STAYS).await;
        let (folder, media) = in_folder();
        for account in [GONE, STAYS] {
            let id = format!("med_{}", account.len());
            put(&media, &id, canary(account).as_bytes()).await;
            write(&bench.store, path("media", &id), Fields::new()).await;
            for (name, belonging, _) in BELONGINGS {
                for (path, fields) in of_line(name, *belonging, account) {
                    write(&bench.store, path, fields).await;
                }
            }
        }
        Self {
            operator: operator(&bench).await,
            bench,
            media,
            _folder: folder,
            gone,
        }
    }

    async fn purge(&self) -> Result<Progress, PurgeError> {
        run(&self.operator, &self.media, &self.gone, LIMIT).await
    }

    async fn account(&self) -> Document {
        let found = self.bench.store.get(&[self.gone.account_path()]).await;
        found.unwrap().documents.remove(0).unwrap()
    }

    async fn is_half_purged(&self) -> bool {
        let query = crate::model::queries::accounts_half_purged().unwrap();
        self.bench.store.count(&query).await.unwrap() > 0
    }

    /// Documents but for those of worker sessions, which beat.
    fn documents(&self) -> Vec<Document> {
        let mut documents = self.bench.memory.documents();
        documents.retain(|document| document.path.collection().to_string() != "workers");
        documents
    }

    /// Those that hold nothing of the account that goes.
    fn of_others(&self) -> Vec<Document> {
        let mut documents = self.documents();
        documents.retain(|document| !tells_of(document, GONE));
        documents
    }

    /// Everything that is left of it, by path.
    fn left(&self) -> Vec<String> {
        let documents = self.documents();
        let left = documents.iter().filter(|document| tells_of(document, GONE));
        left.map(|document| document.path.to_string()).collect()
    }

    async fn has_file(&self, account: &str) -> bool {
        let id = format!("med_{}", account.len());
        let name = FileName::given(&id).unwrap();
        self.media.read(&name).await.is_ok()
    }
}

async fn operator(bench: &Bench) -> Operator {
    Operator::begin(operator_parts(bench), "purge")
        .await
        .unwrap()
}

fn operator_parts(bench: &Bench) -> OperatorParts {
    let store = Arc::clone(&bench.store);
    let heartbeat: StoreMaker = Arc::new(move || {
        let store = Arc::clone(&store);
        Box::pin(async move { Ok(store) })
    });
    OperatorParts {
        store: Arc::clone(&bench.store),
        heartbeat,
        presence: None,
        keys: Arc::clone(&bench.keys),
        clock: Arc::clone(&bench.clock),
        rng: Arc::clone(&bench.rng),
        lease: LeaseConfig::default(),
    }
}

fn tells_of(document: &Document, account: &str) -> bool {
    let own_file = format!("med_{}", account.len());
    let is_named = document.path.to_string().contains(account);
    is_named || document.path.id() == own_file || holds(&document.fields, account)
}

/// Whether a text is in what a document holds. `Debug` would hide it.
fn holds(fields: &Fields, text: &str) -> bool {
    let bytes = fields_to_bytes(fields);
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

async fn write(store: &Store, path: Path, fields: Fields) {
    let write = Write::Set {
        path,
        fields,
        precondition: Precondition::None,
    };
    let outcome = store.commit(vec![write]).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
}

/// What a purge leaves: tombstones, and that somebody asked for it.
fn is_tombstone(path: &str) -> bool {
    path == format!("accounts/{GONE}")
        || path == format!("wa_sessions/{GONE}")
        || path == format!("audit/{}-delete", GONE.len())
}

#[tokio::test]
async fn nothing_is_left_but_the_tombstone_and_another_account_is_untouched() {
    let stage = Stage::new().await;
    let filled: BTreeSet<String> = stage
        .documents()
        .iter()
        .map(|document| pattern(&document.path.collection().to_string()))
        .collect();
    for (name, belonging, _) in BELONGINGS {
        let is_nobodys = matches!(belonging, Belonging::Nobodys(_));
        assert!(is_nobodys || filled.contains(*name), "{name} is not tried");
    }
    let others = stage.of_others();
    let Progress::Purged { removed, .. } = stage.purge().await.unwrap() else {
        panic!("it was free");
    };
    assert!(removed > 30, "{removed}");
    let left = stage.left();
    assert!(left.iter().all(|path| is_tombstone(path)), "{left:?}");
    assert_eq!(left.len(), 3, "{left:?}");
    for document in stage.documents() {
        assert!(!holds(&document.fields, &canary(GONE)), "{}", document.path);
    }
    assert!(!stage.has_file(GONE).await);

    // Of the other account not a byte is another.
    let after = stage.of_others();
    for document in &others {
        assert!(after.contains(document), "{} was changed", document.path);
    }
    assert!(stage.has_file(STAYS).await);
    let both = stage.bench.store.get(&[path("webhooks", "both")]).await;
    let both = both.unwrap().documents.remove(0).unwrap();
    assert_eq!(both.fields["accounts"], Value::List(vec![text(STAYS)]));

    // The tombstone keeps the epoch and nothing else.
    let found = stage.bench.store.get(&[stage.gone.account_path()]).await;
    let tombstone = found.unwrap().documents.remove(0).unwrap();
    let names: Vec<&str> = tombstone.fields.keys().map(String::as_str).collect();
    let expected = [
        "desired",
        "leaseEpoch",
        "purgedAt",
        "releasedEpoch",
        "schemaVersion",
    ];
    assert_eq!(names, expected);
    assert_eq!(tombstone.fields["leaseEpoch"], Value::Int(1));
    let doc = crate::model::AccountDoc::read_or_skip(&tombstone)
        .unwrap()
        .value;
    assert!(doc.is_purged());
    assert!(!crate::supervisor::wanted::is_wanted(&doc));
    stage.operator.close().await;
}

#[tokio::test]
async fn interrupted_at_any_commit_the_next_run_goes_on() {
    let mut at = 0;
    loop {
        let stage = Stage::new().await;
        let memory = &stage.bench.memory;
        let before = memory.commits();
        // Let `at` commits pass, then fail: as if the process had ended there.
        memory.fail_after(at, Fault::Unavailable);
        let first = stage.purge().await;
        if first.is_ok() {
            assert!(memory.commits() - before > 20, "it has many commits");
            break;
        }
        let Progress::Purged { .. } = stage.purge().await.unwrap() else {
            panic!("it was free");
        };
        let left = stage.left();
        assert!(left.iter().all(|path| is_tombstone(path)), "{at}: {left:?}");
        assert!(!stage.is_half_purged().await, "{at}");
        stage.operator.close().await;
        at += 1;
    }
}

#[tokio::test]
async fn interrupted_at_any_commit_it_goes_on_by_itself() {
    let mut at = 0;
    loop {
        let mut stage = Stage::new().await;
        stage.bench.memory.fail_after(at, Fault::Unavailable);
        let first = stage.purge().await;
        if first.is_ok() {
            break;
        }
        // Whoever had begun it has ended.
        let other = operator(&stage.bench).await;
        std::mem::replace(&mut stage.operator, other).close().await;
        let sweep = PurgeSweep {
            operator: operator_parts(&stage.bench),
            media: stage.media.clone(),
            left_after: Duration::ZERO,
        };
        let resumed = sweep.pass().await.unwrap();
        let left = stage.left();
        match desired(&stage.account().await) {
            Some("purged") => {
                assert!(left.iter().all(|path| is_tombstone(path)), "{at}: {left:?}");
                assert!(!stage.is_half_purged().await, "{at}");
            }
            // It had not begun.
            other => {
                let expected = (Some("running"), Resumed::default());
                assert_eq!((other, resumed), expected, "{at}");
                assert_eq!(at, 0);
            }
        }
        at += 1;
    }
    assert!(at > 20, "it has many commits");
}

#[tokio::test]
async fn a_purge_that_somebody_works_on_is_left_to_them() {
    let stage = Stage::new().await;
    assert!(matches!(
        mark(&stage.operator, &stage.gone).await,
        Ok(Mark::Marked)
    ));
    let sweep = PurgeSweep {
        operator: operator_parts(&stage.bench),
        media: stage.media.clone(),
        left_after: LEFT_AFTER,
    };
    assert_eq!(sweep.pass().await.unwrap(), Resumed::default());
    assert_eq!(desired(&stage.account().await), Some("purging"));
}

#[tokio::test]
async fn a_purged_account_is_never_claimed_again_and_another_purge_says_so() {
    let stage = Stage::new().await;
    let Progress::Purged { at, .. } = stage.purge().await.unwrap() else {
        panic!("it was free");
    };
    assert!(matches!(
        stage.operator.claim(&stage.gone).await,
        Err(OperatorError::Missing)
    ));
    let again = stage.purge().await.unwrap();
    assert_eq!(again, Progress::Purged { at, removed: 0 });
    let unknown = AccountId::new("account_unknown").unwrap();
    let unknown = run(&stage.operator, &stage.media, &unknown, LIMIT).await;
    assert!(matches!(unknown, Err(PurgeError::Missing)));
    stage.operator.close().await;
}

#[tokio::test]
async fn an_owner_is_waited_for_and_what_it_writes_late_is_refused() {
    let mut stage = Stage::new().await;
    // Not a session's file: an owner would refuse it.
    let file = path(&format!("wa_sessions/{GONE}/files"), "x1");
    let removal = Write::Delete {
        path: file,
        precondition: Precondition::None,
    };
    assert!(stage.bench.store.commit(vec![removal]).await.is_ok());
    // Finds every session dead that there was before.
    let ownership = stage.bench.claim("alice", &stage.gone).await;
    stage.operator = operator(&stage.bench).await;
    let term = crate::account::term::Term::begin(stage.bench.term_parts(), ownership)
        .await
        .unwrap();
    let short = Duration::from_millis(300);
    let waiting = run(&stage.operator, &stage.media, &stage.gone, short).await;
    let owner = Some("alice".to_owned());
    assert_eq!(waiting.unwrap(), Progress::Waiting { owner });

    // Nobody lets it go: its worker is found dead, and the purge goes on.
    let ownership = stage.bench.claim("bob", &stage.gone).await;
    let _ = ownership.release(ReleaseReason::Asked).await.unwrap();
    stage.operator = operator(&stage.bench).await;
    assert!(matches!(stage.purge().await, Ok(Progress::Purged { .. })));
    let late = Write::Set {
        path: path("threads", "late"),
        fields: [("accountId".to_owned(), text(GONE))].into(),
        precondition: Precondition::Absent,
    };
    assert!(term.commit(vec![late]).await.is_err());
    let left = stage.left();
    assert!(left.iter().all(|path| is_tombstone(path)), "{left:?}");
}

#[tokio::test]
async fn a_file_that_another_account_sends_stays() {
    let stage = Stage::new().await;
    let shared = format!("med_{}", GONE.len());
    let fields = [
        ("accountId".to_owned(), text(STAYS)),
        ("mediaId".to_owned(), text(&*shared)),
    ];
    write(
        &stage.bench.store,
        path("wa_outbox", "other"),
        fields.into(),
    )
    .await;
    assert!(matches!(stage.purge().await, Ok(Progress::Purged { .. })));
    assert!(stage.has_file(GONE).await, "it is not this account's alone");
    stage.operator.close().await;
}
