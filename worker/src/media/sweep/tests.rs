use std::io::{Seek, Write as _};

use coordinator_lib::clock::{Clock, ManualClock, SystemClock};
use coordinator_lib::rng::SeededRng;
use coordinator_lib::store::{Fault, MemoryStore};

use super::*;
use crate::media::MediaPlace;
use crate::media::tests::{given, in_folder, names, put};
use crate::model::{Read, ReceivedMediaDoc, collections};

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
async fn what_came_stays_as_long_as_its_message_has_it() {
    let fixture = Fixture::new();
    for id in ["rec_1", "rec_2"] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"sealed").unwrap();
        file.rewind().unwrap();
        let name = FileName::received("a1", id).unwrap();
        fixture.media.put(&name, file).await.unwrap();
    }
    let folder = fixture.folder.path().join("media/received/a1");
    std::fs::write(folder.join("rec_3#1"), "half").unwrap();
    let document = ReceivedMediaDoc {
        account_id: "a1".to_owned(),
        thread_id: "t1".to_owned(),
        message_id: "m1".to_owned(),
        open: false,
        attempts: 0,
        next_at: StoreTime::from_micros(0),
        bytes: Some(6),
    };
    let path = collections::received_media("rec_1").unwrap();
    fixture.set(path, document.to_document().unwrap()).await;
    assert_eq!(fixture.sweep.pass().await.unwrap().strays, 0);
    fixture.clock.advance(10 * DAY);
    assert_eq!(fixture.sweep.pass().await.unwrap().strays, 2);
    assert_eq!(fixture.names().await, ["rec_1"]);
    assert!(!folder.join("rec_3#1").exists());
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
    assert!(
        fixture
            .media
            .begin(&given("med_1"))
            .await
            .is_err_and(unavailable)
    );
    fixture.sweep.mark().await.unwrap();
    fixture.file("med_1").await;
    // Its disk is not mounted any more: what is seen is an empty folder.
    for entry in std::fs::read_dir(&folder).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(
        fixture
            .media
            .begin(&given("med_2"))
            .await
            .is_err_and(unavailable)
    );
    assert!(
        fixture
            .media
            .read(&given("med_1"))
            .await
            .is_err_and(unavailable)
    );
    fixture.clock.advance(2 * DAY);
    assert!(matches!(
        fixture.sweep.pass().await,
        Err(SweepError::Unmarked)
    ));
    let path = collections::media("med_1").unwrap();
    let known = fixture.sweep.store.get(&[path]).await.unwrap();
    assert!(known.documents[0].is_some());
}
