//! The one thread that writes, and its queue.
//!
//! What waits in the queue when the thread comes round is made in one
//! transaction (*group commit*): one lock, one fsync. Each commit of a group has
//! a time and an outcome of its own; one that is rejected or fails takes no other
//! with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::clock::StoreClock;
use super::indexes::Index;
use super::{failure, schema, transaction};
use crate::store::limits::write_bytes;
use crate::store::watch::Notifier;
use crate::store::{CommitOutcome, StoreError, StoreTime, Write, WriteOutcome};

/// Commits that wait for the writer; more callers wait for room. Each is at
/// most 3 MiB, and usually a few KiB.
const QUEUE_MAX: usize = 256;

/// Commits in one transaction: enough to share an fsync, few enough that a
/// group takes milliseconds.
const GROUP_COMMITS_MAX: usize = 64;

/// Bytes in one transaction, about: a quarter of what the log holds at most.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Deletions are forgotten every so many groups.
const FORGET_EVERY_GROUPS: u64 = 1024;

/// The writer, as the store sees it.
pub(super) struct WriterHandle {
    /// `None` once the store is closed.
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    last_own: Arc<AtomicI64>,
}

enum Job {
    Commit {
        writes: Vec<Write>,
        reply: oneshot::Sender<Result<CommitOutcome, StoreError>>,
    },
    Each {
        writes: Vec<Write>,
        reply: oneshot::Sender<Result<Vec<WriteOutcome>, StoreError>>,
    },
    Index {
        index: Index,
        reply: oneshot::Sender<()>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

impl WriterHandle {
    /// Starts the thread; it ends when the handle is dropped or closed.
    pub(super) fn start(
        connection: Connection,
        clock: StoreClock,
        notifier: Notifier,
    ) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let last_own = Arc::new(AtomicI64::new(0));
        let writer = Writer {
            connection,
            clock,
            notifier,
            groups: 0,
            last_own: Arc::clone(&last_own),
        };
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(jobs))
            .map_err(|error| {
                StoreError::unavailable(format!("the store's thread cannot be started: {error}"))
            })?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            last_own,
        })
    }

    /// The time of the last commit that this process made.
    pub(super) fn last_own(&self) -> StoreTime {
        StoreTime::from_micros(self.last_own.load(Ordering::Acquire))
    }

    pub(super) async fn commit(&self, writes: Vec<Write>) -> Result<CommitOutcome, StoreError> {
        self.ask(|reply| Job::Commit { writes, reply }).await?
    }

    pub(super) async fn commit_each(
        &self,
        writes: Vec<Write>,
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        self.ask(|reply| Job::Each { writes, reply }).await?
    }

    /// Makes an index; a failure is logged, and leaves queries slower.
    pub(super) async fn make_index(&self, index: Index) {
        // A closed store says so to the query that follows.
        let _ = self.ask(|reply| Job::Index { index, reply }).await;
    }

    pub(super) async fn close(&self) {
        // An error says that it was closed before.
        let _ = self.ask(|reply| Job::Close { reply }).await;
        self.queue.lock().take();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.lock().is_none()
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, StoreError> {
        let queue = self.queue.lock().clone().ok_or_else(failure::closed)?;
        let (reply, answer) = oneshot::channel();
        queue
            .send(job(reply))
            .await
            .map_err(|_| failure::closed())?;
        answer.await.map_err(|_| StoreError::Ambiguous {
            reason: "the store's thread ended before it answered".to_owned(),
        })
    }
}

/// A job that writes documents, on its way through a group.
enum Batch {
    Commit {
        writes: Vec<Write>,
        reply: oneshot::Sender<Result<CommitOutcome, StoreError>>,
    },
    Each {
        writes: Vec<Write>,
        reply: oneshot::Sender<Result<Vec<WriteOutcome>, StoreError>>,
    },
}

/// What became of a batch, to be told once the transaction is final.
enum Outcome {
    Commit(CommitOutcome),
    Each(Vec<WriteOutcome>),
}

