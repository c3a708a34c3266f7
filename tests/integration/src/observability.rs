//! Dashboards and alert rules speak of metrics that there are.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use harness::scene::{DELIVERY_LIMIT, Scene, play, until_stored};
use harness::wait::{self, Look};
use harness::worker::WorkerSetup;
use serde_json::Value;
use wa_sim::fault::Disconnect;

use crate::cluster::{owner_of, session_end, until_met, until_taken_over};

/// How the names begin that this program gives.
const OURS: [&str; 3] = ["leasehold_", "http_server_", "process_"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../k8s/observability")
}

/// Every `expr` of a dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member.as_str()) {
                    ("expr" | "definition", Some(text)) => found.push(text.to_owned()),
                    _ => expressions(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The metrics in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| OURS.iter().any(|ours| word.starts_with(ours)))
}

/// What dashboards and rules use, with where.
fn used() -> Result<BTreeSet<(String, String)>> {
    let mut used = BTreeSet::new();
    let mut note = |place: &str, expression: &str| {
        used.extend(names(expression).map(|name| (name.to_owned(), place.to_owned())));
    };
    for entry in std::fs::read_dir(folder().join("grafana/dashboards"))? {
        let path = entry?.path();
        let dashboard: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        let mut found = Vec::new();
        expressions(&dashboard, &mut found);
        let place = path.file_name().context("a file")?.to_string_lossy();
        found.iter().for_each(|text| note(&place, text));
    }
    let rules = std::fs::read_to_string(folder().join("prometheus/rules.yml"))?;
    let expressions = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr:"));
    expressions.for_each(|text| note("rules.yml", text));
    Ok(used)
}

/// The names of all series in a scrape.
fn series(scrape: &str) -> BTreeSet<String> {
    let lines = scrape.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect()
}

fn exporting(scene: &Scene, name: &str) -> Result<WorkerSetup> {
    Ok(scene.worker(name)?.with(&["--metrics-public"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_a_dashboard_or_rule_is_in_the_scrape_of_a_worker() -> Result<()> {
    let used = used()?;
    assert!(used.len() > 60, "they are found: {used:?}");
    play(async |scene| {
        let bob = exporting(scene, "bob")?.start().await?;
        let contact = scene.contact("Peer")?;
        let account = scene.link(bob.api(), "sales").await?;
        let alice = exporting(scene, "alice")?.start().await?;
        until_met(&[&alice, &bob]).await?;
        scene.mark_restart();
        let before = owner_of(alice.api(), &account.id).await?;
        let before = before.context("somebody owns the account")?;
        // A takeover has a failover time; a connection that ends has a reason.
        bob.kill().await?;
        let limit = session_end() + DELIVERY_LIMIT;
        let api = alice.api();
        until_taken_over(scene, api, &account, &before, limit).await?;
        scene.send(api, &account, &contact, "hello").await?;
        let answer = scene.write(&contact, &account, "answer")?;
        until_stored(api, &account, &answer.text, DELIVERY_LIMIT).await?;
        scene.settle(api, DELIVERY_LIMIT).await?;
        scene
            .sim()
            .disconnect(account.number(), None, Disconnect::Drop);
        wait::until("each metric is there", 2 * limit, async || {
            let scrape = api.get("/metrics").await?.expect(200)?.text();
            let there = series(&scrape);
            let missing: Vec<_> = used
                .iter()
                .filter(|(name, _)| !there.contains(name))
                .collect();
            let none = missing.is_empty().then_some(there.len());
            Ok(Look::some(none, format!("{missing:?}")))
        })
        .await?;
        Ok(())
    })
    .await
}

#[test]
fn every_alert_has_its_section_in_the_runbook() -> Result<()> {
    let rules = std::fs::read_to_string(folder().join("prometheus/rules.yml"))?;
    let runbook = std::fs::read_to_string(folder().join("README.md"))?;
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 6, "{alerts:?}");
    for alert in alerts {
        assert!(runbook.contains(&format!("\n### {alert}\n")), "{alert}");
        let link = format!(
            "runbook_url: k8s/observability/README.md#{}",
            alert.to_lowercase()
        );
        assert!(rules.contains(&link), "{link}");
    }
    Ok(())
}
