//! The task that commits changes through the fenced writer, in order.
//!
//! A change is a function over a [`Draft`]. It may run more than once: after a
//! lost race the documents are read again and it is made anew, so it decides on
//! what it reads and on nothing it remembers from an earlier run. Changes that
//! wait while a commit is under way go into the next one together.
//!
//! Order: changes are committed in the order in which they were given, and so
//! are the numbers of their events. One commit is under way at a time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::fence::{FencedError, FencedOutcome, FencedWriter};
use coordinator_lib::gate::CloseReason;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Commit, Document, Path, Store, StoreError, StoreTime, Write, limits};
use opentelemetry::trace::SpanContext;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use super::draft::{Draft, DraftError, Header};
use super::known::Known;
use crate::model::collections;
use crate::telemetry::propagation::{self, Traced};

/// Changes that wait; whoever has more to write waits for room.
const QUEUE_MAX: usize = 1_024;

/// Changes of one commit.
const COMMIT_CHANGES_MAX: usize = 128;

/// Commits of the same changes that may lose a race before one by one is tried,
/// and then before they are given up.
const LOSSES_MAX: u32 = 8;

/// The wait after a lost race, longer each time.
const LOSS_WAIT: Duration = Duration::from_millis(5);

/// A document that a change reads or writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// It is read, unless what is known of it is recent.
    Read(Path),
    /// It most likely does not exist, so that the read is saved; the write that
    /// creates it finds out.
    New(Path),
}

/// What a journal works with.
pub struct JournalParts {
    /// Whose journal.
    pub account_id: String,
    /// Where it reads.
    pub store: Store,
    /// Through which it writes.
    pub writer: FencedWriter,
    /// The time that documents carry.
    pub clock: SharedClock,
    /// Jitter.
    pub rng: SharedRng,
    /// The number of the account's last event.
    pub seq: i64,
}

/// Why a change was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// Another epoch owns the account.
    #[error("another epoch owns the account")]
    Fenced,
    /// The account is stopping.
    #[error("the account's writes are closed: {0}")]
    Closed(CloseReason),
    /// The journal has ended.
    #[error("the journal has ended")]
    Ended,
    /// The store failed for too long.
    #[error("the store failed")]
    Store(#[source] StoreError),
    /// Others kept changing the same documents.
    #[error("others kept changing the same documents")]
    Contended,
    /// The change cannot be made on these documents.
    #[error(transparent)]
    Draft(#[from] DraftError),
}

impl JournalError {
    /// Whether the claim is over: whoever works for it is done, and the next owner
    /// goes on. Anything else can be tried again.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Fenced | Self::Closed(_) | Self::Ended => true,
            Self::Store(_) | Self::Contended | Self::Draft(_) => false,
        }
    }
}

/// A handle; clones are the same journal. It ends when the last one is dropped.
#[derive(Clone)]
pub struct Journal {
    queue: mpsc::Sender<Box<dyn Change>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    seq: watch::Sender<i64>,
    commits: AtomicU64,
    losses: AtomicU64,
}

impl Journal {
    /// Starts the journal's task.
    pub fn spawn(parts: JournalParts, tracker: &TaskTracker) -> Self {
        let (queue, changes) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            seq: watch::Sender::new(parts.seq),
            commits: AtomicU64::new(0),
            losses: AtomicU64::new(0),
        });
        let driver = Driver {
            parts,
            known: Known::default(),
            shared: Arc::clone(&shared),
        };
        tracker.spawn(driver.run(changes));
        Self { queue, shared }
    }

    /// Queues a change, to be made in a commit with others that wait. Its place
    /// in the order is taken once this returns; it resolves to the change's
    /// outcome when that is durable. The change is part of the present span's
    /// trace ([`Draft::trace`]), and not run inside that span.
    ///
    /// # Errors
    /// [`JournalError::Ended`].
    pub async fn submit<T, F>(
        &self,
        needs: Vec<Need>,
        change: F,
    ) -> Result<Submitted<T>, JournalError>
    where
        T: Send + 'static,
        F: FnMut(&mut Draft<'_>) -> Result<T, DraftError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            needs,
            change,
            output: None,
            reply: Some(reply),
            origin: Origin::here(),
        };
        self.queue
            .send(Box::new(job))
            .await
            .map_err(|_| JournalError::Ended)?;
        Ok(Submitted { answer })
    }

    /// Makes a change: [`Journal::submit`] and [`Submitted::settled`] in one.
    ///
    /// # Errors
    /// [`JournalError`]; nothing of the change was written, except that after
    /// `Closed` it may still land.
    ///
    /// # Cancel safety
    /// A change that was queued is made even if nobody waits for it.
    pub async fn apply<T, F>(&self, needs: Vec<Need>, change: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnMut(&mut Draft<'_>) -> Result<T, DraftError> + Send + 'static,
    {
        self.submit(needs, change).await?.settled().await
    }

    /// The number of the account's last event.
    pub fn seq(&self) -> i64 {
        *self.shared.seq.borrow()
    }

    /// The number of the account's last event, as it grows.
    pub fn events(&self) -> watch::Receiver<i64> {
        self.shared.seq.subscribe()
    }

    /// Commits made, and races lost.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.shared.commits.load(Ordering::Relaxed),
            self.shared.losses.load(Ordering::Relaxed),
        )
    }

    /// Waits until everything that was queued before is settled.
    pub async fn settled(&self) {
        // An empty change is settled after all before it; an error says that
        // nothing more will be.
        let _ = self.apply(Vec::new(), |_| Ok(())).await;
    }
}

