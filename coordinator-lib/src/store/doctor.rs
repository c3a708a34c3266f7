//! Whether a store keeps the promises that leases rest on, tried on the store
//! itself.
//!
//! The contract suite shows it for the stores of the tests; nobody has run it
//! against the reader's own Firestore project. These checks write a few small
//! documents under random ids into a scratch collection, and delete them again.

use std::time::Duration;

use futures::future::join_all;

use super::{
    Collection, Commit, CommitOutcome, Document, DocumentStore, Fields, Path, Precondition,
    StoreError, StoreTime, Value, Write,
};
use crate::clock::Clock;
use crate::rng::Rng;

/// What a check found: a fact, or what is wrong and what helps.
pub type Finding = Result<String, String>;

/// One check and what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in a word or two.
    pub name: &'static str,
    /// What was found.
    pub finding: Finding,
}

/// Commits that race for one document.
const RACERS: i64 = 12;

/// All of them are answered in this time. (A store that locks lets each wait
/// for seconds.)
const RACE_MAX: Duration = Duration::from_secs(5);

/// How long before a commit its time stamps may say that it was.
const STAMP_EARLIER_MAX: Duration = Duration::from_secs(1);

const NO_STORE_FOR_LEASES: &str = "accounts would not be safe on this store; use SQLite, or Firestore in Native mode, and \
     report this";

/// Tries what leases rest on, in this collection, which should be nobody's.
pub async fn checks(
    store: &dyn DocumentStore,
    scratch: &Collection,
    clock: &dyn Clock,
    rng: &dyn Rng,
) -> Vec<Check> {
    let mut bench = Bench {
        store,
        scratch,
        clock,
        nonce: rng.nonce(),
        used: Vec::new(),
    };
    let mut checks = Vec::new();
    for (name, finding) in [
        ("versions", versions(&mut bench).await),
        ("verify", verify(&mut bench).await),
        ("fence", fence(&mut bench).await),
        ("store time", time(&mut bench).await),
        ("time stamps", stamps(&mut bench).await),
        ("contention", contention(&mut bench).await),
        ("cleaning up", clean_up(&bench).await),
    ] {
        checks.push(Check {
            name,
            finding: finding.unwrap_or_else(|error| Err(error.to_string())),
        });
    }
    checks
}

/// What a check works with.
struct Bench<'a> {
    store: &'a dyn DocumentStore,
    scratch: &'a Collection,
    clock: &'a dyn Clock,
    nonce: String,
    /// What may have been written.
    used: Vec<Path>,
}

impl Bench<'_> {
    /// A document of this check's own.
    fn path(&mut self, name: &str) -> Result<Path, StoreError> {
        let path = self.scratch.doc(&format!("doctor-{}-{name}", self.nonce))?;
        self.used.push(path.clone());
        Ok(path)
    }

    async fn read(&self, path: &Path) -> Result<Option<Document>, StoreError> {
        let mut snapshot = self.store.get(std::slice::from_ref(path)).await?;
        Ok(snapshot.documents.pop().flatten())
    }

    /// A commit that nothing speaks against.
    async fn commit(&self, writes: Vec<Write>) -> Result<Commit, StoreError> {
        match self.store.commit(writes).await? {
            CommitOutcome::Committed(commit) => Ok(commit),
            CommitOutcome::Rejected => Err(StoreError::Contended {
                reason: "fresh documents were refused; run this again".to_owned(),
            }),
        }
    }

    /// A new document, and its version.
    async fn put(&self, path: &Path, n: i64) -> Result<StoreTime, StoreError> {
        let commit = self.commit(vec![set(path, n, Precondition::None)]).await?;
        Ok(commit.update_times.first().copied().unwrap_or(commit.time))
    }
}

fn set(path: &Path, n: i64, precondition: Precondition) -> Write {
    Write::Set {
        path: path.clone(),
        fields: Fields::from([("n".to_owned(), n.into())]),
        precondition,
    }
}

fn wrong(what: &str) -> Finding {
    Err(format!("{what}: {NO_STORE_FOR_LEASES}"))
}

/// A commit tells the version of everything that it wrote.
async fn versions(bench: &mut Bench<'_>) -> Result<Finding, StoreError> {
    let (a, b) = (bench.path("versions-a")?, bench.path("versions-b")?);
    let commit = bench
        .commit(vec![
            set(&a, 1, Precondition::Absent),
            set(&b, 1, Precondition::Absent),
        ])
        .await?;
    let mut found = Vec::new();
    for path in [&a, &b] {
        let document = bench.read(path).await?;
        found.extend(document.map(|document| document.update_time));
    }
    Ok(if found == commit.update_times {
        Ok("a commit tells the versions that it made".to_owned())
    } else {
        wrong("a commit told other versions than its documents have")
    })
}

/// A verify leaves the version as it is, and creates nothing.
async fn verify(bench: &mut Bench<'_>) -> Result<Finding, StoreError> {
    let (head, missing) = (bench.path("verify")?, bench.path("verify-missing")?);
    let version = bench.put(&head, 1).await?;
    let check = |path: &Path| Write::Verify {
        path: path.clone(),
        update_time: version,
    };
    let commit = bench.commit(vec![check(&head)]).await?;
    let after = bench.read(&head).await?.map(|head| head.update_time);
    if commit.update_times != [version] || after != Some(version) {
        return Ok(wrong("a verify moved the version of what it verified"));
    }
    let outcome = bench.store.commit(vec![check(&missing)]).await?;
    if outcome != CommitOutcome::Rejected || bench.read(&missing).await?.is_some() {
        return Ok(wrong("a verify of a missing document went through"));
    }
    Ok(Ok("it changes and creates nothing".to_owned()))
}

