//! All events of a peer, in order, and waiting for those to come.
//!
//! Nothing is consumed: tests look for what they need, after a [`Mark`] where
//! the same may happen twice.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};

use crate::{Event, PeerError};

/// A peer that says more than this is broken.
const EVENTS_MAX: usize = 100_000;

/// Events shown by a failed wait.
const EVENTS_SHOWN: usize = 20;

/// A point in a peer's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark(usize);

#[derive(Clone)]
pub(crate) struct Log {
    events: Arc<Mutex<Vec<Event>>>,
    /// How many there are; closed when the peer is gone.
    count: watch::Receiver<usize>,
}

/// The writing end.
pub(crate) struct Writer {
    events: Arc<Mutex<Vec<Event>>>,
    count: watch::Sender<usize>,
}

pub(crate) fn log() -> (Writer, Log) {
    let events = Arc::default();
    let (sender, receiver) = watch::channel(0);
    let writer = Writer {
        events: Arc::clone(&events),
        count: sender,
    };
    (
        writer,
        Log {
            events,
            count: receiver,
        },
    )
}

impl Writer {
    /// Adds an event; false when there have been too many.
    pub(crate) fn push(&self, event: Event) -> bool {
        let mut events = self.events.lock();
        if events.len() == EVENTS_MAX {
            return false;
        }
        events.push(event);
        self.count.send_replace(events.len());
        true
    }
}

impl Log {
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.events.lock().len())
    }

    pub(crate) fn after(&self, mark: Mark) -> Vec<Event> {
        self.events
            .lock()
            .get(mark.0..)
            .unwrap_or_default()
            .to_vec()
    }

    /// The first event after the mark of which `pick` makes something.
    pub(crate) async fn wait<T>(
        &self,
        mark: Mark,
        what: &'static str,
        deadline: Duration,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, PeerError> {
        let mut count = self.count.clone();
        let mut looked = mark.0;
        let found = async {
            loop {
                count.mark_unchanged();
                let fresh = self.after(Mark(looked));
                if let Some(found) = fresh.iter().find_map(&mut pick) {
                    return Ok(found);
                }
                looked += fresh.len();
                if count.changed().await.is_err() {
                    return Err(PeerError::Gone);
                }
            }
        };
        timeout(deadline, found).await.unwrap_or_else(|_| {
            let mut seen = self.after(mark);
            seen.drain(..seen.len().saturating_sub(EVENTS_SHOWN));
            Err(PeerError::Timeout { what, seen })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn qr(code: &str) -> Event {
        Event::Qr {
            code: code.to_owned(),
        }
    }

    fn code(event: &Event) -> Option<String> {
        let Event::Qr { code } = event else {
            return None;
        };
        Some(code.clone())
    }

    #[tokio::test]
    async fn events_of_before_and_after_the_wait_are_found() {
        let (writer, log) = log();
        writer.push(qr("one"));
        let wait = |mark| log.wait(mark, "a code", Duration::from_secs(5), code);
        assert_eq!(wait(Mark::default()).await.unwrap(), "one");

        let mark = log.mark();
        let later = async {
            tokio::task::yield_now().await;
            writer.push(qr("two"));
        };
        let (found, ()) = tokio::join!(wait(mark), later);
        assert_eq!(found.unwrap(), "two");
        assert_eq!(log.after(mark), [qr("two")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_in_vain_shows_what_was_seen_but_no_secrets() {
        let (writer, log) = log();
        writer.push(qr("secret"));
        let wait = log.wait(Mark::default(), "a login", Duration::from_secs(5), |_| {
            None::<()>
        });
        let error = wait.await.unwrap_err();
        assert!(matches!(
            error,
            PeerError::Timeout {
                what: "a login",
                ..
            }
        ));
        assert!(!format!("{error:?} {error}").contains("secret"));
    }

    #[tokio::test]
    async fn the_end_of_a_peer_ends_waits() {
        let (writer, log) = log();
        drop(writer);
        let wait = log.wait(Mark::default(), "a login", Duration::from_secs(5), |_| {
            None::<()>
        });
        assert!(matches!(wait.await, Err(PeerError::Gone)));
    }
}
