//! Which batches go out together: pure.

use std::collections::{HashSet, VecDeque};

use tokio::sync::oneshot;

use super::{BATCH_BYTES_MAX, COMMIT_FIELD, FencedError, FencedOutcome, Unfinished};
use crate::store::limits::{self, COMMIT_WRITES_MAX};
use crate::store::{Commit, Path, StoreTime, Value, Write};

/// What one caller wants written, and where to tell it what became of that.
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    pub(super) reply: oneshot::Sender<Result<FencedOutcome, FencedError>>,
    pub(super) _unfinished: Unfinished,
}

impl Batch {
    /// Tells the caller; one that has gone away is no failure.
    pub(super) fn answer(self, answer: Result<FencedOutcome, FencedError>) {
        let _ = self.reply.send(answer);
    }
}

/// Takes the batches that can share one commit, from the front of the backlog.
///
/// Batches keep their order wherever they touch the same document: one that
/// has to wait makes those behind it wait that share a path with it.
pub(super) fn take(backlog: &mut VecDeque<Batch>) -> Vec<Batch> {
    let mut group = Vec::new();
    let mut waiting = VecDeque::new();
    let mut touched: HashSet<Path> = HashSet::new();
    // The verify write has a place of its own.
    let mut writes = 1;
    let mut bytes = 0;
    for batch in backlog.drain(..) {
        let size: usize = batch.writes.iter().map(limits::write_bytes).sum();
        let fits = writes + batch.writes.len() <= COMMIT_WRITES_MAX && bytes + size <= BATCH_BYTES_MAX;
        let apart = batch.writes.iter().all(|write| !touched.contains(write.path()));
        touched.extend(batch.writes.iter().map(|write| write.path().clone()));
        if fits && apart {
            writes += batch.writes.len();
            bytes += size;
            group.push(batch);
        } else {
            waiting.push_back(batch);
        }
    }
    *backlog = waiting;
    group
}

/// A group as the store gets it: the verify write, then each batch's writes.
pub(super) struct Plan {
    /// Without the verify write, whose version may change between attempts.
    pub(super) writes: Vec<Write>,
    /// The document to read back where an outcome is unknown.
    pub(super) marker: Path,
}

/// Lays out a group, with the nonce in its first guarded write.
pub(super) fn plan(group: &[Batch], nonce: &str) -> Plan {
    let mut writes: Vec<Write> = group.iter().flat_map(|batch| batch.writes.iter().cloned()).collect();
    let marked = writes
        .iter_mut()
        .find(|write| write.is_guarded())
        .expect("every batch was checked to hold a guarded write");
    match marked {
        Write::Set { fields, .. } | Write::Update { fields, .. } => {
            fields.insert(COMMIT_FIELD.to_owned(), Value::Text(nonce.to_owned()));
        }
        Write::Delete { .. } | Write::Verify { .. } => {
            // Never guarded: neither can carry the nonce.
        }
    }
    let marker = marked.path().clone();
    Plan { writes, marker }
}

/// Tells each batch its part of a commit; `update_times` are those of the
/// plan's writes.
pub(super) fn share_out(group: Vec<Batch>, time: StoreTime, update_times: &[StoreTime]) {
    let mut rest = update_times;
    for batch in group {
        let (own, others) = rest.split_at(batch.writes.len().min(rest.len()));
        rest = others;
        let commit = Commit { time, update_times: own.to_vec() };
        batch.answer(Ok(FencedOutcome::Committed(commit)));
    }
}
