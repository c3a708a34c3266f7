//! What accounts cost that are only held: our leases, and one lease an account
//! as everybody writes it first, with the same time to a failover.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use coordinator_lib::store::{Fields, Path, Precondition, Store, Value, Write};
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::fleet::{Billed, Fleet, on_virtual_time};
use crate::options::Options;
use crate::report::Report;

/// What a naive lease lasts; it is renewed three times as often.
const NAIVE_TTL: Duration = Duration::from_secs(10);

const HOUR: Duration = Duration::from_secs(3_600);

/// For accounts to be shared out.
const LIMIT: Duration = Duration::from_secs(900);

const WORKERS: usize = 3;

const COLUMNS: &[&str] = &[
    "leases",
    "accounts a worker",
    "writes a worker, hour",
    "writes an account, hour",
    "reads a worker, hour",
];

/// See the module.
///
/// # Errors
/// Accounts are not shared out.
pub(super) async fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new(options.scenario, options.store()?, COLUMNS);
    for (each, ratio) in [
        (18, "writes_by_naive_at_18"),
        (options.size(200, 40), "writes_by_naive_at_200"),
    ] {
        let (ours, naive) = on_virtual_time(async move || {
            let capacity = u32::try_from(2 * each)?;
            let mut fleet = Fleet::new(WORKERS * each).await?;
            fleet.start(WORKERS, capacity).await?;
            fleet.until_even(LIMIT).await?;
            // Last moves.
            tokio::time::sleep(Duration::from_secs(120)).await;
            let ours = fleet.idle(HOUR).await;

            let naive = Fleet::new(WORKERS * each).await?;
            let tracker = TaskTracker::new();
            for number in 0..WORKERS * each {
                tracker.spawn(renew(Arc::clone(&naive.store), number));
            }
            Ok((ours, naive.idle(HOUR).await))
        })?;
        for (name, billed) in [("ours", ours), ("naive", naive)] {
            let Billed { writes, reads, .. } = billed;
            report.row([
                json!(name),
                json!(each),
                json!(writes as f64 / WORKERS as f64),
                json!(writes as f64 / (WORKERS * each) as f64),
                json!(reads as f64 / WORKERS as f64),
            ]);
        }
        report.ratio(ratio, ours.writes as f64, naive.writes as f64)?;
    }
    Ok(report)
}

/// An account's own lease, renewed for ever.
async fn renew(store: Store, number: usize) {
    let path = Path::new(&format!("leases/account-{number:05}")).expect("a short name");
    for count in 0i64.. {
        let renewal = Write::Set {
            path: path.clone(),
            fields: Fields::from([("renewed".to_owned(), Value::from(count))]),
            precondition: Precondition::None,
        };
        if store.commit(vec![renewal]).await.is_err() {
            return;
        }
        tokio::time::sleep(NAIVE_TTL / 3).await;
    }
}
