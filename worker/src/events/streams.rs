//! The streams of a worker: who listens, how many, and until when.
//!
//! | Module | Holds |
//! |---|---|
//! | [`stream`] | the task of one stream |

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::store::Store;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::stream::Stream;
pub use self::stream::{End, Frame};
pub(crate) use self::stream::{is_behind, kept_for, oldest};
use super::feed::{Feed, FeedParts};
use super::logged::Filter;
use super::position::Position;

mod stream;

/// Frames that wait for a client; the store keeps the rest for it.
const FRAMES_MAX: usize = 64;

/// Streams of a worker: well below its connections, so that other requests
/// find one.
const STREAMS_MAX: usize = 256;

/// What streams are told by the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamsConfig {
    /// How long events are kept: an older cursor has missed some.
    pub retention: Duration,
    /// Streams of one key on this worker.
    pub per_key_max: usize,
    /// The longest silence.
    pub heartbeat: Duration,
}

impl Default for StreamsConfig {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(7 * 86_400),
            per_key_max: 16,
            heartbeat: Duration::from_secs(15),
        }
    }
}

/// A handle; clones are the same streams.
#[derive(Clone)]
pub struct Streams(Arc<Shared>);

struct Shared {
    store: Store,
    clock: SharedClock,
    config: StreamsConfig,
    feed: Feed,
    open: Mutex<HashMap<String, usize>>,
    /// The worker leaves: clients go on elsewhere.
    leaving: CancellationToken,
    tasks: TaskTracker,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The key that it came with.
    pub key_id: String,
    /// Which events.
    pub filter: Filter,
    /// From where on.
    pub from: From,
}

/// Where a stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// With what happens next.
    Now,
    /// With the oldest event that is kept.
    Oldest,
    /// After a cursor.
    After(Position),
}

/// Why a stream does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The key has as many as it may.
    #[error("this key has {0} streams here already")]
    TooMany(usize),
    /// The worker is full of them, or leaves.
    #[error("this worker takes no more streams")]
    Full,
}

/// Says whether the key of a stream is still good.
pub type StillGood = Box<dyn Fn() -> futures::future::BoxFuture<'static, bool> + Send + Sync>;

/// A place among a key's streams.
struct Seat {
    shared: Arc<Shared>,
    key_id: String,
}

impl Streams {
    /// No streams yet; `stop` ends the feed behind them.
    pub fn new(parts: FeedParts, config: StreamsConfig, stop: CancellationToken) -> Self {
        let feed = Feed::new(parts.clone());
        let tasks = TaskTracker::new();
        tasks.spawn(feed.clone().run(stop));
        Self(Arc::new(Shared {
            store: parts.store,
            clock: parts.clock,
            config,
            feed,
            open: Mutex::default(),
            leaving: CancellationToken::new(),
            tasks,
        }))
    }

    /// Opens a stream. It ends when the receiver is dropped.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn open(
        &self,
        wanted: Wanted,
        still_good: StillGood,
    ) -> Result<mpsc::Receiver<Frame>, Refused> {
        let seat = self.seat(&wanted.key_id)?;
        let (frames, receiver) = mpsc::channel(FRAMES_MAX);
        let shared = &self.0;
        let stream = Stream {
            store: Arc::clone(&shared.store),
            clock: Arc::clone(&shared.clock),
            config: shared.config,
            listener: shared.feed.listen(),
            filter: wanted.filter,
            frames,
            still_good,
        };
        let leaving = shared.leaving.clone();
        shared.tasks.spawn(async move {
            stream.run(wanted.from, leaving).await;
            drop(seat);
        });
        Ok(receiver)
    }

    fn seat(&self, key_id: &str) -> Result<Seat, Refused> {
        let mut open = self.0.open.lock();
        if self.0.leaving.is_cancelled() || open.values().sum::<usize>() >= STREAMS_MAX {
            return Err(Refused::Full);
        }
        let own = open.entry(key_id.to_owned()).or_default();
        if *own >= self.0.config.per_key_max {
            return Err(Refused::TooMany(*own));
        }
        *own += 1;
        Ok(Seat {
            shared: Arc::clone(&self.0),
            key_id: key_id.to_owned(),
        })
    }

    /// How long events are kept.
    pub fn config(&self) -> StreamsConfig {
        self.0.config
    }

    /// Ends all streams, each with a word of why, and opens no more.
    pub fn leave(&self) {
        self.0.leaving.cancel();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock();
        if let Some(own) = open.get_mut(&self.key_id) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.key_id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
