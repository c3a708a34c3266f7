//! The end of a run: whether all is well again, and stays so.

use std::collections::BTreeMap;
use std::time::Duration;

use coordinator_lib::identity::AccountId;

use super::World;
use crate::history;
use crate::plan::Theme;

/// Until all accounts are owned again after the last fault: sessions are sealed
/// after `ttl + G`, what was found late waits for a sweep.
const OWNED_WITHIN: Duration = Duration::from_secs(200);

/// The same where somebody wiped a lease: only its end proves anything.
const WIPED_OWNED_WITHIN: Duration = Duration::from_secs(520);

/// The longest that an account waits for its next attempt.
const ATTEMPT_WAIT_MAX: Duration = Duration::from_secs(300);

/// Until they are shared out evenly after that, and for each account more.
const EVEN_WITHIN: Duration = Duration::from_secs(180);
const EVEN_WITHIN_ACCOUNT: Duration = Duration::from_secs(4);

/// Last moves after that.
const SETTLES: Duration = Duration::from_secs(60);

/// For so long nothing may move then.
const QUIET: Duration = Duration::from_secs(300);

/// How often the end of a run looks whether it is there.
const LOOK: Duration = Duration::from_secs(1);

impl World {
    /// Waits until all is well, and then that it stays so.
    pub(super) async fn recover(&self) -> (Option<Duration>, Option<Duration>) {
        let sea = &self.fleet.sea;
        let bound = if self.state.lock().wiped {
            WIPED_OWNED_WITHIN
        } else {
            OWNED_WITHIN
        };
        let bound = bound.max(attempted_within(self.fleet.server.losses_in_a_row()));
        let Some(owned_after) = self.until(bound, Self::all_owned).await else {
            let missing = self.missing();
            sea.record.violation(
                "liveness: all owned",
                format!("after {bound:?} these are not: {missing:?}"),
            );
            return (None, None);
        };
        let bound = EVEN_WITHIN + EVEN_WITHIN_ACCOUNT * self.plan.accounts;
        let Some(even_after) = self.until(bound, Self::is_even).await else {
            let counts = self.counts();
            sea.record.violation(
                "liveness: shared out evenly",
                format!("after {bound:?}: {counts:?}"),
            );
            return (Some(owned_after), None);
        };
        // What looked even may have been on its way.
        sea.timeline.run_for(SETTLES).await;
        let moves = sea.ledger.moves();
        sea.timeline.run_for(QUIET).await;
        let moved = sea.ledger.moves() - moves;
        if moved > 0 {
            sea.record.violation(
                "liveness: nothing moves",
                format!("{moved} claims and releases in {QUIET:?} of quiet"),
            );
        }
        if !self.all_owned() {
            let missing = self.missing();
            sea.record
                .violation("liveness: all owned", format!("no more: {missing:?}"));
        }
        (Some(owned_after), Some(even_after))
    }

    async fn until(&self, bound: Duration, is_so: fn(&Self) -> bool) -> Option<Duration> {
        let mut waited = Duration::ZERO;
        while !is_so(self) {
            if waited >= bound {
                return None;
            }
            self.fleet.sea.timeline.run_for(LOOK).await;
            waited += LOOK;
        }
        Some(waited)
    }

    /// How many accounts each worker that runs holds and works for.
    pub(super) fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for worker in self.there() {
            if let Some(session) = worker.session() {
                counts.insert(session, 0);
            }
        }
        for account in &self.accounts {
            if let Some(session) = self.owner(account)
                && let Some(count) = counts.get_mut(&session)
            {
                *count += 1;
            }
        }
        counts
    }

    /// The session that holds an account and has logged in for it.
    pub(super) fn owner(&self, account: &AccountId) -> Option<String> {
        let sea = &self.fleet.sea;
        let document = sea.look(&account.account_path())?;
        let session = document.fields.get("leaseSession")?.as_text()?;
        let (epoch, holder) = sea.ledger.last(account.as_str())?;
        let server = &self.fleet.server;
        let is_working = holder == session
            && server.epoch(account.as_str()) == epoch
            && server.at_work(account.as_str()) == Some(epoch);
        is_working.then_some(holder)
    }

    fn all_owned(&self) -> bool {
        let counts = self.counts();
        let owned: usize = counts.values().sum();
        let room = counts.len() * usize::try_from(self.plan.capacity).unwrap_or(usize::MAX);
        counts.len() == self.there().len() && owned == self.accounts.len().min(room)
    }

    fn is_even(&self) -> bool {
        let counts = self.counts();
        let most = counts.values().max().copied().unwrap_or(0);
        let least = counts.values().min().copied().unwrap_or(0);
        self.all_owned() && most <= least + 1
    }

    fn missing(&self) -> Vec<String> {
        let counts = self.counts();
        self.accounts
            .iter()
            .filter(|account| {
                self.owner(account)
                    .is_none_or(|session| !counts.contains_key(&session))
            })
            .map(|account| {
                let document = self.fleet.sea.look(&account.account_path());
                format!("{:?}", document.map(|document| document.fields))
            })
            .take(3)
            .collect()
    }

    /// Checks the history of each account; returns how close a take-over was.
    pub(super) fn check_histories(&self) -> Option<Duration> {
        let sea = &self.fleet.sea;
        let mut closest: Option<Duration> = None;
        for account in &self.accounts {
            let query = coordinator_lib::history::of(account).expect("a short id");
            let entries: Vec<history::Entry> = sea
                .look_for(&query)
                .iter()
                .filter_map(history::entry)
                .collect();
            let spans = self.fleet.server.spans(account.as_str());
            let flushes = sea.ledger.flushes(account.as_str());
            for wrong in history::check(&entries, &spans, &flushes) {
                sea.record
                    .violation("history", format!("{account}: {wrong}"));
            }
            sea.record.reached("history checked");
            let gap = history::closest_takeover(&entries, &spans);
            closest = closest.into_iter().chain(gap).min();
        }
        if self.plan.theme == Theme::Outages && sea.ledger.taken() > 0 {
            sea.record.violation(
                "an outage moves nothing",
                format!(
                    "{} accounts were taken from owners that live",
                    sea.ledger.taken()
                ),
            );
        }
        closest
    }
}

/// The longest until an account is connected that was lost so often in a row:
/// the wait doubles from a second on, and one more loss may be under way. By the
/// server's count, so that a worker that counts too many of them is found out.
fn attempted_within(losses: u32) -> Duration {
    let doubled = Duration::from_secs(1).saturating_mul(1 << losses.min(16));
    doubled.min(ATTEMPT_WAIT_MAX).mul_f64(1.2) + Duration::from_secs(60)
}
