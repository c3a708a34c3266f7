//! The worker for the simulated WhatsApp: the same program, built with the
//! feature `simulation`. It accepts forged server certificates, and therefore
//! refuses every WhatsApp address that is not on this machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::cli::run()
}
