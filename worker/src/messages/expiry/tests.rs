use std::sync::Arc;

use coordinator_lib::store::{Precondition, Write};
use whatsapp::{Extras, Inbound};

use super::*;
use crate::account::term::Term;
use crate::messages::inbox::{AccountInbox, InboxConfig};
use crate::model::collections::EXPIRIES;
use crate::model::{ReceiptsDoc, ids};
use crate::outbox::AcceptOutcome;
use crate::testing::{ANNA, Bench, account_inbox, at, inbound};
use whatsapp::Inbox;

fn inbox(term: &Term) -> AccountInbox {
    account_inbox(term, InboxConfig::default())
}

fn sweeper(bench: &Bench, term: &Term) -> Sweeper {
    Sweeper {
        account_id: term.account.to_string(),
        store: Arc::clone(&bench.store),
        journal: term.journal.clone(),
        clock: Arc::clone(&bench.clock),
        next: Arc::clone(&term.expiries),
        interval: Duration::from_secs(60),
    }
}

/// A message that was written so long ago and disappears after `seconds`.
fn written(bench: &Bench, id: &str, ago: i64, seconds: Option<u32>) -> Inbound {
    Inbound {
        timestamp: bench.clock.wall() - chrono::TimeDelta::seconds(ago),
        extras: Extras {
            expires_after_seconds: seconds,
            ..Extras::default()
        },
        ..inbound(id, ANNA, id)
    }
}

async fn left(bench: &Bench, thread: &str) -> Vec<String> {
    let all: Vec<MessageDoc> = bench.list(&format!("threads/{thread}/messages")).await;
    let mut ids: Vec<String> = all.into_iter().map(|one| one.wa_message_id).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn messages_are_gone_when_their_time_is_past_and_not_before() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let thread_id = ids::thread("a1", ANNA);
    let batch = vec![
        written(&bench, "KEPT", 1_000, None),
        written(&bench, "LATER", 10, Some(86_400)),
        written(&bench, "GONE", 1_000, Some(60)),
    ];
    inbox(&term).commit(batch).await.unwrap();
    assert_eq!(left(&bench, &thread_id).await.len(), 3);
    let sweeper = sweeper(&bench, &term);
    sweeper.sweep().await.unwrap();
    assert_eq!(left(&bench, &thread_id).await, ["KEPT", "LATER"]);
    let expiries: Vec<ExpiryDoc> = bench.list(EXPIRIES).await;
    assert_eq!(expiries.len(), 1, "gone with its message");
    let path = collections::thread(&thread_id).unwrap();
    let thread: ThreadDoc = bench.read(path).await.unwrap();
    assert_eq!(thread.unread, 2);
    let events = bench.events(&account).await;
    let last = events.last().unwrap();
    assert_eq!(last.kind, EventKind::MessageChanged);
    assert_eq!(last.data["change"], EXPIRED);
    // It knows when the next one is due.
    let later = bench.clock.wall() + chrono::TimeDelta::seconds(86_400 - 10);
    let next = term.expiries.get().unwrap();
    assert!(next.since(StoreTime::from_datetime(later)) < Duration::from_secs(60));
    term.expiries.note(at(1));
    assert_eq!(term.expiries.get(), Some(at(1)), "sooner");
    term.expiries.note(at(2));
    assert_eq!(term.expiries.get(), Some(at(1)));
    // Once more: nothing is left to do.
    let commits = bench.memory.commits();
    sweeper.sweep().await.unwrap();
    assert_eq!(bench.memory.commits(), commits);
}

#[tokio::test]
async fn the_latest_message_leaves_no_text_behind() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let message = written(&bench, "GONE", 1_000, Some(60));
    inbox(&term).commit(vec![message]).await.unwrap();
    sweeper(&bench, &term).sweep().await.unwrap();
    let path = collections::thread(&ids::thread("a1", ANNA)).unwrap();
    let thread: ThreadDoc = bench.read(path).await.unwrap();
    assert_eq!(thread.last_message_preview.as_deref(), Some("[expired]"));
}

#[tokio::test]
async fn many_are_removed_in_few_commits() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let batch = (0..120).map(|n| written(&bench, &format!("ID{n}"), 1_000, Some(60)));
    inbox(&term).commit(batch.collect()).await.unwrap();
    let commits = bench.memory.commits();
    sweeper(&bench, &term).sweep().await.unwrap();
    assert!(left(&bench, &ids::thread("a1", ANNA)).await.is_empty());
    let commits = bench.memory.commits() - commits;
    assert!(commits <= 9, "{commits} commits");
}

#[tokio::test]
async fn what_is_sent_in_a_chat_with_a_timer_disappears_once_it_is_sent() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    // The peer has set the timer.
    let timer = Inbound {
        content: whatsapp::Content::Timer { seconds: 60 },
        ..inbound("TIMER", ANNA, "")
    };
    inbox(&term).commit(vec![timer]).await.unwrap();
    let AcceptOutcome::Accepted(accepted) = bench.accept(&account, ANNA, "a secret").await else {
        panic!("it is new");
    };
    let expiry = collections::expiry(&accepted.stored_message_id).unwrap();
    let message = collections::message(&accepted.thread_id, &accepted.stored_message_id).unwrap();
    let stored: MessageDoc = bench.read(message.clone()).await.unwrap();
    let extras = stored.extras.unwrap();
    assert_eq!(extras.expires_after_seconds, Some(60));
    let noted: ExpiryDoc = bench.read(expiry.clone()).await.unwrap();
    assert_eq!(Some(noted.expires_at), stored.expires_at);

    // Its time is past, and it still waits.
    let past = Write::Update {
        path: expiry.clone(),
        fields: [(
            "expiresAt".to_owned(),
            coordinator_lib::store::Value::Time(at(1)),
        )]
        .into(),
        precondition: Precondition::Exists,
    };
    let _ = bench.store.commit(vec![past.clone()]).await.unwrap();
    let first = sweeper(&bench, &term);
    first.sweep().await.unwrap();
    assert!(bench.document(message.clone()).await.is_some(), "unsent");

    // Sent, with a receipt.
    let sent = collections::wa_outbox(&accepted.message_id).unwrap();
    let mut record: WaOutboxDoc = bench.read(sent.clone()).await.unwrap();
    record.open = false;
    record.state = MessageState::Sent;
    let receipts = collections::receipts(&accepted.stored_message_id).unwrap();
    let set = |path: &Path, fields| Write::Set {
        path: path.clone(),
        fields,
        precondition: Precondition::None,
    };
    let writes = vec![
        set(&sent, record.to_document().unwrap()),
        set(&receipts, ReceiptsDoc::default().to_document().unwrap()),
        past,
    ];
    let _ = bench.store.commit(writes).await.unwrap();
    // Another owner, which remembers nothing of the first one's.
    let next = bench.term(&account).await;
    sweeper(&bench, &next).sweep().await.unwrap();
    for gone in [&message, &expiry, &receipts] {
        assert!(bench.document(gone.clone()).await.is_none(), "{gone}");
    }
    let asked: OutboxDoc = bench
        .read(collections::outbox(&accepted.message_id).unwrap())
        .await
        .unwrap();
    let record: WaOutboxDoc = bench.read(sent).await.unwrap();
    assert!(asked.body.is_empty() && record.payload.is_empty());
}
