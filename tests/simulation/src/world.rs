//! One run: a cluster, what befalls it, and whether it recovers.
//!
//! Safety is checked at every commit ([`crate::ledger`]) and at every frame
//! ([`crate::server`]). Here is the rest: once everything is mended all wanted
//! accounts are owned within a bound, evenly, and then nothing moves any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use coordinator_lib::coordinator::CoordinatorConfig;
use coordinator_lib::identity::AccountId;
use coordinator_lib::lease;
use coordinator_lib::rng::{Rng, SeededRng};
use coordinator_lib::store::{Fields, Precondition, Value, Write};
use parking_lot::Mutex;
use session::KeyRing;
use tokio_util::task::TaskTracker;

use crate::clock::VirtualClock;
use crate::link::Way;
use crate::plan::{
    BACK_AFTER, BACK_AFTER_MAX, Edit, Fault, Plan, Planned, STOPPED, SWELL, Theme, Work,
};
use crate::post::Post;
use crate::process::Domain;
use crate::record::{Record, Violation};
use crate::sea::Sea;
use crate::server::Server;
use crate::timeline::Timeline;
use crate::worker::{Boot, Fleet, Worker};

mod messages;
mod recovery;

pub(crate) use messages::Cast;

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Workers at the beginning.
    pub workers: u32,
    /// Accounts.
    pub accounts: u32,
    /// What befell it most.
    pub theme: &'static str,
    /// What worked for the accounts.
    pub work: &'static str,
    /// The hash over all events.
    pub hash: u64,
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Transitions by kind.
    pub transitions: BTreeMap<String, u64>,
    /// Messages that the server took.
    pub messages: u64,
    /// From the last fault until all accounts were owned.
    pub owned_after: Option<Duration>,
    /// From then until they were shared out evenly.
    pub even_after: Option<Duration>,
    /// The shortest time on the wire between an epoch that was not released and
    /// the next one.
    pub closest: Option<Duration>,
    /// Virtual time of the whole run.
    pub time: Duration,
}

/// A run under way.
struct World {
    plan: Plan,
    fleet: Fleet,
    accounts: Vec<AccountId>,
    /// Clients.
    tracker: TaskTracker,
    state: Mutex<State>,
}

struct State {
    workers: Vec<Arc<Worker>>,
    rng: SeededRng,
    booted: u64,
    wiped: bool,
    mended: bool,
    /// Requests of clients that were not accepted yet.
    unanswered: u64,
}

/// Runs a seed; with `trace` its events are printed.
pub fn run(seed: u64, theme: Option<Theme>, work: Option<Work>, trace: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing of the machine");
    runtime.block_on(Box::pin(run_plan(
        seed,
        Plan::draw(seed, theme, work),
        trace,
    )))
}

