//! One attempt at one message, from its first commit to its last.
//!
//! `sending` is committed before the frame leaves; then the do-not-contact list
//! is read, so that whoever was put on it before gets nothing; then the wire.
//!
//! Around a message to a conversation that has just written here the session is
//! made durable: a fresh sending chain has no counters reserved yet.

use std::sync::atomic::Ordering;
use std::time::Duration;

use coordinator_lib::clock::Boottime;
use coordinator_lib::mutation::{self, Mutation};
use coordinator_lib::store::StoreTime;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};
use whatsapp::media::Attachment;
use whatsapp::{OutboundMessage, SendError};

use super::pump::{PumpParts, STORE_WAIT, WAIT_SPREAD};
use super::rule::{self, Step};
use super::schedule::Done;
use super::settle::{Begun, Places, Ready};
use super::verdict::{self, Reason, Scope, Verdict};
use crate::events::JournalError;
use crate::killpoint::{self, KillPoint};
use crate::media::{FileName, MediaStoreError};
use crate::messages::refusals;
use crate::model::WaOutboxDoc;
use crate::model::outbox::payload_purpose;
use crate::telemetry::metrics::{self, SendOutcome};
use crate::telemetry::{propagation, spans};

/// What an attempt works with.
pub(super) struct Attempt<'a> {
    pub(super) parts: &'a PumpParts,
    /// Its `wa_outbox` document.
    pub(super) id: String,
    pub(super) thread_id: String,
    pub(super) places: Places,
    /// Until when a conversation may not be begun.
    pub(super) new_chats_closed_until: Option<Boottime>,
}

/// What became of it.
pub(super) struct Outcome {
    pub(super) id: String,
    pub(super) done: Done,
    /// The server has it.
    pub(super) is_sent: bool,
    /// Who else waits, and for how long.
    pub(super) pause: Option<(Scope, Duration)>,
}

