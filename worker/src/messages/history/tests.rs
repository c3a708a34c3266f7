use std::io::Write as _;
use std::sync::Arc;

use coordinator_lib::history::ReleaseReason;
use flate2::{Compression, write::ZlibEncoder};
use prost::Message as _;
use proto::whatsapp::history_sync::{Conversation, HistoryMessage, PushName, WebMessage};
use proto::whatsapp::{HistorySync, Message, MessageKey};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use whatsapp::Inbox as _;
use whatsapp::history::{HistoryKind, HistoryPiece};

use super::*;
use crate::account::term::Term;
use crate::messages::history::unpacking::Unpacking;
use crate::messages::inbox::InboxConfig;
use crate::model::{
    ContactDoc, EventKind, HistoryPieceDoc, HistoryTotalsDoc, MessageDoc, MessageState, PieceState,
    ThreadDoc, collections, ids,
};
use crate::testing::{ANNA, BEN, Bench, DEADLINE, account_inbox, inbound, intake};

/// Seconds, some days ago.
fn days_ago(days: i64) -> u64 {
    let now = coordinator_lib::clock::SystemClock::shared().wall();
    (now.timestamp() - days * 24 * 60 * 60) as u64
}

fn message(chat: &str, id: &str, from_me: bool, text: &str, at: u64) -> HistoryMessage {
    HistoryMessage {
        message: Some(WebMessage {
            key: Some(MessageKey {
                remote_jid: Some(chat.to_owned()),
                from_me: Some(from_me),
                id: Some(id.to_owned()),
                participant: None,
            }),
            message: Some(Message {
                conversation: Some(text.to_owned()),
                ..Message::default()
            }),
            message_timestamp: Some(at),
            status: Some(4),
            ..WebMessage::default()
        }),
        msg_order_id: None,
    }
}

fn conversation(chat: &str, name: &str, messages: Vec<HistoryMessage>) -> Conversation {
    Conversation {
        id: Some(chat.to_owned()),
        name: Some(name.to_owned()),
        messages,
        unread_count: Some(7),
        ..Conversation::default()
    }
}

/// Conversations with Anna and Ben, of so many messages each.
fn piece(messages: usize) -> HistoryPiece {
    let newest = days_ago(1);
    let said = |chat: &'static str| {
        let number = move |n: usize| {
            let at = newest - n as u64;
            message(chat, &format!("{n}"), n % 2 == 1, &format!("no. {n}"), at)
        };
        (0..messages).map(number).collect::<Vec<_>>()
    };
    let history = HistorySync {
        sync_type: Some(3),
        conversations: vec![
            conversation(ANNA, "Anna Smith", said(ANNA)),
            conversation(BEN, "Ben Jones", said(BEN)),
        ],
        pushnames: vec![PushName {
            id: Some(ANNA.to_owned()),
            pushname: Some("anna99".to_owned()),
        }],
        ..HistorySync::default()
    };
    piece_of(&history)
}

fn piece_of(history: &HistorySync) -> HistoryPiece {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&history.encode_to_vec()).unwrap();
    HistoryPiece {
        kind: HistoryKind::Recent,
        order: Some(1),
        progress: Some(100),
        compressed: encoder.finish().unwrap().into(),
    }
}

/// Unpacks what is open until the journal of the claim is closed, or for ever.
fn unpacking(bench: &Bench, term: &Term, config: HistoryConfig, news: Arc<Notify>) -> Unpacking {
    Unpacking {
        account_id: term.account.to_string(),
        epoch: term.epoch(),
        store: Arc::clone(&bench.store),
        journal: term.journal.clone(),
        threads: Arc::clone(&term.threads),
        contacts: Arc::clone(&term.contacts),
        data_key: Arc::clone(&term.data_key),
        rng: Arc::clone(&bench.rng),
        clock: Arc::clone(&bench.clock),
        tracker: bench.tracker.clone(),
        config,
        turn: Arc::new(Semaphore::new(1)),
        news,
    }
}

/// Takes a piece in, and unpacks everything.
async fn take(bench: &Bench, term: &Term, config: &HistoryConfig, piece: &HistoryPiece) {
    intake(term).keep(piece).await.unwrap();
    settle(bench, term, config).await;
}

async fn settle(bench: &Bench, term: &Term, config: &HistoryConfig) {
    let stop = CancellationToken::new();
    let unpacking = unpacking(bench, term, config.clone(), Arc::default());
    let running = bench.tracker.spawn(unpacking.run(stop.clone()));
    let settled = async {
        while pieces(bench).await.iter().any(|piece| piece.open) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, settled).await.unwrap();
    stop.cancel();
    running.await.unwrap();
}

async fn pieces(bench: &Bench) -> Vec<HistoryPieceDoc> {
    bench.list(collections::HISTORY_PIECES).await
}

async fn thread(bench: &Bench, chat: &str) -> ThreadDoc {
    let path = collections::thread(&ids::thread("a1", chat)).unwrap();
    bench.read(path).await.unwrap()
}

