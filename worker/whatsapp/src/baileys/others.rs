//! The smaller records: prekeys, app state keys, mappings, tokens, identities.

use prost::Message as _;
use proto::session::{AppSyncKey, LidMapping, PreKey, TcToken};
use serde_json::{Value, json};
use wacore::libsignal::store::record_helpers::new_pre_key_record;
use waproto::whatsapp::message::AppStateSyncKeyFingerprint;

use super::address::checked_user;
use super::creds::{key_pair, public_key};
use super::fault::Fault;
use super::value::{base64, buffer, bytes, bytes_of, field, integer, integer_of, optional};

/// Devices in a fingerprint.
const DEVICES_MAX: usize = 1_024;

/// A prekey's record.
pub(super) fn read_prekey(id: u32, value: &Value, uploaded: bool) -> Result<Vec<u8>, Fault> {
    let pair = key_pair(value, "pre-key")?;
    let record = waproto::codec::pre_key_record_to_vec(&new_pre_key_record(id, &pair));
    Ok(PreKey { record, uploaded }.encode_to_vec())
}

pub(super) fn write_prekey(stored: &[u8]) -> Result<Value, Fault> {
    let stored = PreKey::decode(stored).map_err(|_| Fault::Stored)?;
    let record =
        waproto::codec::pre_key_record_decode(&stored.record).map_err(|_| Fault::Stored)?;
    let (Some(public), Some(private)) = (record.public_key, record.private_key) else {
        return Err(Fault::Stored);
    };
    let public = public_key(&public).ok_or(Fault::Stored)?;
    Ok(json!({
        "private": buffer(&private),
        "public": buffer(public.public_key_bytes()),
    }))
}

/// A key of the app state; `sequence` says which was stored later.
pub(super) fn read_app_state_key(value: &Value, sequence: u64) -> Result<Vec<u8>, Fault> {
    let print = field(value, "fingerprint")?;
    let devices = optional(print, "deviceIndexes").and_then(Value::as_array);
    let device_indexes = devices
        .into_iter()
        .flatten()
        .take(DEVICES_MAX)
        .map(|index| {
            u32::try_from(integer(index, "deviceIndexes")?)
                .map_err(|_| Fault::Wrong("deviceIndexes"))
        })
        .collect::<Result<Vec<u32>, Fault>>()?;
    let number = |name| {
        optional(print, name)
            .map(|_| integer_of::<u32>(print, name))
            .transpose()
    };
    let fingerprint = AppStateSyncKeyFingerprint {
        raw_id: number("rawId")?,
        current_index: number("currentIndex")?,
        device_indexes,
    };
    let key_data = bytes_of(value, "keyData")?;
    if key_data.len() != 32 {
        return Err(Fault::Wrong("keyData"));
    }
    let key = AppSyncKey {
        key_data,
        fingerprint: waproto::codec::app_state_sync_key_fingerprint_to_vec(&fingerprint),
        timestamp: optional(value, "timestamp").map_or(Ok(0), |time| integer(time, "timestamp"))?,
        sequence,
    };
    Ok(key.encode_to_vec())
}

/// The key, and its place among the others.
pub(super) fn write_app_state_key(stored: &[u8]) -> Result<(u64, Value), Fault> {
    let stored = AppSyncKey::decode(stored).map_err(|_| Fault::Stored)?;
    let print = waproto::codec::app_state_sync_key_fingerprint_decode(&stored.fingerprint)
        .map_err(|_| Fault::Stored)?;
    let json = json!({
        "keyData": base64(&stored.key_data),
        "fingerprint": {
            "rawId": print.raw_id.unwrap_or_default(),
            "currentIndex": print.current_index.unwrap_or_default(),
            "deviceIndexes": print.device_indexes,
        },
        "timestamp": stored.timestamp.to_string(),
    });
    Ok((stored.sequence, json))
}

/// The other side of a mapping.
pub(super) fn read_mapping(value: &Value) -> Result<String, Fault> {
    value
        .as_str()
        .and_then(checked_user)
        .map(ToOwned::to_owned)
        .ok_or(Fault::Wrong("lid-mapping"))
}

pub(super) fn mapping_record(lid: &str, number: &str, now: i64) -> Vec<u8> {
    let mapping = LidMapping {
        lid: lid.to_owned(),
        phone_number: number.to_owned(),
        created_at: now,
        updated_at: now,
        learning_source: "other".to_owned(),
    };
    mapping.encode_to_vec()
}

/// A LID and its number.
pub(super) fn write_mapping(stored: &[u8]) -> Result<(String, String), Fault> {
    let stored = LidMapping::decode(stored).map_err(|_| Fault::Stored)?;
    let (lid, number) = (
        checked_user(&stored.lid),
        checked_user(&stored.phone_number),
    );
    let (Some(lid), Some(number)) = (lid, number) else {
        return Err(Fault::Stored);
    };
    Ok((lid.to_owned(), number.to_owned()))
}

pub(super) fn read_token(value: &Value) -> Result<Vec<u8>, Fault> {
    let token = TcToken {
        token: optional(value, "token").map_or(Ok(Vec::new()), |token| bytes(token, "token"))?,
        token_timestamp: optional(value, "timestamp")
            .map_or(Ok(0), |time| integer(time, "timestamp"))?,
        sender_timestamp: optional(value, "senderTimestamp")
            .map(|time| integer(time, "senderTimestamp"))
            .transpose()?,
    };
    Ok(token.encode_to_vec())
}

pub(super) fn write_token(stored: &[u8]) -> Result<Value, Fault> {
    let stored = TcToken::decode(stored).map_err(|_| Fault::Stored)?;
    let mut json = json!({
        "token": buffer(&stored.token),
        "timestamp": stored.token_timestamp.to_string(),
    });
    if let Some(time) = stored.sender_timestamp {
        json["senderTimestamp"] = json!(time);
    }
    Ok(json)
}

/// Somebody's identity key, without its type.
pub(super) fn read_identity(value: &Value) -> Result<[u8; 32], Fault> {
    let key = public_key(&bytes(value, "identity-key")?).ok_or(Fault::Wrong("identity-key"))?;
    key.public_key_bytes()
        .try_into()
        .map_err(|_| Fault::Wrong("identity-key"))
}
