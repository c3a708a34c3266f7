//! Who is let in: a client that has finished the handshake pairs, logs in, or
//! is turned away; a newer login of a device ends the older one.

use std::sync::Arc;

use proto::whatsapp::ClientPayload;

use super::{
    account::DeviceId,
    session::{Command, Flow, Reply, SessionId, Stage},
    world::World,
};
use crate::{
    fault::{Disconnect, Failure, Interruption, Stage as FaultStage},
    wire::{Node, jid::SERVER_LID},
};

/// Names the data centre in a stanza; clients only log it.
const LOCATION: &str = "sim";

/// For a client that is not, or no longer, linked.
const STRANGER: Failure = Failure {
    reason: 401,
    code: None,
    expire: None,
};

/// A client whose version is too old.
const OUTDATED: Failure = Failure {
    reason: 405,
    code: None,
    expire: None,
};

/// How a client that has said who it is gets received.
#[derive(Debug)]
pub(crate) enum Welcome {
    /// `<success>`, and perhaps a fault's stream error behind it.
    LoggedIn(Vec<Reply>),
    /// References for its QR codes.
    Pair(Node),
    /// `<failure>`.
    Refused(Node),
    /// A fault.
    Interrupted(Interruption),
}

impl World {
    /// A client has said who it is.
    pub(crate) fn welcome(
        &mut self,
        id: SessionId,
        payload: &ClientPayload,
        noise_key: &[u8; 32],
    ) -> Welcome {
        let Some(number) = payload.username else {
            return match self.invite(id, payload, noise_key) {
                Ok(node) => Welcome::Pair(node),
                Err(failure) => Welcome::Refused(self::failure(failure)),
            };
        };
        let number = number.to_string();
        let Some((number, _)) = self.accounts.get_key_value(number.as_str()) else {
            return Welcome::Refused(failure(STRANGER));
        };
        let device = DeviceId {
            account: Arc::clone(number),
            device: payload
                .device
                .and_then(|device| u16::try_from(device).ok())
                .unwrap_or_default(),
        };
        let version = payload.user_agent.as_ref();
        let version = version.and_then(|agent| agent.app_version.as_ref());
        let revision = version.and_then(|version| version.tertiary).unwrap_or(0);
        if revision < self.faults.least_revision() {
            self.oracle.count(&device.account).logins_refused += 1;
            self.changed();
            return Welcome::Refused(failure(OUTDATED));
        }
        self.log_in(id, device, noise_key)
    }

    fn log_in(&mut self, id: SessionId, device: DeviceId, noise_key: &[u8; 32]) -> Welcome {
        let account = Some(&*device.account);
        if let Some(interruption) = self.faults.at_stage(account, FaultStage::Login) {
            return Welcome::Interrupted(interruption);
        }
        let refusal = self.faults.refuses(&device.account);
        let known = self
            .device(&device)
            .is_some_and(|device| device.noise_key.as_ref() == Some(noise_key));
        let refusal = refusal.or((!known).then_some(STRANGER));
        if let Some(refusal) = refusal {
            self.oracle.count(&device.account).logins_refused += 1;
            self.changed();
            return Welcome::Refused(failure(refusal));
        }

        self.supersede(&device);
        let (flow, drop) = match self.faults.at_stage(account, FaultStage::Sync) {
            Some(Interruption::Stall) => (Flow::Mute, None),
            Some(Interruption::Drop) => (Flow::Passive, Some(Disconnect::Drop)),
            None => (Flow::Passive, None),
        };
        let stream_error = self.faults.breaks(&device.account);
        let end = drop.or(stream_error.map(|code| Disconnect::StreamError { code }));
        let lid = self.accounts[&device.account].jid(device.device, SERVER_LID);
        let now = self.clock.now_ms();
        if let Some(connection) = self.oracle.connections.of(id) {
            connection.device = Some(device.clone());
            connection.logged_in_ms = Some(now);
        }
        self.oracle.count(&device.account).logins += 1;
        if let Some(device) = self.device_mut(&device) {
            device.live = Some(id);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.stage = Stage::Online { device, flow };
        }
        self.changed();

        let success = Node::new("success")
            .attr("t", self.clock.stamp().to_string())
            .attr("location", LOCATION)
            .attr("lid", lid.to_string());
        let mut replies = vec![Reply::Send(success)];
        replies.extend(end.map(Reply::End));
        Welcome::LoggedIn(replies)
    }

    /// Ends the device's connection in favour of a newer one.
    fn supersede(&mut self, device: &DeviceId) {
        let Some(older) = self.device_mut(device).and_then(|found| found.live.take()) else {
            return;
        };
        self.oracle.count(&device.account).replaced += 1;
        let now = self.clock.now_ms();
        if let Some(connection) = self.oracle.connections.of(older) {
            connection.superseded_ms = Some(now);
        }
        if let Some(session) = self.sessions.get_mut(&older) {
            session.stage = Stage::Superseded {
                device: device.clone(),
            };
            // A full or closed channel belongs to a task that is ending anyway.
            let _ = session.commands.try_send(Command::Supersede);
        }
    }
}

/// `<failure>`.
fn failure(failure: Failure) -> Node {
    let Failure {
        reason,
        code,
        expire,
    } = failure;
    let mut node = Node::new("failure")
        .attr("reason", reason.to_string())
        .attr("location", LOCATION);
    if let Some(code) = code {
        node = node.attr("code", code.to_string());
    }
    if let Some(expire) = expire {
        node = node.attr("expire", expire.to_string());
    }
    node
}
