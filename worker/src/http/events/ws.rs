//! Frames as messages of a WebSocket.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::events::streams::{End, Frame};

/// Clients have nothing to say here.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// A message that takes longer to leave does not leave.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Hands the frames over until either side ends.
pub(super) async fn run(mut socket: WebSocket, mut frames: mpsc::Receiver<Frame>) {
    loop {
        let frame = tokio::select! {
            biased;
            heard = socket.recv() => match heard {
                // Pings are answered by themselves; nothing else is asked here.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Binary(_))) => continue,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
            frame = frames.recv() => frame,
        };
        let Some(frame) = frame else {
            return;
        };
        let text = message(&frame).to_string();
        if !leaves(&mut socket, Message::Text(text.into())).await {
            return;
        }
        if let Frame::End(end) = frame {
            leaves(&mut socket, goodbye(end)).await;
            return;
        }
    }
}

async fn leaves(socket: &mut WebSocket, message: Message) -> bool {
    let sent = tokio::time::timeout(WRITE_LIMIT, socket.send(message)).await;
    matches!(sent, Ok(Ok(())))
}

fn goodbye(end: End) -> Message {
    let code = match end {
        End::WorkerLeaves => close_code::RESTART,
        End::KeyRevoked => close_code::POLICY,
        End::ClientGone => close_code::AGAIN,
    };
    Message::Close(Some(CloseFrame {
        code,
        reason: end.as_str().into(),
    }))
}

fn message(frame: &Frame) -> Value {
    match frame {
        Frame::Event { cursor, event } => json!({
            "kind": "event",
            "cursor": cursor.to_string(),
            "event": event.view(),
        }),
        Frame::Heartbeat { cursor } => json!({
            "kind": "heartbeat",
            "cursor": cursor.to_string(),
        }),
        Frame::FellBehind { from, cursor } => json!({
            "kind": "fell_behind",
            "cursor": cursor.to_string(),
            "from": from.to_string(),
        }),
        Frame::End(end) => json!({ "kind": "end", "reason": end.as_str() }),
    }
}
