//! What a seed stands for: how large the cluster is, and what befalls it when.
//!
//! Drawn whole before the run begins, so that nothing that happens changes what
//! is to come.

use std::ops::Range;
use std::time::Duration;

use coordinator_lib::rng::{Rng, SeededRng};

/// Something that befalls the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; a worker of the same name comes back after this, if at all.
    Kill {
        /// Until it is back.
        back_after: Option<Duration>,
    },
    /// SIGKILL of half the fleet at once; as many new ones come.
    KillHalf,
    /// SIGTERM; a worker of the same name comes in its place, if at all.
    Drain {
        /// Whether one comes.
        replaced: bool,
    },
    /// A new worker.
    Join,
    /// So many new workers, which are drained again after a while.
    Swell(u32),
    /// SIGSTOP, and SIGCONT after this.
    Stop(Duration),
    /// The work's runtime hangs; the heartbeat's thread does not.
    Block(Duration),
    /// Requests or answers of one client or both, or all of it, are cut off.
    Cut {
        /// Requests.
        there: bool,
        /// Answers.
        back: bool,
        /// The work's client, not the heartbeat's.
        work_alone: bool,
        /// How long.
        time: Duration,
    },
    /// The store answers this worker slowly for a while.
    Slow(Duration, Duration),
    /// The store is down for everybody.
    Outage {
        /// It says nothing, instead of refusing.
        hangs: bool,
        /// How long.
        time: Duration,
    },
    /// The time of day jumps.
    WallJump(i64),
    /// Somebody edits an account.
    Edit(Edit),
}

/// What somebody does to an account's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// `claimedBy = null`.
    Unclaim,
    /// `leaseUntil` in a year.
    LeaseFarAhead,
    /// All fields of the lease but the epoch.
    NullAll,
    /// `desired = stopped`, and `running` again half a minute later.
    StopAndStart,
}

impl Fault {
    /// What it is called in counts.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill { back_after: None } => "kill",
            Fault::Kill { .. } => "kill, back under the same name",
            Fault::KillHalf => "kill of half the fleet",
            Fault::Drain { .. } => "drain",
            Fault::Join => "join",
            Fault::Swell(_) => "swell",
            Fault::Stop(_) => "stop",
            Fault::Block(_) => "executor blocked",
            Fault::Cut {
                work_alone: true, ..
            } => "partition of the work's client",
            Fault::Cut {
                there: true,
                back: true,
                ..
            } => "partition",
            Fault::Cut { there: true, .. } => "partition, requests only",
            Fault::Cut { .. } => "partition, answers only",
            Fault::Slow(..) => "slow store",
            Fault::Outage { .. } => "store down",
            Fault::WallJump(_) => "wall clock jumps",
            Fault::Edit(Edit::Unclaim) => "edit: claimedBy = null",
            Fault::Edit(Edit::LeaseFarAhead) => "edit: leaseUntil far ahead",
            Fault::Edit(Edit::NullAll) => "edit: all lease fields null",
            Fault::Edit(Edit::StopAndStart) => "edit: stopped and started",
        }
    }

    /// How long after it began its direct effect ends.
    pub fn lasts(self) -> Duration {
        match self {
            Fault::Kill { back_after } => back_after.unwrap_or(BACK_AFTER),
            Fault::KillHalf => BACK_AFTER_MAX,
            Fault::Drain { .. } => DRAIN_LIMIT,
            Fault::Block(time) => time + Duration::from_secs(4),
            Fault::Stop(time)
            | Fault::Slow(_, time)
            | Fault::Cut { time, .. }
            | Fault::Outage { time, .. } => time,
            Fault::Swell(_) => SWELL + DRAIN_LIMIT,
            Fault::Edit(Edit::StopAndStart) => STOPPED,
            Fault::Join
            | Fault::WallJump(_)
            | Fault::Edit(Edit::Unclaim | Edit::LeaseFarAhead | Edit::NullAll) => Duration::ZERO,
        }
    }
}

/// When somebody comes back after the last worker was killed.
pub const BACK_AFTER: Duration = Duration::from_secs(20);

/// By when all are back after half the fleet was killed.
pub const BACK_AFTER_MAX: Duration = Duration::from_secs(30);

/// How long a drain may take: a pod's grace period, less a little.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// How long additional workers stay.
pub const SWELL: Duration = Duration::from_secs(60);

/// How long an account that is stopped stays so.
pub const STOPPED: Duration = Duration::from_secs(30);

/// A fault and when it comes.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// After the beginning.
    pub at: Duration,
    /// What.
    pub fault: Fault,
    /// Picks the worker or the account that it befalls.
    pub pick: u64,
}

