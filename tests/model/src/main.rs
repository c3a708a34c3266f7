//! Runs the larger configurations and prints what they show:
//! `cargo run --release -p model`.

use std::io::{Write, stdout};
use std::thread::available_parallelism;
use std::time::Duration;

use clap::Parser;
use model::check::{exhaust, shortest_counterexample};
use model::config::{Config, LARGER};
use model::mutation::Mutation;
use model::report;

/// Checks the lease protocol: that its rules are safe, and that each is needed.
#[derive(Debug, Parser)]
struct Options {
    /// Print the counterexample of one mutation, step by step, and nothing else.
    #[arg(long, value_name = "MUTATION")]
    trace: Option<Mutation>,

    /// How long one configuration may take, in seconds; it says if it was not
    /// enough.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    limit: u64,

    /// Name every other invariant too that each mutation breaks; takes minutes.
    #[arg(long)]
    also: bool,

    /// Threads for the configurations. Counterexamples are looked for with one,
    /// so that they are the shortest.
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(mutation) = options.trace {
        return trace(mutation);
    }
    let threads = options
        .threads
        .unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
    let limit = Duration::from_secs(options.limit);

    writeln!(stdout(), "Unbroken: no invariant may fail.\n")?;
    let mut failed = 0;
    for (name, config) in LARGER {
        let outcome = exhaust(config, threads, limit);
        failed += outcome.broken.len();
        writeln!(stdout(), "{}", report::run(name, &outcome))?;
    }

    writeln!(
        stdout(),
        "\nBroken on purpose: the named invariant has to fail.\n"
    )?;
    for mutation in Mutation::ALL {
        let found = shortest_counterexample(mutation.config(), mutation.caught_by());
        failed += usize::from(found.is_none());
        let also = if options.also {
            exhaust(mutation.config(), threads, limit).broken
        } else {
            Vec::new()
        };
        writeln!(
            stdout(),
            "{}",
            report::mutation(mutation, found.as_ref(), &also)
        )?;
    }
    anyhow::ensure!(failed == 0, "{failed} of the expectations do not hold");
    Ok(())
}

fn trace(mutation: Mutation) -> anyhow::Result<()> {
    let config: Config = mutation.config();
    match shortest_counterexample(config, mutation.caught_by()) {
        Some(found) => write!(stdout(), "{}", report::trace(&config, &found))?,
        None => anyhow::bail!(
            "{mutation} is not caught by {}",
            mutation.caught_by().name()
        ),
    }
    Ok(())
}
