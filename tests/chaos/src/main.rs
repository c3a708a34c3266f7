//! Real workers, real sockets, a real store, and everything that can go wrong:
//! `cargo run --release -p chaos -- --minutes 20`.
//!
//! The simulation of `tests/simulation` proves the rules; this proves the
//! program. Worker processes run on one store, accounts chat with phones of the
//! simulated WhatsApp in this process all the time, and a schedule that follows
//! from a seed kills, stops and starts workers, cuts and slows their links to
//! the store and to WhatsApp, holds up the store, fills its disk, and lets the
//! server misbehave. Then all is mended, and what phones, clients and the server
//! saw is counted, as in the demo.
//!
//! | Module | Holds |
//! |---|---|
//! | [`options`] | the command line |
//! | [`plan`] | what happens when, from a seed; pure |
//! | [`stage`] | what is there: workers, links, accounts, phones |
//! | [`proxy`] | a worker's link to the store or to WhatsApp, which can be cut |
//! | [`disk`] | the embedded store's disk, which can be full |
//! | [`faults`] | makes things happen, and mends them |
//! | [`watch`] | how long nobody owned an account |
//! | [`report`] | the counts, and whether they may be so |

// It waits in real time for real processes.
#![allow(clippy::disallowed_methods, reason = "chaos happens in real time")]

mod disk;
mod faults;
mod options;
mod plan;
mod proxy;
mod report;
mod stage;
mod watch;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use harness::chat::{Chat, ChatParts};
use harness::scene::Scene;
use harness::wait::interruption;

use self::faults::Faults;
use self::options::Options;
use self::plan::Plan;
use self::report::Report;
use self::stage::Stage;
use self::watch::Watch;

fn main() -> ExitCode {
    let options = Options::parse();
    // A disk that can be full is a mount of this process's own.
    if let Some(code) = disk::in_own_mounts(&options) {
        return code;
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the plan. True if everything is as it must be.
async fn run(options: &Options) -> Result<bool> {
    let plan = Plan::new(&options.setting(), options.seed);
    if options.plan {
        print!("{plan}");
        return Ok(true);
    }
    println!("Building the worker for the simulated WhatsApp (the first time takes minutes) ...");
    let binary = harness::build::worker_sim().await?;
    let mut scene = Scene::new().await?;
    let played = tokio::select! {
        played = play(&scene, binary, options, &plan) => played,
        interrupted = interruption() => interrupted.and_then(|()| bail!("interrupted")),
    };
    let report = match played {
        Ok(report) => report,
        Err(error) => {
            scene.keep_folder();
            bail!("{error:#}\nThe logs are in {}", scene.folder().display());
        }
    };
    report.print();
    let faults = report.faults();
    for fault in &faults {
        println!("Not as it must be: {fault}");
    }
    if !faults.is_empty() {
        println!("The logs are in {}", scene.folder().display());
        scene.keep_folder();
    }
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(faults.is_empty())
}

/// Sets the stage, lets everything happen while everybody chats, mends all, and
/// counts.
async fn play(
    scene: &Scene,
    binary: std::path::PathBuf,
    options: &Options,
    plan: &Plan,
) -> Result<Report> {
    let stage = Stage::set(scene, binary, options).await?;
    let api = stage.cluster.api();
    scene.mark_restart();
    let chat = Chat::new(ChatParts {
        scene,
        api: &api,
        accounts: &stage.accounts,
        contacts: &stage.contacts,
        messages_min: 1,
        pace: options.pace(),
        accept_limit: options.accept_limit(),
    });
    let watch = Watch::new(&stage);
    let faults = Faults::new(&stage);
    let happen = async {
        let happened = faults.play(plan).await;
        let mended = faults.mend().await;
        chat.let_end();
        happened.and(mended)
    };
    tokio::select! {
        done = async { tokio::try_join!(happen, chat.run()) } => { done?; }
        never = watch.run() => match never {},
    }
    println!("All is mended; waiting until everything has arrived ...");
    let report = Report::of(&stage, options, &faults, &watch).await?;
    // A worker that does not end in an orderly way is in its log.
    if let Err(error) = stage.cluster.terminate_all().await {
        println!("at the end: {error:#}");
    }
    Ok(report)
}
