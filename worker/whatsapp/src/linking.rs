//! Ways to link an account besides the QR code: what passes between an engine
//! and its owner.

use std::fmt;
use std::time::Duration;

/// A code to be typed into the phone. Whoever has it can take over the pairing,
/// so it is never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingCode {
    code: String,
    /// How long it can be typed, from now.
    pub valid_for: Duration,
}

impl PairingCode {
    pub(crate) fn new(code: String, valid_for: Duration) -> Self {
        Self { code, valid_for }
    }

    /// The eight characters.
    pub fn expose(&self) -> &str {
        &self.code
    }
}

impl fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingCode(…)")
    }
}

/// What WhatsApp asks for where an account is protected by a passkey.
#[derive(Clone, PartialEq, Eq)]
pub enum PasskeyStep {
    /// A WebAuthn assertion for these options, as JSON.
    Assertion {
        /// `PublicKeyCredentialRequestOptions`, verbatim.
        options: String,
    },
    /// A person must compare this code with the phone's, and confirm.
    Confirmation {
        /// Eight characters with a dash; empty where none need be compared.
        code: String,
    },
    /// It came to nothing.
    Failed,
}

impl PasskeyStep {
    /// The name of the step, without what is in it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Assertion { .. } => "assertion",
            Self::Confirmation { .. } => "confirmation",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Debug for PasskeyStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a step of linking was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkingError {
    /// The account is linked already, or its engine does not wait to be linked.
    #[error("the account does not wait to be linked")]
    NotLinking,
    /// It is no phone number with its country code.
    #[error("not a phone number with its country code")]
    InvalidNumber,
    /// WhatsApp refuses, perhaps because it was asked too often.
    #[error("WhatsApp refused it, perhaps because it was asked too often")]
    Refused,
    /// It comes at the wrong moment, or is not what was asked for.
    #[error("not what WhatsApp waits for")]
    OutOfTurn,
    /// No answer in time.
    #[error("no answer from WhatsApp in time")]
    TimedOut,
}
