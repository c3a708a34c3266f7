//! Simulated phones: device 0 of an account, with a person holding it.
//!
//! A phone scans QR codes, writes texts, reads what it gets and says so, keeps
//! a [`Ledger`], and does what real phones do unasked: it shares the app-state
//! keys with a new device, tops up its prekeys, sends a message again when
//! someone could not read it, and asks for one that it could not read itself.
//!
//! It lives in the server's process but speaks the clients' language: stanzas
//! to and from the server's world. Its task is the only one that takes its mail;
//! everyone else goes through the lock. Locks: phone before world.

mod app_state;
mod files;
mod groups;
mod history;
mod ledger;
mod outbox;
mod reader;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use proto::whatsapp::Message;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use self::history::Memory;
pub use self::history::{History, PastChat, PastText};
pub use self::ledger::{Copied, Ledger, ReceiptSeen, Received, Sent};
use crate::{
    adv::{
        self, DeviceEntry, Qr, QrError,
        code::{Exchange, open_bundle, unwrap_key, wrap_key},
    },
    keys::KeyPair,
    media::Media,
    server::{
        Device, DeviceId, GroupRefusal, Mail, PairError, PreKey, SessionId, SignedPreKey, Vouching,
        World,
    },
    signal::{PreKeyBundle, SenderKeys, SignalDevice, SignalError},
    wire::{Jid, Node},
};

/// One-time prekeys that a phone puts on the server at a time.
const PREKEYS_BATCH: usize = 30;

/// How long a scan waits for the client's signature.
const SCAN_MAX: Duration = Duration::from_secs(20);

/// A phone number's digits.
const NUMBER_CHARS: std::ops::RangeInclusive<usize> = 5..=15;

