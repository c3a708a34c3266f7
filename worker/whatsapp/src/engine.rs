//! One engine instance: an account's connection under one epoch.
//!
//! Life: [`Engine::start`] → events → `Stopped` → [`Engine::shutdown`]. An
//! instance makes one connection (two, if it pairs) and is of no more use after
//! it: the supervisor starts a new one when it is time. Shutting down may come
//! first, or after a gate has closed; it always ends within its limit.
//!
//! Everything an instance does runs in its own [`TaskRuntime`], so that
//! [`Engine::shutdown`], and in an emergency the drop, leave nothing behind.

mod groups;
mod history;
mod linking;
mod memory;
mod presence;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::gate::{GateState, Gates};
use coordinator_lib::rng::SharedRng;
use parking_lot::RwLock;
use session::SessionFiles;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wacore::store::DevicePropsOverride;
use wacore_binary::Jid;
use waproto::whatsapp as wa;
use waproto::whatsapp::device_props::PlatformType;
use whatsapp_rust::store::commands::DeviceCommand;
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::upload::UploadResponse;
use whatsapp_rust::{CacheConfig, Client, MsgSecretRetention, SendOptions};

use crate::backend::Backend;
use crate::barrier::IdentityBarrier;
use crate::config::EngineConfig;
use crate::connection::Driver;
use crate::content::MediaKind;
use crate::disconnect::DisconnectReason;
use crate::events::EngineEvent;
use crate::hook::InboxHook;
use crate::inbox::Inbox;
use crate::listener::Listener;
use crate::media::host::MediaHost;
use crate::media::{self, Attachment, MEDIA_KEY_BYTES};
use crate::monitor::{Monitor, Phase};
use crate::redelivery::Redelivery;
use crate::runtime::TaskRuntime;
use crate::send_error::SendError;
use crate::transport::{DialConfig, GatedTransports};
use crate::verification::{VerificationError, assert_endpoint_is_allowed, assert_proxy_is_allowed};

/// How often the engine looks whether its device has changed; it is also told.
const DEVICE_SAVE_INTERVAL: Duration = Duration::from_secs(30);

/// Edits are decrypted with the secret of the message that they change; they
/// come within minutes, later only to a device that was away. The engine keeps
/// these secrets for 30 days, which would be much to store for little.
const SECRETS_OF_TEXTS_KEPT_FOR: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// As above, for polls and events (engine: 90 days).
const SECRETS_OF_POLLS_KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// For a file of the largest size on a slow line.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// A snapshot of the app state that comes as a file. What an engine fetches is
/// that and history, and it keeps both in memory.
const APP_STATE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What tasks get to end by themselves once the engine is down. Those that do
/// take no time; the others sleep or wait for an answer that will not come.
const TASKS_END_WITHIN: Duration = Duration::from_millis(100);

/// What stopped tasks get until their next wait.
const TASKS_STOP_WITHIN: Duration = Duration::from_secs(1);

/// A message to be sent, as it was accepted and stored.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboundMessage {
    /// The conversation's JID, as [`normalise_recipient`](crate::normalise_recipient) gives it.
    pub chat: String,
    /// The reserved WhatsApp id.
    pub message_id: String,
    /// The encoded message with its secret, as
    /// [`encode`](crate::content::encode::encode) gives it.
    pub payload: Bytes,
    /// The file that goes with it, for the media host.
    pub attachment: Option<Attachment>,
}

/// The account's own addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnIdentity {
    /// The phone number's JID with the device, `4915…:3@s.whatsapp.net`.
    pub pn: String,
    /// The LID with the device, if known.
    pub lid: Option<String>,
}

/// Counters of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// WebSocket messages sent, over all its connections.
    pub frames_out: u64,
    /// WebSocket messages received.
    pub frames_in: u64,
    /// When the last one came.
    pub last_frame_in: Option<Boottime>,
    /// How many events of each name it has delivered; every name is there from
    /// the start, so a handler that is missing would be seen.
    pub events: BTreeMap<&'static str, u64>,
    /// Messages given to the inbox and stored.
    pub inbound_messages: u64,
    /// Events left out because nobody took them in time (receipts and
    /// acknowledgements only, never a change of the connection).
    pub events_dropped: u64,
    /// Engine tasks alive now.
    pub tasks: usize,
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownReport {
    /// The engine went down by itself within the limit, and what it left in
    /// memory is durable.
    pub clean: bool,
    /// Tasks that were stopped because they did not end by themselves. The
    /// engine leaves some waiting at times, such as for the next QR code.
    pub leftovers: usize,
}

