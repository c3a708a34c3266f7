//! What happens to the pods.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use harness::wait::{self, Look};
use serde::Serialize;
use tokio::time::Instant;

use crate::options::{ActKind, Options};
use crate::pod::Ending;
use crate::stage::{Loss, Stage};
use crate::watch::Watch;

/// For every account to be owned and connected again: after a loss, once the
/// sessions are sealed; on a busy machine.
const CALM_LIMIT: Duration = Duration::from_secs(180);

/// What came of one act.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Act {
    /// Which one.
    pub(crate) kind: ActKind,
    /// From its beginning until every account was connected again.
    pub(crate) seconds: f64,
    /// How the pods ended that were told to.
    pub(crate) endings: Vec<Ending>,
    /// The longest that nobody owned an account.
    pub(crate) unowned_max_s: f64,
    /// Logins that ended an older connection of the same account: each is a 440 that
    /// the server sends.
    pub(crate) replaced: usize,
    /// Accounts whose connections the server could not see end: those of pods that
    /// stood still, or whose network was gone.
    pub(crate) silent: usize,
    /// Owners that such a 440 reached.
    pub(crate) told: i64,
}

/// What came of playing it.
#[derive(Default)]
struct Played {
    endings: Vec<Ending>,
    silent: usize,
}

/// As `/health` counts a 440.
const REPLACED: &str = "440 connectionReplaced";

/// Plays the acts, one after the other; each begins and ends with all accounts
/// connected.
///
/// # Errors
/// A pod does not do as it is told, or accounts are not connected in time.
pub(crate) async fn play_all(
    stage: &Stage<'_>,
    watch: &Watch<'_>,
    options: &Options,
) -> Result<Vec<Act>> {
    let mut acts = Vec::new();
    until_calm(stage).await?;
    for kind in options.acts() {
        println!("{kind:?}");
        watch.begin_act();
        let begun = Instant::now();
        let replaced_before = replaced(stage);
        let told_before = told(stage).await?;
        let Played { endings, silent } = play(stage, kind).await?;
        until_calm(stage).await?;
        acts.push(Act {
            kind,
            seconds: begun.elapsed().as_secs_f64(),
            endings,
            unowned_max_s: watch.act_max().as_secs_f64(),
            replaced: replaced(stage) - replaced_before,
            silent,
            told: told(stage).await? - told_before,
        });
    }
    Ok(acts)
}

async fn play(stage: &Stage<'_>, kind: ActKind) -> Result<Played> {
    let deployment = &stage.deployment;
    let replicas = stage.manifest.replicas;
    let seen = |endings| Played { endings, silent: 0 };
    match kind {
        ActKind::Roll => deployment.roll(&stage.new).await.map(seen),
        ActKind::Scale => {
            deployment.scale(&stage.new, 2 * replicas).await?;
            until_calm(stage).await?;
            let endings = deployment.scale(&stage.new, 2).await?;
            until_calm(stage).await?;
            deployment.scale(&stage.new, replicas).await?;
            Ok(seen(endings))
        }
        ActKind::NodeLoss => {
            let owned = deployment.owned_by_oldest(2).await?;
            let lost = deployment.lose(2).await?;
            let (at_once, later) = match stage.loss {
                Loss::Kill | Loss::Cut => (lost, Vec::new()),
                Loss::CutAlone => (Vec::new(), lost),
            };
            deployment.kill(at_once).await?;
            // Pods of a lost node are replaced minutes later: the others must do.
            until_calm(stage).await?;
            deployment.kill(later).await?;
            let silent = match stage.loss {
                Loss::Kill => 0,
                Loss::Cut | Loss::CutAlone => owned,
            };
            let endings = deployment.scale(&stage.new, replicas).await?;
            Ok(Played { endings, silent })
        }
        ActKind::Hang => {
            let silent = deployment.owned_by_oldest(1).await?;
            let endings = deployment.hang_one(&stage.new).await?;
            Ok(Played { endings, silent })
        }
    }
}

/// How often owners were told that another login ended their connection: they hand the
/// count on with the account.
async fn told(stage: &Stage<'_>) -> Result<i64> {
    let mut told = 0;
    for pod in stage.service.pods().into_values() {
        let health = pod.api.health().await?;
        told += health["lastDisconnectReasons"][REPLACED]
            .as_i64()
            .unwrap_or(0);
    }
    Ok(told)
}

/// Waits until each account is owned by a pod that is there, and connected.
async fn until_calm(stage: &Stage<'_>) -> Result<()> {
    let api = stage.api();
    wait::until("every account is connected", CALM_LIMIT, async || {
        let pods: BTreeSet<String> = stage.service.pods().into_keys().collect();
        let Ok(accounts) = api.accounts().await else {
            return Ok(Look::NotYet("no pod answers".to_owned()));
        };
        let is_held = |account: &&harness::api::Account| {
            account.status == "connected"
                && account
                    .owner
                    .as_ref()
                    .is_some_and(|owner| pods.contains(&owner.worker))
        };
        let held = accounts.iter().filter(is_held).count();
        let is_calm = held == stage.accounts.len();
        Ok(Look::some(is_calm.then_some(()), held))
    })
    .await
}

/// How often a login has ended an older connection of the same account.
fn replaced(stage: &Stage<'_>) -> usize {
    let oracle = stage.scene.sim().oracle();
    let connections = oracle.connections.iter();
    connections
        .filter(|connection| connection.superseded_ms.is_some())
        .count()
}
