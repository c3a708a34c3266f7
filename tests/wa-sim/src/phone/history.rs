//! What a phone remembers, and gives each device that it links: the newest
//! messages within the notification itself, all of them and the names that
//! people go by through the media host, as WhatsApp's phones do.

use flate2::{Compression, write::ZlibEncoder};
use prost::Message as _;
use proto::whatsapp::{
    HistorySync, Message, MessageKey,
    history_sync::{AddressPair, Conversation, HistoryMessage, PushName, WebMessage},
    message::{HistorySyncNotification, ProtocolMessage, protocol_message::Type},
};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Phone, PhoneError, State, files};

/// The kinds of pieces, by the protocol's numbers.
const BOOTSTRAP: i32 = 0;
const RECENT: i32 = 3;
const PUSH_NAMES: i32 = 4;

/// Messages of one chat in the first piece.
const FIRST_MESSAGES: usize = 5;

/// From which a file's keys are made.
const HISTORY_KEYS: &[u8] = b"WhatsApp History Keys";

/// The number of a message that was read.
const READ: i32 = 4;

/// What a phone remembers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    pub chats: Vec<PastChat>,
    /// What people call themselves, by address.
    pub names: Vec<(String, String)>,
    /// Phone numbers' addresses and the LIDs that belong to them.
    pub addresses: Vec<(String, String)>,
}

/// A conversation that a phone remembers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PastChat {
    /// Its address.
    pub chat: String,
    /// The name in the address book.
    pub name: String,
    pub archived: bool,
    pub unread: u32,
    /// In any order.
    pub texts: Vec<PastText>,
}

/// A text of the past.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PastText {
    pub id: String,
    pub from_me: bool,
    pub text: String,
    /// How long ago it was written, seen from when the phone is told of it.
    pub age_seconds: u64,
}

/// A history, and when it was put into a phone, in Unix seconds: what is in
/// several pieces of it has the same age in all.
#[derive(Clone, Default)]
pub(super) struct Memory {
    history: History,
    told_at: u64,
}

impl Phone {
    /// From now on, what it gives each device that it links.
    pub fn remember(&self, history: History) {
        let told_at = self.now_seconds();
        self.inner.state.lock().memory = Memory { history, told_at };
    }

    /// Gives a linked device a piece of history of the kind RECENT, through the
    /// media host.
    ///
    /// # Errors
    /// The device has no keys left → [`PhoneError::Signal`].
    pub fn give_history(&self, device: u16, history: &History) -> Result<(), PhoneError> {
        let now = self.now_seconds();
        let mut state = self.inner.state.lock();
        let piece = HistorySync {
            conversations: conversations(history, usize::MAX, now),
            ..piece(RECENT, history)
        };
        self.give_by_file(&mut state, device, &piece)
    }

    /// What a phone gives of its memory when it has linked a device.
    pub(super) fn give_all_history(
        &self,
        state: &mut State,
        device: u16,
    ) -> Result<(), PhoneError> {
        let Memory { history, told_at } = state.memory.clone();
        let first = HistorySync {
            conversations: conversations(&history, FIRST_MESSAGES, told_at),
            ..piece(BOOTSTRAP, &history)
        };
        let payload = deflated(&first.encode_to_vec());
        let notification = HistorySyncNotification {
            initial_hist_bootstrap_inline_payload: Some(payload),
            ..notification(&first)
        };
        self.tell_of_history(state, device, notification)?;
        if history.chats.is_empty() && history.names.is_empty() {
            return Ok(());
        }
        let names = history.names.iter().map(|(id, name)| PushName {
            id: Some(id.clone()),
            pushname: Some(name.clone()),
        });
        let names = HistorySync {
            pushnames: names.collect(),
            ..piece(PUSH_NAMES, &history)
        };
        let recent = HistorySync {
            conversations: conversations(&history, usize::MAX, told_at),
            ..piece(RECENT, &history)
        };
        self.give_by_file(state, device, &names)?;
        self.give_by_file(state, device, &recent)
    }

