use std::collections::BTreeMap;

use coordinator_lib::store::Stamp;
use serde_json::{Value, json};

use super::*;
use crate::events::Position;
use crate::model::message::Direction;
use crate::model::message::tests::text;
use crate::model::{EventDoc, collections};

const PEER: &str = "491701234567@s.whatsapp.net";

fn event(kind: EventKind, data: &[(&str, &str)]) -> Logged {
    let at = StoreTime::from_micros(1_700_000_000_123_456);
    Logged {
        id: "a1-000000000007".to_owned(),
        position: Position::whole(at),
        event: EventDoc {
            account_id: "a1".to_owned(),
            seq: 7,
            kind,
            at,
            stored_at: Stamp::At(at),
            epoch: 1,
            trace: None,
            data: data
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
        },
    }
}

fn account() -> AccountDoc {
    AccountDoc {
        name: "default".to_owned(),
        jid: Some("491700000009:3@s.whatsapp.net".to_owned()),
        push_name: Some("Shop".to_owned()),
        ..AccountDoc::default()
    }
}

/// A text in the chat with [`PEER`].
fn record(from_me: bool) -> Record<MessageDoc> {
    let at = StoreTime::from_micros(1_700_000_000_000_000);
    Record {
        path: collections::message("thr_1", "msg_1").unwrap(),
        update_time: at,
        value: MessageDoc {
            thread_id: "thr_1".to_owned(),
            chat: PEER.to_owned(),
            sender: PEER.to_owned(),
            from_me,
            direction: match from_me {
                true => Direction::Out,
                false => Direction::In,
            },
            wa_message_id: "3EB0".to_owned(),
            timestamp: at,
            sort_at: at,
            state_at: at,
            stored_at: at,
            ..text("hello")
        },
    }
}

fn told(event: &Logged, message: Option<InChat>) -> Option<Value> {
    let account = account();
    tell(event, &account, message).map(|envelope| json!(envelope))
}

/// From WAHA's documentation of `X-Webhook-Hmac`.
#[test]
fn the_signature_is_the_one_of_wahas_documentation() {
    let body = br#"{"event":"message","session":"default","engine":"WEBJS"}"#;
    let headers = headers("e-1", 1, b"my-secret-key", body);
    let hmac = headers.iter().find(|(name, _)| *name == HMAC_HEADER);
    assert_eq!(
        hmac.map(|(_, value)| value.as_str()),
        Some(
            "208f8a55dde9e05519e898b10b89bf0d0b3b0fdf11fdbf09b6b90476301b98d8097c462b2b17a6ce93b6b\
             47a136cf2e78a33a63f6752c2c1631777076153fa89"
        )
    );
}

#[test]
fn a_status_is_told_when_wahas_status_changes() {
    let event_of = |from, to| event(EventKind::AccountStatus, &[("from", from), ("to", to)]);
    let told_of = |from, to| told(&event_of(from, to), None);
    let working = told_of("connecting", "connected").unwrap();
    assert_eq!(working["event"], "session.status");
    assert_eq!(working["session"], "default");
    assert_eq!(working["timestamp"], 1_700_000_000_123_i64);
    assert_eq!(working["metadata"]["accountId"], "a1");
    assert_eq!(
        working["me"],
        json!({ "id": "491700000009@c.us", "pushName": "Shop" })
    );
    assert_eq!(
        working["payload"],
        json!({
            "name": "default",
            "status": "WORKING",
            "statuses": [{ "status": "WORKING", "timestamp": 1_700_000_000_123_i64 }],
        })
    );
    assert_eq!(told_of("idle", "connecting"), None, "STARTING both times");
    let stopped = told_of("connected", "stopped").unwrap();
    assert_eq!(stopped["payload"]["status"], "STOPPED");
    assert_eq!(told_of("connected", "unheard_of"), None);
}

#[test]
fn a_message_and_how_far_it_came_are_told_in_wahas_words() {
    let in_chat = |from_me| InChat {
        message: record(from_me),
        chat: PEER.to_owned(),
    };
    let ids = [("threadId", "thr_1"), ("messageId", "msg_1")];
    let received = event(EventKind::MessageReceived, &ids);
    let message = told(&received, Some(in_chat(false))).unwrap();
    assert_eq!(message["event"], "message");
    let payload = &message["payload"];
    assert_eq!(payload["id"], "false_491701234567@c.us_3EB0");
    assert_eq!(payload["from"], "491701234567@c.us");
    assert_eq!(payload["to"], "491700000009@c.us");
    assert_eq!(
        (&payload["body"], &payload["fromMe"], &payload["hasMedia"]),
        (&json!("hello"), &json!(false), &json!(false))
    );
    assert_eq!(told(&received, Some(in_chat(true))), None, "its own");
    assert_eq!(told(&received, None), None, "it is gone");

    let states = [ids[0], ids[1], ("state", "read")];
    let updated = event(EventKind::MessageUpdated, &states);
    let ack = told(&updated, Some(in_chat(true))).unwrap();
    assert_eq!(ack["event"], "message.ack");
    assert_eq!(
        ack["payload"],
        json!({
            "id": "true_491701234567@c.us_3EB0",
            "from": "491700000009@c.us",
            "to": "491701234567@c.us",
            "participant": null,
            "fromMe": true,
            "ack": 3,
            "ackName": "READ",
        })
    );
    assert_eq!(
        told(&updated, Some(in_chat(false))),
        None,
        "somebody else's"
    );
}

#[test]
fn what_waha_has_no_word_for_needs_nothing_and_is_not_told() {
    for kind in EventKind::ALL {
        let event = event(kind, &[("threadId", "thr_1"), ("messageId", "msg_1")]);
        let is_known = need(&event).is_some();
        let expected = matches!(
            kind,
            EventKind::MessageReceived | EventKind::MessageUpdated | EventKind::AccountStatus
        );
        assert_eq!(is_known, expected, "{kind:?}");
    }
}
