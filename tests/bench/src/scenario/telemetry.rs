//! What exporting traces and metrics costs while messages come in: three workers
//! alike, in turns, one that exports nothing, one that keeps a tenth of its
//! traces, one that keeps all.

use std::time::Duration;

use anyhow::{Result, ensure};
use collector::Collector;
use serde_json::json;

use crate::options::Options;
use crate::process;
use crate::report::Report;
use crate::stage::{Setting, Stage};
use crate::stats::{median, spread};

/// Twenty chats each, as for `inbound`.
const ACCOUNTS: usize = 4;
const CONTACTS: usize = 5;

/// Messages of each contact to each account in one turn.
const EACH: usize = 10;

/// The sides take turns so often in a round: the machine is not as fast all the
/// time, and a round has its share of all of it.
const TURNS: usize = 20;

/// For spans to be sent: they leave every five seconds.
const EXPORTED_AFTER: Duration = Duration::from_secs(6);

const COLUMNS: &[&str] = &["traces", "round", "messages", "a CPU second", "spans"];

/// How much of its traces a worker keeps.
#[derive(Debug, Clone, Copy)]
enum Kept {
    Nothing,
    Tenth,
    All,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "off",
            Self::Tenth => "a tenth",
            Self::All => "all",
        }
    }

    fn options(self, endpoint: &str) -> Vec<&str> {
        let share = match self {
            Self::Nothing => {
                return vec!["--traces-exporter", "none", "--metrics-exporter", "none"];
            }
            Self::Tenth => "0.1",
            Self::All => "1",
        };
        vec![
            "--otlp-endpoint",
            endpoint,
            "--traces-sampler",
            "parentbased_traceidratio",
            "--traces-sampler-arg",
            share,
        ]
    }
}

/// What a side has used and exported so far.
struct Counted {
    cpu: Duration,
    spans: usize,
}

/// A worker with its accounts, and what it did for a second of processor time.
struct Side {
    kept: Kept,
    stage: Stage,
    collector: Collector,
    per_cpu_second: Vec<f64>,
}

impl Side {
    async fn set(kept: Kept, options: &Options) -> Result<Self> {
        let collector = Collector::start().await?;
        let stage = Stage::set(&Setting {
            store: options.store()?,
            workers: &["alice"],
            capacity: ACCOUNTS,
            accounts: ACCOUNTS,
            contacts: CONTACTS,
            options: &kept.options(&collector.grpc()),
        })
        .await?;
        // Sessions begin with the first message.
        stage.phones_write(2).await?;
        Ok(Self {
            kept,
            stage,
            collector,
            per_cpu_second: Vec::new(),
        })
    }

    fn counted(&self) -> Result<Counted> {
        let worker = self.stage.cluster.process_id("alice")?;
        Ok(Counted {
            cpu: process::cpu(worker)?,
            spans: self.collector.spans().len(),
        })
    }

    /// What this side does for a second of processor time, by what another one
    /// does: the median over the rounds, which both share.
    fn by(&self, other: &Self) -> f64 {
        let rounds = self.per_cpu_second.iter().zip(&other.per_cpu_second);
        let ratios: Vec<f64> = rounds.map(|(this, other)| this / other).collect();
        median(&ratios).unwrap_or(f64::NAN)
    }
}

/// See the module.
///
/// # Errors
/// A message does not arrive, or a worker exports what it should not.
pub(super) async fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new(options.scenario, options.store()?, COLUMNS);
    let mut off = Side::set(Kept::Nothing, options).await?;
    let mut tenth = Side::set(Kept::Tenth, options).await?;
    let mut all = Side::set(Kept::All, options).await?;
    let turns = options.size(TURNS, 1);
    for round in 1..=options.rounds() {
        println!("round {round} ...");
        let mut sides = [&mut off, &mut tenth, &mut all];
        let before = sides.each_ref().map(|side| side.counted());
        let mut written = [0; 3];
        for _ in 0..turns {
            for (side, written) in sides.iter_mut().zip(&mut written) {
                *written += side.stage.phones_write(EACH).await?;
            }
        }
        tokio::time::sleep(EXPORTED_AFTER).await;
        for ((side, before), written) in sides.into_iter().zip(before).zip(written) {
            let (before, after) = (before?, side.counted()?);
            let used = (after.cpu - before.cpu).as_secs_f64();
            side.per_cpu_second.push(written as f64 / used);
            report.row([
                json!(side.kept.name()),
                json!(round),
                json!(written),
                json!(written as f64 / used),
                json!(after.spans - before.spans),
            ]);
        }
    }
    let spans = [&off, &tenth, &all].map(|side| side.collector.spans().len());
    ensure!(
        spans[0] == 0 && spans[1] < spans[2],
        "off, a tenth and all are {spans:?} spans"
    );
    for side in [&off, &tenth, &all] {
        report.count(&side.stage.counts().await?);
    }
    report.ratio("cpu_a_message_tenth_by_off", off.by(&tenth), 1.0)?;
    report.ratio("cpu_a_message_all_by_off", off.by(&all), 1.0)?;
    let rounds = &off.per_cpu_second;
    let third = rounds.len().div_ceil(3);
    let middle = |rounds: &[f64]| median(rounds).unwrap_or(f64::NAN);
    report.ratio(
        "last_third_by_first",
        middle(&rounds[rounds.len() - third..]),
        middle(&rounds[..third]),
    )?;
    let noise = [&off, &tenth, &all].map(|side| spread(&side.per_cpu_second).unwrap_or(f64::NAN));
    report.ratio("noise", noise.into_iter().fold(1.0, f64::max), 1.0)?;
    Ok(report)
}