    /// Puts a piece on the media host, and tells the device of it.
    fn give_by_file(
        &self,
        state: &mut State,
        device: u16,
        piece: &HistorySync,
    ) -> Result<(), PhoneError> {
        let plain = deflated(&piece.encode_to_vec());
        let key: [u8; 32] = state.rng.random();
        let file = files::encrypted(HISTORY_KEYS, &key, &plain);
        let hash = Sha256::digest(&file);
        let token = hex::encode(hash);
        let notification = HistorySyncNotification {
            file_sha256: Some(Sha256::digest(&plain).to_vec()),
            file_length: Some(plain.len() as u64),
            media_key: Some(key.to_vec()),
            file_enc_sha256: Some(hash.to_vec()),
            direct_path: Some(self.inner.media.put(token, file.into())),
            ..notification(piece)
        };
        self.tell_of_history(state, device, notification)
    }

    fn tell_of_history(
        &self,
        state: &mut State,
        device: u16,
        notification: HistorySyncNotification,
    ) -> Result<(), PhoneError> {
        let message = ProtocolMessage {
            r#type: Some(Type::HistorySyncNotification.into()),
            history_sync_notification: Some(notification),
            ..ProtocolMessage::default()
        };
        self.send_peer(state, device, message)
    }

    fn now_seconds(&self) -> u64 {
        self.inner.world.lock().clock.now_ms() / 1_000
    }
}

fn conversations(history: &History, newest: usize, now: u64) -> Vec<Conversation> {
    let chats = history.chats.iter();
    chats.map(|chat| conversation(chat, newest, now)).collect()
}

fn piece(kind: i32, history: &History) -> HistorySync {
    let pairs = history.addresses.iter().map(|(pn, lid)| AddressPair {
        pn_jid: Some(pn.clone()),
        lid_jid: Some(lid.clone()),
    });
    HistorySync {
        sync_type: Some(kind),
        chunk_order: Some(1),
        progress: Some(100),
        phone_number_to_lid_mappings: pairs.collect(),
        ..HistorySync::default()
    }
}

fn notification(piece: &HistorySync) -> HistorySyncNotification {
    HistorySyncNotification {
        sync_type: piece.sync_type,
        chunk_order: piece.chunk_order,
        progress: piece.progress,
        ..HistorySyncNotification::default()
    }
}

/// The newest messages of a chat, the newest first, as phones have them.
fn conversation(chat: &PastChat, newest: usize, now: u64) -> Conversation {
    let mut texts: Vec<&PastText> = chat.texts.iter().collect();
    texts.sort_by_key(|text| text.age_seconds);
    let last = texts
        .first()
        .map(|text| now.saturating_sub(text.age_seconds));
    let orders = (1..=texts.len() as u64).rev();
    let messages = texts.into_iter().zip(orders).take(newest);
    Conversation {
        id: Some(chat.chat.clone()),
        name: Some(chat.name.clone()).filter(|name| !name.is_empty()),
        archived: Some(chat.archived),
        unread_count: Some(chat.unread),
        conversation_timestamp: last,
        last_msg_timestamp: last,
        end_of_history_transfer: Some(true),
        messages: messages
            .map(|(text, order)| HistoryMessage {
                message: Some(web_message(&chat.chat, text, now)),
                msg_order_id: Some(order),
            })
            .collect(),
        ..Conversation::default()
    }
}

fn web_message(chat: &str, text: &PastText, now: u64) -> WebMessage {
    WebMessage {
        key: Some(MessageKey {
            remote_jid: Some(chat.to_owned()),
            from_me: Some(text.from_me),
            id: Some(text.id.clone()),
            participant: None,
        }),
        message: Some(Message {
            conversation: Some(text.text.clone()),
            ..Message::default()
        }),
        message_timestamp: Some(now.saturating_sub(text.age_seconds)),
        status: text.from_me.then_some(READ),
        ..WebMessage::default()
    }
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("writing to memory does not fail")
}
