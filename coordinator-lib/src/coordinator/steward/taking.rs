//! Who takes what: claims, and accounts that are given up.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use tracing::info;

use super::{Done, Free, SeenBy, Steward};
use crate::balance::Given;
use crate::clock::Boottime;
use crate::coordinator::feeds;
use crate::coordinator::ownership::Ask;
use crate::coordinator::uneven::{LOOK_AGAIN, SHOWN_AFTER};
use crate::history::ReleaseReason;
use crate::identity::{AccountId, WorkerSessionId};
use crate::lease::{AccountLease, HANDOFF_FIELD, LEASE_EPOCH_FIELD};
use crate::mutation::Mutation;
use crate::spread::Groups;
use crate::store::{Document, Value};
use crate::{balance, mutation, shard, spread};

/// An account of this session that nobody here holds is looked after once it
/// has been so for this long: what is just being claimed shows that way, too.
const STRAY_AFTER: Duration = Duration::from_secs(3);

impl Steward {
    /// Everybody, the own count with what is being claimed.
    pub(super) fn members(&mut self) -> &[balance::Member] {
        let claiming = u32::try_from(self.claiming.len()).unwrap_or(u32::MAX);
        let owned = self.owned().saturating_add(claiming);
        self.roster.members(&self.me.session_id, owned)
    }

    /// The roster has changed: so have the places in the order.
    pub(super) fn reconsider(&mut self) {
        let me = self.me.session_id.clone();
        let shards = feeds::watched_shards(&me, self.members());
        if self.feeds.watch_shards(shards) {
            self.free
                .retain(|_, free| !matches!(free.seen_by, SeenBy::Watch(_)));
        }
        let mut free = std::mem::take(&mut self.free);
        let count = free.len();
        let order = balance::Order::new(&me, self.members(), count);
        let places: Vec<Option<usize>> = free
            .keys()
            .map(|account| order.rank(shard::of(account)))
            .collect();
        for (free, rank) in free.values_mut().zip(places) {
            free.due = self.due(free, rank);
        }
        self.free = free;
    }

    pub(super) fn rank_one(&mut self, account: &AccountId) {
        let me = self.me.session_id.clone();
        let count = self.free.len();
        let order = balance::Order::new(&me, self.members(), count);
        let rank = order.rank(shard::of(account));
        let due = self.free.get(account).map(|free| self.due(free, rank));
        if let (Some(due), Some(free)) = (due, self.free.get_mut(account)) {
            free.due = due;
        }
    }

    /// When this worker may claim a free account; `None` while it does not take
    /// any.
    fn due(&self, free: &Free, rank: Option<usize>) -> Option<Boottime> {
        let given = self.given(&free.document);
        let rank = match given {
            Given::Me => rank.unwrap_or(0),
            Given::Another | Given::Unknown | Given::Nobody => rank?,
        };
        let config = &self.parts.config.balance;
        Some(balance::due(free.since, given, rank, config))
    }

    /// To whom the last owner gave an account, as far as that one is there.
    fn given(&self, document: &Document) -> Given {
        let to = document.fields.get(HANDOFF_FIELD).and_then(Value::as_text);
        match to.map(WorkerSessionId::from_text) {
            Some(to) if to == self.me.session_id => Given::Me,
            Some(to) if self.roster.is_active(&to) => Given::Another,
            Some(to) if !self.roster.has(&to) => Given::Unknown,
            Some(_) | None => Given::Nobody,
        }
    }

    /// For accounts that this session does not have yet.
    pub(super) fn room(&self) -> usize {
        self.room_for_own().saturating_sub(self.strays)
    }

    /// For accounts that are its own and that nobody here works on.
    fn room_for_own(&self) -> usize {
        let capacity = usize::try_from(self.parts.capacity).unwrap_or(usize::MAX);
        capacity.saturating_sub(self.held.len() + self.claiming.len())
    }

    pub(super) fn claim_free(&mut self, now: Boottime) {
        let room = self.room().min(
            self.parts
                .config
                .claims_max
                .saturating_sub(self.claiming.len()),
        );
        if room == 0 || self.roster.read_at().is_none() {
            return;
        }
        let resting = self.resting(now);
        let due: Vec<((Boottime, AccountId), Option<&str>)> = self
            .free
            .iter()
            .filter(|(account, free)| {
                free.not_before <= now
                    && !resting.contains(*account)
                    && !self.held.contains_key(*account)
                    && !self.claiming.contains(*account)
            })
            .filter_map(|(account, free)| {
                let due = free.due.filter(|due| *due <= now)?;
                Some(((due, account.clone()), spread::group_of(&free.document)))
            })
            .collect();
        let chosen = self.groups().choose(due, room);
        let is_any = !chosen.is_empty();
        for (_, account) in chosen {
            self.claim(account);
        }
        if is_any {
            // The own count decides about the own place.
            self.reconsider();
        }
    }