async fn run_plan(seed: u64, plan: Plan, trace: bool) -> Outcome {
    let record = Arc::new(Record::new(trace));
    let timeline = Timeline::new(Arc::clone(&record));
    let clock = Arc::new(VirtualClock::of_the_store(Arc::clone(&timeline)));
    let sea = Sea::new(Arc::clone(&timeline), Arc::clone(&record), clock);
    record.note("plan", format_args!("{plan:?}"));
    let rng = SeededRng::new(seed);
    let accounts: Vec<AccountId> = (0..plan.accounts)
        .map(|number| AccountId::new(format!("a{number:03}")).expect("letters and digits"))
        .collect();
    let pace = accounts
        .iter()
        .map(|account| (account.clone(), pace(&rng, &plan)))
        .collect();
    let mut config = CoordinatorConfig::default();
    config.lease.drift = plan.drift;
    let server = Server::new(Arc::clone(&sea));
    let own = SeededRng::new(seed ^ 0x6361_7374);
    let cast = (plan.work == Work::Worker).then(|| {
        Arc::new(Cast {
            post: Post::new(Arc::clone(&sea), own.u64()),
            keys: Arc::new(KeyRing::generate(&own)),
        })
    });
    let world = Arc::new(World {
        fleet: Fleet {
            sea: Arc::clone(&sea),
            server: Arc::clone(&server),
            config,
            connections: Arc::new(AtomicU64::new(1)),
            pace: Arc::new(pace),
            has_long_frames: plan.theme == Theme::Partitions,
            cast: cast.clone(),
        },
        accounts,
        tracker: TaskTracker::new(),
        state: Mutex::new(State {
            workers: Vec::new(),
            rng,
            booted: 0,
            wiped: false,
            mended: false,
            unanswered: 0,
        }),
        plan,
    });
    for account in &world.accounts {
        let writes = match &cast {
            Some(cast) => cast.account(&own, account),
            None => lease::create_account(account, Fields::new(), Fields::new()).to_vec(),
        };
        let _ = sea.commit_as_operator(writes);
    }
    world.begin();
    world.begin_messages(own.u64());
    timeline.run_for(world.plan.mended_at).await;
    world.mend();
    let (owned_after, even_after) = world.recover().await;
    let closest = world.check_histories();
    if even_after.is_some() {
        world.check_messages();
    }
    world.end();
    Outcome {
        seed,
        workers: world.plan.workers,
        accounts: world.plan.accounts,
        theme: world.plan.theme.name(),
        work: world.plan.work.name(),
        hash: record.hash(),
        violations: record.violations(),
        faults: record.faults(),
        transitions: record.transitions(),
        messages: server.messages(),
        owned_after,
        even_after,
        closest,
        time: Duration::from_nanos(timeline.now()),
    }
}

/// Between two messages of an account: some are busy, many are not.
fn pace(rng: &SeededRng, plan: &Plan) -> Duration {
    let slower = if plan.workers > 20 { 4 } else { 1 };
    let millis = match rng.range(0..6) {
        // Something is nearly always on its way, or nothing yet.
        0..3 if plan.theme == Theme::Partitions => rng.range(50..150),
        _ if plan.theme == Theme::Partitions => rng.range(4_000..15_000),
        0 => rng.range(200..500),
        1..4 => rng.range(1_000..4_000),
        _ => rng.range(8_000..40_000),
    };
    Duration::from_millis(millis * slower)
}

impl World {
    fn begin(self: &Arc<Self>) {
        for number in 0..self.plan.workers {
            let name = format!("w{number}");
            let wait = Duration::from_millis(self.state.lock().rng.range(0..15_000));
            self.later(wait, move |world| world.boot(&name));
        }
        for planned in self.plan.faults.clone() {
            self.later(planned.at, move |world| world.inject(planned));
        }
    }

    /// Lets go of everybody: killed workers go on with nothing, and hold on to all.
    fn end(&self) {
        let workers = std::mem::take(&mut self.state.lock().workers);
        for worker in workers {
            worker.process.end();
        }
        self.fleet.sea.timeline.end();
    }

    fn later(self: &Arc<Self>, wait: Duration, call: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let world = Arc::clone(self);
        let timeline = &self.fleet.sea.timeline;
        timeline.after(wait, None, move || call(&world));
    }

    fn boot(self: &Arc<Self>, name: &str) {
        let boot = {
            let mut state = self.state.lock();
            state.booted += 1;
            let most = self.plan.rate_ppm_max;
            let rate = i64::try_from(state.rng.range(0..2 * most + 1)).unwrap_or(0);
            Boot {
                number: state.booted,
                name: name.to_owned(),
                capacity: self.plan.capacity,
                rate_ppm: rate - i64::try_from(most).unwrap_or(0),
                seed: state.rng.u64() >> 1,
                trouble_permille: if state.mended {
                    0
                } else {
                    self.plan.trouble_permille
                },
            }
        };
        let worker = Worker::start(&self.fleet, boot);
        self.state.lock().workers.push(worker);
    }

