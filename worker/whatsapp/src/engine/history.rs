//! Hands pieces of history to the inbox, one at a time, until each is durable.
//!
//! The phone has been told that they came: what is lost here is lost. So a
//! piece is tried again for as long as its instance runs.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use tokio::sync::Semaphore;

use crate::history::HistoryPiece;
use crate::inbox::{Inbox, InboxError};
use crate::listener;
use crate::runtime::TaskRuntime;

/// Pieces in memory at a time. A phone sends some tens, and the engine fetches
/// one after the other.
const PIECES_MAX: usize = 8;

/// The wait after a failure of the store.
const RETRY_WAIT: Duration = Duration::from_secs(2);

/// What the listener does with a piece: those that are larger than `bytes_max`
/// are left.
pub(super) fn pieces(
    inbox: Arc<dyn Inbox>,
    bytes_max: u64,
    clock: SharedClock,
    runtime: TaskRuntime,
) -> listener::History {
    let room = Arc::new(Semaphore::new(PIECES_MAX));
    let turn = Arc::new(Semaphore::new(1));
    Box::new(move |piece| {
        let bytes = piece.compressed.len();
        if bytes as u64 > bytes_max {
            tracing::warn!(bytes, "a piece of history is larger than allowed, and left");
            return;
        }
        let Ok(room) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(bytes, "too much history at a time, a piece of it is left");
            return;
        };
        let (inbox, clock, turn) = (inbox.clone(), clock.clone(), Arc::clone(&turn));
        runtime.spawn_task(async move {
            // Nobody closes it.
            let _turn = turn.acquire().await;
            keep(inbox.as_ref(), &clock, &piece).await;
            drop(room);
        });
    })
}

async fn keep(inbox: &dyn Inbox, clock: &SharedClock, piece: &HistoryPiece) {
    loop {
        match inbox.keep_history(piece).await {
            Ok(()) => return,
            Err(InboxError::NotOwner) => {
                tracing::warn!(?piece, "history not kept: no longer the owner");
                return;
            }
            Err(InboxError::Store(error)) => {
                tracing::warn!(?piece, %error, "history not kept yet");
                clock.sleep(RETRY_WAIT).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use coordinator_lib::clock::SystemClock;
    use parking_lot::Mutex;

    use super::*;
    use crate::history::HistoryKind;
    use crate::inbox::{Inbound, MessageKey};

    /// Fails the first time.
    #[derive(Default)]
    struct Shelf {
        kept: Mutex<Vec<usize>>,
        failed: Mutex<bool>,
    }

    #[async_trait]
    impl Inbox for Shelf {
        async fn commit(&self, _batch: Vec<Inbound>) -> Result<(), InboxError> {
            Ok(())
        }

        async fn holds(&self, _key: MessageKey<'_>) -> Result<bool, InboxError> {
            Ok(true)
        }

        async fn keep_history(&self, piece: &HistoryPiece) -> Result<(), InboxError> {
            if !std::mem::replace(&mut *self.failed.lock(), true) {
                return Err(InboxError::Store("down".into()));
            }
            self.kept.lock().push(piece.compressed.len());
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_is_tried_until_it_is_kept_and_large_ones_are_left() {
        let shelf = Arc::new(Shelf::default());
        let clock = SystemClock::shared();
        let runtime = TaskRuntime::new(clock.clone());
        let pieces = pieces(shelf.clone(), 100, clock, runtime.clone());
        for bytes in [7, 101, 8] {
            pieces(HistoryPiece {
                kind: HistoryKind::Recent,
                order: None,
                progress: None,
                compressed: Bytes::from(vec![0; bytes]),
            });
        }
        runtime.ended().await;
        assert_eq!(*shelf.kept.lock(), [7, 8]);
    }
}
