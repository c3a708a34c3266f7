//! One-to-one sessions: libsignal's JSON and the engine's records.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use wacore::libsignal::protocol::{
    IdentityKey, LegacyIndexedSessionV1, LegacySessionBaseKeyRoleV1, LegacySessionChainCounterV1,
    LegacySessionChainKeyV1, LegacySessionChainRoleV1, LegacySessionChainV1,
    LegacySessionDispositionV1, LegacySessionIndexV1, LegacySessionKeyPairV1,
    LegacySessionLocalContext, LegacySessionMessageKeyV1, LegacySessionPendingPreKeyV1,
    LegacySessionRatchetV1, LegacySessionRecordV1, LegacySessionV1, SessionComponents,
    SessionRecord, SessionRecordComponents,
};
use wacore::store::Device;

use super::fault::Fault;
use super::value::{bytes, bytes_of, field, integer, integer_of, optional};
use crate::chains;

/// libsignal keeps forty closed sessions with one device.
const SESSIONS_MAX: usize = 64;
/// Of one session; libsignal forgets the oldest long before.
const CHAINS_MAX: usize = 256;
/// Skipped keys of one chain.
const MESSAGE_KEYS_MAX: usize = 2_000;

/// A session that was read.
pub(super) struct Session {
    /// As the engine stores it.
    pub(super) record: Vec<u8>,
    /// The other side's identity, of the open session or else the newest.
    pub(super) identity: Option<[u8; 32]>,
}

/// Reads a session, and moves its sending chains ahead.
pub(super) fn read(value: &Value, own: &Device, steps: u32) -> Result<Session, Fault> {
    let sessions = field(value, "_sessions")?
        .as_object()
        .ok_or(Fault::Wrong("_sessions"))?;
    if sessions.is_empty() {
        return Err(Fault::Missing("_sessions"));
    }
    if sessions.len() > SESSIONS_MAX {
        return Err(Fault::Wrong("_sessions"));
    }
    let indexed = sessions
        .iter()
        .map(|(key, session)| indexed(key, session))
        .collect::<Result<Vec<_>, Fault>>()?;
    let context = LegacySessionLocalContext {
        identity_key: IdentityKey::new(own.identity_key.public_key),
        registration_id: own.registration_id,
    };
    let record = LegacySessionRecordV1::from_indexed_sessions(indexed)?;
    let mut components = record.into_session_record(context)?.into_components()?;
    for session in components
        .current_session
        .iter_mut()
        .chain(&mut components.previous_sessions)
    {
        move_ahead(session, steps)?;
    }
    let newest = components
        .current_session
        .iter()
        .chain(&components.previous_sessions)
        .next();
    let identity = newest
        .and_then(|session| session.remote_identity_public.as_deref())
        .and_then(|key| key.get(1..)?.try_into().ok());
    let record = SessionRecord::from_components(components)?.serialize()?;
    Ok(Session { record, identity })
}

/// Moves the chain of a session that sends ahead.
pub(crate) fn move_ahead(session: &mut SessionComponents, steps: u32) -> Result<(), Fault> {
    let Some(chain) = session
        .sender_chain
        .as_mut()
        .and_then(|sender| sender.chain_key.as_mut())
    else {
        return Ok(());
    };
    let (Some(index), Some(key)) = (chain.index, chain.key.as_deref()) else {
        return Err(Fault::Missing("chainKey"));
    };
    let key: &[u8; 32] = key.try_into().map_err(|_| Fault::Wrong("chainKey"))?;
    chain.key = Some(chains::ahead(key, steps).to_vec());
    chain.index = Some(index.checked_add(steps).ok_or(Fault::Wrong("counter"))?);
    Ok(())
}

fn indexed(key: &str, value: &Value) -> Result<LegacyIndexedSessionV1, Fault> {
    let ratchet = field(value, "currentRatchet")?;
    let pair = field(ratchet, "ephemeralKeyPair")?;
    let index = field(value, "indexInfo")?;
    let chains = field(value, "_chains")?
        .as_object()
        .ok_or(Fault::Wrong("_chains"))?;
    if chains.len() > CHAINS_MAX {
        return Err(Fault::Wrong("_chains"));
    }
    Ok(LegacyIndexedSessionV1 {
        index_key: decode(key, "_sessions")?,
        session: LegacySessionV1 {
            registration_id: integer_of(value, "registrationId")?,
            ratchet: LegacySessionRatchetV1 {
                key_pair: LegacySessionKeyPairV1 {
                    public: bytes_of(pair, "pubKey")?.into(),
                    private: bytes_of(pair, "privKey")?.into(),
                },
                last_remote_ephemeral_key: bytes_of(ratchet, "lastRemoteEphemeralKey")?.into(),
                previous_counter: integer_or(ratchet, "previousCounter", 0)?,
                root_key: bytes_of(ratchet, "rootKey")?.into(),
            },
            index: LegacySessionIndexV1 {
                base_key: bytes_of(index, "baseKey")?.into(),
                base_key_role: LegacySessionBaseKeyRoleV1::try_from(integer_of::<u32>(
                    index,
                    "baseKeyType",
                )?)?,
                disposition: LegacySessionDispositionV1::from_closed_timestamp(integer_of(
                    index, "closed",
                )?)?,
                used_at_ms: time(index, "used")?,
                created_at_ms: time(index, "created")?,
                remote_identity_key: bytes_of(index, "remoteIdentityKey")?.into(),
            },
            chains: chains
                .iter()
                .map(|(key, chain)| read_chain(key, chain))
                .collect::<Result<_, Fault>>()?,
            pending_pre_key: optional(value, "pendingPreKey").map(pending).transpose()?,
        },
    })
}

