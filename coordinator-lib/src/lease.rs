//! What a lease is: its durations, its fields, and when it is over.
//!
//! Pure. Two clocks never meet here: *others* are judged by store time alone
//! ([`is_over`]), *oneself* by the machine's boottime ([`LeaseConfig::deadline`]).
//! Symbols such as `δ` are those of the protocol's description in
//! ARCHITECTURE.md.

use std::time::Duration;

use thiserror::Error;

use crate::clock::Boottime;
use crate::identity::{AccountId, WorkerIdentity, WorkerSessionId};
use crate::mutation::{self, Mutation};
use crate::shard::{self, SHARD_FIELD};
use crate::store::{Fields, Precondition, StoreTime, Value, Write};

/// Account: the owner's name.
pub const CLAIMED_BY_FIELD: &str = "claimedBy";
/// Account: since when it is owned.
pub const CLAIMED_AT_FIELD: &str = "claimedAt";
/// Account: until when others leave it alone.
pub const LEASE_UNTIL_FIELD: &str = "leaseUntil";
/// Account: the fencing number; only grows, never deleted.
pub const LEASE_EPOCH_FIELD: &str = "leaseEpoch";
/// Account: the owner's worker session.
pub const LEASE_SESSION_FIELD: &str = "leaseSession";
/// Account: the last epoch that ended in an orderly release.
pub const RELEASED_EPOCH_FIELD: &str = "releasedEpoch";
/// Account: a worker session that is to have it next.
pub const HANDOFF_FIELD: &str = "handoffTo";
/// Account: names the claim, so that one in doubt can be settled.
pub const CLAIM_NONCE_FIELD: &str = "claimNonce";
/// Account: the trace context of its last claim or release, for the link of the
/// next; absent where nothing is traced.
pub const LEASE_TRACE_FIELD: &str = "leaseTrace";
/// Account: what clients want of it; absent means that it is wanted.
pub const DESIRED_FIELD: &str = "desired";
/// What clients may want of an account so that somebody has to own it.
pub const WANTED: [&str; 3] = ["running", "logging_out", "deleting"];
/// Head: the epoch.
pub const EPOCH_FIELD: &str = "epoch";
/// Head: the worker session that owns the epoch.
pub const WORKER_SESSION_FIELD: &str = "workerSession";

/// How long leases last; the relations are checked by [`LeaseConfig::check`].
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseConfig {
    /// How long an account's lease lasts.
    pub duration: Duration,
    /// How often it is renewed.
    pub refresh: Duration,
    /// `ttl`: how long a worker session lives without a heartbeat.
    pub session_ttl: Duration,
    /// `H`: how often a worker session beats.
    pub heartbeat: Duration,
    /// `δ`: how long before its end an owner stops acting on a lease.
    pub freeze_margin: Duration,
    /// `G`: how long after a lease's end others leave it alone.
    pub lock_delay: Duration,
    /// `ρ`: by how much this machine's clock may run too slowly, as a share.
    pub drift: f64,
    /// One call of the store.
    pub attempt_timeout: Duration,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(300),
            refresh: Duration::from_secs(120),
            session_ttl: Duration::from_secs(10),
            heartbeat: Duration::from_millis(2_200),
            freeze_margin: Duration::from_secs(1),
            lock_delay: Duration::from_secs(2),
            drift: 0.001,
            attempt_timeout: Duration::from_millis(1_500),
        }
    }
}

/// Durations that do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LeaseConfigError {
    /// A lease must survive one renewal that fails.
    #[error("the lease refresh interval must be at most half of the lease duration")]
    RefreshTooLong,
    /// What is left of a session after the margin must be worth having.
    #[error("the freeze margin must be less than a quarter of the session's ttl")]
    MarginTooLong,
    /// A session must survive two heartbeats that fail.
    #[error(
        "the session's ttl, less drift and margin, must be at least 3.3 heartbeats and one store attempt"
    )]
    HeartbeatTooLong,
    /// An account's lease is the slower one of the two levels.
    #[error("the lease duration must be longer than the session's ttl and the lock delay together")]
    LeaseTooShort,
    /// A write that is under way when the owner stops must have ended when
    /// others may begin.
    #[error("the lock delay must be at least one store attempt")]
    LockDelayTooShort,
    /// A share.
    #[error("the clock drift must be at least 0 and less than 0.1")]
    DriftOutOfRange,
}

