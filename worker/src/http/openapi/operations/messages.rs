//! Sending, and what is needed for it.

use axum::http::StatusCode;

use super::super::operation::{Operation, operation};
use crate::http::problem::ProblemKind as P;
use crate::http::{broadcasts, do_not_contact, media, message_body, messages};
use crate::model::OutboxState;

pub(super) const TAG: &str = "Messages";

pub(super) fn operations() -> Vec<Operation> {
    let op = |method, path, id, summary| operation(TAG, method, path, id, summary);
    vec![
        op("POST", "/v1/accounts/{id}/messages", "sendMessage", "Queues a message")
            .about(
                "It is stored and will be sent in order, also if this worker dies. Give `to`, and \
                 exactly one of the things that can be sent; `mentions`, `preview` and `quote` come \
                 with `text`.",
            )
            .idempotent()
            .takes::<message_body::MessageBody>()
            .answers::<messages::AcceptedView>(StatusCode::ACCEPTED, "It is queued")
            .fails(&[P::AccountState, P::DoNotContact, P::NotInGroup, P::UnknownMessage]),
        op("GET", "/v1/accounts/{id}/messages", "listOutgoingMessages", "What is sent, and how far it is")
            .paged()
            .answers::<messages::OutgoingPage>(StatusCode::OK, "A page, the latest first"),
        op("POST", "/v1/accounts/{id}/broadcasts", "sendBroadcast", "One message to many people")
            .about("Each gets it in a thread of their own. Takes what `sendMessage` takes.")
            .idempotent()
            .takes::<broadcasts::BroadcastBody>()
            .answers::<broadcasts::BroadcastView>(
                StatusCode::ACCEPTED,
                "All were looked at: each has a message, or an error",
            )
            .fails(&[P::AccountState, P::DoNotContact, P::NotInGroup, P::UnknownMessage]),
        op("GET", "/v1/messages", "listOutbox", "What all accounts are to send, by how far it is")
            .about(
                "The oldest first where messages wait (`queued`, `sending`), else the latest. A key \
                 that is limited to accounts may get pages with few entries, or none, before the \
                 last.",
            )
            .query_of::<OutboxState>("state", "How far it has come; `queued` unless said otherwise")
            .paged()
            .answers::<messages::OutgoingPage>(StatusCode::OK, "A page"),
        op("GET", "/v1/messages/{id}", "readOutgoingMessage", "How far a message has come")
            .answers::<messages::MessageView>(StatusCode::OK, "As it is now"),
        op("DELETE", "/v1/messages/{id}", "cancelMessage", "Takes a queued message back")
            .answers_nothing(StatusCode::NO_CONTENT, "It will not be sent")
            .fails(&[P::NotCancellable]),
        op("POST", "/v1/media", "uploadFile", "Takes a file that is to be sent")
            .about(
                "The body is the file, `Content-Type` its media type. One that no message uses is \
                 removed after a while.",
            )
            .takes_file()
            .answers::<media::UploadView>(StatusCode::CREATED, "It is stored")
            .fails(&[P::NoMediaStore, P::MediaTooLarge, P::MediaStoreUnavailable]),
        op("GET", "/v1/do-not-contact", "listDoNotContact", "Who is not written to")
            .paged()
            .answers::<do_not_contact::EntryPage>(StatusCode::OK, "A page"),
        op(
            "PUT",
            "/v1/do-not-contact/{address}",
            "addDoNotContact",
            "Nothing more is sent to this address, by any account",
        )
        .takes::<do_not_contact::NewEntry>()
        .answers_nothing(StatusCode::NO_CONTENT, "It is on the list"),
        op(
            "DELETE",
            "/v1/do-not-contact/{address}",
            "removeDoNotContact",
            "Takes an address off the list",
        )
        .answers_nothing(StatusCode::NO_CONTENT, "It is not on the list"),
    ]
}
