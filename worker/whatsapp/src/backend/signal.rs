//! Signal state: identities, sessions, prekeys, sender keys.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use proto::session::PreKey;
use session::Kind;
use whatsapp_rust::store::error::Result;
use whatsapp_rust::store::traits::SignalStore;

use super::{Backend, BackendError, decode};

#[async_trait]
impl SignalStore for Backend {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        Ok(self
            .put(Kind::Identities, address.as_bytes(), key.to_vec())
            .await?)
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        self.write(|files| {
            files.edit(|edit| {
                for (address, key) in identities {
                    edit.put(Kind::Identities, address.as_bytes(), key.to_vec())?;
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        let key = self.get(Kind::Identities, address.as_bytes());
        let key = key.map(|key| {
            key.as_ref()
                .try_into()
                .map_err(|_| BackendError::Corrupt(Kind::Identities))
        });
        Ok(key.transpose()?)
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        Ok(self.remove(Kind::Identities, address.as_bytes()).await?)
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        Ok(self.get(Kind::Sessions, address.as_bytes()))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.write_durably(|files| {
            Ok(files.put(Kind::Sessions, address.as_bytes(), session.to_vec())?)
        })
        .await?;
        Ok(())
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.write_durably(|files| {
            files.edit(|edit| {
                for (address, session) in sessions {
                    edit.put(Kind::Sessions, address.as_bytes(), session.clone())?;
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        // A session that comes back after a crash would be used again.
        self.write_durably(|files| {
            files.remove(Kind::Sessions, address.as_bytes());
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn has_session(&self, address: &str) -> Result<bool> {
        Ok(self.get(Kind::Sessions, address.as_bytes()).is_some())
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        // Addresses are `user@server` and `user:device@server`.
        let forms = [format!("{user}@"), format!("{user}:")];
        let is_known = |kind| forms.iter().any(|form| self.files.any(kind, form));
        Ok(is_known(Kind::Sessions) || is_known(Kind::Identities))
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> Result<()> {
        let record = Bytes::copy_from_slice(record);
        self.store_prekeys_batch(&[(id, record)], uploaded).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> Result<()> {
        self.write_durably(|files| {
            files.edit(|edit| {
                for (id, record) in keys {
                    let prekey = PreKey {
                        record: record.to_vec(),
                        uploaded,
                    };
                    edit.put(Kind::PreKeys, id.to_be_bytes(), prekey.encode_to_vec())?;
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        let prekey: Option<PreKey> = self.get_message(Kind::PreKeys, &id.to_be_bytes())?;
        Ok(prekey.map(|prekey| prekey.record.into()))
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> Result<Vec<(u32, Bytes)>> {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(record) = self.load_prekey(*id).await? {
                found.push((*id, record));
            }
        }
        Ok(found)
    }

    async fn mark_prekeys_uploaded(&self, ids: &[u32]) -> Result<()> {
        self.write(|files| {
            files.edit(|edit| {
                for id in ids {
                    // Never brings back a prekey that was used meanwhile.
                    let Some(stored) = edit.get(Kind::PreKeys, id.to_be_bytes()) else {
                        continue;
                    };
                    let mut prekey: PreKey = decode(Kind::PreKeys, &stored.value)?;
                    prekey.uploaded = true;
                    edit.put(Kind::PreKeys, id.to_be_bytes(), prekey.encode_to_vec())?;
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    async fn remove_prekey(&self, id: u32) -> Result<()> {
        Ok(self.remove(Kind::PreKeys, &id.to_be_bytes()).await?)
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        let ids = self.files.scan(Kind::PreKeys, b"");
        let largest = ids.iter().filter_map(|(key, _)| id_of(key)).max();
        Ok(largest.unwrap_or(0))
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        self.write_durably(|files| {
            Ok(files.put(Kind::SignedPreKeys, id.to_be_bytes(), record.to_vec())?)
        })
        .await?;
        Ok(())
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        Ok(self
            .get(Kind::SignedPreKeys, &id.to_be_bytes())
            .map(Into::into))
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        let stored = self.files.scan(Kind::SignedPreKeys, b"");
        Ok(stored
            .into_iter()
            .filter_map(|(key, record)| Some((id_of(&key)?, record.value.into())))
            .collect())
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        Ok(self.remove(Kind::SignedPreKeys, &id.to_be_bytes()).await?)
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        self.write_durably(|files| {
            Ok(files.put(Kind::SenderKeys, address.as_bytes(), record.to_vec())?)
        })
        .await?;
        Ok(())
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.write_durably(|files| {
            files.edit(|edit| {
                for (address, record) in sender_keys {
                    edit.put(Kind::SenderKeys, address.as_bytes(), record.clone())?;
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        Ok(self
            .get(Kind::SenderKeys, address.as_bytes())
            .map(Into::into))
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        // As for sessions.
        self.write_durably(|files| {
            files.remove(Kind::SenderKeys, address.as_bytes());
            Ok(())
        })
        .await?;
        Ok(())
    }
}

fn id_of(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.try_into().ok()?))
}
