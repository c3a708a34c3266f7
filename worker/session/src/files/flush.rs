//! One round of flushing: commits, one after the other, until everything that
//! was dirty is stored.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use coordinator_lib::clock::Boottime;
use coordinator_lib::fence::{FencedError, FencedOutcome};
use coordinator_lib::store::{Commit, Precondition, Write, limits};
use futures::future::BoxFuture;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::load::file_path;
use super::{FLUSH_DELAY, Ledger, Shared, StoredFile};
use crate::error::SessionError;
use crate::packed::{Content, TooLarge};
use crate::place::FileName;
use crate::table::{Batch, Extent};

/// A round that failed.
pub(super) struct Failure {
    pub(super) round: u64,
    pub(super) error: SessionError,
}

/// A commit that the writer was given. It stays in the ledger until its outcome
/// is known, also if the caller who began it goes away.
pub(super) struct InFlight {
    version: u64,
    /// What the commit does to each file, in the order of its writes.
    files: Vec<(FileName, Fate)>,
    bytes: usize,
    outcome: BoxFuture<'static, Result<FencedOutcome, FencedError>>,
}

/// What a commit does to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Written,
    Retired,
    Removed,
}

/// Files of earlier epochs that one commit removes; few, since a takeover leaves
/// them to whatever is flushed first.
const REMOVED_FILES_MAX: usize = 16;

impl Shared {
    /// How far a flush goes: what may wait goes along if it has waited for as long
    /// as the flusher lets it.
    pub(super) fn extent(&self, ledger: &Ledger, asked: Extent) -> Extent {
        let now = self.parts.clock.boottime();
        let has_waited = |since: Boottime| now - since >= FLUSH_DELAY;
        match ledger.rest_stored_at.is_none_or(has_waited) {
            true => Extent::All,
            false => asked,
        }
    }

    /// Makes durable every change made before the round, under the ledger's
    /// lock.
    pub(super) async fn round(
        &self,
        ledger: &mut Ledger,
        extent: Extent,
    ) -> Result<(), SessionError> {
        let now = self.parts.clock.boottime();
        let round = self.rounds.fetch_add(1, Ordering::AcqRel) + 1;
        // In one step: what moves is a part of what is to be stored.
        let through = {
            let mut table = self.table.lock();
            match extent {
                Extent::All => table.settle_young(),
                Extent::Urgent => {}
            }
            table.number()
        };
        let span = tracing::info_span!(
            "session.flush",
            otel.status_code = Empty,
            account.id = %self.parts.account,
            lease.epoch = self.parts.writer.epoch()
        );
        let stored = self.store_changes(ledger, through, extent);
        match stored.instrument(span.clone()).await {
            Ok(()) => {
                ledger.urgent_through = through;
                match extent {
                    Extent::All => {
                        ledger.stored_through = through;
                        ledger.rest_stored_at = Some(now);
                    }
                    Extent::Urgent => {}
                }
                ledger.failure = None;
                self.stats.lock().failures_in_a_row = 0;
                Ok(())
            }
            Err(error) => {
                if !error.is_over() {
                    span.record("otel.status_code", "ERROR");
                }
                if error.is_final() {
                    ledger.ended = Some(error.clone());
                }
                ledger.failure = Some(Failure {
                    round,
                    error: error.clone(),
                });
                self.stats.lock().failures_in_a_row += 1;
                Err(error)
            }
        }
    }

    async fn store_changes(
        &self,
        ledger: &mut Ledger,
        through: u64,
        extent: Extent,
    ) -> Result<(), SessionError> {
        loop {
            if let Some(in_flight) = &mut ledger.in_flight {
                let outcome = (&mut in_flight.outcome).await;
                self.land(ledger, outcome)?;
            }
            if let Some(ended) = &ledger.ended {
                return if self.table.lock().is_dirty() {
                    Err(ended.clone())
                } else {
                    Ok(())
                };
            }
            let holding = ledger.files.iter().filter(|(_, file)| !file.is_retired);
            let stored: BTreeSet<_> = holding.map(|(name, _)| *name).collect();
            let files = ledger.files.len();
            let batch = self
                .table
                .lock()
                .begin(&stored, files, through, extent, self.parts.now());
            match batch {
                Some(batch) => self.send(ledger, batch)?,
                None => return Ok(()),
            }
        }
    }

    /// Gives a commit to the writer.
    fn send(&self, ledger: &mut Ledger, batch: Batch) -> Result<(), SessionError> {
        let version = ledger.next_version;
        ledger.next_version += 1;
        let contents = with_leftovers(ledger, batch);
        let writes = self
            .seal(ledger, &contents, version)
            .inspect_err(|_| self.table.lock().abort())?;
        let bytes = writes.iter().map(limits::write_bytes).sum();
        let writer = self.parts.writer.clone();
        ledger.in_flight = Some(InFlight {
            version,
            files: contents
                .into_iter()
                .map(|(name, content)| (name, fate(&content)))
                .collect(),
            bytes,
            outcome: Box::pin(async move { writer.commit(writes).await }),
        });
        Ok(())
    }