impl Batch {
    fn writes(&self) -> &[Write] {
        match self {
            Batch::Commit { writes, .. } | Batch::Each { writes, .. } => writes,
        }
    }

    fn bytes(&self) -> usize {
        self.writes().iter().map(write_bytes).sum()
    }

    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Batch::Commit { reply, .. } => reply.is_closed(),
            Batch::Each { reply, .. } => reply.is_closed(),
        }
    }

    fn answer(self, outcome: Result<Outcome, StoreError>) {
        // Whoever does not wait any more does not want to know.
        match (self, outcome) {
            (Batch::Commit { reply, .. }, Ok(Outcome::Commit(outcome))) => {
                let _ = reply.send(Ok(outcome));
            }
            (Batch::Each { reply, .. }, Ok(Outcome::Each(outcomes))) => {
                let _ = reply.send(Ok(outcomes));
            }
            (Batch::Commit { reply, .. }, Err(error)) => {
                let _ = reply.send(Err(error));
            }
            (Batch::Each { reply, .. }, Err(error)) => {
                let _ = reply.send(Err(error));
            }
            (Batch::Commit { .. }, Ok(Outcome::Each(_)))
            | (Batch::Each { .. }, Ok(Outcome::Commit(_))) => {
                unreachable!("an outcome is made by the batch that it answers")
            }
        }
    }
}

/// A group that was made.
struct Attempted {
    outcomes: Vec<Result<Outcome, StoreError>>,
    /// The time of the last commit before it, by whichever process.
    before: StoreTime,
    /// The time of the last commit with it.
    last: StoreTime,
}

