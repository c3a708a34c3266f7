//! Messages in a run with the worker itself: accounts with a session, clients
//! that send, peers that write, and the ledger in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::identity::AccountId;
use coordinator_lib::lease;
use coordinator_lib::rng::{Rng, SeededRng};
use coordinator_lib::store::{Query, StoreTime, Write};
use history::ledger::{Ledgers, Stored as StoredMessage};
use session::{DataKey, HeadDoc, KeyRing};
use whatsapp::DisconnectReason;
use worker::model::{
    AccountDoc, Direction, EventDoc, MessageDoc, Status, Stored as _, ThreadDoc, collections,
    queries,
};
use worker::outbox::{AcceptRequest, NewMessage};

use super::World;
use crate::clock::VirtualClock;
use crate::desk::Desk;
use crate::engine;
use crate::post::{self, Post, address};

/// Conversations of an account.
const CHATS: u64 = 3;

/// A client that has no answer by then asks again, elsewhere.
const PATIENCE: Duration = Duration::from_secs(10);

/// What runs with the worker itself have besides.
pub(crate) struct Cast {
    pub(crate) post: Arc<Post>,
    pub(crate) keys: Arc<KeyRing>,
}

impl Cast {
    /// The writes that create an account which is linked.
    pub(super) fn account(&self, rng: &SeededRng, account: &AccountId) -> Vec<Write> {
        let key = DataKey::generate(rng);
        let head = HeadDoc {
            wrapped_keys: self.keys.wrap(rng, &key, account.as_str()),
        };
        let doc = AccountDoc {
            name: account.to_string(),
            status: Status::Disconnected,
            jid: Some(engine::own_address()),
            paired_at: Some(StoreTime::from_datetime(VirtualClock::start())),
            ..AccountDoc::default()
        };
        let fields = "documents of known types have a form";
        lease::create_account(
            account,
            doc.to_document().expect(fields),
            head.to_document().expect(fields),
        )
        .to_vec()
    }
}

/// A wait of a client, a peer or the server.
fn between(rng: &SeededRng, from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(rng.range(from_ms..to_ms))
}

impl World {
    /// Begins all that has to do with messages.
    pub(super) fn begin_messages(self: &Arc<Self>, seed: u64) {
        let Some(cast) = &self.fleet.cast else {
            return;
        };
        for (number, account) in self.accounts.iter().enumerate() {
            let rng = |what: u64| {
                let number = u64::try_from(number).unwrap_or_default();
                Arc::new(SeededRng::new(seed ^ (number << 8) ^ what))
            };
            let client = Arc::clone(self).client(account.clone(), rng(1));
            self.tracker.spawn(client);
            self.letters(cast, account.clone(), rng(2));
            self.drops(cast, account.clone(), rng(3));
        }
    }

    fn is_mended(&self) -> bool {
        self.state.lock().mended
    }

    /// A client sends, one message after another.
    async fn client(self: Arc<Self>, account: AccountId, rng: Arc<SeededRng>) {
        let timeline = Arc::clone(&self.fleet.sea.timeline);
        let pace = rng.range(2_000..12_000);
        for number in 1.. {
            timeline
                .sleep(between(&rng, pace / 2, pace * 2), None)
                .await;
            if self.is_mended() {
                return;
            }
            let chat = u32::try_from(rng.range(0..CHATS)).unwrap_or_default();
            let text = format!("«{account} out {number}»");
            let request = AcceptRequest {
                account_id: account.to_string(),
                to: address(chat),
                message: NewMessage::Text {
                    text: text.clone(),
                    mentions: Vec::new(),
                    preview: None,
                    quote: None,
                },
                fingerprint: text.clone(),
                idempotency_key: Some(format!("{account} {number}")),
                traceparent: None,
            };
            self.state.lock().unanswered += 1;
            while !self.ask(&rng, &request).await {
                timeline.sleep(between(&rng, 500, 3_000), None).await;
            }
            self.state.lock().unanswered -= 1;
            if let Some(cast) = &self.fleet.cast {
                cast.post.accepted(account.as_str(), chat, &text);
            }
        }
    }

    /// Asks some worker; true if the message is accepted.
    async fn ask(&self, rng: &SeededRng, request: &AcceptRequest) -> bool {
        let desks: Vec<Arc<Desk>> = self
            .there()
            .iter()
            .filter_map(|worker| worker.desk.clone())
            .collect();
        let index = rng.range(0..desks.len().max(1) as u64);
        let Some(desk) = usize::try_from(index)
            .ok()
            .and_then(|index| desks.get(index))
        else {
            return false;
        };
        let record = &self.fleet.sea.record;
        let answer = desk.accept(request.clone());
        let patience = self.fleet.sea.timeline.sleep(PATIENCE, None);
        tokio::select! {
            biased;
            Ok(answer) = answer => match answer {
                Ok(_) => {
                    record.reached("request accepted");
                    true
                }
                Err(error) => {
                    record.reached("request failed");
                    record.note("client", format_args!("{}: {error}", request.fingerprint));
                    false
                }
            },
            () = patience => {
                record.reached("request without an answer");
                false
            }
        }
    }

    /// Peers write, until all is mended.
    fn letters(self: &Arc<Self>, cast: &Arc<Cast>, account: AccountId, rng: Arc<SeededRng>) {
        let cast = Arc::clone(cast);
        self.later(between(&rng, 1_000, 15_000), move |world| {
            if !world.is_mended() {
                let chat = u32::try_from(rng.range(0..CHATS)).unwrap_or_default();
                cast.post.write(account.as_str(), chat);
                world.letters(&cast, account, rng);
            }
        });
    }

