//! Faults: what the server does wrong on purpose.
//!
//! A [`Fault`] is a standing order: at its point it applies to every connection
//! or message, or to one account's, or to the next few. [`FaultBook`] holds
//! them; the server asks it at each point. Pure, no clocks.
//!
//! What happens to a connection that is already there is not a fault but a
//! [`Disconnect`], done once when it is asked for.

mod book;

use serde::{Deserialize, Serialize};

pub(crate) use self::book::Failure;
pub use self::book::{FAULTS_MAX, FaultBook, FaultError, FaultId};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The TCP connection is accepted, the WebSocket not yet.
    Accept,
    /// The WebSocket is open, the Noise handshake not done.
    Handshake,
    /// The client said who it is and waits for `<success>`.
    Login,
    /// After `<success>`: queries go unanswered, nothing is delivered.
    Sync,
}

/// Around which point of a message's acceptance the connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessagePoint {
    /// The message is lost.
    BeforeAccept,
    /// The message is delivered, its sender never hears of it.
    BeforeAck,
    /// The sender may or may not have heard of it.
    AfterAck,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// TCP connections are reset at once.
    RefuseTcp,
    /// The server falls silent, the connection stays.
    Stall { stage: Stage },
    /// The TCP connection is reset.
    Drop { stage: Stage },
    /// `<failure reason>` instead of `<success>`.
    Failure {
        reason: u16,
        /// With 402: which ban.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
        /// With 402: its seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expire: Option<u64>,
    },
    /// `<stream:error code>` right after `<success>`.
    StreamError { code: u16 },
    /// Every stanza to the client comes late.
    Delay { ms: u64 },
    /// Messages to linked devices are delivered twice.
    Duplicate,
    /// Messages to linked devices are held back until the device logs in again;
    /// what is sent after them comes before them.
    Hold,
    /// Messages to linked devices arrive broken: they must ask for them again.
    Corrupt,
    /// Messages are accepted but not acknowledged.
    WithholdAcks,
    /// The connection is reset when its client sends a message.
    DropOnMessage { point: MessagePoint },
    /// Clients with an older version are refused (405) at login: the third of
    /// its numbers counts.
    LeastVersion { revision: u32 },
    /// The server's clock is off by so much.
    Clock { offset_seconds: i64 },
}

impl FaultKind {
    /// A failure that is not a ban.
    pub fn failure(reason: u16) -> Self {
        Self::Failure {
            reason,
            code: None,
            expire: None,
        }
    }
}

/// A standing order; see the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only this account (its number); all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// How often it applies before it is used up; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

impl Fault {
    /// A fault for everyone, until cleared.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            account: None,
            times: None,
        }
    }

    /// Only this account.
    #[must_use]
    pub fn for_account(mut self, number: impl Into<String>) -> Self {
        self.account = Some(number.into());
        self
    }

    /// Only so often.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// How a connection that is there comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Disconnect {
    /// `<stream:error code>`, then the end.
    StreamError { code: u16 },
    /// As if another client had logged in.
    Replaced,
    /// As if the user had removed the device; it stays paired all the same.
    DeviceRemoved,
    /// `<xmlstreamend>`, then the end.
    XmlStreamEnd,
    /// A WebSocket close frame.
    Close,
    /// A TCP reset.
    Drop,
}

/// What a stage's fault does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// Silence.
    Stall,
    /// A TCP reset.
    Drop,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn faults_are_plain_json() {
        let text = r#"{"kind":"stall","stage":"login","account":"1555","times":1}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        let stage = Stage::Login;
        let expected = Fault::new(FaultKind::Stall { stage });
        assert_eq!(fault, expected.for_account("1555").times(1));

        let text = r#"{"kind":"failure","reason":402,"code":101,"expire":3600}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&fault).unwrap(), text);
    }

    #[test]
    fn endings_are_plain_json() {
        let text = r#"{"how":"stream_error","code":515}"#;
        let how: Disconnect = serde_json::from_str(text).unwrap();
        assert_eq!(how, Disconnect::StreamError { code: 515 });
    }
}
