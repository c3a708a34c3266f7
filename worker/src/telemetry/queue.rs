//! A bounded queue that nobody waits for, read in batches.
//!
//! Its reader is woken by the first thing of a batch, and then only when the batch
//! is full or its time is over: a reader that each span wakes costs as much as the
//! span.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// The two ends of a queue with so many places, read so many at a time.
pub(super) fn bounded<T>(places: usize, batch: usize) -> (Sender<T>, Batches<T>) {
    let (sender, queue) = mpsc::channel(places);
    let full = Arc::new(Notify::new());
    let sender = Sender {
        queue: sender,
        // The reader has the first already. Half a queue is enough, so that there
        // is room while it is read.
        enough: batch.saturating_sub(1).min(places / 2),
        full: Arc::clone(&full),
    };
    (sender, Batches { queue, batch, full })
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
    full: Arc<Notify>,
}

impl<T> Batches<T> {
    /// What comes within the delay after the first, at most a batch. After `stop`
    /// what is left, and nothing once nothing is.
    pub(super) async fn next(&mut self, delay: Duration, stop: &CancellationToken) -> Vec<T> {
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            // Without a sender there will never be another.
            first = self.queue.recv() => first,
        };
        let mut batch = Vec::from_iter(first);
        if !batch.is_empty() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(delay) => {}
                () = self.fill(&mut batch) => {}
            }
        }
        self.drain(&mut batch);
        batch
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// What waits now.
    #[cfg(test)]
    pub(super) fn now(&mut self) -> Vec<T> {
        let mut batch = Vec::new();
        self.drain(&mut batch);
        batch
    }

    async fn fill(&mut self, batch: &mut Vec<T>) {
        loop {
            self.drain(batch);
            if batch.len() == self.batch {
                return;
            }
            self.full.notified().await;
        }
    }

    fn drain(&mut self, batch: &mut Vec<T>) {
        while batch.len() < self.batch
            && let Ok(one) = self.queue.try_recv()
        {
            batch.push(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_read_when_it_is_full_or_its_time_is_over() {
        let (sender, mut batches) = bounded(8, 4);
        let stop = CancellationToken::new();
        for one in 0..6 {
            assert!(sender.offer(one, 0));
        }
        assert_eq!(batches.next(LONG, &stop).await, [0, 1, 2, 3]);
        let began = tokio::time::Instant::now();
        assert_eq!(batches.next(LONG, &stop).await, [4, 5]);
        assert_eq!(began.elapsed(), LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_fills_while_it_is_waited_for_is_read_at_once() {
        let (sender, mut batches) = bounded(8, 4);
        let stop = CancellationToken::new();
        let began = tokio::time::Instant::now();
        let fill = async {
            for one in 0..4 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert!(sender.offer(one, 0));
            }
        };
        let (batch, ()) = tokio::join!(batches.next(LONG, &stop), fill);
        assert_eq!(batch, [0, 1, 2, 3]);
        assert_eq!(began.elapsed(), Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_end_what_is_left_is_read_and_then_nothing() {
        let (sender, mut batches) = bounded(8, 4);
        let stop = CancellationToken::new();
        for one in 0..6 {
            assert!(sender.offer(one, 0));
        }
        stop.cancel();
        assert_eq!(batches.next(LONG, &stop).await, [0, 1, 2, 3]);
        assert_eq!(batches.next(LONG, &stop).await, [4, 5]);
        assert!(batches.next(LONG, &stop).await.is_empty());
    }

    #[tokio::test]
    async fn without_a_sender_there_is_nothing_more() {
        let (sender, mut batches) = bounded(8, 4);
        let stop = CancellationToken::new();
        assert!(sender.offer(1, 0));
        drop(sender);
        assert_eq!(batches.next(Duration::ZERO, &stop).await, [1]);
        assert!(batches.next(LONG, &stop).await.is_empty());
    }

    #[test]
    fn places_that_are_kept_are_not_for_everybody() {
        let (sender, mut batches) = bounded(8, 8);
        let taken = (0..8).filter(|one| sender.offer(*one, 2)).count();
        assert_eq!(taken, 6);
        assert!(sender.offer(6, 0) && sender.offer(7, 0) && !sender.offer(8, 0));
        assert_eq!(batches.len(), 8);
        assert_eq!(batches.now(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