    /// The server ends connections, until all is mended.
    fn drops(self: &Arc<Self>, cast: &Arc<Cast>, account: AccountId, rng: Arc<SeededRng>) {
        let cast = Arc::clone(cast);
        self.later(between(&rng, 20_000, 240_000), move |world| {
            if !world.is_mended() {
                if rng.range(0..12) == 0 {
                    cast.post.forget_connection(account.as_str());
                }
                let reason = match rng.range(0..12) {
                    0 => DisconnectReason::ConnectionReplaced,
                    1 | 2 => DisconnectReason::ServiceUnavailable,
                    3 => DisconnectReason::ServerError,
                    4 | 5 => DisconnectReason::TimedOut,
                    6..9 => DisconnectReason::ConnectionClosed,
                    _ => DisconnectReason::ConnectionLost,
                };
                cast.post.drop_connection(account.as_str(), reason);
                world.drops(&cast, account, rng);
            }
        });
    }

    /// Joins the ledgers: every message exactly once, and in its chat's order.
    /// And what the worker promises besides: the account shows how it is, its
    /// events have no gap, and what was sent is settled.
    pub(super) fn check_messages(&self) {
        let Some(cast) = &self.fleet.cast else {
            return;
        };
        let record = &self.fleet.sea.record;
        let wrong = |text: String| record.violation("messages", text);
        let unanswered = self.state.lock().unanswered;
        if unanswered > 0 {
            wrong(format!("{unanswered} requests were never answered"));
        }
        let (mut accepted, mut arrived, mut phone_sent) = cast.post.ledgers();
        let mut stored = Vec::new();
        // Where there is less room than accounts, what is for the others waits.
        let owned = self.accounts.iter();
        // A dead worker's account that nobody has room for is nobody's.
        let living = self.counts();
        let owned = owned.filter(|account| {
            let owner = self.owner(account);
            owner.is_some_and(|session| living.contains_key(&session))
        });
        let owned: BTreeSet<String> = owned.map(ToString::to_string).collect();
        for account in &owned {
            self.check_account(account);
            stored.extend(self.stored(account));
        }
        accepted.retain(|message| owned.contains(&message.account));
        arrived.retain(|arrival| owned.contains(post::account_of(&arrival.phone)));
        phone_sent.retain(|message| owned.contains(&message.account));
        let mut seen = BTreeMap::<&str, u32>::new();
        for message in &stored {
            *seen.entry(&message.text).or_default() += 1;
        }
        for (text, count) in &seen {
            if *count > 1 {
                wrong(format!("{text} is stored {count} times"));
            }
        }
        for message in &phone_sent {
            if !seen.contains_key(&*message.text) {
                record.note("ledger", format_args!("{} is not stored", message.text));
            }
        }
        for message in &accepted {
            if !arrived.iter().any(|arrival| arrival.text == message.text) {
                record.note("ledger", format_args!("{} did not arrive", message.text));
            }
        }
        let ledgers = Ledgers {
            accepted,
            arrived,
            phone_sent,
            stored,
            ..Ledgers::default()
        };
        let counts = ledgers.count();
        for (name, count) in counts.faults() {
            wrong(format!("{name}: {count}"));
        }
        record.note("ledger", format_args!("{counts:?}"));
        record.reached("ledger checked");
    }

    fn check_account(&self, account: &str) {
        let sea = &self.fleet.sea;
        let wrong = |text: String| {
            sea.record
                .violation("messages", format!("{account}: {text}"))
        };
        let path = collections::account(account).expect("an id of ours");
        let document = sea.look(&path);
        let status = document
            .as_ref()
            .and_then(AccountDoc::read_or_skip)
            .map(|record| record.value.status);
        if status != Some(Status::Connected) {
            wrong(format!("is connected and shows {status:?}"));
        }
        let open = queries::wa_outbox_open(account).expect("an id of ours");
        let open = sea.look_for(&open).len();
        if open > 0 {
            wrong(format!("{open} messages are not settled"));
        }
        let events = queries::events_after(account, 0).expect("an id of ours");
        let events = sea.look_for(&events);
        let numbers = events.iter().filter_map(EventDoc::read_or_skip);
        let numbers: Vec<i64> = numbers.map(|record| record.value.seq).collect();
        if !numbers.iter().copied().eq((1..).take(numbers.len())) {
            wrong("its events have a gap".to_owned());
        }
    }

    /// Every message that came in, as it is stored.
    fn stored(&self, account: &str) -> Vec<StoredMessage> {
        let sea = &self.fleet.sea;
        let threads = queries::threads(account).expect("an id of ours");
        let mut stored = Vec::new();
        for thread in sea.look_for(&threads) {
            let Some(known) = ThreadDoc::read_or_skip(&thread) else {
                continue;
            };
            let before = stored.len();
            let messages = collections::messages(thread.path.id()).expect("an id of ours");
            for message in sea.look_for(&Query::new(messages)) {
                let Some(message) = MessageDoc::read_or_skip(&message) else {
                    continue;
                };
                let message = message.value;
                if message.direction == Direction::In {
                    stored.push(StoredMessage {
                        account: message.account_id,
                        wa_id: message.wa_message_id,
                        text: message.body.unwrap_or_default(),
                    });
                }
            }
            let (unread, count) = (known.value.unread, stored.len() - before);
            if i64::try_from(count) != Ok(unread) {
                let text = format!("{account}: {unread} unread of {count} messages");
                sea.record.violation("messages", text);
            }
        }
        stored
    }
}
