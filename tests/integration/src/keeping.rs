//! Received files that are kept: fetched by the account's owner, whoever that is
//! by then, put into the media store as WhatsApp had them, and read through any
//! worker after WhatsApp has forgotten them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use harness::api::{Api, Method};
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, Linked, Scene, play};
use harness::wait::{self, Look};
use harness::worker::{Worker, WorkerSetup};
use serde_json::Value;
use wa_sim::phone::Phone;

use crate::cluster::{Cluster, StoreKind};
use crate::media::curl;

/// Stands again and again in each picture: nowhere else may it be found.
const CANARY: &[u8] = b"canary-picture-5521 ";

/// Several parts of a file in a folder.
const PICTURE_BYTES: usize = 700_000;

fn picture(bytes: usize) -> Vec<u8> {
    CANARY.iter().copied().cycle().take(bytes).collect()
}

fn keeps(scene: &Scene, setup: WorkerSetup) -> WorkerSetup {
    let host = scene.sim().media_url();
    setup.with(&[
        "--keep-media",
        "--whatsapp-media-url",
        &host,
        "--metrics-public",
    ])
}

/// An account, and somebody who writes to it.
struct Pair {
    account: Linked,
    peer: Phone,
}

impl Pair {
    async fn new(scene: &Scene, api: &Api) -> Result<Self> {
        Ok(Self {
            peer: scene.contact("Peer")?,
            account: scene.link(api, "sales").await?,
        })
    }

    fn send(&self, content: &[u8]) -> Result<String> {
        Ok(self.peer.send_picture(self.account.number(), content)?)
    }

    /// Waits until a message's file stands so; gives where the file can be had.
    async fn until(&self, api: &Api, wa_id: &str, kept: Option<&str>) -> Result<String> {
        wait::until("a file stands so", 2 * DELIVERY_LIMIT, async || {
            let mut seen = "no message".to_owned();
            for thread in api.threads(&self.account.id).await? {
                let path = format!("/v1/threads/{}/messages", thread.id);
                let page: Value = api.get(&path).await?.expect(200)?.json()?;
                let messages = page["messages"].as_array().cloned().unwrap_or_default();
                let found = messages.iter().find(|found| found["waMessageId"] == wa_id);
                let Some(message) = found else { continue };
                let id = message["id"].as_str().unwrap_or_default();
                let state = message["media"]["kept"].as_str();
                if state == kept {
                    return Ok(Look::some(Some(format!("{path}/{id}/media")), seen));
                }
                seen = format!("{state:?}");
            }
            Ok(Look::some(None, seen))
        })
        .await
    }
}

/// The file that came with a message, as a worker gives it.
async fn fetched(worker: &Worker, place: &str) -> Result<Vec<u8>> {
    curl(&["-f", &format!("{}{place}", worker.api().base())]).await
}

/// Everything below where files that came are kept.
fn objects(worker: &WorkerSetup) -> Result<Vec<PathBuf>> {
    let received = worker.data_folder().join("media/received");
    let mut all = Vec::new();
    if !received.exists() {
        return Ok(all);
    }
    for account in std::fs::read_dir(received)? {
        for file in std::fs::read_dir(account?.path())? {
            all.push(file?.path());
        }
    }
    Ok(all)
}

fn is_in_clear(path: &Path) -> Result<bool> {
    let content = std::fs::read(path)?;
    Ok(content.windows(CANARY.len()).any(|bytes| bytes == CANARY))
}

/// How often attempts to keep a file came to this.
async fn counted(api: &Api, outcome: &str) -> Result<u64> {
    let scrape = api.get("/metrics").await?.expect(200)?.text();
    let name = format!("leasehold_media_received_total{{outcome=\"{outcome}\"}} ");
    let line = scrape.lines().find_map(|line| line.strip_prefix(&name));
    Ok(line.with_context(|| format!("no {name}"))?.parse()?)
}

