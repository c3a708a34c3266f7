//! The writer's task: takes a group, commits it, settles it, takes the next.

use std::collections::VecDeque;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::{mpsc, watch};
use tracing::{Instrument, Span, debug, warn};

use super::batch::{Queued, take_group};
use super::{Fence, FencedError, FencedOutcome, FencedWriterParts, QUEUE_MAX};
use crate::backoff::Backoff;
use crate::clock::{Clock, SharedClock};
use crate::gate::{CloseReason, GateClosed};
use crate::mutation::{self, Mutation};
use crate::observer::{self, LeaseEvent};
use crate::store::{
    Commit, CommitOutcome, Document, Path, Precondition, StoreError, StoreTime, Value, Write,
};

/// The head's fields that a claim writes.
const EPOCH_FIELD: &str = "epoch";
const WORKER_SESSION_FIELD: &str = "workerSession";

pub(super) struct Driver {
    parts: FencedWriterParts,
    fenced: watch::Sender<bool>,
}

/// What one attempt at a group came to.
enum Attempt {
    Committed(Commit),
    Rejected,
    Failed(StoreError),
}

/// What the store shows of a group after an attempt.
enum Found {
    /// It was written, now or by an attempt before: one commit a batch.
    Landed(Vec<Commit>),
    /// It was not, and the head is ours, at this version.
    Ours(StoreTime),
    /// It was not, and the head is another's.
    Theirs,
}

/// Why the driver ends: everything that waits fails with this.
type End = FencedError;

/// How a group fared.
enum Settled {
    /// Each batch has its answer.
    Answered,
    /// The batches are to be tried one by one.
    Split(Vec<Queued>),
}

impl Driver {
    pub(super) fn new(parts: FencedWriterParts, fenced: watch::Sender<bool>) -> Self {
        Self { parts, fenced }
    }

    pub(super) async fn run(mut self, mut batches: mpsc::Receiver<Queued>) {
        let mut queue = VecDeque::new();
        let end = loop {
            if queue.is_empty() {
                match self.wait(&mut batches).await {
                    Ok(Some(queued)) => queue.push_back(queued),
                    Ok(None) => return,
                    Err(end) => break end,
                }
            }
            // Not more than the channel holds, so that callers still wait for room.
            while queue.len() < QUEUE_MAX
                && let Ok(queued) = batches.try_recv()
            {
                queue.push_back(queued);
            }
            let group = take_group(&mut queue);
            if let Err(end) = self.write(group).await {
                break end;
            }
        };
        batches.close();
        for queued in queue {
            queued.answer(Err(end.clone()));
        }
        while let Some(queued) = batches.recv().await {
            queued.answer(Err(end.clone()));
        }
    }

    async fn wait(&self, batches: &mut mpsc::Receiver<Queued>) -> Result<Option<Queued>, End> {
        let store_gate = self.parts.gates.store.clone();
        tokio::select! {
            biased;
            reason = store_gate.closed() => Err(FencedError::GateClosed(reason)),
            queued = batches.recv() => Ok(queued),
        }
    }

    /// Writes a group, or else its batches one by one.
    async fn write(&mut self, group: Vec<Queued>) -> Result<(), End> {
        let alone = match self.settle(group).await? {
            Settled::Answered => return Ok(()),
            Settled::Split(alone) => alone,
        };
        let mut end = None;
        for queued in alone {
            match &end {
                None => {
                    if let Err(ended) = self.settle(vec![queued]).await {
                        end = Some(ended);
                    }
                }
                Some(ended) => queued.answer(Err(FencedError::clone(ended))),
            }
        }
        end.map_or(Ok(()), Err)
    }

