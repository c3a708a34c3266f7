//! What happens when: a schedule that follows from a seed alone.
//!
//! Kinds are dealt from a shuffled deck, so that a run of some minutes has all of
//! them. Of the workers, one at least is always left alone: what is shown is
//! that others take over, not that nobody can. Everything else may coincide.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "most tables of a kind concern a few of them"
)]

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

use crate::options::StoreKind;
use crate::stage::WORKERS;

/// Before the first: everybody has begun to chat.
const CALM: Duration = Duration::from_secs(4);

/// What the schedule depends on besides its seed.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Where accounts are kept.
    pub(crate) store: StoreKind,
    /// Everything has begun by then.
    pub(crate) length: Duration,
    /// How many accounts there are.
    pub(crate) accounts: usize,
    /// Only these kinds, by name; all if there are none.
    pub(crate) only: Vec<String>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// SIGKILL; it starts again.
    Kill,
    /// SIGSTOP, and SIGCONT: for less or more than its session lives.
    Stop,
    /// SIGTERM; it starts again.
    Terminate,
    /// Another worker joins, and leaves again.
    Join,
    /// The store stands still for all.
    StoreStops,
    /// The store's disk has no room.
    DiskFull,
    /// What a worker sends to the store and hears from it comes late.
    StoreLate,
    /// Some of it has to be sent again.
    StoreLossy,
    /// A worker's requests do not reach the store.
    StoreCutUp,
    /// They do, and no answer comes back.
    StoreCutDown,
    /// As for the store.
    WhatsappLate,
    /// As for the store.
    WhatsappLossy,
    /// A worker's frames do not reach WhatsApp.
    WhatsappCutUp,
    /// They do, and nothing comes back.
    WhatsappCutDown,
    /// WhatsApp ends one account's connection.
    StreamError,
    /// WhatsApp ends all connections at once.
    MassDisconnect,
    /// WhatsApp refuses some logins: 503.
    Refusals,
    /// Messages are delivered twice.
    Duplicates,
    /// Messages arrive broken: they have to be asked for again.
    Corruption,
    /// The connection breaks before WhatsApp has taken a message.
    DropBeforeAccept,
    /// It breaks after that, and before the worker hears of it.
    DropBeforeAck,
    /// Messages are taken, and nobody is told.
    WithheldAcks,
}

impl Kind {
    const ALL: [Kind; 22] = [
        Kind::Kill,
        Kind::Stop,
        Kind::Terminate,
        Kind::Join,
        Kind::StoreStops,
        Kind::DiskFull,
        Kind::StoreLate,
        Kind::StoreLossy,
        Kind::StoreCutUp,
        Kind::StoreCutDown,
        Kind::WhatsappLate,
        Kind::WhatsappLossy,
        Kind::WhatsappCutUp,
        Kind::WhatsappCutDown,
        Kind::StreamError,
        Kind::MassDisconnect,
        Kind::Refusals,
        Kind::Duplicates,
        Kind::Corruption,
        Kind::DropBeforeAccept,
        Kind::DropBeforeAck,
        Kind::WithheldAcks,
    ];

