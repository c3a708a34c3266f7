//! Removes files that nobody needs any more, once for the whole cluster.
//!
//! A file's document says until when it is kept at least (`keepUntil`), which
//! moves on as messages use it. After that time it is removed, unless a message
//! that waits to be sent still needs it. The document goes first, on the
//! condition that it is as it was read *before* the messages were asked for: a
//! message that is accepted meanwhile moves the time on and wins, or finds no
//! document and is refused. Then the file. A crash in between leaves a file
//! without a document, as does one while a file is taken: such *strays* are
//! removed, too, once they are as old as a file may be without any use.
//!
//! A file that came with a message has its document from the message's own
//! commit to the one that removes it, or its text: so it needs no time of its
//! own. What is without a document is a stray as well.
//!
//! One worker makes a pass for all: see [`passes`](crate::passes). It works on
//! [`BATCH`] files at a time, and only where the place has the cluster's own
//! [`mark`].

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use coordinator_lib::clock::SharedClock;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{
    CommitOutcome, Fields, Path, Precondition, Store, StoreError, StoreTime, Value, Write,
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{FileName, MediaStore, MediaStoreError, mark, name};
use crate::model::stored::Record;
use crate::model::{Agreed, MediaDoc, Stored, queries};
use crate::passes::{Due, Pass, Passes, is_due};

/// Files that are worked on at a time.
const BATCH: u32 = 100;

/// The document in `config`.
const DOCUMENT: &str = "media_sweep";

/// Passes in the time that a file is kept.
const PASSES: u32 = 10;

/// A pass is not more frequent than this, nor more seldom.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// `config/media_sweep`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SweepDoc {
    /// When the next pass is due.
    due_at: Option<StoreTime>,
    /// When strays are looked for again.
    strays_due_at: Option<StoreTime>,
    /// The mark of this cluster.
    pub(super) mark: String,
    /// The place has it.
    pub(super) is_marked: bool,
}

impl Stored for SweepDoc {}

impl Due for SweepDoc {
    fn due_at(&mut self) -> &mut Option<StoreTime> {
        &mut self.due_at
    }
}

/// Whether a pass looks for strays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strays {
    Due,
    NotDue,
}

/// What the task works with.
pub struct Sweep {
    /// The documents.
    pub store: Store,
    /// The files.
    pub media: MediaStore,
    /// Time.
    pub clock: SharedClock,
    /// Spreads the workers, makes the mark.
    pub rng: SharedRng,
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files removed whose time was over.
    pub expired: usize,
    /// Files kept longer, as a message still needs them.
    pub needed: usize,
    /// Files removed that had no document.
    pub strays: usize,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The documents were not read or written.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The files were not listed or removed.
    #[error(transparent)]
    Media(#[from] MediaStoreError),
    /// The place has another cluster's mark.
    #[error("it belongs to another cluster: give each a folder or a prefix of its own")]
    Foreign,
    /// The place has had this cluster's mark, and has none.
    #[error(
        "it does not have this cluster's mark: is its disk mounted? Files that move to another \
         place take the file leasehold-cluster along"
    )]
    Unmarked,
}

