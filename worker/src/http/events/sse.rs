//! Frames as server-sent events.

use std::convert::Infallible;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::json;
use tokio::sync::mpsc;

use crate::events::streams::Frame;

/// The stream; it ends with the frames.
pub(super) fn response(frames: mpsc::Receiver<Frame>) -> Response {
    let events = stream::unfold(frames, |mut frames| async move {
        let frame = frames.recv().await?;
        Some((Ok::<_, Infallible>(event(&frame)), frames))
    });
    let mut response = Sse::new(events).into_response();
    // nginx would keep events back until it has a buffer full.
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

fn event(frame: &Frame) -> Event {
    match frame {
        Frame::Event { cursor, event } => Event::default()
            .id(cursor.to_string())
            .event(event.event.kind.as_str())
            .data(json!(event.view()).to_string()),
        // An id without data moves the client's `Last-Event-ID` on and is no
        // event.
        Frame::Heartbeat { cursor } => Event::default().comment("heartbeat").id(cursor.to_string()),
        Frame::FellBehind { from, cursor } => Event::default()
            .id(cursor.to_string())
            .event("fell_behind")
            .data(json!({ "from": from.to_string(), "to": cursor.to_string() }).to_string()),
        Frame::End(end) => Event::default()
            .event("end")
            .data(json!({ "reason": end.as_str() }).to_string()),
    }
}
