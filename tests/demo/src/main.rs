//! The main job in one command: `cargo run --release -p demo`.
//!
//! A simulated WhatsApp runs in this process. A real worker runs beside it, in
//! a process of its own, with the embedded store in a temporary folder. Three
//! accounts are linked by QR code, chat with three phones, and live through a
//! restart of their worker. The closing table is counted from what phones,
//! clients and the simulated server saw, not from what the worker says of
//! itself; what each number means is in `harness::ledger`.
//!
//! It depends on no crate of the worker: it builds the worker's binary and
//! talks to it over HTTP, as a user does.

mod build;
mod story;
mod table;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use harness::scene::Scene;

/// Shows the main job on this machine: pair, chat, restart, count.
#[derive(Debug, Clone, Copy, Parser)]
#[command(name = "demo")]
struct Options {
    /// Leave everything running afterwards, to be tried by hand
    #[arg(long)]
    keep: bool,
    /// Print the closing table as one JSON object on the last line
    #[arg(long)]
    json: bool,
    /// Messages that each phone and each account writes in each conversation
    #[arg(long, value_name = "COUNT", default_value_t = 12, value_parser = clap::value_parser!(u32).range(3..=1000))]
    messages: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = tokio::select! {
        outcome = run(options) => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the demo. True if every count that must be 0 is 0.
async fn run(options: Options) -> Result<bool> {
    println!("Building the worker for the simulated WhatsApp (the first time takes minutes) ...");
    let binary = build::worker_sim().await?;
    let mut scene = Scene::new().await?;
    let story = match story::play(&scene, binary, options.messages).await {
        Ok(story) => story,
        Err(error) => {
            scene.keep_folder();
            bail!("{error:#}\nThe logs are in {}", scene.folder().display());
        }
    };
    let logs = scene.check();
    table::print(&story.counts);
    match &logs {
        Ok(()) => println!("The worker's log has no ERROR line, and no text, number or key in it."),
        Err(error) => println!("Not as it must be: {error:#}"),
    }
    if options.keep {
        story::explain(&scene, &story);
        // Ctrl-C reaches the worker too, if it came from a terminal.
        tokio::signal::ctrl_c().await?;
        println!("\nEnding ...");
    }
    // After Ctrl-C it may have ended by itself.
    let _ = story.worker.terminate().await;
    if options.json {
        println!("{}", serde_json::to_string(&story.counts)?);
    }
    Ok(logs.is_ok() && story.counts.faults().is_empty())
}