async fn messages(bench: &Bench, chat: &str) -> Vec<MessageDoc> {
    let collection = format!("threads/{}/messages", ids::thread("a1", chat));
    let mut messages: Vec<MessageDoc> = bench.list(&collection).await;
    messages.sort_by_key(|message| message.sort_at);
    messages
}

fn bodies(messages: &[MessageDoc]) -> Vec<&str> {
    let bodies = messages
        .iter()
        .filter_map(|message| message.body.as_deref());
    bodies.collect()
}

#[tokio::test]
async fn history_becomes_threads_messages_and_contacts_and_one_event() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    take(&bench, &term, &HistoryConfig::default(), &piece(3)).await;

    let stored = messages(&bench, ANNA).await;
    assert_eq!(bodies(&stored), ["no. 2", "no. 1", "no. 0"]);
    // Nothing of it is unread, and nobody is told of each.
    assert!(stored.iter().all(|message| message.history));
    assert!(
        stored
            .iter()
            .all(|message| message.state == MessageState::Read)
    );
    let anna = thread(&bench, ANNA).await;
    assert_eq!((anna.unread, anna.history_messages), (0, 3));
    assert_eq!(anna.title.as_deref(), Some("Anna Smith"));
    assert_eq!(anna.last_message_preview.as_deref(), Some("no. 0"));
    assert!(anna.answered);
    let events = bench.events(&account).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, EventKind::HistoryReceived);
    let data = |name: &str| events[0].data[name].clone();
    assert_eq!(
        (data("state"), data("kind")),
        ("stored".to_owned(), "recent".to_owned())
    );
    assert_eq!(
        (data("chats"), data("messages")),
        ("2".to_owned(), "6".to_owned())
    );

    let contacts: Vec<ContactDoc> = bench.list(collections::CONTACTS).await;
    let anna = contacts
        .iter()
        .find(|contact| contact.pn.as_deref() == Some(ANNA));
    let anna = anna.unwrap();
    assert_eq!(anna.name.as_deref(), Some("Anna Smith"));
    assert_eq!(anna.push_name.as_deref(), Some("anna99"));
    assert_eq!(contacts.len(), 2);
    // What it came as is gone.
    let piece = &pieces(&bench).await[0];
    assert_eq!((piece.state, piece.open), (PieceState::Stored, false));
    let parts = format!(
        "history_pieces/{}/parts",
        ids::history_piece("a1", &self::piece(3).compressed)
    );
    assert!(
        bench
            .list::<crate::model::HistoryPartDoc>(&parts)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn the_next_owner_goes_on_where_the_last_one_stopped() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let first = bench.term(&account).await;
    let config = HistoryConfig::default();
    let large = piece(400);
    intake(&first).keep(&large).await.unwrap();
    // It stops in the middle, after some of the bundles.
    let unpacking = unpacking(&bench, &first, config.clone(), Arc::default());
    let totals = collections::history_totals("a1").unwrap();
    let begun = async {
        while bench
            .read::<HistoryTotalsDoc>(totals.clone())
            .await
            .is_none()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = begun => {}
        () = unpacking.run(CancellationToken::new()) => {}
        () = tokio::time::sleep(DEADLINE) => panic!("nothing is stored"),
    }
    let limit = Duration::from_secs(5);
    let _ = first.release(ReleaseReason::Drain, limit).await.unwrap();
    let half: HistoryTotalsDoc = bench.read(totals.clone()).await.unwrap();
    assert!((1..800).contains(&half.messages), "{half:?}");

    let second = bench.term(&account).await;
    settle(&bench, &second, &config).await;
    for chat in [ANNA, BEN] {
        let stored = messages(&bench, chat).await;
        assert_eq!(stored.len(), 400);
        assert_eq!(thread(&bench, chat).await.history_messages, 400);
        assert!(stored.is_sorted_by(|a, b| a.sort_at < b.sort_at));
    }
    let whole: HistoryTotalsDoc = bench.read(totals).await.unwrap();
    assert_eq!(whole.messages, 800);
    assert_eq!(bench.events(&account).await.len(), 1);

    // Given once more, it changes nothing and is not told again.
    take(&bench, &second, &config, &large).await;
    assert_eq!(bench.events(&account).await.len(), 1);
    assert_eq!(messages(&bench, ANNA).await.len(), 400);
}

