//! `creds.json` and the engine's device: who the account is, and its own keys.
//!
//! Unlike all other records these must be right: with wrong ones the server
//! would end the link, for good.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use wacore::adv::{AdvValidation, validate_adv_with_identity_key};
use wacore::libsignal::protocol::{KeyPair, PrivateKey, PublicKey};
use wacore::store::Device;
use wacore_binary::{Jid, Server};
use waproto::whatsapp::ADVSignedDeviceIdentity;

use super::address::checked_user;
use super::fault::Fault;
use super::value::{
    array_of, base64, buffer, bytes, bytes_of, field, integer, integer_of, optional,
};

/// New prekeys are numbered so far above the old ones, since the files may be
/// older than the last that were made.
const PREKEYS_AHEAD: u32 = 1_000;
/// WhatsApp has three bytes for a prekey's number, and begins anew at 1.
const PREKEY_ID_MAX: u32 = 0x00ff_ffff;
/// Longest name that a phone carries, in characters.
const NAME_LENGTH_MAX: usize = 100;

/// What the credentials say.
pub(super) struct Creds {
    pub(super) device: Device,
    /// The app state key that is in use.
    pub(super) app_state_key: Option<Vec<u8>>,
    /// Prekeys below are known to the server.
    pub(super) unuploaded: u32,
    /// The identity keys of others that stand in here, by address.
    pub(super) identities: Vec<(Jid, [u8; 32])>,
}

/// Reads and checks `creds.json`.
pub(super) fn read(creds: &Value) -> Result<Creds, Fault> {
    let me = optional(creds, "me").ok_or(Fault::NotLinked)?;
    let pn = own_address(field(me, "id")?, Server::Pn, "me.id")?;
    let lid = optional(me, "lid")
        .map(|lid| own_address(lid, Server::Lid, "me.lid"))
        .transpose()?
        // Some versions leave the device out.
        .map(|lid| Jid {
            device: pn.device,
            ..lid
        });
    let identity_key = key_pair(field(creds, "signedIdentityKey")?, "signedIdentityKey")?;
    let signed = field(creds, "signedPreKey")?;
    let signed_pre_key = key_pair(field(signed, "keyPair")?, "signedPreKey")?;
    let signature: [u8; 64] = array_of(signed, "signature")?;
    let signed_bytes = signed_pre_key.public_key.serialize();
    if !identity_key
        .public_key
        .verify_signature(&signed_bytes, &signature)
    {
        return Err(Fault::Signature("signedPreKey"));
    }
    let account = account(field(creds, "account")?, &identity_key)?;
    let next: u32 = integer_of(creds, "nextPreKeyId")?;
    let unuploaded = integer_of::<u32>(creds, "firstUnuploadedPreKeyId")?.min(next);
    let next = prekeys_ahead(next);
    let device = Device {
        pn: Some(pn),
        lid,
        registration_id: integer_of(creds, "registrationId")?,
        noise_key: key_pair(field(creds, "noiseKey")?, "noiseKey")?,
        identity_key,
        signed_pre_key,
        signed_pre_key_id: integer_of(signed, "keyId")?,
        signed_pre_key_signature: signature,
        adv_secret_key: array_of(creds, "advSecretKey")?,
        account: Some(Arc::new(account)),
        push_name: name(me),
        edge_routing_info: optional(creds, "routingInfo")
            .map(|info| bytes(info, "routingInfo"))
            .transpose()?,
        props_hash: None,
        next_pre_key_id: next,
        first_unupload_pre_key_id: next,
        server_has_prekeys: true,
        // Zero: the next rotation counts from the first connection.
        last_signed_pre_key_rotation_ms: 0,
        ..Device::new()
    };
    Ok(Creds {
        device,
        app_state_key: optional(creds, "myAppStateKeyId")
            .map(|id| bytes(id, "myAppStateKeyId"))
            .transpose()?,
        unuploaded,
        identities: identities(creds),
    })
}

/// The number of the next prekey, so far ahead that none was given twice.
pub(crate) fn prekeys_ahead(next: u32) -> u32 {
    next.checked_add(PREKEYS_AHEAD)
        .filter(|next| *next < PREKEY_ID_MAX)
        .unwrap_or(1)
}