/// A stale version takes the whole commit with it.
async fn fence(bench: &mut Bench<'_>) -> Result<Finding, StoreError> {
    let (head, file) = (bench.path("fence")?, bench.path("fence-file")?);
    let stale = bench.put(&head, 1).await?;
    let version = bench.put(&head, 2).await?;
    if version <= stale {
        return Ok(wrong("a later version is not a greater one"));
    }
    let late = vec![
        Write::Verify {
            path: head.clone(),
            update_time: stale,
        },
        set(&file, 1, Precondition::None),
    ];
    let outcome = bench.store.commit(late).await?;
    if outcome != CommitOutcome::Rejected || bench.read(&file).await?.is_some() {
        return Ok(wrong("a write of an old owner went through"));
    }
    Ok(Ok("writes of an old owner are rejected".to_owned()))
}

/// Store time goes forward, over reads and commits.
async fn time(bench: &mut Bench<'_>) -> Result<Finding, StoreError> {
    let path = bench.path("time")?;
    let mut before = bench.store.ping().await?;
    for n in 0..3 {
        let commit = bench
            .commit(vec![set(&path, n, Precondition::None)])
            .await?;
        let after = bench.store.ping().await?;
        if commit.time < before || after < commit.time {
            return Ok(wrong("the store's time went back"));
        }
        before = after;
    }
    Ok(Ok(format!("it goes forward, and is {before}")))
}

/// What a commit stamps on its documents is its time, or shortly before it.
async fn stamps(bench: &mut Bench<'_>) -> Result<Finding, StoreError> {
    let path = bench.path("stamps")?;
    let write = Write::Set {
        path: path.clone(),
        fields: Fields::from([("at".to_owned(), Value::CommitTime)]),
        precondition: Precondition::None,
    };
    let commit = bench.commit(vec![write]).await?;
    let document = bench.read(&path).await?;
    let stamp = document.and_then(|mut document| document.fields.remove("at"));
    Ok(match stamp {
        Some(Value::Time(at))
            if at <= commit.time && commit.time.since(at) <= STAMP_EARLIER_MAX =>
        {
            let earlier = commit.time.since(at).as_millis();
            Ok(format!("{earlier} ms before their commit"))
        }
        Some(_) | None => wrong("a time stamp of the store is not the commit's"),
    })
}

/// Of those who write on the same version one wins, and nobody waits long.
async fn contention(bench: &mut Bench<'_>) -> Result<Finding, StoreError> {
    let path = bench.path("contention")?;
    let version = bench.put(&path, 0).await?;
    let began = bench.clock.boottime();
    let (store, path) = (bench.store, &path);
    let racing = (1..=RACERS).map(|racer| async move {
        store
            .commit(vec![set(path, racer, Precondition::Unchanged(version))])
            .await
    });
    let mut won = 0;
    for outcome in join_all(racing).await {
        match outcome {
            Ok(CommitOutcome::Committed(_)) => won += 1,
            // Contended: nothing was written, which is an answer, too.
            Ok(CommitOutcome::Rejected) | Err(StoreError::Contended { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let took = bench.clock.boottime() - began;
    Ok(if won != 1 {
        wrong(&format!("{won} of {RACERS} racing claims won"))
    } else if took > RACE_MAX {
        Err(format!(
            "{RACERS} racing claims took {} s: the store locks, or is far away; take a \
             database in the workers' region",
            took.as_secs()
        ))
    } else {
        let took = took.as_millis();
        Ok(format!("one of {RACERS} racing claims won, in {took} ms"))
    })
}

async fn clean_up(bench: &Bench<'_>) -> Result<Finding, StoreError> {
    let deletes: Vec<Write> = bench
        .used
        .iter()
        .map(|path| Write::Delete {
            path: path.clone(),
            precondition: Precondition::None,
        })
        .collect();
    let deleted = deletes.len();
    let _ = bench.store.commit_each(deletes).await?;
    Ok(Ok(format!("{deleted} scratch documents deleted")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::rng::SystemRng;
    use crate::store::{Fault, MemoryStore, Query};

    fn scratch() -> Collection {
        Collection::new("scratch").unwrap()
    }

    async fn run(store: &MemoryStore) -> Vec<Check> {
        checks(store, &scratch(), &SystemClock, &SystemRng).await
    }

    #[tokio::test]
    async fn a_good_store_passes_and_is_left_as_it_was() {
        let store = MemoryStore::new(SystemClock::shared());
        for check in run(&store).await {
            assert!(check.finding.is_ok(), "{check:?}");
        }
        assert_eq!(store.count(&Query::new(scratch())).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_failure_costs_one_check_and_leaves_nothing_behind() {
        let store = MemoryStore::new(SystemClock::shared());
        store.fail_next_commit(Fault::Unavailable);
        let found = run(&store).await;
        let failed: Vec<&str> = found
            .iter()
            .filter(|check| check.finding.is_err())
            .map(|check| check.name)
            .collect();
        assert_eq!(failed, ["versions"]);
        assert_eq!(store.count(&Query::new(scratch())).await.unwrap(), 0);
    }
}
