//! One state of the whole: the store, the workers, and what is under way.
//!
//! # Abstractions, and why they lose nothing
//! - **Ages, not times.** All that any rule asks is how long ago something
//!   was. Each age stops growing where no rule distinguishes it any further, so
//!   the states are finitely many without a bound on the length of a run.
//! - **Versions are current or stale.** A version is only ever compared with the
//!   one that the document has now, and never comes back. So a request holds
//!   [`Version::Current`] until somebody else writes that document.
//! - **A worker session is a process.** A killed process is one that does
//!   nothing more, and a pause is a while in which it does nothing; every order
//!   of steps is explored, so both are there without a step of their own.
//! - **A retry is the request itself, later.** A duplicate of a conditional
//!   write does nothing once one of the two has been applied. What differs from
//!   that is a request that the client has given up on and that lands later:
//!   those are in [`State::late`].

use std::fmt;

use crate::milestone::Milestone;

/// Worker sessions that a state has room for.
pub const WORKERS_MAX: usize = 3;
/// Accounts that a state has room for.
pub const ACCOUNTS_MAX: usize = 2;
/// Late requests that a state has room for.
pub const LATE_MAX: usize = 2;

/// Ticks since something happened.
pub type Age = u8;
/// The fencing number of an account; 0 before the first claim.
pub type Epoch = u8;
/// The number of a block of counters of an account's ratchet: a key.
pub type Block = u8;

/// A process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u8);

/// What a process calls itself in the store: its own, if nothing is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u8);

/// An account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u8);

/// A state of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The documents.
    pub store: Store,
    /// The processes.
    pub workers: [Worker; WORKERS_MAX],
    /// Requests that their clients have given up on and that may still land;
    /// sorted, so that the same set is the same state.
    pub late: [Option<Message>; LATE_MAX],
    /// What the step that led here has shown.
    pub just: Option<Milestone>,
}

/// The documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Store {
    /// `workers/{sessionId}`.
    pub sessions: [Session; WORKERS_MAX],
    /// `accounts/{id}` and `wa_sessions/{id}` with its files.
    pub accounts: [Account; ACCOUNTS_MAX],
}

/// `workers/{sessionId}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// Its state.
    pub state: SessionState,
    /// Since `update_time`.
    pub age: Age,
    /// Watches S4: it was once sealed or closed.
    pub ended: bool,
}

/// What a worker session's document says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionState {
    /// Not created.
    #[default]
    Missing,
    /// Alive, or not yet known to be dead.
    Active,
    /// Declared dead by another.
    Sealed,
    /// Ended in order.
    Closed,
}

/// `accounts/{id}` with its head and its session file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    /// `claimedBy` is not null.
    pub claimed: bool,
    /// `leaseSession`.
    pub session: Option<SessionId>,
    /// `leaseEpoch`.
    pub epoch: Epoch,
    /// `releasedEpoch` is `leaseEpoch`.
    pub released: bool,
    /// Since the store time from which `leaseUntil` counts.
    pub age: Age,
    /// `wa_sessions/{id}`: the fence.
    pub head: Head,
    /// `wa_sessions/{id}/files/…`: one, with one sending chain.
    pub file: File,
    /// Watches S0: a claim did not make the epoch grow.
    pub epoch_fell: bool,
    /// Watches S1: a bit for each block that a frame on the wire was encrypted with.
    pub used: u8,
    /// Watches S1: a block was used again.
    pub reused: bool,
}

/// `wa_sessions/{id}`. Only claims write it, each with an epoch of its own: so
/// the epoch stands for the version too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Head {
    /// `epoch`.
    pub epoch: Epoch,
    /// `workerSession`.
    pub session: Option<SessionId>,
}

/// The session file. Every flush reserves more: so the number of reserved
/// blocks stands for the version too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct File {
    /// Blocks below this are reserved: an owner that reads the file starts here.
    pub reserved: Block,
    /// The epoch whose flush wrote it last (the nonce).
    pub by: Epoch,
}

/// A process and what it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    /// How far it is.
    pub life: Life,
    /// Since the `t0` of the last acknowledged heartbeat.
    pub session: Age,
    /// Since the `t0` of a heartbeat that the store has and whose answer is on its
    /// way.
    pub beat: Option<Age>,
    /// What it does about each account.
    pub tenures: [Tenure; ACCOUNTS_MAX],
}

/// How far a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Life {
    /// Not started.
    #[default]
    Off,
    /// At work.
    Active,
    /// Knows that its session has ended: starts nothing more.
    Ended,
}

/// What one process does about one account. A plain record rather than an enum
/// with data: broken runs combine what the protocol never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenure {
    /// How far it is.
    pub phase: Phase,
    /// The epoch that its claim asked for.
    pub epoch: Epoch,
    /// Since the `t0` of the last acknowledged claim or renewal.
    pub lease: Age,
    /// The claim, renewal or release under way.
    pub request: Option<Flight>,
    /// The fenced commit under way.
    pub flush: Option<Flight>,
    /// What the engine knows of the ratchet.
    pub chain: Chain,
    /// A send that has passed the gate and not reached the wire.
    pub send: Option<Send>,
}

