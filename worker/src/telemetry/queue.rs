//! A bounded queue that nobody waits for, read in batches.
//!
//! Its reader is woken by the first thing of a batch, and then only when the batch
//! is full or its time is over: a reader that each span wakes costs as much as the
//! span.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// The two ends of a queue of so many places. What is read at a time is at most
/// a batch, and what came within the delay after the first.
pub(super) fn bounded<T>(places: usize, batch: usize, delay: Duration) -> (Sender<T>, Batches<T>) {
    let (sender, queue) = mpsc::channel(places);
    // The reader has the first in its hand. Half a queue is enough, so that there
    // is room for what comes in the meantime.
    let enough = batch.saturating_sub(1).min(places / 2);
    let full = Arc::new(Notify::new());
    let sender = Sender {
        queue: sender,
        enough,
        full: Arc::clone(&full),
    };
    let batches = Batches {
        queue,
        batch,
        delay,
        enough,
        full,
    };
    (sender, batches)
}

/// Where things are queued.
#[derive(Debug)]
pub(super) struct Sender<T> {
    queue: mpsc::Sender<T>,
    /// With so many the reader is woken.
    enough: usize,
    full: Arc<Notify>,
}

impl<T> Sender<T> {
    /// Queues one, if more places are free than are kept for others; says whether
    /// there were.
    pub(super) fn offer(&self, one: T, kept: usize) -> bool {
        if self.queue.capacity() <= kept || self.queue.try_send(one).is_err() {
            return false;
        }
        if self.queue.max_capacity() - self.queue.capacity() >= self.enough {
            self.full.notify_one();
        }
        true
    }
}

/// Where they are read.
#[derive(Debug)]
pub(super) struct Batches<T> {
    queue: mpsc::Receiver<T>,
    batch: usize,
    delay: Duration,
    enough: usize,
    full: Arc<Notify>,
}

impl<T> Batches<T> {
    /// The next batch. After `stop` what is left, and nothing once nothing is.
    pub(super) async fn next(&mut self, stop: &CancellationToken) -> Vec<T> {
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            // Without a sender there will never be another.
            first = self.queue.recv() => first,
        };
        if first.is_some() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.delay) => {}
                () = self.filled() => {}
            }
        }
        let mut batch = Vec::from_iter(first);
        while batch.len() < self.batch
            && let Ok(one) = self.queue.try_recv()
        {
            batch.push(one);
        }
        batch
    }

    async fn filled(&self) {
        while self.queue.len() < self.enough {
            self.full.notified().await;
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// What waits now.
    #[cfg(test)]
    pub(super) fn now(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.queue.try_recv().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    const DELAY: Duration = Duration::from_secs(3600);

    fn offer(sender: &Sender<u32>, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            assert!(sender.offer(number, 0), "no place for {number}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_read_when_it_is_full_or_its_time_is_over() {
        let (sender, mut batches) = bounded(8, 4, DELAY);
        let stop = CancellationToken::new();
        offer(&sender, 0..6);
        let began = Instant::now();
        assert_eq!(batches.next(&stop).await, [0, 1, 2, 3]);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(batches.next(&stop).await, [4, 5]);
        assert_eq!(began.elapsed(), DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_fills_while_it_is_waited_for_is_read_at_once() {
        // However many were there when the wait began.
        for first in 1..4 {
            let (sender, mut batches) = bounded(8, 4, DELAY);
            let stop = CancellationToken::new();
            offer(&sender, 0..first);
            let began = Instant::now();
            let fill = async {
                for number in first..4 {
                    sleep(Duration::from_secs(1)).await;
                    offer(&sender, [number]);
                }
            };
            let (batch, ()) = tokio::join!(batches.next(&stop), fill);
            assert_eq!(batch, [0, 1, 2, 3]);
            assert_eq!(began.elapsed(), Duration::from_secs((4 - first).into()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_queue_is_enough() {
        let (sender, mut batches) = bounded(5, 4, DELAY);
        let stop = CancellationToken::new();
        offer(&sender, 0..3);
        let began = Instant::now();
        assert_eq!(batches.next(&stop).await, [0, 1, 2]);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_end_what_is_left_is_read_and_then_nothing() {
        let (sender, mut batches) = bounded(8, 4, DELAY);
        let stop = CancellationToken::new();
        offer(&sender, 0..6);
        let began = Instant::now();
        let end = async {
            sleep(Duration::from_secs(1)).await;
            stop.cancel();
        };
        assert_eq!(batches.next(&stop).await, [0, 1, 2, 3]);
        let (batch, ()) = tokio::join!(batches.next(&stop), end);
        assert_eq!(batch, [4, 5]);
        assert!(batches.next(&stop).await.is_empty());
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_sender_there_is_nothing_more() {
        let (sender, mut batches) = bounded(8, 4, DELAY);
        let stop = CancellationToken::new();
        offer(&sender, [1]);
        drop(sender);
        assert_eq!(batches.next(&stop).await, [1]);
        assert!(batches.next(&stop).await.is_empty());
    }

    #[test]
    fn places_that_are_kept_are_not_for_everybody() {
        let (sender, mut batches) = bounded(8, 8, DELAY);
        let taken = (0..8).filter(|number| sender.offer(*number, 2)).count();
        assert_eq!(taken, 6);
        offer(&sender, [6, 7]);
        assert!(!sender.offer(8, 0));
        assert_eq!(batches.len(), 8);
        assert_eq!(batches.now(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