impl Sweep {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        if !self.media.is_there() {
            return;
        }
        let passes = self.passes();
        while passes.wait(&stop).await {
            let swept = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                swept = self.pass() => swept,
            };
            match swept {
                Ok(swept) if swept == Swept::default() => {}
                Ok(swept) => tracing::info!(
                    expired = swept.expired,
                    needed = swept.needed,
                    strays = swept.strays,
                    "files swept"
                ),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "files were not swept; the next pass goes on");
                }
            }
        }
    }

    /// Makes a pass, if one is due.
    ///
    /// # Errors
    /// [`SweepError`]. What was removed by then is.
    pub async fn pass(&self) -> Result<Swept, SweepError> {
        let mut swept = Swept::default();
        let Some(pass) = self.take().await? else {
            return Ok(swept);
        };
        self.mark().await?;
        self.expired(&pass, &mut swept).await?;
        if pass.noted == Strays::Due {
            self.strays(&pass, &mut swept).await?;
        }
        Ok(swept)
    }

    /// Makes sure that the place is this cluster's.
    ///
    /// # Errors
    /// As [`mark::ensure`].
    pub async fn mark(&self) -> Result<(), SweepError> {
        mark::ensure(&self.document(), &self.media, self.rng.as_ref()).await
    }

    fn passes(&self) -> Passes<SweepDoc> {
        Passes {
            document: self.document(),
            clock: Arc::clone(&self.clock),
            rng: Arc::clone(&self.rng),
            interval: (self.media.limits.retention / PASSES).clamp(INTERVAL_MIN, INTERVAL_MAX),
        }
    }

    fn document(&self) -> Agreed<SweepDoc> {
        Agreed::new(Arc::clone(&self.store), DOCUMENT)
    }

    /// Takes the pass that is due, if nobody else does.
    async fn take(&self) -> Result<Option<Pass<Strays>>, StoreError> {
        let retention = self.media.limits.retention;
        let passes = self.passes();
        let taken = passes.take(|doc, now| match is_due(doc.strays_due_at, now) {
            true => {
                doc.strays_due_at = Some(now.saturating_add(retention));
                Strays::Due
            }
            false => Strays::NotDue,
        });
        taken.await
    }

    fn is_over(&self, pass: &Pass<Strays>) -> bool {
        self.clock.boottime() >= pass.until
    }

    /// Removes what is past its time and not needed.
    async fn expired(&self, pass: &Pass<Strays>, swept: &mut Swept) -> Result<(), SweepError> {
        loop {
            let now = self.now().await?;
            let query = queries::media_kept_until(now)?.limit(BATCH);
            let found = self.store.query(&query).await?.documents;
            let is_last = found.len() < BATCH as usize;
            let mut moved = 0;
            for document in found {
                if self.is_over(pass) {
                    return Ok(());
                }
                let Some(record) = MediaDoc::read_or_skip(&document) else {
                    continue;
                };
                moved += 1;
                self.one(record, now, swept).await?;
            }
            // What cannot be read stays at the front: it would come for ever.
            if is_last || moved == 0 {
                return Ok(());
            }
        }
    }

    async fn one(
        &self,
        record: Record<MediaDoc>,
        now: StoreTime,
        swept: &mut Swept,
    ) -> Result<(), SweepError> {
        let id = record.path.id().to_owned();
        let unchanged = Precondition::Unchanged(record.update_time);
        let waiting = queries::wa_outbox_needing(&id)?;
        let is_needed = !self.store.query(&waiting).await?.documents.is_empty();
        let write = match is_needed {
            true => keep(record.path, now, self.media.limits.retention, unchanged),
            false => Write::Delete {
                path: record.path,
                precondition: unchanged,
            },
        };
        match (self.store.commit(vec![write]).await?, is_needed) {
            (CommitOutcome::Committed(_), true) => swept.needed += 1,
            (CommitOutcome::Committed(_), false) => {
                self.media.remove(&FileName::given(&id)?).await?;
                swept.expired += 1;
            }
            // A message has just taken it.
            (CommitOutcome::Rejected, _) => {}
        }
        Ok(())
    }

    /// Removes files that are old and have no document.
    async fn strays(&self, pass: &Pass<Strays>, swept: &mut Swept) -> Result<(), SweepError> {
        let retention = self.media.limits.retention;
        let old = self.clock.wall() - TimeDelta::from_std(retention).unwrap_or_default();
        let found = self.media.list()?;
        let batches = found.ready_chunks(BATCH as usize);
        futures::pin_mut!(batches);
        while let Some(batch) = batches.next().await {
            if self.is_over(pass) {
                return Ok(());
            }
            let batch: Vec<_> = batch.into_iter().collect::<Result<_, _>>()?;
            let names = batch.into_iter().filter(|(_, changed)| *changed < old);
            let names: Vec<FileName> = names.map(|(name, _)| name).collect();
            let paths: Vec<Path> = names
                .iter()
                .map(FileName::document)
                .collect::<Result<_, _>>()?;
            if paths.is_empty() {
                continue;
            }
            let documents = self.store.get(&paths).await?.documents;
            for (name, document) in names.iter().zip(documents) {
                if document.is_none() {
                    self.media.remove(name).await?;
                    swept.strays += 1;
                }
            }
        }
        swept.strays += self.unfinished(old).await;
        Ok(())
    }

    /// What a worker that was killed left of files it was taking, in a folder;
    /// a bucket has a rule for that.
    async fn unfinished(&self, old: DateTime<Utc>) -> usize {
        let Ok(files) = self.media.files() else {
            return 0;
        };
        let Some(folder) = files.folder.clone() else {
            return 0;
        };
        let removed = tokio::task::spawn_blocking(move || {
            let received = folder.join(name::RECEIVED);
            let accounts = entries(&received).map(|account| account.path());
            let folders = std::iter::once(folder).chain(accounts);
            let mut removed = 0;
            for entry in folders.flat_map(|folder| entries(&folder)) {
                let name = entry.file_name();
                let is_unfinished = name.to_str().is_some_and(name::is_unfinished);
                let changed = entry.metadata().and_then(|metadata| metadata.modified());
                let is_old = changed.is_ok_and(|changed| DateTime::<Utc>::from(changed) < old);
                if is_unfinished && is_old && std::fs::remove_file(entry.path()).is_ok() {
                    removed += 1;
                }
            }
            removed
        });
        removed.await.unwrap_or_default()
    }

    /// The store's time.
    async fn now(&self) -> Result<StoreTime, StoreError> {
        Ok(self.document().read().await?.at)
    }
}

/// What is in a folder, as far as it can be read.
fn entries(folder: &std::path::Path) -> impl Iterator<Item = std::fs::DirEntry> + use<> {
    let entries = std::fs::read_dir(folder);
    entries.into_iter().flatten().flatten()
}

/// Keeps a file for the whole time from now on.
pub(crate) fn keep(
    path: Path,
    now: StoreTime,
    retention: Duration,
    precondition: Precondition,
) -> Write {
    let until = now.saturating_add(retention);
    Write::Update {
        path,
        fields: Fields::from([("keepUntil".to_owned(), Value::Time(until))]),
        precondition,
    }
}

#[cfg(test)]
mod tests;
