//! What a run has to show, so that "nothing went wrong" means something.
//!
//! A state remembers what the step that led to it has shown, and nothing older.

use stateright::Property;

use crate::config::Config;
use crate::rules;
use crate::state::{Message, SessionState, State};

/// An interesting transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Milestone {
    /// A claim succeeded because the owner's session had been sealed.
    TakenOverAfterSeal,
    /// … because the owner's session had closed without a release.
    TakenOverAfterClose,
    /// … because `leaseUntil + G` was past, the owner's session alive.
    TakenOverAfterLeaseEnd,
    /// … because the owner had released it.
    ReleasedAndReclaimed,
    /// … because it was the claimer's own, which it did not run: stopped without
    /// a release, or a claim had landed that it had given up on.
    OwnClaimedAnew,
    /// The answer to a claim was lost, and reading back said: mine.
    ClaimSettledAsHeld,
    /// The answer to a flush was lost, and reading back said: landed.
    FlushSettled,
    /// A deadline passed, a later answer set it ahead again, and the gates with
    /// it.
    Reopened,
    /// A heartbeat was rejected, and a running engine stopped.
    FrozenWhenSealed,
    /// A flush was rejected by the fence.
    Fenced,
    /// A renewal missed, for another owns the account.
    RenewalMissed,
}

impl Milestone {
    /// What a claim that is about to be applied shows.
    pub fn of_claim(state: &State, config: &Config, claim: &Message) -> Option<Self> {
        let account = state.store.account(claim.account);
        if account.epoch == 0 {
            return None;
        }
        if account.released {
            return Some(Milestone::ReleasedAndReclaimed);
        }
        let owner = account.session?;
        if owner == rules::session_of(config, claim.worker) {
            return Some(Milestone::OwnClaimedAnew);
        }
        Some(match state.store.session(owner).state {
            SessionState::Sealed => Milestone::TakenOverAfterSeal,
            SessionState::Closed => Milestone::TakenOverAfterClose,
            SessionState::Active | SessionState::Missing => Milestone::TakenOverAfterLeaseEnd,
        })
    }

    /// The properties that a run has to show.
    pub fn properties(config: &Config) -> Vec<Property<Config>> {
        let mut properties = vec![Property::sometimes(
            "an ambiguous claim is settled as held",
            |_, state: &State| state.just == Some(Milestone::ClaimSettledAsHeld),
        )];
        if config.is_timed() {
            properties.extend([
                Property::sometimes("a sealed owner freezes", |_, state: &State| {
                    state.just == Some(Milestone::FrozenWhenSealed)
                }),
                Property::sometimes("suspended and reopened", |_, state: &State| {
                    state.just == Some(Milestone::Reopened)
                }),
            ]);
        }
        if config.blocks > 0 {
            properties.push(Property::sometimes(
                "an ambiguous flush is settled",
                |_, state: &State| state.just == Some(Milestone::FlushSettled),
            ));
        }
        // Everything else takes a second owner.
        if config.epochs < 2 {
            return properties;
        }
        properties.extend([
            Property::sometimes("taken over after the lease's end", |_, state: &State| {
                state.just == Some(Milestone::TakenOverAfterLeaseEnd)
            }),
            Property::sometimes("released and claimed again", |_, state: &State| {
                state.just == Some(Milestone::ReleasedAndReclaimed)
            }),
            Property::sometimes(
                "an account of one's own is claimed anew",
                |_, state: &State| state.just == Some(Milestone::OwnClaimedAnew),
            ),
        ]);
        if config.is_timed() {
            properties.extend([
                Property::sometimes("taken over after a seal", |_, state: &State| {
                    state.just == Some(Milestone::TakenOverAfterSeal)
                }),
                Property::sometimes("taken over after a close", |_, state: &State| {
                    state.just == Some(Milestone::TakenOverAfterClose)
                }),
                Property::sometimes("a late renewal misses", |_, state: &State| {
                    state.just == Some(Milestone::RenewalMissed)
                }),
            ]);
        }
        if config.blocks > 0 {
            properties.push(Property::sometimes(
                "a late flush is fenced",
                |_, state: &State| state.just == Some(Milestone::Fenced),
            ));
        }
        properties
    }
}
