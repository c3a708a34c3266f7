//! The supervisor's task.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::backoff::Backoff;
use coordinator_lib::clock::Boottime;
use coordinator_lib::coordinator::{Coordinator, Ownership};
use coordinator_lib::gate::CloseReason;
use coordinator_lib::history::ReleaseReason;
use coordinator_lib::identity::AccountId;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::Instrument;

use super::{Shared, SupervisorConfig};
use crate::account::observed::Observed;
use crate::account::task::{AccountParts, AccountTask, TaskEnd};

/// How long a worker leaves an account to others that it was asked to release.
const RELEASE_REST: Duration = Duration::from_secs(10);

/// Starts a task for each account that the coordinator hands over.
pub(crate) struct Reconciler {
    parts: Arc<AccountParts>,
    coordinator: Coordinator,
    config: SupervisorConfig,
    shared: Arc<Shared>,
    running: HashMap<Id, Running>,
    tasks: JoinSet<TaskEnd>,
    /// How long each account that failed rests, and since when it last ran.
    backoffs: HashMap<AccountId, Backoff>,
}

/// A task that runs.
struct Running {
    account: AccountId,
    observed: Arc<Observed>,
    since: Boottime,
}

impl Reconciler {
    pub(crate) fn new(
        parts: Arc<AccountParts>,
        coordinator: Coordinator,
        config: SupervisorConfig,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            parts,
            coordinator,
            config,
            shared,
            running: HashMap::new(),
            tasks: JoinSet::new(),
            backoffs: HashMap::new(),
        }
    }

    /// Runs until the coordinator has drained and every task has ended.
    pub(crate) async fn run(mut self) {
        let coordinator = self.coordinator.clone();
        loop {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await,
                claimed = coordinator.next() => match claimed {
                    Some(ownership) => self.start(ownership),
                    None => break,
                },
            }
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended).await;
        }
    }

    fn start(&mut self, ownership: Ownership) {
        let account = ownership.account().clone();
        let observed = Arc::new(Observed::default());
        let span = tracing::info_span!("account", account.id = %account, lease.epoch = ownership.fence().epoch);
        let task = AccountTask {
            parts: Arc::clone(&self.parts),
            ownership,
            observed: Arc::clone(&observed),
        };
        let id = self.tasks.spawn(task.run().instrument(span)).id();
        self.shared
            .observed
            .lock()
            .insert(account.clone(), Arc::clone(&observed));
        let since = self.parts.term.clock.boottime();
        self.running.insert(
            id,
            Running {
                account,
                observed,
                since,
            },
        );
    }

    /// What follows from the end of a task.
    async fn ended(&mut self, ended: Result<(Id, TaskEnd), JoinError>) {
        let (id, end) = match ended {
            Ok((id, end)) => (id, Ok(end)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(running) = self.running.remove(&id) else {
            return;
        };
        let account = &running.account;
        match end {
            Ok(TaskEnd::Released) => {
                self.backoffs.remove(account);
            }
            Ok(TaskEnd::Asked(reason)) => {
                if reason == ReleaseReason::Asked {
                    // Somebody wants another worker to have it, if there is one.
                    self.coordinator.rest(account, RELEASE_REST);
                }
            }
            Ok(TaskEnd::Lost(_)) => self.rest(&running),
            Ok(TaskEnd::Failed(why)) => {
                tracing::error!(account.id = %account, error = why, "account failed; it begins anew later");
                self.rest(&running);
            }
            Err(error) => {
                tracing::error!(account.id = %account, %error, "account's task panicked; it begins anew later");
                self.bury(&running.observed).await;
                self.rest(&running);
            }
        }
        let mut observed = self.shared.observed.lock();
        // By now the account may run again, under a new claim.
        if observed
            .get(account)
            .is_some_and(|now| Arc::ptr_eq(now, &running.observed))
        {
            observed.remove(account);
        }
    }

    /// Ends what a task left behind: an engine that is merely dropped goes on.
    /// Its lease went with the task; the coordinator claims it anew.
    async fn bury(&self, observed: &Observed) {
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
    }

    /// Lets an account begin anew after a wait, longer each time unless it ran
    /// for a while.
    fn rest(&mut self, running: &Running) {
        let now = self.parts.term.clock.boottime();
        let (base, max) = (self.config.restart_base, self.config.restart_max);
        let backoff = self
            .backoffs
            .entry(running.account.clone())
            .or_insert_with(|| Backoff::new(base, max));
        if now - running.since > max {
            backoff.reset();
        }
        let wait = backoff.next(self.parts.term.rng.as_ref());
        self.coordinator.rest(&running.account, wait);
    }
}
