//! Waiting for a condition, with a deadline. The tests have no sleeps of their
//! own: they say what they wait for, and a failure says what was there instead.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::api::is_unavailable;

/// How often a condition is looked at again.
const POLL_INTERVAL: Duration = Duration::from_millis(40);

/// What came of one look.
#[derive(Debug)]
pub enum Look<T> {
    /// The condition holds.
    Done(T),
    /// Not yet; what is there instead, for the message at the deadline.
    NotYet(String),
}

impl<T> Look<T> {
    /// `Done` if `value` is some.
    pub fn some(value: Option<T>, instead: impl Debug) -> Self {
        value.map_or_else(|| Self::NotYet(format!("{instead:?}")), Self::Done)
    }
}

/// Looks until the condition holds.
///
/// # Errors
/// The deadline passed: the message says what was waited for and what was there
/// instead. A failed look ends the waiting at once, unless a worker answered that
/// it cannot say now.
pub async fn until<T, F>(what: &str, limit: Duration, mut look: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<Look<T>>,
{
    let started = Instant::now();
    loop {
        let look = match look().await {
            Err(error) if is_unavailable(&error) => Look::NotYet(format!("{error:#}")),
            look => look?,
        };
        match look {
            Look::Done(value) => return Ok(value),
            Look::NotYet(instead) if started.elapsed() >= limit => {
                bail!("not within {limit:?}: {what}; instead: {instead}")
            }
            Look::NotYet(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// Ends with Ctrl-C or SIGTERM.
///
/// # Errors
/// This process may not wait for signals.
pub async fn interruption() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn deadline_tells_what_was_there_instead() {
        let error = until::<(), _>("the sun rises", Duration::from_millis(90), async || {
            Ok(Look::NotYet("night".to_owned()))
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("the sun rises") && error.contains("night"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn condition_is_looked_at_again() {
        let mut looks = 0;
        let seen = until("third look", Duration::from_secs(5), async || {
            looks += 1;
            Ok(Look::some((looks == 3).then_some(looks), looks))
        })
        .await
        .unwrap();
        assert_eq!(seen, 3);
    }
}
