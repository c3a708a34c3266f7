//! One engine under a claim: started in one way, ended in two.
//!
//! [`Instance::start`] is the only way to an engine, for a new account and for
//! a restored one, and attaches every handler: the inbox, the events, the
//! outbox pump, receipts and reading. Gates belong to the instance; closed,
//! they never open again.
//!
//! An engine is never dropped or aborted while it runs: it would stay online
//! and go on. [`Instance::stop`] and [`Instance::freeze`] end it within a limit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coordinator_lib::gate::{CloseReason, Gates};
use coordinator_lib::store::StoreTime;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use whatsapp::{EngineError, EngineEvent, Proxy};

use super::link::{Link, LinkParts};
use super::observed::{Observed, Running};
use super::task::AccountParts;
use super::term::Term;
use crate::groups::keeper::Keeper;
use crate::groups::shelf::Shelf;
use crate::messages::calls::{self, Call};
use crate::messages::history::intake::Intake;
use crate::messages::history::unpacking::Unpacking;
use crate::messages::inbox::{AccountInbox, InboxConfig, InboxParts};
use crate::messages::phone::{CHANGES_MAX, PhoneChange, PhoneChanges};
use crate::messages::presence::{self, Presence};
use crate::messages::reading::Reading;
use crate::messages::receipts::{RECEIPTS_MAX, Receipt, Receipts};
use crate::messages::undecryptable::{self, Undecryptable};
use crate::outbox::acks::Acks;
use crate::outbox::pump::{Pump, PumpParts};

/// Events that wait for the task; the engine drops receipts beyond that, never
/// a change of the connection.
const EVENTS_MAX: usize = 1_024;

/// Limit for what follows the engine's own shutdown: settling receipts and the
/// last flush.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// A running engine with everything that belongs to it.
pub struct Instance {
    /// The engine.
    pub link: Arc<dyn Link>,
    gates: Gates,
    events: mpsc::Receiver<EngineEvent>,
    connected: watch::Sender<bool>,
    available: watch::Sender<Option<bool>>,
    acks: Arc<Acks>,
    receipts: mpsc::Sender<Receipt>,
    phone: mpsc::Sender<PhoneChange>,
    stop: CancellationToken,
    pump: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    observed: Arc<Observed>,
    inbox: InboxConfig,
}

impl Instance {
    /// Starts an engine; it connects by itself.
    ///
    /// # Errors
    /// [`EngineError`]; nothing runs then.
    pub async fn start(
        parts: &AccountParts,
        term: &Term,
        observed: &Arc<Observed>,
        proxy: Option<Proxy>,
    ) -> Result<Self, EngineError> {
        let account_id = term.account.to_string();
        let gates = term.ownership.gates();
        let history = Arc::new(Notify::new());
        let inbox = AccountInbox::new(InboxParts {
            account_id: account_id.clone(),
            store: Arc::clone(&parts.term.store),
            journal: term.journal.clone(),
            threads: Arc::clone(&term.threads),
            contacts: Arc::clone(&term.contacts),
            history: Intake {
                account_id: account_id.clone(),
                epoch: term.epoch(),
                journal: term.journal.clone(),
                data_key: Arc::clone(&term.data_key),
                rng: Arc::clone(&parts.term.rng),
                news: Arc::clone(&history),
            },
            marks: Arc::clone(&term.marks),
            expiries: Arc::clone(&term.expiries),
            files: Arc::clone(&term.files_came),
            counters: Arc::clone(&observed.inbox),
            data_key: Arc::clone(&term.data_key),
            rng: Arc::clone(&parts.term.rng),
            config: parts.inbox.clone(),
            connected_at: StoreTime::from_datetime(parts.term.clock.wall()),
        });
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let link = parts
            .links
            .start(LinkParts {
                files: term.files.clone(),
                gates: gates.clone(),
                version: parts.versions.current(),
                proxy,
                inbox: Arc::new(inbox),
                events: sender,
            })
            .await?;
        observed.runs(Some(Running {
            link: Arc::clone(&link),
            gates: gates.clone(),
        }));

        let tracker = &parts.term.tracker;
        let stop = CancellationToken::new();
        let (connected, is_connected) = watch::channel(false);
        let (available, is_available) = watch::channel(None);
        let acks = Arc::new(Acks::default());
        let pump = Pump::new(PumpParts {
            account_id: account_id.clone(),
            store: Arc::clone(&parts.term.store),
            journal: term.journal.clone(),
            link: Arc::clone(&link),
            data_key: Arc::clone(&term.data_key),
            connected: is_connected.clone(),
            acks: Arc::clone(&acks),
            media: parts.media.clone(),
            marks: Arc::clone(&term.marks),
            sent: Arc::clone(&term.sent),
            status: Arc::clone(&observed.pump),
            config: parts.outbox.clone(),
            clock: Arc::clone(&parts.term.clock),
            rng: Arc::clone(&parts.term.rng),
        });
        let (receipts, queue) = mpsc::channel(RECEIPTS_MAX);
        let receiving = Receipts {
            account_id: account_id.clone(),
            store: Arc::clone(&parts.term.store),
            journal: term.journal.clone(),
            threads: Arc::clone(&term.threads),
            sent: Arc::clone(&term.sent),
        };
        let keeper = Keeper {
            shelf: Shelf {
                account_id: account_id.clone(),
                store: Arc::clone(&parts.term.store),
                journal: term.journal.clone(),
            },
            board: Arc::clone(&term.groups),
            link: Arc::clone(&link),
            connected: is_connected.clone(),
            clock: Arc::clone(&parts.term.clock),
        };
        let (phone, changes) = mpsc::channel(CHANGES_MAX);
        let following = PhoneChanges {
            account_id: account_id.clone(),
            journal: term.journal.clone(),
            threads: Arc::clone(&term.threads),
            contacts: Arc::clone(&term.contacts),
        };
        let unpacking = Unpacking {
            account_id: account_id.clone(),
            epoch: term.epoch(),
            store: Arc::clone(&parts.term.store),
            journal: term.journal.clone(),
            threads: Arc::clone(&term.threads),
            contacts: Arc::clone(&term.contacts),
            data_key: Arc::clone(&term.data_key),
            rng: Arc::clone(&parts.term.rng),
            clock: Arc::clone(&parts.term.clock),
            tracker: tracker.clone(),
            config: parts.inbox.history.clone(),
            turn: Arc::clone(&parts.history_turn),
            news: history,
        };
        let reading = Reading {
            account_id,
            store: Arc::clone(&parts.term.store),
            journal: term.journal.clone(),
            link: Arc::clone(&link),
            connected: is_connected,
            available: is_available,
            presences: Arc::clone(&term.presences),
            clock: Arc::clone(&parts.term.clock),
        };
        let pump = Some(tracker.spawn(pump.run(stop.clone())));
        let others = vec![
            tracker.spawn(receiving.run(queue)),
            tracker.spawn(reading.run(stop.clone())),
            tracker.spawn(keeper.run(stop.clone())),
            tracker.spawn(unpacking.run(stop.clone())),
            tracker.spawn(following.run(changes)),
            tracker.spawn(follow(term.gates.clone(), gates.clone())),
        ];
        let observed = Arc::clone(observed);
        Ok(Self {
            link,
            gates,
            events,
            connected,
            available,
            acks,
            receipts,
            phone,
            stop,
            pump,
            others,
            observed,
            inbox: parts.inbox.clone(),
        })
    }