/// What befalls a cluster most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Anything.
    Mixed,
    /// Workers are cut off for about as long as a session lives, while frames
    /// take long to the server: what the lock delay is for.
    Partitions,
    /// Workers are stopped while the store answers slowly: what stamping before
    /// the request is for.
    Stops,
    /// The work is cut off for longer than a lease, the heartbeat is not, and
    /// somebody wipes leases: what the account's own deadline is for.
    LongCuts,
    /// Nothing but outages: then nothing may move.
    Outages,
}

impl Theme {
    /// All of them.
    pub const ALL: [Theme; 5] = [
        Theme::Mixed,
        Theme::Partitions,
        Theme::Stops,
        Theme::LongCuts,
        Theme::Outages,
    ];

    /// What it is called in counts.
    pub fn name(self) -> &'static str {
        match self {
            Theme::Mixed => "mixed",
            Theme::Partitions => "partitions",
            Theme::Stops => "stops",
            Theme::LongCuts => "long-cuts",
            Theme::Outages => "outages",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.name() == name)
    }
}

/// What works for the accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The worker's own supervisor and account tasks, over an engine that stands
    /// in for WhatsApp's.
    Worker,
    /// A stand-in for both, which does less and is quick.
    StandIn,
}

impl Work {
    /// Both.
    pub const ALL: [Work; 2] = [Work::Worker, Work::StandIn];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Work::Worker => "worker",
            Work::StandIn => "stand-in",
        }
    }
}

/// In clusters of fewer workers than this some seeds run the worker itself.
const SMALL: u64 = 6;

/// One of so many of them.
const WITH_WORKER: u64 = 16;

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Workers at the beginning.
    pub workers: u32,
    /// Accounts.
    pub accounts: u32,
    /// Accounts that each worker owns at most.
    pub capacity: u32,
    /// Whether there is less room than accounts.
    pub is_short: bool,
    /// Requests in a thousand that something happens to, while faults last.
    pub trouble_permille: u64,
    /// By how many millionths clocks are fast or slow at most.
    pub rate_ppm_max: u64,
    /// `ρ`.
    pub drift: f64,
    /// What befalls it most.
    pub theme: Theme,
    /// What works for the accounts.
    pub work: Work,
    /// In the order of their times.
    pub faults: Vec<Planned>,
    /// When everything is mended.
    pub mended_at: Duration,
}

/// Accounts in the largest cluster.
const ACCOUNTS_MAX: u64 = 300;

/// Workers have started, and claimed, by then.
const SETTLED: u64 = 30;

impl Plan {
    /// The plan of a seed, with the theme and the work that are asked for or
    /// those of its own.
    pub fn draw(seed: u64, theme: Option<Theme>, work: Option<Work>) -> Self {
        let rng = SeededRng::new(seed ^ 0x706c_616e);
        let workers = match rng.range(0..1_000) {
            0..3 => 100,
            3..20 => rng.range(20..40),
            20..120 => rng.range(6..13),
            _ => rng.range(2..6),
        };
        let accounts = (workers * rng.range(1..6)).clamp(2, ACCOUNTS_MAX);
        let is_short = rng.range(0..20) == 0;
        let fair = accounts.div_ceil(workers);
        let capacity = if is_short {
            (accounts / (workers + 1)).max(1)
        } else {
            fair + rng.range(0..12)
        };
        let (rate_ppm_max, drift) = match rng.range(0..4) {
            0 => (0, 0.001),
            1 => (1_000, 0.001),
            _ => (10_000, 0.01),
        };
        let own_theme = match rng.range(0..12) {
            0..6 => Theme::Mixed,
            6..8 => Theme::Partitions,
            8..10 => Theme::Stops,
            10 => Theme::LongCuts,
            _ => Theme::Outages,
        };
        let theme = theme.unwrap_or(own_theme);
        let has_trouble = theme != Theme::Outages && rng.range(0..3) > 0;
        let mut faults = Vec::new();
        match theme {
            Theme::Mixed => {
                let most = if workers > 20 { 8 } else { 12 };
                several(&rng, 2..most, 240, &mut faults, |rng| fault(rng, workers));
            }
            Theme::Partitions => several(&rng, 5..14, 240, &mut faults, partition),
            Theme::Stops => {
                several(&rng, 2..5, 150, &mut faults, |rng| {
                    let by = Duration::from_millis(rng.range(600..1_400));
                    Fault::Slow(by, Duration::from_secs(rng.range(20..60)))
                });
                several(&rng, 3..8, 150, &mut faults, |rng| {
                    Fault::Stop(Duration::from_millis(rng.range(10_000..40_000)))
                });
            }
            Theme::LongCuts => {
                several(&rng, 1..3, 20, &mut faults, long_cut);
                several(&rng, 1..3, 30, &mut faults, |_| Fault::Edit(Edit::NullAll));
                several(&rng, 1..4, 300, &mut faults, |rng| fault(rng, workers));
            }
            Theme::Outages => outages(&rng, &mut faults),
        }
        faults.sort_by_key(|planned: &Planned| planned.at);
        let ends = faults
            .iter()
            .map(|planned| planned.at + planned.fault.lasts());
        let last = ends.max().unwrap_or(Duration::from_secs(SETTLED));
        Self {
            workers: count(workers),
            accounts: count(accounts),
            capacity: count(capacity),
            is_short,
            trouble_permille: if has_trouble { rng.range(5..80) } else { 0 },
            rate_ppm_max,
            drift,
            theme,
            // Drawn apart, so that all else is the same either way.
            work: work.unwrap_or_else(|| {
                let rng = SeededRng::new(seed ^ 0x776f_726b);
                if workers < SMALL && rng.range(0..WITH_WORKER) == 0 {
                    Work::Worker
                } else {
                    Work::StandIn
                }
            }),
            faults,
            mended_at: last + Duration::from_secs(1),
        }
    }
}

