use std::io::Write as _;

use chrono::TimeZone as _;
use flate2::{Compression, write::ZlibEncoder};
use waproto::buffa::{Message as _, MessageField};

use super::*;

const ANNA: &str = "491700000001@s.whatsapp.net";
const ANNA_LID: &str = "88770000001@lid";
const NOW: i64 = 1_790_000_000;

fn compressed(history: &wa::HistorySync) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&history.encode_to_vec()).unwrap();
    encoder.finish().unwrap()
}

fn message(chat: &str, id: &str, from_me: bool, text: &str, at: i64) -> wa::HistorySyncMsg {
    wa::HistorySyncMsg {
        message: MessageField::some(wa::WebMessageInfo {
            key: MessageField::some(wa::MessageKey {
                remote_jid: Some(chat.to_owned()),
                from_me: Some(from_me),
                id: Some(id.to_owned()),
                participant: None,
            }),
            message: MessageField::some(wa::Message {
                conversation: Some(text.to_owned()),
                ..Default::default()
            }),
            message_timestamp: Some(at as u64),
            push_name: Some("Anna".to_owned()),
            ..Default::default()
        }),
        msg_order_id: None,
    }
}

fn conversation(id: &str, messages: Vec<wa::HistorySyncMsg>) -> wa::Conversation {
    wa::Conversation {
        id: id.to_owned(),
        messages,
        ..Default::default()
    }
}

fn history(conversations: Vec<wa::Conversation>) -> wa::HistorySync {
    wa::HistorySync {
        sync_type: wa::history_sync::HistorySyncType::RECENT,
        conversations,
        pushnames: vec![
            wa::Pushname {
                id: Some(ANNA_LID.to_owned()),
                pushname: Some("Anna".to_owned()),
            },
            wa::Pushname {
                id: Some("1203630@g.us".to_owned()),
                pushname: Some("a group is no person".to_owned()),
            },
        ],
        phone_number_to_lid_mappings: vec![wa::PhoneNumberToLIDMapping {
            pn_jid: Some(ANNA.to_owned()),
            lid_jid: Some(ANNA_LID.to_owned()),
        }],
        ..Default::default()
    }
}

fn limits() -> UnpackLimits {
    UnpackLimits {
        unpacked_bytes_max: 1 << 20,
        since: Utc.timestamp_opt(NOW - 1_000, 0).unwrap(),
        chat_messages_max: 3,
    }
}

fn unpacked(history: &wa::HistorySync, limits: &UnpackLimits) -> (Vec<Person>, Vec<PastChat>) {
    let (mut people, mut chats) = (Vec::new(), Vec::new());
    let report = unpack(&compressed(history), limits, |item| {
        match item {
            Unpacked::Person(person) => people.push(person),
            Unpacked::Chat(chat) => chats.push(*chat),
        }
        ControlFlow::Continue(())
    });
    assert!(!report.unwrap().stopped);
    (people, chats)
}

fn texts(chat: &PastChat) -> Vec<&str> {
    let messages = chat.messages.iter();
    messages
        .filter_map(|message| message.inbound.content.text())
        .collect()
}

#[test]
fn the_newest_messages_within_the_limits_are_kept_in_order() {
    let of_anna = |id: &str, at| message(ANNA, id, false, id, at);
    let piece = history(vec![conversation(
        ANNA,
        vec![
            of_anna("five", NOW),
            of_anna("four", NOW - 1),
            of_anna("three", NOW - 2),
            of_anna("two", NOW - 3),
            of_anna("one", NOW - 2_000),
        ],
    )]);
    let (_, chats) = unpacked(&piece, &limits());
    assert_eq!(texts(&chats[0]), ["three", "four", "five"]);
    assert_eq!(chats[0].left_out, 2);
}

