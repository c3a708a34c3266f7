//! Where the `worker-sim` binary is.
//!
//! The tests start the program that a user would start, so it must have been
//! built before them. `tests/run` does; by hand it is one command, and an
//! error names it.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Names the binary instead of looking for it.
pub const BINARY_VARIABLE: &str = "LEASEHOLD_WORKER_SIM";
/// The name of the worker that speaks to the simulated WhatsApp only.
pub const BINARY_NAME: &str = "worker-sim";
/// Builds it where the tests look for it.
pub const BUILD_COMMAND: &str =
    "cargo build --workspace --features worker/simulation --bin worker-sim";

/// The binary named by [`BINARY_VARIABLE`], or else the one in the folder that
/// the running test was built into.
///
/// # Errors
/// None there: the error says how to build it.
pub fn worker_sim() -> Result<PathBuf> {
    if let Some(path) = env::var_os(BINARY_VARIABLE) {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
        bail!(
            "{BINARY_VARIABLE} names {}, which is no file",
            path.display()
        );
    }
    let test = env::current_exe()?;
    match beside(&test) {
        Some(path) => Ok(path),
        None => bail!(
            "there is no {BINARY_NAME} beside {}: build it with\n    {BUILD_COMMAND}\n\
             or name one in {BINARY_VARIABLE}",
            test.display()
        ),
    }
}

/// Looks in the folder of `program` and, as tests are in `deps/`, in the one above.
fn beside(program: &Path) -> Option<PathBuf> {
    program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(BINARY_NAME))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_is_found_beside_a_program_and_above_a_test() {
        let target = tempfile::tempdir().unwrap();
        let binary = target.path().join(BINARY_NAME);
        assert_eq!(beside(&target.path().join("demo")), None);
        std::fs::write(&binary, "").unwrap();
        assert_eq!(beside(&target.path().join("demo")), Some(binary.clone()));
        assert_eq!(
            beside(&target.path().join("deps/restarts-1a2b")),
            Some(binary)
        );
    }
}