    /// Waits for the next event that concerns the state machine; receipts and
    /// acknowledgements are handed on here. `None` once there will be no more.
    ///
    /// # Cancel safety
    /// No event is lost.
    pub async fn next(&mut self, term: &Term) -> Option<EngineEvent> {
        loop {
            let event = self.events.recv().await?;
            if let Some(event) = self.hand_on(event, term) {
                return Some(event);
            }
        }
    }

    /// Handles what the state machine has nothing to do with.
    fn hand_on(&self, event: EngineEvent, term: &Term) -> Option<EngineEvent> {
        self.observed.saw(&event);
        match event {
            EngineEvent::Receipt {
                chat,
                sender,
                ids,
                kind,
                at,
            } => {
                let receipt = Receipt {
                    chat,
                    sender,
                    ids,
                    kind,
                    at: StoreTime::from_datetime(at),
                };
                if self.receipts.try_send(receipt).is_err() {
                    self.observed
                        .receipts_dropped
                        .fetch_add(1, Ordering::Relaxed);
                }
                None
            }
            EngineEvent::ServerAck { id, error } => {
                if !self.acks.resolve(&id, error) {
                    tracing::debug!(account.id = %term.account, "late acknowledgement");
                }
                None
            }
            EngineEvent::Undecryptable {
                chat,
                sender,
                sender_alt,
                id,
                at,
            } => {
                tracing::warn!(account.id = %term.account, "message could not be decrypted");
                let message = Undecryptable {
                    chat,
                    sender,
                    sender_alt,
                    id,
                    at,
                };
                let (journal, account) = (term.journal.clone(), term.account.clone());
                let threads = Arc::clone(&term.threads);
                term.track(async move {
                    let noted =
                        undecryptable::note(account.as_str(), &journal, &threads, message).await;
                    if let Err(error) = noted {
                        tracing::warn!(account.id = %account, %error, "undecryptable message was not noted");
                    }
                });
                None
            }
            EngineEvent::Call {
                from,
                creator,
                id,
                video,
                offline,
            } => {
                let rejected = self.inbox.reject_calls && !offline;
                let (journal, account) = (term.journal.clone(), term.account.clone());
                let (threads, link) = (Arc::clone(&term.threads), Arc::clone(&self.link));
                term.track(async move {
                    if rejected && let Err(error) = link.reject_call(&id, &from, &creator).await {
                        tracing::warn!(account.id = %account, %error, "call was not refused");
                    }
                    let call = Call {
                        from,
                        id,
                        video,
                        rejected,
                    };
                    if let Err(error) = calls::note(&journal, &threads, call).await {
                        tracing::warn!(account.id = %account, %error, "call was not noted");
                    }
                });
                None
            }
            EngineEvent::Group { group, news } => {
                term.groups.note(group, news);
                None
            }
            EngineEvent::Presence {
                chat,
                person,
                state,
                last_seen,
            } => {
                let presence = Presence {
                    chat,
                    person,
                    state,
                    last_seen,
                };
                let (journal, account) = (term.journal.clone(), term.account.clone());
                let threads = Arc::clone(&term.threads);
                let seen = Arc::clone(&term.presences);
                term.track(async move {
                    if let Err(error) = presence::note(&journal, &threads, &seen, presence).await {
                        tracing::warn!(account.id = %account, %error, "presence was not noted");
                    }
                });
                None
            }
            EngineEvent::ChatArchived { chat, archived } => {
                self.changed_on_phone(PhoneChange::Archived { chat, archived }, term);
                None
            }
            EngineEvent::ContactNamed(person) => {
                self.changed_on_phone(PhoneChange::Named(person), term);
                None
            }
            EngineEvent::Disconnected(_) | EngineEvent::Stopped => {
                self.connected.send_replace(false);
                Some(event)
            }
            EngineEvent::Stage(_)
            | EngineEvent::Qr { .. }
            | EngineEvent::QrExhausted
            | EngineEvent::Passkey(_)
            | EngineEvent::Paired { .. }
            | EngineEvent::Connected => Some(event),
        }
    }

