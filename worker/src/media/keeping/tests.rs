use whatsapp::content::{Media, MediaKind, Target};
use whatsapp::media::MediaRef;
use whatsapp::{Content, Extras, Inbound, Inbox};

use super::*;
use crate::account::term::Term;
use crate::media::tests::in_folder;
use crate::messages::expiry::Sweeper;
use crate::messages::inbox::InboxConfig;
use crate::messages::merge::{Merger, Progress};
use crate::model::{KeptState, ids};
use crate::testing::{ANNA, ANNA_LID, Bench, account_inbox, inbound};

/// A message with a picture of so many bytes.
fn picture(id: &str, bytes: u64) -> Inbound {
    let media = Media {
        kind: MediaKind::Image,
        mime_type: None,
        bytes: Some(bytes),
        caption: None,
        file_name: None,
        seconds: None,
        width: None,
        height: None,
    };
    Inbound {
        content: Content::Media(media),
        media: Some(MediaRef {
            kind: MediaKind::Image,
            direct_path: "/v/1".to_owned(),
            key: vec![1; 32],
            sha256: vec![2; 32],
            encrypted_sha256: vec![3; 32],
            bytes,
        }),
        ..inbound(id, ANNA, "")
    }
}

fn config() -> KeepMedia {
    KeepMedia {
        bytes_max: 1_000,
        kinds: MediaKinds::all(),
    }
}

async fn receive(term: &Term, message: Inbound) {
    let config = InboxConfig {
        keep_media: Some(config()),
        ..InboxConfig::default()
    };
    let inbox = account_inbox(term, config);
    inbox.commit(vec![message]).await.unwrap();
}

fn keeping(bench: &Bench, term: &Term, media: &MediaStore) -> Keeping {
    Keeping {
        account_id: term.account.to_string(),
        store: Arc::clone(&bench.store),
        journal: term.journal.clone(),
        media: media.clone(),
        fetcher: bench.fetcher(),
        data_key: Arc::clone(&term.data_key),
        config: config(),
        turn: Arc::new(Semaphore::new(1)),
        news: Arc::clone(&term.files_came),
        clock: Arc::clone(&bench.clock),
        rng: Arc::clone(&bench.rng),
    }
}

async fn messages(bench: &Bench, chat: &str) -> Vec<MessageDoc> {
    let thread = ids::thread("a1", chat);
    bench.list(&format!("threads/{thread}/messages")).await
}

async fn state(bench: &Bench, chat: &str) -> Option<KeptState> {
    let message = messages(bench, chat).await.remove(0);
    message.received.map(|file| file.state)
}

async fn documents(bench: &Bench) -> Vec<ReceivedMediaDoc> {
    bench.list(collections::RECEIVED_MEDIA).await
}

/// The file that is to be kept, as the owner finds it.
async fn noted(bench: &Bench) -> Record<ReceivedMediaDoc> {
    let query = queries::received_media_open("a1").unwrap();
    let page = bench.store.query(&query).await.unwrap();
    let document = page.documents.first().expect("one is noted");
    ReceivedMediaDoc::read_or_skip(document).unwrap()
}

#[tokio::test]
async fn a_file_is_noted_with_its_message_in_one_commit() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let (before, _) = term.journal.counts();
    receive(&term, picture("A", 1_000)).await;
    let message = messages(&bench, ANNA).await.remove(0);
    let file = noted(&bench).await;
    assert_eq!(message.received.unwrap().id, file.path.id());
    assert!(file.value.open);
    // The message's name is learnt in a commit of its own.
    assert!(term.journal.counts().0 <= before + 2);
    // Delivered again, it changes nothing.
    receive(&term, picture("A", 1_000)).await;
    assert_eq!(documents(&bench).await, [file.value]);
}

#[tokio::test]
async fn what_is_not_kept_is_not_noted() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let off = account_inbox(&term, InboxConfig::default());
    off.commit(vec![picture("A", 1)]).await.unwrap();
    assert_eq!(state(&bench, ANNA).await, None);
    let once = Inbound {
        extras: Extras {
            view_once: true,
            ..Extras::default()
        },
        ..picture("B", 1)
    };
    receive(&term, once).await;
    receive(&term, picture("C", 1_001)).await;
    let mut states: Vec<_> = messages(&bench, ANNA).await;
    states.sort_by(|a, b| a.wa_message_id.cmp(&b.wa_message_id));
    let states: Vec<_> = states
        .into_iter()
        .map(|message| message.received.map(|file| file.state))
        .collect();
    assert_eq!(states, [None, None, Some(KeptState::TooLarge)]);
    assert!(documents(&bench).await.is_empty());
}

#[tokio::test]
async fn a_host_that_is_away_is_asked_again_later_by_whoever_owns_the_account() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let (_folder, media) = in_folder();
    let term = bench.term(&account).await;
    receive(&term, picture("A", 10)).await;
    let next = keeping(&bench, &term, &media).keep_due().await.unwrap();
    assert!(next.is_some_and(|wait| !wait.is_zero()), "{next:?}");
    let file = noted(&bench).await.value;
    assert_eq!((file.open, file.attempts), (true, 1));
    assert_eq!(state(&bench, ANNA).await, Some(KeptState::Pending));

    let successor = bench.term_of("bob", &account).await;
    let found = keeping(&bench, &successor, &media).keep_due().await;
    assert!(found.unwrap().is_some(), "it still waits");
    // Who owned it before notes nothing any more.
    let late = keeping(&bench, &term, &media);
    let file = noted(&bench).await;
    let refused = late.settle(file, Outcome::Stored { bytes: 1 }).await;
    assert!(matches!(
        refused,
        Err(JournalError::Fenced | JournalError::Closed(_) | JournalError::Ended)
    ));
    assert_eq!(state(&bench, ANNA).await, Some(KeptState::Pending));
}