    /// The name in reports and on command lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::Stop => "stop",
            Kind::Terminate => "terminate",
            Kind::Join => "join",
            Kind::StoreStops => "store_stops",
            Kind::DiskFull => "disk_full",
            Kind::StoreLate => "store_late",
            Kind::StoreLossy => "store_lossy",
            Kind::StoreCutUp => "store_cut_up",
            Kind::StoreCutDown => "store_cut_down",
            Kind::WhatsappLate => "whatsapp_late",
            Kind::WhatsappLossy => "whatsapp_lossy",
            Kind::WhatsappCutUp => "whatsapp_cut_up",
            Kind::WhatsappCutDown => "whatsapp_cut_down",
            Kind::StreamError => "stream_error",
            Kind::MassDisconnect => "mass_disconnect",
            Kind::Refusals => "refusals",
            Kind::Duplicates => "duplicates",
            Kind::Corruption => "corruption",
            Kind::DropBeforeAccept => "drop_before_accept",
            Kind::DropBeforeAck => "drop_before_ack",
            Kind::WithheldAcks => "withheld_acks",
        }
    }

    fn is_in(self, setting: &Setting) -> bool {
        let is_named = setting.only.iter().any(|name| name == self.name());
        let is_possible = match self {
            Kind::DiskFull => setting.store == StoreKind::Sqlite,
            // An embedded store has no link.
            Kind::StoreLate | Kind::StoreLossy | Kind::StoreCutUp | Kind::StoreCutDown => {
                setting.store == StoreKind::Firestore
            }
            _ => true,
        };
        is_possible && (is_named || setting.only.is_empty())
    }

    /// How often it is in the deck: what workers are there to survive more often.
    fn weight(self) -> usize {
        match self {
            Kind::Kill => 4,
            Kind::Stop => 3,
            Kind::Terminate => 2,
            _ => 1,
        }
    }

    /// Whom it happens to.
    fn concerns(self) -> Concerns {
        match self {
            Kind::Kill
            | Kind::Stop
            | Kind::Terminate
            | Kind::StoreLate
            | Kind::StoreLossy
            | Kind::StoreCutUp
            | Kind::StoreCutDown
            | Kind::WhatsappLate
            | Kind::WhatsappLossy
            | Kind::WhatsappCutUp
            | Kind::WhatsappCutDown => Concerns::Worker,
            Kind::StreamError
            | Kind::Duplicates
            | Kind::Corruption
            | Kind::DropBeforeAccept
            | Kind::DropBeforeAck
            | Kind::WithheldAcks => Concerns::Account,
            Kind::Join
            | Kind::StoreStops
            | Kind::DiskFull
            | Kind::MassDisconnect
            | Kind::Refusals => Concerns::All,
        }
    }

    /// How long it lasts, in milliseconds.
    fn lasts(self) -> std::ops::Range<u64> {
        match self {
            Kind::Kill => 1_000..20_000,
            // A session is over after 12 s.
            Kind::Stop => 2_000..25_000,
            Kind::Terminate => 500..8_000,
            Kind::Join => 10_000..30_000,
            Kind::StoreStops => 1_000..15_000,
            Kind::DiskFull => 1_000..8_000,
            Kind::StoreLate
            | Kind::StoreLossy
            | Kind::StoreCutUp
            | Kind::StoreCutDown
            | Kind::WhatsappLate
            | Kind::WhatsappLossy
            | Kind::WhatsappCutUp
            | Kind::WhatsappCutDown => 3_000..25_000,
            Kind::StreamError | Kind::MassDisconnect => 0..1,
            Kind::Refusals
            | Kind::Duplicates
            | Kind::Corruption
            | Kind::DropBeforeAccept
            | Kind::DropBeforeAck
            | Kind::WithheldAcks => 5_000..20_000,
        }
    }
}

enum Concerns {
    Worker,
    Account,
    All,
}

/// Whom something happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// A worker of [`WORKERS`].
    Worker(usize),
    /// An account, in the order of their linking.
    Account(usize),
    /// Everybody.
    All,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Worker(number) => f.write_str(WORKERS[*number]),
            Target::Account(number) => write!(f, "account {number}"),
            Target::All => f.write_str("all"),
        }
    }
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// From the beginning.
    pub(crate) at: Duration,
    /// Then it is mended.
    pub(crate) lasts: Duration,
    /// What.
    pub(crate) kind: Kind,
    /// To whom.
    pub(crate) target: Target,
    /// How strong it is, in whatever the kind counts: a per mille of its most.
    pub(crate) strength: u32,
}

/// All of it, in the order of its beginnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What happens.
    pub(crate) events: Vec<Event>,
}

impl Plan {
    /// The schedule of a seed.
    pub(crate) fn new(setting: &Setting, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let kinds = || Kind::ALL.into_iter().filter(|kind| kind.is_in(setting));
        let mut deck: Vec<Kind> = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        let mut at = CALM;
        while at < setting.length && kinds().next().is_some() {
            let kind = match deck.pop() {
                Some(kind) => kind,
                None => {
                    deck = kinds()
                        .flat_map(|kind| std::iter::repeat_n(kind, kind.weight()))
                        .collect();
                    deck.shuffle(&mut rng);
                    continue;
                }
            };
            let lasts = Duration::from_millis(rng.random_range(kind.lasts()));
            let strength = rng.random_range(0..1_000);
            let target = match kind.concerns() {
                Concerns::Worker => {
                    let number = rng.random_range(0..WORKERS.len());
                    may_happen(&events, kind, number, at).then_some(Target::Worker(number))
                }
                Concerns::Account => Some(Target::Account(rng.random_range(0..setting.accounts))),
                Concerns::All => is_over(&events, kind, at).then_some(Target::All),
            };
            if let Some(target) = target {
                events.push(Event {
                    at,
                    lasts,
                    kind,
                    target,
                    strength,
                });
            }
            at += Duration::from_millis(rng.random_range(500..6_000));
        }
        Self { events }
    }
}

