//! Runs seeds and says what they showed: `cargo run --release -p simulation`.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use clap::Parser;
use coordinator_lib::mutation::{self, Mutation};
use simulation::plan::{Theme, Work};
use simulation::report::Report;
use simulation::world::{self, Outcome};

/// Simulates clusters of workers on virtual time; one seed is one run.
#[derive(Debug, Parser)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,

    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,

    /// Run this one seed alone.
    #[arg(long)]
    seed: Option<u64>,

    /// Print the events of the one seed.
    #[arg(long, requires = "seed")]
    trace: bool,

    /// End with one line of JSON instead of tables.
    #[arg(long)]
    json: bool,

    /// Break this rule of the protocol.
    #[arg(long, value_parser = parse_mutation)]
    mutation: Option<Mutation>,

    /// Give every seed this theme, instead of its own.
    #[arg(long, value_parser = parse_theme)]
    theme: Option<Theme>,

    /// Work for accounts in this way in every seed: `worker` or `stand-in`.
    #[arg(long, value_parser = parse_work)]
    work: Option<Work>,

    /// Look at safety alone.
    #[arg(long)]
    safety: bool,

    /// Look at this check alone.
    #[arg(long)]
    check: Option<String>,

    /// Stop at the first seed with a violation.
    #[arg(long)]
    until_violation: bool,

    /// Threads; as many as there are cores if not given.
    #[arg(long)]
    threads: Option<usize>,
}

fn parse_mutation(name: &str) -> Result<Mutation, String> {
    Mutation::named(name).ok_or_else(|| {
        let names: Vec<&str> = Mutation::ALL.iter().map(|one| one.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

fn parse_theme(name: &str) -> Result<Theme, String> {
    Theme::named(name).ok_or_else(|| format!("one of {}", Theme::ALL.map(Theme::name).join(", ")))
}

fn parse_work(name: &str) -> Result<Work, String> {
    let work = Work::ALL.into_iter().find(|work| work.name() == name);
    work.ok_or_else(|| format!("one of {}", Work::ALL.map(Work::name).join(", ")))
}

fn main() -> anyhow::Result<ExitCode> {
    let mut options = Options::parse();
    if let Some(mutation) = options.mutation {
        mutation::plant(&[mutation]);
        // Rules are broken under the stand-in, unless that is asked for.
        options.work = options.work.or(Some(Work::StandIn));
    }
    let report = match options.seed {
        Some(seed) => {
            let mut report = Report::default();
            let outcome = run(&options, seed);
            writeln!(std::io::stdout(), "hash {:016x}", outcome.hash)?;
            report.add(outcome);
            report
        }
        None => run_all(&options)?,
    };
    if options.json {
        writeln!(std::io::stdout(), "{}", report.json())?;
    } else {
        write!(std::io::stdout(), "{}", report.text())?;
    }
    Ok(if report.violations() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run(options: &Options, seed: u64) -> Outcome {
    let mut outcome = world::run(seed, options.theme, options.work, options.trace);
    outcome.violations.retain(|violation| {
        (!options.safety || violation.is_safety())
            && options
                .check
                .as_ref()
                .is_none_or(|check| violation.check == check)
    });
    outcome
}

fn run_all(options: &Options) -> anyhow::Result<Report> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or(cores).max(1);
    let next = AtomicU64::new(options.first);
    let end = options.first.saturating_add(options.seeds);
    let is_over = AtomicBool::new(false);
    let (sender, outcomes) = mpsc::sync_channel(threads);
    let mut report = Report::default();
    thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            let (next, is_over) = (&next, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || sender.send(run(options, seed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in outcomes {
            report.add(outcome);
            if options.until_violation && report.violations() > 0 {
                is_over.store(true, Ordering::Relaxed);
            }
            if report.seeds().is_multiple_of(100) {
                writeln!(
                    std::io::stderr(),
                    "{} seeds, {} violations",
                    report.seeds(),
                    report.violations()
                )?;
            }
        }
        Ok(report)
    })
}