impl LeaseConfig {
    /// Checks the relations between the durations.
    ///
    /// # Errors
    /// The first relation that does not hold.
    pub fn check(&self) -> Result<(), LeaseConfigError> {
        if self.refresh > self.duration / 2 {
            return Err(LeaseConfigError::RefreshTooLong);
        }
        if self.freeze_margin >= self.session_ttl / 4 {
            return Err(LeaseConfigError::MarginTooLong);
        }
        if self.lock_delay < self.attempt_timeout {
            return Err(LeaseConfigError::LockDelayTooShort);
        }
        if !(0.0..0.1).contains(&self.drift) {
            return Err(LeaseConfigError::DriftOutOfRange);
        }
        let usable = self.session_deadline(Boottime::ZERO) - Boottime::ZERO;
        if usable < self.heartbeat.mul_f64(3.3) + self.attempt_timeout {
            return Err(LeaseConfigError::HeartbeatTooLong);
        }
        if self.duration <= self.session_ttl + self.lock_delay {
            return Err(LeaseConfigError::LeaseTooShort);
        }
        Ok(())
    }

    /// Until when a worker may act on a lease that it asked for after `asked_at`
    /// (read *before* the request was sent): `t0 + duration·(1−ρ) − δ`.
    pub fn deadline(&self, asked_at: Boottime) -> Boottime {
        self.trusted(asked_at, self.duration)
    }

    /// Until when a worker may act on a heartbeat that it sent after `asked_at`:
    /// `t0 + ttl·(1−ρ) − δ`.
    pub fn session_deadline(&self, asked_at: Boottime) -> Boottime {
        self.trusted(asked_at, self.session_ttl)
    }

    fn trusted(&self, asked_at: Boottime, duration: Duration) -> Boottime {
        asked_at + duration.mul_f64((1.0 - self.drift).clamp(0.0, 1.0)) - self.freeze_margin
    }

    /// `G`, or nothing where that rule is broken on purpose.
    pub(crate) fn lock_delay(&self) -> Duration {
        if mutation::is_on(Mutation::NoLockDelay) {
            Duration::ZERO
        } else {
            self.lock_delay
        }
    }
}

/// Whether a lease is over for everybody: `read_time > leaseUntil + G`.
pub fn is_over(lease_until: StoreTime, read_time: StoreTime, config: &LeaseConfig) -> bool {
    lease_until
        .checked_add(config.lock_delay())
        .is_some_and(|end| read_time > end)
}

/// A lease that this worker session holds on an account.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountLease {
    /// The account.
    pub account_id: AccountId,
    /// The epoch that the claim began.
    pub epoch: i64,
    /// The worker session that holds it: this one.
    pub worker_session: WorkerSessionId,
    /// When it was claimed, in store time.
    pub claimed_at: StoreTime,
    /// Until when others leave it alone, in store time.
    pub lease_until: StoreTime,
    /// Until when this worker may act on it, by its own monotonic clock.
    pub deadline: Boottime,
}

/// The two writes that create an account, neither of which must exist: its
/// document, with the lease fields of an account that nobody ever owned added
/// to the given ones, and its head at epoch 0, with `head_fields` (the wrapped
/// keys) added. It is wanted unless the given fields say otherwise.
pub fn create_account(
    account_id: &AccountId,
    mut account_fields: Fields,
    mut head_fields: Fields,
) -> [Write; 2] {
    account_fields.extend(unowned());
    account_fields.insert(LEASE_EPOCH_FIELD.to_owned(), Value::Int(0));
    account_fields.insert(RELEASED_EPOCH_FIELD.to_owned(), Value::Int(0));
    account_fields.insert(SHARD_FIELD.to_owned(), Value::Int(shard::of(account_id)));
    account_fields
        .entry(DESIRED_FIELD.to_owned())
        .or_insert_with(|| WANTED[0].into());
    head_fields.insert(EPOCH_FIELD.to_owned(), Value::Int(0));
    head_fields.insert(WORKER_SESSION_FIELD.to_owned(), Value::Null);
    [
        Write::Set {
            path: account_id.account_path(),
            fields: account_fields,
            precondition: Precondition::Absent,
        },
        Write::Set {
            path: account_id.head_path(),
            fields: head_fields,
            precondition: Precondition::Absent,
        },
    ]
}

