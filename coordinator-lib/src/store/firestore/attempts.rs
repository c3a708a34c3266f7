//! How often a call is tried, and for how long: the one retry policy here.
//!
//! The client library's own retries are off. An attempt ends in its time, and
//! is repeated only after an answer by which nothing was written.

use std::future::Future;
use std::time::Duration;

use tonic::Request;
use tracing::debug;

use super::failure::Failure;
use crate::backoff::Backoff;
use crate::clock::SharedClock;
use crate::rng::SharedRng;
use crate::store::StoreError;

const WAIT_BASE: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The policy; see [`super::FirestoreOptions`] for the meaning of its parts.
#[derive(Clone)]
pub(super) struct Attempts {
    pub(super) timeout: Duration,
    pub(super) max: u32,
    pub(super) clock: SharedClock,
    pub(super) rng: SharedRng,
}

impl Attempts {
    /// Repeats a call, waiting in between, while its error is one that passes.
    pub(super) async fn run<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut backoff = Backoff::new(WAIT_BASE, WAIT_MAX);
        let mut made = 0;
        loop {
            made += 1;
            match call().await {
                Err(error) if error.is_retryable() && made < self.max => {
                    let wait = backoff.next(&*self.rng);
                    debug!(%error, attempt = made, ?wait, "call of the store is repeated");
                    self.clock.sleep(wait).await;
                }
                ended => return ended,
            }
        }
    }

    /// One attempt, in its time.
    pub(super) async fn once<T, E: Into<Failure>>(
        &self,
        attempt: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        tokio::time::timeout(self.timeout, attempt)
            .await
            .map_err(|_| Failure::Silent(self.timeout))?
            .map_err(Into::into)
    }

    /// A request that tells the server, too, how long somebody waits for it.
    pub(super) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }
}
