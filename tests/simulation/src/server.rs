//! The simulated server: the oracle.
//!
//! It accepts everything, and says what should not have come: a counter used
//! twice, a connection that sends after one of a later epoch has logged in, an
//! epoch that nobody claimed, a frame of an epoch that was released.
//!
//! S2 promises one running owner while clocks *run*, at a bounded rate. A
//! process that is stopped after a frame has passed the wire gate, and before
//! the frame is on the wire, sends that one frame when it goes on, however late
//! that is; no gate can help, and S1 covers it (its counter is nobody else's).
//! Such a frame is counted, not a violation, and at most one a connection for
//! each time that its process was stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::history::Span;
use crate::process::Process;
use crate::sea::Sea;

/// A connection that has stood for so long ends a row of losses.
const STABLE: Duration = Duration::from_secs(30);

/// Who sends over a connection: the same for all of its frames.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The account.
    pub account: String,
    /// The epoch of the connection's owner.
    pub epoch: i64,
    /// The worker session.
    pub session: String,
    /// The connection; no two have the same.
    pub connection: u64,
}

/// What a connection sends.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Who sends it.
    pub sender: Sender,
    /// The worker's name.
    pub worker: String,
    /// How often its process had been stopped when the frame passed the gate.
    pub stops: u64,
    /// Whether it was stopped between the gate and the wire.
    pub was_stopped: bool,
    /// What it says.
    pub says: Says,
}

impl Sender {
    /// A frame that leaves `process` now, after it had passed the wire gate when
    /// that had been stopped `stops` times.
    pub(crate) fn frame(&self, process: &Process, stops: u64, says: Says) -> Frame {
        Frame {
            sender: self.clone(),
            worker: process.name().to_owned(),
            stops,
            was_stopped: process.stops() != stops,
            says,
        }
    }
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// The first of a connection.
    Login,
    /// A message.
    Message {
        /// The conversation: each has a ratchet of its own.
        chat: u32,
        /// The counter that it is encrypted with.
        counter: i64,
    },
    /// A message of a peer has been stored.
    Acknowledged(u64),
    /// The connection is alive.
    Ping,
}

/// See the module.
pub struct Server {
    sea: Arc<Sea>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    accounts: BTreeMap<String, Account>,
    late: BTreeSet<(u64, u64)>,
    messages: u64,
}

#[derive(Default)]
struct Account {
    /// The latest epoch that has logged in.
    epoch: i64,
    used: BTreeMap<(u32, i64), i64>,
    spans: BTreeMap<i64, Span>,
    /// The epoch that somebody works under.
    at_work: Option<i64>,
    /// Since when somebody does, in nanoseconds of the timeline.
    began_at: u64,
    /// Losses in a row, each before the connection had stood for [`STABLE`].
    losses: u32,
}

impl Server {
    /// A server that nobody has logged in to.
    pub fn new(sea: Arc<Sea>) -> Arc<Self> {
        Arc::new(Self {
            sea,
            state: Mutex::default(),
        })
    }

    /// A frame has arrived.
    pub fn receive(&self, frame: &Frame) {
        let record = &self.sea.record;
        let worker = &frame.worker;
        let Sender {
            account,
            epoch,
            session,
            connection,
        } = &frame.sender;
        record.note(
            worker,
            format_args!("{account} epoch {epoch} {:?}", frame.says),
        );
        let mut state = self.state.lock();
        let is_late = {
            let known = state.accounts.entry(account.clone()).or_default();
            frame.was_stopped && known.epoch > *epoch
        };
        if let Says::Message { chat, counter } = frame.says {
            state.messages += 1;
            let known = state.accounts.entry(account.clone()).or_default();
            if let Some(before) = known.used.insert((chat, counter), *epoch) {
                record.violation(
                    "S1 no key twice",
                    format!("{worker} sent {account} counter {counter} of chat {chat} under epoch {epoch}, used under {before}"),
                );
            }
        }
        if self.sea.ledger.holder(account, *epoch).as_ref() != Some(session) {
            record.violation(
                "S0 one session an epoch",
                format!(
                    "{worker} is on the wire as epoch {epoch} of {account}, which is not its own"
                ),
            );
        }
        if is_late {
            record.reached("frame late after a stop");
            if !state.late.insert((*connection, frame.stops)) {
                record.violation(
                    "S2 one running owner",
                    format!("{worker} sent more than one frame of {account} late"),
                );
            }
            return;
        }
        if self.sea.ledger.released(account) >= *epoch {
            record.violation(
                "S3 released means stopped",
                format!("{worker} sent for {account} under epoch {epoch}, which was released"),
            );
        }
        let known = state.accounts.entry(account.clone()).or_default();
        if known.epoch > *epoch {
            record.violation(
                "S2 one running owner",
                format!(
                    "{worker} sent for {account} under epoch {epoch} after epoch {} had logged in",
                    known.epoch
                ),
            );
        }
        known.epoch = known.epoch.max(*epoch);
        let now = i64::try_from(self.sea.timeline.now() / 1_000).unwrap_or(i64::MAX);
        let span = known.spans.entry(*epoch).or_insert_with(|| Span {
            epoch: *epoch,
            first_us: now,
            last_us: now,
        });
        span.last_us = now;
    }

    /// Somebody begins to work for an account.
    pub(crate) fn begins(&self, account: &str, epoch: i64) {
        let mut state = self.state.lock();
        let known = state.accounts.entry(account.to_owned()).or_default();
        known.at_work = known.at_work.max(Some(epoch));
        known.began_at = self.sea.timeline.now();
    }

    /// A connection of an account is lost, or does not come about.
    pub(crate) fn loses(&self, account: &str) {
        let now = Duration::from_nanos(self.sea.timeline.now());
        let mut state = self.state.lock();
        let known = state.accounts.entry(account.to_owned()).or_default();
        let stood = now - Duration::from_nanos(known.began_at);
        let was_stable = known.at_work.is_some() && stood >= STABLE;
        known.losses = if was_stable { 1 } else { known.losses + 1 };
    }

    /// The most losses in a row that an account has behind it.
    pub(crate) fn losses_in_a_row(&self) -> u32 {
        let state = self.state.lock();
        let losses = state.accounts.values().map(|known| known.losses);
        losses.max().unwrap_or(0)
    }

    /// Somebody ends it.
    pub(crate) fn ends(&self, account: &str, epoch: i64) {
        let mut state = self.state.lock();
        let known = state.accounts.entry(account.to_owned()).or_default();
        if known.at_work == Some(epoch) {
            known.at_work = None;
        }
    }

    /// The epoch that somebody works under for an account.
    pub fn at_work(&self, account: &str) -> Option<i64> {
        let state = self.state.lock();
        state.accounts.get(account)?.at_work
    }

    /// The latest epoch of an account that has logged in.
    pub fn epoch(&self, account: &str) -> i64 {
        let state = self.state.lock();
        state.accounts.get(account).map_or(0, |known| known.epoch)
    }

    /// When each epoch of an account was on the wire.
    pub fn spans(&self, account: &str) -> Vec<Span> {
        let state = self.state.lock();
        let known = state.accounts.get(account);
        known.map_or_else(Vec::new, |known| known.spans.values().copied().collect())
    }

    /// Messages so far.
    pub fn messages(&self) -> u64 {
        self.state.lock().messages
    }
}
