//! Who was connected when: one interval a connection.

use std::collections::VecDeque;

use serde::Serialize;

use crate::server::{DeviceId, SessionId};

/// Older intervals are forgotten beyond this many.
pub const CONNECTIONS_KEPT: usize = 20_000;

/// One connection's life. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connection {
    pub session: SessionId,
    /// None until it has said who it is; pairing connections never do.
    pub device: Option<DeviceId>,
    pub opened_ms: u64,
    pub logged_in_ms: Option<u64>,
    /// When a newer connection of the device logged in.
    pub superseded_ms: Option<u64>,
    pub closed_ms: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Connections {
    recent: VecDeque<Connection>,
    total: u64,
}

impl Connections {
    pub(crate) fn open(&mut self, session: SessionId, at_ms: u64) {
        if self.recent.len() >= CONNECTIONS_KEPT {
            self.recent.pop_front();
        }
        self.total += 1;
        self.recent.push_back(Connection {
            session,
            device: None,
            opened_ms: at_ms,
            logged_in_ms: None,
            superseded_ms: None,
            closed_ms: None,
        });
    }

    /// The interval of a session, unless it is long gone.
    pub(crate) fn of(&mut self, session: SessionId) -> Option<&mut Connection> {
        // Sessions are numbered as they open: the newest are at the end.
        let at = self
            .recent
            .binary_search_by_key(&session, |connection| connection.session)
            .ok()?;
        self.recent.get_mut(at)
    }

    /// The intervals that are not forgotten, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &Connection> {
        self.recent.iter()
    }

    /// How many connections there were at all.
    pub fn total(&self) -> u64 {
        self.total
    }
}
