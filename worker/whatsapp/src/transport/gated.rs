//! A byte stream whose writes pass the wire gate.
//!
//! The lowest of the gate's places: below TLS and WebSocket, so that what they
//! write by themselves (pongs, close frames, session tickets) is held back too.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use coordinator_lib::gate::{Gate, GateClosed};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// `inner`, which writes only while the gate is open: a write waits while it is
/// suspended and fails once it is closed. Reads pass.
pub(super) struct Gated<S> {
    inner: S,
    gate: Gate,
    /// The wait of a write that met a suspended gate.
    waiting: Option<BoxFuture<'static, Result<(), GateClosed>>>,
}

impl<S> Gated<S> {
    pub(super) fn new(inner: S, gate: Gate) -> Self {
        Self {
            inner,
            gate,
            waiting: None,
        }
    }

    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.gate.is_open() {
                self.waiting = None;
                return Poll::Ready(Ok(()));
            }
            let gate = self.gate.clone();
            let waiting = self
                .waiting
                .get_or_insert_with(|| async move { gate.pass().await.map(drop) }.boxed());
            let passed = ready!(waiting.poll_unpin(cx));
            self.waiting = None;
            if passed.is_err() {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::BrokenPipe,
                    "the wire gate is closed",
                )));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_gate(cx))?;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
