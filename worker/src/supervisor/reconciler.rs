//! The supervisor's task.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::backoff::Backoff;
use coordinator_lib::clock::Boottime;
use coordinator_lib::coordinator::ReleaseOutcome;
use coordinator_lib::gate::CloseReason;
use coordinator_lib::identity::AccountId;
use coordinator_lib::store::{Change, Fields, Precondition, StoreTime, Value, Watch, Write};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::Instrument;

use super::wanted::{self, Candidate};
use super::{Shared, SupervisorConfig};
use crate::account::observed::Observed;
use crate::account::task::{AccountParts, AccountTask, TaskEnd};
use crate::model::stored::Record;
use crate::model::{AccountDoc, Status, Stored, queries};

/// Accounts that a worker keeps in sight; more are not looked at until some go.
const ACCOUNTS_MAX: usize = 100_000;

/// The wait after the store failed.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// Compares what is wanted with what runs, again and again.
pub(crate) struct Reconciler {
    parts: Arc<AccountParts>,
    config: SupervisorConfig,
    shared: Arc<Shared>,
    /// All account documents.
    accounts: HashMap<AccountId, Record<AccountDoc>>,
    running: HashMap<AccountId, Handle>,
    tasks: JoinSet<TaskEnd>,
    by_task: HashMap<Id, AccountId>,
    /// Accounts that begin anew later.
    resting: HashMap<AccountId, Rest>,
}

/// A task that runs.
struct Handle {
    wishes: watch::Sender<Option<AccountDoc>>,
    observed: Arc<Observed>,
    since: Boottime,
}

/// An account that begins anew later.
struct Rest {
    until: Boottime,
    backoff: Backoff,
}