    /// Attempts a group until its outcome is known.
    async fn settle(&mut self, group: Vec<Queued>) -> Result<Settled, End> {
        let mut backoff = Backoff::new(
            self.parts.limits.backoff_base,
            self.parts.limits.backoff_max,
        );
        // An attempt's outcome is unknown: it may still land, so the batches
        // cannot be given up as not written.
        let mut unknown = false;
        let mut tried_for = Duration::ZERO;
        loop {
            let pass = match self.parts.gates.store.pass().await {
                Ok(pass) => pass,
                Err(GateClosed { reason }) => {
                    return Err(self.end(group, FencedError::GateClosed(reason)));
                }
            };
            let started = self.parts.clock.boottime();
            let attempt = self.attempt(&group).await;
            drop(pass);
            let failure = match attempt {
                Attempt::Committed(commit) => {
                    self.committed(group, &commit);
                    return Ok(Settled::Answered);
                }
                Attempt::Rejected => match self.look(&group).await {
                    Ok(Found::Landed(commits)) => {
                        self.landed(group, commits);
                        return Ok(Settled::Answered);
                    }
                    Ok(Found::Theirs) => return Err(self.lose(group)),
                    Ok(Found::Ours(version)) if version != self.parts.fence.version => {
                        debug!(head = %self.parts.fence.head, "took the head's new version");
                        self.parts.fence.version = version;
                        continue;
                    }
                    Ok(Found::Ours(_)) if group.len() > 1 => return Ok(Settled::Split(group)),
                    Ok(Found::Ours(_)) => {
                        for queued in group {
                            queued.answer(Ok(FencedOutcome::Lost));
                        }
                        return Ok(Settled::Answered);
                    }
                    Err(error) => error,
                },
                Attempt::Failed(error @ StoreError::Ambiguous { .. }) => {
                    unknown = true;
                    match self.look(&group).await {
                        Ok(Found::Landed(commits)) => {
                            self.landed(group, commits);
                            return Ok(Settled::Answered);
                        }
                        Ok(Found::Theirs) => return Err(self.lose(group)),
                        // Not there, or not there yet: again, on the same
                        // conditions, so that only one of the two lands.
                        Ok(Found::Ours(version)) => {
                            self.parts.fence.version = version;
                            error
                        }
                        Err(error) => error,
                    }
                }
                Attempt::Failed(error) => error,
            };
            if !failure.may_pass() {
                if group.len() > 1 {
                    return Ok(Settled::Split(group));
                }
                if !unknown {
                    self.give_up(group, &failure);
                    return Ok(Settled::Answered);
                }
            }
            let wait = backoff.next(&*self.parts.rng);
            tried_for += (self.parts.clock.boottime() - started) + wait;
            if !unknown && tried_for >= self.parts.limits.retry_for {
                self.give_up(group, &failure);
                return Ok(Settled::Answered);
            }
            debug!(head = %self.parts.fence.head, error = %failure, ?wait, "commit not settled");
            self.sleep(wait).await;
        }
    }

    /// One call of the store, with the verify in front.
    async fn attempt(&self, group: &[Queued]) -> Attempt {
        let writes = writes_of(&self.parts.fence, group);
        // A commit is shown where its oldest batch comes from.
        let span = group.first().map(|queued| queued.span.clone());
        let commit = self.parts.store.commit(writes);
        let commit = Box::pin(commit.instrument(span.unwrap_or_else(Span::none)));
        let limit = self.parts.clock.sleep(self.parts.limits.attempt_timeout);
        match select(commit, limit).await {
            Either::Left((Ok(CommitOutcome::Committed(commit)), _)) => Attempt::Committed(commit),
            Either::Left((Ok(CommitOutcome::Rejected), _)) => Attempt::Rejected,
            Either::Left((Err(error), _)) => Attempt::Failed(error),
            Either::Right(((), _)) => Attempt::Failed(StoreError::Ambiguous {
                reason: "the store did not answer in time".to_owned(),
            }),
        }
    }

    /// Reads the head, and the documents that carry the batches' nonces. One
    /// nonce tells for the whole group: it was one commit.
    async fn look(&self, group: &[Queued]) -> Result<Found, StoreError> {
        let mut paths = vec![self.parts.fence.head.clone()];
        paths.extend(group.first().map(|queued| queued.batch.nonce_path.clone()));
        let found = self.read(&paths).await?;
        let (head, marked) = (found[0].as_ref(), found.get(1).and_then(Option::as_ref));
        if let Some(time) = group
            .first()
            .and_then(|queued| queued.batch.landed_at(marked))
        {
            let mut commits = Vec::with_capacity(group.len());
            for queued in group {
                let documents = self.read(&queued.batch.paths()).await?;
                commits.push(queued.batch.commit_as_found(time, &documents));
            }
            return Ok(Found::Landed(commits));
        }
        Ok(match head {
            Some(head) if is_ours(&self.parts.fence, head) => Found::Ours(head.update_time),
            Some(_) | None => Found::Theirs,
        })
    }

    async fn read(&self, paths: &[Path]) -> Result<Vec<Option<Document>>, StoreError> {
        let get = self.parts.store.get(paths);
        let limit = self.parts.clock.sleep(self.parts.limits.attempt_timeout);
        match select(get, limit).await {
            Either::Left((snapshot, _)) => Ok(snapshot?.documents),
            Either::Right(((), _)) => {
                Err(StoreError::unavailable("the store did not answer in time"))
            }
        }
    }

