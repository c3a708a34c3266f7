//! Wakes the watchers of a collection when something in it may have changed.
//!
//! A wake carries no data and may come without a change; none is lost: a wake
//! between two waits ends the second one at once.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::store::Collection;

/// One for each store; clones share their subscribers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notifier {
    senders: Arc<Mutex<HashMap<Collection, watch::Sender<()>>>>,
}

/// A watcher's ear.
#[derive(Debug)]
pub(crate) struct Subscription(watch::Receiver<()>);

impl Notifier {
    pub(crate) fn subscribe(&self, collection: &Collection) -> Subscription {
        let mut senders = self.senders.lock();
        // The place to forget collections that nobody watches any more.
        senders.retain(|_, sender| sender.receiver_count() > 0);
        let sender = senders
            .entry(collection.clone())
            .or_insert_with(|| watch::Sender::new(()));
        Subscription(sender.subscribe())
    }

    /// Something in this collection changed.
    pub(crate) fn notify(&self, collection: &Collection) {
        if let Some(sender) = self.senders.lock().get(collection) {
            sender.send_replace(());
        }
    }

    /// Ends all waits: there is nothing more to come.
    pub(crate) fn close(&self) {
        self.senders.lock().clear();
    }

    /// Something, somewhere, may have changed.
    pub(crate) fn notify_all(&self) {
        for sender in self.senders.lock().values() {
            sender.send_replace(());
        }
    }
}

impl Subscription {
    /// Waits for a wake since the last one; false once the store is gone.
    pub(crate) async fn woken(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }

    /// Whether the store is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.0.has_changed().is_err()
    }
}
