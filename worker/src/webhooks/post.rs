//! Sends for all accounts of a worker: few requests at a time, fewer to one
//! receiver, and none to one that has failed several times in a row.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::StoreTime;
use hyper::header::{self, HeaderName, HeaderValue};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use super::WebhookConfig;
use super::breaker::{Breaker, Permission};
use super::client::Client;
use super::hooks::Hook;
use super::schedule::Outcome;
use super::signature;
use crate::events::Logged;
use crate::model::webhook::WebhookFormat;
use crate::telemetry::{metrics, propagation, spans};
use crate::waha::events as waha;

/// Requests under way in the whole worker.
const REQUESTS_MAX: usize = 32;

/// Requests under way to one receiver: one that is slow holds no others up.
const RECEIVER_REQUESTS_MAX: usize = 4;

/// Receivers that are remembered; more than anybody has.
const RECEIVERS_MAX: usize = 4_096;

/// A breaker stays open for this many first waits of the schedule.
const BREAKER_WAITS: u32 = 6;

/// The event's id; the same however often it is sent.
const EVENT_HEADER: HeaderName = HeaderName::from_static("x-leasehold-event");
/// The webhook's id.
const WEBHOOK_HEADER: HeaderName = HeaderName::from_static("x-leasehold-webhook");
/// 1 for what was certainly not sent before.
const ATTEMPT_HEADER: HeaderName = HeaderName::from_static("x-leasehold-attempt");
/// The trace that the event belongs to.
const TRACE_HEADER: HeaderName = HeaderName::from_static("traceparent");

/// What is sent.
pub struct Letter {
    /// The event's id.
    pub event_id: String,
    /// Whose event; nobody's if it is made up.
    pub account_id: Option<String>,
    /// What happened.
    pub kind: &'static str,
    /// Which attempt this is; more than 1 marks a repetition.
    pub attempt: u32,
    /// As in `traceparent`.
    pub trace: Option<String>,
    /// The event, as JSON.
    pub body: Bytes,
}

impl Letter {
    /// An event's first attempt.
    pub fn of(event: &Logged, body: Bytes) -> Self {
        Self {
            event_id: event.id.clone(),
            account_id: Some(event.event.account_id.clone()),
            kind: event.event.kind.as_str(),
            attempt: 1,
            trace: event.event.trace.clone(),
            body,
        }
    }
}

/// See the module.
pub struct Post {
    client: Client,
    config: WebhookConfig,
    clock: SharedClock,
    rng: SharedRng,
    requests: Semaphore,
    receivers: Mutex<HashMap<String, Receiver>>,
}

struct Receiver {
    requests: Arc<Semaphore>,
    breaker: Breaker,
}

impl Post {
    /// Nothing is under way.
    pub fn new(config: WebhookConfig, clock: SharedClock, rng: SharedRng) -> Self {
        Self {
            client: Client::new(config),
            config,
            clock,
            rng,
            requests: Semaphore::new(REQUESTS_MAX),
            receivers: Mutex::default(),
        }
    }

    /// What it was told.
    pub fn config(&self) -> &WebhookConfig {
        &self.config
    }

    /// Sends a letter once it is the receiver's turn; gives the outcome and how
    /// long the request took.
    ///
    /// # Cancel safety
    /// Dropped half-way, the receiver may or may not have got it.
    pub async fn send(&self, hook: &Hook, letter: &Letter) -> (Outcome, Duration) {
        let own = self.with(&hook.id, |receiver| Arc::clone(&receiver.requests));
        let _receivers_slot = own.acquire().await;
        loop {
            let now = self.clock.boottime();
            let patience = self.config.timeout * 2;
            match self.with(&hook.id, |receiver| receiver.breaker.ask(now, patience)) {
                Permission::Go => break,
                Permission::Wait(until) => {
                    // Not all at once.
                    let wait = self
                        .rng
                        .jitter((until - now).min(self.config.retry_max), 0.1);
                    self.clock.sleep(wait).await;
                }
            }
        }
        let (outcome, took) = self.send_now(hook, letter).await;
        let now = self.clock.boottime();
        // A refusal shows that the receiver is there.
        let is_there = outcome.status().is_some_and(|status| status < 500);
        self.with(&hook.id, |receiver| receiver.breaker.note(is_there, now));
        (outcome, took)
    }

