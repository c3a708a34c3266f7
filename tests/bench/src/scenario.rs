//! What is measured.

use anyhow::Result;

use crate::options::{Options, Scenario};
use crate::report::Report;

mod density;
mod failover;
mod inbound;
mod outbound;
mod scale;
mod steady;
mod takeover;
mod telemetry;

/// Runs what was asked for.
///
/// # Errors
/// Something did not start, or did not happen in time.
pub(crate) async fn run(options: &Options) -> Result<Report> {
    match options.scenario {
        Scenario::Failover => failover::run(options).await,
        Scenario::Steady => steady::run(options).await,
        Scenario::Inbound => inbound::run(options).await,
        Scenario::Outbound => outbound::run(options).await,
        Scenario::Density => density::run(options).await,
        Scenario::Takeover => takeover::run(options).await,
        Scenario::Scale => scale::run(options).await,
        Scenario::Telemetry => telemetry::run(options).await,
    }
}
