//! Wakes the watchers of a collection when something in it may have changed.
//!
//! A wake carries no data and may come without a change; none is lost: a wake
//! between two waits ends the second one at once. What changed is then read once
//! for all of them (see [`Tail`]).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::tail::Tail;
use super::{Delta, Source};
use crate::store::{Collection, StoreError, StoreTime};

/// One for each store; clones share their subscribers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notifier {
    channels: Arc<Mutex<HashMap<Collection, Channel>>>,
}

/// What the watchers of one collection share.
#[derive(Debug, Default)]
struct Channel {
    /// Counts the wakes.
    wakes: watch::Sender<u64>,
    tail: Arc<tokio::sync::Mutex<Option<Tail>>>,
}

/// A watcher's ear.
#[derive(Debug)]
pub(crate) struct Subscription {
    wakes: watch::Receiver<u64>,
    tail: Arc<tokio::sync::Mutex<Option<Tail>>>,
}

impl Channel {
    fn wake(&self) {
        self.wakes.send_modify(|wakes| *wakes += 1);
    }
}

impl Notifier {
    pub(crate) fn subscribe(&self, collection: &Collection) -> Subscription {
        let mut channels = self.channels.lock();
        // The place to forget collections that nobody watches any more.
        channels.retain(|_, channel| channel.wakes.receiver_count() > 0);
        let channel = channels.entry(collection.clone()).or_default();
        Subscription {
            wakes: channel.wakes.subscribe(),
            tail: Arc::clone(&channel.tail),
        }
    }

    /// Something in this collection changed.
    pub(crate) fn notify(&self, collection: &Collection) {
        if let Some(channel) = self.channels.lock().get(collection) {
            channel.wake();
        }
    }

    /// Ends all waits: there is nothing more to come.
    pub(crate) fn close(&self) {
        self.channels.lock().clear();
    }

    /// Something, somewhere, may have changed.
    pub(crate) fn notify_all(&self) {
        for channel in self.channels.lock().values() {
            channel.wake();
        }
    }
}

impl Subscription {
    /// Waits for a wake since the last one; false once the store is gone.
    pub(crate) async fn woken(&mut self) -> bool {
        self.wakes.changed().await.is_ok()
    }

    /// Whether the store is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.wakes.has_changed().is_err()
    }

    /// What changed after a time: read from the source, or known already from
    /// another watcher's reading.
    pub(crate) async fn delta(
        &self,
        source: &dyn Source,
        collection: &Collection,
        seen: StoreTime,
    ) -> Result<Delta, StoreError> {
        let mut shared = self.tail.lock().await;
        // Taken before the store is read: what woke anybody so far is in that.
        let wake = *self.wakes.borrow();
        let mut tail = match shared.take() {
            Some(tail) if tail.reaches(seen) => tail,
            Some(_) | None => Tail::new(seen),
        };
        if !tail.is_read(wake) {
            match source.delta(collection, tail.until()).await? {
                Delta::Since {
                    changed,
                    removed,
                    until,
                    complete: true,
                } => tail.extend(changed, removed, until, wake),
                // Too much for everybody.
                Delta::Since { .. } | Delta::Gap => return source.delta(collection, seen).await,
            }
        }
        let delta = tail.since(seen);
        tail.forget();
        *shared = Some(tail);
        Ok(delta)
    }
}
