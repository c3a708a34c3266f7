//! The encrypted transport, server side: Noise over the frames of
//! [`crate::wire`].
//!
//! A client that does not know the server begins with XX; one that does tries
//! IK, and is answered with XXfallback if it knew another key. Either way the
//! server ends up with a [`Transport`] and the client's `ClientPayload`, which
//! says who it is or that it wants to pair.
//!
//! [`Handshake`] is the protocol without I/O; [`accept`] runs it on a
//! WebSocket. Neither judges the payload.
//!
//! WhatsApp departs from Noise in one point: empty handshake payloads are not
//! mixed into the transcript.

mod handshake;
mod identity;
mod symmetric;
#[cfg(test)]
mod tests;
mod transport;

use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use proto::whatsapp::ClientPayload;
use tokio_tungstenite::tungstenite::{self, Message};

pub use self::{
    handshake::{Established, Handshake, HandshakeError, Pattern, Step},
    identity::ServerIdentity,
    transport::{Opener, Sealer, Transport, TransportError},
};
use crate::wire::{FrameReader, frame};

/// Runs the handshake on a WebSocket that has just been opened.
///
/// Frames that came with the last handshake message stay in `frames`.
///
/// # Errors
/// See [`HandshakeError`]. The WebSocket is left as it is.
///
/// # Cancel safety
/// None: after a cancelled handshake the connection is good for closing only.
pub async fn accept<S>(
    ws: &mut S,
    frames: &mut FrameReader,
    identity: &ServerIdentity,
) -> Result<(Transport, ClientPayload), HandshakeError>
where
    S: Stream<Item = Result<Message, tungstenite::Error>>
        + Sink<Message, Error = tungstenite::Error>
        + Unpin,
{
    let hello = receive(ws, frames).await?;
    let established = match Handshake::new(identity).hello(&hello)? {
        Step::Done(reply, established) => {
            ws.send(Message::binary(frame(&reply))).await?;
            *established
        }
        Step::Continue(reply, handshake) => {
            ws.send(Message::binary(frame(&reply))).await?;
            handshake.finish(&receive(ws, frames).await?)?
        }
    };
    Ok((established.transport, established.payload))
}

/// The next frame from the WebSocket.
async fn receive<S>(ws: &mut S, frames: &mut FrameReader) -> Result<Vec<u8>, HandshakeError>
where
    S: Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    loop {
        if let Some(frame) = frames.next_frame()? {
            return Ok(frame);
        }
        match ws.next().await.transpose()? {
            Some(Message::Binary(bytes)) => frames.feed(&bytes),
            // The WebSocket answers pings by itself; texts mean nothing here.
            Some(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Frame(_)) => {}
            Some(Message::Close(_)) | None => return Err(HandshakeError::Closed),
        }
    }
}