/// Why a phone did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    #[error("a phone number has 5 to 15 digits, the first not 0")]
    BadNumber,
    #[error("there is a phone with this number")]
    NumberTaken,
    #[error("there is no phone with this number")]
    UnknownNumber,
    #[error("the linking code is unreadable")]
    Qr(#[from] QrError),
    #[error("the device was not linked")]
    Pair(#[from] PairError),
    #[error("no message of that id was received")]
    UnknownMessage,
    #[error("the device is not linked to this phone")]
    UnknownDevice,
    #[error("the message was not encrypted")]
    Signal(#[from] SignalError),
    #[error("the server refused the message: {0}")]
    Refused(String),
    #[error(transparent)]
    Group(#[from] GroupRefusal),
}

/// A handle to a phone; clones are the same phone.
#[derive(Clone)]
pub struct Phone {
    inner: Arc<Inner>,
}

struct Inner {
    id: DeviceId,
    world: Arc<Mutex<World>>,
    state: Mutex<State>,
    mail: Mail,
    session: SessionId,
    media: Media,
}

/// What changes.
struct State {
    signal: SignalDevice,
    sender_keys: SenderKeys,
    /// By group, the devices that have this phone's key of it.
    holders: HashMap<String, HashSet<DeviceId>>,
    rng: StdRng,
    /// Of the account's device list; the same for all its devices.
    raw_id: u32,
    app_state_key: AppStateKey,
    ledger: Ledger,
    /// Chats and texts by message id, to send them again.
    texts: HashMap<String, (Arc<str>, String)>,
    /// The same for messages with files.
    files: HashMap<String, (Arc<str>, Message)>,
    /// Devices that have got the app-state keys.
    greeted: HashSet<u16>,
    /// Put before a text that is sent straight back.
    echo: Option<String>,
    memory: Memory,
}

struct AppStateKey {
    id: [u8; 6],
    data: [u8; 32],
}

impl Phone {
    /// Makes a phone and its account. Its task is [`Phone::run`].
    pub(crate) fn new(
        world: &Arc<Mutex<World>>,
        media: &Media,
        number: &str,
        name: &str,
        rng: &mut StdRng,
    ) -> Result<Self, PhoneError> {
        let is_number = NUMBER_CHARS.contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && !number.starts_with('0');
        if !is_number {
            return Err(PhoneError::BadNumber);
        }
        let mut signal = SignalDevice::generate(rng);
        let bundle = signal.bundle();
        let (id, value, signature) = bundle.signed_prekey;
        let device = Device::phone(
            bundle.registration_id,
            bundle.identity,
            SignedPreKey {
                id,
                value,
                signature: signature.to_vec(),
            },
        );
        let id = DeviceId::phone(&number.into());
        let mail = Arc::new(Notify::new());
        let session = {
            let mut world = world.lock();
            if !world.add_account(number, name, device) {
                return Err(PhoneError::NumberTaken);
            }
            world.replenish(&id, fresh_prekeys(&mut signal));
            world.attach_phone(&id, Arc::clone(&mail))
        };
        let state = State {
            signal,
            sender_keys: SenderKeys::default(),
            holders: HashMap::new(),
            raw_id: rng.random(),
            app_state_key: AppStateKey {
                id: rng.random(),
                data: rng.random(),
            },
            rng: StdRng::from_rng(rng),
            ledger: Ledger::default(),
            texts: HashMap::new(),
            files: HashMap::new(),
            greeted: HashSet::new(),
            echo: None,
            memory: Memory::default(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                id,
                world: Arc::clone(world),
                state: Mutex::new(state),
                mail,
                session,
                media: media.clone(),
            }),
        })
    }

    /// Takes the phone's mail until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = self.inner.mail.notified() => {}
            }
            loop {
                let nodes = self.inner.world.lock().fetch(self.inner.session);
                if nodes.is_empty() {
                    break;
                }
                for node in nodes {
                    self.take(&node);
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// The number's digits.
    pub fn number(&self) -> &Arc<str> {
        &self.inner.id.account
    }

    /// Scans the QR code that a client shows, and links it to this account.
    /// Returns the new device once it has signed.
    ///
    /// # Errors
    /// The code is unreadable → [`PhoneError::Qr`]; the client is not there, or
    /// refuses → [`PhoneError::Pair`].
    pub async fn scan(&self, code: &str) -> Result<DeviceId, PhoneError> {
        self.link(&adv::parse_qr(code)?).await
    }

    /// Vouches for the device that a code speaks of.
    async fn link(&self, qr: &Qr) -> Result<DeviceId, PhoneError> {
        let outcome = {
            let mut state = self.inner.state.lock();
            let State {
                signal,
                rng,
                raw_id,
                ..
            } = &mut *state;
            let account = signal.identity();
            let mut world = self.inner.world.lock();
            world.scan(self.number(), qr, |slot| {
                let entry = DeviceEntry {
                    raw_id: *raw_id,
                    timestamp: slot.timestamp,
                    key_index: slot.key_index,
                };
                Vouching {
                    account_key: *account.public(),
                    identity: adv::build_pair_success_identity(account, qr, entry, rng),
                    key_index_list: adv::signed_key_index_list(
                        account,
                        *raw_id,
                        slot.timestamp,
                        slot.key_index,
                        &slot.valid_indexes,
                        rng,
                    ),
                }
            })?
        };
        match timeout(SCAN_MAX, outcome).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) => Err(PairError::ClientLeft.into()),
            Err(_) => Err(PairError::TimedOut.into()),
        }
    }

    /// Types a linking code that a device shows: it is linked once it has signed.
    ///
    /// # Errors
    /// No device waits for this number, the code is wrong, or the device leaves.
    pub async fn enter_code(&self, code: &str) -> Result<DeviceId, PhoneError> {
        let code: String = code.chars().filter(|c| *c != '-').collect();
        let offer = self.inner.world.lock().code_offer(self.number())?;
        let (ephemeral, answer) = {
            let mut state = self.inner.state.lock();
            let State { signal, rng, .. } = &mut *state;
            let ephemeral = KeyPair::generate(rng);
            let wrapped = wrap_key(&code, ephemeral.public(), rng);
            let account = signal.identity().public();
            let mut world = self.inner.world.lock();
            let answer = world.code_typed(&offer, wrapped, account)?;
            (ephemeral, answer)
        };
        let finish = match timeout(SCAN_MAX, answer).await {
            Ok(Ok(finish)) => finish,
            Ok(Err(_)) => return Err(PairError::ClientLeft.into()),
            Err(_) => return Err(PairError::TimedOut.into()),
        };
        let device_ephemeral = unwrap_key(&code, &offer.wrapped_ephemeral);
        let qr = {
            let state = self.inner.state.lock();
            let exchange = Exchange {
                account: state.signal.identity(),
                ephemeral: &ephemeral,
                device_ephemeral,
                device_identity: finish.identity,
            };
            open_bundle(&exchange, &finish.bundle, offer.ref_, offer.noise)
                .map_err(PairError::from)?
        };
        self.link(&qr).await
    }

    /// Removes a linked device: it is logged out at once and for good.
    ///
    /// # Errors
    /// No such linked device → [`PhoneError::UnknownDevice`].
    pub fn unlink(&self, device: u16) -> Result<(), PhoneError> {
        let mut state = self.inner.state.lock();
        let State {
            signal,
            rng,
            raw_id,
            ..
        } = &mut *state;
        let mut world = self.inner.world.lock();
        let (current, valid) = world.key_indexes(self.number(), device);
        let timestamp = world.clock.stamp();
        let account = signal.identity();
        let list = adv::signed_key_index_list(account, *raw_id, timestamp, current, &valid, rng);
        let id = DeviceId {
            account: Arc::clone(self.number()),
            device,
        };
        match device != 0 && world.unlink(&id, list) {
            true => Ok(()),
            false => Err(PhoneError::UnknownDevice),
        }
    }

    /// Comes online, or goes: whoever asked for it is told.
    pub fn set_online(&self, is_online: bool) {
        let mut world = self.inner.world.lock();
        world.set_online(self.number(), is_online);
    }

    /// Writes to a number or in a group, without sending, or no longer does.
    pub fn set_typing(&self, to: &str, is_typing: bool) {
        let to = match to.contains('@') {
            true => to.to_owned(),
            false => Jid::pn(to).to_string(),
        };
        let state = if is_typing { "composing" } else { "paused" };
        let node = Node::new("chatstate")
            .attr("to", to)
            .child(Node::new(state));
        let mut world = self.inner.world.lock();
        world.take_chat_state(&self.inner.id, &node);
    }

    /// From now on, answers every text with the same text and `prefix` before
    /// it; `None` stops that.
    pub fn set_echo(&self, prefix: Option<String>) {
        self.inner.state.lock().echo = prefix;
    }

    /// Everything this phone sent and received.
    pub fn ledger(&self) -> Ledger {
        self.inner.state.lock().ledger.clone()
    }

    /// Looks at the ledger without copying it. `look` must not use the phone.
    pub fn with_ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.inner.state.lock().ledger)
    }
}

impl std::fmt::Debug for Phone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Phone")
    }
}

/// One-time prekeys that the server does not have yet.
fn fresh_prekeys(signal: &mut SignalDevice) -> Vec<PreKey> {
    let bundles = (0..PREKEYS_BATCH).map(|_| signal.bundle());
    bundles
        .filter_map(|bundle| bundle.prekey)
        .map(|(id, value)| PreKey { id, value })
        .collect()
}

/// A bundle from the server as Signal takes it; none if its signature is not one.
fn signal_bundle(bundle: crate::server::Bundle) -> Option<PreKeyBundle> {
    let signed = bundle.signed_prekey;
    Some(PreKeyBundle {
        registration_id: bundle.registration,
        identity: bundle.identity,
        signed_prekey: (signed.id, signed.value, signed.signature.try_into().ok()?),
        prekey: bundle.prekey.map(|key| (key.id, key.value)),
    })
}
