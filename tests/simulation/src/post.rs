//! The server's side of messages: who is connected, what waits for whom, what
//! arrived.
//!
//! It does what WhatsApp does as far as a worker can tell: the newest connection
//! of an account takes the place of the one before; a message of a peer waits
//! until it is acknowledged, and comes again with each connection until then;
//! one that is not acknowledged for long ends the connection. A phone drops
//! what it has already seen under the same id.
//!
//! What was accepted, sent, and arrived is written down for the ledger of
//! `tests/history`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::rng::{Rng, SeededRng};
use history::ledger::{Accepted, Arrival, PhoneSent};
use parking_lot::Mutex;
use tokio::sync::Notify;
use whatsapp::{DisconnectReason, ReceiptKind};

use crate::process::{Domain, Process};
use crate::sea::Sea;

/// A message that is not acknowledged for so long ends its connection.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(45);

/// A message from a peer.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) number: u64,
    pub(crate) chat: u32,
    pub(crate) text: String,
    /// Nanoseconds since the beginning.
    pub(crate) at: u64,
    /// It waited while the account was not connected.
    pub(crate) offline: bool,
}

/// What a frame of an account carries.
#[derive(Clone, Debug)]
pub(crate) enum Cargo {
    Login(Arc<Ear>),
    Message { chat: u32, id: String, text: String },
    Acknowledged(Vec<u64>),
    Ping,
}

/// What the server says about the connection, and about what was sent.
#[derive(Clone, Debug)]
pub(crate) enum News {
    Taken {
        id: String,
        error: Option<u16>,
    },
    Receipt {
        chat: u32,
        id: String,
        kind: ReceiptKind,
    },
    Pong,
    Gone(DisconnectReason),
}

/// What comes in the order in which it was sent, and is handled in that order.
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    LoggedIn,
    Letter(Letter),
    CaughtUp,
}

/// Where a connection hears of things.
pub(crate) struct Ear {
    process: Arc<Process>,
    news: Lane<News>,
    deliveries: Lane<Delivery>,
}

struct Lane<T> {
    queue: Mutex<VecDeque<T>>,
    arrived: Notify,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            queue: Mutex::default(),
            arrived: Notify::new(),
        }
    }
}

impl<T> Lane<T> {
    fn push(&self, item: T) {
        self.queue.lock().push_back(item);
        self.arrived.notify_one();
    }

    async fn next(&self) -> T {
        loop {
            if let Some(item) = self.queue.lock().pop_front() {
                return item;
            }
            self.arrived.notified().await;
        }
    }
}

impl Ear {
    pub(crate) fn new(process: Arc<Process>) -> Arc<Self> {
        Arc::new(Self {
            process,
            news: Lane::default(),
            deliveries: Lane::default(),
        })
    }

    pub(crate) async fn news(&self) -> News {
        self.news.next().await
    }

    pub(crate) async fn delivery(&self) -> Delivery {
        self.deliveries.next().await
    }

    /// Letters that have come right after the one that was taken last.
    pub(crate) fn more_letters(&self, max: usize) -> Vec<Letter> {
        let mut queue = self.deliveries.queue.lock();
        let mut letters = Vec::new();
        while letters.len() < max
            && let Some(Delivery::Letter(letter)) = queue.front()
        {
            letters.push(letter.clone());
            queue.pop_front();
        }
        letters
    }
}

impl std::fmt::Debug for Ear {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Ear")
    }
}

/// See the module.
pub struct Post {
    sea: Arc<Sea>,
    rng: SeededRng,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    accounts: BTreeMap<String, Account>,
    accepted: Vec<Accepted>,
    arrived: Vec<Arrival>,
    sent: Vec<PhoneSent>,
    letters: u64,
    /// Nothing goes wrong any more.
    is_mended: bool,
}

#[derive(Default)]
struct Account {
    line: Option<Line>,
    /// Letters that were not acknowledged.
    waiting: BTreeMap<u64, Letter>,
    /// Where each message that arrived is in the list of arrivals.
    seen: BTreeMap<String, usize>,
}

/// A connection that stands.
struct Line {
    connection: u64,
    ear: Arc<Ear>,
    /// When the last thing that was said arrives: what is said next comes later.
    next: u64,
}