/// How far a tenure is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing of it here.
    #[default]
    Idle,
    /// The claim is under way.
    Claiming,
    /// The claim is acknowledged; the files are not read.
    Held,
    /// The engine runs. Its gates are open while both deadlines are ahead.
    Running,
    /// The wire gate is closed, and something is unfinished. Idle afterwards.
    Stopping,
    /// The release is under way.
    Releasing,
}

/// What an engine knows of the ratchet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain {
    /// Blocks below this are reserved in the file, as far as it knows.
    pub known: Block,
    /// The last of them is its own, and unused.
    pub ready: bool,
}

/// A frame between the gate and the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Send {
    /// The block that it was encrypted with.
    pub block: Block,
    /// Since it passed the gate.
    pub age: Age,
}

/// A request that its client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flight {
    /// What was asked.
    pub request: Request,
    /// The store has done it; the answer is on its way.
    pub applied: bool,
}

/// A conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// What it writes.
    pub write: Write,
    /// The epoch that it is made for.
    pub epoch: Epoch,
    /// Whether the document is still the one that was read.
    pub version: Version,
    /// Since `t0` and the store time read with it.
    pub age: Age,
}

/// What a request writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Write {
    /// The lease's fields and the head, with a new epoch.
    Claim,
    /// `leaseUntil`.
    Renew,
    /// Nulls, and `releasedEpoch`.
    Release,
    /// The session file, with a block more.
    Flush {
        /// Blocks reserved in the version that was read or written last.
        from: Block,
    },
}

/// What became of the version that a request was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// The document has it still.
    Current,
    /// Somebody wrote the document since.
    Stale,
}

/// A request with its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    /// Who sent it.
    pub worker: WorkerId,
    /// The account that it is about.
    pub account: AccountId,
    /// What is asked.
    pub request: Request,
}

impl State {
    /// A process.
    pub fn worker(&self, worker: WorkerId) -> &Worker {
        &self.workers[usize::from(worker.0)]
    }

    /// A process, to be changed.
    pub fn worker_mut(&mut self, worker: WorkerId) -> &mut Worker {
        &mut self.workers[usize::from(worker.0)]
    }

    /// What a process does about an account.
    pub fn tenure(&self, worker: WorkerId, account: AccountId) -> &Tenure {
        &self.worker(worker).tenures[usize::from(account.0)]
    }

    /// What a process does about an account, to be changed.
    pub fn tenure_mut(&mut self, worker: WorkerId, account: AccountId) -> &mut Tenure {
        &mut self.worker_mut(worker).tenures[usize::from(account.0)]
    }
}

impl Store {
    /// An account's documents.
    pub fn account(&self, account: AccountId) -> &Account {
        &self.accounts[usize::from(account.0)]
    }

    /// An account's documents, to be changed.
    pub fn account_mut(&mut self, account: AccountId) -> &mut Account {
        &mut self.accounts[usize::from(account.0)]
    }

    /// A worker session's document.
    pub fn session(&self, session: SessionId) -> &Session {
        &self.sessions[usize::from(session.0)]
    }

    /// A worker session's document, to be changed.
    pub fn session_mut(&mut self, session: SessionId) -> &mut Session {
        &mut self.sessions[usize::from(session.0)]
    }
}

impl SessionState {
    /// Whether nothing may follow.
    pub fn is_final(self) -> bool {
        matches!(self, SessionState::Sealed | SessionState::Closed)
    }
}

impl Worker {
    /// Starts nothing more.
    pub fn end(&mut self) {
        self.life = Life::Ended;
        self.session = 0;
        self.beat = None;
    }
}

impl Tenure {
    /// Closes the wire gate, for good. What is under way stays under way. The
    /// store gate is not looked at again: the fence alone guards what follows.
    pub fn stop(&mut self) {
        self.phase = Phase::Stopping;
        self.lease = 0;
    }

    /// Ends once nothing is unfinished; a renewal that is answered, or never will
    /// be applied, is nobody's concern any more.
    pub fn settle(&mut self) {
        if self.phase == Phase::Stopping
            && self
                .request
                .is_some_and(|flight| flight.applied || flight.request.version == Version::Stale)
        {
            self.request = None;
        }
        let drained = self.request.is_none() && self.flush.is_none() && self.send.is_none();
        if self.phase == Phase::Stopping && drained {
            *self = Tenure::default();
        }
    }
}

impl Flight {
    /// A request that has just been sent.
    pub fn new(write: Write, epoch: Epoch) -> Self {
        let request = Request {
            write,
            epoch,
            version: Version::Current,
            age: 0,
        };
        Self {
            request,
            applied: false,
        }
    }

    /// The request with its sender.
    pub fn message(self, worker: WorkerId, account: AccountId) -> Message {
        Message {
            worker,
            account,
            request: self.request,
        }
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ["alice", "bob", "carol"].get(usize::from(self.0));
        formatter.write_str(name.copied().unwrap_or("another worker"))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        WorkerId(self.0).fmt(formatter)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "account {}", self.0 + 1)
    }
}