fn outages(rng: &SeededRng, faults: &mut Vec<Planned>) {
    let mut at = 60;
    for _ in 0..rng.range(1..3) {
        let seconds = match rng.range(0..4) {
            0 => rng.range(3..12),
            1 => rng.range(12..30),
            2 => rng.range(30..120),
            _ => rng.range(300..600),
        };
        let time = Duration::from_secs(seconds);
        let hangs = rng.range(0..2) == 0;
        faults.push(Planned {
            at: Duration::from_millis(at * 1_000 + rng.range(0..1_000)),
            fault: Fault::Outage { hangs, time },
            pick: 0,
        });
        at += seconds + rng.range(60..120);
    }
}

/// Draws several faults of a kind, within so many seconds.
fn several(
    rng: &SeededRng,
    count: Range<u64>,
    within: u64,
    faults: &mut Vec<Planned>,
    draw: impl Fn(&SeededRng) -> Fault,
) {
    for _ in 0..rng.range(count) {
        faults.push(Planned {
            at: Duration::from_millis(rng.range(SETTLED * 1_000..(SETTLED + within) * 1_000)),
            fault: draw(rng),
            pick: rng.u64(),
        });
    }
}

fn partition(rng: &SeededRng) -> Fault {
    let way = rng.range(0..4);
    Fault::Cut {
        there: way != 0,
        back: way != 1,
        work_alone: false,
        time: Duration::from_millis(rng.range(9_000..24_000)),
    }
}

fn long_cut(rng: &SeededRng) -> Fault {
    Fault::Cut {
        there: true,
        back: rng.range(0..2) == 0,
        work_alone: true,
        time: Duration::from_secs(rng.range(310..420)),
    }
}

fn fault(rng: &SeededRng, workers: u64) -> Fault {
    let millis = |range| Duration::from_millis(rng.range(range));
    match rng.range(0..34) {
        0..4 => Fault::Kill { back_after: None },
        4..7 => Fault::Kill {
            back_after: Some(millis(50..20_000)),
        },
        7 => Fault::KillHalf,
        8..10 => Fault::Drain {
            replaced: rng.range(0..2) == 0,
        },
        10..12 => Fault::Join,
        12 => Fault::Swell(count(rng.range(2..workers.clamp(3, 20)))),
        13..17 => Fault::Stop(millis(500..70_000)),
        17..19 => Fault::Block(millis(500..40_000)),
        19..25 => {
            let way = rng.range(0..3);
            Fault::Cut {
                there: way != 0,
                back: way != 1,
                work_alone: rng.range(0..4) == 0,
                time: millis(1_000..60_000),
            }
        }
        25..28 => Fault::Slow(millis(200..1_450), millis(5_000..40_000)),
        28 => Fault::Outage {
            hangs: rng.range(0..2) == 0,
            time: millis(1_000..40_000),
        },
        29 => Fault::WallJump([-3_600, 3_600][usize::from(rng.range(0..2) == 0)]),
        30 => Fault::Edit(Edit::Unclaim),
        31 => Fault::Edit(Edit::LeaseFarAhead),
        32 => Fault::Edit(Edit::NullAll),
        _ => Fault::Edit(Edit::StopAndStart),
    }
}

fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
