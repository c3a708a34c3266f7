//! One connection, as the world sees it: how far it has come, and how to reach
//! its task.

use std::{net::SocketAddr, sync::Arc};

use serde::Serialize;
use tokio::sync::{Notify, mpsc};

use super::{account::DeviceId, pairing::Candidate};
use crate::{fault::Disconnect, wire::Node};

/// Commands that may wait for a connection's task. They are rare: a task that
/// leaves this many lying is not going to read them.
pub(crate) const COMMANDS_MAX: usize = 32;

/// Numbers connections in the order they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct SessionId(pub(crate) u64);

/// What others want of a connection.
#[derive(Debug)]
pub(crate) enum Command {
    /// Write this.
    Send(Node),
    /// Say so and end.
    Disconnect(Disconnect),
    /// A newer connection of the device has logged in.
    Supersede,
}

/// What a stanza, or a connection's arrival, leads to on that connection.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    Send(Node),
    /// The connection ends, after what was said before.
    End(Disconnect),
}

/// Wakes whoever fetches a device's mail.
pub(crate) type Mail = Arc<Notify>;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It has not said who it is.
    Unknown,
    /// A client that shows a QR code.
    Pairing(Box<Candidate>),
    /// It is logged in.
    Online { device: DeviceId, flow: Flow },
    /// It was; a newer connection of the device is.
    Superseded { device: DeviceId },
}

/// What a logged-in connection is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nothing until it asks to be active.
    Passive,
    /// The preview, then what waited, then the end mark.
    Replay { announced: bool, total: usize },
    /// Everything, as it comes.
    Live,
    /// Nothing, and its queries are not answered: a fault.
    Mute,
}

#[derive(Debug)]
pub(crate) struct Session {
    /// Where it comes from; a phone has no connection.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) stage: Stage,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) mail: Mail,
}

impl Session {
    /// The device, once the connection has logged in.
    pub(crate) fn device(&self) -> Option<&DeviceId> {
        match &self.stage {
            Stage::Online { device, .. } | Stage::Superseded { device } => Some(device),
            Stage::Unknown | Stage::Pairing(_) => None,
        }
    }
}
