//! What a type cannot say of itself: how long a text may be, which number may
//! stand where, that one of several must be given. From the constants that the
//! handlers check with.

use serde_json::{Map, Value, json};
use whatsapp::content::POLL_OPTIONS_MAX;
use whatsapp::groups::{GROUP_DESCRIPTION_CHARS_MAX, GROUP_SUBJECT_CHARS_MAX};

use crate::auth::book::{ACCOUNTS_MAX, NAME_CHARS_MAX};
use crate::http::accounts::NAME_LENGTH_MAX;
use crate::http::do_not_contact::NOTE_CHARS_MAX;
use crate::http::groups::{INVITATION_BYTES_MAX, PEOPLE_MAX, TIMER_SECONDS_MAX};
use crate::http::webhooks::secret::OVERLAP_SECONDS_MAX;
use crate::outbox::broadcast::BROADCAST_PEOPLE_MAX;
use crate::outbox::request::{
    CONTACTS_MAX, EMOJI_BYTES_MAX, LINE_CHARS_MAX, MENTIONS_MAX, PARAGRAPH_CHARS_MAX,
    VCARD_BYTES_MAX,
};

/// Adds all of them to the document.
pub(super) fn add(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    for (schema, property, limits) in of_properties() {
        extend(&mut schemas[schema]["properties"][property], limits);
    }
    for (schema, limits) in of_schemas() {
        extend(&mut schemas[schema], limits);
    }
    // An empty list is a list of both.
    if let Some(entries) = schemas["HistoryEntries"].as_object_mut()
        && let Some(choices) = entries.remove("oneOf")
    {
        entries.insert("anyOf".to_owned(), choices);
    }
}

fn extend(target: &mut Value, with: Value) {
    if let (Some(target), Value::Object(with)) = (target.as_object_mut(), with) {
        target.extend(with);
    }
}

fn length(min: usize, max: usize) -> Value {
    json!({ "minLength": min, "maxLength": max })
}

fn items(min: usize, max: usize) -> Value {
    json!({ "minItems": min, "maxItems": max })
}

fn of_properties() -> Vec<(&'static str, &'static str, Value)> {
    let text = whatsapp::TEXT_BYTES_MAX;
    vec![
        ("NewAccount", "name", length(1, NAME_LENGTH_MAX)),
        ("NewAccount", "spread", length(1, NAME_LENGTH_MAX)),
        ("AccountChange", "name", length(1, NAME_LENGTH_MAX)),
        ("AccountChange", "spread", length(1, NAME_LENGTH_MAX)),
        ("NewKey", "name", length(1, NAME_CHARS_MAX)),
        ("NewKey", "scopes", json!({ "minItems": 1 })),
        ("NewKey", "accounts", items(1, ACCOUNTS_MAX)),
        ("NewDoNotContactEntry", "note", length(0, NOTE_CHARS_MAX)),
        ("NewGroup", "subject", length(1, GROUP_SUBJECT_CHARS_MAX)),
        ("NewGroup", "people", items(0, PEOPLE_MAX)),
        ("GroupChange", "subject", length(1, GROUP_SUBJECT_CHARS_MAX)),
        (
            "GroupChange",
            "description",
            length(0, GROUP_DESCRIPTION_CHARS_MAX),
        ),
        (
            "GroupChange",
            "timerSeconds",
            json!({ "maximum": TIMER_SECONDS_MAX }),
        ),
        ("GroupMembersChange", "people", items(1, PEOPLE_MAX)),
        ("GroupJoin", "invitation", length(1, INVITATION_BYTES_MAX)),
        (
            "NewSecret",
            "overlapSeconds",
            json!({ "maximum": OVERLAP_SECONDS_MAX }),
        ),
        ("NewMessage", "text", length(1, text)),
        ("NewMessage", "mentions", items(0, MENTIONS_MAX)),
        ("NewMessage", "contacts", items(1, CONTACTS_MAX)),
        ("NewMessageMedia", "caption", length(0, text)),
        ("NewMessageMedia", "fileName", length(0, LINE_CHARS_MAX)),
        ("NewReaction", "emoji", length(0, EMOJI_BYTES_MAX)),
        ("NewEdit", "text", length(1, text)),
        ("NewVote", "options", items(0, POLL_OPTIONS_MAX)),
        ("NewBroadcast", "to", items(1, BROADCAST_PEOPLE_MAX)),
        ("LinkPreview", "url", json!({ "minLength": 1 })),
        ("LinkPreview", "title", length(0, LINE_CHARS_MAX)),
        ("LinkPreview", "description", length(0, PARAGRAPH_CHARS_MAX)),
        (
            "Location",
            "latitude",
            json!({ "minimum": -90, "maximum": 90 }),
        ),
        (
            "Location",
            "longitude",
            json!({ "minimum": -180, "maximum": 180 }),
        ),
        (
            "AddressCard",
            "vcard",
            json!({ "maxLength": VCARD_BYTES_MAX }),
        ),
        ("Poll", "options", items(0, POLL_OPTIONS_MAX)),
    ]
}

/// What can be sent: a message is exactly one of these.
const SENDABLE: [&str; 9] = [
    "text", "location", "contacts", "poll", "reaction", "edit", "revoke", "vote", "media",
];

fn of_schemas() -> Vec<(&'static str, Value)> {
    let given = |name: &str| {
        // Null is as good as absent.
        let mut properties = Map::new();
        properties.insert(name.to_owned(), json!({ "not": { "type": "null" } }));
        json!({ "required": [name], "properties": properties })
    };
    let one_of = |names: &[&str]| {
        let choices: Vec<Value> = names.iter().map(|name| given(name)).collect();
        json!({ "oneOf": choices })
    };
    let group = [
        "subject",
        "description",
        "announcement",
        "locked",
        "timerSeconds",
    ];
    vec![
        ("NewMessage", one_of(&SENDABLE)),
        ("GroupChange", one_of(&group)),
    ]
}

#[cfg(test)]
mod tests {
    use crate::http::openapi::{described, operations};

    use super::*;

    #[test]
    fn every_limit_is_of_something_that_is_there() {
        let document = json!(described(&operations::all()));
        let schemas = &document["components"]["schemas"];
        for (schema, property, _) in of_properties() {
            let found = &schemas[schema]["properties"][property];
            assert!(found.is_object(), "{schema}.{property}");
        }
        for schema in of_schemas().iter().map(|(schema, _)| schema) {
            assert!(schemas[schema].is_object(), "{schema}");
        }
        for name in SENDABLE {
            assert!(
                schemas["NewMessage"]["properties"][name].is_object(),
                "{name}"
            );
        }
    }
}
