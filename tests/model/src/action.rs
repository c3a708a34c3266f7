//! The steps that the model knows, and the operations that they stand for.
//!
//! | Operation of the protocol | Steps |
//! |---|---|
//! | A worker starts, or starts again | [`Boot`](Action::Boot) of a session of its own |
//! | Heartbeat | [`Beat`](Action::Beat) (rejected, and so sealed → freeze all) → [`AnswerBeat`](Action::AnswerBeat) (new deadline, from `t0`) |
//! | Seal | [`Seal`](Action::Seal). Read and write are one step, for the write is made on the version that was read: one that lands late is one that was decided late |
//! | Claim | [`Claim`](Action::Claim) (reads, decides, sends) → [`Apply`](Action::Apply) → [`Answer`](Action::Answer) → [`Start`](Action::Start) (reads the files, runs) |
//! | An ambiguous claim, settled by its nonce | [`GiveUp`](Action::GiveUp) |
//! | Renew | [`Renew`](Action::Renew) (reads, sends) → [`Apply`](Action::Apply) → [`Answer`](Action::Answer) (a miss → still mine, or lost) |
//! | Fenced flush | [`Flush`](Action::Flush) → [`ApplyFlush`](Action::ApplyFlush) → [`AnswerFlush`](Action::AnswerFlush) (rejected → read the head: fenced, or look again) |
//! | A flush of unknown outcome | [`GiveUpFlush`](Action::GiveUpFlush) (read back by its nonce; not there → it may still land) |
//! | A frame | [`Send`](Action::Send) (looks at the wire gate) → [`Reach`](Action::Reach) (the wire) |
//! | Release, also of an account that is mine unknowingly | [`Stop`](Action::Stop) (wire gate closed) → [`Release`](Action::Release) (nothing unfinished) → [`Apply`](Action::Apply) |
//! | Freeze | part of the answers that prove a loss; a release may follow |
//! | Suspend, reopen | none: each send looks at the deadlines |
//! | Drain | [`Stop`](Action::Stop) and [`Release`](Action::Release) for each account, then [`Close`](Action::Close) |
//! | A request whose client has given up on it | [`Land`](Action::Land) |
//! | An operator edits the account | [`Null`](Action::Null) |
//! | Time | [`Tick`](Action::Tick) |
//!
//! Not here: who takes what (rendezvous order, `handoffTo`, shedding), the wait
//! of `ttl + G` after an outage, the watchdog, imports, restored databases. The
//! first two only make workers claim *less* than the model's do; the others are
//! about other states than these.

use std::fmt;

use crate::config::Config;
use crate::state::{AccountId, Message, SessionId, WorkerId, Write};

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Time goes on.
    Tick,
    /// A process starts, with a session of its own.
    Boot(WorkerId),
    /// A heartbeat is sent, and applied unless the session has ended.
    Beat(WorkerId),
    /// Its answer reaches the process.
    AnswerBeat(WorkerId),
    /// Anybody declares a session dead.
    Seal(SessionId),
    /// A process ends its session in order.
    Close(WorkerId),
    /// A claim is sent.
    Claim(WorkerId, AccountId),
    /// The files are read and the engine starts.
    Start(WorkerId, AccountId),
    /// A renewal is sent.
    Renew(WorkerId, AccountId),
    /// The wire gate closes and the engine is told to shut down.
    Stop(WorkerId, AccountId),
    /// A release is sent.
    Release(WorkerId, AccountId),
    /// The claim, renewal or release reaches the store.
    Apply(WorkerId, AccountId),
    /// Its answer reaches the process.
    Answer(WorkerId, AccountId),
    /// Its answer is lost or late; the process reads back.
    GiveUp(WorkerId, AccountId),
    /// A flush is sent.
    Flush(WorkerId, AccountId),
    /// It reaches the store.
    ApplyFlush(WorkerId, AccountId),
    /// Its answer reaches the process.
    AnswerFlush(WorkerId, AccountId),
    /// Its answer is lost or late; the process reads back.
    GiveUpFlush(WorkerId, AccountId),
    /// A frame passes the wire gate.
    Send(WorkerId, AccountId),
    /// The frame reaches the wire.
    Reach(WorkerId, AccountId),
    /// A request lands that nobody waits for.
    Land(Message),
    /// An operator nulls `claimedBy` and `leaseUntil`.
    Null(AccountId),
}

