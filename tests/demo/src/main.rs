//! The main job in one command: `cargo run --release -p demo`.
//!
//! A simulated WhatsApp runs in this process. Three real workers run beside it,
//! each in a process of its own, on one store: an embedded database in a
//! temporary folder, or the Firestore emulator. Twelve accounts are linked by
//! QR code and chat with phones while their workers are killed, stopped,
//! paused and joined by another. The closing table is counted from what phones,
//! clients and the simulated server saw and from the ownership history, not
//! from what the workers say of themselves; what each number means is in
//! `harness::ledger` and [`outcome`].
//!
//! It depends on no crate of the worker: it builds the worker's binary and
//! talks to it over HTTP, as a user does.
//!
//! | Module | Holds |
//! |---|---|
//! | [`options`] | the command line |
//! | [`stage`] | what an act finds: simulator, workers, linked accounts |
//! | [`watch`] | who owns what, shown whenever it changes |
//! | [`screen`] | where all of it is printed |
//! | [`acts`] | what happens to the workers |
//! | [`outcome`] | the counts and times, and whether they may be so |
//! | [`table`] | the closing table |

// The demo waits in real time for real processes.
#![allow(clippy::disallowed_methods, reason = "the demo's clock is the wall's")]

mod acts;
mod options;
mod outcome;
mod screen;
mod stage;
mod table;
mod watch;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use harness::scene::Scene;
use harness::wait::interruption;

use self::options::Options;
use self::outcome::Outcome;
use self::screen::Screen;
use self::stage::Stage;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the demo. True if everything is as it must be.
async fn run(options: &Options) -> Result<bool> {
    println!("Building the worker for the simulated WhatsApp (the first time takes minutes) ...");
    let binary = harness::build::worker_sim().await?;
    let mut scene = Scene::new().await?;
    let screen = Screen::new();
    // Whatever is dropped here half-way ends its processes.
    let played = tokio::select! {
        played = play(&scene, &screen, binary, options) => played,
        interrupted = interruption() => interrupted.and_then(|()| bail!("interrupted")),
    };
    let (stage, outcome) = match played {
        Ok(played) => played,
        Err(error) => {
            screen.clear();
            scene.keep_folder();
            bail!("{error:#}\nThe logs are in {}", scene.folder().display());
        }
    };
    table::print(&outcome);
    let logs = scene.check_logs();
    match &logs {
        Ok(()) => println!("The workers' logs have no ERROR line, and no text, number or key."),
        Err(error) => println!("Not as it must be: {error:#}"),
    }
    for fault in outcome.faults() {
        println!("Not as it must be: {fault}");
    }
    if options.keep {
        stage.explain();
        interruption().await?;
        println!("\nEnding ...");
    }
    let ended = stage.cluster.terminate_all().await;
    match &ended {
        Ok(()) => {}
        // Ctrl-C on a terminal reaches them too, and twice is at once.
        Err(_) if options.keep => {}
        Err(error) => {
            // The rest is the end of its log.
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            println!("Not as it must be, at the end: {first}");
        }
    }
    drop(stage);
    let is_good = logs.is_ok() && outcome.faults().is_empty() && (ended.is_ok() || options.keep);
    if !is_good {
        println!("The logs are in {}", scene.folder().display());
        scene.keep_folder();
    }
    if options.json {
        println!("{}", serde_json::to_string(&outcome)?);
    }
    Ok(is_good)
}

/// Sets the stage, plays all acts while everybody chats, and counts.
async fn play<'a>(
    scene: &'a Scene,
    screen: &'a Screen,
    binary: std::path::PathBuf,
    options: &Options,
) -> Result<(Stage<'a>, Outcome)> {
    let stage = Stage::set(scene, screen, binary, options).await?;
    let times = acts::play_all(&stage, options).await?;
    let outcome = Outcome::of(&stage, options, times).await?;
    Ok((stage, outcome))
}
