//! The standing faults, and the questions that the server asks at each point.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Fault, FaultKind, Interruption, MessagePoint, Stage};

/// More standing faults than any test has use for.
pub const FAULTS_MAX: usize = 1000;

/// Why a fault was not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FaultError {
    #[error("at this point the server does not know the account yet: leave `account` out")]
    AccountUnknown,
    #[error("a clock or a version is one for all: leave `account` and `times` out")]
    OneClock,
    #[error("more than {FAULTS_MAX} faults")]
    TooMany,
}

/// Names a fault for as long as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a `<failure>` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: u16,
    pub(crate) code: Option<u16>,
    pub(crate) expire: Option<u64>,
}

/// The standing faults, oldest first. The oldest that applies counts, and is
/// used up by being asked for.
#[derive(Debug, Default)]
pub struct FaultBook {
    faults: Vec<(FaultId, Fault)>,
    next: u64,
}

impl FaultBook {
    /// Takes a fault in.
    ///
    /// # Errors
    /// An account where none is known yet → [`FaultError::AccountUnknown`]; a
    /// limited clock → [`FaultError::OneClock`]; [`FaultError::TooMany`].
    pub fn add(&mut self, fault: Fault) -> Result<FaultId, FaultError> {
        use FaultKind::{Clock, Drop, LeastVersion, RefuseTcp, Stall};
        use Stage::{Accept, Handshake};
        let is_early = matches!(
            fault.kind,
            RefuseTcp
                | Stall {
                    stage: Accept | Handshake
                }
                | Drop {
                    stage: Accept | Handshake
                }
        );
        if is_early && fault.account.is_some() {
            return Err(FaultError::AccountUnknown);
        }
        let is_limited = fault.account.is_some() || fault.times.is_some();
        if matches!(fault.kind, Clock { .. } | LeastVersion { .. }) && is_limited {
            return Err(FaultError::OneClock);
        }
        if self.faults.len() >= FAULTS_MAX {
            return Err(FaultError::TooMany);
        }
        self.next += 1;
        let id = FaultId(self.next);
        self.faults.push((id, fault));
        Ok(id)
    }

    /// Everything works again.
    pub fn clear(&mut self) {
        self.faults.clear();
    }

    /// One fault less; false if it does not stand.
    pub fn remove(&mut self, id: FaultId) -> bool {
        let before = self.faults.len();
        self.faults.retain(|(known, _)| *known != id);
        self.faults.len() < before
    }

    /// The standing faults.
    pub fn list(&self) -> &[(FaultId, Fault)] {
        &self.faults
    }

    /// How far off the server's clock is, seconds.
    pub fn clock_offset(&self) -> i64 {
        let offsets = self.faults.iter().filter_map(|(_, fault)| {
            let FaultKind::Clock { offset_seconds } = fault.kind else {
                return None;
            };
            Some(offset_seconds)
        });
        offsets.fold(0, i64::saturating_add)
    }

    /// The least third number of a client version that may log in.
    pub(crate) fn least_revision(&self) -> u32 {
        let revisions = self.faults.iter().filter_map(|(_, fault)| {
            let FaultKind::LeastVersion { revision } = fault.kind else {
                return None;
            };
            Some(revision)
        });
        revisions.max().unwrap_or(0)
    }

    /// Whether a connection that has come to `stage` stalls or drops there.
    pub(crate) fn at_stage(&mut self, account: Option<&str>, stage: Stage) -> Option<Interruption> {
        self.take(account, |kind| match kind {
            FaultKind::Stall { stage: at } if *at == stage => Some(Interruption::Stall),
            FaultKind::Drop { stage: at } if *at == stage => Some(Interruption::Drop),
            FaultKind::RefuseTcp if stage == Stage::Accept => Some(Interruption::Drop),
            FaultKind::RefuseTcp
            | FaultKind::Stall { .. }
            | FaultKind::Drop { .. }
            | FaultKind::Failure { .. }
            | FaultKind::StreamError { .. }
            | FaultKind::Delay { .. }
            | FaultKind::Duplicate
            | FaultKind::Hold
            | FaultKind::Corrupt
            | FaultKind::WithholdAcks
            | FaultKind::DropOnMessage { .. }
            | FaultKind::LeastVersion { .. }
            | FaultKind::Clock { .. } => None,
        })
    }

