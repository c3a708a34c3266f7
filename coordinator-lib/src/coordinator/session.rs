//! Worker sessions one after another: the next begins when one was sealed.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::ownership::Ownership;
use super::steward::{End, Steward};
use super::{CoordinatorParts, Shared};
use crate::backoff::Backoff;
use crate::heartbeat::{Heartbeat, HeartbeatParts, Vitals};
use crate::identity::{WorkerIdentity, WorkerSessionId};
use crate::mutation::{self, Mutation};
use crate::store::StoreError;
use crate::worker_session::SessionFacts;

/// After a session was sealed: how long its accounts may take to end.
const ENDING_LIMIT: Duration = Duration::from_secs(60);

/// The first session is tried so often: then the worker ends, and whoever runs
/// it starts it again.
const FIRST_ATTEMPTS_MAX: u32 = 3;

/// Waits between attempts to begin a session.
const RETRY_BASE: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A session that has begun.
pub(super) struct Session {
    pub(super) me: WorkerIdentity,
    pub(super) vitals: Arc<Vitals>,
    /// Shows this machine's other workers that it is here.
    pub(super) _presence: Option<Box<dyn Any + Send + Sync>>,
}

/// Begins the first session. A store that is silent for a moment is asked again;
/// each time for another session, so what may have been written of the one before
/// does not matter.
pub(super) async fn begin_first(parts: &CoordinatorParts) -> Result<Session, StoreError> {
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
    for _ in 1..FIRST_ATTEMPTS_MAX {
        let error = match begin(parts, None).await {
            Err(error) if error.may_pass() => error,
            begun => return begun,
        };
        warn!(%error, "no worker session yet");
        let wait = backoff.next(parts.rng.as_ref());
        parts.clock.sleep(wait).await;
    }
    begin(parts, None).await
}

/// Begins a session, with an id of its own.
pub(super) async fn begin(
    parts: &CoordinatorParts,
    last: Option<&WorkerSessionId>,
) -> Result<Session, StoreError> {
    let session_id = match last {
        Some(last) if mutation::is_on(Mutation::ReuseSession) => last.clone(),
        Some(_) | None => WorkerSessionId::generate(parts.rng.as_ref()),
    };
    let me = WorkerIdentity {
        name: parts.name.clone(),
        session_id,
    };
    let presence = match &parts.presence {
        Some(presence) => Some(presence.enter(&me.session_id).map_err(|error| {
            StoreError::unavailable(format!("the session's lock file cannot be made: {error}"))
        })?),
        None => None,
    };
    let (sender, begun) = oneshot::channel();
    let make_store = Arc::clone(&parts.heartbeat.store);
    let facts = SessionFacts {
        me: me.clone(),
        capacity: parts.capacity,
        version: parts.version.clone(),
        address: parts.address.clone(),
    };
    let (clock, rng) = (Arc::clone(&parts.clock), Arc::clone(&parts.rng));
    let config = parts.config.lease.clone();
    (parts.heartbeat.spawn)(Box::pin(async move {
        let begun = async {
            let store = make_store().await?;
            Heartbeat::begin(HeartbeatParts {
                store,
                clock,
                rng,
                config,
                facts,
            })
            .await
        };
        match begun.await {
            Ok((heartbeat, vitals)) => {
                // Nobody waits any more: the session dies by itself.
                if sender.send(Ok(vitals)).is_ok() {
                    let _ = heartbeat.run().await;
                }
            }
            Err(error) => drop(sender.send(Err(error))),
        }
    }));
    let vitals = match begun.await {
        Ok(begun) => begun?,
        Err(_) => return Err(StoreError::unavailable("the heartbeat does not run")),
    };
    Ok(Session {
        me,
        vitals,
        _presence: presence,
    })
}

/// Runs sessions until the coordinator has drained.
pub(super) async fn run(
    parts: Arc<CoordinatorParts>,
    shared: Arc<Shared>,
    first: Session,
    ready: mpsc::Sender<Ownership>,
) {
    let mut session = first;
    let orderly = loop {
        let last = session.me.session_id.clone();
        {
            let mut now = shared.now.lock();
            now.me = session.me.clone();
            now.vitals = Arc::clone(&session.vitals);
        }
        let steward = Steward::new(&parts, &shared, &session, ready.clone());
        let mut steward = match steward {
            Ok(steward) => steward,
            Err(error) => {
                error!(%error, "the coordinator cannot work");
                break false;
            }
        };
        match Box::pin(steward.run()).await {
            End::Drained { orderly } => break orderly,
            End::Sealed => {
                warn!(worker.session = %last, "everything that the sealed session owned is being ended");
                if !steward.ended(ENDING_LIMIT).await {
                    warn!(worker.session = %last, "some accounts of the sealed session have not ended; their gates stay closed");
                }
            }
        }
        drop((steward, session));
        if shared.drain.is_cancelled() {
            break true;
        }
        session = match begin_again(&parts, &shared, &last).await {
            Some(session) => session,
            None => break true,
        };
        info!(worker.session = %session.me.session_id, "a new worker session began after a seal");
    };
    drop(ready);
    shared.done.send_replace(Some(orderly));
}

/// Tries until a session has begun; `None` if the coordinator is to drain.
async fn begin_again(
    parts: &CoordinatorParts,
    shared: &Shared,
    last: &WorkerSessionId,
) -> Option<Session> {
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
    loop {
        match begin(parts, Some(last)).await {
            Ok(session) => return Some(session),
            Err(error) => warn!(%error, "no new worker session yet"),
        }
        tokio::select! {
            biased;
            () = shared.drain.cancelled() => return None,
            () = parts.clock.sleep(backoff.next(parts.rng.as_ref())) => {}
        }
    }
}
