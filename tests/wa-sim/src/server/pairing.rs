//! Linking a device: references, the scan, both signatures, and the restart.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proto::whatsapp::{ClientPayload, client_payload::DevicePairingRegistrationData};
use rand::RngExt as _;
use tokio::sync::oneshot;

use super::{
    account::{Device, DeviceId, SignedPreKey},
    mailbox::Mailbox,
    session::{Command, Reply, SessionId, Stage},
    stanza::{SERVER, fresh_id},
    typed_code::{CodeWait, LINK_CODE},
    world::World,
};
use crate::{
    adv::{self, AdvError, Qr, WrongCode},
    fault::{Disconnect, Failure},
    wire::{Node, jid::SERVER_LID, jid::SERVER_PN},
};

/// Codes a client can show one after the other on one connection.
const REFS: usize = 6;

/// Why a scan did not link a device.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PairError {
    #[error("no connection waits with this code: it is too old, or of another server")]
    UnknownRef,
    #[error("the code's keys are not those of the connection that waits with it")]
    WrongKeys,
    #[error("the code is being scanned by another phone")]
    Taken,
    #[error("the client refused the pairing")]
    Refused,
    #[error("no device waits for this phone with a code")]
    NoCode,
    #[error("the code is wrong")]
    WrongCode(#[from] WrongCode),
    #[error("the client's signature does not fit")]
    Signature(#[from] AdvError),
    #[error("the client left before it had signed")]
    ClientLeft,
    #[error("the client did not answer in time")]
    TimedOut,
}

/// A client that shows codes, and what it brought.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(super) noise_key: [u8; 32],
    registration: u32,
    identity: [u8; 32],
    signed_prekey: SignedPreKey,
    offer: Option<Offer>,
    pub(super) code: Option<CodeWait>,
}

/// What a phone has offered to it.
#[derive(Debug)]
struct Offer {
    stanza: String,
    device: DeviceId,
    key_index: u32,
    account_key: [u8; 32],
    key_index_list: (Vec<u8>, u64),
    done: oneshot::Sender<Result<DeviceId, PairError>>,
}

impl Candidate {
    /// The pairing came to nothing; tells the phone, if one waits.
    pub(super) fn fail(self, error: PairError) {
        if let Some(offer) = self.offer {
            // The phone may have given up waiting.
            let _ = offer.done.send(Err(error));
        }
    }
}

/// Where a new device goes: what the phone has to sign.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) key_index: u32,
    /// With the new one.
    pub(crate) valid_indexes: Vec<u32>,
    /// Seconds since the Unix epoch.
    pub(crate) timestamp: u64,
}

/// What the phone signed.
pub(crate) struct Vouching {
    pub(crate) account_key: [u8; 32],
    /// For `<pair-success>`.
    pub(crate) identity: Vec<u8>,
    pub(crate) key_index_list: Vec<u8>,
}

impl World {
    /// Gives a client that wants to be linked its references. Refused
    /// if it brings no usable keys.
    pub(super) fn invite(
        &mut self,
        id: SessionId,
        payload: &ClientPayload,
        noise_key: &[u8; 32],
    ) -> Result<Node, Failure> {
        const BAD_REQUEST: Failure = Failure {
            reason: 400,
            code: None,
            expire: None,
        };
        let data = payload.device_pairing_data.as_ref().ok_or(BAD_REQUEST)?;
        let candidate = candidate(data, noise_key).ok_or(BAD_REQUEST)?;
        let session = self.sessions.get_mut(&id).ok_or(BAD_REQUEST)?;
        session.stage = Stage::Pairing(Box::new(candidate));
        let refs: Vec<_> = (0..REFS).map(|_| fresh_ref()).collect();
        for text in &refs {
            self.refs.insert(text.clone(), id);
        }
        self.changed();
        let refs = refs.into_iter().map(|text| Node::new("ref").bytes(text));
        Ok(Node::new("iq")
            .attr("from", SERVER)
            .attr("type", "set")
            .attr("xmlns", "md")
            .attr("id", fresh_id(""))
            .child(Node::new("pair-device").children(refs.collect())))
    }

