//! What can be wrong with one record. Holds nothing of its content.

use wacore::libsignal::protocol::{LegacySessionInteropError, SignalProtocolError};

/// Why a record is refused.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Not JSON; perhaps cut off.
    #[error("it is not JSON (line {line}, column {column})")]
    Json {
        /// Where the reader gave up.
        line: usize,
        /// Where the reader gave up.
        column: usize,
    },
    /// Larger than any such file.
    #[error("it has {bytes} bytes, and such a record never has so many")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Part of it is not there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// Part of it is not what it must be.
    #[error("`{0}` is not what it must be")]
    Wrong(&'static str),
    /// The name says who or what it is about, and does not.
    #[error("its name is not that of such a record")]
    Name,
    /// A public key is not that of its private key.
    #[error("`{0}`: public and private key do not belong together")]
    KeyPair(&'static str),
    /// A signature does not hold.
    #[error("`{0}`: the signature does not hold")]
    Signature(&'static str),
    /// Never linked, or unlinked: there is nothing to import.
    #[error("it is not linked to a phone (`me` is missing)")]
    NotLinked,
    /// A one-to-one session that contradicts itself.
    #[error("{0}")]
    Session(#[from] LegacySessionInteropError),
    /// A record that the engine refuses.
    #[error("{0}")]
    Signal(#[from] SignalProtocolError),
    /// A record of our own that cannot be read.
    #[error("a stored record cannot be read")]
    Stored,
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        // Its text may quote.
        Fault::Json {
            line: error.line(),
            column: error.column(),
        }
    }
}