    /// Hands each batch its part of the commit.
    fn committed(&mut self, group: Vec<Queued>, commit: &Commit) {
        let mut update_times = commit.update_times.as_slice();
        if verifies_head(&self.parts.fence, &group) {
            // The verify's place. Should a store move what it verified, its
            // new version is the one that counts.
            if let Some((head, rest)) = update_times.split_first() {
                self.parts.fence.version = *head;
                update_times = rest;
            }
        }
        let commits = group
            .iter()
            .map(|queued| {
                let (own, rest) = update_times.split_at(queued.batch.writes.len());
                update_times = rest;
                Commit {
                    time: commit.time,
                    update_times: own.to_vec(),
                }
            })
            .collect();
        self.landed(group, commits);
    }

    fn landed(&mut self, group: Vec<Queued>, commits: Vec<Commit>) {
        for (queued, commit) in group.into_iter().zip(commits) {
            for (write, update_time) in queued.batch.writes.iter().zip(&commit.update_times) {
                if *write.path() == self.parts.fence.head {
                    self.parts.fence.version = *update_time;
                }
            }
            queued.answer(Ok(FencedOutcome::Committed(commit)));
        }
    }

    /// Another epoch owns the account.
    fn lose(&self, group: Vec<Queued>) -> End {
        warn!(
            head = %self.parts.fence.head,
            lease.epoch = self.parts.fence.epoch,
            "fenced: another epoch owns the account"
        );
        observer::happened(LeaseEvent::Fenced);
        self.parts.gates.freeze(CloseReason::Fenced);
        self.fenced.send_replace(true);
        self.end(group, FencedError::Fenced)
    }

    fn end(&self, group: Vec<Queued>, end: End) -> End {
        for queued in group {
            queued.answer(Err(end.clone()));
        }
        end
    }

    fn give_up(&self, group: Vec<Queued>, failure: &StoreError) {
        warn!(head = %self.parts.fence.head, error = %failure, "batches not written");
        for queued in group {
            queued.answer(Err(match failure {
                StoreError::Invalid { reason } => FencedError::Invalid {
                    reason: reason.clone(),
                },
                StoreError::Unavailable { .. }
                | StoreError::Full { .. }
                | StoreError::Ambiguous { .. }
                | StoreError::Contended { .. }
                | StoreError::Unusable { .. }
                | StoreError::Corrupt { .. } => FencedError::Unavailable(failure.clone()),
            }));
        }
    }

    /// Waits, but not for longer than the gate is not closed.
    async fn sleep(&self, wait: Duration) {
        let clock: &SharedClock = &self.parts.clock;
        let closed = Box::pin(self.parts.gates.store.closed());
        let _ = select(Clock::sleep(&**clock, wait), closed).await;
    }
}

/// The verify, unless a batch writes the head itself, and all writes in order.
fn writes_of(fence: &Fence, group: &[Queued]) -> Vec<Write> {
    let mut writes = Vec::new();
    if verifies_head(fence, group) {
        writes.push(Write::Verify {
            path: fence.head.clone(),
            update_time: fence.version,
        });
    }
    for write in group.iter().flat_map(|queued| &queued.batch.writes) {
        let mut write = write.clone();
        let is_head = *write.path() == fence.head;
        if let Write::Set { precondition, .. } | Write::Update { precondition, .. } = &mut write {
            if is_head {
                *precondition = Precondition::Unchanged(fence.version);
            } else if mutation::is_on(Mutation::SkipOrder) {
                *precondition = Precondition::None;
            }
        }
        writes.push(write);
    }
    writes
}

/// Whether a commit of the group begins with a verify of the head.
fn verifies_head(fence: &Fence, group: &[Queued]) -> bool {
    !writes_head(fence, group) && !mutation::is_on(Mutation::SkipFence)
}

fn writes_head(fence: &Fence, group: &[Queued]) -> bool {
    group
        .iter()
        .flat_map(|queued| &queued.batch.writes)
        .any(|write| *write.path() == fence.head)
}

fn is_ours(fence: &Fence, head: &Document) -> bool {
    mutation::is_on(Mutation::SkipFence)
        || head.fields.get(EPOCH_FIELD) == Some(&Value::Int(fence.epoch))
            && head
                .fields
                .get(WORKER_SESSION_FIELD)
                .and_then(Value::as_text)
                == Some(fence.worker_session.as_str())
}
