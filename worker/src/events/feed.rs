//! One watch of the log for all streams of a worker; none while nobody listens.
//!
//! The watch shows what was stored after some time. That time is moved on every
//! [`ROLL`] by another watch, which overlaps with the one before by twice the
//! [`LAG`], so that what was stamped early and stored late is shown by one of
//! them. What both show is told once ([`Ring`]).
//!
//! A watch hands over what it read at one time without a pause: that is put in
//! order and told together. So whoever was told an event was told all before it,
//! unless a watch leaves one out, as the emulator's does now and then. One that is
//! missing among its account's ([`Numbers`]) is read before anybody is told the
//! next; others come late.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::backoff::Backoff;
use coordinator_lib::clock::SharedClock;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Change, Document, Store, StoreError, StoreTime, Watch};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::logged::Logged;
use super::numbers::Numbers;
use super::position::Position;
use super::ring::{Place, Ring, Taken};
use super::settling::LAG;
use crate::model::queries;

/// Between two watches. Firestore counts all documents of a watch again now
/// and then, so it must not grow for ever.
const ROLL: Duration = Duration::from_secs(120);

/// For somebody to come back, before the watch ends.
const LINGER: Duration = Duration::from_secs(30);

/// Waits while the store does not answer.
const RETRY_BASE: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What a feed works with.
#[derive(Clone)]
pub struct FeedParts {
    /// The documents.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// Jitter.
    pub rng: SharedRng,
}

/// A handle; clones are the same feed.
#[derive(Clone)]
pub struct Feed(Arc<Shared>);

struct Shared {
    parts: FeedParts,
    ring: Mutex<Ring>,
    /// Something was told, or the ring began from nothing.
    news: watch::Sender<()>,
    listeners: watch::Sender<usize>,
}

/// Somebody who listens.
pub struct Listener {
    feed: Feed,
    news: watch::Receiver<()>,
}

impl Feed {
    /// A feed that nobody listens to; [`Feed::run`] is its task.
    pub fn new(parts: FeedParts) -> Self {
        Self(Arc::new(Shared {
            parts,
            ring: Mutex::default(),
            news: watch::Sender::new(()),
            listeners: watch::Sender::new(0),
        }))
    }

    /// Listens, until the listener is dropped.
    pub fn listen(&self) -> Listener {
        self.0.listeners.send_modify(|listeners| *listeners += 1);
        Listener {
            feed: self.clone(),
            news: self.0.news.subscribe(),
        }
    }

    /// Follows the log while somebody listens, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut listeners = self.0.listeners.subscribe();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                somebody = listeners.wait_for(|listeners| *listeners > 0) => {
                    if somebody.is_err() {
                        return;
                    }
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.nobody_listens() => {}
                () = self.follow() => {}
            }
            self.0.ring.lock().clear();
            self.0.news.send_replace(());
        }
    }

    async fn nobody_listens(&self) {
        let mut listeners = self.0.listeners.subscribe();
        loop {
            // The sender is our own.
            let _ = listeners.wait_for(|listeners| *listeners == 0).await;
            tokio::select! {
                biased;
                _ = listeners.wait_for(|listeners| *listeners > 0) => {}
                () = self.0.parts.clock.sleep(LINGER) => return,
            }
        }
    }

    async fn follow(&self) {
        let parts = &self.0.parts;
        let mut course = Course {
            backoff: Backoff::new(RETRY_BASE, RETRY_MAX),
            numbers: Numbers::default(),
            again_since: None,
        };
        loop {
            match self.watch_for_a_while(&mut course).await {
                Ok(End::Rolled) => {}
                Ok(End::LeftOut) => {
                    let wait = course.backoff.next(parts.rng.as_ref());
                    tracing::warn!(?wait, "a watch left an event out; the log is watched anew");
                    parts.clock.sleep(wait).await;
                }
                Err(error) => {
                    let wait = course.backoff.next(parts.rng.as_ref());
                    tracing::warn!(%error, ?wait, "the event log cannot be watched");
                    parts.clock.sleep(wait).await;
                }
            }
        }
    }

    /// One watch, from its beginning to the next one's.
    async fn watch_for_a_while(&self, course: &mut Course) -> Result<End, StoreError> {
        let parts = &self.0.parts;
        let since = match course.again_since {
            Some(since) => since,
            None => self.overlapping().await?,
        };
        let mut watch = parts.store.watch(&queries::events_watched(since)?).await?;
        let end = parts.clock.boottime() + ROLL;
        self.0.ring.lock().begin(since);
        loop {
            let batch = tokio::select! {
                biased;
                batch = next_batch(&mut watch) => batch,
                () = parts.clock.sleep_until(end) => return Ok(End::Rolled),
            };
            let Some(batch) = batch else {
                return Err(StoreError::unavailable("the watch ended"));
            };
            course.numbers.take(&batch.read);
            if !course.numbers.follow(&batch.changed) {
                // From where this one began, or the next might not show it either.
                course.again_since = Some(since);
                return Ok(End::LeftOut);
            }
            if !batch.changed.is_empty() {
                course.backoff.reset();
                course.again_since = None;
            }
            self.tell(batch.events);
        }
    }

    /// Where a watch begins that follows another.
    async fn overlapping(&self) -> Result<StoreTime, StoreError> {
        let latest = self.0.ring.lock().latest_stored();
        let latest = match latest {
            Some(latest) => latest,
            None => self.0.parts.store.ping().await?,
        };
        Ok(latest.checked_sub(2 * LAG).unwrap_or(latest))
    }

    fn tell(&self, events: Vec<Logged>) {
        let mut ring = self.0.ring.lock();
        let was_ready = ring.beginning().is_some();
        let is_news = ring.tell(events);
        drop(ring);
        if is_news || !was_ready {
            self.0.news.send_replace(());
        }
    }
}