/// Writes `creds.json`. `app_state_key` is the one that is in use.
pub(super) fn write(
    device: &Device,
    app_state_key: Option<&[u8]>,
    ephemeral: &KeyPair,
) -> Result<Value, Fault> {
    let pn = device.pn.as_ref().ok_or(Fault::NotLinked)?;
    let account = device.account.as_ref().ok_or(Fault::Missing("account"))?;
    let signer = account.account_signature_key.as_deref().unwrap_or_default();
    let text = |bytes: Option<&[u8]>| base64(bytes.unwrap_or_default());
    let mut creds = json!({
        "noiseKey": key_pair_json(&device.noise_key),
        "pairingEphemeralKeyPair": key_pair_json(ephemeral),
        "signedIdentityKey": key_pair_json(&device.identity_key),
        "signedPreKey": {
            "keyPair": key_pair_json(&device.signed_pre_key),
            "signature": buffer(&device.signed_pre_key_signature),
            "keyId": device.signed_pre_key_id,
        },
        "registrationId": device.registration_id,
        "advSecretKey": base64(&device.adv_secret_key),
        "processedHistoryMessages": [],
        "nextPreKeyId": device.next_pre_key_id,
        "firstUnuploadedPreKeyId": device.first_unupload_pre_key_id.max(1),
        // The history has been here: it is not waited for.
        "accountSyncCounter": 1,
        "accountSettings": { "unarchiveChats": false },
        "registered": true,
        "me": { "id": pn.to_string() },
        "account": {
            "details": text(account.details.as_deref()),
            "accountSignatureKey": text(Some(signer)),
            "accountSignature": text(account.account_signature.as_deref()),
            "deviceSignature": text(account.device_signature.as_deref()),
        },
        "signalIdentities": [],
    });
    if let Some(lid) = &device.lid {
        creds["me"]["lid"] = json!(lid.to_string());
        // Baileys keeps the phone's identity with its own; it has type 5.
        creds["signalIdentities"] = json!([{
            "identifier": { "name": lid.to_string(), "deviceId": 0 },
            "identifierKey": buffer(&[&[5][..], signer].concat()),
        }]);
    }
    if !device.push_name.is_empty() {
        creds["me"]["name"] = json!(device.push_name);
    }
    if let Some(info) = &device.edge_routing_info {
        creds["routingInfo"] = buffer(info);
    }
    if let Some(id) = app_state_key {
        creds["myAppStateKeyId"] = base64(id);
    }
    Ok(creds)
}

/// A pair of keys, of which Baileys keeps the public one without its type.
pub(super) fn key_pair(value: &Value, name: &'static str) -> Result<KeyPair, Fault> {
    let private: [u8; 32] = array_of(value, "private").map_err(|_| Fault::Wrong(name))?;
    let public = public_key(&bytes_of(value, "public").map_err(|_| Fault::Wrong(name))?)
        .ok_or(Fault::Wrong(name))?;
    let private = PrivateKey::deserialize(&private).map_err(|_| Fault::Wrong(name))?;
    if private.public_key().ok() != Some(public) {
        return Err(Fault::KeyPair(name));
    }
    Ok(KeyPair::new(public, private))
}

pub(super) fn key_pair_json(pair: &KeyPair) -> Value {
    json!({
        "private": buffer(pair.private_key.serialize()),
        "public": buffer(pair.public_key.public_key_bytes()),
    })
}

/// A public key, with or without its type.
pub(super) fn public_key(bytes: &[u8]) -> Option<PublicKey> {
    match bytes.len() {
        32 => PublicKey::from_djb_public_key_bytes(bytes).ok(),
        33 => PublicKey::deserialize(bytes).ok(),
        _ => None,
    }
}

fn own_address(value: &Value, server: Server, name: &'static str) -> Result<Jid, Fault> {
    let jid: Jid = value
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or(Fault::Wrong(name))?;
    let is_own = jid.server == server && checked_user(&jid.user).is_some();
    if is_own {
        Ok(jid)
    } else {
        Err(Fault::Wrong(name))
    }
}

/// The identity that the phone signed for this device, and that this device
/// signed in turn.
fn account(value: &Value, identity: &KeyPair) -> Result<ADVSignedDeviceIdentity, Fault> {
    let account = ADVSignedDeviceIdentity {
        details: Some(bytes_of(value, "details")?),
        account_signature_key: Some(bytes_of(value, "accountSignatureKey")?),
        account_signature: Some(bytes_of(value, "accountSignature")?),
        device_signature: Some(bytes_of(value, "deviceSignature")?),
    };
    let encoded = waproto::codec::adv_signed_device_identity_to_vec(&account);
    let own: [u8; 32] = identity
        .public_key
        .public_key_bytes()
        .try_into()
        .map_err(|_| Fault::Wrong("signedIdentityKey"))?;
    match validate_adv_with_identity_key(&encoded, &own, None) {
        AdvValidation::Valid => Ok(account),
        AdvValidation::Invalid | AdvValidation::NoAccountKey => Err(Fault::Signature("account")),
    }
}

/// What others call the account; what is no name is none.
fn name(me: &Value) -> String {
    let name = optional(me, "name").and_then(Value::as_str);
    let name = name.unwrap_or_default().chars();
    name.filter(|c| !c.is_control())
        .take(NAME_LENGTH_MAX)
        .collect()
}

/// The phone's identity; what cannot be read is learnt again.
fn identities(creds: &Value) -> Vec<(Jid, [u8; 32])> {
    let list = optional(creds, "signalIdentities").and_then(Value::as_array);
    let read = |entry: &Value| {
        let identifier = entry.get("identifier")?;
        let jid: Jid = identifier.get("name")?.as_str()?.parse().ok()?;
        checked_user(&jid.user)?;
        let device = integer(identifier.get("deviceId")?, "deviceId").ok()?;
        let key = bytes_of(entry, "identifierKey").ok()?;
        let key = public_key(&key)?.public_key_bytes().try_into().ok()?;
        let device = u16::try_from(device).ok()?;
        Some((Jid { device, ..jid }, key))
    };
    list.into_iter()
        .flatten()
        .take(16)
        .filter_map(read)
        .collect()
}

/// A prekey's id in a file's name, as base64 is in an app state key's.
pub(super) fn file_id(id: &[u8]) -> String {
    BASE64.encode(id).replace('/', "__")
}
