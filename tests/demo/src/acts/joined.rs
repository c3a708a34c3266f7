//! Another worker joins: accounts move to it one by one.

use std::time::Duration;

use anyhow::Result;
use harness::wait;
use harness::wait::Look;

use super::{CONNECTED_LIMIT, Times};
use crate::options::Options;
use crate::stage::{NEWCOMER, Owned, Stage};

/// For the numbers to differ by at most one. Accounts move with a pause
/// between them.
pub(super) const BALANCE_LIMIT: Duration = Duration::from_secs(180);
/// The same where the rules are broken, and workers with them.
const UNFENCED_BALANCE_LIMIT: Duration = Duration::from_secs(30);
/// The most that may be between two workers.
const IMBALANCE_MAX: usize = 1;

/// Starts one more worker and waits until all own as many accounts, but one,
/// and every account is connected.
///
/// # Errors
/// Accounts are not connected; no worker answers.
pub(super) async fn play(stage: &Stage<'_>, options: &Options, times: &mut Times) -> Result<()> {
    stage.screen.head(&format!("Act 4: {NEWCOMER} joins"));
    stage.start(NEWCOMER).await?;
    let limit = match options.unfenced {
        false => BALANCE_LIMIT,
        true => UNFENCED_BALANCE_LIMIT,
    };
    times.imbalance = until_even(stage, limit).await?;
    Ok(())
}

/// Waits until the numbers of accounts are even, as far as they become so, and
/// every account is connected. Returns how far they are apart.
///
/// # Errors
/// Accounts are not connected; no worker answers.
pub(super) async fn until_even(stage: &Stage<'_>, limit: Duration) -> Result<usize> {
    let begun = tokio::time::Instant::now();
    let even = wait::until("all own as many accounts", limit, async || {
        let imbalance = imbalance(stage, &stage.owners().await?);
        let is_even = imbalance.filter(|difference| *difference <= IMBALANCE_MAX);
        Ok(Look::some(is_even, imbalance))
    })
    .await;
    let imbalance = match even {
        Ok(imbalance) => imbalance,
        Err(error) => {
            stage.screen.say(&format!("{error:#}"));
            let owners = stage.owners().await?;
            imbalance(stage, &owners).unwrap_or(owners.len())
        }
    };
    for account in &stage.accounts {
        let sim = stage.scene.sim();
        sim.wait_connected(account.number(), CONNECTED_LIMIT)
            .await?;
    }
    stage.screen.say(&format!(
        "the workers' numbers of accounts differ by {imbalance}, after {:.1} s",
        begun.elapsed().as_secs_f64()
    ));
    Ok(imbalance)
}

/// The difference between the most and the fewest accounts of a running
/// worker; none while an account is unowned or not connected.
fn imbalance(stage: &Stage<'_>, owners: &[Owned]) -> Option<usize> {
    let running = stage.cluster.running();
    let is_settled = owners.iter().all(|owned| {
        owned.status == "connected"
            && owned
                .worker
                .as_ref()
                .is_some_and(|worker| running.contains(worker))
    });
    if !is_settled {
        return None;
    }
    let numbers = running.iter().map(|name| {
        owners
            .iter()
            .filter(|owned| owned.worker.as_ref() == Some(name))
            .count()
    });
    let most = numbers.clone().max()?;
    Some(most - numbers.min()?)
}