/// What goes from one watch to the next.
struct Course {
    backoff: Backoff,
    numbers: Numbers,
    /// Where the watch began that left an event out.
    again_since: Option<StoreTime>,
}

/// Why a watch is replaced.
enum End {
    /// Its time is over.
    Rolled,
    /// It cannot be trusted.
    LeftOut,
}

/// What a watch showed at one time. Ids are also those of events that this
/// program cannot read.
#[derive(Default)]
struct Batch {
    events: Vec<Logged>,
    /// Of what there was at first.
    read: Vec<String>,
    /// Of what came since.
    changed: Vec<String>,
}

/// The first change, and all that are there already.
async fn next_batch(watch: &mut Watch) -> Option<Batch> {
    let mut batch = Batch::default();
    let mut change = Some(watch.next().await?);
    while let Some(next) = change {
        match next {
            Change::Snapshot(documents) => {
                batch.read.extend(documents.iter().map(id));
                batch
                    .events
                    .extend(documents.iter().filter_map(Logged::read));
            }
            Change::Changed(document) => {
                batch.changed.push(id(&document));
                batch.events.extend(Logged::read(&document));
            }
            Change::Removed(_) => {
                // Swept, long after it was stored.
            }
        }
        change = watch.next().now_or_never().flatten();
    }
    Some(batch)
}

fn id(document: &Document) -> String {
    document.path.id().to_owned()
}

impl Listener {
    /// Waits until the ring shows what happens from now on; gives its end and
    /// the position there.
    pub async fn end(&mut self) -> (Place, Position) {
        self.once(Ring::end).await
    }

    /// Waits until the ring shows what happens from now on; gives its beginning.
    pub async fn beginning(&mut self) -> Place {
        self.once(Ring::beginning).await
    }

    async fn once<T>(&mut self, look: impl Fn(&Ring) -> Option<T>) -> T {
        loop {
            self.news.mark_unchanged();
            let found = look(&self.feed.0.ring.lock());
            if let Some(found) = found {
                return found;
            }
            self.changed().await;
        }
    }

    /// What follows a place.
    pub fn take(&mut self, place: Place, events_max: usize) -> Taken {
        self.news.mark_unchanged();
        self.feed.0.ring.lock().take(place, events_max)
    }

    /// Waits for news since the last look.
    ///
    /// # Cancel safety
    /// No news is lost.
    pub async fn changed(&mut self) {
        // The sender lives as long as the listener does.
        let _ = self.news.changed().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let listeners = &self.feed.0.listeners;
        listeners.send_modify(|listeners| *listeners = listeners.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests;
