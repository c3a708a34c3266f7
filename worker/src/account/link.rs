//! The engine, as an account's task sees it.
//!
//! A small trait, so that a simulation can run the real task on virtual time
//! with a peer of its own. [`EngineLinks`] is the real one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_lib::clock::SharedClock;
use coordinator_lib::gate::Gates;
use coordinator_lib::rng::SharedRng;
use session::SessionFiles;
use tokio::sync::mpsc;
use whatsapp::{
    Engine, EngineConfig, EngineError, EngineEvent, EngineStats, GroupAnswer, GroupError,
    GroupRequest, Inbox, LinkingError, OutboundMessage, OwnIdentity, PairingCode, Proxy, SendError,
    ShutdownReport,
};

/// A running connection to WhatsApp: one instance, under one epoch. See
/// [`Engine`] for what each call promises.
#[async_trait]
pub trait Link: Send + Sync + 'static {
    /// Sends a message; returns once its frame has left.
    async fn send(&self, message: &OutboundMessage) -> Result<(), SendError>;

    /// Tells the senders that their messages were read.
    async fn mark_read(
        &self,
        chat: &str,
        sender: Option<&str>,
        ids: &[String],
    ) -> Result<(), SendError>;

    /// Refuses a call that rings.
    async fn reject_call(&self, id: &str, from: &str, creator: &str) -> Result<(), SendError>;

    /// Shows the peer that somebody is writing, or no longer is.
    async fn typing(&self, chat: &str, is_typing: bool) -> Result<(), SendError>;

    /// Unlinks the account from its phone.
    async fn log_out(&self) -> Result<(), SendError>;

    /// Resolves when the session's state as of now is durable.
    async fn flush_after_inbound(&self) -> Result<(), SendError>;

    /// The account's addresses, once paired.
    fn own_jid(&self) -> Option<OwnIdentity>;

    /// A code to be typed into the phone with this number.
    async fn pairing_code(&self, _phone: &str) -> Result<PairingCode, LinkingError> {
        Err(LinkingError::NotLinking)
    }

    /// A passkey's answer: the assertion as JSON, and the credential's raw id.
    async fn passkey_answer(
        &self,
        _assertion_json: Vec<u8>,
        _credential_id: Vec<u8>,
    ) -> Result<(), LinkingError> {
        Err(LinkingError::NotLinking)
    }

    /// A person has compared the passkey step's code.
    async fn passkey_confirm(&self) -> Result<(), LinkingError> {
        Err(LinkingError::NotLinking)
    }

    /// Asks WhatsApp something about a group, or changes one.
    /// By default there are none.
    async fn group(&self, request: &GroupRequest) -> Result<GroupAnswer, GroupError> {
        match request {
            GroupRequest::List => Ok(GroupAnswer::Groups {
                groups: Vec::new(),
                more: false,
            }),
            GroupRequest::Create { .. }
            | GroupRequest::Read { .. }
            | GroupRequest::Members { .. }
            | GroupRequest::Subject { .. }
            | GroupRequest::Description { .. }
            | GroupRequest::Announcement { .. }
            | GroupRequest::Locked { .. }
            | GroupRequest::Timer { .. }
            | GroupRequest::Invitation { .. }
            | GroupRequest::Join { .. }
            | GroupRequest::Leave { .. } => Err(GroupError::NotConnected),
        }
    }

    /// Shows the account as online, or no longer.
    async fn show_available(&self, _is_available: bool) -> Result<(), SendError> {
        Err(SendError::NotConnected)
    }

    /// Asks to be told of a person's presence while this connection lasts.
    async fn watch_presence(&self, _person: &str) -> Result<(), SendError> {
        Err(SendError::NotConnected)
    }

    /// An estimate of the bytes that it holds in memory.
    async fn memory_bytes(&self) -> Option<u64> {
        None
    }

    /// Counters.
    fn stats(&self) -> EngineStats;

    /// Ends the instance, within the limit.
    async fn shutdown(&self, limit: Duration) -> ShutdownReport;
}

/// What an instance is started with.
pub struct LinkParts {
    /// The session, read after the claim.
    pub files: SessionFiles,
    /// The gates of this instance.
    pub gates: Gates,
    /// The client version to announce.
    pub version: (u32, u32, u32),
    /// The account's own proxy.
    pub proxy: Option<Proxy>,
    /// Where messages go before they are acknowledged.
    pub inbox: Arc<dyn Inbox>,
    /// Where everything else goes.
    pub events: mpsc::Sender<EngineEvent>,
}

/// Starts instances.
#[async_trait]
pub trait Links: Send + Sync + 'static {
    /// Starts one; it connects by itself.
    async fn start(&self, parts: LinkParts) -> Result<Arc<dyn Link>, EngineError>;
}

/// Starts real engines.
pub struct EngineLinks {
    /// Settings of every instance.
    pub config: EngineConfig,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: SharedRng,
}

#[async_trait]
impl Links for EngineLinks {
    async fn start(&self, parts: LinkParts) -> Result<Arc<dyn Link>, EngineError> {
        let config = EngineConfig {
            version: parts.version,
            proxy: parts.proxy,
            ..self.config.clone()
        };
        let engine = Engine::start(
            config,
            parts.files,
            parts.gates,
            parts.inbox,
            Arc::clone(&self.clock),
            Arc::clone(&self.rng),
            parts.events,
        )
        .await?;
        Ok(Arc::new(engine))
    }
}

#[async_trait]
impl Link for Engine {
    async fn send(&self, message: &OutboundMessage) -> Result<(), SendError> {
        Engine::send(self, message).await
    }

    async fn mark_read(
        &self,
        chat: &str,
        sender: Option<&str>,
        ids: &[String],
    ) -> Result<(), SendError> {
        Engine::mark_read(self, chat, sender, ids).await
    }

    async fn reject_call(&self, id: &str, from: &str, creator: &str) -> Result<(), SendError> {
        Engine::reject_call(self, id, from, creator).await
    }

    async fn typing(&self, chat: &str, is_typing: bool) -> Result<(), SendError> {
        Engine::typing(self, chat, is_typing).await
    }

    async fn log_out(&self) -> Result<(), SendError> {
        Engine::log_out(self).await
    }

    async fn flush_after_inbound(&self) -> Result<(), SendError> {
        Engine::flush_after_inbound(self).await
    }

    fn own_jid(&self) -> Option<OwnIdentity> {
        Engine::own_jid(self)
    }

    async fn group(&self, request: &GroupRequest) -> Result<GroupAnswer, GroupError> {
        Engine::group(self, request).await
    }

    async fn show_available(&self, is_available: bool) -> Result<(), SendError> {
        Engine::show_available(self, is_available).await
    }

    async fn watch_presence(&self, person: &str) -> Result<(), SendError> {
        Engine::watch_presence(self, person).await
    }

    async fn memory_bytes(&self) -> Option<u64> {
        Engine::memory_bytes(self).await
    }

    async fn pairing_code(&self, phone: &str) -> Result<PairingCode, LinkingError> {
        Engine::pairing_code(self, phone).await
    }

    async fn passkey_answer(
        &self,
        assertion_json: Vec<u8>,
        credential_id: Vec<u8>,
    ) -> Result<(), LinkingError> {
        Engine::passkey_answer(self, assertion_json, credential_id).await
    }

    async fn passkey_confirm(&self) -> Result<(), LinkingError> {
        Engine::passkey_confirm(self).await
    }

    fn stats(&self) -> EngineStats {
        Engine::stats(self)
    }

    async fn shutdown(&self, limit: Duration) -> ShutdownReport {
        Engine::shutdown(self, limit).await
    }
}
