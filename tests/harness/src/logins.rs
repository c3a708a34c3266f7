//! When accounts were connected, as the simulated server saw it: the server's
//! clock and its list of connections, not what workers say of themselves.

use std::time::Duration;

use anyhow::{Context, Result};
use wa_sim::Sim;

use crate::wait::{self, Look};

/// Now, in the unit of the server's clock: milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// The first login of an account after a moment, if there was one.
pub fn first_since(sim: &Sim, number: &str, since_ms: u64) -> Option<u64> {
    all(sim, number)
        .into_iter()
        .filter_map(|login| (login.at_ms >= since_ms).then_some(login.at_ms))
        .min()
}

/// A connection of an account that logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login {
    /// When it logged in.
    pub at_ms: u64,
    /// When it was over: closed, or replaced by a newer one.
    pub over_ms: Option<u64>,
}

/// The logins of an account's linked device, oldest first.
pub fn all(sim: &Sim, number: &str) -> Vec<Login> {
    let report = sim.oracle();
    report
        .connections
        .iter()
        .filter(|connection| {
            connection
                .device
                .as_ref()
                .is_some_and(|device| &*device.account == number)
        })
        .filter_map(|connection| {
            Some(Login {
                at_ms: connection.logged_in_ms?,
                over_ms: match (connection.superseded_ms, connection.closed_ms) {
                    (Some(superseded), Some(closed)) => Some(superseded.min(closed)),
                    (superseded, closed) => superseded.or(closed),
                },
            })
        })
        .collect()
}

/// How long an account was not connected before the first login since a moment.
/// 0 where the new connection came before the old one had ended.
pub fn gap_before_first_since(sim: &Sim, number: &str, since_ms: u64) -> Option<Duration> {
    let logins = all(sim, number);
    let at = logins.iter().position(|login| login.at_ms >= since_ms)?;
    let before = logins[..at].last()?;
    let over_ms = before.over_ms.unwrap_or(logins[at].at_ms);
    Some(Duration::from_millis(
        logins[at].at_ms.saturating_sub(over_ms),
    ))
}

/// Waits until one of the accounts has logged in since a moment, and returns at
/// once then. Returns how long after the moment that was.
///
/// # Errors
/// None has within `limit`.
pub async fn until_one_since(
    sim: &Sim,
    numbers: &[&str],
    since_ms: u64,
    limit: Duration,
) -> Result<Duration> {
    let first = || {
        let logins = numbers
            .iter()
            .filter_map(|number| first_since(sim, number, since_ms));
        logins.min()
    };
    // Woken by the server itself, not by a look now and then.
    sim.wait("no account logged in again", limit, || first().is_some())
        .await?;
    let login_ms = first().context("it was there just now")?;
    Ok(Duration::from_millis(login_ms - since_ms))
}

/// Waits until each of the accounts has logged in since a moment, and is
/// connected. Returns how long after the moment each one logged in.
///
/// # Errors
/// One has not within `limit`.
pub async fn until_all_since(
    sim: &Sim,
    numbers: &[&str],
    since_ms: u64,
    limit: Duration,
) -> Result<Vec<Duration>> {
    let mut waits = Vec::new();
    for &number in numbers {
        let login_ms = wait::until(&format!("{number} logs in again"), limit, async || {
            Ok(Look::some(
                first_since(sim, number, since_ms),
                "no login since",
            ))
        })
        .await?;
        sim.wait_connected(number, limit)
            .await
            .with_context(|| format!("{number} after its login"))?;
        waits.push(Duration::from_millis(login_ms - since_ms));
    }
    Ok(waits)
}
