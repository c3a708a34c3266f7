//! One call of the store, with its time limit.

use std::future::Future;
use std::time::Duration;

use crate::clock::SharedClock;
use crate::store::StoreError;

/// Waits for a call, `limit` at most; after that its outcome is unknown.
///
/// # Errors
/// The call's, or `Ambiguous`.
pub(crate) async fn limited<T>(
    clock: &SharedClock,
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::select! {
        biased;
        result = call => result,
        () = clock.sleep(limit) => Err(StoreError::Ambiguous {
            reason: format!("no answer within {limit:?}"),
        }),
    }
}