    /// Whether an account's login is refused.
    pub(crate) fn refuses(&mut self, account: &str) -> Option<Failure> {
        self.take(Some(account), |kind| {
            let FaultKind::Failure {
                reason,
                code,
                expire,
            } = *kind
            else {
                return None;
            };
            Some(Failure {
                reason,
                code,
                expire,
            })
        })
    }

    /// The code of the stream error that follows a login.
    pub(crate) fn breaks(&mut self, account: &str) -> Option<u16> {
        self.take(Some(account), |kind| {
            let FaultKind::StreamError { code } = *kind else {
                return None;
            };
            Some(code)
        })
    }

    /// By how many milliseconds a stanza to the account is late; `None` as the
    /// account of a connection that has not logged in.
    pub(crate) fn delays_ms(&mut self, account: Option<&str>) -> Option<u64> {
        self.take(account, |kind| {
            let FaultKind::Delay { ms } = *kind else {
                return None;
            };
            Some(ms)
        })
    }

    /// Whether a message to the account goes out twice.
    pub(crate) fn duplicates(&mut self, account: &str) -> bool {
        self.takes(account, &FaultKind::Duplicate)
    }

    /// Whether a message to the account's linked device is held back.
    pub(crate) fn holds(&mut self, account: &str) -> bool {
        self.takes(account, &FaultKind::Hold)
    }

    /// Whether a message to the account's linked device is broken.
    pub(crate) fn corrupts(&mut self, account: &str) -> bool {
        self.takes(account, &FaultKind::Corrupt)
    }

    /// Whether the account does not hear that its message was accepted.
    pub(crate) fn withholds_ack(&mut self, account: &str) -> bool {
        self.takes(account, &FaultKind::WithholdAcks)
    }

    /// Where the connection breaks over a message of the account's.
    pub(crate) fn drops_on_message(&mut self, account: &str) -> Option<MessagePoint> {
        self.take(Some(account), |kind| {
            let FaultKind::DropOnMessage { point } = *kind else {
                return None;
            };
            Some(point)
        })
    }

    fn takes(&mut self, account: &str, wanted: &FaultKind) -> bool {
        let taken = self.take(Some(account), |kind| (kind == wanted).then_some(()));
        taken.is_some()
    }

    /// The first fault that applies to `account` and that `pick` wants, used
    /// once more by this.
    fn take<T>(
        &mut self,
        account: Option<&str>,
        pick: impl Fn(&FaultKind) -> Option<T>,
    ) -> Option<T> {
        let applies = |fault: &Fault| match &fault.account {
            Some(wanted) => account == Some(wanted),
            None => true,
        };
        let (at, picked) = self
            .faults
            .iter()
            .enumerate()
            .find_map(|(at, (_, fault))| {
                let picked = applies(fault).then(|| pick(&fault.kind)).flatten()?;
                Some((at, picked))
            })?;
        if let Some(times) = &mut self.faults[at].1.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.faults.remove(at);
            }
        }
        Some(picked)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_fault_is_used_up() {
        let mut book = FaultBook::default();
        let mut reason = {
            book.add(Fault::new(FaultKind::failure(503)).times(2))
                .unwrap();
            book.add(Fault::new(FaultKind::failure(401)).for_account("1"))
                .unwrap();
            move |account| book.refuses(account).map(|failure| failure.reason)
        };
        assert_eq!(reason("2"), Some(503));
        assert_eq!(reason("1"), Some(503));
        assert_eq!(reason("2"), None);
        assert_eq!(reason("1"), Some(401));
        assert_eq!(reason("1"), Some(401));
    }

    #[test]
    fn an_account_cannot_be_meant_before_it_is_known() {
        let mut book = FaultBook::default();
        let stage = Stage::Handshake;
        for kind in [FaultKind::RefuseTcp, FaultKind::Stall { stage }] {
            let added = book.add(Fault::new(kind).for_account("1"));
            assert_eq!(added, Err(FaultError::AccountUnknown));
        }
    }

    #[test]
    fn a_clock_goes_right_again_when_its_fault_is_gone() {
        let mut book = FaultBook::default();
        let offset_seconds = -3600;
        let id = book
            .add(Fault::new(FaultKind::Clock { offset_seconds }))
            .unwrap();
        assert_eq!(book.clock_offset(), -3600);
        assert!(book.remove(id) && !book.remove(id));
        assert_eq!(book.clock_offset(), 0);
    }
}