impl Reconciler {
    pub(crate) fn new(
        parts: Arc<AccountParts>,
        config: SupervisorConfig,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            parts,
            config,
            shared,
            accounts: HashMap::new(),
            running: HashMap::new(),
            tasks: JoinSet::new(),
            by_task: HashMap::new(),
            resting: HashMap::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        let drain = self.shared.drain.clone();
        tokio::select! {
            biased;
            () = drain.cancelled() => {}
            () = self.reconcile() => {}
        }
        // Every task was asked to end by the same token.
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended).await;
        }
    }

    async fn reconcile(&mut self) {
        loop {
            // A watch that ends is begun again: the store was closed, or failed.
            let mut watch = self.watch().await;
            self.follow(&mut watch).await;
            self.parts.term.clock.sleep(STORE_WAIT).await;
        }
    }

    async fn watch(&self) -> Watch {
        loop {
            let watch = match queries::accounts() {
                Ok(query) => self.parts.term.store.watch(&query).await,
                Err(error) => Err(error),
            };
            match watch {
                Ok(watch) => return watch,
                Err(error) => {
                    tracing::warn!(%error, "accounts cannot be watched");
                    self.parts.term.clock.sleep(STORE_WAIT).await;
                }
            }
        }
    }

    async fn follow(&mut self, watch: &mut Watch) {
        let clock = Arc::clone(&self.parts.term.clock);
        let shared = Arc::clone(&self.shared);
        loop {
            let wait = self.next_look();
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await,
                change = watch.next() => match change {
                    Some(change) => self.learn(change).await,
                    None => return,
                },
                () = shared.wake.notified() => {}
                () = clock.sleep(wait) => {}
            }
            self.start_missing();
        }
    }

    /// How long until there may be something to do unasked.
    fn next_look(&self) -> Duration {
        let now = self.parts.term.clock.boottime();
        let rested = self.resting.values().map(|rest| rest.until - now).min();
        // A rest that is over but waits for room is looked at with the rest.
        rested
            .filter(|wait| !wait.is_zero())
            .unwrap_or(self.config.poll_interval)
            .min(self.config.poll_interval)
    }

    async fn learn(&mut self, change: Change) {
        match change {
            Change::Snapshot(documents) => {
                self.accounts.clear();
                for document in &documents {
                    self.learn_one(AccountDoc::read_or_skip(document)).await;
                }
            }
            Change::Changed(document) => self.learn_one(AccountDoc::read_or_skip(&document)).await,
            Change::Removed(path) => {
                if let Ok(account) = AccountId::new(path.id()) {
                    self.accounts.remove(&account);
                }
            }
        }
    }

    async fn learn_one(&mut self, record: Option<Record<AccountDoc>>) {
        let Some(record) = record else { return };
        let Ok(account) = AccountId::new(record.path.id()) else {
            return;
        };
        if let Some(handle) = self.running.get(&account) {
            handle.wishes.send_replace(Some(record.value.clone()));
        } else if let Some(status) = wanted::resting_status(&record.value) {
            self.put_to_rest(&record, status).await;
        }
        if record.value.start_request > record.value.start_obeyed {
            // A client asks: no more waiting.
            self.resting.remove(&account);
        }
        if self.accounts.len() < ACCOUNTS_MAX || self.accounts.contains_key(&account) {
            self.accounts.insert(account, record);
        }
    }

    /// Shows that an account is off which was stopped while nobody owned it.
    async fn put_to_rest(&self, record: &Record<AccountDoc>, status: Status) {
        let now = StoreTime::from_datetime(self.parts.term.clock.wall());
        let fields = Fields::from([
            ("status".to_owned(), Value::Text(status.as_str().to_owned())),
            ("statusAt".to_owned(), Value::Time(now)),
            ("retryAt".to_owned(), Value::Null),
            ("stage".to_owned(), Value::Null),
            ("qr".to_owned(), Value::Null),
        ]);
        let write = Write::Update {
            path: record.path.clone(),
            fields,
            precondition: Precondition::Unchanged(record.update_time),
        };
        // Whoever changed it meanwhile knows better; a failure shows again.
        if let Err(error) = self.parts.term.store.commit(vec![write]).await {
            tracing::debug!(account.id = record.path.id(), %error, "status of an unowned account was not written");
        }
    }

    fn start_missing(&mut self) {
        let now = self.parts.term.clock.boottime();
        let candidates: Vec<Candidate> = self
            .accounts
            .iter()
            .filter(|(account, record)| {
                let rests = self
                    .resting
                    .get(*account)
                    .is_some_and(|rest| rest.until > now);
                wanted::is_wanted(&record.value) && !rests
            })
            .map(|(account, record)| Candidate {
                account: account.clone(),
                created_at: record.value.created_at,
            })
            .collect();
        let running: BTreeSet<AccountId> = self.running.keys().cloned().collect();
        for account in wanted::to_start(candidates, &running, self.config.capacity) {
            self.start(account, now);
        }
    }

    fn start(&mut self, account: AccountId, now: Boottime) {
        let observed = Arc::new(Observed::default());
        let doc = self
            .accounts
            .get(&account)
            .map(|record| record.value.clone());
        let (wishes, receiver) = watch::channel(doc);
        let task = AccountTask {
            parts: Arc::clone(&self.parts),
            account: account.clone(),
            wishes: receiver,
            drain: self.shared.drain.child_token(),
            observed: Arc::clone(&observed),
        };
        let span = tracing::info_span!("account", account.id = %account);
        let id = self.tasks.spawn(task.run().instrument(span)).id();
        self.by_task.insert(id, account.clone());
        self.shared
            .observed
            .lock()
            .insert(account.clone(), Arc::clone(&observed));
        self.running.insert(
            account,
            Handle {
                wishes,
                observed,
                since: now,
            },
        );
    }

    /// What follows from the end of a task.
    async fn ended(&mut self, ended: Result<(Id, TaskEnd), JoinError>) {
        let (id, end) = match ended {
            Ok((id, end)) => (id, Ok(end)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(account) = self.by_task.remove(&id) else {
            return;
        };
        let Some(handle) = self.running.remove(&account) else {
            return;
        };
        match end {
            Ok(TaskEnd::Released) => {
                self.resting.remove(&account);
            }
            Ok(TaskEnd::Lost(_)) => self.rest(&account, handle.since),
            Ok(TaskEnd::NotClaimable(reason)) => {
                tracing::debug!(account.id = %account, ?reason, "account was not claimed");
                self.rest(&account, handle.since);
            }
            Ok(TaskEnd::Failed(why)) => {
                tracing::error!(account.id = %account, error = why, "account failed; it begins anew later");
                self.rest(&account, handle.since);
            }
            Err(error) => {
                tracing::error!(account.id = %account, %error, "account's task panicked; it begins anew later");
                self.bury(&account, &handle.observed).await;
                self.rest(&account, handle.since);
            }
        }
        self.shared.observed.lock().remove(&account);
    }

    /// Ends what a task left behind: an engine that is merely dropped goes on.
    async fn bury(&self, account: &AccountId, observed: &Observed) {
        let remains = observed.take_remains();
        let reason = CloseReason::Stopped;
        if let Some(gates) = &remains.gates {
            gates.freeze(reason);
        }
        if let Some(running) = remains.running {
            running.gates.freeze(reason);
            running
                .link
                .shutdown(self.parts.account.shutdown_limit)
                .await;
        }
        let Some(lease) = remains.lease else { return };
        match self.parts.term.coordinator.release(lease).await {
            Ok(ReleaseOutcome::Released | ReleaseOutcome::Lost) => {}
            Err(error) => {
                tracing::warn!(account.id = %account, %error, "lease was not given back; it ends by itself")
            }
        }
    }

    /// Lets an account begin anew after a wait, longer each time unless it ran
    /// for a while.
    fn rest(&mut self, account: &AccountId, since: Boottime) {
        let clock = &self.parts.term.clock;
        let now = clock.boottime();
        let (base, max) = (self.config.restart_base, self.config.restart_max);
        let rest = self.resting.entry(account.clone()).or_insert_with(|| Rest {
            until: now,
            backoff: Backoff::new(base, max),
        });
        if now - since > max {
            rest.backoff.reset();
        }
        rest.until = now + rest.backoff.next(self.parts.term.rng.as_ref());
    }
}
