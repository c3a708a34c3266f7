use std::sync::Arc;

use coordinator_lib::history::ReleaseReason;
use coordinator_lib::store::{Precondition, Write};
use whatsapp::{Inbound, Inbox};

use super::*;
use crate::account::term::Term;
use crate::messages::inbox::{AccountInbox, InboxConfig};
use crate::outbox::AcceptOutcome;
use crate::outbox::accept::Accepted;
use crate::testing::{ANNA, ANNA_LID, Bench, account_inbox, inbound};

fn inbox(term: &Term) -> AccountInbox {
    account_inbox(term, InboxConfig::default())
}

fn merger(bench: &Bench, term: &Term) -> Merger {
    Merger {
        account_id: term.account.to_string(),
        store: Arc::clone(&bench.store),
        journal: term.journal.clone(),
        threads: Arc::clone(&term.threads),
        sent: Arc::clone(&term.sent),
        clock: Arc::clone(&bench.clock),
    }
}

/// A message that names its sender by LID alone.
fn by_lid(id: &str, text: &str) -> Inbound {
    inbound(id, ANNA_LID, text)
}

/// A message that names its sender by both.
fn by_both(id: &str, text: &str) -> Inbound {
    Inbound {
        sender_alt: Some(ANNA_LID.to_owned()),
        wire_chat: ANNA_LID.to_owned(),
        wire_sender: ANNA_LID.to_owned(),
        ..inbound(id, ANNA, text)
    }
}

fn old() -> String {
    ids::thread("a1", ANNA_LID)
}

fn new() -> String {
    ids::thread("a1", ANNA)
}

async fn thread(bench: &Bench, id: &str) -> Option<ThreadDoc> {
    bench.read(collections::thread(id).unwrap()).await
}

async fn messages(bench: &Bench, thread: &str) -> Vec<MessageDoc> {
    let mut all: Vec<MessageDoc> = bench.list(&format!("threads/{thread}/messages")).await;
    all.sort_by_key(|message| message.sort_at);
    all
}

fn bodies(messages: &[MessageDoc]) -> Vec<&str> {
    let bodies = messages
        .iter()
        .filter_map(|message| message.body.as_deref());
    bodies.collect()
}

/// A message of ours to the number, in a thread of its own.
async fn sent(bench: &Bench, text: &str) -> Accepted {
    let account = coordinator_lib::identity::AccountId::new("a1").unwrap();
    match bench.accept(&account, ANNA, text).await {
        AcceptOutcome::Accepted(accepted) => accepted,
        AcceptOutcome::Repeated(_) => panic!("it is new"),
    }
}

/// Says of a message that it was sent.
async fn close(bench: &Bench, accepted: &Accepted) {
    let path = collections::wa_outbox(&accepted.message_id).unwrap();
    let mut record: WaOutboxDoc = bench.read(path.clone()).await.unwrap();
    record.open = false;
    record.state = MessageState::Sent;
    let write = Write::Set {
        path,
        fields: record.to_document().unwrap(),
        precondition: Precondition::None,
    };
    let _ = bench.store.commit(vec![write]).await.unwrap();
}

/// What a message that names both addresses has found out.
fn split(term: &Term) -> (String, String) {
    let splits = term.threads.take_splits();
    assert_eq!(splits.len(), 1);
    splits.into_iter().next().unwrap()
}

#[tokio::test]
async fn threads_of_one_person_become_one() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let inbox = inbox(&term);
    inbox
        .commit(vec![by_lid("ID1", "one"), by_lid("ID2", "two")])
        .await
        .unwrap();
    let ours = sent(&bench, "three").await;
    close(&bench, &ours).await;
    assert!(thread(&bench, &old()).await.is_some() && thread(&bench, &new()).await.is_some());
    inbox.commit(vec![by_both("ID4", "four")]).await.unwrap();
    assert_eq!(split(&term), (old(), new()));

    let merger = merger(&bench, &term);
    let progress = merger.merge(&old(), &new()).await.unwrap();
    assert_eq!(progress, Progress::Done);
    let all = messages(&bench, &new()).await;
    let mut texts = bodies(&all);
    texts.sort_unstable();
    assert_eq!(texts, ["four", "one", "three", "two"]);
    assert!(all.iter().all(|message| message.thread_id == new()));
    let merged = thread(&bench, &new()).await.unwrap();
    assert_eq!(merged.unread, 3);
    assert_eq!(
        (merged.pn.as_deref(), merged.lid.as_deref()),
        (Some(ANNA), Some(ANNA_LID))
    );
    assert!(merged.answered);
    assert!(thread(&bench, &old()).await.is_none());
    assert!(messages(&bench, &old()).await.is_empty());
    let pointer: MergedThreadDoc = bench
        .read(collections::merged_thread(&old()).unwrap())
        .await
        .unwrap();
    assert_eq!(pointer.into, new());
    let events = bench.events(&account).await;
    let told = events
        .iter()
        .filter(|event| event.kind == EventKind::ThreadMerged);
    assert_eq!(told.count(), 1);

    // Once more it changes nothing; and what comes under the LID alone is in
    // the one thread.
    let commits = bench.memory.commits();
    assert_eq!(merger.merge(&old(), &new()).await.unwrap(), Progress::Done);
    assert_eq!(bench.memory.commits(), commits);
    inbox.commit(vec![by_lid("ID5", "five")]).await.unwrap();
    inbox.commit(vec![by_lid("ID1", "one")]).await.unwrap();
    assert_eq!(messages(&bench, &new()).await.len(), 5);
    assert!(thread(&bench, &old()).await.is_none());
}

