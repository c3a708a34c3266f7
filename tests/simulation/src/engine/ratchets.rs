//! What an instance keeps in the account's session files, as the engine's
//! backend does: a write passes the store gate, changes memory, and is made
//! durable at once where the next step must not happen without it.

use std::sync::Arc;

use session::{Kind, Record, SessionError};
use whatsapp::SendError;

use super::Instance;
use crate::post::{Letter, address};

/// Counters in one reservation.
const BLOCK: i64 = 64;

/// The sending chain of a conversation, in this instance's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratchet {
    /// The next counter to use.
    next: i64,
    /// Those below are reserved, and that is durable.
    reserved: i64,
}

fn number(record: Option<&Record>) -> i64 {
    let bytes = record.and_then(|record| <[u8; 8]>::try_from(record.value.as_ref()).ok());
    bytes.map_or(0, i64::from_be_bytes)
}

fn record(number: i64) -> Record {
    number.to_be_bytes().to_vec().into()
}

impl Instance {
    /// The next counter of a conversation; reserved, durably, before it is used.
    pub(super) async fn counter(self: &Arc<Self>, chat: u32) -> Result<i64, SendError> {
        let mut ratchets = self.ratchets.lock().await;
        let key = address(chat);
        let ratchet = ratchets.entry(chat).or_insert_with(|| {
            // Above every reservation that anybody made.
            let reserved = number(self.files.get_record(Kind::Sessions, &key).as_ref());
            Ratchet {
                next: reserved,
                reserved,
            }
        });
        if ratchet.next >= ratchet.reserved {
            let reserved = ratchet.next + BLOCK;
            let _pass = self.gates.store.pass().await.map_err(|_| SendError::Gate)?;
            self.files
                .update(Kind::Sessions, &key, |_| Some(record(reserved)))
                .map_err(|_| SendError::Storage)?;
            self.flush().await?;
            ratchet.reserved = reserved;
        }
        let counter = ratchet.next;
        ratchet.next += 1;
        Ok(counter)
    }

    /// Makes the session durable.
    pub(super) async fn flush(&self) -> Result<(), SendError> {
        match self.files.flush().await {
            Ok(()) => Ok(()),
            Err(error @ (SessionError::Changed { .. } | SessionError::Refused { .. })) => {
                // Nobody else may write them while the head is ours.
                self.engines.sea.record.violation(
                    "S1 memory is what is durable",
                    format!(
                        "{}, epoch {} of {}: {error}",
                        self.engines.process.name(),
                        self.sender.epoch,
                        self.sender.account
                    ),
                );
                Err(SendError::Storage)
            }
            Err(_) => Err(SendError::Storage),
        }
    }

    /// A letter was decrypted: the chain moves on, and the letter is kept until
    /// the inbox has it. Durable some time later.
    pub(super) async fn decrypted(&self, letter: &Letter) -> Option<()> {
        let _pass = self.gates.store.pass().await.ok()?;
        let kept = self.files.edit(|edit| {
            let chain = format!("in {}", address(letter.chat));
            let step = number(edit.get(Kind::Sessions, &chain).as_ref()) + 1;
            edit.put(Kind::Sessions, chain, record(step))?;
            edit.put(
                Kind::Pending,
                letter.number.to_be_bytes(),
                letter.text.clone().into_bytes(),
            )
        });
        kept.ok()
    }

    /// The inbox has these letters.
    pub(super) async fn stored(&self, letters: &[u64]) -> Option<()> {
        let _pass = self.gates.store.pass().await.ok()?;
        self.files.edit(|edit| {
            for letter in letters {
                edit.remove(Kind::Pending, letter.to_be_bytes());
            }
        });
        Some(())
    }
}