/// Every step that there may be, whether it is possible or not; late requests
/// aside, which are in the state.
pub fn all(config: &Config, actions: &mut Vec<Action>) {
    const OF_A_SESSION: [fn(WorkerId) -> Action; 5] = [
        Action::Boot,
        Action::Beat,
        Action::AnswerBeat,
        Action::Close,
        |worker| Action::Seal(SessionId(worker.0)),
    ];
    const OF_A_TENURE: [fn(WorkerId, AccountId) -> Action; 9] = [
        Action::Claim,
        Action::Start,
        Action::Stop,
        Action::Release,
        Action::Apply,
        Action::Answer,
        Action::GiveUp,
        Action::Send,
        Action::Reach,
    ];
    const OF_A_RATCHET: [fn(WorkerId, AccountId) -> Action; 4] = [
        Action::Flush,
        Action::ApplyFlush,
        Action::AnswerFlush,
        Action::GiveUpFlush,
    ];
    if config.is_timed() {
        actions.push(Action::Tick);
    }
    for worker in (0..config.workers).map(WorkerId) {
        if config.is_timed() {
            actions.extend(OF_A_SESSION.map(|action| action(worker)));
        }
        for account in (0..config.accounts).map(AccountId) {
            actions.extend(OF_A_TENURE.map(|action| action(worker, account)));
            if config.is_timed() {
                actions.push(Action::Renew(worker, account));
            }
            if config.blocks > 0 {
                actions.extend(OF_A_RATCHET.map(|action| action(worker, account)));
            }
        }
    }
    if config.operator {
        actions.extend((0..config.accounts).map(AccountId).map(Action::Null));
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Tick => write!(formatter, "a tick passes"),
            Action::Boot(worker) => write!(formatter, "{worker} boots"),
            Action::Beat(worker) => write!(formatter, "{worker} sends a heartbeat"),
            Action::AnswerBeat(worker) => write!(formatter, "{worker} hears about the heartbeat"),
            Action::Seal(session) => write!(formatter, "somebody seals session {session}"),
            Action::Close(worker) => write!(formatter, "{worker} closes the session"),
            Action::Claim(worker, of) => write!(formatter, "{worker} claims {of}"),
            Action::Start(worker, of) => {
                write!(formatter, "{worker} reads the files of {of} and starts it")
            }
            Action::Renew(worker, of) => write!(formatter, "{worker} renews {of}"),
            Action::Stop(worker, of) => write!(formatter, "{worker} stops {of}"),
            Action::Release(worker, of) => write!(formatter, "{worker} releases {of}"),
            Action::Apply(worker, of) => {
                write!(formatter, "{worker}'s request about {of} reaches the store")
            }
            Action::Answer(worker, of) => {
                write!(formatter, "{worker} hears about the request for {of}")
            }
            Action::GiveUp(worker, of) => {
                write!(
                    formatter,
                    "{worker} gives up waiting about {of} and reads back"
                )
            }
            Action::Flush(worker, of) => write!(formatter, "{worker} flushes {of}"),
            Action::ApplyFlush(worker, of) => {
                write!(formatter, "{worker}'s flush of {of} reaches the store")
            }
            Action::AnswerFlush(worker, of) => {
                write!(formatter, "{worker} hears about the flush of {of}")
            }
            Action::GiveUpFlush(worker, of) => write!(
                formatter,
                "{worker} gives up waiting for the flush of {of} and reads back"
            ),
            Action::Send(worker, of) => {
                write!(formatter, "a frame of {worker}'s {of} passes the wire gate")
            }
            Action::Reach(worker, of) => {
                write!(formatter, "a frame of {worker}'s {of} reaches the wire")
            }
            Action::Land(message) => {
                let what = match message.request.write {
                    Write::Claim => "claim",
                    Write::Renew => "renewal",
                    Write::Release => "release",
                    Write::Flush { .. } => "flush",
                };
                write!(
                    formatter,
                    "{}'s {what} of {} lands after all",
                    message.worker, message.account
                )
            }
            Action::Null(account) => write!(
                formatter,
                "an operator nulls claimedBy and leaseUntil of {account}"
            ),
        }
    }
}
