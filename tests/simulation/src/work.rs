//! The work for an account: what stands in for the WhatsApp engine.
//!
//! It reads a ratchet's counter after the claim, reserves counters in blocks by
//! a fenced commit, sends each through the wire gate, and writes its state every
//! few messages. Asked to stop it closes the wire gate, flushes, and releases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::coordinator::{Ask, Ownership};
use coordinator_lib::fence::{
    FenceLimits, FencedError, FencedOutcome, FencedWriter, FencedWriterParts,
};
use coordinator_lib::gate::{CloseReason, Gates};
use coordinator_lib::identity::AccountId;
use coordinator_lib::mutation::{self, Mutation};
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{
    Document, Fields, Path, Precondition, Store, StoreTime, Value, Write,
};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::process::{Domain, Process};
use crate::sea::Sea;
use crate::server::{Says, Sender, Server};

/// Counters in one reservation.
const BLOCK: i64 = 64;

/// After a call of the store that failed.
const RETRY: Duration = Duration::from_secs(1);

/// What a worker's work is done with.
pub(crate) struct Tools {
    pub(crate) sea: Arc<Sea>,
    pub(crate) server: Arc<Server>,
    pub(crate) process: Arc<Process>,
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) rng: SharedRng,
    pub(crate) tracker: TaskTracker,
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) prefetched: Arc<Prefetched>,
    /// Between two messages of an account.
    pub(crate) pace: Arc<BTreeMap<AccountId, Duration>>,
    /// Frames often take long to the server.
    pub(crate) has_long_frames: bool,
}

/// The ratchet's file, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratchet {
    reserved: i64,
    version: Option<StoreTime>,
}

/// A rule broken on purpose: ratchets that were read when an account was seen
/// to be free, before it was claimed.
#[derive(Default)]
pub struct Prefetched(Mutex<BTreeMap<String, Ratchet>>);

/// Why the work ended.
enum End {
    Asked(Ask),
    Closed(CloseReason),
    Fenced,
}

impl Prefetched {
    /// Accounts that may need an owner were seen.
    pub(crate) fn see(&self, sea: &Sea, documents: &[Document]) {
        if !mutation::is_on(Mutation::ReadBeforeClaim) {
            return;
        }
        for document in documents {
            if document.path.collection().as_str() == "accounts" {
                let ratchet = Ratchet::of(sea.look(&file(document.path.id())));
                self.0.lock().insert(document.path.id().to_owned(), ratchet);
            }
        }
    }

    fn take(&self, account: &AccountId) -> Option<Ratchet> {
        self.0.lock().remove(account.as_str())
    }
}

impl Ratchet {
    fn of(document: Option<Document>) -> Self {
        let reserved =
            document
                .as_ref()
                .and_then(|document| match document.fields.get("reserved") {
                    Some(Value::Int(reserved)) => Some(*reserved),
                    Some(_) | None => None,
                });
        Self {
            reserved: reserved.unwrap_or(0),
            version: document.map(|document| document.update_time),
        }
    }
}

fn file(account: &str) -> Path {
    Path::new(&format!("wa_sessions/{account}/files/ratchet")).expect("an account id is one")
}

/// Works for an account until it is asked back or lost.
pub(crate) async fn run(tools: Arc<Tools>, ownership: Ownership) {
    let gates = ownership.gates();
    let writer = FencedWriter::spawn(
        FencedWriterParts {
            store: Arc::clone(&tools.store),
            fence: ownership.fence().clone(),
            gates: gates.clone(),
            clock: Arc::clone(&tools.clock),
            rng: Arc::clone(&tools.rng),
            limits: FenceLimits::default(),
        },
        &tools.tracker,
    );
    let lease = ownership.lease();
    let mut engine = Engine {
        account: ownership.account().clone(),
        sender: Sender {
            account: ownership.account().as_str().to_owned(),
            epoch: lease.epoch,
            session: lease.worker_session.as_str().to_owned(),
            connection: tools.connections.fetch_add(1, Ordering::Relaxed),
        },
        tools: Arc::clone(&tools),
        gates,
        writer,
        ratchet: Ratchet {
            reserved: 0,
            version: None,
        },
        next: 0,
        unflushed: 0,
    };
    tools
        .server
        .begins(ownership.account().as_str(), lease.epoch);
    let end = match engine.run(&ownership).await {
        Ok(ask) | Err(End::Asked(ask)) => End::Asked(ask),
        Err(end) => end,
    };
    let record = &tools.sea.record;
    let account = ownership.account().clone();
    tools.server.ends(account.as_str(), lease.epoch);
    match end {
        End::Asked(ask) => {
            engine.gates.wire.close(CloseReason::Stopped);
            // Whether or not that works: what was not flushed was not promised.
            let _ = engine.flush(engine.ratchet.reserved).await;
            engine.writer.idle().await;
            drop(engine);
            let released = ownership.release(ask.reason).await;
            record.note(
                tools.process.name(),
                format_args!("release of {account}: {released:?}"),
            );
        }
        End::Closed(reason) => {
            record.reached(&format!("closed: {reason}"));
            record.note(
                tools.process.name(),
                format_args!("{account} epoch {} ends: {reason}", lease.epoch),
            );
        }
        End::Fenced => {
            record.reached("fenced");
            record.note(
                tools.process.name(),
                format_args!("{account} epoch {} ends: fenced", lease.epoch),
            );
        }
    }
}

struct Engine {
    tools: Arc<Tools>,
    account: AccountId,
    sender: Sender,
    gates: Gates,
    writer: FencedWriter,
    ratchet: Ratchet,
    /// The next counter to use.
    next: i64,
    /// Messages since the last flush.
    unflushed: u64,
}

