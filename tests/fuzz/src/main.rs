//! `fuzz TARGET --minutes N`: feeds one target for that long. What fails names
//! its seed; `--seed` begins there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use coordinator_lib::clock::{Clock as _, SystemClock};

/// Feeds a parser with broken files.
#[derive(Debug, Parser)]
struct Options {
    /// baileys, sources, keyrings or sessions
    target: String,
    /// How long
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let end = SystemClock.boottime() + Duration::from_secs(options.minutes * 60);
    let present = Arc::new(AtomicU64::new(options.seed));
    let shown = Arc::clone(&present);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("--seed {}", shown.load(Ordering::Relaxed));
        before(panic);
    }));
    let seeds = (options.seed..)
        .inspect(|seed| present.store(*seed, Ordering::Relaxed))
        .take_while(|_| SystemClock.boottime() < end);
    let rounds = fuzz::targets::run(&options.target, seeds).await?;
    println!("{}: {rounds} rounds, nothing found", options.target);
    Ok(())
}