    /// The account is to be shown as online, or not to be.
    pub fn show(&self, available: Option<bool>) {
        self.available.send_if_modified(|known| {
            let is_news = *known != available;
            *known = available;
            is_news
        });
    }

    fn changed_on_phone(&self, change: PhoneChange, term: &Term) {
        if self.phone.try_send(change).is_err() {
            tracing::warn!(account.id = %term.account, "too many changes on the phone at a time, one is left");
        }
    }

    /// Messages can be sent from now on.
    pub fn open_outbox(&self) {
        self.connected.send_replace(true);
    }

    /// Ends the engine in an orderly way: the outbox stops, the wire closes, the
    /// engine shuts down and flushes through the store gate, then that closes.
    pub async fn stop(mut self, term: &Term, limit: Duration) {
        self.stop.cancel();
        self.finish_pump(term).await;
        self.gates.wire.close(CloseReason::Stopped);
        self.shut_down(term, limit).await;
        let settled = async {
            term.journal.settled().await;
            if let Err(error) = term.files.flush().await {
                tracing::warn!(account.id = %term.account, %error, "session was not flushed after the engine's end");
            }
        };
        tokio::select! {
            biased;
            () = settled => {}
            () = term.clock().sleep(SETTLE_LIMIT) => {
                tracing::warn!(account.id = %term.account, "writes did not settle after the engine's end");
            }
        }
        self.gates.store.close(CloseReason::Stopped);
        self.end(term).await;
    }

    /// Closes both gates at once, then ends the engine.
    pub async fn freeze(mut self, term: &Term, reason: CloseReason, limit: Duration) {
        self.gates.freeze(reason);
        self.stop.cancel();
        self.connected.send_replace(false);
        self.shut_down(term, limit).await;
        self.end(term).await;
    }

    /// Waits for the pump, while the acknowledgements that it waits for still
    /// come in. It ends by itself soon after it is told to stop.
    async fn finish_pump(&mut self, term: &Term) {
        let Some(mut pump) = self.pump.take() else {
            return;
        };
        loop {
            tokio::select! {
                biased;
                _ = &mut pump => return,
                Some(event) = self.events.recv() => {
                    let _ = self.hand_on(event, term);
                }
            }
        }
    }

    /// The engine's own shutdown, while its last events are taken.
    async fn shut_down(&mut self, term: &Term, limit: Duration) {
        let link = Arc::clone(&self.link);
        let shutdown = link.shutdown(limit);
        tokio::pin!(shutdown);
        let report = loop {
            tokio::select! {
                biased;
                report = &mut shutdown => break report,
                Some(event) = self.events.recv() => {
                    let _ = self.hand_on(event, term);
                }
            }
        };
        if !report.clean {
            tracing::warn!(account.id = %term.account, leftovers = report.leftovers, "engine did not shut down by itself");
        }
    }

    /// Ends what belonged to the engine.
    async fn end(self, term: &Term) {
        self.observed.runs(None);
        // Those that wait for the gates end, too.
        self.gates.freeze(CloseReason::Stopped);
        drop(self.receipts);
        drop(self.phone);
        drop(self.events);
        let all = async {
            for task in self.others.into_iter().chain(self.pump) {
                // A panic there was reported where it happened.
                let _ = task.await;
            }
        };
        tokio::select! {
            biased;
            () = all => {}
            () = term.clock().sleep(SETTLE_LIMIT) => {
                tracing::warn!(account.id = %term.account, "handlers did not end in time");
            }
        }
        self.observed.pump.in_flight.store(0, Ordering::Relaxed);
    }
}

/// Closes an instance's gates as soon as those of its claim close.
async fn follow(term: Gates, instance: Gates) {
    tokio::select! {
        biased;
        reason = term.store.closed() => instance.freeze(reason),
        _ = instance.store.closed() => {}
    }
}