    /// A phone has scanned a code: `vouch` signs for the new device. The
    /// receiver hears how the client took it.
    pub(crate) fn scan(
        &mut self,
        number: &Arc<str>,
        qr: &Qr,
        vouch: impl FnOnce(&Slot) -> Vouching,
    ) -> Result<oneshot::Receiver<Result<DeviceId, PairError>>, PairError> {
        self.oracle.count(number).qr_scans += 1;
        let id = *self.refs.get(&qr.ref_).ok_or(PairError::UnknownRef)?;
        let timestamp = self.clock.stamp();
        let account = self
            .accounts
            .get_mut(number)
            .expect("a phone has its account");
        let session = self.sessions.get_mut(&id).ok_or(PairError::UnknownRef)?;
        let Stage::Pairing(candidate) = &mut session.stage else {
            return Err(PairError::UnknownRef);
        };
        if candidate.noise_key != qr.noise || candidate.identity != qr.identity {
            return Err(PairError::WrongKeys);
        }
        if candidate.offer.is_some() {
            return Err(PairError::Taken);
        }

        let device = account.device_next;
        account.device_next += 1;
        let key_index = u32::from(device);
        let linked = account.devices.iter().filter(|(id, _)| **id != 0);
        let slot = Slot {
            key_index,
            valid_indexes: linked
                .map(|(_, device)| device.key_index)
                .chain([key_index])
                .collect(),
            timestamp,
        };
        let vouching = vouch(&slot);
        let stanza = fresh_id("");
        let node = Node::new("iq")
            .attr("from", SERVER)
            .attr("type", "set")
            .attr("xmlns", "md")
            .attr("id", &stanza)
            .attr("t", timestamp.to_string())
            .child(
                Node::new("pair-success")
                    .child(Node::new("device-identity").bytes(vouching.identity))
                    .child(
                        Node::new("device")
                            .attr("jid", account.jid(device, SERVER_PN).to_string())
                            .attr("lid", account.jid(device, SERVER_LID).to_string()),
                    )
                    // A business account's: a client that is not told its name
                    // waits for app state at every login.
                    .child(Node::new("biz").attr("name", account.name.clone()))
                    .child(Node::new("platform").attr("name", "android")),
            );
        let (done, outcome) = oneshot::channel();
        candidate.offer = Some(Offer {
            stanza,
            device: DeviceId {
                account: Arc::clone(number),
                device,
            },
            key_index,
            account_key: vouching.account_key,
            key_index_list: (vouching.key_index_list, timestamp),
            done,
        });
        let command = Command::Send(node);
        session
            .commands
            .try_send(command)
            .map_err(|_| PairError::ClientLeft)?;
        Ok(outcome)
    }

