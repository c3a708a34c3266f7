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

    async fn measure(&mut self, round: u32, each: usize, report: &mut Report) -> Result<()> {
        let worker = self.stage.cluster.process_id("alice")?;
        let (cpu, spans) = (process::cpu(worker)?, self.collector.spans().len());
        let count = self.stage.phones_write(each).await? as f64;
        tokio::time::sleep(EXPORTED_AFTER).await;
        let used = (process::cpu(worker)? - cpu).as_secs_f64();
        let spans = self.collector.spans().len() - spans;
        self.per_cpu_second.push(count / used);
        report.row([
            json!(self.kept.name()),
            json!(round),
            json!(count),
            json!(count / used),
            json!(spans),
        ]);
        Ok(())
    }

    fn median(&self) -> f64 {
        median(&self.per_cpu_second).unwrap_or(f64::NAN)
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
    let each = options.size(300, 5);
    for round in 1..=options.rounds() {
        println!("round {round} ...");
        let mut sides = [&mut off, &mut tenth, &mut all];
        // Whoever is first has the machine at its warmest or coldest.
        sides.rotate_left(round as usize % 3);
        for side in sides {
            side.measure(round, each, &mut report).await?;
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
    report.ratio("cpu_a_message_tenth_by_off", off.median(), tenth.median())?;
    report.ratio("cpu_a_message_all_by_off", off.median(), all.median())?;
    let noise = [&off, &tenth, &all].map(|side| spread(&side.per_cpu_second).unwrap_or(f64::NAN));
    report.ratio("noise", noise.into_iter().fold(1.0, f64::max), 1.0)?;
    Ok(report)
}
