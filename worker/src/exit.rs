//! Exit codes, and the failure that ends the program with one.
//!
//! The numbers are those of BSD's `sysexits.h`, so that a supervisor can tell
//! "do not try again, a person must look" from "try again later".

use std::fmt;
use std::process::ExitCode;

/// The configuration is wrong (`EX_USAGE`): nothing was opened or bound.
pub const CONFIG: u8 = 64;
/// What is stored cannot be read (`EX_DATAERR`): the key ring or the database.
pub const DATA: u8 = 65;
/// The worker that was asked does not answer (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// The program itself is not as it must be (`EX_SOFTWARE`): it would accept a
/// forged server.
pub const SOFTWARE: u8 = 70;
/// A file or folder cannot be created (`EX_CANTCREAT`).
pub const CREATE: u8 = 73;
/// Held by another process: a lock or a port (`EX_TEMPFAIL`). Trying later helps.
pub const BUSY: u8 = 75;
/// The drain did not finish within the grace period.
pub const UNFINISHED: u8 = 76;

/// The end of a program: what went wrong, what to do about it, and the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One of this module's numbers, or 1.
    pub code: u8,
    /// One line: what failed, and what helps.
    pub message: String,
}

impl Failure {
    /// A failure with `code`, one of this module's.
    pub fn new(code: u8, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }

    /// Prints the line and yields the exit code.
    pub fn report(self) -> ExitCode {
        eprintln!("error: {}", self.message);
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
