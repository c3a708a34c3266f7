//! Batches: what a caller queued, and which of them share a commit.

use std::collections::{HashSet, VecDeque};

use tokio::sync::{oneshot, watch};
use tracing::Span;

use super::{FencedError, FencedOutcome, NONCE_FIELD, NONCE_TIME_FIELD};
use crate::rng::Rng;
use crate::store::limits::{self, COMMIT_BYTES_MAX, COMMIT_WRITES_MAX, write_bytes};
use crate::store::{Commit, Document, Fields, Path, StoreError, StoreTime, Value, Write};

/// Writes in one commit besides the verify of the head.
const GROUP_WRITES_MAX: usize = COMMIT_WRITES_MAX - 1;

/// Their bytes, with room for the verify: a path and its overhead.
const GROUP_BYTES_MAX: usize = COMMIT_BYTES_MAX - 8 * 1024;

/// A batch with what is needed to settle it.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    /// Where the nonce stands.
    pub(super) nonce_path: Path,
    pub(super) nonce: String,
    pub(super) bytes: usize,
}

/// A batch whose caller waits.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) batch: Batch,
    /// Where it comes from.
    pub(super) span: Span,
    reply: oneshot::Sender<Result<FencedOutcome, FencedError>>,
    _token: Token,
}

impl Queued {
    pub(super) fn new(
        writes: Vec<Write>,
        head: &Path,
        rng: &dyn Rng,
        reply: oneshot::Sender<Result<FencedOutcome, FencedError>>,
        token: Token,
    ) -> Result<Self, FencedError> {
        Ok(Self {
            batch: Batch::new(writes, head, rng)?,
            span: Span::current(),
            reply,
            _token: token,
        })
    }

    pub(super) fn answer(self, outcome: Result<FencedOutcome, FencedError>) {
        // Whoever does not wait any more does not want to know.
        let _ = self.reply.send(outcome);
    }
}

impl Batch {
    fn new(mut writes: Vec<Write>, head: &Path, rng: &dyn Rng) -> Result<Self, FencedError> {
        let invalid = |reason: String| Err(FencedError::Invalid { reason });
        let nonce = rng.nonce();
        let Some(nonce_path) = mark(&mut writes, &nonce) else {
            return invalid("no write of the batch is guarded".to_owned());
        };
        for write in &writes {
            match write {
                Write::Delete { path, .. } | Write::Verify { path, .. } if path == head => {
                    return invalid(
                        "the head is neither deleted nor verified by a batch".to_owned(),
                    );
                }
                Write::Set { .. }
                | Write::Update { .. }
                | Write::Delete { .. }
                | Write::Verify { .. } => {}
            }
        }
        let bytes = writes.iter().map(write_bytes).sum();
        if let Err(error) = limits::check_commit(&writes) {
            return invalid(match error {
                StoreError::Invalid { reason } => reason,
                StoreError::Unavailable { .. }
                | StoreError::Full { .. }
                | StoreError::Ambiguous { .. }
                | StoreError::Contended { .. }
                | StoreError::Unusable { .. }
                | StoreError::Corrupt { .. } => error.to_string(),
            });
        }
        if writes.len() > GROUP_WRITES_MAX || bytes > GROUP_BYTES_MAX {
            return invalid("the batch leaves no room for the verify of the head".to_owned());
        }
        Ok(Self {
            writes,
            nonce_path,
            nonce,
            bytes,
        })
    }

    /// The time at which the batch landed, if the document that carries its
    /// nonce shows that it did.
    pub(super) fn landed_at(&self, document: Option<&Document>) -> Option<StoreTime> {
        let fields = &document?.fields;
        match (fields.get(NONCE_FIELD), fields.get(NONCE_TIME_FIELD)) {
            (Some(Value::Text(nonce)), Some(Value::Time(time))) if *nonce == self.nonce => {
                Some(*time)
            }
            _ => None,
        }
    }