struct Writer {
    connection: Connection,
    clock: StoreClock,
    notifier: Notifier,
    groups: u64,
    last_own: Arc<AtomicI64>,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut held: Option<Job> = None;
        while let Some(job) = held.take().or_else(|| jobs.blocking_recv()) {
            let first = match job {
                Job::Commit { writes, reply } => Batch::Commit { writes, reply },
                Job::Each { writes, reply } => Batch::Each { writes, reply },
                Job::Index { index, reply } => {
                    self.make_index(&index);
                    let _ = reply.send(());
                    continue;
                }
                Job::Close { reply } => {
                    // The file is closed by the time that the answer is there.
                    drop(self);
                    let _ = reply.send(());
                    return;
                }
            };
            let mut bytes = first.bytes();
            let mut group = vec![first];
            while group.len() < GROUP_COMMITS_MAX && bytes < GROUP_BYTES_MAX {
                match jobs.try_recv() {
                    Ok(Job::Commit { writes, reply }) => {
                        group.push(Batch::Commit { writes, reply });
                    }
                    Ok(Job::Each { writes, reply }) => group.push(Batch::Each { writes, reply }),
                    Ok(other @ (Job::Index { .. } | Job::Close { .. })) => {
                        held = Some(other);
                        break;
                    }
                    Err(_) => break,
                }
                bytes += group.last().map_or(0, Batch::bytes);
            }
            group.retain(|batch| !batch.is_abandoned());
            self.write(group);
        }
    }

    fn write(&mut self, group: Vec<Batch>) {
        if group.is_empty() {
            return;
        }
        match self.attempt(&group) {
            Ok(Attempted {
                outcomes,
                before,
                last,
            }) => {
                // Another process has committed since our last one, and the poller
                // would not see that any more.
                if before.as_micros() != self.last_own.load(Ordering::Relaxed) {
                    self.notifier.notify_all();
                }
                self.last_own.store(last.as_micros(), Ordering::Release);
                self.notify(&group);
                for (batch, outcome) in group.into_iter().zip(outcomes) {
                    batch.answer(outcome);
                }
            }
            Err(error) if group.len() > 1 && is_perhaps_of_one(&error) => {
                for batch in group {
                    self.write(vec![batch]);
                }
            }
            Err(error) => {
                debug!(%error, commits = group.len(), "a group of commits failed");
                for batch in group {
                    batch.answer(Err(error.clone()));
                }
            }
        }
    }

    /// Tries the group in one transaction. An error concerns all of it, and
    /// nothing was written unless it is `Ambiguous`.
    fn attempt(&mut self, group: &[Batch]) -> Result<Attempted, StoreError> {
        self.execute("BEGIN IMMEDIATE").map_err(failure::of)?;
        let attempted = self.within_transaction(group);
        let attempted = match attempted {
            Ok(attempted) => attempted,
            Err(error) => {
                self.roll_back();
                return Err(failure::of(error));
            }
        };
        if let Err(error) = self.execute("COMMIT") {
            self.roll_back();
            return Err(failure::of_commit(error));
        }
        Ok(attempted)
    }

    fn within_transaction(&mut self, group: &[Batch]) -> rusqlite::Result<Attempted> {
        let before = schema::last_commit(&self.connection)?;
        self.groups += 1;
        if self.groups.is_multiple_of(FORGET_EVERY_GROUPS) {
            transaction::forget_removals(&self.connection, before)?;
        }
        let mut last = before;
        let mut outcomes = Vec::with_capacity(group.len());
        for batch in group {
            outcomes.push(match batch {
                Batch::Commit { writes, .. } => self.one(writes, &mut last)?.map(Outcome::Commit),
                Batch::Each { writes, .. } => self.each(writes, &mut last)?.map(Outcome::Each),
            });
        }
        if last != before {
            self.connection
                .prepare_cached("UPDATE meta SET last_micros = ?1")?
                .execute([last.as_micros()])?;
        }
        Ok(Attempted {
            outcomes,
            before,
            last,
        })
    }

    /// One commit. The outer error is that of the whole transaction.
    fn one(
        &self,
        writes: &[Write],
        last: &mut StoreTime,
    ) -> rusqlite::Result<Result<CommitOutcome, StoreError>> {
        let time = self.clock.after(*last);
        let outcome = transaction::commit(&self.connection, writes, time)?;
        if let Ok(CommitOutcome::Committed(_)) = outcome {
            *last = time;
        }
        Ok(outcome)
    }

    fn each(
        &self,
        writes: &[Write],
        last: &mut StoreTime,
    ) -> rusqlite::Result<Result<Vec<WriteOutcome>, StoreError>> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            outcomes.push(match self.one(std::slice::from_ref(write), last)? {
                Ok(CommitOutcome::Committed(commit)) => {
                    WriteOutcome::Written(commit.update_times[0])
                }
                Ok(CommitOutcome::Rejected) => WriteOutcome::Rejected,
                Err(error) => return Ok(Err(error)),
            });
        }
        Ok(Ok(outcomes))
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// Some failures have ended the transaction already.
    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            warn!(%error, "a transaction could not be rolled back");
        }
    }

    fn notify(&self, group: &[Batch]) {
        let mut collections: Vec<_> = group
            .iter()
            .flat_map(|batch| batch.writes())
            .filter(|write| !matches!(write, Write::Verify { .. }))
            .map(|write| write.path().collection())
            .collect();
        collections.sort_unstable();
        collections.dedup();
        for collection in collections {
            self.notifier.notify(collection);
        }
    }

    fn make_index(&self, index: &Index) {
        match self.connection.execute_batch(&index.sql) {
            Ok(()) => debug!(index = index.name, "index is there"),
            Err(error) => {
                let error = failure::of(error);
                warn!(index = index.name, %error, "index not made; its queries are slower");
            }
        }
    }
}

/// Whether the others of a group may go through without the one that is at fault:
/// the disk may have room for them, and their pages may be whole.
fn is_perhaps_of_one(error: &StoreError) -> bool {
    match error {
        StoreError::Full { .. }
        | StoreError::Unavailable { .. }
        | StoreError::Unusable { .. }
        | StoreError::Invalid { .. }
        | StoreError::Corrupt { .. } => true,
        StoreError::Contended { .. } | StoreError::Ambiguous { .. } => false,
    }
}
