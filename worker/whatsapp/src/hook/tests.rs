use std::str::FromStr;

use async_trait::async_trait;
use coordinator_lib::clock::ManualClock;
use parking_lot::Mutex;
use wacore::proto_helpers::MessageBuilderExt;
use waproto::buffa::MessageField;

use super::*;
use crate::content::Content;
use crate::inbox::MessageKey;

#[derive(Default)]
struct Shelf {
    batches: Mutex<Vec<Vec<Inbound>>>,
    is_broken: bool,
}

#[async_trait]
impl Inbox for Shelf {
    async fn commit(&self, batch: Vec<Inbound>) -> Result<(), InboxError> {
        if self.is_broken {
            return Err(InboxError::NotOwner);
        }
        self.batches.lock().push(batch);
        Ok(())
    }

    async fn holds(&self, _key: MessageKey<'_>) -> Result<bool, InboxError> {
        Ok(true)
    }
}

fn hook(shelf: &Arc<Shelf>) -> InboxHook {
    let monitor = Arc::new(Monitor::new(Arc::new(ManualClock::new())));
    InboxHook::new(shelf.clone(), monitor)
}

fn jid(text: &str) -> Jid {
    Jid::from_str(text).unwrap()
}

fn info(chat: &str, sender: &str) -> MessageInfo {
    let mut info = MessageInfo {
        id: "A1".to_owned(),
        ..MessageInfo::default()
    };
    info.source.chat = jid(chat);
    info.source.sender = jid(sender);
    info
}

fn item(message: wa::Message, info: MessageInfo) -> InboundMessage {
    InboundMessage::builder()
        .message(Arc::new(message))
        .info(Arc::new(info))
        .build()
}

#[tokio::test]
async fn a_batch_is_committed_as_one_and_in_order() {
    let shelf = Arc::new(Shelf::default());
    let info = || {
        info(
            "491701234567@s.whatsapp.net",
            "491701234567:3@s.whatsapp.net",
        )
    };
    let batch = [
        item(wa::Message::text("one"), info()),
        item(wa::Message::text("two"), info()),
    ];
    hook(&shelf).store(&batch).await.unwrap();
    let batches = shelf.batches.lock();
    assert_eq!(batches.len(), 1);
    let bodies: Vec<_> = batches[0]
        .iter()
        .map(|inbound| inbound.content.clone())
        .collect();
    let text = |body: &str| Content::Text(body.to_owned());
    assert!(bodies == [text("one"), text("two")]);
    assert_eq!(
        batches[0][0].sender, "491701234567@s.whatsapp.net",
        "without the device"
    );
}

#[tokio::test]
async fn a_batch_that_is_not_stored_is_an_error() {
    let shelf = Arc::new(Shelf {
        is_broken: true,
        ..Shelf::default()
    });
    let info = info("491701234567@s.whatsapp.net", "491701234567@s.whatsapp.net");
    assert!(
        hook(&shelf)
            .store(&[item(wa::Message::text("one"), info)])
            .await
            .is_err()
    );
}

#[test]
fn a_conversation_is_one_whichever_address_its_messages_come_by() {
    let number = "491701234567@s.whatsapp.net";
    let alias = "100000012345678@lid";
    let text = wa::Message::text("hello");

    let by_number = translate(&text, &info(number, number));
    let mut by_alias = info(alias, "100000012345678:2@lid");
    by_alias.source.sender_alt = Some(jid(number));
    let by_alias = translate(&text, &by_alias);
    assert_eq!(
        (by_alias.chat.as_str(), by_alias.sender.as_str()),
        (number, number)
    );
    assert_eq!(
        (&by_alias.chat, &by_alias.sender),
        (&by_number.chat, &by_number.sender)
    );
    assert_eq!(
        (by_alias.wire_chat.as_str(), by_alias.wire_sender.as_str()),
        (alias, alias)
    );
    assert_eq!(by_alias.sender_alt.as_deref(), Some(alias));

    let unknown = translate(&text, &info(alias, alias));
    assert_eq!(unknown.chat, alias);
}

#[test]
fn what_this_account_wrote_elsewhere_belongs_to_the_recipients_conversation() {
    let mut own = info("100000012345678@lid", "491709999999:1@s.whatsapp.net");
    own.source.is_from_me = true;
    own.source.recipient_alt = Some(jid("491701234567@s.whatsapp.net"));
    let own = translate(&wa::Message::text("hello"), &own);
    assert!(own.from_me);
    assert_eq!(own.chat, "491701234567@s.whatsapp.net");
    assert_eq!(own.sender, "491709999999@s.whatsapp.net");
}

#[test]
fn upkeep_between_devices_is_no_message() {
    let chat = "491701234567@s.whatsapp.net";
    let written = |message: &wa::Message| is_written_by_a_person(message, &info(chat, chat));
    assert!(written(&wa::Message::text("hello")));

    let protocol = |r#type| wa::Message {
        protocol_message: MessageField::some(wa::message::ProtocolMessage {
            r#type: Some(r#type),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert!(written(&protocol(ProtocolType::REVOKE)));
    assert!(!written(&protocol(ProtocolType::APP_STATE_SYNC_KEY_SHARE)));
    assert!(!written(&protocol(ProtocolType::HISTORY_SYNC_NOTIFICATION)));

    let mut keys = wa::Message {
        sender_key_distribution_message: MessageField::some(Default::default()),
        ..Default::default()
    };
    assert!(!written(&keys));
    keys.conversation = Some("hello".to_owned());
    assert!(written(&keys), "a text may bring a sender key along");

    let mut peer = info(chat, chat);
    peer.category = MessageCategory::Peer;
    assert!(!is_written_by_a_person(&wa::Message::text("hello"), &peer));
}
