//! `worker serve`: builds the worker, waits, drains.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use coordinator_lib::rng::SystemRng;
use serde_json::json;

use crate::app::{self, Access, App};
use crate::config::duration::format_duration;
use crate::config::{Config, LogFormat};
use crate::exit::{self, Failure};
use crate::shutdown::EndSignals;
use crate::telemetry;

/// Serves until a signal ends it.
pub(super) fn run(mut config: Config) -> Result<ExitCode, Failure> {
    config
        .validate(whatsapp::SIMULATION)
        .map_err(|error| Failure::new(exit::CONFIG, error))?;
    // Traces and the worker's documents name it alike.
    let name = app::worker_name(&config, SystemRng::shared().as_ref());
    let telemetry = telemetry::install(&config.log, &config.telemetry, &name)
        .map_err(|error| Failure::new(exit::CONFIG, error))?;
    config.worker.worker_id = Some(name);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("worker")
        .build()
        .map_err(|error| Failure::new(1, format!("no runtime: {error}")))?;
    let ended = runtime.block_on(serve(config));
    // First whatever still runs, so that its spans have ended.
    drop(runtime);
    telemetry.end();
    ended
}

async fn serve(config: Config) -> Result<ExitCode, Failure> {
    let mut signals =
        EndSignals::catch().map_err(|error| Failure::new(1, format!("no signals: {error}")))?;
    let format = config.log.log_format;
    let grace = config.worker.drain_limit();
    let app = tokio::select! {
        biased;
        signal = signals.next() => return Ok(ExitCode::from(signal.exit_code())),
        app = App::start(config) => app?,
    };
    announce(&app, format);
    let signal = signals.next().await;
    tracing::info!(%signal, grace = %format_duration(grace), "draining; a second signal ends at once");
    tokio::select! {
        biased;
        second = signals.next() => {
            eprintln!("error: {second} again: ended before the drain was done");
            // Tasks that hang would keep the runtime from ending.
            std::process::exit(i32::from(second.exit_code()));
        }
        drained = app.drain(grace) => match drained {
            Ok(()) => {
                tracing::info!("drained");
                Ok(ExitCode::SUCCESS)
            }
            Err(failure) => Err(failure),
        },
    }
}

/// Says where the worker is: a few lines for people, or one line of JSON.
fn announce(app: &App, format: LogFormat) {
    let text = match format {
        LogFormat::Json => {
            let line = json!({
                "event": "listening",
                "addr": app.address().to_string(),
                "pid": std::process::id(),
                "workerId": app.info().worker_name,
                "simulation": whatsapp::SIMULATION,
            });
            format!("{line}\n")
        }
        LogFormat::Pretty => greeting(app),
    };
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "standard output is closed");
    }
}

fn greeting(app: &App) -> String {
    let base = format!("http://{}", app.address());
    let info = app.info();
    let api_option = if app.address().port() == 8080 {
        String::new()
    } else {
        format!(" --api {base}")
    };
    let program = if whatsapp::SIMULATION {
        "worker-sim"
    } else {
        "worker"
    };
    let (bold, plain) = if std::io::stdout().is_terminal() {
        ("\u{1b}[1m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    let simulation = if whatsapp::SIMULATION {
        "\n  WhatsApp  simulated: this build accepts forged certificates, and stays on this machine"
    } else {
        ""
    };
    let access = match app.access() {
        Access::Keys => "Every request needs an API key: worker apikeys list",
        Access::ThisMachine => "Only programs on this machine can reach it; no key is asked for.",
        Access::Everybody => {
            "Anybody who reaches this port can read and send: --insecure-no-auth is on."
        }
    };
    format!(
        "{bold}leasehold {version}{plain}, worker {name}\n  \
           page      {bold}{base}/{plain}\n  \
           API       {base}/v1/accounts   {base}/health\n  \
           data      {data}\n  \
           key ring  {key_ring} (keep a copy: without it no session can be opened){simulation}\n\n\
         {access}\n\
         Add an account, then scan its QR code with the phone (Settings, Linked devices):\n  \
           {program} accounts{api_option} add my-phone\n  \
           curl -H 'content-type: application/json' -d '{{\"name\":\"my-phone\"}}' {base}/v1/accounts\n\
         This is an unofficial client of WhatsApp: write only to people who want it. Ctrl-C ends.\n",
        version = crate::VERSION,
        name = info.worker_name,
        data = info.data_dir.display(),
        key_ring = info.key_ring,
    )
}
