//! The worker for the simulated WhatsApp: the same program, built with the
//! feature `simulation`. It accepts forged server certificates, and therefore
//! refuses every WhatsApp address that is not on this machine.
//!
//! For tests it can also break rules of the protocol on purpose, named in the
//! variable `LEASEHOLD_MUTATIONS`: `skip-fence,skip-gate`; and it can end itself
//! by SIGKILL at a point of a message's way, named in `LEASEHOLD_KILL_POINT`:
//! `after-wire`, or `after-wire:3` for the third time it is reached. The shipped
//! worker has no such switches.

use std::process::ExitCode;

use coordinator_lib::mutation::{self, Mutation};
use worker::killpoint::{self, KillPoint};

/// Where to end, and at which passage.
const KILL_POINT: &str = "LEASEHOLD_KILL_POINT";

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
    if let Err(error) = arm_kill_point() {
        eprintln!("error: {error}");
        return ExitCode::from(64);
    }
    worker::cli::run()
}

fn arm_kill_point() -> Result<(), String> {
    let Ok(text) = std::env::var(KILL_POINT) else {
        return Ok(());
    };
    let (name, nth) = text.split_once(':').unwrap_or((&text, "1"));
    let point = KillPoint::named(name)
        .ok_or_else(|| format!("{KILL_POINT} names `{name}`, which is no point"))?;
    let nth = nth
        .parse()
        .map_err(|_| format!("{KILL_POINT} counts from 1: `{name}:3`"))?;
    eprintln!("warning: this process will end itself at {name}, at passage {nth}");
    killpoint::arm(point, nth);
    Ok(())
}