impl Attempt<'_> {
    /// Makes the attempt, as a part of the trace of the request.
    pub(super) async fn make(self) -> Outcome {
        let span = info_span!(
            parent: None,
            "outbox.send",
            otel.kind = "producer",
            otel.status_code = Empty,
            account.id = self.parts.account_id,
            message.id = self.id,
            message.attempt = Empty,
            message.outcome = Empty,
            message.error = Empty,
        );
        propagation::continues(&span, self.places.traceparent.as_deref());
        self.make_in_span().instrument(span).await
    }

    async fn make_in_span(self) -> Outcome {
        let mut outcome = Outcome {
            id: self.id.clone(),
            done: Done::Settled,
            is_sent: false,
            pause: None,
        };
        outcome.done = match self.once(&mut outcome).await {
            Ok(done) => done,
            Err(error) => {
                if !error.is_over() {
                    spans::failed(&Span::current());
                    tracing::warn!(message.id = %self.id, %error, "state of a message was not stored");
                }
                Done::Again(self.parts.clock.boottime() + STORE_WAIT)
            }
        };
        outcome
    }

    async fn once(&self, outcome: &mut Outcome) -> Result<Done, JournalError> {
        let PumpParts {
            journal,
            config,
            status,
            clock,
            rng,
            ..
        } = self.parts;
        let is_closed = self.new_chats_closed_until.is_some();
        let begun = self.places.begin(journal, config.expire_after, is_closed);
        let ready = match begun.await? {
            Begun::Send(ready) => ready,
            Begun::Gone | Begun::Expired => return Ok(Done::Settled),
            Begun::NewChat => {
                let until = self.new_chats_closed_until;
                return Ok(Done::Again(until.unwrap_or_else(|| clock.boottime())));
            }
        };
        let (span, begun) = (Span::current(), clock.boottime());
        let note = |outcome: SendOutcome, reason: Option<&Reason>| {
            span.record("message.outcome", outcome.as_str());
            span.record("message.error", reason.map(|reason| reason.code));
            if outcome == SendOutcome::Failed {
                spans::failed(&span);
            }
            metrics::sent(outcome, clock.boottime() - begun);
        };
        span.record("message.attempt", ready.document.attempts);
        killpoint::reach(KillPoint::AfterSending);
        status.attempts.fetch_add(1, Ordering::Relaxed);
        let verdict = match self.is_refused(&ready).await? {
            true => Verdict::Fail(refusals::reason()),
            false => {
                let wire = info_span!(
                    "whatsapp.send",
                    otel.kind = "client",
                    otel.status_code = Empty,
                    account.id = self.parts.account_id,
                    message.id = self.id,
                    message.error = Empty,
                );
                let put = self.put_on_wire(&ready.document);
                let verdict = put.instrument(wire.clone()).await;
                if let Some(reason) = verdict.reason() {
                    wire.record("message.error", reason.code);
                    spans::failed(&wire);
                }
                verdict
            }
        };
        let attempts = u32::try_from(ready.document.attempts).unwrap_or(u32::MAX);
        let again = |wait| Done::Again(clock.boottime() + wait);
        match rule::step(verdict, attempts, config) {
            Step::Sent => {
                killpoint::reach(KillPoint::BeforeAck);
                status.sent.fetch_add(1, Ordering::Relaxed);
                outcome.is_sent = true;
                self.places.sent(journal).await?;
                let now = StoreTime::from_datetime(clock.wall());
                note(SendOutcome::Sent, None);
                metrics::acknowledged(now.since(ready.document.accepted_at));
                killpoint::reach(KillPoint::AfterAck);
                Ok(Done::Settled)
            }
            Step::Keep { wait } => Ok(again(wait)),
            Step::Retry {
                wait,
                reason,
                pause,
            } => {
                outcome.pause = pause;
                let wait = rng.jitter(wait, WAIT_SPREAD);
                let done = again(wait);
                note(SendOutcome::Retried, Some(&reason));
                self.places.again(journal, &reason, wait).await?;
                Ok(done)
            }
            Step::Fail { reason, pause } => {
                outcome.pause = pause;
                status.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    message.id = %self.id,
                    code = reason.code,
                    wa.code = reason.wa_code,
                    "message is given up"
                );
                note(SendOutcome::Failed, Some(&reason));
                self.places.fail(journal, &reason).await?;
                Ok(Done::Settled)
            }
        }
    }

    /// Whether the recipient is on the do-not-contact list, under any of the
    /// addresses that are known by now.
    async fn is_refused(&self, ready: &Ready) -> Result<bool, JournalError> {
        let addresses = ready.addresses.iter().map(String::as_str);
        refusals::any(self.parts.store.as_ref(), addresses)
            .await
            .map_err(JournalError::Store)
    }

    /// Waits until the session is durable, where the conversation has written
    /// since it last was. False if it is not in time.
    async fn make_durable(&self) -> bool {
        let PumpParts {
            marks,
            link,
            clock,
            config,
            ..
        } = self.parts;
        // One at a time: whoever comes meanwhile waits for what is under way.
        let _flushing = marks.flushing.lock().await;
        if !marks.is_marked(&self.thread_id) {
            return true;
        }
        let taken = marks.take();
        let durable = tokio::select! {
            biased;
            flushed = link.flush_after_inbound() => flushed.is_ok(),
            () = clock.sleep(config.flush_timeout) => false,
        };
        if !durable {
            marks.put_back(taken);
            tracing::warn!(account.id = %self.parts.account_id, "session was not durable in time; an answer waits");
        }
        durable
    }

    /// The file that goes with the message.
    async fn attachment(&self, id: &str) -> Result<Attachment, MediaStoreError> {
        let media = &self.parts.media;
        let plain = media.read(&FileName::given(id)?).await?;
        Ok(Attachment::new(plain, media.temporary()?))
    }

    /// Sends the frame and waits for the server's answer.
    ///
    /// What the conversation has written changes the session that encrypts the
    /// answer, and if that change is lost in a crash after the answer has left,
    /// the two sides do not understand one another any more. So it is made
    /// durable last thing before the frame, and, because the engine decrypts
    /// while it sends, at once after it and once more with the answer.
    async fn put_on_wire(&self, document: &WaOutboxDoc) -> Verdict {
        let PumpParts {
            account_id,
            acks,
            link,
            clock,
            config,
            data_key,
            status,
            ..
        } = self.parts;
        let Ok(payload) =
            data_key.open_secret(account_id, &payload_purpose(&self.id), &document.payload)
        else {
            return Verdict::Fail(Reason::new(
                "unreadable",
                "the stored message does not open with the account's key",
            ));
        };
        let message = OutboundMessage {
            chat: document.chat.clone(),
            message_id: if mutation::is_on(Mutation::DropReservedId) {
                whatsapp::generate_message_id(&*self.parts.rng)
            } else {
                document.wa_message_id.clone()
            },
            payload: bytes::Bytes::copy_from_slice(&payload),
            attachment: match &document.media_id {
                Some(id) => match self.attachment(id).await {
                    Ok(attachment) => Some(attachment),
                    Err(error) => return verdict::of_media_error(&error),
                },
                None => None,
            },
        };
        let mut connected = self.parts.connected.clone();
        if !self.make_durable().await {
            let reason = "the session could not be stored before sending";
            return Verdict::Retry(Reason::new("storage", reason));
        }
        // Before the frame leaves: the answer may be faster than the return.
        let ack = acks.expect(&message.message_id);
        let begun = clock.boottime();
        let frames_flowed = || link.stats().last_frame_in.is_some_and(|at| at >= begun);
        let verdict = match link.send(&message).await {
            Err(error) => {
                if matches!(error, SendError::TimedOut) {
                    status.timed_out(frames_flowed());
                }
                verdict::of_send_error(&error)
            }
            Ok(()) if mutation::is_on(Mutation::SentBeforeAck) => Verdict::Sent,
            Ok(()) => {
                killpoint::reach(KillPoint::AfterWire);
                let answer = async {
                    tokio::select! {
                        biased;
                        answer = ack => {
                            status.hung_in_a_row.store(0, Ordering::Relaxed);
                            verdict::of_ack(answer.ok())
                        }
                        _ = connected.wait_for(|connected| !connected) => Verdict::Unconnected,
                        () = clock.sleep(config.ack_timeout) => {
                            status.timed_out(frames_flowed());
                            verdict::of_ack(None)
                        }
                    }
                };
                let (verdict, _) = tokio::join!(answer, self.make_durable());
                self.make_durable().await;
                verdict
            }
        };
        acks.forget(&message.message_id);
        verdict
    }
}