#[tokio::test]
async fn a_merge_that_is_interrupted_is_finished_by_the_next_owner() {
    const MESSAGES: usize = 70;
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let mut term = bench.term(&account).await;
    let batch = (0..MESSAGES).map(|n| by_lid(&format!("ID{n}"), &format!("{n:03}")));
    inbox(&term).commit(batch.collect()).await.unwrap();
    inbox(&term)
        .commit(vec![inbound("PN", ANNA, "by number")])
        .await
        .unwrap();
    let mut steps = 0;
    // Every owner makes one step and is gone.
    loop {
        let merger = merger(&bench, &term);
        let pair = Pair {
            source: collections::thread(&old()).unwrap(),
            target: collections::thread(&new()).unwrap(),
        };
        let progress = match steps {
            0 => {
                assert!(merger.mark(&pair).await.unwrap());
                Progress::Moved
            }
            _ => {
                let marked = merger.marked().await.unwrap();
                assert_eq!(marked.get(&old()), Some(&new()), "found again");
                merger.step(&pair).await.unwrap()
            }
        };
        steps += 1;
        // At no moment is there more or less than there was.
        let (here, there) = (
            messages(&bench, &old()).await,
            messages(&bench, &new()).await,
        );
        assert_eq!(here.len() + there.len(), MESSAGES + 1);
        let unread = |thread: Option<ThreadDoc>| thread.map_or(0, |thread| thread.unread);
        let unread = unread(thread(&bench, &old()).await) + unread(thread(&bench, &new()).await);
        assert_eq!(unread, MESSAGES as i64 + 1);
        if progress == Progress::Done {
            break;
        }
        let _ = term
            .release(ReleaseReason::Drain, Duration::from_secs(5))
            .await
            .unwrap();
        term = bench.term(&account).await;
    }
    assert!(steps > 3, "{steps} steps");
    assert!(merger(&bench, &term).marked().await.unwrap().is_empty());
    let expected: Vec<String> = (0..MESSAGES).map(|n| format!("{n:03}")).collect();
    let all = messages(&bench, &new()).await;
    let texts: Vec<&str> = bodies(&all)
        .into_iter()
        .filter(|text| *text != "by number")
        .collect();
    assert_eq!(texts, expected, "in order");
}

#[tokio::test]
async fn what_both_threads_have_is_kept_once() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let inbox = inbox(&term);
    inbox.commit(vec![by_lid("ID1", "one")]).await.unwrap();
    inbox
        .commit(vec![
            inbound("ID1", ANNA, "one"),
            inbound("ID2", ANNA, "two"),
        ])
        .await
        .unwrap();
    let merger = merger(&bench, &term);
    let progress = merger.merge(&old(), &new()).await.unwrap();
    assert_eq!(progress, Progress::Done);
    assert_eq!(bodies(&messages(&bench, &new()).await), ["one", "two"]);
    assert_eq!(thread(&bench, &new()).await.unwrap().unread, 2);
}

#[tokio::test]
async fn what_waits_to_be_sent_stays_until_it_is() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let inbox = inbox(&term);
    inbox
        .commit(vec![inbound("ID1", ANNA, "by number")])
        .await
        .unwrap();
    let waiting = match bench.accept(&account, ANNA_LID, "to the LID").await {
        AcceptOutcome::Accepted(accepted) => accepted,
        AcceptOutcome::Repeated(_) => panic!("it is new"),
    };
    assert_eq!(waiting.thread_id, old());
    inbox.commit(vec![by_both("ID2", "by both")]).await.unwrap();
    let merger = merger(&bench, &term);
    assert_eq!(merger.merge(&old(), &new()).await.unwrap(), Progress::Waits);
    // What is accepted meanwhile is for the one that stays, whatever it is to.
    for to in [ANNA, ANNA_LID] {
        match bench.accept(&account, to, "another").await {
            AcceptOutcome::Accepted(accepted) => {
                assert_eq!(accepted.thread_id, new());
                close(&bench, &accepted).await;
            }
            AcceptOutcome::Repeated(_) => panic!("it is new"),
        }
    }
    close(&bench, &waiting).await;
    assert_eq!(merger.merge(&old(), &new()).await.unwrap(), Progress::Done);
    let all = messages(&bench, &new()).await;
    assert_eq!(all.len(), 5);
    // Receipts find it where it is now.
    let place = term.sent.get(&waiting.wa_message_id).unwrap();
    assert_eq!(place.thread_id, new());
    let record: WaOutboxDoc = bench
        .read(collections::wa_outbox(&waiting.message_id).unwrap())
        .await
        .unwrap();
    assert_eq!(
        (record.thread_id, record.stored_message_id),
        (new(), place.stored_message_id)
    );
}