#[tokio::test]
async fn what_becomes_of_a_file_stands_in_its_message_and_is_an_event() {
    use KeptState::{Expired, Failed, Kept, TooLarge};
    for (outcome, attempts, expected) in [
        (Outcome::Stored { bytes: 26 }, 1, Kept),
        (Outcome::TooLarge, 1, TooLarge),
        (Outcome::Broken, 1, Failed),
        (Outcome::Gone, 3, Expired),
    ] {
        let bench = Bench::new();
        let account = bench.account("a1").await;
        let (_folder, media) = in_folder();
        let term = bench.term(&account).await;
        receive(&term, picture("A", 10)).await;
        let keeping = keeping(&bench, &term, &media);
        for _ in 0..attempts {
            assert_eq!(state(&bench, ANNA).await, Some(KeptState::Pending));
            let file = noted(&bench).await;
            keeping.settle(file, outcome).await.unwrap();
        }
        assert_eq!(state(&bench, ANNA).await, Some(expected));
        let left = documents(&bench).await;
        assert_eq!(left.len(), usize::from(expected == Kept), "{expected:?}");
        assert!(!left.iter().any(|file| file.open));
        let events = bench.events(&account).await;
        let last = events.last().unwrap();
        assert_eq!(last.kind, EventKind::MessageChanged);
        assert_eq!(last.data["change"], "media");
        assert_eq!(last.data["kept"], expected.as_str());
        assert_eq!(keeping.keep_due().await.unwrap(), None, "nothing is left");
    }
}

#[tokio::test]
async fn a_file_goes_with_its_message() {
    for is_kept in [false, true] {
        let bench = Bench::new();
        let account = bench.account("a1").await;
        let (_folder, media) = in_folder();
        let term = bench.term(&account).await;
        let keeping = keeping(&bench, &term, &media);
        let disappearing = Inbound {
            timestamp: bench.clock.wall() - chrono::TimeDelta::seconds(100),
            extras: Extras {
                expires_after_seconds: Some(1),
                ..Extras::default()
            },
            ..picture("A", 10)
        };
        receive(&term, disappearing).await;
        receive(&term, picture("B", 10)).await;
        let all = documents(&bench).await;
        assert_eq!(all.len(), 2);
        if is_kept {
            for _ in &all {
                let file = noted(&bench).await;
                let stored = Outcome::Stored { bytes: 26 };
                keeping.settle(file, stored).await.unwrap();
            }
        }
        let sweeper = Sweeper {
            account_id: "a1".to_owned(),
            store: Arc::clone(&bench.store),
            journal: term.journal.clone(),
            clock: Arc::clone(&bench.clock),
            next: Arc::clone(&term.expiries),
            interval: Duration::from_secs(60),
        };
        sweeper.sweep().await.unwrap();
        assert_eq!(documents(&bench).await.len(), 1, "it has disappeared");
        let late = documents(&bench).await.remove(0);
        let message = messages(&bench, ANNA).await.remove(0);
        let id = message.received.expect("it has a file").id;
        let revoked = Inbound {
            content: Content::Revoke {
                target: Target {
                    id: "B".to_owned(),
                    from_me: true,
                    participant: None,
                },
            },
            ..inbound("C", ANNA, "")
        };
        receive(&term, revoked).await;
        assert!(documents(&bench).await.is_empty(), "it was taken back");
        // What was under way meanwhile does not bring it back.
        let file = Record {
            path: collections::received_media(&id).unwrap(),
            update_time: late.next_at,
            value: late,
        };
        let stored = Outcome::Stored { bytes: 26 };
        keeping.settle(file, stored).await.unwrap();
        assert!(documents(&bench).await.is_empty());
        assert_eq!(state(&bench, ANNA).await, None);
    }
}

#[tokio::test]
async fn a_file_is_found_where_its_message_has_gone() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let (_folder, media) = in_folder();
    let term = bench.term(&account).await;
    let by_lid = Inbound {
        chat: ANNA_LID.to_owned(),
        sender: ANNA_LID.to_owned(),
        wire_chat: ANNA_LID.to_owned(),
        wire_sender: ANNA_LID.to_owned(),
        ..picture("A", 10)
    };
    receive(&term, by_lid).await;
    let before = noted(&bench).await;
    receive(&term, inbound("B", ANNA, "hello")).await;
    let merger = Merger {
        account_id: "a1".to_owned(),
        store: Arc::clone(&bench.store),
        journal: term.journal.clone(),
        threads: Arc::clone(&term.threads),
        sent: Arc::clone(&term.sent),
        clock: Arc::clone(&bench.clock),
    };
    let (old, new) = (ids::thread("a1", ANNA_LID), ids::thread("a1", ANNA));
    let merged = merger.merge(&old, &new).await.unwrap();
    assert_eq!(merged, Progress::Done);
    // An attempt that was under way when it went is looked at again.
    let keeping = keeping(&bench, &term, &media);
    let stored = Outcome::Stored { bytes: 26 };
    keeping.settle(before.clone(), stored).await.unwrap();
    let file = noted(&bench).await;
    assert_eq!(file.path, before.path);
    assert_eq!(file.value.thread_id, new);
    keeping.settle(file, stored).await.unwrap();
    let all = messages(&bench, ANNA).await;
    let kept = all.iter().filter_map(|message| message.received.as_ref());
    let states: Vec<_> = kept.map(|file| file.state).collect();
    assert_eq!(states, [KeptState::Kept]);
}
