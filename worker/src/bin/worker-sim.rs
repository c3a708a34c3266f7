//! The worker for the simulated WhatsApp: the same program, built with the
//! feature `simulation`. It accepts forged server certificates, and therefore
//! refuses every WhatsApp address that is not on this machine.
//!
//! For tests it can also break rules of the protocol on purpose, named in the
//! variable `LEASEHOLD_MUTATIONS`: `skip-fence,skip-gate`. The shipped worker
//! has no such switch.

use std::process::ExitCode;

use coordinator_lib::mutation::{self, Mutation};

/// Names of rules to break, with commas between.
const VARIABLE: &str = "LEASEHOLD_MUTATIONS";

fn main() -> ExitCode {
    let names = std::env::var(VARIABLE).unwrap_or_default();
    let names = names.split(',').filter(|name| !name.is_empty());
    let mut mutations = Vec::new();
    for name in names {
        match Mutation::named(name) {
            Some(mutation) => mutations.push(mutation),
            None => {
                eprintln!("error: {VARIABLE} names `{name}`, which is no rule to break");
                return ExitCode::from(64);
            }
        }
    }
    if !mutations.is_empty() {
        eprintln!("warning: broken on purpose: {mutations:?}");
        mutation::plant(&mutations);
    }
    worker::cli::run()
}