/// A change on its way.
#[must_use = "the change is made in any case; its outcome is worth a look"]
pub struct Submitted<T> {
    answer: oneshot::Receiver<Result<T, JournalError>>,
}

impl<T> Submitted<T> {
    /// Waits until the change is durable.
    ///
    /// # Errors
    /// As for [`Journal::apply`].
    pub async fn settled(self) -> Result<T, JournalError> {
        self.answer.await.map_err(|_| JournalError::Ended)?
    }
}

/// A change of any type.
trait Change: Send {
    fn needs(&self) -> &[Need];
    fn origin(&self) -> &Origin;
    fn draw(&mut self, draft: &mut Draft<'_>) -> Result<(), DraftError>;
    fn finish(self: Box<Self>, outcome: Result<(), JournalError>);
}

struct Job<T, F> {
    needs: Vec<Need>,
    change: F,
    output: Option<T>,
    reply: Option<oneshot::Sender<Result<T, JournalError>>>,
    origin: Origin,
}

/// Where a change comes from.
struct Origin {
    span: Span,
    /// The span's, which is asked for often and found slowly.
    context: SpanContext,
}

impl Origin {
    fn here() -> Self {
        let span = Span::current();
        Self {
            context: propagation::context(&span),
            span,
        }
    }
}

impl<T, F> Change for Job<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Draft<'_>) -> Result<T, DraftError> + Send + 'static,
{
    fn needs(&self) -> &[Need] {
        &self.needs
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn draw(&mut self, draft: &mut Draft<'_>) -> Result<(), DraftError> {
        draft.begin(propagation::traceparent(&self.origin.context));
        self.output = Some((self.change)(draft)?);
        Ok(())
    }

    fn finish(mut self: Box<Self>, outcome: Result<(), JournalError>) {
        let outcome = outcome.and_then(|()| self.output.take().ok_or(JournalError::Ended));
        if let Some(reply) = self.reply.take() {
            // Whoever asked may have gone; the change is made all the same.
            let _ = reply.send(outcome);
        }
    }
}

struct Driver {
    parts: JournalParts,
    known: Known,
    shared: Arc<Shared>,
}

/// What became of one attempt at a commit.
enum Attempt {
    /// These many changes, from the front, are settled or failed by themselves.
    Done(usize),
    /// A race was lost; nothing was written.
    Lost,
    /// The store refuses the commit for what is in it: whose fault it is shows
    /// when the changes are tried one by one.
    Refused(StoreError),
    /// Nothing more can be written in this way.
    Failed(JournalError),
}

impl Driver {
    async fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Change>>) {
        while let Some(first) = queue.recv().await {
            let mut changes = vec![first];
            while changes.len() < COMMIT_CHANGES_MAX {
                match queue.try_recv() {
                    Ok(change) => changes.push(change),
                    Err(_) => break,
                }
            }
            self.settle(changes).await;
        }
    }

