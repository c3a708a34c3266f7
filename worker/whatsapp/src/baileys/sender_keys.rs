//! Keys of groups. Baileys keeps a JSON text as bytes, the newest state last,
//! for each device of a person; the engine one record a person, the newest first,
//! and finds the state by its number.

use serde_json::{Value, json};
use wacore::libsignal::protocol::{
    SenderChainKeyComponents, SenderKeyRecord, SenderKeyRecordComponents, SenderKeyStateComponents,
    SenderMessageKeyComponents, SenderSigningKeyComponents,
};

use super::creds::public_key;
use super::fault::Fault;
use super::value::{array_of, buffer, bytes, bytes_of, field, integer_of, optional};
use crate::chains;

/// States of one sender; both sides keep five.
const STATES_MAX: usize = 5;
/// More in a file than this is no such file.
const STATES_READ_MAX: usize = 64;
/// Skipped keys of one state.
const MESSAGE_KEYS_MAX: usize = 2_000;

/// The states of one device, the newest first.
pub(super) type States = Vec<SenderKeyStateComponents>;

/// Reads a device's sender key; one of our own is moved ahead.
pub(super) fn read(value: &Value, steps: u32) -> Result<States, Fault> {
    let parsed;
    let states = match value {
        // Some stores keep it as JSON at once.
        Value::Array(states) if states.iter().all(Value::is_object) => states,
        Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Object(_) => {
            parsed = super::value::parse(&bytes(value, "sender key")?)?;
            parsed.as_array().ok_or(Fault::Wrong("sender key"))?
        }
    };
    if states.is_empty() {
        return Err(Fault::Missing("senderKeyStates"));
    }
    if states.len() > STATES_READ_MAX {
        return Err(Fault::Wrong("senderKeyStates"));
    }
    states
        .iter()
        .rev()
        .take(STATES_MAX)
        .map(|state| read_state(state, steps))
        .collect()
}

/// One record of all devices of a person: the newest states of each first.
pub(super) fn record(devices: &[States]) -> Result<Vec<u8>, Fault> {
    let longest = devices.iter().map(Vec::len).max().unwrap_or_default();
    let mut states: States = Vec::new();
    for age in 0..longest {
        for state in devices.iter().filter_map(|states| states.get(age)) {
            let is_known = |known: &SenderKeyStateComponents| known.key_id == state.key_id;
            if states.len() < STATES_MAX && !states.iter().any(is_known) {
                states.push(state.clone());
            }
        }
    }
    let record = SenderKeyRecord::from_components(SenderKeyRecordComponents { states })?;
    Ok(record.serialize()?)
}

fn read_state(value: &Value, steps: u32) -> Result<SenderKeyStateComponents, Fault> {
    let chain = field(value, "senderChainKey")?;
    let signing = field(value, "senderSigningKey")?;
    let mut iteration: u32 = integer_of(chain, "iteration")?;
    let mut seed: [u8; 32] = array_of(chain, "seed")?;
    let public = public_key(&bytes_of(signing, "public")?).ok_or(Fault::Wrong("public"))?;
    let private = optional(signing, "private")
        .map(|private| bytes(private, "private"))
        .transpose()?
        .filter(|private| !private.is_empty());
    if private.is_some() {
        (iteration, seed) = ahead(iteration, &seed, steps)?;
    }
    let keys = optional(value, "senderMessageKeys").and_then(Value::as_array);
    let mut message_keys = keys
        .into_iter()
        .flatten()
        .map(|key| {
            Ok(SenderMessageKeyComponents {
                iteration: integer_of(key, "iteration")?,
                seed: bytes_of(key, "seed")?,
            })
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    // The oldest stand first.
    let surplus = message_keys.len().saturating_sub(MESSAGE_KEYS_MAX);
    message_keys.drain(..surplus);
    Ok(SenderKeyStateComponents {
        key_id: integer_of(value, "senderKeyId")?,
        chain_key: SenderChainKeyComponents {
            iteration,
            seed: seed.to_vec(),
        },
        signing_key: SenderSigningKeyComponents {
            public: public.serialize().to_vec(),
            private,
        },
        message_keys,
    })
}

fn ahead(iteration: u32, seed: &[u8; 32], steps: u32) -> Result<(u32, [u8; 32]), Fault> {
    let moved = iteration.checked_add(steps);
    let moved = moved.ok_or(Fault::Wrong("iteration"))?;
    Ok((moved, chains::ahead(seed, steps)))
}

/// Moves a state ahead, if it is one of our own.
pub(crate) fn move_ahead(state: &mut SenderKeyStateComponents, steps: u32) -> Result<(), Fault> {
    if state.signing_key.private.is_none() {
        return Ok(());
    }
    let chain = &mut state.chain_key;
    let seed: &[u8; 32] = chain.seed[..]
        .try_into()
        .map_err(|_| Fault::Wrong("seed"))?;
    let (iteration, seed) = ahead(chain.iteration, seed, steps)?;
    chain.iteration = iteration;
    chain.seed = seed.to_vec();
    Ok(())
}

/// Writes a sender key; the engine's reserved iterations are skipped.
pub(super) fn write(record: &[u8]) -> Result<Value, Fault> {
    let components = SenderKeyRecord::deserialize(record)?.into_components()?;
    if components.states.is_empty() {
        return Err(Fault::Missing("senderKeyStates"));
    }
    let states: Vec<Value> = components.states.iter().rev().map(state_json).collect();
    let text = serde_json::to_vec(&states)?;
    Ok(buffer(&text))
}

fn state_json(state: &SenderKeyStateComponents) -> Value {
    let keys: Vec<Value> = state
        .message_keys
        .iter()
        .map(|key| json!({ "iteration": key.iteration, "seed": buffer(&key.seed) }))
        .collect();
    let mut signing = json!({ "public": buffer(&state.signing_key.public) });
    if let Some(private) = &state.signing_key.private {
        signing["private"] = buffer(private);
    }
    json!({
        "senderKeyId": state.key_id,
        "senderChainKey": {
            "iteration": state.chain_key.iteration,
            "seed": buffer(&state.chain_key.seed),
        },
        "senderSigningKey": signing,
        "senderMessageKeys": keys,
    })
}
