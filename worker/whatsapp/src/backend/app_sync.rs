//! App state sync: keys, versions, and the MACs that prove them.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use proto::session::{AppSyncKey, HashState as StoredHashState, IndexValue, MutationMac};
use session::{Kind, Record};
use wacore::appstate::hash::HashState;
use wacore::store::traits::{AppStateSyncKey, AppSyncStore};
use whatsapp_rust::store::error::Result;

use super::{Backend, BackendError, key_prefix};

/// What `AppSyncStore` calls a mutation's MACs; the engine does not re-export it.
type Mutations = [wacore::appstate::processor::AppStateMutationMAC];

#[async_trait]
impl AppSyncStore for Backend {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        let stored: Option<AppSyncKey> = self.get_message(Kind::AppSyncKeys, key_id)?;
        Ok(stored.map(|stored| AppStateSyncKey {
            key_data: stored.key_data,
            fingerprint: stored.fingerprint,
            timestamp: stored.timestamp,
        }))
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<()> {
        self.write_durably(|files| {
            let last = latest_key(&files.scan(Kind::AppSyncKeys, b""));
            let stored = AppSyncKey {
                key_data: key.key_data,
                fingerprint: key.fingerprint,
                timestamp: key.timestamp,
                sequence: last.map_or(0, |(sequence, _)| sequence) + 1,
            };
            Ok(files.put(Kind::AppSyncKeys, key_id, stored.encode_to_vec())?)
        })
        .await?;
        Ok(())
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        let stored: Option<StoredHashState> =
            self.get_message(Kind::HashStates, name.as_bytes())?;
        let Some(stored) = stored else {
            return Ok(HashState::default());
        };
        let corrupt = |_| BackendError::Corrupt(Kind::HashStates);
        Ok(HashState {
            version: stored.version,
            hash: stored.hash.try_into().map_err(corrupt)?,
            index_value_map: stored
                .index_values
                .into_iter()
                .map(|entry| (entry.index, entry.value))
                .collect(),
            mac_mismatch_fatal: stored.mac_mismatch_fatal,
        })
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        let mut index_values: Vec<_> = state
            .index_value_map
            .into_iter()
            .map(|(index, value)| IndexValue { index, value })
            .collect();
        index_values.sort_unstable_by(|a, b| a.index.cmp(&b.index));
        let stored = StoredHashState {
            version: state.version,
            hash: state.hash.to_vec(),
            index_values,
            mac_mismatch_fatal: state.mac_mismatch_fatal,
        };
        Ok(self
            .put(Kind::HashStates, name.as_bytes(), stored.encode_to_vec())
            .await?)
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        version: u64,
        mutations: &Mutations,
    ) -> Result<()> {
        self.write(|files| {
            files.edit(|edit| {
                for mutation in mutations {
                    let key = mac_key(name, &mutation.index_mac)?;
                    let stored = MutationMac {
                        version,
                        value_mac: mutation.value_mac.clone(),
                    };
                    edit.put(Kind::MutationMacs, key, stored.encode_to_vec())?;
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        let key = mac_key(name, index_mac)?;
        let stored: Option<MutationMac> = self.get_message(Kind::MutationMacs, &key)?;
        Ok(stored.map(|stored| stored.value_mac))
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[[u8; 32]],
    ) -> Result<HashMap<[u8; 32], Vec<u8>>> {
        let mut found = HashMap::with_capacity(index_macs.len());
        for index_mac in index_macs {
            if let Some(value_mac) = self.get_mutation_mac(name, index_mac).await? {
                found.insert(*index_mac, value_mac);
            }
        }
        Ok(found)
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        self.write(|files| {
            files.edit(|edit| {
                for index_mac in index_macs {
                    edit.remove(Kind::MutationMacs, mac_key(name, index_mac)?);
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        self.write(|files| {
            let prefix = key_prefix(Kind::MutationMacs, name)?;
            files.retain(Kind::MutationMacs, |key, _| !key.starts_with(&prefix));
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        Ok(latest_key(&self.files.scan(Kind::AppSyncKeys, b"")).map(|(_, id)| id))
    }
}

/// The collection's name, a 0 byte, and the MAC, which may hold any byte.
fn mac_key(name: &str, index_mac: &[u8]) -> super::Result<Vec<u8>> {
    let mut key = key_prefix(Kind::MutationMacs, name)?;
    key.extend_from_slice(index_mac);
    Ok(key)
}

/// The key that was stored last: its sequence and id.
fn latest_key(keys: &[(Bytes, Record)]) -> Option<(u64, Vec<u8>)> {
    keys.iter()
        .filter_map(|(id, stored)| {
            let stored = AppSyncKey::decode(stored.value.as_ref()).ok()?;
            Some((stored.sequence, id.to_vec()))
        })
        .max_by_key(|(sequence, _)| *sequence)
}
