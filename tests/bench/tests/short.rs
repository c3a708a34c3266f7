//! Every scenario, in short: that it runs to its end, measures each of its
//! ratios, and loses nothing. Counts, not times: those mean nothing here.

use std::process::Command;

use anyhow::{Context, Result};
use harness::binary::{self, BINARY_VARIABLE};
use serde_json::Value;

/// Runs a scenario and yields the object of its last line.
fn smoke(scenario: &str, ratios: &[&str]) -> Result<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args([scenario, "--smoke", "--json"])
        .env(BINARY_VARIABLE, binary::worker_sim()?)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let shown = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}");
    let report: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    assert_eq!(report["scenario"], scenario);
    for count in ["lost", "duplicated", "violations"] {
        assert_eq!(report[count], 0, "{count}: {shown}");
    }
    for ratio in ratios {
        assert!(report["ratios"][ratio].is_number(), "{ratio}: {shown}");
    }
    let rows = report["rows"].as_array().context("a table")?;
    assert!(!rows.is_empty(), "{shown}");
    Ok(report)
}

fn ratio(report: &Value, name: &str) -> f64 {
    report["ratios"][name].as_f64().unwrap_or(f64::INFINITY)
}

#[test]
fn failover() -> Result<()> {
    smoke(
        "failover",
        &[
            "sigkill_p50_by_ttl",
            "sigkill_p99_by_ttl",
            "sigterm_disconnected_p99_by_2_s",
            "sigterm_unowned_p99_by_1_s",
        ],
    )
    .map(drop)
}

#[test]
fn steady() -> Result<()> {
    let report = smoke(
        "steady",
        &["writes_by_naive_at_18", "writes_by_naive_at_200"],
    )?;
    // Virtual time: the same on every machine.
    assert!(ratio(&report, "writes_by_naive_at_18") < 0.125);
    Ok(())
}

#[test]
fn inbound() -> Result<()> {
    let report = smoke(
        "inbound",
        &[
            "commits_a_message_alone",
            "commits_a_message_in_bursts",
            "noise",
            "per_cpu_second_by_baileys",
        ],
    )?;
    // The message, and the flush of its session.
    assert!(ratio(&report, "commits_a_message_alone") < 3.5);
    Ok(())
}

#[test]
fn outbound() -> Result<()> {
    smoke(
        "outbound",
        &[
            "per_cpu_second_by_baileys",
            "post_to_wire_p50_by_commit",
            "post_to_wire_p50_ms",
            "post_to_wire_p99_ms",
        ],
    )
    .map(drop)
}

#[test]
fn density() -> Result<()> {
    smoke(
        "density",
        &[
            "idle_cpu_percent_a_hundred",
            "mib_an_account",
            "rss_by_baileys",
        ],
    )
    .map(drop)
}

#[test]
fn takeover() -> Result<()> {
    let report = smoke("takeover", &["store_reads", "takeover_by_warm_reconnect"])?;
    assert!(ratio(&report, "store_reads") <= 40.0);
    Ok(())
}

#[test]
fn telemetry() -> Result<()> {
    smoke(
        "telemetry",
        &[
            "cpu_a_message_all_by_off",
            "cpu_a_message_tenth_by_off",
            "last_third_by_first",
            "noise",
        ],
    )
    .map(drop)
}

#[test]
fn scale() -> Result<()> {
    let report = smoke(
        "scale",
        &[
            "all_owned_by_60_s",
            "conflicts_by_claims",
            "imbalance",
            "operations_when_doubled",
        ],
    )?;
    assert!(ratio(&report, "imbalance") <= 1.0);
    assert!(ratio(&report, "conflicts_by_claims") <= 0.02);
    Ok(())
}
