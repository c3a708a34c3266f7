//! Drives an engine instance through its connections, to its end.
//!
//! The engine would connect again by itself. It must not: before each new
//! connection the supervisor looks at the lease, the backoff and the reason. So
//! reconnecting is switched off, the engine's run loop ends with the
//! connection, and this driver says why: for every loss, once. The one
//! exception is 515, by which WhatsApp asks for a new connection after pairing:
//! the same engine must make it, as it remembers what a new device still owes,
//! and the identity is durable before.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use futures::channel::oneshot;
use tokio_util::sync::CancellationToken;
use wacore_binary::OwnedNodeRef;
use whatsapp_rust::{Client, NodeFilter};

use crate::barrier::IdentityBarrier;
use crate::disconnect::DisconnectReason;
use crate::events::{EngineEvent, Stage};
use crate::monitor::{Monitor, Phase};
use crate::transport::GatedTransports;

/// Restarts on the server's demand in a row; the supervisor paces what follows.
/// After pairing there is one.
const RESTARTS_MAX: u32 = 3;

/// A connection that lasted as long ends a row of restarts.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// WhatsApp closes the stream after most stream errors. Where it does not, and
/// the engine waits for it, we hang up after this time.
const HANG_UP_AFTER_STREAM_ERROR: Duration = Duration::from_secs(2);

/// What the engine gets to finish a pairing whose connection has ended. It has
/// nothing to wait for by then.
const PAIRING_FINISHES_WITHIN: Duration = Duration::from_secs(1);

/// More than any limit: the wait for a socket ends with the run loop.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

type Stanza = oneshot::Receiver<Arc<OwnedNodeRef>>;

/// Owns an instance's run loop.
pub(crate) struct Driver {
    pub(crate) client: Arc<Client>,
    pub(crate) transports: Arc<GatedTransports>,
    pub(crate) barrier: Arc<IdentityBarrier>,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) clock: SharedClock,
    /// The instance is being shut down.
    pub(crate) stopping: CancellationToken,
}

impl Driver {
    /// Runs until the instance is of no more use, and says so.
    pub(crate) async fn run(self) {
        let mut restarts = 0;
        loop {
            self.monitor.new_connection();
            let started_at = self.clock.boottime();
            self.connect_once().await;
            self.finish_pairing().await;
            // A gate that closes ends the connection in more than one way.
            let intended = self.stopping.is_cancelled() || self.transports.is_gate_closed();
            let reason = self.monitor.clue(|clues, now| clues.reason(now, intended));
            self.monitor.set_phase(Phase::Connecting);
            tracing::info!(reason = %reason.key(), "WhatsApp connection ended");
            self.monitor.emit(EngineEvent::Disconnected(reason.clone()));

            let lasted = self.clock.boottime() - started_at;
            restarts = if lasted >= STABLE_AFTER {
                1
            } else {
                restarts + 1
            };
            let again = reason == DisconnectReason::RestartRequired
                && restarts <= RESTARTS_MAX
                && !intended
                && self.is_identity_durable().await;
            if !again {
                break;
            }
        }
        self.monitor.end();
    }

    /// One connection, from the dial to its end.
    async fn connect_once(&self) {
        let mut stream_error = self.stanza("stream:error");
        let mut success = self.stanza("success");
        self.client
            .enable_auto_reconnect
            .store(false, Ordering::Relaxed);
        let mut handshake_done = false;
        let mut logged_in = false;
        let mut hang_up_at = None;
        let client = self.client.clone();
        let mut run = Box::pin(async move { client.run().await });
        let mut socket = Box::pin(self.client.wait_for_socket(NEVER));
        loop {
            let hang_up = async {
                match hang_up_at {
                    Some(at) => self.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What was received is looked at before the end that it explains.
                biased;
                _ = &mut socket, if !handshake_done => {
                    handshake_done = true;
                    self.monitor.clue(|clues, _| clues.handshake_done());
                    self.monitor.stage(Stage::Login);
                }
                _ = &mut success, if !logged_in => {
                    logged_in = true;
                    self.monitor.stage(Stage::Sync);
                }
                stanza = &mut stream_error => {
                    stream_error = self.stanza("stream:error");
                    if stanza.is_ok_and(|stanza| self.note_stream_error(&stanza)) {
                        let limit = self.clock.boottime() + HANG_UP_AFTER_STREAM_ERROR;
                        hang_up_at.get_or_insert(limit);
                    }
                }
                () = &mut run => break,
                () = self.monitor.hang_up_asked() => self.transports.close_link(),
                () = hang_up => {
                    hang_up_at = None;
                    self.transports.close_link();
                }
            }
        }
        // The run loop may get a stanza and end by it in one go.
        if let Ok(Some(stanza)) = stream_error.try_recv() {
            self.note_stream_error(&stanza);
        }
    }

    /// Waits for the rest of a pairing: the server may end the connection while
    /// the engine is about to say that it has paired, and to note what it owes.
    async fn finish_pairing(&self) {
        let is_paired = self.monitor.clue(|clues, _| clues.is_paired());
        if is_paired || !self.barrier.is_new_identity() {
            return;
        }
        tokio::select! {
            biased;
            () = self.monitor.pairing_finished() => {}
            () = self.clock.sleep(PAIRING_FINISHES_WITHIN) => {
                tracing::warn!("a pairing did not finish before its connection ended");
            }
        }
    }

    /// Keeps a stream error as a clue. True if the connection is to end by it.
    fn note_stream_error(&self, stanza: &OwnedNodeRef) -> bool {
        let node = stanza.get();
        if node.get_optional_child("conflict").is_some() {
            // The engine tells a replacement from a removal, and hangs up.
            return false;
        }
        let code = node
            .get_attr("code")
            .map(|code| code.as_str().into_owned())
            .unwrap_or_default();
        let reason = DisconnectReason::from_stream_error_code(&code);
        tracing::info!(%code, "WhatsApp reported a stream error");
        self.monitor
            .clue(|clues, now| clues.stream_error(reason, now));
        // Without a code it complains about one stanza, and may go on.
        !code.is_empty()
    }

    /// Waits for a stanza with this tag.
    fn stanza(&self, tag: &str) -> Stanza {
        self.client.wait_for_node(NodeFilter::tag(tag))
    }

    async fn is_identity_durable(&self) -> bool {
        match self.barrier.settle().await {
            Ok(()) => true,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the new WhatsApp identity could not be stored");
                false
            }
        }
    }
}