    /// A stanza from a client that is not linked yet.
    pub(super) fn receive_pairing(&mut self, id: SessionId, node: &Node) -> Vec<Reply> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Vec::new();
        };
        let Stage::Pairing(candidate) = &mut session.stage else {
            return Vec::new();
        };
        if let Some(offer) = &candidate.offer
            && node.tag == "iq"
            && node.get("id") == Some(&offer.stanza)
        {
            let Stage::Pairing(candidate) = std::mem::replace(&mut session.stage, Stage::Unknown)
            else {
                return Vec::new();
            };
            self.refs.retain(|_, session| *session != id);
            return self.link(*candidate, node);
        }
        if node.tag == "iq"
            && let Some(said) = node.find(LINK_CODE)
        {
            return self.receive_code(id, node, said);
        }
        // It pings while it shows its codes.
        match node.get("xmlns") {
            Some("w:p" | "urn:xmpp:ping") => vec![Reply::Send(super::stanza::result(node))],
            Some(_) | None => Vec::new(),
        }
    }

    /// The client's answer to the phone's offer.
    fn link(&mut self, candidate: Candidate, answer: &Node) -> Vec<Reply> {
        let restart = vec![Reply::End(Disconnect::StreamError { code: 515 })];
        let Some(offer) = candidate.offer else {
            return restart;
        };
        let signed = answer
            .find("pair-device-sign")
            .and_then(|sign| sign.find("device-identity"))
            .map(Node::data)
            .ok_or(PairError::Refused)
            .and_then(|signed| {
                adv::verify_device_signature(&offer.account_key, &candidate.identity, signed)?;
                Ok(adv::with_account_key(signed, &offer.account_key)?)
            });
        let outcome = signed.map(|device_identity| {
            let device = Device {
                key_index: offer.key_index,
                registration: candidate.registration,
                identity: candidate.identity,
                signed_prekey: candidate.signed_prekey,
                prekeys: Default::default(),
                device_identity: Some(device_identity),
                noise_key: Some(candidate.noise_key),
                mailbox: Mailbox::default(),
                live: None,
            };
            self.oracle.count(&offer.device.account).pairings += 1;
            if let Some(account) = self.accounts.get_mut(&offer.device.account) {
                account.devices.insert(offer.device.device, device);
                account.key_index_list = Some(offer.key_index_list);
            }
            self.announce(&offer.device, "add");
            offer.device
        });
        let replies = match &outcome {
            Ok(_) => restart,
            Err(_) => vec![Reply::End(Disconnect::Close)],
        };
        // The phone may have given up waiting.
        let _ = offer.done.send(outcome);
        self.changed();
        replies
    }

    /// Takes a linked device off the account: it is thrown out, and may not
    /// come back. False if there is none.
    pub(crate) fn unlink(&mut self, id: &DeviceId, key_index_list: Vec<u8>) -> bool {
        self.disconnect(&id.account, Some(id.device), Disconnect::DeviceRemoved);
        let stamp = self.clock.stamp();
        self.announce(id, "remove");
        let Some(account) = self.accounts.get_mut(&id.account) else {
            return false;
        };
        account.key_index_list = Some((key_index_list, stamp));
        let removed = id.device != 0 && account.devices.remove(&id.device).is_some();
        self.changed();
        removed
    }

    /// The key indexes of an account's linked devices, `without` one of them.
    pub(crate) fn key_indexes(&self, number: &str, without: u16) -> (u32, Vec<u32>) {
        let Some(account) = self.accounts.get(number) else {
            return (0, Vec::new());
        };
        let linked = account.devices.iter().filter(|(id, _)| **id != 0);
        let valid = linked
            .filter(|(id, _)| **id != without)
            .map(|(_, device)| device.key_index);
        (u32::from(account.device_next) - 1, valid.collect())
    }

    /// Tells those who know the account, and its own devices, of a change.
    fn announce(&mut self, id: &DeviceId, what: &str) {
        let Some(account) = self.accounts.get(&id.account) else {
            return;
        };
        let (list, time) = account.key_index_list.clone().unwrap_or_default();
        let key_index = account
            .devices
            .get(&id.device)
            .map(|device| device.key_index);
        let from = account.jid(0, SERVER_PN).to_string();
        let list = match what {
            "add" => Node::new("key-index-list").bytes(list),
            _ => Node::new("key-index-list"),
        }
        .attr("ts", time.to_string());
        let device = Node::new("device")
            .attr("jid", account.jid(id.device, SERVER_PN).to_string())
            .attr("key-index", key_index.unwrap_or_default().to_string());
        let content = Node::new(what).child(device).child(list);
        let known_to: Vec<_> = account
            .known_to
            .iter()
            .chain([&id.account])
            .cloned()
            .collect();
        for number in known_to {
            let Some(account) = self.accounts.get(&number) else {
                continue;
            };
            let devices: Vec<_> = account.devices.keys().copied().collect();
            for device in devices {
                let to = DeviceId {
                    account: Arc::clone(&number),
                    device,
                };
                if to != *id {
                    self.notify(&to, "devices", &from, content.clone());
                }
            }
        }
    }
}

/// What a registration payload brings; none if it is incomplete.
fn candidate(data: &DevicePairingRegistrationData, noise_key: &[u8; 32]) -> Option<Candidate> {
    let [a, b, c] = data.e_skey_id.as_deref()?.try_into().ok()?;
    Some(Candidate {
        noise_key: *noise_key,
        registration: u32::from_be_bytes(data.e_regid.as_deref()?.try_into().ok()?),
        identity: data.e_ident.as_deref()?.try_into().ok()?,
        signed_prekey: SignedPreKey {
            id: u32::from_be_bytes([0, a, b, c]),
            value: data.e_skey_val.as_deref()?.try_into().ok()?,
            signature: data.e_skey_sig.clone()?,
        },
        offer: None,
        code: None,
    })
}

/// A reference as it looks with WhatsApp.
pub(super) fn fresh_ref() -> String {
    #[allow(clippy::disallowed_methods, reason = "a test program")]
    let bytes: [u8; 48] = rand::rng().random();
    format!("2@{}", BASE64_STANDARD.encode(bytes))
}
