//! Signals: the first SIGTERM or SIGINT asks for a drain, the second for an
//! end at once.
//!
//! Signals are caught from the moment this is made, so that one which comes
//! during start-up is not lost.

use std::fmt;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that ends the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndSignal {
    /// From a terminal (Ctrl-C).
    Interrupt,
    /// From a supervisor.
    Terminate,
}

impl EndSignal {
    /// The exit code of a program that this signal ended, as shells count it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 128 + 2,
            Self::Terminate => 128 + 15,
        }
    }
}

impl fmt::Display for EndSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// The signals that end the program, as they come.
#[derive(Debug)]
pub struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    /// Starts to catch them.
    ///
    /// # Errors
    /// The operating system's, if handlers cannot be installed.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    /// Safe: a signal that was not returned is returned by the next call.
    pub async fn next(&mut self) -> EndSignal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => EndSignal::Terminate,
            _ = self.interrupt.recv() => EndSignal::Interrupt,
        }
    }
}