    /// The commit that landed at `time`, from what its documents are now.
    ///
    /// A document that holds exactly what was set has its own version, however
    /// exact `time` is (Firestore's is a little early). One that somebody
    /// changed since keeps the version of the commit, so that the next write on
    /// it looks again; and so does one of which only some fields were written,
    /// where nobody can tell.
    pub(super) fn commit_as_found(&self, time: StoreTime, found: &[Option<Document>]) -> Commit {
        let update_times = self
            .writes
            .iter()
            .zip(found)
            .map(|(write, document)| match write {
                Write::Verify { update_time, .. } => *update_time,
                Write::Delete { .. } => time,
                Write::Set { fields, .. } => document.as_ref().map_or(time, |document| {
                    if holds(&document.fields, fields) {
                        document.update_time
                    } else {
                        document.update_time.min(time)
                    }
                }),
                Write::Update { .. } => document
                    .as_ref()
                    .map_or(time, |document| document.update_time.min(time)),
            })
            .collect();
        Commit { time, update_times }
    }

    pub(super) fn paths(&self) -> Vec<Path> {
        self.writes
            .iter()
            .map(|write| write.path().clone())
            .collect()
    }
}

/// Whether what was found is what was written; a commit time was written as
/// some time.
fn holds(found: &Fields, written: &Fields) -> bool {
    found.len() == written.len()
        && written
            .iter()
            .all(|(name, value)| match (found.get(name), value) {
                (Some(Value::Time(_)), Value::CommitTime) => true,
                (Some(Value::Map(found)), Value::Map(written)) => holds(found, written),
                (Some(found), written) => found == written,
                (None, _) => false,
            })
}

/// Puts the nonce into the first guarded write; returns where.
fn mark(writes: &mut [Write], nonce: &str) -> Option<Path> {
    let guarded = writes.iter_mut().find(|write| write.is_guarded())?;
    match guarded {
        Write::Set { path, fields, .. } | Write::Update { path, fields, .. } => {
            fields.insert(NONCE_FIELD.to_owned(), nonce.into());
            fields.insert(NONCE_TIME_FIELD.to_owned(), Value::CommitTime);
            Some(path.clone())
        }
        // Neither is ever guarded.
        Write::Delete { .. } | Write::Verify { .. } => None,
    }
}

/// Takes the batches that go into the next commit: as many as fit, the oldest
/// first. A batch that writes a document of one before it waits for the next
/// commit, and so does whatever writes a document of that.
pub(super) fn take_group(queue: &mut VecDeque<Queued>) -> Vec<Queued> {
    let mut group = Vec::new();
    let mut later = VecDeque::new();
    let mut taken: HashSet<Path> = HashSet::new();
    let (mut writes, mut bytes) = (0, 0);
    while let Some(queued) = queue.pop_front() {
        let paths = queued.batch.paths();
        let fits = writes + queued.batch.writes.len() <= GROUP_WRITES_MAX
            && bytes + queued.batch.bytes <= GROUP_BYTES_MAX;
        let free = paths.iter().all(|path| !taken.contains(path));
        // What is put off keeps its documents, too: order on a document holds.
        taken.extend(paths);
        if fits && free {
            writes += queued.batch.writes.len();
            bytes += queued.batch.bytes;
            group.push(queued);
        } else {
            later.push_back(queued);
        }
    }
    *queue = later;
    group
}

/// How many batches are queued or in flight.
#[derive(Clone, Debug)]
pub(super) struct Pending(watch::Sender<usize>);

/// One of them; counts until it is dropped.
#[derive(Debug)]
pub(super) struct Token(watch::Sender<usize>);

impl Default for Pending {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Pending {
    pub(super) fn token(&self) -> Token {
        self.0.send_modify(|count| *count += 1);
        Token(self.0.clone())
    }

    pub(super) fn count(&self) -> usize {
        *self.0.borrow()
    }