#[tokio::test]
async fn the_newest_within_the_limits_are_kept_and_the_rest_is_counted() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let config = HistoryConfig {
        days: 30,
        chat_messages_max: 4,
        messages_max: 6,
        ..HistoryConfig::default()
    };
    let old = message(ANNA, "old", false, "old", days_ago(31));
    let ages = [5_u64, 4, 3, 2, 1];
    let recent = |chat: &str| {
        let mut recent = vec![old.clone()];
        recent.extend(ages.map(|age| {
            let at = days_ago(1) - age;
            message(chat, &format!("{age}"), false, &format!("age {age}"), at)
        }));
        recent
    };
    let history = HistorySync {
        conversations: vec![
            conversation(ANNA, "Anna", recent(ANNA)),
            conversation(BEN, "Ben", recent(BEN)),
        ],
        ..HistorySync::default()
    };
    take(&bench, &term, &config, &piece_of(&history)).await;
    assert_eq!(
        bodies(&messages(&bench, ANNA).await),
        ["age 4", "age 3", "age 2", "age 1"]
    );
    assert_eq!(bodies(&messages(&bench, BEN).await), ["age 2", "age 1"]);
    let counts = pieces(&bench).await[0].counts;
    assert_eq!((counts.messages, counts.left_out), (6, 6));

    // More of the same chat, later: it has enough.
    let more = HistorySync {
        conversations: vec![conversation(
            ANNA,
            "Anna",
            vec![message(ANNA, "more", false, "more", days_ago(2))],
        )],
        ..HistorySync::default()
    };
    take(&bench, &term, &config, &piece_of(&more)).await;
    assert_eq!(messages(&bench, ANNA).await.len(), 4);
}

#[tokio::test]
async fn live_messages_and_history_make_one_thread_and_live_ones_stay_as_they_are() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let inbox = account_inbox(&term, InboxConfig::default());
    // It is in the history as well, since the phone had it first.
    inbox
        .commit(vec![inbound("0", ANNA, "live")])
        .await
        .unwrap();
    take(&bench, &term, &HistoryConfig::default(), &piece(3)).await;
    let stored = messages(&bench, ANNA).await;
    assert_eq!(stored.len(), 3);
    let live = stored
        .iter()
        .find(|message| message.wa_message_id == "0")
        .unwrap();
    assert_eq!((live.body.as_deref(), live.history), (Some("live"), false));
    let anna = thread(&bench, ANNA).await;
    assert_eq!((anna.unread, anna.history_messages), (1, 2));
}

#[tokio::test]
async fn a_broken_piece_is_lost_and_said_to_be() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let whole = piece(3);
    let broken = HistoryPiece {
        compressed: whole.compressed.slice(..whole.compressed.len() / 2),
        ..whole.clone()
    };
    take(&bench, &term, &HistoryConfig::default(), &broken).await;
    assert_eq!(pieces(&bench).await[0].state, PieceState::Lost);
    let events = bench.events(&account).await;
    assert_eq!(events[0].data["state"], "lost");
    // The whole one is another.
    take(&bench, &term, &HistoryConfig::default(), &whole).await;
    assert_eq!(messages(&bench, ANNA).await.len(), 3);
}

#[tokio::test]
async fn a_piece_that_its_owner_could_not_finish_is_called_lost_by_the_next() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let first = bench.term(&account).await;
    let small = piece(1);
    intake(&first).keep(&small).await.unwrap();
    // As it is before the last write.
    let id = ids::history_piece("a1", &small.compressed);
    let path = collections::history_piece(&id).unwrap();
    let coming = HistoryPieceDoc {
        state: PieceState::Coming,
        ..bench.read(path.clone()).await.unwrap()
    };
    let needs = vec![crate::events::Need::Read(path.clone())];
    let put = first
        .journal
        .apply(needs, move |draft| draft.put(path.clone(), &coming));
    put.await.unwrap();
    let limit = Duration::from_secs(5);
    let _ = first.release(ReleaseReason::Drain, limit).await.unwrap();

    let second = bench.term(&account).await;
    settle(&bench, &second, &HistoryConfig::default()).await;
    assert_eq!(pieces(&bench).await[0].state, PieceState::Lost);
    assert_eq!(bench.events(&account).await[0].data["state"], "lost");
    assert!(messages(&bench, ANNA).await.is_empty());
}

#[tokio::test]
async fn a_large_piece_is_kept_in_parts_and_never_in_clear() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    // Does not compress.
    let mut noise = vec![0_u8; 1_200_000];
    bench.rng.fill(&mut noise);
    let text: String = noise
        .iter()
        .map(|byte| char::from(33 + byte % 90))
        .collect();
    let canary = format!("canary-7781 {text}");
    let history = HistorySync {
        conversations: vec![conversation(
            ANNA,
            "Anna",
            vec![message(ANNA, "A", false, &canary, days_ago(1))],
        )],
        ..HistorySync::default()
    };
    let piece = piece_of(&history);
    intake(&term).keep(&piece).await.unwrap();
    let parts = format!(
        "history_pieces/{}/parts",
        ids::history_piece("a1", &piece.compressed)
    );
    let parts: Vec<crate::model::HistoryPartDoc> = bench.list(&parts).await;
    assert!(parts.len() >= 2, "{} parts", parts.len());
    let in_clear = |part: &crate::model::HistoryPartDoc| {
        part.sealed
            .windows(6)
            .any(|bytes| piece.compressed.starts_with(bytes))
    };
    assert!(!parts.iter().any(in_clear));
    settle(&bench, &term, &HistoryConfig::default()).await;
    assert!(
        messages(&bench, ANNA).await[0]
            .body
            .as_deref()
            .unwrap()
            .starts_with("canary-7781")
    );
}