impl Post {
    pub(crate) fn new(sea: Arc<Sea>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            sea,
            rng: SeededRng::new(seed),
            state: Mutex::default(),
        })
    }

    /// From now on nothing goes wrong.
    pub(crate) fn mend(&self) {
        self.state.lock().is_mended = true;
    }

    /// The API has accepted a message.
    pub(crate) fn accepted(&self, account: &str, chat: u32, text: &str) {
        self.state.lock().accepted.push(Accepted {
            account: account.to_owned(),
            to: phone(account, chat),
            text: text.to_owned(),
        });
    }

    /// A peer writes to an account.
    pub(crate) fn write(self: &Arc<Self>, account: &str, chat: u32) {
        let mut state = self.state.lock();
        state.letters += 1;
        let number = state.letters;
        let text = format!("«{account} in {number}»");
        state.sent.push(PhoneSent {
            account: account.to_owned(),
            text: text.clone(),
        });
        let mut letter = Letter {
            number,
            chat,
            text,
            at: self.sea.timeline.now(),
            offline: false,
        };
        let known = state.accounts.entry(account.to_owned()).or_default();
        if let Some(line) = &mut known.line {
            self.deliver(line, Delivery::Letter(letter.clone()));
            let connection = line.connection;
            self.expect(account, connection, number);
        }
        letter.offline = true;
        known.waiting.insert(number, letter);
    }

    /// A frame has arrived.
    pub(crate) fn take(self: &Arc<Self>, account: &str, connection: u64, cargo: Cargo) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let known = state.accounts.entry(account.to_owned()).or_default();
        if let Cargo::Login(ear) = &cargo {
            self.login(known, account, connection, ear);
            return;
        }
        let line = known.line.as_ref();
        if line.is_none_or(|line| line.connection != connection) {
            self.sea.record.reached("frame on a closed connection");
            return;
        }
        match cargo {
            Cargo::Login(_) => {}
            Cargo::Message { chat, id, text } => {
                let trouble = if state.is_mended {
                    100
                } else {
                    self.rng.range(0..100)
                };
                if trouble == 0 {
                    self.sea
                        .record
                        .fault("connection lost under a message, not taken");
                    self.drop_line(known, DisconnectReason::ConnectionLost);
                    return;
                }
                if trouble == 1 {
                    self.sea.record.fault("message refused for now");
                    self.tell(
                        known,
                        News::Taken {
                            id,
                            error: Some(500),
                        },
                    );
                    return;
                }
                self.arrived(known, &mut state.arrived, account, chat, &id, text);
                if trouble < 4 {
                    self.sea
                        .record
                        .fault("connection lost under a message, taken");
                    self.drop_line(known, DisconnectReason::ConnectionLost);
                    return;
                }
                if trouble == 4 {
                    self.sea.record.fault("acknowledgement of a message lost");
                    return;
                }
                let receipt = News::Receipt {
                    chat,
                    id: id.clone(),
                    kind: if self.rng.range(0..3) == 0 {
                        ReceiptKind::Read
                    } else {
                        ReceiptKind::Delivered
                    },
                };
                self.tell(known, News::Taken { id, error: None });
                self.tell(known, receipt);
            }
            Cargo::Acknowledged(letters) => {
                for number in letters {
                    known.waiting.remove(&number);
                }
            }
            Cargo::Ping => self.tell(known, News::Pong),
        }
    }

    fn login(
        self: &Arc<Self>,
        known: &mut Account,
        account: &str,
        connection: u64,
        ear: &Arc<Ear>,
    ) {
        if known.line.is_some() {
            self.sea.record.reached("connection replaced");
            self.drop_line(known, DisconnectReason::ConnectionReplaced);
        }
        let mut line = Line {
            connection,
            ear: Arc::clone(ear),
            next: 0,
        };
        self.deliver(&mut line, Delivery::LoggedIn);
        for letter in known.waiting.values() {
            self.deliver(&mut line, Delivery::Letter(letter.clone()));
            self.expect(account, connection, letter.number);
        }
        self.deliver(&mut line, Delivery::CaughtUp);
        known.line = Some(line);
    }

    fn arrived(
        &self,
        known: &mut Account,
        arrivals: &mut Vec<Arrival>,
        account: &str,
        chat: u32,
        id: &str,
        text: String,
    ) {
        if let Some(index) = known.seen.get(id) {
            self.sea.record.reached("message came again under its id");
            arrivals[*index].repeats += 1;
            return;
        }
        self.sea.record.reached("message arrived");
        known.seen.insert(id.to_owned(), arrivals.len());
        arrivals.push(Arrival {
            phone: phone(account, chat),
            wa_id: id.to_owned(),
            text,
            repeats: 0,
        });
    }

    /// The client's side has closed a connection.
    pub(crate) fn hang_up(&self, account: &str, connection: u64) {
        let mut state = self.state.lock();
        let known = state.accounts.entry(account.to_owned()).or_default();
        if known
            .line
            .as_ref()
            .is_some_and(|line| line.connection == connection)
        {
            known.line = None;
        }
    }

    /// The server ends the connection of an account.
    pub(crate) fn drop_connection(&self, account: &str, reason: DisconnectReason) {
        let mut state = self.state.lock();
        let known = state.accounts.entry(account.to_owned()).or_default();
        if known.line.is_some() {
            self.sea.record.fault("connection ended by the server");
            self.drop_line(known, reason);
        }
    }

    /// The connection of an account is gone, and neither side is told.
    pub(crate) fn forget_connection(&self, account: &str) {
        let mut state = self.state.lock();
        let known = state.accounts.entry(account.to_owned()).or_default();
        if known.line.take().is_some() {
            self.sea.record.fault("connection gone silent");
        }
    }

    /// Whether an engine does not even start.
    pub(crate) fn breaks_engine(&self) -> bool {
        let is_broken = !self.state.lock().is_mended && self.rng.range(0..40) == 0;
        if is_broken {
            self.sea.record.fault("engine does not start");
        }
        is_broken
    }

    fn drop_line(&self, known: &mut Account, reason: DisconnectReason) {
        self.tell(known, News::Gone(reason));
        known.line = None;
    }

    fn tell(&self, known: &mut Account, news: News) {
        if let Some(line) = &mut known.line {
            self.say(line, move |ear| ear.news.push(news));
        }
    }

    fn deliver(&self, line: &mut Line, delivery: Delivery) {
        self.say(line, move |ear| ear.deliveries.push(delivery));
    }

    /// Says something: it arrives later, in order, and waits while the process
    /// at the other end does not run.
    fn say(&self, line: &mut Line, say: impl FnOnce(&Ear) + Send + 'static) {
        let timeline = &self.sea.timeline;
        let now = timeline.now();
        let travel = self.rng.range(2_000_000..60_000_000);
        line.next = line.next.max(now + travel);
        let wait = Duration::from_nanos(line.next - now);
        let ear = Arc::clone(&line.ear);
        let owner = Some((Arc::clone(&ear.process), Domain::Work));
        timeline.after(wait, owner, move || say(&ear));
    }

    /// Ends the connection if the letter is not acknowledged in time.
    fn expect(self: &Arc<Self>, account: &str, connection: u64, number: u64) {
        let (post, account) = (Arc::clone(self), account.to_owned());
        let late = move || {
            let mut state = post.state.lock();
            let known = state.accounts.entry(account).or_default();
            let is_late = known.waiting.contains_key(&number)
                && known
                    .line
                    .as_ref()
                    .is_some_and(|line| line.connection == connection);
            if is_late {
                post.sea.record.reached("letter not acknowledged in time");
                post.drop_line(known, DisconnectReason::ServerError);
            }
        };
        self.sea.timeline.quietly(UNACKNOWLEDGED_MAX, None, late);
    }

    /// The ledgers so far: what the API accepted, what arrived, what peers sent.
    pub(crate) fn ledgers(&self) -> (Vec<Accepted>, Vec<Arrival>, Vec<PhoneSent>) {
        let state = self.state.lock();
        (
            state.accepted.clone(),
            state.arrived.clone(),
            state.sent.clone(),
        )
    }
}

/// The phone of an account's peer, for the ledger: each account has its own.
fn phone(account: &str, chat: u32) -> String {
    format!("{account}/{chat}")
}

/// Whose peer has this phone.
pub(crate) fn account_of(phone: &str) -> &str {
    phone.split('/').next().unwrap_or_default()
}

/// A peer's address.
pub(crate) fn address(chat: u32) -> String {
    format!("491700000{chat:03}@s.whatsapp.net")
}

/// The peer with this address.
pub(crate) fn chat_of(address: &str) -> Option<u32> {
    let number = address.strip_suffix("@s.whatsapp.net")?;
    number.strip_prefix("491700000")?.parse().ok()
}

/// The planted text within an encoded message.
pub(crate) fn text_in(payload: &[u8]) -> Option<String> {
    let payload = String::from_utf8_lossy(payload);
    let (start, end) = (payload.find('«')?, payload.find('»')?);
    Some(payload.get(start..end)?.to_owned() + "»")
}
