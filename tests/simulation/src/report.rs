//! What many runs showed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kinds;
use crate::world::Outcome;

/// Seeds with violations that are printed.
const FAILED_MAX: usize = 20;

/// The sum of many runs.
pub struct Report {
    seeds: u64,
    violations: u64,
    failed: Vec<Outcome>,
    checks: BTreeMap<&'static str, (u64, u64)>,
    faults: BTreeMap<String, u64>,
    transitions: BTreeMap<String, u64>,
    sizes: BTreeMap<&'static str, u64>,
    themes: BTreeMap<&'static str, u64>,
    works: BTreeMap<&'static str, u64>,
    messages: u64,
    virtual_time: Duration,
    owned_after_max: Duration,
    even_after_max: Duration,
    closest: Option<Duration>,
}

impl Default for Report {
    fn default() -> Self {
        let none = |kinds: &[&str]| {
            let counts = kinds.iter().map(|kind| ((*kind).to_owned(), 0));
            counts.collect()
        };
        Self {
            seeds: 0,
            violations: 0,
            failed: Vec::new(),
            checks: BTreeMap::new(),
            faults: none(&kinds::FAULTS),
            transitions: none(&kinds::TRANSITIONS),
            sizes: BTreeMap::new(),
            themes: BTreeMap::new(),
            works: BTreeMap::new(),
            messages: 0,
            virtual_time: Duration::ZERO,
            owned_after_max: Duration::ZERO,
            even_after_max: Duration::ZERO,
            closest: None,
        }
    }
}

impl Report {
    /// Takes in a run.
    pub fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.violations += outcome.violations.len() as u64;
        self.messages += outcome.messages;
        self.virtual_time += outcome.time;
        let longer = |max: &mut Duration, one: Option<Duration>| {
            *max = (*max).max(one.unwrap_or_default());
        };
        longer(&mut self.owned_after_max, outcome.owned_after);
        longer(&mut self.even_after_max, outcome.even_after);
        self.closest = self.closest.into_iter().chain(outcome.closest).min();
        for (kind, count) in &outcome.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
        }
        for (kind, count) in &outcome.transitions {
            *self.transitions.entry(kind.clone()).or_default() += count;
        }
        *self.sizes.entry(size(outcome.workers)).or_default() += 1;
        *self.themes.entry(outcome.theme).or_default() += 1;
        *self.works.entry(outcome.work).or_default() += 1;
        for violation in &outcome.violations {
            let (first, count) = self
                .checks
                .entry(violation.check)
                .or_insert((outcome.seed, 0));
            *first = (*first).min(outcome.seed);
            *count += 1;
        }
        if !outcome.violations.is_empty() {
            self.failed.push(outcome);
            self.failed.sort_by_key(|outcome| outcome.seed);
            self.failed.truncate(FAILED_MAX);
        }
    }

    /// How often something did not hold.
    pub fn violations(&self) -> u64 {
        self.violations
    }

    /// Seeds so far.
    pub fn seeds(&self) -> u64 {
        self.seeds
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, counts) in [("faults", &self.faults), ("transitions", &self.transitions)] {
            let _ = writeln!(text, "\n{name}");
            for (kind, count) in counts {
                let _ = writeln!(text, "{count:>12}  {kind}");
            }
        }
        for (name, counts) in [
            ("workers", &self.sizes),
            ("themes", &self.themes),
            ("work", &self.works),
        ] {
            let _ = writeln!(text, "\nseeds by {name}");
            for (kind, count) in counts {
                let _ = writeln!(text, "{count:>12}  {kind}");
            }
        }
        let _ = writeln!(
            text,
            "\n{} messages in {:.0} hours; all owned after at most {} s, evenly {} s later",
            self.messages,
            self.virtual_time.as_secs_f64() / 3_600.0,
            self.owned_after_max.as_secs(),
            self.even_after_max.as_secs(),
        );
        if let Some(closest) = self.closest {
            let seconds = closest.as_secs_f64();
            let _ = writeln!(
                text,
                "between two owners, on the wire, at least {seconds:.3} s"
            );
        }
        for outcome in &self.failed {
            let _ = writeln!(
                text,
                "\nseed {} ({}, {}, {} workers, {} accounts)",
                outcome.seed, outcome.theme, outcome.work, outcome.workers, outcome.accounts
            );
            for violation in outcome.violations.iter().take(3) {
                let _ = writeln!(text, "  {violation}");
            }
        }
        for (check, (first, count)) in &self.checks {
            let _ = writeln!(text, "{count:>12}  {check}, first in seed {first}");
        }
        let _ = writeln!(
            text,
            "\n{} seeds, {} violations",
            self.seeds, self.violations
        );
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let checks: BTreeMap<&str, Value> = self
            .checks
            .iter()
            .map(|(check, (first, count))| (*check, json!({"count": count, "firstSeed": first})))
            .collect();
        let failed: Vec<u64> = self.failed.iter().map(|outcome| outcome.seed).collect();
        json!({
            "seeds": self.seeds,
            "violations": self.violations,
            "faults": self.faults,
            "transitions": self.transitions,
            "workers": self.sizes,
            "themes": self.themes,
            "work": self.works,
            "messages": self.messages,
            "virtualHours": self.virtual_time.as_secs() / 3_600,
            "checks": checks,
            "failedSeeds": failed,
        })
    }
}

fn size(workers: u32) -> &'static str {
    match workers {
        ..6 => "2 to 5",
        6..20 => "6 to 19",
        20..100 => "20 to 99",
        100.. => "100",
    }
}
