//! Who owns what, shown whenever it changes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use harness::chat::Chat;

use crate::stage::{Owned, Stage};

/// How often the workers are asked.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Looks for ever.
pub(crate) async fn watch(stage: &Stage<'_>, chat: &Chat<'_>) -> Infallible {
    let mut pace = tokio::time::interval(LOOK_INTERVAL);
    loop {
        pace.tick().await;
        // In the middle of an act nobody may answer: the next look will tell.
        if let Ok(owners) = stage.owners().await {
            let more = format!("{} written", chat.written());
            stage.screen.show(&line(stage, &owners), &more);
        }
    }
}

/// `alice ABCD · bob EF gh · carol (paused) – · nobody IJ`: the initials of each
/// worker's accounts, in small letters those that are not connected.
pub(crate) fn line(stage: &Stage<'_>, owners: &[Owned]) -> String {
    let mut workers: BTreeMap<String, String> = BTreeMap::new();
    for name in stage
        .cluster
        .running()
        .into_iter()
        .chain(stage.cluster.paused())
    {
        workers.insert(name, String::new());
    }
    let mut unowned = String::new();
    for owned in owners {
        let initial = match owned.status.as_str() {
            "connected" => owned.initial,
            _ => owned.initial.to_ascii_lowercase(),
        };
        match &owned.worker {
            Some(name) => workers.entry(name.clone()).or_default().push(initial),
            None => unowned.push(initial),
        }
    }
    let (running, paused) = (stage.cluster.running(), stage.cluster.paused());
    let mut parts: Vec<String> = workers
        .into_iter()
        .map(|(name, initials)| {
            let mark = if paused.contains(&name) {
                " (paused)"
            } else if running.contains(&name) {
                ""
            } else {
                " (gone)"
            };
            let initials = if initials.is_empty() {
                "–"
            } else {
                &initials
            };
            format!("{name}{mark} {initials}")
        })
        .collect();
    if !unowned.is_empty() {
        parts.push(format!("nobody {unowned}"));
    }
    parts.join(" · ")
}
