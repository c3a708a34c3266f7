//! `wa-sim`: the simulated WhatsApp as a program.
//!
//! Prints its two addresses as one line of JSON when it is ready, and runs
//! until it gets SIGINT or SIGTERM.

use std::{
    io::{self, Write as _, stdin, stdout},
    process::ExitCode,
};

use clap::Parser;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tracing_subscriber::EnvFilter;
use wa_sim::{Sim, SimConfig};

/// A simulated WhatsApp on the loopback interface, with phones and faults.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Port for clients; 0 is any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port for the admin API; 0 is any free one.
    #[arg(long, default_value_t = 0)]
    admin_port: u16,
    /// Exit when standard input ends: with whoever started this.
    #[arg(long)]
    exit_with_stdin: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wa-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let sim = Sim::start(SimConfig {
        port: args.port,
        admin_port: args.admin_port,
        ..SimConfig::default()
    })
    .await?;
    let ready = serde_json::json!({ "url": sim.url(), "admin": sim.admin_url() });
    writeln!(stdout(), "{ready}")?;

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        () = stdin_ended(), if args.exit_with_stdin => {}
    }
    sim.shutdown().await;
    Ok(())
}

/// Waits for the end of standard input. A thread of its own: a pending read
/// cannot be cancelled, and must not hold up the exit.
async fn stdin_ended() {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        // However it ends, there is nobody at the other side any more.
        let _ = io::copy(&mut stdin().lock(), &mut io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
}
