//! Conversations and the people in them.

use axum::http::StatusCode;

use super::super::operation::{Operation, boolean, operation, search};
use crate::http::problem::ProblemKind as P;
use crate::http::{contacts, threads};

pub(super) const TAG: &str = "Threads";

pub(super) fn operations() -> Vec<Operation> {
    let op = |method, path, id, summary| operation(TAG, method, path, id, summary);
    let receipts = "/v1/threads/{id}/messages/{message}/receipts";
    let file = "/v1/threads/{id}/messages/{message}/media";
    vec![
        op(
            "GET",
            "/v1/accounts/{id}/threads",
            "listThreads",
            "The conversations of an account",
        )
        .query(
            "archived",
            "Only those that were put away, or only the others",
            boolean(),
        )
        .query("search", "The beginning of a name or a number", search())
        .paged()
        .answers::<threads::ThreadPage>(StatusCode::OK, "A page, the latest first"),
        op(
            "GET",
            "/v1/accounts/{id}/contacts",
            "listContacts",
            "The people whom it knows",
        )
        .query("search", "The beginning of a name or a number", search())
        .paged()
        .answers::<contacts::ContactPage>(StatusCode::OK, "A page, by name"),
        op(
            "GET",
            "/v1/threads/{id}/messages",
            "listMessages",
            "What was said",
        )
        .paged()
        .answers::<threads::MessagePage>(StatusCode::OK, "A page, the latest first"),
        op(
            "GET",
            receipts,
            "readReceipts",
            "Who has got a message, and who has read it",
        )
        .answers::<threads::ReceiptsView>(StatusCode::OK, "Nobody, as long as nobody has")
        .fails(&[P::UnknownMessage]),
        op(
            "GET",
            file,
            "downloadFile",
            "The file that came with a message",
        )
        .about("The one that is kept here, or what WhatsApp has, which keeps files for some weeks.")
        .answers_as(StatusCode::OK, "The file", &["*/*"])
        .fails(&[
            P::UnknownMessage,
            P::NoMedia,
            P::MediaTooLarge,
            P::MediaGone,
            P::MediaHostUnavailable,
            P::MediaStoreUnavailable,
            P::NoMediaStore,
            P::StoreFull,
        ]),
        op(
            "PATCH",
            "/v1/threads/{id}",
            "changeThread",
            "Puts a thread away, or takes it out",
        )
        .takes::<threads::ThreadChange>()
        .answers_nothing(StatusCode::NO_CONTENT, "Done"),
        op(
            "POST",
            "/v1/threads/{id}/read",
            "markRead",
            "Marks what came in as read",
        )
        .answers::<threads::ReadView>(StatusCode::ACCEPTED, "Asked for: its owner obeys"),
        op(
            "POST",
            "/v1/threads/{id}/typing",
            "showTyping",
            "Shows the peer that somebody writes",
        )
        .takes::<threads::Typing>()
        .answers_nothing(StatusCode::ACCEPTED, "Asked for: its owner obeys"),
        op(
            "POST",
            "/v1/threads/{id}/presence",
            "watchPresence",
            "Wants to be told of a presence",
        )
        .answers_nothing(StatusCode::ACCEPTED, "Asked for: its owner obeys")
        .fails(&[P::InvalidBody]),
    ]
}
