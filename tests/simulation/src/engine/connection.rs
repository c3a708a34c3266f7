//! One connection, from the dial to its end.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use whatsapp::{Content, DisconnectReason, EngineEvent, Extras, Inbound, Stage};

use super::{Instance, Phase};
use crate::clock::VirtualClock;
use crate::post::{Cargo, Delivery, Letter, News, address};
use crate::server::Sender;

/// Letters that go into the inbox together.
const TOGETHER_MAX: usize = 8;

impl Instance {
    /// Runs until the connection is over, and says so.
    pub(super) async fn run(self: Arc<Self>) {
        let reason = tokio::select! {
            biased;
            reason = self.gates.wire.closed() => {
                self.engines.sea.record.reached(&format!("engine closed: {reason}"));
                DisconnectReason::Intentional
            }
            () = self.stopping.cancelled() => DisconnectReason::Intentional,
            reason = self.live() => reason,
        };
        let engines = &self.engines;
        let record = &engines.sea.record;
        let Sender { account, epoch, .. } = &self.sender;
        record.note(
            engines.process.name(),
            format_args!("{account} epoch {epoch} ends: {reason}"),
        );
        if reason != DisconnectReason::Intentional {
            engines.server.loses(account);
        }
        engines.server.ends(account, *epoch);
        let (post, sender) = (Arc::clone(&engines.post), self.sender.clone());
        let travel = Duration::from_micros(engines.rng.range(2_000..60_000));
        engines.sea.timeline.quietly(travel, None, move || {
            post.hang_up(&sender.account, sender.connection)
        });
        self.phase.send_replace(Phase::Ended);
        self.emit(EngineEvent::Disconnected(reason)).await;
        self.emit(EngineEvent::Stopped).await;
    }

    async fn live(self: &Arc<Self>) -> DisconnectReason {
        if let Some(reason) = self.dial().await {
            return reason;
        }
        let deliveries = async {
            loop {
                let delivery = self.ear.delivery().await;
                if self.deliver(delivery).await.is_none() {
                    // The gate is closed, which ends all of it.
                    std::future::pending::<()>().await;
                }
            }
        };
        let news = async {
            loop {
                let news = self.ear.news().await;
                self.heard();
                if let Some(reason) = self.hear(news).await {
                    return reason;
                }
            }
        };
        let pings = async {
            loop {
                let wait = self.engines.rng.range(20_000..30_000);
                let wait = Duration::from_millis(wait);
                self.engines.clock.sleep(wait).await;
                if self.send_frame(0, Cargo::Ping).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            biased;
            reason = news => reason,
            () = deliveries => DisconnectReason::Intentional,
            () = pings => DisconnectReason::Intentional,
        }
    }

    /// Connects and logs in; the reason if that fails.
    async fn dial(self: &Arc<Self>) -> Option<DisconnectReason> {
        for stage in [Stage::Dns, Stage::Tcp, Stage::Tls, Stage::Handshake] {
            self.emit(EngineEvent::Stage(stage)).await;
            if stage == Stage::Tcp && self.gates.wire.pass().await.is_err() {
                return Some(DisconnectReason::Intentional);
            }
            let wait = self.engines.rng.range(2_000..40_000);
            self.engines.clock.sleep(Duration::from_micros(wait)).await;
        }
        self.emit(EngineEvent::Stage(Stage::Login)).await;
        let login = Cargo::Login(Arc::clone(&self.ear));
        let sent = self.send_frame(0, login).await;
        sent.is_err().then_some(DisconnectReason::Intentional)
    }

    /// What comes in order; `None` if the gate is closed.
    async fn deliver(self: &Arc<Self>, delivery: Delivery) -> Option<()> {
        self.heard();
        match delivery {
            Delivery::LoggedIn => {
                self.emit(EngineEvent::Stage(Stage::Sync)).await;
                Some(())
            }
            Delivery::CaughtUp => {
                self.phase.send_replace(Phase::Connected);
                let Sender { account, epoch, .. } = &self.sender;
                self.engines.server.begins(account, *epoch);
                self.engines.sea.record.reached("engine connected");
                self.emit(EngineEvent::Connected).await;
                Some(())
            }
            Delivery::Letter(first) => {
                let mut letters = vec![first];
                letters.extend(self.ear.more_letters(TOGETHER_MAX - 1));
                self.receive(letters).await
            }
        }
    }

    /// Stores letters, then acknowledges them.
    async fn receive(self: &Arc<Self>, letters: Vec<Letter>) -> Option<()> {
        let mut batch = Vec::with_capacity(letters.len());
        for letter in &letters {
            self.decrypted(letter).await?;
            batch.push(self.inbound(letter));
        }
        let record = &self.engines.sea.record;
        if let Err(error) = self.inbox.commit(batch).await {
            record.reached("inbound not stored");
            record.note(
                self.engines.process.name(),
                format_args!(
                    "{} did not store {}: {error}",
                    self.sender.account,
                    letters.len()
                ),
            );
            return Some(());
        }
        record.reached("inbound stored");
        let numbers: Vec<u64> = letters.iter().map(|letter| letter.number).collect();
        self.stored(&numbers).await?;
        let sent = self.send_frame(0, Cargo::Acknowledged(numbers)).await;
        sent.ok()
    }

    fn inbound(&self, letter: &Letter) -> Inbound {
        let chat = address(letter.chat);
        let start = VirtualClock::start();
        let at = i64::try_from(letter.at / 1_000_000).unwrap_or_default();
        Inbound {
            id: format!("{:018X}", letter.number),
            chat: chat.clone(),
            sender: chat.clone(),
            sender_alt: None,
            wire_chat: chat.clone(),
            wire_sender: chat,
            is_group: false,
            from_me: false,
            push_name: String::new(),
            timestamp: DateTime::from_timestamp_millis(start.timestamp_millis() + at)
                .unwrap_or(start),
            content: Content::Text(letter.text.clone()),
            extras: Extras::default(),
            media: None,
            secret: None,
            offline: letter.offline,
        }
    }

    /// What the server says; the reason if it ends the connection.
    async fn hear(&self, news: News) -> Option<DisconnectReason> {
        match news {
            News::Taken { id, error } => self.emit(EngineEvent::ServerAck { id, error }).await,
            News::Receipt { chat, id, kind } => {
                let chat = address(chat);
                self.emit(EngineEvent::Receipt {
                    sender: chat.clone(),
                    chat,
                    ids: vec![id],
                    kind,
                    at: self.engines.clock.wall(),
                })
                .await;
            }
            News::Pong => {}
            News::Gone(reason) => return Some(reason),
        }
        None
    }

    /// A frame came in.
    fn heard(&self) {
        let mut stats = self.stats.lock();
        stats.frames_in += 1;
        stats.last_frame_in = Some(self.engines.clock.boottime());
    }
}
