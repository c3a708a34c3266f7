//! What one engine instance lets others know: events in order, counters, and
//! the clues of the present connection.
//!
//! Everything is reported from within the engine's own tasks, which must not
//! wait: events go into a queue with a limit, and [`Monitor::deliver`] carries
//! them to the owner. Receipts, acknowledgements and the like are left out and
//! counted when the owner falls too far behind; changes of the connection
//! never are, so that the account's state is never wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use coordinator_lib::clock::{Boottime, SharedClock};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};

use crate::clues::Clues;
use crate::engine::EngineStats;
use crate::events::{EngineEvent, Stage};

/// Events in the queue beyond which those are left out that may be. A busy
/// account gets a few receipts a second.
const EVENTS_QUEUED: usize = 4_096;

/// Where an instance is between its start and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// On the way to a connection, or between two of them.
    Connecting,
    /// Messages can be sent.
    Connected,
    /// Nothing will come any more.
    Ended,
}

/// The reports of one engine instance.
pub(crate) struct Monitor {
    clock: SharedClock,
    clues: Mutex<Clues>,
    queue: Mutex<VecDeque<EngineEvent>>,
    queued: Notify,
    hang_up: Notify,
    paired: Notify,
    phase: watch::Sender<Phase>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    frames_in: AtomicU64,
    frames_out: AtomicU64,
    inbound_messages: AtomicU64,
    events_dropped: AtomicU64,
    last_frame_in: Mutex<Option<Boottime>>,
    events: Mutex<BTreeMap<&'static str, u64>>,
}

impl Monitor {
    pub(crate) fn new(clock: SharedClock) -> Self {
        let clues = Mutex::new(Clues::new(clock.boottime()));
        let counters = Counters::default();
        *counters.events.lock() = EngineEvent::NAMES.iter().map(|name| (*name, 0)).collect();
        Self {
            clock,
            clues,
            queue: Mutex::default(),
            queued: Notify::new(),
            hang_up: Notify::new(),
            paired: Notify::new(),
            phase: watch::Sender::new(Phase::Connecting),
            counters,
        }
    }

    /// Puts an event into the queue.
    pub(crate) fn emit(&self, event: EngineEvent) {
        let mut queue = self.queue.lock();
        if event.may_be_left_out() && queue.len() >= EVENTS_QUEUED {
            self.counters.events_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        *self.counters.events.lock().entry(event.name()).or_default() += 1;
        queue.push_back(event);
        drop(queue);
        self.queued.notify_one();
    }

    /// Reports a stage.
    pub(crate) fn stage(&self, stage: Stage) {
        self.emit(EngineEvent::Stage(stage));
    }

    /// Carries events to the owner until `Stopped` is delivered or the owner
    /// has gone.
    pub(crate) async fn deliver(&self, owner: mpsc::Sender<EngineEvent>) {
        loop {
            let next = self.queue.lock().pop_front();
            let Some(event) = next else {
                self.queued.notified().await;
                continue;
            };
            let is_last = event == EngineEvent::Stopped;
            if owner.send(event).await.is_err() || is_last {
                return;
            }
        }
    }

    /// Adds a clue; gets the time along.
    pub(crate) fn clue<R>(&self, add: impl FnOnce(&mut Clues, Boottime) -> R) -> R {
        add(&mut self.clues.lock(), self.clock.boottime())
    }

    /// Forgets the clues of the connection before.
    pub(crate) fn new_connection(&self) {
        *self.clues.lock() = Clues::new(self.clock.boottime());
    }

    /// Counts a frame sent.
    pub(crate) fn frame_out(&self) {
        self.counters.frames_out.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a frame received.
    pub(crate) fn frame_in(&self, now: Boottime) {
        self.counters.frames_in.fetch_add(1, Ordering::Relaxed);
        *self.counters.last_frame_in.lock() = Some(now);
        self.clues.lock().frame_in(now);
    }

    /// Counts messages that the inbox has stored.
    pub(crate) fn inbound(&self, messages: usize) {
        self.counters
            .inbound_messages
            .fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// Sets the phase; nothing follows on `Ended`.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let changes = *current != phase && *current != Phase::Ended;
            if changes {
                *current = phase;
            }
            changes
        });
    }

