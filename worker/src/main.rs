//! The worker: owns WhatsApp accounts and serves the API. `worker --help` lists
//! what it can do; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::cli::run()
}