/// The account's fields under a claim.
pub(crate) fn claimed(
    me: &WorkerIdentity,
    epoch: i64,
    nonce: &str,
    claimed_at: StoreTime,
    lease_until: StoreTime,
) -> Fields {
    named([
        (CLAIMED_BY_FIELD, Value::Text(me.name.clone())),
        (CLAIMED_AT_FIELD, Value::Time(claimed_at)),
        (LEASE_UNTIL_FIELD, Value::Time(lease_until)),
        (
            LEASE_SESSION_FIELD,
            Value::Text(me.session_id.as_str().to_owned()),
        ),
        (LEASE_EPOCH_FIELD, Value::Int(epoch)),
        (CLAIM_NONCE_FIELD, Value::Text(nonce.to_owned())),
        (HANDOFF_FIELD, Value::Null),
    ])
}

/// The head's fields under a claim.
pub(crate) fn head(me: &WorkerIdentity, epoch: i64) -> Fields {
    named([
        (EPOCH_FIELD, Value::Int(epoch)),
        (
            WORKER_SESSION_FIELD,
            Value::Text(me.session_id.as_str().to_owned()),
        ),
    ])
}

/// The account's fields after an orderly release; `to` is to have it next.
pub(crate) fn released(epoch: i64, to: Option<&WorkerSessionId>) -> Fields {
    let mut fields = unowned();
    fields.insert(RELEASED_EPOCH_FIELD.to_owned(), Value::Int(epoch));
    fields.insert(
        HANDOFF_FIELD.to_owned(),
        to.map(WorkerSessionId::as_str).into(),
    );
    fields
}

fn unowned() -> Fields {
    named([
        (CLAIMED_BY_FIELD, Value::Null),
        (CLAIMED_AT_FIELD, Value::Null),
        (LEASE_UNTIL_FIELD, Value::Null),
        (LEASE_SESSION_FIELD, Value::Null),
        (HANDOFF_FIELD, Value::Null),
    ])
}

pub(crate) fn named<const N: usize>(fields: [(&str, Value); N]) -> Fields {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_go_together_and_broken_relations_are_named() {
        let config = LeaseConfig::default();
        assert_eq!(config.check(), Ok(()));
        let longer = LeaseConfig {
            refresh: Duration::from_secs(151),
            ..config.clone()
        };
        assert_eq!(longer.check(), Err(LeaseConfigError::RefreshTooLong));
        let margin = LeaseConfig {
            freeze_margin: Duration::from_millis(2_500),
            ..config.clone()
        };
        assert_eq!(margin.check(), Err(LeaseConfigError::MarginTooLong));
        let delay = LeaseConfig {
            lock_delay: Duration::from_secs(1),
            ..config.clone()
        };
        assert_eq!(delay.check(), Err(LeaseConfigError::LockDelayTooShort));
        let slow = LeaseConfig {
            heartbeat: Duration::from_millis(2_300),
            ..config.clone()
        };
        assert_eq!(slow.check(), Err(LeaseConfigError::HeartbeatTooLong));
        let short = LeaseConfig {
            duration: Duration::from_secs(12),
            refresh: Duration::from_secs(5),
            ..config.clone()
        };
        assert_eq!(short.check(), Err(LeaseConfigError::LeaseTooShort));
        for drift in [-0.1, 0.1, f64::NAN] {
            let drifting = LeaseConfig {
                drift,
                ..config.clone()
            };
            assert_eq!(drifting.check(), Err(LeaseConfigError::DriftOutOfRange));
        }
    }

    #[test]
    fn an_owner_stops_before_others_may_begin() {
        let config = LeaseConfig::default();
        let asked_at = Boottime::from_duration(Duration::from_secs(1_000));
        let stops = config.deadline(asked_at) - asked_at;
        let until = StoreTime::from_micros(0)
            .checked_add(config.duration)
            .unwrap();
        assert!(stops < config.duration);
        assert!(!is_over(until, until, &config));
        let after = until.checked_add(config.lock_delay).unwrap();
        assert!(!is_over(until, after, &config));
        assert!(is_over(
            until,
            after.checked_add(Duration::from_micros(1)).unwrap(),
            &config
        ));
    }
}