    /// The instance has ended: says so once, however often it is called.
    pub(crate) fn end(&self) {
        let ended = self.phase.send_if_modified(|current| {
            let ends = *current != Phase::Ended;
            *current = Phase::Ended;
            ends
        });
        if ended {
            self.emit(EngineEvent::Stopped);
        }
    }

    /// A phone has linked this device, and the engine has done its part.
    pub(crate) fn paired(&self, event: EngineEvent) {
        self.clues.lock().paired();
        self.emit(event);
        self.paired.notify_one();
    }

    /// Waits until a pairing has finished.
    pub(crate) async fn pairing_finished(&self) {
        self.paired.notified().await;
    }

    /// Asks for the end of the connection.
    pub(crate) fn hang_up(&self) {
        self.hang_up.notify_one();
    }

    /// Waits until somebody asks for it.
    pub(crate) async fn hang_up_asked(&self) {
        self.hang_up.notified().await;
    }

    /// The phase, to look at or to wait for.
    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// The counters; `tasks` are the runtime's.
    pub(crate) fn stats(&self, tasks: usize) -> EngineStats {
        let counters = &self.counters;
        EngineStats {
            frames_out: counters.frames_out.load(Ordering::Relaxed),
            frames_in: counters.frames_in.load(Ordering::Relaxed),
            last_frame_in: *counters.last_frame_in.lock(),
            events: counters.events.lock().clone(),
            inbound_messages: counters.inbound_messages.load(Ordering::Relaxed),
            events_dropped: counters.events_dropped.load(Ordering::Relaxed),
            tasks,
        }
    }
}

#[cfg(test)]
mod tests {
    use coordinator_lib::clock::ManualClock;

    use super::*;
    use crate::disconnect::DisconnectReason;

    fn monitor() -> Monitor {
        Monitor::new(std::sync::Arc::new(ManualClock::default()))
    }

    fn ack(n: usize) -> EngineEvent {
        EngineEvent::ServerAck {
            id: n.to_string(),
            error: None,
        }
    }

    #[tokio::test]
    async fn events_arrive_in_order_and_end_with_stopped() {
        let monitor = monitor();
        for n in 0..10 {
            monitor.emit(ack(n));
        }
        monitor.emit(EngineEvent::Stopped);
        let (sender, mut receiver) = mpsc::channel(1);
        let deliver = monitor.deliver(sender);
        let receive = async {
            let mut received = Vec::new();
            while let Some(event) = receiver.recv().await {
                received.push(event);
            }
            received
        };
        let ((), received) = tokio::join!(deliver, receive);
        let expected: Vec<_> = (0..10).map(ack).chain([EngineEvent::Stopped]).collect();
        assert_eq!(received, expected);
    }

    #[test]
    fn a_full_queue_drops_receipts_but_never_a_change_of_the_connection() {
        let monitor = monitor();
        for n in 0..EVENTS_QUEUED + 5 {
            monitor.emit(ack(n));
        }
        monitor.emit(EngineEvent::Disconnected(
            DisconnectReason::ConnectionClosed,
        ));
        assert_eq!(monitor.stats(0).events_dropped, 5);
        assert_eq!(
            monitor.queue.lock().back(),
            Some(&EngineEvent::Disconnected(
                DisconnectReason::ConnectionClosed
            ))
        );
    }

    #[test]
    fn every_event_is_counted_from_the_start() {
        let stats = monitor().stats(0);
        assert_eq!(stats.events.len(), EngineEvent::NAMES.len());
        assert!(stats.events.values().all(|count| *count == 0));
    }

    #[test]
    fn the_end_is_final() {
        let monitor = monitor();
        monitor.end();
        monitor.end();
        monitor.set_phase(Phase::Connected);
        assert_eq!(*monitor.phase().borrow(), Phase::Ended);
        assert_eq!(monitor.stats(0).events["stopped"], 1);
    }
}