/// Workers count after what clients see of it.
async fn until_counted(workers: &[&Worker], outcome: &str, expected: u64) -> Result<()> {
    let what = format!("{outcome} is counted {expected} times");
    wait::until(&what, DELIVERY_LIMIT, async || {
        let mut count = 0;
        for worker in workers {
            count += counted(worker.api(), outcome).await?;
        }
        ensure!(count <= expected, "{outcome}: {count}, not {expected}");
        Ok(Look::some((count == expected).then_some(()), count))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_whatsapp_has_forgotten_is_read_through_any_worker() -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        let alice = keeps(scene, cluster.worker("alice")?).start().await?;
        let pair = Pair::new(scene, alice.api()).await?;
        let bob = keeps(scene, cluster.worker("bob")?).start().await?;
        let content = picture(PICTURE_BYTES);
        let id = pair.send(&content)?;
        let place = pair.until(alice.api(), &id, Some("kept")).await?;

        let all = objects(alice.setup())?;
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(!is_in_clear(&all[0])?, "{all:?}");
        let account = all[0].parent().and_then(Path::file_name);
        assert_eq!(account.unwrap().to_str(), Some(pair.account.id.as_str()));
        until_counted(&[&alice, &bob], "kept", 1).await?;
        let path = "/v1/events?types=message.changed";
        let json = [("Accept", "application/json")];
        let page = alice.api().request(Method::Get, path, &json, None).await?;
        let page: Value = page.expect(200)?.json()?;
        let events = page["events"].as_array().cloned().unwrap_or_default();
        assert_eq!(events.len(), 1, "{page}");
        assert_eq!(events[0]["data"]["change"], "media");
        assert_eq!(events[0]["data"]["kept"], "kept");

        scene.sim().forget_media();
        for worker in [&alice, &bob] {
            assert!(fetched(worker, &place).await? == content);
        }
        scene.sim().set_media_down(true);
        assert!(fetched(&bob, &place).await? == content);
        scene.sim().set_media_down(false);

        // Somebody has changed it: nobody gets something else for it.
        let mut bytes = std::fs::read(&all[0])?;
        bytes[1_000] ^= 1;
        std::fs::write(&all[0], bytes)?;
        scene.allow_error("not as it was put there");
        let answer = alice.api().get(&place).await?;
        assert_eq!((answer.status, answer.code().as_str()), (410, "media_gone"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_owner_keeps_what_a_killed_one_had_not_fetched() -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        let alice = keeps(scene, cluster.worker("alice")?).start().await?;
        let pair = Pair::new(scene, alice.api()).await?;
        let bob = keeps(scene, cluster.worker("bob")?).start().await?;
        scene.mark_restart();
        let mut owners = vec![alice, bob];
        let owner = wait::until("an owner", LINK_LIMIT, async || {
            let account = owners[0].api().account(&pair.account.id).await?;
            let owner = account.owner.map(|owner| owner.worker).unwrap_or_default();
            let at = ["alice", "bob"].iter().position(|name| *name == owner);
            Ok(Look::some(at, owner))
        })
        .await?;
        let owner = owners.remove(owner);
        let other = owners.remove(0);

        let content = picture(PICTURE_BYTES);
        scene.sim().set_media_down(true);
        let ids: Vec<String> = (0..3).map(|_| pair.send(&content)).collect::<Result<_>>()?;
        for id in &ids {
            pair.until(other.api(), id, Some("pending")).await?;
        }
        assert_eq!(objects(other.setup())?, Vec::<PathBuf>::new());
        owner.kill().await?;
        scene.sim().set_media_down(false);
        scene::until_connected(scene, other.api(), &pair.account, LINK_LIMIT).await?;
        for id in &ids {
            let place = pair.until(other.api(), id, Some("kept")).await?;
            assert!(fetched(&other, &place).await? == content);
        }
        assert_eq!(objects(other.setup())?.len(), 3);
        until_counted(&[&other], "kept", 3).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_kept_once_the_host_is_back_and_given_up_when_it_forgot_it() -> Result<()> {
    play(async |scene| {
        let worker = keeps(scene, scene.worker("alice")?).start().await?;
        let pair = Pair::new(scene, worker.api()).await?;
        let content = picture(1_000);
        scene.sim().set_media_down(true);
        let forgotten = pair.send(&content)?;
        pair.until(worker.api(), &forgotten, Some("pending"))
            .await?;
        wait::until("an attempt has failed", DELIVERY_LIMIT, async || {
            let retried = counted(worker.api(), "retried").await?;
            Ok(Look::some((retried > 0).then_some(()), retried))
        })
        .await?;
        scene.sim().forget_media();
        let there = pair.send(&content)?;
        scene.sim().set_media_down(false);
        let place = pair.until(worker.api(), &there, Some("kept")).await?;
        assert!(fetched(&worker, &place).await? == content);
        let place = pair
            .until(worker.api(), &forgotten, Some("expired"))
            .await?;
        let answer = worker.api().get(&place).await?;
        assert_eq!((answer.status, answer.code().as_str()), (410, "media_gone"));
        assert_eq!(objects(worker.setup())?.len(), 1);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_not_wanted_stays_with_whatsapp() -> Result<()> {
    play(async |scene| {
        let setup = keeps(scene, scene.worker("alice")?);
        let worker = setup
            .with(&["--keep-media-bytes-max", "5000"])
            .start()
            .await?;
        let pair = Pair::new(scene, worker.api()).await?;
        let large = picture(5_001);
        let id = pair.send(&large)?;
        let place = pair.until(worker.api(), &id, Some("too_large")).await?;
        assert!(fetched(&worker, &place).await? == large);
        let small = picture(5_000);
        let id = pair.send(&small)?;
        let place = pair.until(worker.api(), &id, Some("kept")).await?;
        assert!(fetched(&worker, &place).await? == small);
        assert_eq!(objects(worker.setup())?.len(), 1);

        let setup = worker.terminate().await?;
        let worker = setup
            .with(&["--keep-media-kinds", "document,voice"])
            .start()
            .await?;
        scene::until_connected(scene, worker.api(), &pair.account, LINK_LIMIT).await?;
        let id = pair.send(&small)?;
        let place = pair.until(worker.api(), &id, None).await?;
        assert!(fetched(&worker, &place).await? == small);
        assert_eq!(objects(worker.setup())?.len(), 1);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_where_nobody_said_so() -> Result<()> {
    play(async |scene| {
        let host = scene.sim().media_url();
        let setup = scene
            .worker("alice")?
            .with(&["--whatsapp-media-url", &host]);
        let worker = setup.start().await?;
        let pair = Pair::new(scene, worker.api()).await?;
        let content = picture(1_000);
        let id = pair.send(&content)?;
        let place = pair.until(worker.api(), &id, None).await?;
        assert!(fetched(&worker, &place).await? == content);
        assert_eq!(objects(worker.setup())?, Vec::<PathBuf>::new());
        scene.sim().forget_media();
        let answer = worker.api().get(&place).await?;
        assert_eq!((answer.status, answer.code().as_str()), (410, "media_gone"));
        Ok(())
    })
    .await
}
