//! The ownership history as the store has it, for the checker.

use coordinator_lib::store::{Document, Value};
pub use history::ownership::{Entry, Flush, Span, check, closest_takeover};

/// Reads a document of the history; `None` if it is none.
pub fn entry(document: &Document) -> Option<Entry> {
    let text = |name| document.fields.get(name).and_then(Value::as_text);
    let Some(Value::Int(epoch)) = document.fields.get("epoch") else {
        return None;
    };
    let Some(Value::Time(at)) = document.fields.get("at") else {
        return None;
    };
    Some(Entry {
        is_claim: match text("kind")? {
            "claimed" => true,
            "released" => false,
            _ => return None,
        },
        epoch: *epoch,
        session: text("session")?.to_owned(),
        reason: text("reason")?.to_owned(),
        at_us: at.as_micros(),
    })
}