impl Engine {
    async fn run(&mut self, ownership: &Ownership) -> Result<Ask, End> {
        self.read().await?;
        self.send(Says::Login).await?;
        let pace = self.tools.pace.get(&self.account);
        let pace = pace.copied().unwrap_or(Duration::from_secs(2));
        let flush_every = self.tools.rng.range(1..9);
        loop {
            let wait = self.tools.rng.jitter(pace, 0.5);
            tokio::select! {
                biased;
                reason = self.gates.store.closed() => return Err(End::Closed(reason)),
                () = self.writer.fenced() => return Err(End::Fenced),
                ask = ownership.asked() => return Ok(ask),
                () = self.tools.clock.sleep(wait) => {}
            }
            ownership.set_busy(self.tools.rng.range(0..3) == 0);
            if self.next >= self.ratchet.reserved {
                self.flush(self.ratchet.reserved + BLOCK).await?;
            } else if self.unflushed >= flush_every {
                self.flush(self.ratchet.reserved).await?;
            }
            let (chat, counter) = (0, self.next);
            self.send(Says::Message { chat, counter }).await?;
            self.unflushed += 1;
        }
    }

    /// Reads the ratchet: after the claim, unless that rule is broken.
    async fn read(&mut self) -> Result<(), End> {
        if mutation::is_on(Mutation::ReadBeforeClaim)
            && let Some(ratchet) = self.tools.prefetched.take(&self.account)
        {
            self.ratchet = ratchet;
            self.next = ratchet.reserved;
            return Ok(());
        }
        let path = [file(self.account.as_str())];
        loop {
            let limit = self.tools.clock.sleep(Duration::from_secs(5));
            tokio::select! {
                biased;
                reason = self.gates.store.closed() => return Err(End::Closed(reason)),
                read = self.tools.store.get(&path) => {
                    if let Ok(mut read) = read {
                        self.ratchet = Ratchet::of(read.documents.swap_remove(0));
                        // Above every reservation that anybody made.
                        self.next = self.ratchet.reserved;
                        return Ok(());
                    }
                }
                () = limit => {}
            }
            self.tools.clock.sleep(RETRY).await;
        }
    }

    /// Writes the ratchet; returns once it is durable.
    async fn flush(&mut self, reserved: i64) -> Result<(), End> {
        let fields = Fields::from([
            ("reserved".to_owned(), Value::Int(reserved)),
            ("epoch".to_owned(), Value::Int(self.sender.epoch)),
        ]);
        loop {
            let write = Write::Set {
                path: file(self.account.as_str()),
                fields: fields.clone(),
                precondition: match self.ratchet.version {
                    None => Precondition::Absent,
                    Some(version) => Precondition::Unchanged(version),
                },
            };
            match self.writer.commit(vec![write]).await {
                Ok(FencedOutcome::Committed(commit)) => {
                    self.ratchet = Ratchet {
                        reserved,
                        version: commit.update_times.first().copied(),
                    };
                    self.unflushed = 0;
                    return Ok(());
                }
                Ok(FencedOutcome::Lost) => {
                    // Nobody else may write it while the head is ours.
                    self.tools.sea.record.violation(
                        "S1 memory is what is durable",
                        format!(
                            "{} holds epoch {} of {}, and its session file is not as it was read",
                            self.tools.process.name(),
                            self.sender.epoch,
                            self.account
                        ),
                    );
                    return Err(End::Closed(CloseReason::Stopped));
                }
                Err(FencedError::Fenced) => return Err(End::Fenced),
                Err(FencedError::GateClosed(reason)) => return Err(End::Closed(reason)),
                Err(FencedError::Unavailable(_) | FencedError::Invalid { .. }) => {
                    self.tools.clock.sleep(RETRY).await;
                }
            }
        }
    }

    /// Sends a frame. The pass is held until it has arrived.
    async fn send(&mut self, says: Says) -> Result<(), End> {
        let (gap, travel) = times(&self.tools.rng, self.tools.has_long_frames, says);
        let pass = self.gates.wire.pass().await;
        let pass = pass.map_err(|closed| End::Closed(closed.reason))?;
        let process = Arc::clone(&self.tools.process);
        process.count_on_wire(true);
        let stops = process.stops();
        // Between the check and the wire: encryption, a queue.
        self.tools.clock.sleep(gap).await;
        if let Says::Message { counter, .. } = says {
            self.next = counter + 1;
        }
        let frame = self.sender.frame(&process, stops, says);
        let server = Arc::clone(&self.tools.server);
        let arrival = move || server.receive(&frame);
        self.tools.sea.timeline.quietly(travel, None, arrival);
        // Until it is there, and not until this process's clock thinks so.
        let owner = Some((Arc::clone(&process), Domain::Work));
        self.tools.sea.timeline.sleep(travel, owner).await;
        process.count_on_wire(false);
        drop(pass);
        Ok(())
    }
}

/// How long a frame takes to the wire, and on it. Together less than the
/// watchdog's patience, which would end the process.
pub(crate) fn times(rng: &SharedRng, has_long_frames: bool, says: Says) -> (Duration, Duration) {
    let micros = |range| Duration::from_micros(rng.range(range));
    let gap = match rng.range(0..10) {
        0 => micros(3_000..50_000),
        _ => micros(100..3_000),
    };
    let travel = match rng.range(0..12) {
        // Gates that let everything through would keep the watchdog awake.
        _ if mutation::is_on(Mutation::SkipGate) => micros(5_000..60_000),
        _ if says == Says::Login => micros(5_000..30_000),
        0..6 if has_long_frames => micros(1_400_000..1_900_000),
        0 => micros(60_000..1_900_000),
        _ => micros(5_000..60_000),
    };
    (gap, travel)
}