/// Whether nothing else happens to this worker at this time that would be in
/// the way, and another is left alone.
fn may_happen(events: &[Event], kind: Kind, worker: usize, at: Duration) -> bool {
    let is_away = |number: usize| {
        events.iter().any(|event| {
            event.target == Target::Worker(number)
                && event.kind.takes_away()
                && at < event.at + event.lasts + event.kind.recovery()
        })
    };
    let is_link_busy = events.iter().any(|event| {
        event.target == Target::Worker(worker)
            && event.kind.link() == kind.link()
            && at < event.at + event.lasts
    });
    let others_away = (0..WORKERS.len())
        .filter(|number| *number != worker && is_away(*number))
        .count();
    let is_enough_left = others_away + 1 < WORKERS.len();
    if kind.takes_away() {
        !is_away(worker) && is_enough_left && !is_link_busy
    } else {
        !is_link_busy
    }
}

fn is_over(events: &[Event], kind: Kind, at: Duration) -> bool {
    !events
        .iter()
        .any(|event| event.kind == kind && at < event.at + event.lasts + event.kind.recovery())
}

impl Kind {
    /// The worker cannot do its work meanwhile.
    fn takes_away(self) -> bool {
        matches!(
            self,
            Kind::Kill
                | Kind::Stop
                | Kind::Terminate
                | Kind::StoreCutUp
                | Kind::StoreCutDown
                | Kind::WhatsappCutUp
                | Kind::WhatsappCutDown
        )
    }

    /// What of a worker it needs for itself.
    fn link(self) -> Link {
        match self {
            Kind::StoreLate | Kind::StoreLossy | Kind::StoreCutUp | Kind::StoreCutDown => {
                Link::Store
            }
            Kind::WhatsappLate
            | Kind::WhatsappLossy
            | Kind::WhatsappCutUp
            | Kind::WhatsappCutDown => Link::Whatsapp,
            _ => Link::Process,
        }
    }

    /// For processes to be there again.
    fn recovery(self) -> Duration {
        Duration::from_secs(match self {
            // A drain takes its time.
            Kind::Terminate | Kind::Join => 8,
            Kind::Kill | Kind::Stop => 2,
            _ => 0,
        })
    }
}

#[derive(PartialEq, Eq)]
enum Link {
    Process,
    Store,
    Whatsapp,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            writeln!(f, "{event}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:8.3}s {:18} {:10} for {:6.3}s, strength {}",
            self.at.as_secs_f64(),
            self.kind.name(),
            self.target.to_string(),
            self.lasts.as_secs_f64(),
            self.strength
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn setting(store: StoreKind) -> Setting {
        Setting {
            store,
            length: Duration::from_secs(20 * 60),
            accounts: 9,
            only: Vec::new(),
        }
    }

    #[test]
    fn a_seed_gives_the_same_schedule_every_time_and_another_gives_another() {
        for store in [StoreKind::Sqlite, StoreKind::Firestore] {
            for seed in [1, 2, 3] {
                let plan = Plan::new(&setting(store), seed);
                assert_eq!(plan, Plan::new(&setting(store), seed));
                assert_ne!(plan, Plan::new(&setting(store), seed + 3));
            }
        }
    }

    #[test]
    fn a_longer_run_begins_as_a_shorter_one() {
        let long = Plan::new(&setting(StoreKind::Sqlite), 7);
        let short = Setting {
            length: Duration::from_secs(90),
            ..setting(StoreKind::Sqlite)
        };
        let short = Plan::new(&short, 7);
        assert_eq!(long.events[..short.events.len()], short.events);
    }

    #[test]
    fn everything_that_a_store_can_suffer_happens() {
        for store in [StoreKind::Sqlite, StoreKind::Firestore] {
            let setting = setting(store);
            let plan = Plan::new(&setting, 1);
            let seen: BTreeSet<Kind> = plan.events.iter().map(|event| event.kind).collect();
            let all: BTreeSet<Kind> = Kind::ALL
                .into_iter()
                .filter(|kind| kind.is_in(&setting))
                .collect();
            assert_eq!(seen, all);
        }
    }

    #[test]
    fn one_worker_is_always_left_alone() {
        for seed in 0..50 {
            let plan = Plan::new(&setting(StoreKind::Firestore), seed);
            for event in &plan.events {
                let away: BTreeSet<usize> = plan
                    .events
                    .iter()
                    .filter(|other| other.kind.takes_away())
                    .filter(|other| other.at <= event.at && event.at < other.at + other.lasts)
                    .filter_map(|other| match other.target {
                        Target::Worker(number) => Some(number),
                        Target::Account(_) | Target::All => None,
                    })
                    .collect();
                assert!(away.len() < WORKERS.len(), "seed {seed}, {event}");
            }
        }
    }
}
