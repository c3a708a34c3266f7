//! Memory and processor time of connections that do nothing.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::options::Options;
use crate::peer::Peer;
use crate::process;
use crate::report::Report;
use crate::stage::{Setting, Stage};

const MIB: f64 = 1024.0 * 1024.0;

/// For what follows linking to be done: the engine tidies up after half a minute.
const SETTLING: Duration = Duration::from_secs(45);

/// For so long the processor's time is counted.
const IDLE: Duration = Duration::from_secs(30);

const COLUMNS: &[&str] = &["client", "accounts", "RSS MiB", "idle CPU %"];

/// See the module.
///
/// # Errors
/// An account is not linked.
pub(super) async fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new(options.scenario, options.store()?, COLUMNS);
    let sizes: Vec<usize> = options.size(vec![0, 50, 200], vec![0, 3]);
    let most = sizes.last().copied().unwrap_or_default();
    let mut stage = Stage::set(&Setting {
        store: options.store()?,
        workers: &["alice"],
        capacity: most,
        accounts: 0,
        contacts: 0,
        options: &[],
    })
    .await?;
    let worker = stage.cluster.process_id("alice")?;
    let mut peer = Peer::start().await?;
    let node = peer.load.id()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for &size in &sizes {
        stage.link(size).await?;
        peer.link(&stage.scene, size).await?;
        // Both over the same time.
        tokio::time::sleep(options.size(SETTLING, Duration::from_secs(2))).await;
        let (our, their) = tokio::try_join!(idle(worker, options), idle(node, options))?;
        ours.push(our);
        theirs.push(their);
    }
    for (client, measured) in [("leasehold", &ours), ("baileys", &theirs)] {
        for (size, (bytes, cpu)) in sizes.iter().zip(measured) {
            report.row([
                json!(client),
                json!(size),
                json!(bytes / MIB),
                json!(cpu * 100.0),
            ]);
        }
    }
    report.count(&stage.counts().await?);
    if let ([(base, _), .., (bytes, cpu)], [.., (other_bytes, other_cpu)]) =
        (&ours[..], &theirs[..])
    {
        report.ratio("rss_by_baileys", *bytes, *other_bytes)?;
        report.ratio("mib_an_account", (bytes - base) / MIB, most as f64)?;
        report.ratio("idle_cpu_percent_a_hundred", cpu * 1e4, most as f64)?;
        // A Node process that does nothing may use less than the kernel counts.
        if *other_cpu > 0.0 {
            report.ratio("idle_cpu_by_baileys", *cpu, *other_cpu)?;
        }
    }
    Ok(report)
}

/// Memory in bytes, and processor time as a share of one core.
async fn idle(pid: i32, options: &Options) -> Result<(f64, f64)> {
    let cpu = process::cpu(pid)?;
    let time = options.size(IDLE, Duration::from_secs(3));
    tokio::time::sleep(time).await;
    let used = (process::cpu(pid)? - cpu).as_secs_f64();
    Ok((process::resident(pid)? as f64, used / time.as_secs_f64()))
}
