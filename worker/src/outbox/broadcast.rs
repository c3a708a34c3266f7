//! One message to many people, each on their own: a broadcast list.
//!
//! WhatsApp's own lists (`…@broadcast`) belong to the phone: a linked device is
//! told neither their members nor their messages, and cannot make one. So each
//! person gets a message of their own, in their own thread, in the order of what
//! else goes there; what they see is the same.
//!
//! The list's key is taken first, on its own, and remembers what was asked for;
//! each message has a key made from it. Whoever repeats the request after a crash
//! gets the messages that were accepted before, and the rest is accepted then.

use coordinator_lib::store::{CommitOutcome, Precondition, StoreTime, Write};
use futures::stream::{self, StreamExt};

use super::accept::{AcceptError, AcceptOutcome, AcceptParts, AcceptRequest, Accepted, accept};
use super::request::NewMessage;
use crate::model::{IdempotencyDoc, Read, Stored, collections, ids};
use crate::telemetry::propagation;

/// People of one list, as many as WhatsApp's own.
pub const BROADCAST_PEOPLE_MAX: usize = 256;

/// Messages that are accepted at the same time.
const TOGETHER_MAX: usize = 8;

/// A message to many.
#[derive(Clone)]
pub struct BroadcastRequest {
    /// Who sends.
    pub account_id: String,
    /// To whom, by number or address; each once.
    pub to: Vec<String>,
    /// What is to be sent.
    pub message: NewMessage,
    /// The message in one spelling.
    pub fingerprint: String,
    /// The client's key for repetitions of this request.
    pub idempotency_key: String,
}

/// What became of one person's message.
pub struct PersonAccepted {
    /// The person's address.
    pub to: String,
    /// The message, or why there is none.
    pub outcome: Result<Accepted, AcceptError>,
}

/// What became of the whole.
pub struct BroadcastOutcome {
    /// One entry a person, in the order of the request.
    pub people: Vec<PersonAccepted>,
    /// The request was made before, under the same key.
    pub is_repetition: bool,
}

/// Queues one message for each person.
///
/// # Errors
/// [`AcceptError`], where it concerns all: some messages may be queued then, and
/// the same request under the same key queues the others.
pub async fn broadcast(
    parts: AcceptParts<'_>,
    request: &BroadcastRequest,
) -> Result<BroadcastOutcome, AcceptError> {
    let mut people: Vec<String> = Vec::with_capacity(request.to.len());
    for name in &request.to {
        let address = whatsapp::normalise_recipient(name)?;
        if !people.contains(&address) {
            people.push(address);
        }
    }
    let is_repetition = take_key(parts, request, &people).await?;
    let results = stream::iter(people).map(|to| async move {
        let one = AcceptRequest {
            account_id: request.account_id.clone(),
            to: to.clone(),
            message: request.message.clone(),
            fingerprint: request.fingerprint.clone(),
            idempotency_key: Some(person_key(&request.idempotency_key, &to)),
            traceparent: propagation::current(),
        };
        (to, accept(parts, &one).await)
    });
    let mut results = results.buffered(TOGETHER_MAX);
    let mut all = Vec::new();
    while let Some((to, result)) = results.next().await {
        let outcome = match result {
            Ok(AcceptOutcome::Accepted(accepted) | AcceptOutcome::Repeated(accepted)) => {
                Ok(accepted)
            }
            Err(error) if concerns_one(&error) => Err(error),
            Err(error) => return Err(error),
        };
        all.push(PersonAccepted { to, outcome });
    }
    Ok(BroadcastOutcome {
        people: all,
        is_repetition,
    })
}

/// Whether it is this person's message alone that is not accepted.
fn concerns_one(error: &AcceptError) -> bool {
    match error {
        AcceptError::Refused | AcceptError::NotInGroup | AcceptError::Contended => true,
        AcceptError::UnknownAccount
        | AcceptError::Newer
        | AcceptError::NotSending(_)
        | AcceptError::Recipient(_)
        | AcceptError::Text { .. }
        | AcceptError::Content(_)
        | AcceptError::UnknownTarget
        | AcceptError::UnknownMedia
        | AcceptError::NotOurs
        | AcceptError::KeyReused
        | AcceptError::Keys
        | AcceptError::Store(_) => false,
    }
}

/// Takes the list's key. True if the same request has it already.
async fn take_key(
    parts: AcceptParts<'_>,
    request: &BroadcastRequest,
    people: &[String],
) -> Result<bool, AcceptError> {
    let key = format!("broadcast\u{1}{}", request.idempotency_key);
    let path = collections::idempotency_key(&ids::idempotency(&request.account_id, &key))?;
    let mut asked = vec!["broadcast", request.fingerprint.as_str()];
    asked.extend(people.iter().map(String::as_str));
    let body_hash = ids::body_hash(&asked);
    let snapshot = parts.store.get(std::slice::from_ref(&path)).await?;
    let read_time = snapshot.read_time;
    let found = snapshot.documents.into_iter().flatten().next();
    let precondition = match found.as_ref().map(IdempotencyDoc::read).transpose()? {
        Some(Read::Known(known)) if known.value.expires_at >= read_time => {
            return match known.value.body_hash == body_hash {
                true => Ok(true),
                false => Err(AcceptError::KeyReused),
            };
        }
        Some(Read::Known(known)) => Precondition::Unchanged(known.update_time),
        Some(Read::Newer(_)) => return Err(AcceptError::Newer),
        None => Precondition::Absent,
    };
    let now = StoreTime::from_datetime(parts.clock.wall());
    let document = IdempotencyDoc {
        account_id: request.account_id.clone(),
        // Each message has a key, and with it a document, of its own.
        message_id: String::new(),
        body_hash,
        expires_at: now.saturating_add(parts.idempotency_ttl),
    };
    let write = Write::Set {
        path,
        fields: document.to_document()?,
        precondition,
    };
    match parts.store.commit(vec![write]).await? {
        CommitOutcome::Committed(_) => Ok(false),
        // Somebody makes the same request at the same moment, or another one
        // with this key: the messages' own keys tell which.
        CommitOutcome::Rejected => Ok(true),
    }
}