    /// Workers that run and were not told to end.
    fn there(&self) -> Vec<Arc<Worker>> {
        let state = self.state.lock();
        let there = state.workers.iter().filter(|worker| worker.is_there());
        there.cloned().collect()
    }

    fn new_name(&self) -> String {
        format!("n{}", self.state.lock().booted)
    }

    fn inject(self: &Arc<Self>, planned: Planned) {
        let Planned { fault, pick, .. } = planned;
        let record = Arc::clone(&self.fleet.sea.record);
        let there = self.there();
        if let Fault::Outage { hangs, time } = fault {
            record.fault(fault.name());
            record.note("store", format_args!("{fault:?}"));
            self.fleet.sea.go_down(hangs);
            self.later(time, |world| {
                world
                    .fleet
                    .sea
                    .record
                    .note("store", format_args!("is up again"));
                world.fleet.sea.come_up();
            });
            return;
        }
        if let Fault::Edit(edit) = fault {
            record.fault(fault.name());
            let index = usize::try_from(pick % self.accounts.len() as u64).unwrap_or(0);
            self.edit(edit, self.accounts[index].clone());
            return;
        }
        if there.is_empty() {
            return;
        }
        let index = usize::try_from(pick % there.len() as u64).unwrap_or(0);
        let victim = Arc::clone(&there[index]);
        record.fault(fault.name());
        record.note(victim.process.name(), format_args!("{fault:?}"));
        match fault {
            Fault::Kill { back_after } => {
                victim.process.kill();
                // Somebody always comes back when the last one is gone.
                let back_after = back_after.or((there.len() == 1).then_some(BACK_AFTER));
                if let Some(wait) = back_after {
                    self.later(wait, move |world| world.boot(victim.process.name()));
                }
            }
            Fault::KillHalf => {
                let half = there.len().div_ceil(2);
                for victim in there.into_iter().cycle().skip(index).take(half) {
                    victim.process.kill();
                    let wait = self.state.lock().rng.jitter(BACK_AFTER_MAX / 2, 0.9);
                    self.later(wait, move |world| world.boot(victim.process.name()));
                }
            }
            Fault::Drain { replaced } => {
                victim.drain(&self.fleet.sea);
                if replaced || there.len() == 1 {
                    self.boot(victim.process.name());
                }
            }
            Fault::Join => {
                let name = self.new_name();
                self.boot(&name);
            }
            Fault::Swell(count) => self.swell(count),
            Fault::Stop(time) => {
                let both = [Domain::Work, Domain::Heartbeat];
                victim.process.stop(&both);
                self.later(time, move |world| {
                    let record = &world.fleet.sea.record;
                    record.note(victim.process.name(), format_args!("goes on"));
                    victim.process.go_on(&both);
                });
            }
            Fault::Block(time) => self.block(victim, time, 30),
            Fault::Cut {
                there,
                back,
                work_alone,
                time,
            } => cut(self, &victim, there, back, work_alone, time),
            Fault::Slow(by, time) => {
                let set = |by| {
                    for link in &victim.links {
                        link.set_slow(by);
                    }
                };
                set(by);
                let victim = Arc::clone(&victim);
                self.later(time, move |_| {
                    for link in &victim.links {
                        link.set_slow(Duration::ZERO);
                    }
                });
            }
            Fault::WallJump(seconds) => victim.clock.jump_wall(seconds),
            Fault::Outage { .. } | Fault::Edit(_) => {
                // Befalls no worker, see above.
            }
        }
    }

    fn swell(self: &Arc<Self>, count: u32) {
        let names: Vec<String> = (0..count)
            .map(|number| format!("s{number}.{}", self.state.lock().booted))
            .collect();
        for name in &names {
            self.boot(name);
        }
        self.later(SWELL, move |world| {
            for worker in world.there() {
                if names.iter().any(|name| name == worker.process.name()) {
                    worker.drain(&world.fleet.sea);
                }
            }
        });
    }