    /// Sends a letter whatever the breaker says: somebody waits for it. A part
    /// of the event's trace.
    pub async fn send_now(&self, hook: &Hook, letter: &Letter) -> (Outcome, Duration) {
        let _slot = self.requests.acquire().await;
        let span = info_span!(
            parent: None,
            "webhook.deliver",
            otel.kind = "client",
            otel.status_code = Empty,
            webhook.id = hook.id,
            webhook.attempt = letter.attempt,
            webhook.outcome = Empty,
            webhook.error = Empty,
            account.id = letter.account_id,
            event.id = letter.event_id,
            event.type = letter.kind,
            http.response.status_code = Empty,
        );
        propagation::continues(&span, letter.trace.as_deref());
        self.request(hook, letter).instrument(span).await
    }

    async fn request(&self, hook: &Hook, letter: &Letter) -> (Outcome, Duration) {
        let span = Span::current();
        let began = self.clock.boottime();
        let headers = self.headers(hook, letter);
        let sent = self
            .client
            .post(&hook.endpoint, headers, letter.body.clone());
        let outcome = sent.await;
        let took = elapsed(began, self.clock.boottime());
        span.record("http.response.status_code", outcome.status());
        match outcome.error() {
            None => {
                span.record("webhook.outcome", "delivered");
            }
            Some(error) => {
                span.record("webhook.outcome", "failed");
                span.record("webhook.error", error);
                spans::failed(&span);
            }
        }
        metrics::webhook_delivered(outcome.is_delivered(), took);
        (outcome, took)
    }

    fn headers(&self, hook: &Hook, letter: &Letter) -> Vec<(HeaderName, HeaderValue)> {
        let now = self.clock.wall();
        let secrets = hook.secrets(StoreTime::from_datetime(now));
        let secrets = secrets.map(|secret| secret.expose().as_bytes());
        let signature = signature::sign(secrets, now.timestamp(), &letter.body);
        let agent = format!("Leasehold/{}", crate::VERSION);
        // The request's own span, where that is traced.
        let trace = propagation::current().or_else(|| letter.trace.clone());
        let own = [
            (header::USER_AGENT, Some(agent)),
            (HeaderName::from_static(signature::HEADER), Some(signature)),
            (EVENT_HEADER, Some(letter.event_id.clone())),
            (WEBHOOK_HEADER, Some(hook.id.clone())),
            (ATTEMPT_HEADER, Some(letter.attempt.to_string())),
            (TRACE_HEADER, trace),
        ];
        let others = match hook.format {
            WebhookFormat::Leasehold => Vec::new(),
            WebhookFormat::Waha => waha::headers(
                &letter.event_id,
                now.timestamp_millis(),
                hook.secret.expose().as_bytes(),
                &letter.body,
            ),
        };
        own.into_iter()
            .chain(others.into_iter().map(|(name, value)| (name, Some(value))))
            // What has no form as a header is left out.
            .filter_map(|(name, value)| Some((name, HeaderValue::try_from(value?).ok()?)))
            .collect()
    }

    fn with<T>(&self, hook_id: &str, work: impl FnOnce(&mut Receiver) -> T) -> T {
        let mut receivers = self.receivers.lock();
        if receivers.len() >= RECEIVERS_MAX && !receivers.contains_key(hook_id) {
            receivers.clear();
        }
        let base = self.config.retry_base * BREAKER_WAITS;
        let receiver = receivers
            .entry(hook_id.to_owned())
            .or_insert_with(|| Receiver {
                requests: Arc::new(Semaphore::new(RECEIVER_REQUESTS_MAX)),
                breaker: Breaker::new(base, self.config.retry_max),
            });
        work(receiver)
    }
}

fn elapsed(from: Boottime, to: Boottime) -> Duration {
    to - from
}
