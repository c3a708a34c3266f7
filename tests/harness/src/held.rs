//! Who says that it owns what, as the workers' own `/health` shows it: one that is
//! dead or stands still shows nothing, whatever the store has.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use futures::future::{join_all, try_join_all};
use serde_json::Value;
use tokio::time::timeout;

use crate::api::Api;

/// For an answer that needs nothing of anybody else.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// The accounts that some of these workers says it owns, and may act for.
pub async fn by_any(workers: impl IntoIterator<Item = Api>) -> BTreeSet<String> {
    let workers = workers.into_iter();
    let answers = workers.map(async |api| timeout(ANSWER_LIMIT, api.health()).await);
    let answers: Vec<_> = join_all(answers).await;
    let healths = answers.iter().flatten().flatten();
    healths.flat_map(leases).collect()
}

/// The accounts that these workers say they own, each of which must answer.
///
/// # Errors
/// One does not.
pub async fn by_all(workers: impl IntoIterator<Item = Api>) -> Result<BTreeSet<String>> {
    let answers = workers.into_iter().map(async |api| api.health().await);
    let healths = try_join_all(answers).await?;
    Ok(healths.iter().flat_map(leases).collect())
}

fn leases(health: &Value) -> Vec<String> {
    let is_alive = matches!(
        health["lock"]["state"].as_str(),
        Some("active" | "suspended" | "draining")
    );
    let leases = health["lock"]["leases"].as_array().filter(|_| is_alive);
    let leases = leases.into_iter().flatten();
    leases
        .filter_map(|lease| lease["accountId"].as_str().map(str::to_owned))
        .collect()
}