    /// Brings all the changes to an end, in order.
    async fn settle(&mut self, mut changes: Vec<Box<dyn Change>>) {
        let mut losses = 0;
        while !changes.is_empty() {
            // What keeps losing is tried alone, so that it stops nobody else.
            let together = if losses < LOSSES_MAX {
                changes.len()
            } else {
                1
            };
            let span = shown_in(&changes[..together]);
            let attempt = self.attempt(&mut changes[..together], losses > 0);
            match attempt.instrument(span).await {
                Attempt::Done(settled) => {
                    for change in changes.drain(..settled.min(together)) {
                        change.finish(Ok(()));
                    }
                    losses = 0;
                }
                Attempt::Lost => {
                    losses += 1;
                    self.shared.losses.fetch_add(1, Ordering::Relaxed);
                    if losses >= 2 * LOSSES_MAX {
                        changes.remove(0).finish(Err(JournalError::Contended));
                        losses = 0;
                    }
                    let wait = self.parts.rng.jitter(LOSS_WAIT * losses, 0.5);
                    self.parts.clock.sleep(wait).await;
                }
                Attempt::Refused(_) if together > 1 => losses = LOSSES_MAX,
                Attempt::Refused(error) => {
                    changes
                        .remove(0)
                        .finish(Err(JournalError::Draft(error.into())));
                }
                Attempt::Failed(JournalError::Draft(error)) => {
                    // Only the first change was drawn into an empty draft.
                    changes.remove(0).finish(Err(JournalError::Draft(error)));
                }
                Attempt::Failed(error) => {
                    for change in changes.drain(..together) {
                        change.finish(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// Draws as many changes as fit into one commit, and commits.
    async fn attempt(&mut self, changes: &mut [Box<dyn Change>], read_all: bool) -> Attempt {
        let needs: Vec<Need> = changes
            .iter()
            .flat_map(|change| change.needs().iter().cloned())
            .collect();
        let base = match self.load(needs, read_all).await {
            Ok(base) => base,
            Err(error) => return Attempt::Failed(JournalError::Store(error)),
        };
        let header = Header {
            account_id: self.parts.account_id.clone(),
            epoch: self.parts.writer.epoch(),
            now: StoreTime::from_datetime(self.parts.clock.wall()),
            seq: *self.shared.seq.borrow(),
        };
        let mut draft = Draft::new(header, &base);
        let mut drawn = 0;
        for change in changes.iter_mut() {
            match change.draw(&mut draft) {
                Ok(()) => draft.keep(),
                Err(error) => {
                    draft.discard();
                    if drawn == 0 {
                        return Attempt::Failed(JournalError::Draft(error));
                    }
                    // It comes first in the next commit and fails there alone.
                    break;
                }
            }
            drawn += 1;
            if draft.is_full() {
                break;
            }
        }
        let events = draft.events() as i64;
        let writes = match draft.into_writes() {
            Ok(writes) if writes.is_empty() => return Attempt::Done(drawn),
            Ok(writes) => writes,
            Err(error) => return Attempt::Failed(JournalError::Draft(error.into())),
        };
        let written = writes.clone();
        match self.parts.writer.commit(writes).await {
            Ok(FencedOutcome::Committed(commit)) => {
                if events > 0 {
                    self.shared.seq.send_modify(|seq| *seq += events);
                }
                self.shared.commits.fetch_add(1, Ordering::Relaxed);
                self.learn(written, &commit);
                Attempt::Done(drawn)
            }
            Ok(FencedOutcome::Lost) => {
                for write in &written {
                    self.known.forget(write.path());
                }
                Attempt::Lost
            }
            Err(error) => {
                for write in &written {
                    self.known.forget(write.path());
                }
                match error {
                    FencedError::Fenced => Attempt::Failed(JournalError::Fenced),
                    FencedError::GateClosed(reason) => {
                        Attempt::Failed(JournalError::Closed(reason))
                    }
                    FencedError::Invalid { reason } => {
                        Attempt::Refused(StoreError::Invalid { reason })
                    }
                    FencedError::Unavailable(error) => Attempt::Failed(JournalError::Store(error)),
                }
            }
        }
    }

    /// The documents that the changes need, from the store where they are not
    /// known; all of them after a lost race.
    async fn load(
        &mut self,
        needs: Vec<Need>,
        read_all: bool,
    ) -> Result<HashMap<Path, Option<Document>>, StoreError> {
        let mut base = HashMap::new();
        let mut missing = Vec::new();
        let mut asked = HashSet::new();
        for need in &needs {
            let (Need::Read(path) | Need::New(path)) = need;
            if !asked.insert(path.clone()) {
                continue;
            }
            match (self.known.get(path), need) {
                (Some(document), _) if !read_all => {
                    base.insert(path.clone(), document.clone());
                }
                (None, Need::New(_)) if !read_all => {
                    base.insert(path.clone(), None);
                }
                (Some(_) | None, Need::Read(_) | Need::New(_)) => missing.push(path.clone()),
            }
        }
        for paths in missing.chunks(limits::GET_PATHS_MAX) {
            let snapshot = self.parts.store.get(paths).await?;
            for (path, document) in paths.iter().zip(snapshot.documents) {
                if is_worth_knowing(path) {
                    self.known.learn(path.clone(), document.clone());
                }
                base.insert(path.clone(), document);
            }
        }
        Ok(base)
    }

    /// Remembers what was written, at its new versions.
    fn learn(&mut self, written: Vec<Write>, commit: &Commit) {
        for (write, update_time) in written.into_iter().zip(&commit.update_times) {
            match write {
                Write::Set { path, fields, .. } if is_worth_knowing(&path) => {
                    let document = Document {
                        path: path.clone(),
                        fields,
                        update_time: *update_time,
                    };
                    self.known.learn(path, Some(document));
                }
                Write::Set { .. } => {
                    // It is not read here again.
                }
                Write::Update { path, .. }
                | Write::Delete { path, .. }
                | Write::Verify { path, .. } => {
                    self.known.forget(&path);
                }
            }
        }
    }
}

/// The span in which the calls of one commit are shown: that of the first change
/// whose trace is kept, or else of the first that has one.
fn shown_in(changes: &[Box<dyn Change>]) -> Span {
    let mut shown = (Traced::No, Span::none());
    for change in changes {
        let Origin { span, context } = change.origin();
        match (shown.0, propagation::traced(context)) {
            (_, Traced::Kept) => return span.clone(),
            (Traced::No, Traced::LeftOut) => shown = (Traced::LeftOut, span.clone()),
            (_, Traced::LeftOut | Traced::No) => {}
        }
    }
    shown.1
}

/// Whether a document may be needed again. Events are not, and parts of history
/// would fill the memory.
fn is_worth_knowing(path: &Path) -> bool {
    let collection = path.collection();
    let name = collection.as_str();
    name != collections::EVENTS && !collections::are_parts(name)
}

#[cfg(test)]
mod tests;
