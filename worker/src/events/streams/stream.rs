//! The task of one stream.
//!
//! It reads the store until it has caught up, then takes what the feed tells,
//! and reads the store again whenever it was too slow for the feed. Nothing is
//! ever skipped but what the retention has removed, and that is said. Between
//! it and the client stand few frames: a client that takes none for
//! [`SLOW_LIMIT`] is let go, and goes on from its cursor.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::store::{Store, StoreError, StoreTime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Filter, From, Position, StillGood, StreamsConfig};
use crate::events::feed::Listener;
use crate::events::logged::Logged;
use crate::events::ring::{Place, Taken};
use crate::events::scan::Scan;

/// A client that takes no frame for so long does not listen.
const SLOW_LIMIT: Duration = Duration::from_secs(30);

/// How often is looked whether the key is still good.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Between two attempts to read the store.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Events that are taken from the feed at a time.
const TOGETHER_MAX: usize = 64;

/// Something for the client. `cursor` is where to go on after it.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// An event.
    Event {
        /// Where to go on.
        cursor: Position,
        /// It.
        event: Arc<Logged>,
    },
    /// Nothing happened for a while that the client wants.
    Heartbeat {
        /// Where to go on.
        cursor: Position,
    },
    /// Events between the two places are not kept any more.
    FellBehind {
        /// Where the client was.
        from: Position,
        /// Where it goes on.
        cursor: Position,
    },
    /// The last frame.
    End(End),
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The worker stops: go on elsewhere.
    WorkerLeaves,
    /// The key was revoked.
    KeyRevoked,
    /// The client took nothing for too long, or has gone.
    ClientGone,
}

impl End {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            End::WorkerLeaves => "worker_leaves",
            End::KeyRevoked => "key_revoked",
            End::ClientGone => "client_gone",
        }
    }
}

/// See the module.
pub(super) struct Stream {
    pub(super) store: Store,
    pub(super) clock: SharedClock,
    pub(super) config: StreamsConfig,
    pub(super) listener: Listener,
    pub(super) filter: Filter,
    pub(super) frames: mpsc::Sender<Frame>,
    pub(super) still_good: StillGood,
}

/// What leads to the client.
struct Outlet {
    clock: SharedClock,
    heartbeat: Duration,
    filter: Filter,
    frames: mpsc::Sender<Frame>,
    still_good: StillGood,
    cursor: Position,
    /// Up to here the store was read; what the feed tells of that is known.
    read_to: Position,
    beat_at: Boottime,
    check_at: Boottime,
}

impl Stream {
    /// Runs until the client goes, the key is revoked or the worker leaves.
    pub(super) async fn run(self, from: From, leaving: CancellationToken) {
        let frames = self.frames.clone();
        let gone = frames.clone();
        let end = tokio::select! {
            biased;
            () = leaving.cancelled() => End::WorkerLeaves,
            () = gone.closed() => End::ClientGone,
            end = self.stream(from) => end,
        };
        // A client that does not listen does not hear it.
        let _ = frames.try_send(Frame::End(end));
    }

    async fn stream(mut self, from: From) -> End {
        let now = self.clock.boottime();
        let begun = Position::whole(StoreTime::from_datetime(self.clock.wall()));
        let mut outlet = Outlet {
            clock: Arc::clone(&self.clock),
            heartbeat: self.config.heartbeat,
            filter: self.filter,
            frames: self.frames,
            still_good: self.still_good,
            read_to: begun.clone(),
            cursor: begun,
            beat_at: now + self.config.heartbeat,
            check_at: now + CHECK_INTERVAL,
        };
        let source = Source {
            store: self.store,
            clock: self.clock,
            retention: self.config.retention,
        };
        let Err(end) = source.pour(&mut self.listener, from, &mut outlet).await;
        end
    }
}

/// Where events come from.
struct Source {
    store: Store,
    clock: SharedClock,
    retention: Duration,
}

/// The part of the retention by which others' clocks may differ.
const SLACK: u32 = 20;

/// How long events are kept before they are removed.
pub(crate) fn kept_for(retention: Duration) -> Duration {
    retention + 2 * (retention / SLACK)
}

/// Never: a stream ends by itself only.
enum Never {}

