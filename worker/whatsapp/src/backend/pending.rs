//! Decrypted messages that the inbox has not stored yet.
//!
//! Engine trait: part of `ProtocolStore`. Rows live for the moment between
//! decryption and the inbox's commit; one that stays is a message whose commit
//! failed, and is given to the inbox again when WhatsApp sends it again.

use prost::Message;
use proto::session::PendingMessage;
use session::{Kind, Record};
use wacore::store::traits::{PendingInboundKey, PendingInboundRow};

use super::{Backend, DAY_SECONDS, Result, key};

/// WhatsApp gives up sending a message again long before.
const KEPT_FOR: i64 = 30 * DAY_SECONDS;

impl Backend {
    pub(super) async fn put_pending(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        let now = self.now();
        self.write(|files| {
            files.edit(|edit| {
                for row in rows {
                    let key = key(Kind::Pending, &[row.chat, row.sender, row.id])?;
                    let pending = PendingMessage {
                        payload: row.message.to_vec(),
                        stored_at: now,
                    };
                    let record = Record::until(pending.encode_to_vec(), now + KEPT_FOR);
                    edit.put(Kind::Pending, key, record)?;
                }
                Ok(())
            })
        })
        .await
    }

    pub(super) fn pending(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>> {
        let key = key(Kind::Pending, &[chat, sender, id])?;
        let pending: Option<PendingMessage> = self.get_message(Kind::Pending, &key)?;
        Ok(pending.map(|pending| pending.payload))
    }

    pub(super) async fn remove_pending(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        self.write(|files| {
            files.edit(|edit| {
                for row in keys {
                    edit.remove(
                        Kind::Pending,
                        key(Kind::Pending, &[row.chat, row.sender, row.id])?,
                    );
                }
                Ok(())
            })
        })
        .await
    }
}