/// Why an instance could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// This build must not connect there.
    #[error(transparent)]
    Verification(#[from] VerificationError),
    /// The session's files cannot be read as an engine's.
    #[error("the stored WhatsApp session is not readable")]
    Session(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The engine refused to start.
    #[error("the WhatsApp engine could not be built")]
    Build(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A running engine instance.
pub struct Engine {
    /// Taken at the shutdown: the engine's idle tasks end when it is dropped.
    client: RwLock<Option<Arc<Client>>>,
    files: SessionFiles,
    gates: Gates,
    clock: SharedClock,
    monitor: Arc<Monitor>,
    runtime: TaskRuntime,
    transports: Arc<GatedTransports>,
    stopping: CancellationToken,
    send_timeout: Duration,
}

impl Engine {
    /// Starts an instance over a session and connects. The session has been
    /// loaded under the epoch that `gates` belong to.
    ///
    /// Tasks of the instance log within the current span. `rng` is not used for
    /// keys: the engine draws those from the system.
    ///
    /// # Errors
    /// [`EngineError`]; nothing runs then.
    pub async fn start(
        config: EngineConfig,
        files: SessionFiles,
        gates: Gates,
        inbox: Arc<dyn Inbox>,
        clock: SharedClock,
        _rng: SharedRng,
        events: mpsc::Sender<EngineEvent>,
    ) -> Result<Self, EngineError> {
        assert_endpoint_is_allowed(&config.endpoint)?;
        assert_proxy_is_allowed(config.proxy.as_ref())?;
        let media_host = MediaHost::new(config.media_url, config.proxy.clone())
            .behind(gates.wire.clone())
            .at_most(
                config
                    .history_bytes_max
                    .map_or(APP_STATE_BYTES_MAX, |bytes| bytes.max(APP_STATE_BYTES_MAX)),
            );
        let runtime = TaskRuntime::new(clock.clone());
        let monitor = Arc::new(Monitor::new(clock.clone()));
        let stopping = CancellationToken::new();

        let redelivery = Arc::new(Redelivery::new(inbox.clone(), runtime.clone()));
        let backend = Backend::new(files.clone(), gates.store.clone(), clock.clone())
            .with(redelivery.clone());
        let manager = PersistenceManager::new(Arc::new(backend.clone()))
            .await
            .map_err(|error| EngineError::Session(error.into()))?;
        let manager = Arc::new(manager);
        name_device(&manager, &config.device_name).await;

        let barrier = Arc::new(IdentityBarrier::new(manager.clone(), backend));
        let transports = Arc::new(GatedTransports::new(
            DialConfig {
                endpoint: config.endpoint,
                origin: config.origin,
                connect_timeout: config.connect_timeout,
                proxy: config.proxy,
            },
            gates.wire.clone(),
            clock.clone(),
            runtime.clone(),
            monitor.clone(),
            barrier.clone(),
        ));
        let history = history::pieces(
            inbox.clone(),
            config.history_bytes_max.unwrap_or(0),
            clock.clone(),
            runtime.clone(),
        );
        let hook = InboxHook::new(inbox, monitor.clone());
        let build = Client::builder()
            .with_runtime(runtime.clone())
            .with_persistence_manager(manager)
            .with_transport_factory_arc(transports.clone())
            .with_http_client(media_host)
            .with_version_override(config.version)
            .with_cache_config(cache_config())
            .with_inbound_durability_hook(hook.clone())
            .with_wanted_pre_key_count(config.prekeys_wanted)
            .with_skip_history_sync(config.history_bytes_max.is_none())
            .with_background_saver_interval(DEVICE_SAVE_INTERVAL)
            .build()
            .await;
        let client = match build {
            Ok(build) => build.into_client(),
            Err(error) => {
                runtime.stop();
                return Err(EngineError::Build(error.into()));
            }
        };
        redelivery.serve(&client);
        client
            .subscribe_handler(Arc::new(Listener::new(
                monitor.clone(),
                stray_messages(hook, runtime.clone()),
                history,
            )))
            .detach();

        let delivered = monitor.clone();
        runtime.spawn_untracked(async move { delivered.deliver(events).await });
        let driver = Driver {
            client: client.clone(),
            transports: transports.clone(),
            barrier,
            monitor: monitor.clone(),
            clock: clock.clone(),
            stopping: stopping.clone(),
        };
        runtime.spawn_task(driver.run());

        Ok(Self {
            client: RwLock::new(Some(client)),
            files,
            gates,
            clock,
            monitor,
            runtime,
            transports,
            stopping,
            send_timeout: config.send_timeout,
        })
    }

    /// Sends a message. Returns once its frame has been written to the socket:
    /// whether the server took it comes as [`EngineEvent::ServerAck`].
    ///
    /// Before the frame leaves, the counters that encrypt it are reserved and
    /// durable; they are reserved in blocks, so most sends write nothing.
    ///
    /// # Errors
    /// [`SendError`].
    ///
    /// # Cancel safety
    /// Dropped half-way, the message may or may not have left; send it again
    /// under the same id.
    pub async fn send(&self, message: &OutboundMessage) -> Result<(), SendError> {
        let client = self.connected_client()?;
        let to: Jid = message
            .chat
            .parse()
            .map_err(|_| SendError::Rejected("not an address"))?;
        let payload = waproto::codec::message_decode(&message.payload)
            .map_err(|_| SendError::Rejected("not an encoded message"))?;
        let payload = match &message.attachment {
            Some(file) => self.upload(&client, file, payload).await?,
            None => payload,
        };
        let options = SendOptions::default().with_message_id(&message.message_id);
        let sent = client.send_message_with_options(to, payload, options);
        self.limited(async { sent.await.map(drop).map_err(SendError::from_engine) })
            .await
    }

    /// Encrypts a file, gives it to the media host, and writes its place there
    /// into the message. Again and again the same, as long as the file is.
    async fn upload(
        &self,
        client: &Arc<Client>,
        attachment: &Attachment,
        mut payload: wa::Message,
    ) -> Result<wa::Message, SendError> {
        let (kind, key) = attached(&payload).ok_or(SendError::Rejected("no file goes with it"))?;
        let source = attachment.clone();
        let encrypted = tokio::task::spawn_blocking(move || media::encrypt(&source, kind, &key));
        let (file, info) = match encrypted.await {
            Ok(Ok(encrypted)) => encrypted,
            Ok(Err(_)) => return Err(SendError::Disk),
            Err(_) => return Err(SendError::Internal),
        };
        let uploaded = self.within(UPLOAD_TIMEOUT, async {
            let upload = client.upload_stream(file, info, media::media_type(kind));
            upload.await.map_err(|_| SendError::Media)
        });
        place(&mut payload, &uploaded.await?);
        Ok(payload)
    }

    /// Tells a sender that messages were read. The addresses are those of the
    /// wire ([`Inbound::wire_chat`](crate::Inbound::wire_chat)); `sender` is for
    /// groups only.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn mark_read(
        &self,
        chat: &str,
        sender: Option<&str>,
        ids: &[String],
    ) -> Result<(), SendError> {
        let client = self.connected_client()?;
        let chat = parse(chat)?;
        let sender = sender.map(parse).transpose()?;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let read = client.mark_as_read(&chat, sender.as_ref(), &ids);
        self.limited(async {
            read.await
                .map_err(|error| SendError::from_internal(&*error))
        })
        .await
    }

    /// Refuses a call that rings; see [`EngineEvent::Call`].
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn reject_call(&self, id: &str, from: &str, creator: &str) -> Result<(), SendError> {
        let client = self.connected_client()?;
        let from = parse(from)?;
        let creator = parse(creator)?;
        let voip = client.voip();
        let rejected = voip.reject_call(id, &from, &creator);
        self.limited(async { rejected.await.map_err(|_| SendError::Internal) })
            .await
    }

    /// Shows the peer that somebody is writing, or no longer is. WhatsApp takes
    /// that from accounts only that are shown as online.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn typing(&self, chat: &str, is_typing: bool) -> Result<(), SendError> {
        let client = self.connected_client()?;
        let chat = parse(chat)?;
        self.limited(async {
            let (presence, state) = (client.presence(), client.chatstate());
            if is_typing {
                let online = presence.set_available();
                online.await.map_err(|_| SendError::Internal)?;
                let typing = state.send_composing(&chat);
                typing.await.map_err(|_| SendError::Internal)
            } else {
                let paused = state.send_paused(&chat);
                paused.await.map_err(|_| SendError::Internal)
            }
        })
        .await
    }

    /// Resolves when the Signal state as of now is durable: what an answer
    /// waits for before it is sent to a chat that has just written.
    ///
    /// Must not be called from within [`Inbox::commit`].
    ///
    /// # Errors
    /// [`SendError::Storage`], [`SendError::Gate`] or [`SendError::TimedOut`].
    pub async fn flush_after_inbound(&self) -> Result<(), SendError> {
        let client = self.client.read().clone().ok_or(SendError::NotConnected)?;
        let flush = async {
            client
                .flush_pending_signal_state()
                .await
                .map_err(|_| SendError::Storage)?;
            let flushed = self.files.flush_urgent().await;
            flushed.map_err(|_| SendError::Storage)
        };
        tokio::select! {
            biased;
            _ = self.gates.store.closed() => Err(SendError::Gate),
            () = self.clock.sleep(self.send_timeout) => Err(SendError::TimedOut),
            flushed = Box::pin(flush) => flushed,
        }
    }

    /// Removes this device from the account and ends the connection; the
    /// `Disconnected` that follows says 401. Works on the server only while
    /// connected, and keeps what is stored.
    ///
    /// # Errors
    /// [`SendError`]; the device may be removed all the same.
    pub async fn log_out(&self) -> Result<(), SendError> {
        let client = self.connected_client()?;
        tokio::select! {
            biased;
            _ = self.gates.wire.closed() => Err(SendError::Gate),
            () = self.clock.sleep(self.send_timeout) => Err(SendError::TimedOut),
            () = Box::pin(client.logout()) => Ok(()),
        }
    }

    /// True between `Connected` and the loss of that connection.
    pub fn is_connected(&self) -> bool {
        self.connected_client().is_ok()
    }

    /// The account's addresses, once paired.
    pub fn own_jid(&self) -> Option<OwnIdentity> {
        let client = self.client.read().clone()?;
        let pn = client.pn()?;
        Some(OwnIdentity {
            pn: pn.to_string(),
            lid: client.lid().map(|lid| lid.to_string()),
        })
    }

    /// Counters.
    pub fn stats(&self) -> EngineStats {
        self.monitor.stats(self.runtime.alive())
    }

    /// Ends the instance: nothing new begins, what is under way ends, memory is
    /// flushed through the store gate (if that still lets it), the socket is
    /// closed, and whatever is left then is stopped.
    ///
    /// Takes `limit`, and up to 1.1 s more for tasks that do not end by
    /// themselves. `Stopped` is the last event. A second call finds nothing to
    /// do.
    pub async fn shutdown(&self, limit: Duration) -> ShutdownReport {
        self.stopping.cancel();
        let client = self.client.write().take();
        let deadline = self.clock.boottime() + limit;
        let clean = match client {
            Some(client) => {
                client.signal_shutdown_sync();
                tokio::select! {
                    biased;
                    flushed = self.go_down(client) => flushed,
                    () = self.clock.sleep_until(deadline) => false,
                }
            }
            None => true,
        };
        self.transports.close();
        self.ended_within(TASKS_END_WITHIN).await;
        let leftovers = self.runtime.alive();
        self.runtime.stop();
        self.ended_within(TASKS_STOP_WITHIN).await;
        if *self.monitor.phase().borrow() != Phase::Ended {
            // The driver was among what had to be stopped.
            self.monitor
                .emit(EngineEvent::Disconnected(DisconnectReason::Intentional));
            self.monitor.end();
        }
        tracing::debug!(clean, leftovers, "engine shut down");
        ShutdownReport { clean, leftovers }
    }

    /// What the engine does when it goes down in peace. True if all is durable.
    async fn go_down(&self, client: Arc<Client>) -> bool {
        Box::pin(client.disconnect()).await;
        drop(client);
        // A dial or a handshake under way would be waited for.
        self.transports.close();
        let mut phase = self.monitor.phase();
        // An error says that the monitor is gone, which this holds.
        let _ = phase.wait_for(|phase| *phase == Phase::Ended).await;
        self.files.flush().await.is_ok()
    }

    async fn ended_within(&self, limit: Duration) {
        tokio::select! {
            biased;
            () = self.runtime.ended() => {}
            () = self.clock.sleep(limit) => {}
        }
    }

    /// The engine, if messages can be sent. After some ends of a connection its
    /// own send would wait for ever.
    fn connected_client(&self) -> Result<Arc<Client>, SendError> {
        if let GateState::Closed(_) = self.gates.wire.state() {
            return Err(SendError::Gate);
        }
        let is_connected = *self.monitor.phase().borrow() == Phase::Connected;
        match self.client.read().clone() {
            Some(client) if is_connected => Ok(client),
            Some(_) | None => Err(SendError::NotConnected),
        }
    }

    /// `work`, as long as the connection stands and the time is not up.
    async fn limited<T>(
        &self,
        work: impl Future<Output = Result<T, SendError>>,
    ) -> Result<T, SendError> {
        self.within(self.send_timeout, work).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, SendError>>,
    ) -> Result<T, SendError> {
        let mut phase = self.monitor.phase();
        tokio::select! {
            biased;
            _ = self.gates.wire.closed() => Err(SendError::Gate),
            done = Box::pin(work) => done,
            _ = phase.wait_for(|phase| *phase != Phase::Connected) => Err(SendError::NotConnected),
            () = self.clock.sleep(limit) => Err(SendError::TimedOut),
        }
    }
}

/// The kind and the key of the file that goes with a message.
fn attached(message: &wa::Message) -> Option<(MediaKind, [u8; MEDIA_KEY_BYTES])> {
    let (kind, key) = if let Some(media) = message.image_message.as_option() {
        (MediaKind::Image, &media.media_key)
    } else if let Some(media) = message.video_message.as_option() {
        (MediaKind::Video, &media.media_key)
    } else if let Some(media) = message.audio_message.as_option() {
        (MediaKind::Audio, &media.media_key)
    } else if let Some(media) = message.document_message.as_option() {
        (MediaKind::Document, &media.media_key)
    } else {
        (
            MediaKind::Sticker,
            &message.sticker_message.as_option()?.media_key,
        )
    };
    Some((kind, key.as_deref()?.try_into().ok()?))
}

/// Writes down where the file of a message is.
fn place(message: &mut wa::Message, uploaded: &UploadResponse) {
    macro_rules! place_in {
        ($($field:ident),*) => {
            $(if let Some(media) = message.$field.as_option_mut() {
                media.url = Some(uploaded.url.clone());
                media.direct_path = Some(uploaded.direct_path.clone());
                media.file_sha256 = Some(uploaded.file_sha256.to_vec());
                media.file_enc_sha256 = Some(uploaded.file_enc_sha256.to_vec());
                media.file_length = Some(uploaded.file_length);
                media.media_key_timestamp = Some(uploaded.media_key_timestamp);
            })*
        };
    }
    place_in!(
        image_message,
        video_message,
        audio_message,
        document_message,
        sticker_message
    );
}

impl Drop for Engine {
    /// The emergency exit: every task is stopped and the socket dropped, at
    /// once and without a flush. [`Engine::shutdown`] comes first.
    fn drop(&mut self) {
        self.stopping.cancel();
        if let Some(client) = self.client.write().take() {
            client.signal_shutdown_sync();
        }
        self.runtime.stop();
        self.monitor.end();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("phase", &*self.monitor.phase().borrow())
            .field("tasks", &self.runtime.alive())
            .finish_non_exhaustive()
    }
}

// Numbers are people's own and stay out of logs.
impl fmt::Debug for OutboundMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundMessage")
            .field("id", &self.message_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnIdentity(…)")
    }
}

