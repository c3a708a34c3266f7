//! Everything the server knows, and who is connected.
//!
//! Invariant: a device's `live` session exists and is its only one at
//! [`Stage::Online`].

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use super::{
    account::{Account, Device, DeviceId},
    clock::Clock,
    groups::Group,
    pairing::PairError,
    presence::Presences,
    session::{Command, Flow, Mail, Reply, Session, SessionId, Stage},
};
use crate::{
    fault::{Disconnect, FaultBook},
    oracle::{Oracle, ViolationKind},
    wire::{
        Jid, Node,
        jid::{SERVER_LID, SERVER_PN},
    },
};

/// See the module.
#[derive(Debug)]
pub struct World {
    pub(super) accounts: HashMap<Arc<str>, Account>,
    pub(super) by_lid: HashMap<String, Arc<str>>,
    /// By the user part of their address.
    pub(crate) groups: BTreeMap<String, Group>,
    pub(super) presences: Presences,
    pub(super) sessions: HashMap<SessionId, Session>,
    /// QR codes' references.
    pub(super) refs: HashMap<String, SessionId>,
    session_next: u64,
    pub(crate) oracle: Oracle,
    pub(crate) faults: FaultBook,
    pub(crate) clock: Arc<Clock>,
    /// By where it comes from: when that was sent which arrives now, if a network
    /// holds it up.
    sent_ms: HashMap<SocketAddr, u64>,
    changes: watch::Sender<u64>,
}

impl World {
    pub(crate) fn new(clock: Arc<Clock>) -> Self {
        Self {
            accounts: HashMap::new(),
            by_lid: HashMap::new(),
            groups: BTreeMap::new(),
            presences: Presences::default(),
            sessions: HashMap::new(),
            refs: HashMap::new(),
            session_next: 0,
            oracle: Oracle::default(),
            faults: FaultBook::default(),
            clock,
            sent_ms: HashMap::new(),
            changes: watch::Sender::new(0),
        }
    }

    /// What comes from there now was held up for so long.
    pub(crate) fn note_held(&mut self, peer: SocketAddr, held: Duration) {
        let held_ms = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
        let sent_ms = self.clock.now_ms().saturating_sub(held_ms);
        self.sent_ms.insert(peer, sent_ms);
    }

    /// Changes whenever something that can be waited for has happened.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// A phone number's account; its phone comes with the keys it brings.
    /// False if there is one already.
    pub(crate) fn add_account(&mut self, number: &str, name: &str, phone: Device) -> bool {
        if self.accounts.contains_key(number) {
            return false;
        }
        let mut account = Account::new(number, name);
        account.devices.insert(0, phone);
        self.by_lid
            .insert(account.lid.clone(), Arc::clone(&account.number));
        self.accounts.insert(Arc::clone(&account.number), account);
        self.changed();
        true
    }

    pub(super) fn account(&self, number: &str) -> Option<&Account> {
        self.accounts.get(number)
    }

    /// The account that an address names, by number or hidden identity.
    pub(super) fn account_of(&self, jid: &Jid) -> Option<&Account> {
        match &*jid.server {
            SERVER_PN => self.accounts.get(jid.user.as_str()),
            SERVER_LID => self.accounts.get(self.by_lid.get(&jid.user)?),
            _ => None,
        }
    }

    /// All devices of a number, the phone first; none if nobody has it.
    pub(crate) fn devices(&self, number: &str) -> Option<Vec<DeviceId>> {
        let account = self.accounts.get(number)?;
        let devices = account.devices.keys().map(|device| DeviceId {
            account: Arc::clone(&account.number),
            device: *device,
        });
        Some(devices.collect())
    }

    /// The device that an address names, whether it exists or not.
    pub(crate) fn device_id(&self, jid: &Jid) -> Option<DeviceId> {
        Some(DeviceId {
            account: Arc::clone(&self.account_of(jid)?.number),
            device: jid.device,
        })
    }

    /// A device's address at a server; without a user if nobody has the number.
    pub(crate) fn address_of(&self, id: &DeviceId, server: &str) -> Jid {
        match self.account(&id.account) {
            Some(account) => account.jid(id.device, server),
            None => Jid::new("", server),
        }
    }

