//! Messages taken in: written by phones, stored, and only then acknowledged.
//! Baileys keeps them in a journal that is on disk before it says that it has
//! them; its receipts, though, leave before that.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::metrics::Calls;
use crate::options::Options;
use crate::peer::Peer;
use crate::report::Report;
use crate::stage::{Setting, Stage, idle_calls, until_acknowledged};
use crate::stats::{median, spread};
use crate::{process, stats};

/// With each account every contact has a chat: twenty.
const ACCOUNTS: usize = 4;
const CONTACTS: usize = 5;

/// For what follows a message, as the flush of its session, to be done.
const AFTER: Duration = Duration::from_secs(1);

const COLUMNS: &[&str] = &[
    "client",
    "round",
    "messages",
    "a second",
    "a CPU second",
    "commits each",
];

/// See the module.
///
/// # Errors
/// A message does not arrive.
pub(super) async fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new(options.scenario, options.store()?, COLUMNS);
    let stage = Stage::set(&Setting {
        store: options.store()?,
        workers: &["alice"],
        capacity: ACCOUNTS,
        accounts: ACCOUNTS,
        contacts: CONTACTS,
        options: &[],
    })
    .await?;
    let api = stage.cluster.api();
    let worker = stage.cluster.process_id("alice")?;
    let mut peer = Peer::start().await?;
    peer.link(&stage.scene, ACCOUNTS).await?;
    let node = peer.load.id()?;
    // Sessions begin with the first message.
    stage.phones_write(2).await?;
    peer.phones_write(&stage.scene, &stage.contacts, 2).await?;
    let (idle_commits, _) = idle_calls(&api).await?;

    let each = options.size(100, 5);
    let (mut ours, mut theirs, mut commits) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds() {
        println!("round {round} ...");
        let (cpu, calls, began) = (
            process::cpu(worker)?,
            Calls::of(&api).await?,
            Instant::now(),
        );
        let count = stage.phones_write(each).await? as f64;
        let took = began.elapsed().as_secs_f64();
        tokio::time::sleep(AFTER).await;
        let used = (process::cpu(worker)? - cpu).as_secs_f64();
        let calls = Calls::of(&api).await?.since(calls).commits as f64;
        let own = calls - idle_commits * began.elapsed().as_secs_f64();
        commits.push(own / count);
        ours.push(count / used);
        report.row([
            json!("leasehold"),
            json!(round),
            json!(count),
            json!(count / took),
            json!(count / used),
            json!(own / count),
        ]);

        let (cpu, began) = (process::cpu(node)?, Instant::now());
        let count = peer
            .phones_write(&stage.scene, &stage.contacts, each)
            .await? as f64;
        let took = began.elapsed().as_secs_f64();
        tokio::time::sleep(AFTER).await;
        let used = (process::cpu(node)? - cpu).as_secs_f64();
        theirs.push(count / used);
        report.row([
            json!("baileys"),
            json!(round),
            json!(count),
            json!(count / took),
            json!(count / used),
            json!(null),
        ]);
    }
    let alone = alone(&stage, options.size(20, 3), idle_commits).await?;
    report.count(&stage.counts().await?);
    let middle = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    report.ratio("per_cpu_second_by_baileys", middle(&ours), middle(&theirs))?;
    report.ratio("commits_a_message_in_bursts", middle(&commits), 1.0)?;
    report.ratio("commits_a_message_alone", alone, 1.0)?;
    let noise = stats::percentile(
        &[spread(&ours), spread(&theirs)].map(|spread| spread.unwrap_or(f64::NAN)),
        1.0,
    );
    report.ratio("noise", noise.unwrap_or(f64::NAN), 1.0)?;
    Ok(report)
}

/// Commits of a message that comes alone, with the flush that follows it.
async fn alone(stage: &Stage, count: usize, idle_commits: f64) -> Result<f64> {
    let api = stage.cluster.api();
    let (calls, began) = (Calls::of(&api).await?, Instant::now());
    for _ in 0..count {
        let (contact, account) = (&stage.contacts[0], &stage.accounts[0]);
        let sent = stage.scene.write(contact, account, "alone")?;
        until_acknowledged(&[(contact, sent)]).await?;
        tokio::time::sleep(AFTER).await;
    }
    let calls = Calls::of(&api).await?.since(calls).commits as f64;
    let idle = idle_commits * began.elapsed().as_secs_f64();
    Ok((calls - idle) / count as f64)
}
