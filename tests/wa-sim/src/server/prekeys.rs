//! Prekeys: uploaded by devices, handed out once (`xmlns="encrypt"`).

use sha1::{Digest as _, Sha1};

use super::{
    account::{Device, DeviceId, PreKey, SignedPreKey},
    stanza::{SERVER, error, result},
    world::World,
};
use crate::wire::{Jid, Node};

/// Devices are told when they have this many one-time prekeys left. Clients
/// upload at different marks, the lowest being "fewer than five".
const PREKEYS_LOW: [usize; 3] = [10, 4, 0];

/// One-time prekeys kept for a device; clients upload 812 at most at once.
const PREKEYS_MAX: usize = 10_000;

/// The key type of Curve25519.
const KEY_TYPE: [u8; 1] = [crate::keys::KEY_TYPE];

impl World {
    /// A query of the namespace `encrypt`.
    pub(super) fn answer_encrypt(&mut self, from: &DeviceId, query: &Node) -> Node {
        let Some(what) = query.kids().first() else {
            return error(query, 400, "bad-request");
        };
        match (query.get("type"), what.tag.as_str()) {
            (Some("get"), "count") => {
                let count = self.device(from).map_or(0, |device| device.prekeys.len());
                result(query).child(Node::new("count").attr("value", count.to_string()))
            }
            (Some("get"), "digest") => match self.device(from) {
                Some(device) => result(query).child(digest(device)),
                None => error(query, 404, "item-not-found"),
            },
            (Some("get"), "key") => {
                let asked = what.find_all("user").filter_map(|user| user.get("jid"));
                let users = asked.map(|jid| self.hand_out(jid)).collect();
                result(query).child(Node::new("list").children(users))
            }
            (Some("set"), "rotate") => match what.find("skey").and_then(signed_prekey) {
                Some(key) => {
                    if let Some(device) = self.device_mut(from) {
                        device.signed_prekey = key;
                    }
                    result(query)
                }
                None => error(query, 400, "bad-request"),
            },
            (Some("set"), _) => match self.upload(from, query) {
                Some(()) => result(query),
                None => error(query, 406, "not-acceptable"),
            },
            (Some(_) | None, _) => error(query, 400, "bad-request"),
        }
    }

    /// Takes a device's upload; none if it is malformed or of another identity.
    fn upload(&mut self, from: &DeviceId, query: &Node) -> Option<()> {
        let identity: [u8; 32] = query.find("identity")?.data().try_into().ok()?;
        let registration = u32::from_be_bytes(query.find("registration")?.data().try_into().ok()?);
        let signed = signed_prekey(query.find("skey")?)?;
        let keys: Option<Vec<_>> = query.find("list")?.find_all("key").map(prekey).collect();
        let device = self.device_mut(from)?;
        if identity != device.identity {
            return None;
        }
        device.registration = registration;
        device.signed_prekey = signed;
        device.prekeys.extend(keys?);
        while device.prekeys.len() > PREKEYS_MAX {
            device.prekeys.pop_front();
        }
        self.changed();
        Some(())
    }

    /// New one-time prekeys of a phone.
    pub(crate) fn replenish(&mut self, phone: &DeviceId, keys: Vec<PreKey>) {
        if let Some(phone) = self.device_mut(phone) {
            phone.prekeys.extend(keys);
        }
    }

    /// A device's bundle, with a one-time prekey while there are any.
    pub(crate) fn take_bundle(&mut self, id: &DeviceId) -> Option<Bundle> {
        let device = self.device_mut(id)?;
        let prekey = device.prekeys.pop_front();
        let left = device.prekeys.len();
        let bundle = Bundle {
            registration: device.registration,
            identity: device.identity,
            signed_prekey: device.signed_prekey.clone(),
            prekey,
            device_identity: device.device_identity.clone(),
        };
        if bundle.prekey.is_some() {
            self.oracle.count(&id.account).prekeys_taken += 1;
            if PREKEYS_LOW.contains(&left) {
                let count = Node::new("count").attr("value", left.to_string());
                self.notify(id, "encrypt", SERVER, count);
            }
        }
        Some(bundle)
    }

    fn hand_out(&mut self, jid: &str) -> Node {
        let user = Node::new("user").attr("jid", jid);
        let id = jid.parse::<Jid>().ok().and_then(|jid| self.device_id(&jid));
        match id.and_then(|id| self.take_bundle(&id)) {
            Some(bundle) => user
                .attr("t", self.clock.stamp().to_string())
                .children(bundle.nodes()),
            None => user.child(
                Node::new("error")
                    .attr("code", "406")
                    .attr("text", "not-acceptable"),
            ),
        }
    }
}

/// What one needs to write to a device for the first time.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) registration: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed_prekey: SignedPreKey,
    pub(crate) prekey: Option<PreKey>,
    device_identity: Option<Vec<u8>>,
}

impl Bundle {
    fn nodes(self) -> Vec<Node> {
        let key = self.prekey.map(|key| {
            Node::new("key")
                .child(Node::new("id").bytes(three_bytes(key.id)))
                .child(Node::new("value").bytes(key.value))
        });
        let identity = self
            .device_identity
            .map(|identity| Node::new("device-identity").bytes(identity));
        [
            Node::new("registration").bytes(self.registration.to_be_bytes()),
            Node::new("type").bytes(KEY_TYPE),
            Node::new("identity").bytes(self.identity),
            skey_node(&self.signed_prekey),
        ]
        .into_iter()
        .chain(key)
        .chain(identity)
        .collect()
    }
}

/// What the server holds of a device, for the device to compare.
fn digest(device: &Device) -> Node {
    let ids = device
        .prekeys
        .iter()
        .map(|key| Node::new("id").bytes(three_bytes(key.id)));
    let signed = &device.signed_prekey;
    let mut hash = Sha1::new();
    hash.update(device.identity);
    hash.update(signed.value);
    hash.update(&signed.signature);
    for key in &device.prekeys {
        hash.update(key.value);
    }
    Node::new("digest")
        .child(Node::new("registration").bytes(device.registration.to_be_bytes()))
        .child(Node::new("type").bytes(KEY_TYPE))
        .child(Node::new("identity").bytes(device.identity))
        .child(skey_node(signed))
        .child(Node::new("list").children(ids.collect()))
        .child(Node::new("hash").bytes(hash.finalize().to_vec()))
}

fn skey_node(key: &SignedPreKey) -> Node {
    Node::new("skey")
        .child(Node::new("id").bytes(three_bytes(key.id)))
        .child(Node::new("value").bytes(key.value))
        .child(Node::new("signature").bytes(key.signature.clone()))
}

fn signed_prekey(skey: &Node) -> Option<SignedPreKey> {
    let key = prekey(skey)?;
    Some(SignedPreKey {
        id: key.id,
        value: key.value,
        signature: skey.find("signature")?.data().to_vec(),
    })
}

fn prekey(key: &Node) -> Option<PreKey> {
    let [a, b, c] = key.find("id")?.data().try_into().ok()?;
    Some(PreKey {
        id: u32::from_be_bytes([0, a, b, c]),
        value: key.find("value")?.data().try_into().ok()?,
    })
}

/// Prekey ids travel as three bytes, most significant first.
pub(crate) fn three_bytes(id: u32) -> [u8; 3] {
    let [_, a, b, c] = id.to_be_bytes();
    [a, b, c]
}