    /// How many accounts of each group this session has; what it is just claiming
    /// included.
    fn groups(&self) -> Groups<'_> {
        let own = self.own.values().map(|own| &own.document);
        let claiming = self.claiming.iter();
        let claiming = claiming.filter(|account| !self.own.contains_key(*account));
        let claiming = claiming.filter_map(|account| Some(&self.free.get(account)?.document));
        own.chain(claiming).map(spread::group_of).collect()
    }

    /// The group of an account that is held, as far as its watch has shown it.
    pub(super) fn group_of(&self, account: &AccountId) -> Option<&str> {
        spread::group_of(&self.own.get(account)?.document)
    }

    pub(super) fn resting(&self, now: Boottime) -> BTreeSet<AccountId> {
        let mut resting = self.shared.resting.lock();
        resting.retain(|_, until| *until > now);
        resting.keys().cloned().collect()
    }

    /// What the store says is this session's and is not held is claimed anew,
    /// or given back if nobody wants it or there is no room for it.
    pub(super) fn claim_strays(&mut self, now: Boottime) {
        let resting = self.resting(now);
        if self.strays == 0 {
            return;
        }
        let strays: Vec<(AccountId, Document)> = self
            .own
            .iter()
            .filter(|(account, own)| {
                now - own.astray_since >= STRAY_AFTER
                    && !resting.contains(*account)
                    && !self.held.contains_key(*account)
                    && !self.claiming.contains(*account)
                    && !self.releasing.contains(*account)
            })
            .map(|(account, own)| (account.clone(), own.document.clone()))
            .collect();
        for (account, document) in strays {
            if let Some(own) = self.own.get_mut(&account) {
                // Not again at once, should it fail.
                own.astray_since = now;
            }
            if !(self.parts.wanted)(&document) {
                self.give_back(document, account, ReleaseReason::NotWanted);
            } else if self.room_for_own() == 0 {
                // Others cannot take what a living session has.
                self.give_back(document, account, ReleaseReason::Rebalance);
            } else if self.claiming.len() < self.parts.config.claims_max {
                self.claim(account);
            }
        }
    }

    pub(super) fn claim(&mut self, account: AccountId) {
        let trusts_expiry = self.trusts_expiry();
        let operations = self.operations.clone();
        self.claiming.insert(account.clone());
        self.job(async move {
            let outcome = operations.claim(&account, trusts_expiry).await;
            Done::Claimed(account, outcome)
        });
    }

    /// After an outage owners come first: that a lease or a session has run out
    /// counts only once this worker has been in touch with the store for
    /// `ttl + G`, and still is.
    pub(super) fn trusts_expiry(&self) -> bool {
        let lease = &self.parts.config.lease;
        let (seen, now) = (self.vitals.seen(), self.parts.clock.boottime());
        let in_touch = now - seen.beat_at < lease.heartbeat.mul_f64(2.0) + lease.attempt_timeout;
        let good_for = now - seen.good_since;
        (in_touch && good_for > lease.session_ttl + lease.lock_delay)
            || mutation::is_on(Mutation::ClaimAfterOutage)
    }

    fn give_back(&mut self, document: Document, account: AccountId, reason: ReleaseReason) {
        let epoch = match document.fields.get(LEASE_EPOCH_FIELD) {
            Some(Value::Int(epoch)) => *epoch,
            Some(_) | None => return,
        };
        let lease = AccountLease {
            account_id: account.clone(),
            epoch,
            worker_session: self.me.session_id.clone(),
            claimed_at: document.update_time,
            lease_until: document.update_time,
            deadline: Boottime::ZERO,
        };
        let me = self.me.session_id.clone();
        let to = match reason {
            ReleaseReason::NotWanted => None,
            ReleaseReason::Drain
            | ReleaseReason::Rebalance
            | ReleaseReason::Asked
            | ReleaseReason::Failed => balance::taker(&me, self.members(), |_| 0).cloned(),
        };
        self.release(lease, reason, to);
    }

    pub(super) fn release(
        &mut self,
        lease: AccountLease,
        reason: ReleaseReason,
        to: Option<WorkerSessionId>,
    ) {
        let operations = self.operations.clone();
        self.releasing.insert(lease.account_id.clone());
        self.job(async move {
            let outcome = operations.release(&lease, reason, to.as_ref()).await;
            Done::Released(lease.account_id, outcome)
        });
    }

    /// Gives up what is more than this worker's share, one account at a time.
    pub(super) fn shed(&mut self, now: Boottime) {
        let config = &self.parts.config.balance;
        if now - self.planned_at > self.parts.config.roster_interval {
            // Of another time: the store may have been out of reach since.
            self.to_shed.clear();
        }
        if self.to_shed.is_empty()
            || now - self.shed_at < config.cool_down
            || !self.free.is_empty()
            || !self.roster.is_settled(now, config.settle)
        {
            return;
        }
        let groups = self.groups();
        let idle_first = self
            .held
            .values()
            .filter(|held| !held.owned.is_asked() && held.owned.deadline.closed().is_none())
            .min_by_key(|held| {
                let surplus = groups.surplus(self.group_of(&held.owned.account));
                let claimed_at = held.owned.lease().claimed_at;
                (held.owned.is_busy(), Reverse(surplus), claimed_at)
            });
        let (Some(held), Some(to)) = (idle_first, self.to_shed.pop_front()) else {
            return;
        };
        info!(account.id = %held.owned.account, to = %to, "shedding an account: others have more room");
        held.owned.ask(Ask {
            reason: ReleaseReason::Rebalance,
            to: Some(to),
        });
        self.shed_at = now;
        if self.to_shed.is_empty() {
            // See soon what came of it: after everybody has beaten again.
            self.roster_at = now + self.parts.config.lease.heartbeat.mul_f64(LOOK_AGAIN);
        }
    }

    /// Plans anew from a fresh roster, unless moves are still to show in it.
    pub(super) fn plan_shedding(&mut self, asked_at: Boottime) {
        let heartbeat = self.parts.config.lease.heartbeat;
        if asked_at - self.shed_at < heartbeat.mul_f64(SHOWN_AFTER) {
            return;
        }
        let members = self.roster.members(&self.me.session_id, self.owned());
        let moves = balance::moves_of(&self.me.session_id, members);
        if moves.is_empty() {
            self.uneven.is_over();
            self.to_shed.clear();
            return;
        }
        if !self.uneven.seen(asked_at, heartbeat) {
            let again = asked_at + heartbeat.mul_f64(LOOK_AGAIN);
            self.roster_at = self.roster_at.min(again);
            return;
        }
        self.planned_at = asked_at;
        self.to_shed = moves.into();
    }
}
