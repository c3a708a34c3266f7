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
//! `config/media_sweep` says when the next pass is due. A worker takes it by
//! moving that time on, in a conditional commit; if it dies, another takes the
//! next. Two passes at a time would do no harm. A pass has a limit of time and
//! works on [`BATCH`] files at a time; what it does not come to is left to the
//! next.
//!
//! The place carries a mark of its cluster (`leasehold-cluster`): with another
//! cluster's mark nothing is removed, since its files would be strays here; and
//! without the mark it is not the place, but a folder whose disk is not mounted.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{
    CommitOutcome, Fields, Path, Precondition, Store, StoreError, StoreTime, Value, Write,
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{MediaStore, MediaStoreError};
use crate::model::stored::Record;
use crate::model::{MediaDoc, Read, Stored, collections, queries};

/// Files that are worked on at a time.
const BATCH: u32 = 100;

/// The document in `config`.
const DOCUMENT: &str = "media_sweep";

/// Looks at the document that others' changes keep getting ahead of.
const ATTEMPTS_MAX: usize = 8;

/// Passes in the time that a file is kept.
const PASSES: u32 = 10;

/// A pass is not more frequent than this, nor more seldom.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// `config/media_sweep`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SweepDoc {
    /// When the next pass is due.
    due_at: Option<StoreTime>,
    /// When strays are looked for again.
    strays_due_at: Option<StoreTime>,
    /// The mark of this cluster.
    mark: String,
    /// The place has it.
    is_marked: bool,
}

impl Stored for SweepDoc {}

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

/// A pass that is this worker's to make.
struct Pass {
    with_strays: bool,
    until: Boottime,
}