    /// The writes of a commit, each on the condition that its file is as this
    /// owner knows it.
    fn seal(
        &self,
        ledger: &Ledger,
        contents: &[(FileName, Option<Content>)],
        version: u64,
    ) -> Result<Vec<Write>, SessionError> {
        let account = &self.parts.account;
        let mut versions = ledger.versions();
        for (name, content) in contents {
            match content {
                Some(_) => versions.insert(*name, version),
                None => versions.remove(name),
            };
        }
        let write = |(name, content): &(FileName, Option<Content>)| {
            let path = file_path(account, *name);
            let precondition = match ledger.files.get(name) {
                Some(file) => Precondition::Unchanged(file.update_time),
                None => Precondition::Absent,
            };
            let Some(content) = content else {
                return Ok(Write::Delete { path, precondition });
            };
            let rng = &*self.parts.rng;
            let fields = self
                .parts
                .sealer()
                .seal(rng, *name, &versions, version, content)
                .map_err(|TooLarge { bytes }| SessionError::TooLarge {
                    account: account.clone(),
                    file: name.to_string(),
                    bytes,
                })?;
            Ok(Write::Set {
                path,
                fields,
                precondition,
            })
        };
        contents.iter().map(write).collect()
    }

    /// Takes note of what became of the commit in flight.
    fn land(
        &self,
        ledger: &mut Ledger,
        outcome: Result<FencedOutcome, FencedError>,
    ) -> Result<(), SessionError> {
        let Some(in_flight) = ledger.in_flight.take() else {
            return Ok(());
        };
        let account = || self.parts.account.clone();
        let error = match outcome {
            Ok(FencedOutcome::Committed(commit)) => {
                self.committed(ledger, &in_flight, &commit);
                return Ok(());
            }
            Ok(FencedOutcome::Lost) => SessionError::Changed { account: account() },
            Err(FencedError::Fenced) => SessionError::Fenced { account: account() },
            Err(FencedError::GateClosed(reason)) => SessionError::GateClosed {
                account: account(),
                reason,
            },
            Err(FencedError::Invalid { reason }) => SessionError::Invalid {
                account: account(),
                reason,
            },
            Err(FencedError::Unavailable(source)) => SessionError::Unavailable {
                account: account(),
                source,
            },
        };
        // Nothing was written, or nothing will be written by us any more.
        self.table.lock().abort();
        Err(error)
    }

    fn committed(&self, ledger: &mut Ledger, in_flight: &InFlight, commit: &Commit) {
        let InFlight {
            version,
            files,
            bytes,
            ..
        } = in_flight;
        for ((name, fate), update_time) in files.iter().zip(&commit.update_times) {
            if *fate == Fate::Removed {
                ledger.files.remove(name);
                continue;
            }
            let file = StoredFile {
                version: *version,
                update_time: *update_time,
                is_retired: *fate == Fate::Retired,
                is_new: ledger.files.get(name).is_none_or(|before| before.is_new),
            };
            ledger.files.insert(*name, file);
        }
        self.table.lock().commit();

        let mut stats = self.stats.lock();
        stats.commits += 1;
        stats.files_written += files.len() as u64;
        stats.bytes_written += *bytes as u64;
        stats.last_version = *version;
        stats.last_commit = Some(commit.time);
        tracing::debug!(files = files.len(), bytes, version, "session files written");
    }
}

/// The files of a commit with their content, or without if they are removed:
/// those of the batch, and retired ones that earlier epochs left.
fn with_leftovers(ledger: &Ledger, batch: Batch) -> Vec<(FileName, Option<Content>)> {
    let is_new = |name: &FileName| ledger.files.get(name).is_none_or(|file| file.is_new);
    let written = batch
        .sets
        .into_iter()
        .map(|(name, entries)| (name, Some(Content::Records(entries))));
    let retired = batch.retires.into_iter().map(|name| {
        let content = is_new(&name).then_some(Content::Retired);
        (name, content)
    });
    let mut contents: Vec<(FileName, Option<Content>)> = written.chain(retired).collect();
    let leftovers: Vec<FileName> = ledger
        .files
        .iter()
        .filter(|(name, file)| {
            let is_written = contents.iter().any(|(written, _)| written == *name);
            file.is_retired && !file.is_new && !is_written
        })
        .map(|(name, _)| *name)
        .take(REMOVED_FILES_MAX)
        .collect();
    contents.extend(leftovers.into_iter().map(|name| (name, None)));
    contents
}

fn fate(content: &Option<Content>) -> Fate {
    match content {
        Some(Content::Records(_)) => Fate::Written,
        Some(Content::Retired) => Fate::Retired,
        None => Fate::Removed,
    }
}
