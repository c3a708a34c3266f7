//! What the handlers work with.

use std::sync::Arc;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::coordinator::Standing;
use coordinator_lib::identity::AccountId;
use coordinator_lib::lease;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{CommitOutcome, Store, StoreError, StoreTime, Write};
use session::{DataKey, HeadDoc, KeyRing};
use whatsapp::media::MediaFetcher;

use super::problem::{Problem, ProblemKind};
use super::proxy::CheckedProxy;
use crate::app::{Lifecycle, Phase, WorkerInfo};
use crate::auth::KeyBook;
use crate::events::Streams;
use crate::health::WorkerSnapshot;
use crate::health::monitor::StoreMonitor;
use crate::media::MediaStore;
use crate::model::{AccountDoc, Desired, Stored, ids};
use crate::operator::OperatorParts;
use crate::webhooks::Post;

/// The worker, as far as the API needs it beside the store.
pub trait WorkerView: Send + Sync + 'static {
    /// What it knows of itself, without waiting for anything.
    fn snapshot(&self) -> WorkerSnapshot;

    /// Its worker session's id: another one after a seal.
    fn session_id(&self) -> String;

    /// What its worker session may do right now.
    fn standing(&self) -> Standing;

    /// Tells it that a client asked for an account: no more waiting after a
    /// failure.
    fn rested(&self, account: &str);
}

/// The parts that an [`Api`] is made of.
pub struct ApiParts {
    /// The documents.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// Randomness, for ids and keys.
    pub rng: SharedRng,
    /// Opens what is sealed.
    pub keys: Arc<KeyRing>,
    /// The accounts' owner in this process.
    pub worker: Arc<dyn WorkerView>,
    /// Who may do what.
    pub book: KeyBook,
    /// Who this worker is.
    pub info: Arc<WorkerInfo>,
    /// How far it has come.
    pub lifecycle: Lifecycle,
    /// What was last seen of the store.
    pub monitor: StoreMonitor,
    /// Where files are that are to be sent.
    pub media: MediaStore,
    /// Fetches files that came.
    pub fetcher: MediaFetcher,
    /// Streams of events.
    pub streams: Streams,
    /// Sends to webhooks.
    pub post: Arc<Post>,
    /// For work on accounts' stored sessions.
    pub operator: OperatorParts,
}

/// The handlers' state; clones are the same.
#[derive(Clone)]
pub struct Api(Arc<ApiParts>);

impl Api {
    /// The state made of these parts.
    pub fn new(parts: ApiParts) -> Self {
        Self(Arc::new(parts))
    }

    /// The documents.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Time.
    pub fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// Randomness.
    pub fn rng(&self) -> &SharedRng {
        &self.0.rng
    }

    /// Opens what is sealed.
    pub fn keys(&self) -> &KeyRing {
        &self.0.keys
    }

    /// The accounts' owner in this process.
    pub fn worker(&self) -> &dyn WorkerView {
        self.0.worker.as_ref()
    }

    /// Who may do what.
    pub fn book(&self) -> &KeyBook {
        &self.0.book
    }

    /// Who this worker is.
    pub fn info(&self) -> &WorkerInfo {
        &self.0.info
    }

    /// How far it has come.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.0.lifecycle
    }

    /// How far the worker has come, and what its worker session may do.
    pub fn phase(&self) -> Phase {
        self.lifecycle().get().with(self.worker().standing())
    }

    /// Where files are that are to be sent.
    pub fn media(&self) -> &MediaStore {
        &self.0.media
    }

    /// Fetches files that came.
    pub fn fetcher(&self) -> &MediaFetcher {
        &self.0.fetcher
    }

    /// Sends to webhooks.
    pub fn post(&self) -> &Post {
        &self.0.post
    }

    /// Streams of events.
    pub fn streams(&self) -> &Streams {
        &self.0.streams
    }

    /// For work on accounts' stored sessions.
    pub fn operator(&self) -> &OperatorParts {
        &self.0.operator
    }

    /// What was last seen of the store.
    pub fn monitor(&self) -> &StoreMonitor {
        &self.0.monitor
    }

    /// Creates an account that is to run, with what `about` says of it (name, number,
    /// group), and its head with a fresh data key wrapped for this cluster, in one
    /// commit with what `also` says.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn create_account(
        &self,
        about: AccountDoc,
        proxy: Option<&CheckedProxy>,
        also: impl FnOnce(&str) -> Result<Vec<Write>, Problem>,
    ) -> Result<(String, AccountDoc), Problem> {
        let now = self.clock().wall();
        let id = AccountId::new(ids::account(now, self.rng().as_ref()))?;
        let data_key = DataKey::generate(self.rng().as_ref());
        let account = AccountDoc {
            proxy: proxy.map(|proxy| proxy.seal(&data_key, self.rng().as_ref(), id.as_str())),
            desired: Desired::Running,
            created_at: StoreTime::from_datetime(now),
            ..about
        };
        let wrapped = self
            .keys()
            .wrap(self.rng().as_ref(), &data_key, id.as_str());
        let head = HeadDoc {
            wrapped_keys: wrapped,
        };
        let writes = lease::create_account(&id, account.to_document()?, head.to_document()?);
        let mut writes = Vec::from(writes);
        writes.extend(also(id.as_str())?);
        match self.store().commit(writes).await {
            Ok(CommitOutcome::Committed(_)) => Ok((id.into(), account)),
            Ok(CommitOutcome::Rejected) => Err(Problem::new(
                ProblemKind::Internal,
                "a fresh account id was taken already; try again",
            )),
            // The account may exist: its id lets the client look.
            Err(error @ StoreError::Ambiguous { .. }) => {
                Err(Problem::from(error).with("accountId", id.as_str()))
            }
            Err(error) => Err(error.into()),
        }
    }
}
