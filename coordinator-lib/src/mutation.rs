//! Faults planted on purpose, to show that the checks catch them.
//!
//! A check that cannot fail is none: simulation, chaos and the demo run with
//! one rule of the protocol broken and must then report violations. The switch
//! exists only with the cargo feature `mutations`, which no shipped binary has;
//! without it [`is_on`] is a constant `false`.

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutation {
    /// Commits do not verify the head, and what they are refused for is never
    /// that another owns it.
    SkipFence = 0,
    /// Leases are written but not enforced: gates know no deadline, and the
    /// loss of a lease does not close them.
    SkipGate,
    /// Deadlines count from the reply, not from before the request.
    StampAfterReply,
    /// Others do not wait for the lock delay.
    NoLockDelay,
    /// An account counts as claimed before the store has said so.
    AnnounceEarly,
    /// What a claim reads is read before the claim.
    ReadBeforeClaim,
    /// A sealed worker session may beat again.
    SealNotFinal,
    /// A worker that was sealed goes on under its old session's id.
    ReuseSession,
    /// Gates do not look at the account's own deadline.
    SessionDeadlineAlone,
    /// Sessions that were silent in a store outage are sealed, and leases that ran
    /// out in it claimed, without giving them `ttl + G` to come back.
    ClaimAfterOutage,
    /// A document is overwritten, whatever is there.
    SkipOrder,
    /// Decrypted messages that nobody has stored are not remembered by the next
    /// connection, and one that was decrypted before counts as stored.
    ForgetPending,
    /// An inbound message is acknowledged before it is stored.
    AckBeforeCommit,
    /// A message counts as sent when its frame has left, and not when the server
    /// has it.
    SentBeforeAck,
    /// Every attempt to send a message has an id of its own.
    DropReservedId,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 15] = [
        Mutation::SkipFence,
        Mutation::SkipGate,
        Mutation::StampAfterReply,
        Mutation::NoLockDelay,
        Mutation::AnnounceEarly,
        Mutation::ReadBeforeClaim,
        Mutation::SealNotFinal,
        Mutation::ReuseSession,
        Mutation::SessionDeadlineAlone,
        Mutation::ClaimAfterOutage,
        Mutation::SkipOrder,
        Mutation::ForgetPending,
        Mutation::AckBeforeCommit,
        Mutation::SentBeforeAck,
        Mutation::DropReservedId,
    ];

    /// The name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Mutation::SkipFence => "skip-fence",
            Mutation::SkipGate => "skip-gate",
            Mutation::StampAfterReply => "stamp-after-reply",
            Mutation::NoLockDelay => "no-lock-delay",
            Mutation::AnnounceEarly => "announce-early",
            Mutation::ReadBeforeClaim => "read-before-claim",
            Mutation::SealNotFinal => "seal-not-final",
            Mutation::ReuseSession => "reuse-session",
            Mutation::SessionDeadlineAlone => "session-deadline-alone",
            Mutation::ClaimAfterOutage => "claim-after-outage",
            Mutation::SkipOrder => "skip-order",
            Mutation::ForgetPending => "forget-pending",
            Mutation::AckBeforeCommit => "ack-before-commit",
            Mutation::SentBeforeAck => "sent-before-ack",
            Mutation::DropReservedId => "drop-reserved-id",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mutation| mutation.name() == name)
    }
}

#[cfg(feature = "mutations")]
static PLANTED: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);

/// Breaks these rules from now on, in the whole process, and no others.
#[cfg(feature = "mutations")]
pub fn plant(mutations: &[Mutation]) {
    let bits = mutations
        .iter()
        .fold(0, |bits, mutation| bits | (1 << *mutation as u8));
    PLANTED.store(bits, std::sync::atomic::Ordering::SeqCst);
}

/// Whether a rule is to be broken.
#[cfg(feature = "mutations")]
pub fn is_on(mutation: Mutation) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) & (1 << mutation as u8) != 0
}

/// Whether a rule is to be broken: never, in this build.
#[cfg(not(feature = "mutations"))]
#[inline]
pub const fn is_on(_mutation: Mutation) -> bool {
    false
}
