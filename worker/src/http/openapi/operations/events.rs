//! Events and webhooks.

use axum::http::StatusCode;

use super::super::operation::{Operation, operation, text};
use crate::http::events::pages;
use crate::http::problem::ProblemKind as P;
use crate::http::webhooks::{self, deliveries};
use crate::model::webhook::DeliveryState;

pub(super) const TAG: &str = "Events";

pub(super) fn operations() -> Vec<Operation> {
    let op = |method, path, id, summary| operation(TAG, method, path, id, summary);
    let streamed = |operation: Operation| {
        operation
            .query(
                "accounts",
                "Only these ids, with commas between them",
                text(),
            )
            .query(
                "types",
                "Only these types, with commas between them",
                text(),
            )
            .query(
                "after",
                "Goes on after this event: its `id`, the `next` of a page, or `oldest`",
                text(),
            )
            .fails(&[P::UnknownAccount, P::TooManyStreams, P::WorkerBusy])
    };
    vec![
        streamed(op(
            "GET",
            "/v1/events",
            "followEvents",
            "What happens to all accounts, as a stream or in pages",
        ))
        .about(
            "With `Accept: application/json` a page, which takes `limit`; otherwise a stream of \
             server-sent events, which goes on after `Last-Event-ID`.",
        )
        .query("limit", "Most events of a page", pages::limit())
        .answers::<pages::EventPage>(StatusCode::OK, "Events, in their order")
        .also_as(StatusCode::OK, &["text/event-stream"])
        .fails(&[P::CursorExpired]),
        streamed(op(
            "GET",
            "/v1/events/ws",
            "followEventsBySocket",
            "The same as a WebSocket",
        ))
        .answers_nothing(StatusCode::SWITCHING_PROTOCOLS, "A WebSocket")
        .fails(&[P::InvalidHeader]),
        op("GET", "/v1/webhooks", "listWebhooks", "Where events go")
            .paged()
            .answers::<webhooks::WebhookPage>(StatusCode::OK, "A page, by id"),
        op(
            "POST",
            "/v1/webhooks",
            "createWebhook",
            "Makes a webhook, and shows its secret once",
        )
        .takes::<webhooks::NewWebhook>()
        .answers::<webhooks::WebhookView>(StatusCode::CREATED, "The webhook, with its secret")
        .fails(&[P::UnknownAccount]),
        op(
            "GET",
            "/v1/webhooks/{id}",
            "readWebhook",
            "One webhook, and how far it came with each account",
        )
        .answers::<webhooks::WebhookView>(StatusCode::OK, "As it is now"),
        op(
            "PATCH",
            "/v1/webhooks/{id}",
            "changeWebhook",
            "Changes what is named",
        )
        .about("Events wait while it is not `enabled`. `rotateSecret` makes a new secret.")
        .takes::<webhooks::WebhookChange>()
        .answers::<webhooks::WebhookView>(StatusCode::OK, "As it is now")
        .fails(&[P::UnknownAccount]),
        op(
            "DELETE",
            "/v1/webhooks/{id}",
            "deleteWebhook",
            "Nothing more is sent; what waited is forgotten",
        )
        .answers_nothing(StatusCode::NO_CONTENT, "It is gone"),
        op(
            "POST",
            "/v1/webhooks/{id}/test",
            "testWebhook",
            "Sends a made-up event at once",
        )
        .answers::<webhooks::TestView>(StatusCode::OK, "What the receiver said"),
        op(
            "POST",
            "/v1/webhooks/{id}/secret",
            "rotateWebhookSecret",
            "Makes a new secret; the old one is good for a while",
        )
        .about(
            "Until the old one's time is over (a day, unless `overlapSeconds` says otherwise), \
             deliveries carry a signature of each.",
        )
        .takes::<webhooks::secret::NewSecret>()
        .answers::<webhooks::WebhookView>(StatusCode::OK, "As it is now, with the new secret"),
        op(
            "GET",
            "/v1/webhooks/{id}/deliveries",
            "listDeliveries",
            "What became of events",
        )
        .query_of::<DeliveryState>("state", "Only those that stand so")
        .paged()
        .answers::<deliveries::DeliveryPage>(StatusCode::OK, "A page, the latest first"),
        op(
            "POST",
            "/v1/webhooks/{id}/deliveries/{delivery}/replay",
            "replayDelivery",
            "Sends an event once more, out of its order",
        )
        .answers_nothing(StatusCode::ACCEPTED, "Its account's owner does")
        .fails(&[P::UnknownDelivery, P::EventGone]),
    ]
}