impl Source {
    async fn pour(
        &self,
        listener: &mut Listener,
        from: From,
        outlet: &mut Outlet,
    ) -> Result<Never, End> {
        let mut place = match from {
            From::Now => {
                let (place, position) = outlet.beating(listener.end()).await?;
                outlet.read_to.clone_from(&position);
                outlet.cursor = position;
                Some(place)
            }
            From::Oldest => {
                outlet.cursor = self.oldest();
                None
            }
            From::After(position) => {
                outlet.cursor = position;
                None
            }
        };
        // So that the client has a cursor from the first moment on.
        outlet.beat().await?;
        loop {
            place = match place {
                None => Some(self.catch_up(listener, outlet).await?),
                Some(place) => match listener.take(place, TOGETHER_MAX) {
                    Taken::Events(events, next) => {
                        for event in events {
                            if event.position > outlet.read_to {
                                outlet.pass(event).await?;
                            }
                        }
                        outlet.look().await?;
                        Some(next)
                    }
                    Taken::Nothing => {
                        outlet.beating(listener.changed()).await?;
                        Some(place)
                    }
                    Taken::Gone => None,
                },
            };
        }
    }

    /// Reads the store from the cursor on; gives the place in the feed from
    /// which to go on. The feed is asked for its beginning *before* the store
    /// is read: what this reading does not see is told there.
    async fn catch_up(&self, listener: &mut Listener, outlet: &mut Outlet) -> Result<Place, End> {
        let place = outlet.beating(listener.beginning()).await?;
        loop {
            if is_behind(&outlet.cursor, &self.clock, self.retention) {
                let oldest = self.oldest();
                let from = std::mem::replace(&mut outlet.cursor, oldest.clone());
                let behind = Frame::FellBehind {
                    from,
                    cursor: oldest,
                };
                outlet.send(behind).await?;
            }
            match self.read(outlet).await? {
                Ok(()) => {
                    outlet.read_to.clone_from(&outlet.cursor);
                    return Ok(place);
                }
                Err(error) => {
                    tracing::debug!(%error, "a stream waits for the store");
                    outlet.beating(self.clock.sleep(RETRY_WAIT)).await?;
                }
            }
        }
    }

    async fn read(&self, outlet: &mut Outlet) -> Result<Result<(), StoreError>, End> {
        let mut scan = Scan::new(outlet.cursor.clone());
        loop {
            let page = outlet.beating(scan.page(self.store.as_ref())).await?;
            match page {
                Ok(Some(events)) => {
                    for event in events {
                        outlet.pass(Arc::new(event)).await?;
                    }
                    outlet.look().await?;
                }
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// The place before the oldest event that is surely kept.
    fn oldest(&self) -> Position {
        oldest(&self.clock, self.retention)
    }
}

/// The place before the oldest event that is surely kept.
pub(crate) fn oldest(clock: &SharedClock, retention: Duration) -> Position {
    let now = StoreTime::from_datetime(clock.wall());
    Position::whole(now.checked_sub(retention).unwrap_or(now))
}

/// Whether events after a place may have been removed. They are kept a little
/// longer than that, so that nobody who begins with the oldest is behind at
/// once.
pub(crate) fn is_behind(place: &Position, clock: &SharedClock, retention: Duration) -> bool {
    *place < oldest(clock, retention + retention / SLACK)
}

impl Outlet {
    /// Gives an event to the client, if it wants it. One that the feed was told
    /// late comes late, rather than never.
    async fn pass(&mut self, event: Arc<Logged>) -> Result<(), End> {
        if event.position > self.cursor {
            self.cursor.clone_from(&event.position);
        }
        if !self.filter.takes(&event.event.account_id, event.event.kind) {
            return Ok(());
        }
        let cursor = self.cursor.clone();
        self.send(Frame::Event { cursor, event }).await
    }

    async fn send(&mut self, frame: Frame) -> Result<(), End> {
        tokio::select! {
            biased;
            sent = self.frames.send(frame) => sent.map_err(|_| End::ClientGone)?,
            () = self.clock.sleep(SLOW_LIMIT) => return Err(End::ClientGone),
        }
        self.beat_at = self.clock.boottime() + self.heartbeat;
        Ok(())
    }

    async fn beat(&mut self) -> Result<(), End> {
        let cursor = self.cursor.clone();
        self.send(Frame::Heartbeat { cursor }).await
    }

    /// Looks after what is due: the key, a heartbeat.
    async fn look(&mut self) -> Result<(), End> {
        let now = self.clock.boottime();
        if now >= self.check_at {
            self.check_at = now + CHECK_INTERVAL;
            if !(self.still_good)().await {
                return Err(End::KeyRevoked);
            }
        }
        if now >= self.beat_at {
            self.beat().await?;
        }
        Ok(())
    }

    /// Waits for something, and looks after what is due meanwhile.
    async fn beating<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::pin!(work);
        loop {
            let due = self.beat_at.min(self.check_at);
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = self.clock.sleep_until(due) => self.look().await?,
            }
        }
    }
}