fn read_chain(key: &str, value: &Value) -> Result<LegacySessionChainV1, Fault> {
    let chain_key = field(value, "chainKey")?;
    let mut message_keys = match optional(value, "messageKeys") {
        None => Vec::new(),
        Some(keys) => keys
            .as_object()
            .ok_or(Fault::Wrong("messageKeys"))?
            .iter()
            .map(|(index, seed)| {
                Ok(LegacySessionMessageKeyV1 {
                    index: index.parse().map_err(|_| Fault::Wrong("messageKeys"))?,
                    seed: bytes(seed, "messageKeys")?.into(),
                })
            })
            .collect::<Result<Vec<_>, Fault>>()?,
    };
    // The newest are the ones that may still be asked for.
    message_keys.sort_unstable_by_key(|key| std::cmp::Reverse(key.index));
    message_keys.truncate(MESSAGE_KEYS_MAX);
    Ok(LegacySessionChainV1 {
        ratchet_key: decode(key, "_chains")?,
        role: LegacySessionChainRoleV1::try_from(integer_of::<u32>(value, "chainType")?)?,
        chain_key: LegacySessionChainKeyV1 {
            counter: LegacySessionChainCounterV1::new(integer_of(chain_key, "counter")?)?,
            key: optional(chain_key, "key")
                .map(|key| bytes(key, "chainKey").map(Bytes::from))
                .transpose()?,
        },
        message_keys,
    })
}

fn pending(value: &Value) -> Result<LegacySessionPendingPreKeyV1, Fault> {
    Ok(LegacySessionPendingPreKeyV1 {
        pre_key_id: optional(value, "preKeyId")
            .map(|_| integer_of(value, "preKeyId"))
            .transpose()?,
        signed_pre_key_id: integer_of(value, "signedKeyId")?,
        base_key: bytes_of(value, "baseKey")?.into(),
    })
}

fn integer_or(value: &Value, name: &'static str, default: i64) -> Result<i64, Fault> {
    optional(value, name).map_or(Ok(default), |number| integer(number, name))
}

/// Milliseconds; what is no time counts as very long ago.
fn time(value: &Value, name: &'static str) -> Result<u64, Fault> {
    Ok(u64::try_from(integer_or(value, name, 0)?).unwrap_or(0))
}

fn decode(text: &str, name: &'static str) -> Result<Bytes, Fault> {
    BASE64
        .decode(text)
        .map(Bytes::from)
        .map_err(|_| Fault::Wrong(name))
}

/// Writes a session as libsignal's JSON. A closed session that has no such form
/// is left out. The engine's reserved counters are skipped.
pub(super) fn write(record: &[u8]) -> Result<Value, Fault> {
    let components = SessionRecord::deserialize(record)?.into_components()?;
    let mut sessions = Map::new();
    let whole =
        SessionRecord::from_components(components.clone())?.into_legacy_session_v1_operational();
    let legacy = match whole {
        Ok(legacy) => legacy,
        // One that is closed stands in the way: the open one is what counts.
        Err(_) => SessionRecord::from_components(SessionRecordComponents {
            previous_sessions: Vec::new(),
            ..components
        })?
        .into_legacy_session_v1_operational()?,
    };
    for indexed in legacy.into_indexed_sessions() {
        let key = BASE64.encode(&indexed.index_key);
        sessions.insert(key, session_json(&indexed.session));
    }
    if sessions.is_empty() {
        return Err(Fault::Missing("_sessions"));
    }
    Ok(json!({ "_sessions": sessions, "version": "v1" }))
}

fn session_json(session: &LegacySessionV1) -> Value {
    let text = |bytes: &[u8]| BASE64.encode(bytes);
    let chains: Map<String, Value> = session
        .chains
        .iter()
        .map(|chain| {
            let keys: Map<String, Value> = chain
                .message_keys
                .iter()
                .map(|key| (key.index.to_string(), json!(text(&key.seed))))
                .collect();
            let mut chain_key = json!({ "counter": chain.chain_key.counter.value() });
            if let Some(key) = &chain.chain_key.key {
                chain_key["key"] = json!(text(key));
            }
            let json = json!({
                "chainKey": chain_key,
                "chainType": chain.role.code(),
                "messageKeys": keys,
            });
            (text(&chain.ratchet_key), json)
        })
        .collect();
    let mut json = json!({
        "registrationId": session.registration_id,
        "currentRatchet": {
            "ephemeralKeyPair": {
                "pubKey": text(&session.ratchet.key_pair.public),
                "privKey": text(&session.ratchet.key_pair.private),
            },
            "lastRemoteEphemeralKey": text(&session.ratchet.last_remote_ephemeral_key),
            "previousCounter": session.ratchet.previous_counter,
            "rootKey": text(&session.ratchet.root_key),
        },
        "indexInfo": {
            "baseKey": text(&session.index.base_key),
            "baseKeyType": session.index.base_key_role.code(),
            "closed": session.index.disposition.closed_timestamp(),
            "used": session.index.used_at_ms,
            "created": session.index.created_at_ms,
            "remoteIdentityKey": text(&session.index.remote_identity_key),
        },
        "_chains": chains,
    });
    if let Some(pending) = &session.pending_pre_key {
        json["pendingPreKey"] = json!({
            "signedKeyId": pending.signed_pre_key_id,
            "baseKey": text(&pending.base_key),
        });
        if let Some(id) = pending.pre_key_id {
            json["pendingPreKey"]["preKeyId"] = json!(id);
        }
    }
    json
}