/// The key of one person's message. It cannot be a client's own: those have no
/// control characters.
fn person_key(key: &str, to: &str) -> String {
    format!("broadcast\u{1}{key}\u{1}{to}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DoNotContactDoc;
    use crate::model::collections::WA_OUTBOX;
    use crate::testing::{ANNA, BEN, Bench};

    fn request(to: &[&str], text: &str) -> BroadcastRequest {
        BroadcastRequest {
            account_id: "a1".to_owned(),
            to: to.iter().map(|to| (*to).to_owned()).collect(),
            message: NewMessage::Text {
                text: text.to_owned(),
                mentions: Vec::new(),
                preview: None,
                quote: None,
            },
            fingerprint: text.to_owned(),
            idempotency_key: "k1".to_owned(),
        }
    }

    fn ids_of(outcome: &BroadcastOutcome) -> Vec<String> {
        let people = outcome.people.iter();
        people
            .map(|person| person.outcome.as_ref().unwrap().message_id.clone())
            .collect()
    }

    #[tokio::test]
    async fn each_person_gets_one_message_however_often_it_is_asked_for() {
        let bench = Bench::new();
        bench.account("a1").await;
        let request = request(&[ANNA, "+49 170 0000002", ANNA], "hello");
        let first = broadcast(bench.accept_parts(), &request).await.unwrap();
        assert!(!first.is_repetition);
        let people: Vec<&str> = first.people.iter().map(|person| &*person.to).collect();
        assert_eq!(people, [ANNA, BEN], "each once, in order");
        let again = broadcast(bench.accept_parts(), &request).await.unwrap();
        assert!(again.is_repetition);
        assert_eq!(ids_of(&first), ids_of(&again));
        let sent: Vec<crate::model::WaOutboxDoc> = bench.list(WA_OUTBOX).await;
        assert_eq!(sent.len(), 2);
    }

    #[tokio::test]
    async fn a_list_that_was_accepted_in_part_is_completed() {
        let bench = Bench::new();
        bench.account("a1").await;
        // As if the worker had died after the first of two.
        let whole = request(&[ANNA, BEN], "hello");
        let people = [ANNA.to_owned(), BEN.to_owned()];
        take_key(bench.accept_parts(), &whole, &people)
            .await
            .unwrap();
        let first = AcceptRequest {
            account_id: "a1".to_owned(),
            to: ANNA.to_owned(),
            message: whole.message.clone(),
            fingerprint: whole.fingerprint.clone(),
            idempotency_key: Some(person_key("k1", ANNA)),
            traceparent: None,
        };
        let first = match accept(bench.accept_parts(), &first).await.unwrap() {
            AcceptOutcome::Accepted(accepted) => accepted,
            AcceptOutcome::Repeated(_) => panic!("it is new"),
        };
        let completed = broadcast(bench.accept_parts(), &whole).await.unwrap();
        assert_eq!(ids_of(&completed)[0], first.message_id);
        assert_eq!(completed.people.len(), 2);
    }

    #[tokio::test]
    async fn one_key_is_for_one_list() {
        let bench = Bench::new();
        bench.account("a1").await;
        let first = request(&[ANNA], "hello");
        assert!(broadcast(bench.accept_parts(), &first).await.is_ok());
        for other in [request(&[ANNA, BEN], "hello"), request(&[ANNA], "bye")] {
            let refused = broadcast(bench.accept_parts(), &other).await;
            assert!(matches!(refused, Err(AcceptError::KeyReused)));
        }
    }

    #[tokio::test]
    async fn who_is_not_to_be_written_to_is_left_out_alone() {
        let bench = Bench::new();
        bench.account("a1").await;
        let entry = DoNotContactDoc {
            address: BEN.to_owned(),
            note: None,
            since: crate::testing::at(1),
        };
        let write = Write::Set {
            path: collections::do_not_contact(&ids::do_not_contact(BEN)).unwrap(),
            fields: entry.to_document().unwrap(),
            precondition: Precondition::Absent,
        };
        let _ = bench.store.commit(vec![write]).await.unwrap();
        let outcome = broadcast(bench.accept_parts(), &request(&[BEN, ANNA], "hello")).await;
        let people = outcome.unwrap().people;
        assert!(matches!(people[0].outcome, Err(AcceptError::Refused)));
        assert!(people[1].outcome.is_ok());
    }
}