#[test]
fn people_and_chats_have_both_addresses_where_the_piece_tells_them() {
    let piece = history(vec![conversation(
        ANNA_LID,
        vec![
            message(ANNA_LID, "A", false, "hers", NOW - 1),
            message(ANNA_LID, "B", true, "mine", NOW),
        ],
    )]);
    let (people, chats) = unpacked(&piece, &limits());
    let anna = Person {
        pn: Some(ANNA.to_owned()),
        lid: Some(ANNA_LID.to_owned()),
        name: None,
        push_name: Some("Anna".to_owned()),
    };
    assert_eq!(people, [anna]);
    let chat = &chats[0];
    assert_eq!((&*chat.chat, chat.alt.as_deref()), (ANNA, Some(ANNA_LID)));
    let hers = &chat.messages[0].inbound;
    assert_eq!((&*hers.sender, &*hers.wire_sender), (ANNA, ANNA_LID));
    assert!(chat.messages[1].inbound.from_me);
}

#[test]
fn what_nobody_wrote_is_left_out() {
    let mut stub = message(ANNA, "S", false, "", NOW);
    if let Some(info) = stub.message.as_option_mut() {
        info.message = MessageField::default();
    }
    let mut revoked = message(ANNA, "R", false, "", NOW);
    if let Some(info) = revoked.message.as_option_mut() {
        info.message = MessageField::some(wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage::default()),
            ..Default::default()
        });
    }
    let said = message(ANNA, "A", false, "said", NOW);
    let (_, chats) = unpacked(
        &history(vec![conversation(ANNA, vec![stub, revoked, said])]),
        &limits(),
    );
    assert_eq!(texts(&chats[0]), ["said"]);
    assert_eq!(chats[0].left_out, 2);
}

#[test]
fn somebody_who_wrote_in_a_group_is_named_by_number_where_it_is_known() {
    let group = "120363041234567890@g.us";
    let mut hers = message(group, "A", false, "hers", NOW);
    let mut nobodys = message(group, "B", false, "nobody's", NOW);
    for (entry, author) in [(&mut hers, Some(ANNA_LID)), (&mut nobodys, None)] {
        if let Some(info) = entry.message.as_option_mut() {
            info.participant = author.map(str::to_owned);
        }
    }
    let (_, chats) = unpacked(
        &history(vec![conversation(group, vec![hers, nobodys])]),
        &limits(),
    );
    let [message] = &chats[0].messages[..] else {
        panic!("who wrote the other one is not known");
    };
    assert_eq!(message.inbound.sender, ANNA);
    assert_eq!(message.inbound.sender_alt.as_deref(), Some(ANNA_LID));
}

#[test]
fn a_piece_that_unpacks_to_too_much_is_refused() {
    let text = "x".repeat(2 << 20);
    let piece = history(vec![conversation(
        ANNA,
        vec![message(ANNA, "A", false, &text, NOW)],
    )]);
    let outcome = unpack(
        &compressed(&piece),
        &limits(),
        |_| ControlFlow::Continue(()),
    );
    assert!(outcome.is_err());
}

#[test]
fn broken_pieces_are_errors_and_never_more() {
    let whole = compressed(&history(vec![conversation(
        ANNA,
        vec![message(ANNA, "A", false, "said", NOW)],
    )]));
    for cut in 0..whole.len() {
        let _ = unpack(&whole[..cut], &limits(), |_| ControlFlow::Continue(()));
        let mut changed = whole.clone();
        changed[cut] ^= 0x55;
        let _ = unpack(&changed, &limits(), |_| ControlFlow::Continue(()));
    }
    assert!(unpack(&[], &limits(), |_| ControlFlow::Continue(())).is_err());
}

#[test]
fn whoever_has_enough_stops_it() {
    let chat = |id| conversation(id, vec![message(id, "A", false, "said", NOW)]);
    let piece = history(vec![chat(ANNA), chat("491700000002@s.whatsapp.net")]);
    let mut chats = 0;
    let report = unpack(&compressed(&piece), &limits(), |item| match item {
        Unpacked::Person(_) => ControlFlow::Continue(()),
        Unpacked::Chat(_) => {
            chats += 1;
            ControlFlow::Break(())
        }
    });
    assert!(report.unwrap().stopped);
    assert_eq!(chats, 1);
}
