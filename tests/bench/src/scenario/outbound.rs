//! Messages sent: accepted and stored before they leave. Baileys writes what it
//! is told to send into its journal first.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coordinator_lib::store::{
    DocumentStore, Fields, Path, Precondition, SqliteOptions, SqliteStore, Value, Write,
};
use futures::future::try_join_all;
use harness::wait::{self, Look};
use serde_json::json;
use wa_sim::phone::Phone;

use crate::options::Options;
use crate::peer::Peer;
use crate::process;
use crate::report::Report;
use crate::stage::{ARRIVAL_LIMIT, Setting, Stage};
use crate::stats::{median, percentile};

const ACCOUNTS: usize = 4;
const CONTACTS: usize = 5;

/// For what follows a message to be done.
const AFTER: Duration = Duration::from_secs(1);

/// Between a message and a commit: what follows the one does not slow the other.
const BETWEEN: Duration = Duration::from_millis(50);

const COLUMNS: &[&str] = &["client", "round", "messages", "a second", "a CPU second"];

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
    let worker = stage.cluster.process_id("alice")?;
    let mut peer = Peer::start().await?;
    peer.link(&stage.scene, ACCOUNTS).await?;
    let node = peer.load.id()?;
    ours(&stage, 2).await?;
    theirs(&peer, &stage, 2).await?;

    let each = options.size(50, 3);
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds() {
        println!("round {round} ...");
        for (client, pid, rates) in [
            ("leasehold", worker, &mut own),
            ("baileys", node, &mut others),
        ] {
            let (cpu, began) = (process::cpu(pid)?, Instant::now());
            let count = match client {
                "leasehold" => ours(&stage, each).await?,
                _ => theirs(&peer, &stage, each).await?,
            } as f64;
            let took = began.elapsed().as_secs_f64();
            tokio::time::sleep(AFTER).await;
            let used = (process::cpu(pid)? - cpu).as_secs_f64();
            rates.push(count / used);
            report.row([
                json!(client),
                json!(round),
                json!(count),
                json!(count / took),
                json!(count / used),
            ]);
        }
    }
    let (wire, commit) = to_the_wire(&stage, options.size(60, 5)).await?;
    report.count(&stage.counts().await?);
    let middle = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    report.ratio("per_cpu_second_by_baileys", middle(&own), middle(&others))?;
    report.ratio("post_to_wire_p50_by_commit", middle(&wire), middle(&commit))?;
    report.ratio("post_to_wire_p50_ms", middle(&wire) * 1e3, 1.0)?;
    let p99 = percentile(&wire, 0.99).unwrap_or(f64::NAN);
    report.ratio("post_to_wire_p99_ms", p99 * 1e3, 1.0)?;
    Ok(report)
}

/// Clients send from each account to each contact; all of it has arrived.
async fn ours(stage: &Stage, each: usize) -> Result<usize> {
    let before = arrived(&stage.contacts);
    let api = stage.cluster.api();
    let chats = stage.chats();
    let count = chats.len() * each;
    let sent = chats.into_iter().map(async |(contact, account)| {
        for number in 0..each {
            let label = format!("out {number}");
            stage.scene.send(&api, account, contact, &label).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(sent).await?;
    until_arrived(&stage.contacts, before + count).await?;
    Ok(count)
}

/// The same from Baileys' accounts.
async fn theirs(peer: &Peer, stage: &Stage, each: usize) -> Result<usize> {
    let before = arrived(&stage.contacts);
    let chats: Vec<(&Phone, &Phone)> = peer
        .accounts
        .iter()
        .flat_map(|account| stage.contacts.iter().map(move |contact| (account, contact)))
        .collect();
    let count = chats.len() * each;
    let sent = chats.into_iter().map(async |(account, contact)| {
        let jid = format!("{}@s.whatsapp.net", contact.number());
        for number in 0..each {
            let text = stage.scene.text(&format!("out {number}"));
            peer.load.send(account.number(), &jid, &text).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(sent).await?;
    until_arrived(&stage.contacts, before + count).await?;
    Ok(count)
}

fn arrived(contacts: &[Phone]) -> usize {
    let received = contacts.iter();
    received
        .map(|contact| contact.with_ledger(|ledger| ledger.received.len()))
        .sum()
}

async fn until_arrived(contacts: &[Phone], expected: usize) -> Result<()> {
    wait::until("all of it arrives", ARRIVAL_LIMIT, async || {
        let arrived = arrived(contacts);
        Ok(Look::some((arrived >= expected).then_some(()), arrived))
    })
    .await
}

/// From the request until the message is at the server, for one at a time; and
/// how long one commit of one small document takes, in turns with them and on the
/// same disk.
async fn to_the_wire(stage: &Stage, count: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let api = stage.cluster.api();
    let (contact, account) = (&stage.contacts[0], &stage.accounts[0]);
    let path = stage.scene.folder().join("commits.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())?;
    let (mut wire, mut commits) = (Vec::new(), Vec::new());
    for number in 0..count {
        let posted = Instant::now();
        let sent = stage.scene.send(&api, account, contact, "latency").await?;
        let at = wait::until("it arrives", ARRIVAL_LIMIT, async || {
            let at = contact.with_ledger(|ledger| {
                let mut latest = ledger.received.iter().rev();
                latest
                    .find(|received| received.text == sent.text)
                    .map(|received| received.at)
            });
            Ok(Look::some(at, "nothing yet"))
        })
        .await?;
        wire.push(at.duration_since(posted).as_secs_f64());
        tokio::time::sleep(BETWEEN).await;
        commits.push(commit(&store, number).await?);
        tokio::time::sleep(BETWEEN).await;
    }
    Ok((wire, commits))
}

async fn commit(store: &SqliteStore, number: usize) -> Result<f64> {
    let write = Write::Set {
        path: Path::new("measured/document").context("a path")?,
        fields: Fields::from([("number".to_owned(), Value::from(number as i64))]),
        precondition: Precondition::None,
    };
    let began = Instant::now();
    let _ = store.commit(vec![write]).await?;
    Ok(began.elapsed().as_secs_f64())
}
