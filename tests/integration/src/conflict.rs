//! Two clusters with the same account: no loop, an alert, and no harm to others.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::scene::{self, LINK_LIMIT, Linked, play};
use harness::wait::{self, Look};

/// The log line that calls for a person.
const CALL: &str = "a person must look at an account";

/// For conflicts to pile up: 5–15 s, then 30 s, on both sides.
const CONFLICT_LIMIT: Duration = Duration::from_secs(150);

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Two clusters have the same session, as after a copy of the database: they
/// throw each other out, slower each time, until one of them says so and rests.
#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_with_one_account_end_in_conflict_and_not_in_a_loop() -> Result<()> {
    play(async |scene| {
        scene.allow_error(CALL);
        let alice = scene.worker("alice")?.start().await?;
        let shared = scene.link(alice.api(), "shared").await?;
        let setup = alice.terminate().await?;
        let mut foreign = scene.worker("eve")?;
        foreign.folder = scene.folder().join("foreign");
        copy_folder(&setup.data_folder(), &foreign.data_folder())?;
        scene.watch(&foreign);
        let alice = setup.start().await?;
        let own = scene.link(alice.api(), "own").await?;
        scene::until_connected(scene, alice.api(), &shared, LINK_LIMIT).await?;
        let logins = |account: &Linked| scene.sim().oracle().accounts[account.number()].logins;
        let before = (logins(&shared), logins(&own));

        let eve = foreign.start().await?;
        let apis = [alice.api(), eve.api()];
        let at = wait::until("one of them says so", CONFLICT_LIMIT, async || {
            let mut seen = Vec::new();
            for api in apis {
                seen.push(api.account(&shared.id).await?.status);
            }
            let at = seen.iter().position(|status| status == "conflict");
            Ok(Look::some(at, seen))
        })
        .await?;
        let conflict = apis[at].account(&shared.id).await?;
        ensure!(conflict.retry_at.is_some() && conflict.action_required.is_some());
        wait::until("`/health` says so", LINK_LIMIT, async || {
            let health = apis[at].health().await?;
            let is_so = health["accounts"]["conflict"] == 1
                && health["lastDisconnectReasons"]["440 connectionReplaced"] == 3;
            Ok(Look::some(is_so.then_some(()), health))
        })
        .await?;
        let log = [&alice, &eve][at].log();
        log.until_line(&[CALL, &shared.id], LINK_LIMIT).await?;
        // Three times each at most, and the other account never noticed.
        let fights = logins(&shared) - before.0;
        ensure!((1..=6).contains(&fights), "{fights} logins");
        ensure!(logins(&own) == before.1);
        ensure!(alice.api().account(&own.id).await?.status == "connected");

        // Once the other program is gone, a restart puts it right.
        eve.terminate().await?;
        alice.api().act(&shared.id, "restart").await?;
        scene::until_connected(scene, alice.api(), &shared, LINK_LIMIT).await?;
        Ok(())
    })
    .await
}