fn parse(address: &str) -> Result<Jid, SendError> {
    address
        .parse()
        .map_err(|_| SendError::Rejected("not an address"))
}

/// Tells a device that is still to be linked what it will be called.
async fn name_device(manager: &PersistenceManager, name: &str) {
    if manager.get_device_snapshot().is_registered() {
        return;
    }
    // The phone shows the browser and, in brackets, the system's name.
    let props = DevicePropsOverride::new()
        .with_os(name)
        .with_platform_type(PlatformType::CHROME);
    manager
        .process_command(DeviceCommand::SetDeviceProps(props))
        .await;
}

fn cache_config() -> CacheConfig {
    CacheConfig {
        msg_secret_retention: MsgSecretRetention {
            text: SECRETS_OF_TEXTS_KEPT_FOR,
            poll_event: SECRETS_OF_POLLS_KEPT_FOR,
            bot: SECRETS_OF_TEXTS_KEPT_FOR,
        },
        seed_msg_secrets_from_history: false,
        ..CacheConfig::default()
    }
}

/// Stores messages that the engine delivers past the hook: recovered from the
/// phone after they could not be decrypted, or from a newsletter. They are
/// acknowledged already, so this is one attempt.
fn stray_messages(hook: InboxHook, runtime: TaskRuntime) -> crate::listener::Stray {
    Box::new(move |messages| {
        let hook = hook.clone();
        runtime.spawn_task(async move {
            if let Err(error) = hook.store(&messages).await {
                let error: &dyn std::error::Error = &error;
                tracing::error!(
                    messages = messages.len(),
                    error,
                    "recovered messages not stored"
                );
            }
        });
    })
}
