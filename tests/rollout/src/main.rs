//! What a Deployment does to workers, for real but without Kubernetes:
//! `cargo run --release -p rollout`.
//!
//! Worker processes on this machine are the pods. They are started, probed, taken
//! out of the service, told to end and killed as Kubernetes does it, with the
//! numbers of the rendered manifest (`k8s/rendered/production.yaml`): surge, time
//! to be available, readiness probe, the hook before SIGTERM, the grace period.
//! Clients reach them through one address, as through a Service, and chat with
//! phones all the time. A roll-out, scaling, two nodes lost at once and a pod that
//! hangs in its drain are played; then it is counted what phones, clients and the
//! server saw.
//!
//! As root, each pod has a network of its own, so that a lost node is one that nothing
//! is heard of any more ([`network`]); otherwise, and with `--network loopback`, they
//! share the machine's.
//!
//! | Module | Holds |
//! |---|---|
//! | [`options`] | the command line |
//! | [`manifest`] | the numbers, from the rendered YAML |
//! | [`network`] | a network for each pod |
//! | [`service`] | the one address, and the ready pods behind it |
//! | [`pod`] | one worker process, from its start to its end |
//! | [`deployment`] | the pods, and what a ReplicaSet does with them |
//! | [`stage`] | what is there: pods, accounts, phones |
//! | [`acts`] | what happens |
//! | [`watch`] | how long nobody owned an account |
//! | [`report`] | the counts, and whether they may be so |
//! | [`fixture`] | a store as an earlier version leaves it |

// It waits in real time for real processes.
#![allow(clippy::disallowed_methods, reason = "pods live in real time")]

mod acts;
mod deployment;
mod fixture;
mod manifest;
mod network;
mod options;
mod pod;
mod report;
mod service;
mod stage;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use harness::chat::{Chat, ChatParts};
use harness::scene::Scene;
use harness::wait::interruption;
use tokio::runtime::Runtime;

use self::manifest::Manifest;
use self::network::Network;
use self::options::Options;
use self::report::Report;
use self::stage::Stage;
use self::watch::Watch;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Builds in the machine's network, and plays in the chosen one, which all threads that
/// come after are in.
fn run(options: &Options) -> Result<bool> {
    let manifest = Manifest::read(&options.manifest)?;
    println!("{manifest}");
    println!("Building the worker for the simulated WhatsApp (the first time takes minutes) ...");
    let binary = Runtime::new()?.block_on(harness::build::worker_sim())?;
    let network = Network::enter(options.network)?;
    Runtime::new()?.block_on(stand(binary, options, &manifest, &network))
}

/// Plays all acts. True if everything is as it must be.
async fn stand(
    binary: PathBuf,
    options: &Options,
    manifest: &Manifest,
    network: &Network,
) -> Result<bool> {
    let mut scene = Scene::at(network.outside()).await?;
    if let Some(folder) = &options.write_fixture {
        let from = options.from.clone().unwrap_or(binary);
        return fixture::write(&scene, from, folder).await.map(|()| true);
    }
    let played = tokio::select! {
        played = play(&scene, binary, options, manifest, network) => played,
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

/// Sets the stage, plays the acts while everybody chats, and counts.
async fn play(
    scene: &Scene,
    binary: PathBuf,
    options: &Options,
    manifest: &Manifest,
    network: &Network,
) -> Result<Report> {
    let stage = Stage::set(scene, binary, options, manifest, network).await?;
    scene.mark_restart();
    let api = stage.api();
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
    let acts = async {
        let played = acts::play_all(&stage, &watch, options).await;
        chat.let_end();
        played
    };
    let acts = tokio::select! {
        done = async { tokio::try_join!(acts, chat.run()) } => done?.0,
        never = watch.run() => match never {},
    };
    println!("Waiting until everything has arrived ...");
    let report = Report::of(&stage, options, acts, &watch).await?;
    stage.deployment.delete_all().await?;
    Ok(report)
}