    pub(super) fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.accounts.get(&id.account)?.devices.get(&id.device)
    }

    pub(super) fn device_mut(&mut self, id: &DeviceId) -> Option<&mut Device> {
        self.accounts
            .get_mut(&id.account)?
            .devices
            .get_mut(&id.device)
    }

    /// A connection has been accepted.
    pub(crate) fn open(
        &mut self,
        peer: Option<SocketAddr>,
        commands: mpsc::Sender<Command>,
        mail: Mail,
    ) -> SessionId {
        self.session_next += 1;
        let id = SessionId(self.session_next);
        self.oracle.connections.open(id, self.clock.now_ms());
        self.sessions.insert(
            id,
            Session {
                peer,
                stage: Stage::Unknown,
                commands,
                mail,
            },
        );
        self.changed();
        id
    }

    /// A phone takes its mail itself: it is a session without a connection.
    pub(crate) fn attach_phone(&mut self, phone: &DeviceId, mail: Mail) -> SessionId {
        self.session_next += 1;
        let id = SessionId(self.session_next);
        // Nobody commands a phone.
        let (commands, _) = mpsc::channel(1);
        self.sessions.insert(
            id,
            Session {
                peer: None,
                stage: Stage::Online {
                    device: phone.clone(),
                    flow: Flow::Live,
                },
                commands,
                mail,
            },
        );
        if let Some(device) = self.device_mut(phone) {
            device.live = Some(id);
        }
        id
    }

    /// A connection is gone.
    pub(crate) fn close(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(peer) = session.peer {
            self.sent_ms.remove(&peer);
        }
        match session.stage {
            Stage::Unknown => {}
            Stage::Pairing(candidate) => {
                self.refs.retain(|_, session| *session != id);
                candidate.fail(PairError::ClientLeft);
            }
            Stage::Online { device, .. } | Stage::Superseded { device } => {
                if let Some(device) = self.device_mut(&device)
                    && device.live == Some(id)
                {
                    device.live = None;
                }
            }
        }
        let now = self.clock.now_ms();
        if let Some(connection) = self.oracle.connections.of(id) {
            connection.closed_ms = Some(now);
        }
        self.changed();
    }

    /// A stanza from a connection, and what it is answered.
    pub(crate) fn receive(&mut self, id: SessionId, node: Node) -> Vec<Reply> {
        let Some(session) = self.sessions.get(&id) else {
            return Vec::new();
        };
        match &session.stage {
            Stage::Unknown => Vec::new(),
            Stage::Pairing(_) => self.receive_pairing(id, &node),
            Stage::Online {
                flow: Flow::Mute, ..
            } => Vec::new(),
            Stage::Online { device, .. } => {
                let device = device.clone();
                self.receive_from(id, &device, &node)
            }
            Stage::Superseded { device } => {
                let device = device.clone();
                let sent_ms = session.peer.and_then(|peer| self.sent_ms.get(&peer));
                let sent_ms = sent_ms.copied().unwrap_or(u64::MAX);
                let connection = self.oracle.connections.of(id);
                let superseded_ms = connection.and_then(|connection| connection.superseded_ms);
                // What was on its way by then finds a closed door, as at the real one.
                let was_under_way = superseded_ms.is_some_and(|at| sent_ms < at);
                if node.tag == "message" && !was_under_way {
                    let detail = format!("message {}", node.get("id").unwrap_or_default());
                    let now = self.clock.now_ms();
                    let kind = ViolationKind::StaleSender;
                    self.oracle.accuse(kind, device, None, detail, now);
                    self.changed();
                }
                Vec::new()
            }
        }
    }

    fn receive_from(&mut self, id: SessionId, device: &DeviceId, node: &Node) -> Vec<Reply> {
        match node.tag.as_str() {
            "iq" => self.answer(id, device, node),
            "message" => self.accept_message(device, node),
            "receipt" => self.accept_receipt(device, node),
            "ack" => {
                self.accept_ack(device, node);
                Vec::new()
            }
            "presence" => {
                self.take_presence(device, node);
                Vec::new()
            }
            "chatstate" => {
                self.take_chat_state(device, node);
                Vec::new()
            }
            // Telemetry: heard and forgotten.
            _ => Vec::new(),
        }
    }

    /// Ends the connections of an account's devices; how many there were.
    pub(crate) fn disconnect(&self, number: &str, device: Option<u16>, how: Disconnect) -> usize {
        self.sessions
            .values()
            .filter(|session| match &session.stage {
                Stage::Online { device: at, .. } => {
                    &*at.account == number
                        && at.device != 0
                        && device.is_none_or(|device| device == at.device)
                }
                Stage::Unknown | Stage::Pairing(_) | Stage::Superseded { .. } => false,
            })
            .filter(|session| {
                let command = Command::Disconnect(how);
                session.commands.try_send(command).is_ok()
            })
            .count()
    }
}