    /// Blocks the work's runtime, once nothing of it is on the wire: the
    /// watchdog would end the process, and this one with it.
    fn block(self: &Arc<Self>, victim: Arc<Worker>, time: Duration, tries: u32) {
        if victim.process.on_wire() > 0 {
            if tries > 0 {
                let wait = Duration::from_millis(103);
                self.later(wait, move |world| world.block(victim, time, tries - 1));
            }
            return;
        }
        self.fleet.sea.record.reached("executor blocked");
        victim.process.stop(&[Domain::Work]);
        self.later(time, move |world| {
            let record = &world.fleet.sea.record;
            record.note(victim.process.name(), format_args!("executor goes on"));
            victim.process.go_on(&[Domain::Work]);
        });
    }

    fn edit(self: &Arc<Self>, edit: Edit, account: AccountId) {
        let sea = &self.fleet.sea;
        sea.record
            .note("operator", format_args!("{edit:?} {account}"));
        let null = |name: &str| (name.to_owned(), Value::Null);
        let fields = match edit {
            Edit::Unclaim => Fields::from([null("claimedBy")]),
            Edit::LeaseFarAhead => {
                let clock = VirtualClock::of_the_store(Arc::clone(&sea.timeline));
                let now = coordinator_lib::clock::Clock::wall(&clock);
                let far = coordinator_lib::store::StoreTime::from_datetime(now)
                    .saturating_add(Duration::from_secs(365 * 24 * 3_600));
                Fields::from([("leaseUntil".to_owned(), Value::Time(far))])
            }
            Edit::NullAll => {
                self.state.lock().wiped = true;
                ["claimedBy", "claimedAt", "leaseUntil", "leaseSession"]
                    .map(null)
                    .into_iter()
                    .collect()
            }
            Edit::StopAndStart => {
                let again = account.clone();
                self.later(STOPPED, move |world| world.want(&again, "running"));
                return self.want(&account, "stopped");
            }
        };
        self.write(&account, fields);
    }

    fn want(&self, account: &AccountId, desired: &str) {
        self.write(
            account,
            Fields::from([("desired".to_owned(), desired.into())]),
        );
    }

    fn write(&self, account: &AccountId, fields: Fields) {
        let write = Write::Update {
            path: account.account_path(),
            fields,
            precondition: Precondition::None,
        };
        let _ = self.fleet.sea.commit_as_operator(vec![write]);
    }

    /// From now on nothing goes wrong any more.
    fn mend(self: &Arc<Self>) {
        self.state.lock().mended = true;
        if let Some(cast) = &self.fleet.cast {
            cast.post.mend();
        }
        self.fleet
            .sea
            .record
            .note("world", format_args!("all is mended"));
        let workers = self.state.lock().workers.clone();
        for worker in &workers {
            for link in &worker.links {
                link.set_trouble(0);
            }
        }
        let needed = if self.plan.is_short {
            1
        } else {
            self.plan.accounts.div_ceil(self.plan.capacity)
        };
        for number in self.there().len()..usize::try_from(needed).unwrap_or(1) {
            self.boot(&format!("m{number}"));
        }
    }
}

/// Cuts a worker off for a while.
fn cut(
    world: &Arc<World>,
    victim: &Arc<Worker>,
    there: bool,
    back: bool,
    work_alone: bool,
    time: Duration,
) {
    let mut ways = Vec::new();
    ways.extend(there.then_some(Way::There));
    ways.extend(back.then_some(Way::Back));
    let links = if work_alone { 1 } else { 2 };
    for link in victim.links.iter().take(links) {
        for way in &ways {
            link.cut(*way);
        }
    }
    let victim = Arc::clone(victim);
    world.later(time, move |world| {
        let record = &world.fleet.sea.record;
        record.note(victim.process.name(), format_args!("is connected again"));
        for link in victim.links.iter().take(links) {
            for way in &ways {
                link.mend(*way);
            }
        }
    });
}