    pub(super) async fn none(&self) {
        // Only fails once the sender is gone, which `self` holds.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;
    use crate::store::Precondition;

    fn set(at: &str) -> Write {
        Write::Set {
            path: Path::new(at).unwrap(),
            fields: Fields::new(),
            precondition: Precondition::Absent,
        }
    }

    fn queue(batches: &[&[&str]]) -> VecDeque<Queued> {
        let rng = SeededRng::new(1);
        let head = Path::new("wa_sessions/a").unwrap();
        let pending = Pending::default();
        batches
            .iter()
            .map(|paths| {
                let writes = paths.iter().map(|at| set(at)).collect();
                let (reply, _) = oneshot::channel();
                Queued::new(writes, &head, &rng, reply, pending.token()).unwrap()
            })
            .collect()
    }

    fn first_paths(group: &[Queued]) -> Vec<String> {
        group
            .iter()
            .map(|queued| queued.batch.writes[0].path().to_string())
            .collect()
    }

    #[test]
    fn batches_on_different_documents_share_a_commit() {
        let mut queue = queue(&[&["m/1", "t/1"], &["m/2", "t/2"], &["m/3"]]);
        assert_eq!(take_group(&mut queue).len(), 3);
        assert!(queue.is_empty());
    }

    #[test]
    fn batches_on_one_document_keep_their_order() {
        let mut queue = queue(&[
            &["m/1", "t/1"],
            &["m/2", "t/1"],
            &["m/3", "m/2"],
            &["m/4"],
            &["m/5", "m/3"],
        ]);
        assert_eq!(first_paths(&take_group(&mut queue)), ["m/1", "m/4"]);
        assert_eq!(first_paths(&take_group(&mut queue)), ["m/2"]);
        assert_eq!(first_paths(&take_group(&mut queue)), ["m/3"]);
        assert_eq!(first_paths(&take_group(&mut queue)), ["m/5"]);
    }

    #[test]
    fn a_landed_commit_takes_a_documents_version_only_if_it_holds_what_was_set() {
        let rng = SeededRng::new(1);
        let head = Path::new("wa_sessions/a").unwrap();
        let batch = Batch::new(vec![set("m/1")], &head, &rng).unwrap();
        let (early, version) = (StoreTime::from_micros(5), StoreTime::from_micros(9));
        let mut found = Document {
            path: Path::new("m/1").unwrap(),
            fields: Fields::from([
                (NONCE_FIELD.to_owned(), batch.nonce.as_str().into()),
                (NONCE_TIME_FIELD.to_owned(), early.into()),
            ]),
            update_time: version,
        };
        assert_eq!(batch.landed_at(Some(&found)), Some(early));
        let landed = |found: &Document| batch.commit_as_found(early, &[Some(found.clone())]);
        assert_eq!(landed(&found).update_times, [version]);
        found.fields.insert("theirs".to_owned(), 1.into());
        assert_eq!(landed(&found).update_times, [early]);
    }

    #[test]
    fn a_group_stays_within_a_commit() {
        let paths: Vec<Vec<String>> = (0..6)
            .map(|batch| (0..100).map(|index| format!("m/{batch}x{index}")).collect())
            .collect();
        let borrowed: Vec<Vec<&str>> = paths
            .iter()
            .map(|batch| batch.iter().map(String::as_str).collect())
            .collect();
        let slices: Vec<&[&str]> = borrowed.iter().map(Vec::as_slice).collect();
        let mut queue = queue(&slices);
        assert_eq!(take_group(&mut queue).len(), 4);
        assert_eq!(take_group(&mut queue).len(), 2);
    }

    #[test]
    fn batches_that_could_not_be_settled_are_refused() {
        let rng = SeededRng::new(1);
        let head = Path::new("wa_sessions/a").unwrap();
        let unguarded = Write::Set {
            path: Path::new("m/1").unwrap(),
            fields: Fields::new(),
            precondition: Precondition::None,
        };
        let delete = Write::Delete {
            path: head.clone(),
            precondition: Precondition::Exists,
        };
        for writes in [
            vec![],
            vec![unguarded],
            vec![set("m/1"), delete],
            vec![set("m/1"); 2],
        ] {
            let outcome = Batch::new(writes, &head, &rng);
            assert!(
                matches!(outcome, Err(FencedError::Invalid { .. })),
                "{outcome:?}"
            );
        }
    }
}
