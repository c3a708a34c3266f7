//! The background flusher: writes what nobody waits for.

use std::time::Duration;

use coordinator_lib::backoff::Backoff;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::SessionFiles;
use crate::error::SessionError;

/// How long a change waits for others to be written with, by default.
pub const FLUSH_DELAY: Duration = Duration::from_millis(200);
/// Waits between rounds that fail; the writer has tried for long itself.
const RETRY_BASE: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The task that flushes in the background; it ends when this is dropped.
#[derive(Debug)]
pub struct Flusher {
    files: SessionFiles,
    cancel: DropGuard,
    task: JoinHandle<()>,
}

impl SessionFiles {
    /// Starts a task that flushes `delay` after the first change since the last
    /// flush. It ends with [`Flusher::stop`], or once no flush can succeed. One
    /// for an account is enough.
    pub fn spawn_flusher(&self, tracker: &TaskTracker, delay: Duration) -> Flusher {
        let cancel = CancellationToken::new();
        let task = tracker.spawn(run(self.clone(), delay, cancel.clone()));
        Flusher {
            files: self.clone(),
            cancel: cancel.drop_guard(),
            task,
        }
    }
}

impl Flusher {
    /// Stops the task and flushes once more. Takes as long as a flush does:
    /// limit it where time is short.
    ///
    /// # Errors
    /// As for [`SessionFiles::flush`].
    pub async fn stop(self) -> Result<(), SessionError> {
        drop(self.cancel);
        if let Err(error) = self.task.await {
            // What it left undone is done now.
            tracing::error!(account.id = %self.files.account(), %error, "session flusher failed");
        }
        self.files.flush().await
    }
}

async fn run(files: SessionFiles, delay: Duration, cancel: CancellationToken) {
    let parts = &files.shared.parts;
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = files.shared.changed.notified() => {}
        }
        if !files.is_dirty() {
            continue;
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = parts.clock.sleep(delay.max(wait)) => {}
        }
        // Not within the select: what has begun is carried through.
        match files.flush().await {
            Ok(()) => {
                backoff.reset();
                wait = Duration::ZERO;
            }
            Err(error) if error.is_final() => {
                tracing::warn!(account.id = %files.account(), %error, "session flusher ends");
                return;
            }
            Err(error) => {
                tracing::warn!(account.id = %files.account(), %error, "session not flushed yet");
                wait = backoff.next(&*parts.rng);
                files.shared.changed.notify_one();
            }
        }
    }
}
