//! An older copy of a session, made fit to be used again.
//!
//! What was sent after the copy was made, the copy does not know. So every chain
//! that sends is moved ahead, further than anything can have been sent with it,
//! and new prekeys get numbers far above the old ones: no counter is used twice.
//! What tells of others' state at that time (who has our sender keys, who has
//! which devices) is left out; the engine asks for it anew.
//!
//! What was received since is not in the copy either: messages on chains that it
//! does not know cannot be read, and the engine asks for them once more.

use session::{Kind, Record};
use wacore::libsignal::protocol::{SenderKeyRecord, SessionRecord};
use wacore::store::Device;

use crate::baileys::creds::prekeys_ahead;
use crate::baileys::{Fault, sender_keys, sessions};

/// A record, if it is to be used again, with its counters moved ahead by so many
/// steps.
///
/// # Errors
/// [`Fault`]: the record is not what the engine stores.
pub fn moved_ahead(kind: Kind, record: Record, steps: u32) -> Result<Option<Record>, Fault> {
    let value = match kind {
        Kind::Device => device(&record.value)?,
        Kind::Sessions => session(&record.value, steps)?,
        Kind::SenderKeys => sender_key(&record.value, steps)?,
        Kind::SenderKeyDevices | Kind::DeviceLists => return Ok(None),
        Kind::Identities
        | Kind::BaseKeys
        | Kind::Pending
        | Kind::PreKeys
        | Kind::SignedPreKeys
        | Kind::GroupMetadata
        | Kind::AppSyncKeys
        | Kind::HashStates
        | Kind::MutationMacs
        | Kind::LidMappings
        | Kind::PnMappings
        | Kind::TcTokens
        | Kind::SentMessages
        | Kind::MsgSecrets => return Ok(Some(record)),
    };
    Ok(Some(Record::until(value, record.expires_at)))
}

fn device(value: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut device: Device = serde_json::from_slice(value).map_err(|_| Fault::Stored)?;
    let next = prekeys_ahead(device.next_pre_key_id);
    device.next_pre_key_id = next;
    device.first_unupload_pre_key_id = next;
    serde_json::to_vec(&device).map_err(|_| Fault::Stored)
}

fn session(value: &[u8], steps: u32) -> Result<Vec<u8>, Fault> {
    let mut components = SessionRecord::deserialize(value)?.into_components()?;
    let current = components.current_session.iter_mut();
    for session in current.chain(&mut components.previous_sessions) {
        sessions::move_ahead(session, steps)?;
    }
    Ok(SessionRecord::from_components(components)?.serialize()?)
}

fn sender_key(value: &[u8], steps: u32) -> Result<Vec<u8>, Fault> {
    let mut components = SenderKeyRecord::deserialize(value)?.into_components()?;
    for state in &mut components.states {
        sender_keys::move_ahead(state, steps)?;
    }
    Ok(SenderKeyRecord::from_components(components)?.serialize()?)
}

#[cfg(test)]
mod tests {
    use crate::baileys::{Files, ImportOptions, import};

    use super::*;

    fn baileys_fixture() -> Files {
        let text = include_str!("baileys/fixture.json");
        let fixture: serde_json::Value = serde_json::from_str(text).unwrap();
        let records = fixture["baileys7"].as_object().unwrap();
        records
            .iter()
            .map(|(name, content)| (name.clone(), content.to_string().into_bytes()))
            .collect()
    }

    fn sending(kind: Kind, value: &[u8]) -> Vec<u32> {
        if kind == Kind::Sessions {
            let record = SessionRecord::deserialize(value).unwrap();
            let components = record.into_components().unwrap();
            let chains = components.current_session.into_iter();
            return chains
                .filter_map(|session| session.sender_chain?.chain_key?.index)
                .collect();
        }
        if kind == Kind::SenderKeys {
            let record = SenderKeyRecord::deserialize(value).unwrap();
            let states = record.into_components().unwrap().states.into_iter();
            return states
                .filter(|state| state.signing_key.private.is_some())
                .map(|state| state.chain_key.iteration)
                .collect();
        }
        Vec::new()
    }

    #[test]
    fn every_chain_that_sends_is_moved_and_nothing_else_is_changed() {
        let files = baileys_fixture();
        let imported = import(&files, ImportOptions::at(1_800_000_000)).unwrap();
        let mut moved_chains = 0;
        for ((kind, _), value) in imported.records {
            let before = Record::from(value);
            let after = moved_ahead(kind, before.clone(), 500).unwrap();
            let after = after.expect("an import has none that are left out");
            let (was, is) = (sending(kind, &before.value), sending(kind, &after.value));
            let expected: Vec<u32> = was.iter().map(|counter| counter + 500).collect();
            assert_eq!(is, expected, "{kind:?}");
            moved_chains += is.len();
            if kind == Kind::Device {
                let read =
                    |record: &Record| -> Device { serde_json::from_slice(&record.value).unwrap() };
                let (was, is) = (read(&before), read(&after));
                assert!(is.next_pre_key_id >= was.next_pre_key_id + 1_000);
                assert_eq!(is.first_unupload_pre_key_id, is.next_pre_key_id);
            } else if is.is_empty() && kind != Kind::SenderKeys && kind != Kind::Sessions {
                assert_eq!(before, after, "{kind:?}");
            }
        }
        assert!(moved_chains >= 2, "{moved_chains}");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for kind in [Kind::Device, Kind::Sessions, Kind::SenderKeys] {
            let record = Record::from(b"canary".to_vec());
            assert!(moved_ahead(kind, record, 1).is_err(), "{kind:?}");
        }
    }
}
