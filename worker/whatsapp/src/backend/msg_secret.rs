//! Secrets of messages, by which later edits, votes and the like are decrypted.

use async_trait::async_trait;
use prost::Message;
use proto::session::MsgSecret;
use session::{Kind, Record};
use whatsapp_rust::store::error::Result;
use whatsapp_rust::store::traits::{
    MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts,
};

use super::{Backend, key};

#[async_trait]
impl MsgSecretStore for Backend {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        let count = entries.len();
        self.write(|files| {
            files.edit(|edit| {
                for entry in entries {
                    let key = key(
                        Kind::MsgSecrets,
                        &[&entry.chat, &entry.sender, &entry.msg_id],
                    )?;
                    let merged = merge(&entry, edit.get(Kind::MsgSecrets, &key));
                    edit.put(Kind::MsgSecrets, &key, merged)?;
                }
                Ok(())
            })
        })
        .await?;
        Ok(count)
    }

    async fn get_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> Result<Option<Vec<u8>>> {
        let found = self.get_msg_secret_with_ts(chat, sender, msg_id).await?;
        Ok(found.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> Result<Option<(Vec<u8>, i64)>> {
        let key = key(Kind::MsgSecrets, &[chat, sender, msg_id])?;
        let stored: Option<MsgSecret> = self.get_message(Kind::MsgSecrets, &key)?;
        Ok(stored.map(|stored| (stored.secret, stored.message_timestamp)))
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> Result<u32> {
        let removed = self
            .write(|files| Ok(files.remove_expired(Kind::MsgSecrets, cutoff_timestamp)))
            .await?;
        Ok(u32::try_from(removed).unwrap_or(u32::MAX))
    }
}

/// The new secret, kept as long as either says and with the time that is known.
fn merge(entry: &MsgSecretEntry, stored: Option<Record>) -> Record {
    let (expires_at, message_timestamp) = match stored {
        Some(stored) => {
            let known = MsgSecret::decode(stored.value).map_or(0, |old| old.message_timestamp);
            (
                merge_msg_secret_expiry(stored.expires_at, entry.expires_at),
                merge_msg_secret_message_ts(known, entry.message_ts),
            )
        }
        None => (entry.expires_at, entry.message_ts),
    };
    let secret = MsgSecret {
        secret: entry.secret.to_vec(),
        message_timestamp,
    };
    Record::until(secret.encode_to_vec(), expires_at)
}
