//! A command: a request to the worker that owns an account, by another one.
//!
//! For what must be answered at once and only the owner can answer. What may
//! wait is desired state in the account's document instead.

use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};

use super::stored::Stored;

/// `commands/{id}`, removed by whoever asked, or once the deadline is past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandDoc {
    /// The document's own id, to watch it by.
    pub id: String,
    /// About which account.
    pub account_id: String,
    /// The worker session that is asked: the account's owner.
    pub session: String,
    /// Whether it waits or was answered.
    pub state: CommandState,
    /// What is asked.
    pub kind: CommandKind,
    /// What belongs to it, as JSON, sealed with the account's data key for the
    /// purpose [`COMMAND_PURPOSE`].
    #[serde(default)]
    pub argument: Option<bytes::Bytes>,
    /// After this nobody waits for an answer any more: it is not carried out.
    pub deadline: StoreTime,
    /// The answer as JSON, once there is one.
    pub reply: Option<String>,
    /// W3C trace context of the request that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// The purpose under which arguments and secret replies are sealed.
pub const COMMAND_PURPOSE: &str = "command";

impl Stored for CommandDoc {}

/// How far a command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// Nobody has answered it.
    Queued,
    /// The reply is there.
    Answered,
    /// The session that was asked does not own the account.
    Refused,
}

impl CommandState {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            CommandState::Queued => "queued",
            CommandState::Answered => "answered",
            CommandState::Refused => "refused",
        }
    }
}

/// What can be asked of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// What the owner knows of the account and does not store.
    Inspect,
    /// A code to be typed into the phone.
    PairingCode,
    /// The answer of a passkey.
    PasskeyAnswer,
    /// A person has compared a passkey's code.
    PasskeyConfirm,
    /// Something about a group.
    Group,
}

impl CommandKind {
    /// The name in the store and in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            CommandKind::Inspect => "inspect",
            CommandKind::PairingCode => "pairing_code",
            CommandKind::PasskeyAnswer => "passkey_answer",
            CommandKind::PasskeyConfirm => "passkey_confirm",
            CommandKind::Group => "group",
        }
    }
}
