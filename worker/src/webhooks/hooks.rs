//! The webhooks there are, as the store has them: one watch a worker.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::backoff::Backoff;
use coordinator_lib::clock::SharedClock;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Change, Document, Path, Store, StoreError, StoreTime};
use session::KeyRing;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::address::Endpoint;
use super::secret::Secret;
use crate::events::Filter;
use crate::model::webhook::{PreviousSecretDoc, WebhookFormat};
use crate::model::{Stored, WebhookDoc, queries};

/// Waits while the store does not answer.
const RETRY_BASE: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A webhook that can be sent to. Not `Debug`: it has a secret.
#[derive(Clone, PartialEq)]
pub struct Hook {
    /// Its id.
    pub id: String,
    /// The version that this is of.
    pub version: StoreTime,
    /// Where it leads.
    pub endpoint: Endpoint,
    /// What it is signed with.
    pub secret: Secret,
    /// What it is signed with as well.
    pub previous: Option<PreviousSecret>,
    /// What its deliveries look like.
    pub format: WebhookFormat,
    /// Which events it gets.
    pub filter: Filter,
    /// It gets what was stored after this.
    pub since: StoreTime,
    /// Whether anything is sent.
    pub is_enabled: bool,
}

/// The secret before the present one, and until when it is good.
#[derive(Clone, PartialEq)]
pub struct PreviousSecret {
    secret: Secret,
    until: StoreTime,
}

impl PreviousSecret {
    /// None for one that does not open: the present one is enough.
    fn read(keys: &KeyRing, id: &str, doc: &PreviousSecretDoc) -> Option<Self> {
        let secret = Secret::open(keys, id, &doc.wrapped_keys, &doc.sealed_secret).ok()?;
        Some(Self {
            secret,
            until: doc.until,
        })
    }
}

impl Hook {
    /// A webhook as it was read; none for one that cannot be used.
    pub fn read(document: &Document, keys: &KeyRing) -> Option<Self> {
        let record = WebhookDoc::read_or_skip(document)?;
        let (id, doc) = (record.path.id().to_owned(), record.value);
        let secret = Secret::open(keys, &id, &doc.wrapped_keys, &doc.sealed_secret);
        let endpoint: Result<Endpoint, _> = doc.url.parse();
        match (secret, endpoint) {
            (Ok(secret), Ok(endpoint)) => Some(Self {
                version: record.update_time,
                endpoint,
                secret,
                previous: doc
                    .previous_secret
                    .and_then(|previous| PreviousSecret::read(keys, &id, &previous)),
                format: doc.format,
                filter: Filter {
                    accounts: doc.accounts,
                    kinds: doc.types,
                },
                since: doc.created_at.time().unwrap_or(record.update_time),
                is_enabled: doc.enabled,
                id,
            }),
            (Err(error), _) => {
                tracing::error!(webhook.id = id, %error, "webhook cannot be used");
                None
            }
            (_, Err(error)) => {
                tracing::error!(webhook.id = id, %error, "webhook cannot be used");
                None
            }
        }
    }

    /// The secrets that are good now, the newest first.
    pub fn secrets(&self, now: StoreTime) -> impl Iterator<Item = &Secret> {
        let previous = self.previous.as_ref();
        let previous = previous.filter(|previous| now < previous.until);
        std::iter::once(&self.secret).chain(previous.map(|previous| &previous.secret))
    }

    /// Whether it gets events of this account.
    pub fn is_for(&self, account: &str) -> bool {
        let accounts = self.filter.accounts.as_ref();
        accounts.is_none_or(|accounts| accounts.iter().any(|own| own == account))
    }
}

/// All webhooks; none before they were read.
pub type Hooks = Arc<Vec<Hook>>;

/// Keeps [`Hooks`] up to date. Clones are the same book.
#[derive(Clone)]
pub struct HookBook(Arc<Shared>);

struct Shared {
    store: Store,
    clock: SharedClock,
    rng: SharedRng,
    keys: Arc<KeyRing>,
    hooks: watch::Sender<Hooks>,
}

impl HookBook {
    /// An empty book; [`HookBook::run`] fills it.
    pub fn new(store: Store, clock: SharedClock, rng: SharedRng, keys: Arc<KeyRing>) -> Self {
        Self(Arc::new(Shared {
            store,
            clock,
            rng,
            keys,
            hooks: watch::Sender::new(Hooks::default()),
        }))
    }

    /// The webhooks, as they change.
    pub fn subscribe(&self) -> watch::Receiver<Hooks> {
        self.0.hooks.subscribe()
    }

    /// Follows the store until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let shared = &self.0;
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
        loop {
            if let Err(error) = self.watch(&mut backoff).await {
                tracing::debug!(%error, "webhooks cannot be watched");
            }
            shared.clock.sleep(backoff.next(shared.rng.as_ref())).await;
        }
    }

    /// Follows the store until its watch ends, or until the key ring has changed:
    /// what did not open may open now, so everything is read anew.
    async fn watch(&self, backoff: &mut Backoff) -> Result<(), StoreError> {
        let mut revisions = self.0.keys.revisions();
        let mut watch = self.0.store.watch(&queries::webhooks()?).await?;
        loop {
            let change = tokio::select! {
                biased;
                // The ring is the book's own, so it never goes.
                _ = revisions.changed() => return Ok(()),
                change = watch.next() => change,
            };
            let Some(change) = change else {
                return Ok(());
            };
            backoff.reset();
            match change {
                Change::Snapshot(documents) => {
                    let hooks = documents
                        .iter()
                        .filter_map(|document| Hook::read(document, &self.0.keys));
                    let hooks = hooks.collect();
                    self.0.hooks.send_replace(Arc::new(hooks));
                }
                Change::Changed(document) => {
                    let hook = Hook::read(&document, &self.0.keys);
                    self.replace(&document.path, hook);
                }
                Change::Removed(path) => self.replace(&path, None),
            }
        }
    }

    fn replace(&self, path: &Path, hook: Option<Hook>) {
        self.0.hooks.send_modify(|hooks| {
            let others = hooks.iter().filter(|other| other.id != path.id()).cloned();
            *hooks = Arc::new(others.chain(hook).collect());
        });
    }
}
