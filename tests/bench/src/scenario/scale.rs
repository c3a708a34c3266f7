//! Many accounts on many workers, from a cold start, and twice as many.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::fleet::{Fleet, on_virtual_time};
use crate::options::Options;
use crate::report::Report;

/// Accounts of a worker, once they are shared out.
const EACH: usize = 100;

/// Accounts that it owns at most.
const CAPACITY: u32 = 120;

/// Is counted once all is quiet.
const QUIET: Duration = Duration::from_secs(600);

/// For all accounts to be owned, and to be shared out.
const LIMIT: Duration = Duration::from_secs(1_200);

const COLUMNS: &[&str] = &[
    "workers",
    "accounts",
    "all owned after s",
    "even after s",
    "imbalance",
    "lost races",
    "operations a worker, minute",
];

struct Scaled {
    owned_s: f64,
    even_s: f64,
    imbalance: usize,
    rejected: u64,
    operations: f64,
}

/// See the module.
///
/// # Errors
/// Accounts are not all owned, or not shared out.
pub(super) async fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new(options.scenario, options.store()?, COLUMNS);
    let small = options.size(50, 5);
    let mut measured = Vec::new();
    for workers in [small, 2 * small] {
        println!("{workers} workers, {} accounts ...", workers * EACH);
        let scaled = on_virtual_time(async move || grown(workers).await)?;
        report.row([
            json!(workers),
            json!(workers * EACH),
            json!(scaled.owned_s),
            json!(scaled.even_s),
            json!(scaled.imbalance),
            json!(scaled.rejected),
            json!(scaled.operations),
        ]);
        measured.push((workers, scaled));
    }
    if let [(_, half), (workers, whole)] = &measured[..] {
        report.ratio("all_owned_by_60_s", whole.owned_s, 60.0)?;
        report.ratio("imbalance", whole.imbalance as f64, 1.0)?;
        let accounts = (workers * EACH) as f64;
        report.ratio("conflicts_by_claims", whole.rejected as f64, accounts)?;
        report.ratio("operations_when_doubled", whole.operations, half.operations)?;
    }
    Ok(report)
}

async fn grown(workers: usize) -> Result<Scaled> {
    let mut fleet = Fleet::new(workers * EACH).await?;
    fleet.start(workers, CAPACITY).await?;
    let owned = fleet.until_owned(LIMIT).await?;
    let even = fleet.until_even(LIMIT).await?;
    let rejected = fleet.billed().rejected;
    let idle = fleet.idle(QUIET).await;
    let minutes = QUIET.as_secs_f64() / 60.0;
    Ok(Scaled {
        owned_s: owned.as_secs_f64(),
        even_s: (owned + even).as_secs_f64(),
        imbalance: fleet.imbalance(),
        rejected,
        operations: (idle.writes + idle.reads) as f64 / minutes / workers as f64,
    })
}
