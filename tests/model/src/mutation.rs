//! What can be broken on purpose, and which invariant has to notice.

use std::fmt;

use crate::config::Config;
use crate::invariants::Invariant;

/// One rule of the protocol that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// A deadline counts from the answer, not from before the request.
    StampAfterReply,
    /// Nobody waits `G` beyond `ttl` or `leaseUntil`.
    DropLockDelay,
    /// An owner does not stop `δ` early.
    DropFreezeMargin,
    /// An owner believes that its clock loses nothing.
    IgnoreDrift,
    /// The engine starts when the claim is sent.
    AnnounceBeforeAcknowledgement,
    /// A claim is not made on the versions that it read.
    ClaimUnconditionally,
    /// A claim in doubt is settled by session and epoch alone.
    SettleWithoutNonce,
    /// A renewal writes the lease whoever has it.
    RenewUnconditionally,
    /// A renewal looks at session and epoch, not at the version.
    RenewOnEpochAlone,
    /// A renewal that missed its version counts as made, for the account is still
    /// ours: it was an older attempt that landed.
    CreditMissedRenewal,
    /// The files are read when the claim is sent, not after its answer.
    ReadFilesBeforeClaim,
    /// A worker that restarts takes its old session id.
    ReuseSessionId,
    /// A flush does not verify the head.
    SkipFence,
    /// A flush does not look at the version of the file.
    SkipOrder,
    /// Neither.
    SkipFenceAndOrder,
    /// A block is used while its reservation is under way.
    SendBeforeReservation,
    /// Frames do not look at the deadlines.
    SkipGate,
    /// The gate looks at the deadline of the session, not at the account's.
    SessionDeadlineAlone,
    /// A heartbeat succeeds although the session was sealed.
    ReviveSealed,
    /// `claimedBy = null` is taken for a release, whoever wrote it.
    BareNullRelease,
    /// An account is released while a frame is on its way to the wire.
    ReleaseBeforeDrained,
    /// A session closes while a frame is on its way to the wire.
    CloseBeforeDrained,
}

impl Mutation {
    /// Each of them.
    pub const ALL: [Mutation; 22] = [
        Mutation::StampAfterReply,
        Mutation::DropLockDelay,
        Mutation::DropFreezeMargin,
        Mutation::IgnoreDrift,
        Mutation::AnnounceBeforeAcknowledgement,
        Mutation::ClaimUnconditionally,
        Mutation::SettleWithoutNonce,
        Mutation::RenewUnconditionally,
        Mutation::RenewOnEpochAlone,
        Mutation::CreditMissedRenewal,
        Mutation::ReadFilesBeforeClaim,
        Mutation::ReuseSessionId,
        Mutation::SkipFence,
        Mutation::SkipOrder,
        Mutation::SkipFenceAndOrder,
        Mutation::SendBeforeReservation,
        Mutation::SkipGate,
        Mutation::SessionDeadlineAlone,
        Mutation::ReviveSealed,
        Mutation::BareNullRelease,
        Mutation::ReleaseBeforeDrained,
        Mutation::CloseBeforeDrained,
    ];

    /// The run in which it shows: as small as one can be that still does.
    pub const fn config(self) -> Config {
        let timed = Config {
            late: 0,
            ..Config::TIMED
        };
        let config = match self {
            Mutation::StampAfterReply
            | Mutation::DropLockDelay
            | Mutation::DropFreezeMargin
            | Mutation::IgnoreDrift
            | Mutation::AnnounceBeforeAcknowledgement
            | Mutation::ClaimUnconditionally
            | Mutation::RenewUnconditionally
            | Mutation::SkipGate
            | Mutation::SessionDeadlineAlone
            | Mutation::ReviveSealed
            | Mutation::ReleaseBeforeDrained
            | Mutation::CloseBeforeDrained => timed,
            // Two requests about one thing: one given up, one waited for.
            Mutation::SettleWithoutNonce
            | Mutation::RenewOnEpochAlone
            | Mutation::CreditMissedRenewal => Config::TIMED,
            Mutation::BareNullRelease => Config {
                operator: true,
                ..timed
            },
            // Here the names matter.
            Mutation::ReuseSessionId => Config {
                symmetry: false,
                ..timed
            },
            Mutation::ReadFilesBeforeClaim
            | Mutation::SkipFence
            | Mutation::SkipOrder
            | Mutation::SkipFenceAndOrder
            | Mutation::SendBeforeReservation => Config::TIMELESS,
        };
        config.broken(self)
    }

    /// The invariant that has to notice. Others may notice too.
    pub const fn caught_by(self) -> Invariant {
        match self {
            Mutation::AnnounceBeforeAcknowledgement | Mutation::ClaimUnconditionally => {
                Invariant::S0
            }
            Mutation::SkipOrder | Mutation::SkipFenceAndOrder | Mutation::SendBeforeReservation => {
                Invariant::S1Key
            }
            Mutation::ReadFilesBeforeClaim | Mutation::SkipFence => Invariant::S1Fork,
            Mutation::StampAfterReply
            | Mutation::DropLockDelay
            | Mutation::DropFreezeMargin
            | Mutation::IgnoreDrift
            | Mutation::SettleWithoutNonce
            | Mutation::RenewOnEpochAlone
            | Mutation::CreditMissedRenewal
            | Mutation::ReuseSessionId
            | Mutation::SkipGate
            | Mutation::SessionDeadlineAlone
            | Mutation::CloseBeforeDrained => Invariant::S2,
            Mutation::BareNullRelease | Mutation::ReleaseBeforeDrained => Invariant::S3,
            Mutation::RenewUnconditionally | Mutation::ReviveSealed => Invariant::S4,
        }
    }
}

impl fmt::Display for Mutation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match clap::ValueEnum::to_possible_value(self) {
            Some(value) => formatter.pad(value.get_name()),
            None => formatter.pad("unnamed"),
        }
    }
}
