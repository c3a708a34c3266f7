//! The end: everything is given back, then the session is closed; or sealed, where
//! something could not be given back.
//!
//! Each account is given to a named worker, which then need not wait for others
//! that may come before it. The last reading of the roster may be older than a
//! worker's restart, or missing where this one has just begun: it is read once
//! more first, and where that fails the last one must do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::looking::read_roster;
use super::{Done, Draining, End, Steward};
use crate::balance;
use crate::call::limited;
use crate::clock::Boottime;
use crate::coordinator::ownership::{Ask, Owned};
use crate::gate::CloseReason;
use crate::history::ReleaseReason;
use crate::identity::WorkerSessionId;
use crate::worker_session::SessionState;

impl Steward {
    pub(super) fn begin_to_drain(&mut self) {
        self.vitals.want(SessionState::Draining);
        let now = self.parts.clock.boottime();
        self.draining = Draining::Looking(now);
        let (store, clock) = (Arc::clone(&self.parts.store), Arc::clone(&self.parts.clock));
        let limit = self.parts.config.lease.attempt_timeout;
        self.job(async move {
            let read = limited(&clock, limit, read_roster(&store)).await;
            Done::Roster(now, read)
        });
    }

    /// The roster was read, or could not be: is that what the end waited for?
    pub(super) fn looked(&mut self, asked_at: Boottime) {
        match self.draining {
            Draining::Looking(since) if asked_at >= since => {
                self.draining = Draining::Asking;
            }
            // An answer from before that is still on its way.
            Draining::Looking(_) => {}
            Draining::No | Draining::Asking => {}
        }
    }

    /// Asks for everything, each account for the member with the smallest load.
    pub(super) fn ask_all(&mut self) {
        let owned = self.owned();
        let not_asked = self.held.values().filter(|held| !held.owned.is_asked());
        let mut to_ask: Vec<Arc<Owned>> = not_asked.map(|held| Arc::clone(&held.owned)).collect();
        // One after another go to one member after another: so those of a group come
        // together here, and part there.
        to_ask.sort_by(|one, other| {
            self.group_of(&one.account)
                .cmp(&self.group_of(&other.account))
        });
        let members = self.roster.members(&self.me.session_id, owned);
        let mut given: BTreeMap<WorkerSessionId, u32> = BTreeMap::new();
        for owned in to_ask {
            let promised = |id: &WorkerSessionId| given.get(id).copied().unwrap_or(0);
            let to = balance::taker(&self.me.session_id, members, promised).cloned();
            if let Some(to) = &to {
                *given.entry(to.clone()).or_default() += 1;
            }
            owned.ask(Ask {
                reason: ReleaseReason::Drain,
                to,
            });
        }
    }

    /// Ends the session once nothing is held and no claim is under way.
    pub(super) async fn go_on_draining(&mut self) -> Option<End> {
        match self.draining {
            Draining::No => return None,
            Draining::Looking(_) => {}
            Draining::Asking => self.ask_all(),
        }
        let is_idle = self.held.is_empty() && self.claiming.is_empty() && self.releasing.is_empty();
        if !is_idle {
            return None;
        }
        // Nothing may pass any gate once others may believe that all is over.
        self.vitals.deadline.close(CloseReason::Released);
        // Others look for what a sealed session held, and a closed one holds nothing:
        // what could not be given back is theirs at once, and waits for no sweep.
        self.vitals.want(match self.strays {
            0 => SessionState::Closed,
            _ => SessionState::Sealed,
        });
        let limit = self.parts.config.lease.session_ttl;
        let state = tokio::select! {
            biased;
            state = self.vitals.ended() => Some(state),
            () = self.parts.clock.sleep(limit) => None,
        };
        self.show();
        Some(End::Drained {
            orderly: state == Some(SessionState::Closed),
        })
    }
}