impl Sweep {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        if !self.media.is_there() {
            return;
        }
        loop {
            let wait = self.rng.jitter(self.interval(), 0.5);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.clock.sleep(wait) => {}
            }
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
        if pass.with_strays {
            self.strays(&pass, &mut swept).await?;
        }
        Ok(swept)
    }

    fn interval(&self) -> Duration {
        (self.media.limits.retention / PASSES).clamp(INTERVAL_MIN, INTERVAL_MAX)
    }

    /// Takes the pass that is due, if nobody else does.
    async fn take(&self) -> Result<Option<Pass>, SweepError> {
        let (doc, unchanged, now) = self.document().await?;
        let is_due = |at: Option<StoreTime>| at.is_none_or(|at| at <= now);
        if !is_due(doc.due_at) {
            return Ok(None);
        }
        let with_strays = is_due(doc.strays_due_at);
        let retention = self.media.limits.retention;
        let taken = SweepDoc {
            due_at: Some(now.saturating_add(self.interval())),
            strays_due_at: match with_strays {
                true => Some(now.saturating_add(retention)),
                false => doc.strays_due_at,
            },
            ..doc
        };
        Ok(match self.write(&taken, unchanged).await? {
            CommitOutcome::Committed(_) => Some(Pass {
                with_strays,
                until: self.clock.boottime() + self.interval(),
            }),
            CommitOutcome::Rejected => None,
        })
    }

    fn is_over(&self, pass: &Pass) -> bool {
        self.clock.boottime() >= pass.until
    }

    async fn document(&self) -> Result<(SweepDoc, Precondition, StoreTime), StoreError> {
        let path = collections::config(DOCUMENT)?;
        let snapshot = self.store.get(&[path]).await?;
        let now = snapshot.read_time;
        Ok(match snapshot.documents.into_iter().flatten().next() {
            None => (SweepDoc::default(), Precondition::Absent, now),
            Some(document) => match SweepDoc::read(&document)? {
                Read::Known(record) => {
                    let unchanged = Precondition::Unchanged(record.update_time);
                    (record.value, unchanged, now)
                }
                Read::Newer(version) => {
                    return Err(StoreError::Invalid {
                        reason: format!("the sweep of files has schema version {version}"),
                    });
                }
            },
        })
    }

    async fn write(
        &self,
        doc: &SweepDoc,
        precondition: Precondition,
    ) -> Result<CommitOutcome, StoreError> {
        let write = Write::Set {
            path: collections::config(DOCUMENT)?,
            fields: doc.to_document()?,
            precondition,
        };
        self.store.commit(vec![write]).await
    }

    /// Makes sure that the place is this cluster's: it gets the mark once. A
    /// worker's own folder gets it whenever it has none.
    ///
    /// # Errors
    /// [`SweepError::Foreign`], [`SweepError::Unmarked`]; what the store or the
    /// place says.
    pub async fn mark(&self) -> Result<(), SweepError> {
        for _ in 0..ATTEMPTS_MAX {
            let (mut doc, unchanged, _) = self.document().await?;
            if doc.is_marked {
                return self.check_mark(&doc.mark).await;
            }
            if doc.mark.is_empty() {
                doc.mark = self.rng.nonce();
            } else {
                self.media.put_mark(&doc.mark).await?;
                self.check_mark(&doc.mark).await?;
                doc.is_marked = true;
            }
            // Rejected, another worker does the same: look again.
            let _ = self.write(&doc, unchanged).await?;
        }
        Err(StoreError::invalid("the mark of the files changes without end").into())
    }

    async fn check_mark(&self, mark: &str) -> Result<(), SweepError> {
        let mut found = self.media.read_mark().await?;
        if found.is_none() && self.media.is_own() {
            self.media.put_mark(mark).await?;
            found = self.media.read_mark().await?;
        }
        match found {
            Some(found) if found == mark.as_bytes() => Ok(()),
            Some(_) => Err(SweepError::Foreign),
            None => Err(SweepError::Unmarked),
        }
    }

    /// Removes what is past its time and not needed.
    async fn expired(&self, pass: &Pass, swept: &mut Swept) -> Result<(), SweepError> {
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
                self.media.remove(&id).await?;
                swept.expired += 1;
            }
            // A message has just taken it.
            (CommitOutcome::Rejected, _) => {}
        }
        Ok(())
    }

    /// Removes files that are old and have no document.
    async fn strays(&self, pass: &Pass, swept: &mut Swept) -> Result<(), SweepError> {
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
            let ids = batch.into_iter().filter(|(_, changed)| *changed < old);
            let ids: Vec<String> = ids.map(|(id, _)| id).collect();
            let paths: Vec<Path> = ids
                .iter()
                .map(|id| collections::media(id))
                .collect::<Result<_, _>>()?;
            if paths.is_empty() {
                continue;
            }
            let documents = self.store.get(&paths).await?.documents;
            for (id, document) in ids.iter().zip(documents) {
                if document.is_none() {
                    self.media.remove(id).await?;
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
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut removed = 0;
            for entry in entries {
                let name = entry.file_name();
                // The local store's name for a file that is not whole yet.
                let is_unfinished = name
                    .to_str()
                    .and_then(|name| name.split_once('#'))
                    .is_some_and(|(id, _)| super::is_id(id));
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
        Ok(self.document().await?.2)
    }
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
mod tests {
    use std::sync::Arc;

    use coordinator_lib::clock::{Clock, ManualClock, SystemClock};
    use coordinator_lib::rng::SeededRng;
    use coordinator_lib::store::{Fault, MemoryStore};

    use super::*;
    use crate::media::MediaPlace;
    use crate::media::tests::{in_folder, names, put};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    struct Fixture {
        folder: tempfile::TempDir,
        clock: ManualClock,
        memory: MemoryStore,
        media: MediaStore,
        sweep: Sweep,
    }

    impl Fixture {
        fn new() -> Self {
            let (folder, media) = in_folder();
            let clock = ManualClock::new();
            // The time of files is the machine's.
            clock.set_wall(SystemClock.wall());
            let memory = MemoryStore::new(Arc::new(clock.clone()));
            let sweep = Sweep {
                store: Arc::new(memory.clone()),
                media: media.clone(),
                clock: Arc::new(clock.clone()),
                rng: SeededRng::shared(7),
            };
            Self {
                folder,
                clock,
                memory,
                media,
                sweep,
            }
        }

        /// A file that was given, to be kept for a day from now on.
        async fn file(&self, id: &str) {
            put(&self.media, id, b"content").await;
            let now = self.sweep.now().await.unwrap();
            let document = MediaDoc {
                mime_type: "text/plain".to_owned(),
                bytes: 7,
                created_at: now,
                keep_until: now.saturating_add(DAY),
                width: None,
                height: None,
                thumbnail: None,
            };
            let path = collections::media(id).unwrap();
            self.set(path, document.to_document().unwrap()).await;
        }

        /// A message with this file.
        async fn message(&self, media: &str, open: bool) {
            let fields = Fields::from([
                ("mediaId".to_owned(), Value::Text(media.to_owned())),
                ("open".to_owned(), Value::Bool(open)),
            ]);
            let path = collections::wa_outbox(&format!("msg_{media}")).unwrap();
            self.set(path, fields).await;
        }

        async fn set(&self, path: Path, fields: Fields) {
            let write = Write::Set {
                path,
                fields,
                precondition: Precondition::None,
            };
            let outcome = self.sweep.store.commit(vec![write]).await.unwrap();
            assert!(matches!(outcome, CommitOutcome::Committed(_)));
        }

        async fn names(&self) -> Vec<String> {
            let mut names = names(&self.media).await;
            names.sort();
            names
        }
    }

    #[tokio::test]
    async fn a_file_goes_once_its_time_is_over_and_no_message_waits_with_it() {
        let fixture = Fixture::new();
        for (id, open) in [("med_sent", false), ("med_queued", true)] {
            fixture.file(id).await;
            fixture.message(id, open).await;
        }
        fixture.file("med_unused").await;
        assert_eq!(fixture.sweep.pass().await.unwrap(), Swept::default());
        fixture.clock.advance(DAY + Duration::from_secs(60));
        let swept = fixture.sweep.pass().await.unwrap();
        assert_eq!((swept.expired, swept.needed, swept.strays), (2, 1, 0));
        assert_eq!(fixture.names().await, ["med_queued"]);

        // Sent, it goes a day later.
        fixture.message("med_queued", false).await;
        fixture.clock.advance(DAY / 2);
        assert_eq!(fixture.sweep.pass().await.unwrap().expired, 0);
        fixture.clock.advance(DAY);
        assert_eq!(fixture.sweep.pass().await.unwrap().expired, 1);
        assert_eq!(fixture.names().await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_file_that_is_taken_by_a_message_meanwhile_stays() {
        let fixture = Fixture::new();
        fixture.file("med_1").await;
        fixture.clock.advance(2 * DAY);
        let path = collections::media("med_1").unwrap();
        let stored = fixture.sweep.store.get(std::slice::from_ref(&path)).await;
        let document = stored.unwrap().documents.remove(0).unwrap();
        let Read::Known(record) = MediaDoc::read(&document).unwrap() else {
            panic!("a known version");
        };
        // A message is accepted between the sweep's look and its write.
        let now = fixture.sweep.now().await.unwrap();
        let kept = keep(path, now, DAY, Precondition::Unchanged(record.update_time));
        let kept = fixture.sweep.store.commit(vec![kept]).await;
        assert!(matches!(kept, Ok(CommitOutcome::Committed(_))));
        let mut swept = Swept::default();
        fixture.sweep.one(record, now, &mut swept).await.unwrap();
        assert_eq!(swept, Swept::default());
        assert_eq!(fixture.names().await, ["med_1"]);
    }

    #[tokio::test]
    async fn what_a_crash_left_goes_once_it_is_old() {
        let fixture = Fixture::new();
        fixture.file("med_kept").await;
        // Taken, and its document never written; and a file not even whole.
        put(&fixture.media, "med_stray", b"content").await;
        let folder = fixture.folder.path().join("media");
        std::fs::write(folder.join("med_half#1"), "half").unwrap();
        std::fs::write(folder.join("somebody's"), "not ours").unwrap();
        assert_eq!(fixture.sweep.pass().await.unwrap().strays, 0);
        fixture.clock.advance(DAY - Duration::from_secs(60));
        assert_eq!(fixture.sweep.pass().await.unwrap().strays, 0);
        // Used meanwhile: its document says so.
        fixture.file("med_kept").await;
        fixture.clock.advance(Duration::from_secs(7200));
        assert_eq!(fixture.sweep.pass().await.unwrap().strays, 2);
        assert_eq!(fixture.names().await, ["med_kept"]);
        assert!(folder.join("somebody's").exists());
    }

    #[tokio::test]
    async fn a_pass_is_made_once_for_the_cluster_and_goes_on_after_a_failure() {
        let fixture = Fixture::new();
        for n in 0..BATCH + 5 {
            fixture.file(&format!("med_{n}")).await;
        }
        fixture.clock.advance(DAY + Duration::from_secs(60));
        // The worker that has the pass is cut off.
        let pass = fixture.sweep.take().await.unwrap();
        assert!(pass.is_some());
        assert!(fixture.sweep.take().await.unwrap().is_none());
        fixture.memory.fail_next_commit(Fault::Unavailable);
        let mut swept = Swept::default();
        let failed = fixture.sweep.expired(&pass.unwrap(), &mut swept).await;
        assert!(failed.is_err());
        // The next finds the rest, in as many batches as it takes.
        fixture.clock.advance(2 * INTERVAL_MAX);
        let next = fixture.sweep.pass().await.unwrap();
        assert_eq!(swept.expired + next.expired, BATCH as usize + 5);
        assert_eq!(fixture.names().await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn nothing_is_removed_from_another_clusters_place() {
        let fixture = Fixture::new();
        assert!(fixture.sweep.pass().await.is_ok());
        put(&fixture.media, "med_1", b"content").await;

        let other = ManualClock::new();
        other.set_wall(SystemClock.wall());
        let place = MediaPlace::Folder(fixture.folder.path().join("media"));
        let scratch = fixture.folder.path().to_owned();
        let limits = crate::media::MediaLimits::default();
        let sweep = Sweep {
            store: Arc::new(MemoryStore::new(Arc::new(other.clone()))),
            media: MediaStore::open(Some(&place), scratch, limits).unwrap(),
            clock: Arc::new(other.clone()),
            rng: SeededRng::shared(8),
        };
        other.advance(10 * DAY);
        assert!(matches!(sweep.pass().await, Err(SweepError::Foreign)));
        assert_eq!(fixture.names().await, ["med_1"]);
    }

    #[tokio::test]
    async fn a_shared_place_without_its_mark_is_out_of_reach() {
        let mut fixture = Fixture::new();
        let folder = fixture.folder.path().join("media");
        let shared = MediaPlace::Folder(folder.clone());
        let scratch = fixture.folder.path().to_owned();
        let limits = fixture.media.limits;
        fixture.media = MediaStore::open(Some(&shared), scratch, limits).unwrap();
        fixture.sweep.media = fixture.media.clone();
        let unavailable = |error| matches!(error, MediaStoreError::Unavailable(_));
        assert!(fixture.media.begin("med_1").await.is_err_and(unavailable));
        fixture.sweep.mark().await.unwrap();
        fixture.file("med_1").await;
        // Its disk is not mounted any more: what is seen is an empty folder.
        for entry in std::fs::read_dir(&folder).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        assert!(fixture.media.begin("med_2").await.is_err_and(unavailable));
        assert!(fixture.media.read("med_1").await.is_err_and(unavailable));
        fixture.clock.advance(2 * DAY);
        assert!(matches!(
            fixture.sweep.pass().await,
            Err(SweepError::Unmarked)
        ));
        let path = collections::media("med_1").unwrap();
        let known = fixture.sweep.store.get(&[path]).await.unwrap();
        assert!(known.documents[0].is_some());
    }
}
