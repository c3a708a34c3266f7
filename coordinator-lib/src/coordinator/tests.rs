//! Several coordinators on one store, on virtual time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::*;
use crate::claim;
use crate::clock::Clock;
use crate::gate::{CloseReason, GateState};
use crate::history::{self, ClaimReason};
use crate::lease;
use crate::rng::SeededRng;
use crate::spread::SPREAD_FIELD;
use crate::store::{CommitOutcome, DocumentStore, Fault, Fields, MemoryStore, Value};

/// Tokio's paused time as a clock: it moves on when everybody waits.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn boottime(&self) -> Boottime {
        Boottime::from_duration(Duration::from_secs(3_600) + self.0.elapsed())
    }

    fn wall(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600, 0).unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn sleep_until(&self, deadline: Boottime) -> BoxFuture<'static, ()> {
        self.sleep(deadline - self.boottime())
    }
}

struct World {
    clock: SharedClock,
    store: MemoryStore,
    seed: AtomicU64,
    bill: Arc<Bill>,
}

/// A worker that does nothing with its accounts but hold them.
struct Worker {
    coordinator: Coordinator,
    tracker: TaskTracker,
    /// Its store's calls hang.
    partitioned: Arc<AtomicBool>,
    kill: CancellationToken,
    gates: Arc<Mutex<BTreeMap<AccountId, crate::gate::Gates>>>,
}

/// Documents written and read, as Firestore counts them.
#[derive(Default)]
struct Bill {
    writes: AtomicU64,
    reads: AtomicU64,
}

impl Bill {
    fn wrote(&self, count: usize) {
        self.writes.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// A reading that finds nothing costs one, too.
    fn read(&self, count: usize) {
        self.reads.fetch_add(count.max(1) as u64, Ordering::Relaxed);
    }
}

/// A store that can be cut off, and counts.
struct Cut {
    store: MemoryStore,
    off: Arc<AtomicBool>,
    bill: Arc<Bill>,
}

impl Cut {
    async fn wait(&self) {
        if self.off.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait::async_trait]
impl DocumentStore for Cut {
    async fn get(
        &self,
        paths: &[crate::store::Path],
    ) -> Result<crate::store::Snapshot, StoreError> {
        self.wait().await;
        self.bill.read(paths.len());
        self.store.get(paths).await
    }

    async fn query(&self, query: &crate::store::Query) -> Result<crate::store::Page, StoreError> {
        self.wait().await;
        let page = self.store.query(query).await?;
        self.bill.read(page.documents.len());
        Ok(page)
    }

    async fn count(&self, query: &crate::store::Query) -> Result<u64, StoreError> {
        self.store.count(query).await
    }

    async fn commit(&self, writes: Vec<crate::store::Write>) -> Result<CommitOutcome, StoreError> {
        self.wait().await;
        self.bill.wrote(writes.len());
        self.store.commit(writes).await
    }

    async fn commit_each(
        &self,
        writes: Vec<crate::store::Write>,
    ) -> Result<Vec<crate::store::WriteOutcome>, StoreError> {
        self.store.commit_each(writes).await
    }

    async fn watch(&self, query: &crate::store::Query) -> Result<crate::store::Watch, StoreError> {
        self.wait().await;
        let bill = Arc::clone(&self.bill);
        let watch = self.store.watch(query).await?;
        let changes = futures::stream::unfold((watch, bill), |(mut watch, bill)| async move {
            let change = watch.next().await?;
            match &change {
                crate::store::Change::Snapshot(documents) => bill.read(documents.len()),
                crate::store::Change::Changed(_) => bill.read(1),
                crate::store::Change::Removed(_) => {}
            }
            Some((change, (watch, bill)))
        });
        Ok(crate::store::Watch::new(changes))
    }

    async fn ping(&self) -> Result<crate::store::StoreTime, StoreError> {
        self.store.ping().await
    }

    fn backend(&self) -> &'static str {
        "cut"
    }
}

impl World {
    fn new() -> Self {
        let clock: SharedClock = Arc::new(TokioClock(Instant::now()));
        Self {
            store: MemoryStore::new(Arc::clone(&clock)),
            clock,
            seed: AtomicU64::new(1),
            bill: Arc::default(),
        }
    }

    async fn accounts(&self, count: usize) -> Vec<AccountId> {
        self.accounts_with(count, |_| Fields::new()).await
    }

    /// Accounts that belong to so many groups in turn.
    async fn accounts_of(&self, groups: usize, count: usize) -> Vec<AccountId> {
        let group = |number| Value::Text(format!("group {}", number % groups));
        let fields = |number| Fields::from([(SPREAD_FIELD.to_owned(), group(number))]);
        self.accounts_with(count, fields).await
    }

    async fn accounts_with(
        &self,
        count: usize,
        fields: impl Fn(usize) -> Fields,
    ) -> Vec<AccountId> {
        let mut accounts = Vec::new();
        for number in 0..count {
            let account = AccountId::new(format!("account_{number:03}")).unwrap();
            let writes = lease::create_account(&account, fields(number), Fields::new());
            let created = self.store.commit(writes.to_vec()).await.unwrap();
            assert!(matches!(created, CommitOutcome::Committed(_)));
            accounts.push(account);
        }
        accounts
    }

    async fn worker(&self, name: &str, capacity: u32) -> Worker {
        let tracker = TaskTracker::new();
        let partitioned = Arc::new(AtomicBool::new(false));
        let store: Store = Arc::new(Cut {
            store: self.store.clone(),
            off: Arc::clone(&partitioned),
            bill: Arc::clone(&self.bill),
        });
        let kill = CancellationToken::new();
        let own = Arc::clone(&store);
        let heartbeat = HeartbeatRun {
            store: Arc::new(move || {
                let store = Arc::clone(&own);
                Box::pin(async move { Ok(store) })
            }),
            spawn: {
                let (tracker, kill) = (tracker.clone(), kill.clone());
                Arc::new(move |heartbeat| {
                    let kill = kill.clone();
                    tracker.spawn(async move {
                        tokio::select! {
                            () = kill.cancelled() => {}
                            () = heartbeat => {}
                        }
                    });
                })
            },
        };
        let coordinator = Coordinator::start(CoordinatorParts {
            store,
            heartbeat,
            clock: Arc::clone(&self.clock),
            rng: SeededRng::shared(self.seed.fetch_add(1, Ordering::Relaxed)),
            config: CoordinatorConfig::default(),
            name: name.to_owned(),
            capacity,
            version: "test".to_owned(),
            address: None,
            wanted: claim::is_wanted,
            presence: None,
            tracker: tracker.clone(),
        })
        .await
        .unwrap();
        let gates = Arc::new(Mutex::new(BTreeMap::new()));
        tracker.spawn(hold_all(
            coordinator.clone(),
            tracker.clone(),
            Arc::clone(&gates),
            kill.clone(),
        ));
        Worker {
            coordinator,
            tracker,
            partitioned,
            kill,
            gates,
        }
    }

    /// How many accounts of each group a worker has, as the store says.
    async fn groups_of(&self, owner: &str) -> BTreeMap<String, usize> {
        let query = crate::store::Query::new(crate::identity::account_collection());
        let mut groups = BTreeMap::new();
        for document in self.store.query(&query).await.unwrap().documents {
            let text = |field: &str| document.fields.get(field).and_then(Value::as_text);
            if let (Some(found), Some(group)) = (text("claimedBy"), text(SPREAD_FIELD))
                && found == owner
            {
                *groups.entry(group.to_owned()).or_default() += 1;
            }
        }
        groups
    }

    /// Who owns what, as the store says: name → accounts.
    async fn owners(&self) -> BTreeMap<String, usize> {
        let query = crate::store::Query::new(crate::identity::account_collection());
        let mut owners = BTreeMap::new();
        for document in self.store.query(&query).await.unwrap().documents {
            let owner = match document.fields.get("claimedBy") {
                Some(Value::Text(owner)) => owner.clone(),
                _ => "nobody".to_owned(),
            };
            *owners.entry(owner).or_default() += 1;
        }
        owners
    }

    /// Lets time pass until the owners are so; returns how long it took.
    async fn until(
        &self,
        limit_s: u64,
        what: impl Fn(&BTreeMap<String, usize>) -> bool,
    ) -> Duration {
        let started = self.clock.boottime();
        loop {
            let owners = self.owners().await;
            let waited = self.clock.boottime() - started;
            if what(&owners) {
                return waited;
            }
            assert!(waited < Duration::from_secs(limit_s), "{owners:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn history(&self, account: &AccountId) -> Vec<String> {
        let query = history::of(account).unwrap();
        let text = |document: &crate::store::Document, field: &str| {
            document.fields[field].as_text().unwrap_or("-").to_owned()
        };
        let mut entries: Vec<String> = self
            .store
            .query(&query)
            .await
            .unwrap()
            .documents
            .iter()
            .map(|entry| {
                format!(
                    "{} {} {}",
                    text(entry, "worker"),
                    text(entry, "kind"),
                    text(entry, "reason")
                )
            })
            .collect();
        entries.reverse();
        entries
    }
}

async fn hold_all(
    coordinator: Coordinator,
    tracker: TaskTracker,
    gates: Arc<Mutex<BTreeMap<AccountId, crate::gate::Gates>>>,
    kill: CancellationToken,
) {
    while let Some(ownership) = coordinator.next().await {
        let account = ownership.account().clone();
        let own = ownership.gates();
        gates.lock().insert(account.clone(), own.clone());
        let gates = Arc::clone(&gates);
        let kill = kill.clone();
        tracker.spawn(async move {
            tokio::select! {
                biased;
                () = kill.cancelled() => std::mem::forget(ownership),
                _ = own.store.closed() => {}
                ask = ownership.asked() => {
                    // What a session takes to flush.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let _ = ownership.release(ask.reason).await;
                }
            }
            gates.lock().remove(&account);
        });
    }
}

impl Worker {
    /// As SIGKILL does: nothing of it runs any more.
    fn kill(self) {
        self.kill.cancel();
        self.partitioned.store(true, Ordering::SeqCst);
    }

    fn open(&self) -> usize {
        self.gates
            .lock()
            .values()
            .filter(|gates| gates.wire.is_open())
            .count()
    }
}

fn all_owned(owners: &BTreeMap<String, usize>, workers: usize) -> bool {
    !owners.contains_key("nobody") && owners.len() == workers
}

fn balanced(owners: &BTreeMap<String, usize>, workers: usize) -> bool {
    let counts = owners.values().copied();
    all_owned(owners, workers) && counts.clone().max() <= counts.min().map(|least| least + 1)
}

#[tokio::test(start_paused = true)]
async fn a_worker_starts_though_the_store_fails_for_a_moment() {
    let world = World::new();
    world.accounts(1).await;
    world.store.fail_next_commit(Fault::Unavailable);
    world.store.fail_next_commit(Fault::AmbiguousApplied);
    let _alice = world.worker("alice", 18).await;
    world.until(30, |owners| all_owned(owners, 1)).await;
    assert_eq!(world.owners().await["alice"], 1);
}

#[tokio::test(start_paused = true)]
async fn accounts_are_owned_within_seconds_and_evenly() {
    let world = World::new();
    world.accounts(12).await;
    let alice = world.worker("alice", 18).await;
    let took = world.until(30, |owners| all_owned(owners, 1)).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let _bob = world.worker("bob", 18).await;
    let _carol = world.worker("carol", 18).await;
    world.until(60, |owners| balanced(owners, 3)).await;
    // After that nothing moves any more.
    let before = world.owners().await;
    let moves = |history: Vec<String>| history.len();
    let account = AccountId::new("account_000").unwrap();
    let entries = moves(world.history(&account).await);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.owners().await, before);
    assert_eq!(moves(world.history(&account).await), entries);
    assert_eq!(alice.open(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_killed_workers_accounts_are_taken_over_soon_after_ttl_and_lock_delay() {
    let world = World::new();
    let accounts = world.accounts(12).await;
    let alice = world.worker("alice", 18).await;
    let _bob = world.worker("bob", 18).await;
    let _carol = world.worker("carol", 18).await;
    world.until(90, |owners| balanced(owners, 3)).await;
    alice.kill();
    let took = world
        .until(60, |owners| {
            !owners.contains_key("alice") && all_owned(owners, 2)
        })
        .await;
    assert!(
        took > Duration::from_secs(9) && took < Duration::from_secs(17),
        "{took:?}"
    );
    let mut reasons = Vec::new();
    for account in &accounts {
        reasons.extend(world.history(account).await);
    }
    assert_eq!(
        reasons
            .iter()
            .filter(|entry| entry.ends_with("owner_sealed"))
            .count(),
        4
    );
    world.until(60, |owners| balanced(owners, 2)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_shed_is_of_the_group_with_most_accounts() {
    let world = World::new();
    world.accounts_of(4, 16).await;
    let _alice = world.worker("alice", 18).await;
    world.until(30, |owners| all_owned(owners, 1)).await;
    let _bob = world.worker("bob", 18).await;
    let _carol = world.worker("carol", 18).await;
    let _dave = world.worker("dave", 18).await;
    world.until(90, |owners| balanced(owners, 4)).await;
    let groups = world.groups_of("alice").await;
    assert_eq!(groups.len(), 4, "one of each: {groups:?}");
    assert!(groups.values().all(|&count| count == 1), "{groups:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drained_workers_groups_part() {
    let world = World::new();
    world.accounts_of(3, 6).await;
    let alice = world.worker("alice", 18).await;
    world.until(30, |owners| all_owned(owners, 1)).await;
    // Below the time that sessions must have been there before anything is shed.
    let _bob = world.worker("bob", 18).await;
    let _carol = world.worker("carol", 18).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(alice.coordinator.drain(Duration::from_secs(20)).await);
    world.until(30, |owners| balanced(owners, 2)).await;
    for name in ["bob", "carol"] {
        let groups = world.groups_of(name).await;
        assert_eq!(groups.len(), 3, "one of each: {groups:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drained_worker_hands_off_in_under_a_second() {
    let world = World::new();
    let accounts = world.accounts(12).await;
    let alice = world.worker("alice", 18).await;
    let _bob = world.worker("bob", 18).await;
    world.until(90, |owners| balanced(owners, 2)).await;
    let coordinator = alice.coordinator.clone();
    let drained = tokio::time::timeout(
        Duration::from_secs(30),
        coordinator.drain(Duration::from_secs(20)),
    );
    let (orderly, took) = tokio::join!(
        drained,
        world.until(30, |owners| { owners.get("bob") == Some(&12) })
    );
    assert!(orderly.unwrap());
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(coordinator.view().standing, Standing::Closed);
    let handed = {
        let mut handed = 0;
        for account in &accounts {
            let history = world.history(account).await;
            handed += usize::from(
                history
                    .last()
                    .unwrap()
                    .ends_with(ClaimReason::HandedOff.as_str()),
            );
        }
        handed
    };
    assert!(handed >= 6, "{handed}");
    alice.tracker.close();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_cut_off_is_frozen_and_comes_back_as_a_new_session() {
    let world = World::new();
    world.accounts(6).await;
    let alice = world.worker("alice", 18).await;
    world.until(30, |owners| all_owned(owners, 1)).await;
    let _bob = world.worker("bob", 18).await;
    world.until(60, |owners| balanced(owners, 2)).await;
    let first = alice.coordinator.view().me.session_id;
    assert_eq!(alice.open(), 3);
    alice.partitioned.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(11)).await;
    // Before anybody may have sealed it nothing of it passes.
    assert_eq!(alice.open(), 0);
    assert_eq!(alice.coordinator.view().standing, Standing::Suspended);
    let states: Vec<GateState> = alice
        .gates
        .lock()
        .values()
        .map(|gates| gates.wire.state())
        .collect();
    assert_eq!(states, [GateState::Suspended; 3]);
    world
        .until(30, |owners| owners.get("bob") == Some(&6))
        .await;
    alice.partitioned.store(false, Ordering::SeqCst);
    world.until(60, |owners| balanced(owners, 2)).await;
    assert_ne!(alice.coordinator.view().me.session_id, first);
    assert_eq!(alice.open(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_outage_moves_nothing() {
    let world = World::new();
    let accounts = world.accounts(6).await;
    let alice = world.worker("alice", 18).await;
    let bob = world.worker("bob", 18).await;
    world.until(90, |owners| balanced(owners, 2)).await;
    let before = world.owners().await;
    // Shorter than the gates' patience, then past every lease.
    for outage_s in [30, 360] {
        for worker in [&alice, &bob] {
            worker.partitioned.store(true, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_secs(outage_s)).await;
        assert_eq!(alice.open() + bob.open(), 0);
        for worker in [&alice, &bob] {
            worker.partitioned.store(false, Ordering::SeqCst);
        }
        let started = world.clock.boottime();
        while alice.open() + bob.open() < 6 {
            assert!(world.clock.boottime() - started < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(world.owners().await, before);
    }
    for account in &accounts {
        let history = world.history(account).await;
        let expired = history.iter().any(|entry| entry.ends_with("expired"));
        assert!(!expired, "{history:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn capacity_is_a_limit_and_what_is_left_shows_as_free() {
    let world = World::new();
    world.accounts(5).await;
    let alice = world.worker("alice", 3).await;
    world
        .until(30, |owners| owners.get("alice") == Some(&3))
        .await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(world.owners().await.get("alice"), Some(&3));
    assert_eq!(alice.coordinator.view().free, 2);
    let _bob = world.worker("bob", 3).await;
    world.until(30, |owners| all_owned(owners, 2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_account_is_frozen_and_a_stray_one_is_claimed_anew() {
    let world = World::new();
    let accounts = world.accounts(2).await;
    let alice = world.worker("alice", 18).await;
    world.until(30, |owners| all_owned(owners, 1)).await;
    // Another takes one, as if the rules had let it.
    let fields = Fields::from([
        ("leaseSession".to_owned(), Value::from("somebody")),
        ("leaseEpoch".to_owned(), Value::Int(7)),
    ]);
    let write = crate::store::Write::Update {
        path: accounts[0].account_path(),
        fields,
        precondition: crate::store::Precondition::None,
    };
    assert!(world.store.commit(vec![write]).await.is_ok());
    while alice.open() != 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // One whose work ended without a release is this session's all the same.
    for gates in alice.gates.lock().values() {
        gates.store.close(CloseReason::Replaced);
    }
    while !world
        .history(&accounts[1])
        .await
        .iter()
        .any(|entry| entry.ends_with("own"))
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_hour_costs_what_the_design_says() {
    let world = World::new();
    world.accounts(12).await;
    let _alice = world.worker("alice", 18).await;
    let _bob = world.worker("bob", 18).await;
    world.until(120, |owners| balanced(owners, 2)).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (writes, reads) = (count(&world.bill.writes), count(&world.bill.reads));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let writes = count(&world.bill.writes) - writes;
    let reads = count(&world.bill.reads) - reads;
    // 30 renewals an account and 3600 / 2.2 heartbeats a worker.
    let expected = 12.0 * 30.0 + 2.0 * 3_600.0 / 2.2;
    let ratio = writes as f64 / expected;
    println!("an idle hour: {writes} writes ({expected:.0} expected), {reads} reads");
    assert!(
        (0.95..1.05).contains(&ratio),
        "{writes} writes, {expected} expected"
    );
    // Per worker: a neighbour at each heartbeat, the roster every ten seconds,
    // own accounts at their renewals and in sweeps.
    assert!(reads < 2 * 4_000, "{reads} reads");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_ended_a_day_ago_are_removed_and_no_others() {
    let world = World::new();
    let alice = world.worker("alice", 18).await;
    assert!(alice.coordinator.drain(Duration::from_secs(20)).await);
    let _bob = world.worker("bob", 18).await;
    let count = || async {
        let ended = crate::worker_session::ended();
        world.store.count(&ended).await.unwrap()
    };
    tokio::time::sleep(Duration::from_secs(23 * 3_600)).await;
    assert_eq!(count().await, 1);
    tokio::time::sleep(Duration::from_secs(3 * 3_600)).await;
    assert_eq!(count().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_went_back_is_noticed_and_nothing_is_claimed_any_more() {
    let world = World::new();
    let accounts = world.accounts(1).await;
    let alice = world.worker("alice", 18).await;
    world.until(30, |owners| all_owned(owners, 1)).await;
    assert!(!alice.coordinator.view().went_back);
    // Epoch 1 becomes epoch 0 again, as a backup has it.
    let fresh = lease::create_account(&accounts[0], Fields::new(), Fields::new());
    let writes = fresh.map(|write| {
        let crate::store::Write::Set { path, fields, .. } = write else {
            panic!("an account is created by whole documents")
        };
        crate::store::Write::Set {
            path,
            fields,
            precondition: crate::store::Precondition::None,
        }
    });
    assert!(world.store.commit(writes.to_vec()).await.is_ok());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(alice.coordinator.view().went_back);
    assert_eq!(world.owners().await.get("nobody"), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_first_after_an_outage_seals_nobody() {
    let world = World::new();
    world.accounts(6).await;
    let alice = world.worker("alice", 18).await;
    let bob = world.worker("bob", 18).await;
    world.until(90, |owners| balanced(owners, 2)).await;
    let first = alice.coordinator.view().me.session_id;
    let before = world.owners().await;
    for worker in [&alice, &bob] {
        worker.partitioned.store(true, Ordering::SeqCst);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    bob.partitioned.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    alice.partitioned.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(alice.coordinator.view().me.session_id, first);
    assert_eq!(world.owners().await, before);
    assert_eq!(alice.open() + bob.open(), 6);
}

/// To whom each account was given by its last release, in the order of accounts.
async fn named(world: &World, accounts: &[AccountId]) -> Vec<Option<String>> {
    let mut named = Vec::new();
    for account in accounts {
        let entries = world.store.query(&history::of(account).unwrap()).await;
        let entries = entries.unwrap().documents;
        let release = entries
            .iter()
            .find(|entry| entry.fields["kind"].as_text() == Some("released"));
        named.push(release.and_then(|entry| {
            let to = entry.fields["toSession"].as_text();
            to.map(str::to_owned)
        }));
    }
    named
}

#[tokio::test(start_paused = true)]
async fn a_drain_soon_after_a_restart_names_who_is_there() {
    let world = World::new();
    let accounts = world.accounts(12).await;
    let alice = world.worker("alice", 18).await;
    let bob = world.worker("bob", 18).await;
    let carol = world.worker("carol", 18).await;
    world.until(90, |owners| balanced(owners, 3)).await;
    // Bob is restarted: for alice he is still there, and the one with least.
    assert!(bob.coordinator.drain(Duration::from_secs(20)).await);
    let bob = world.worker("bob", 18).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let held: Vec<AccountId> = accounts
        .iter()
        .filter(|account| alice.gates.lock().contains_key(account))
        .cloned()
        .collect();
    assert!(!held.is_empty());
    let (orderly, took) = tokio::join!(
        alice.coordinator.drain(Duration::from_secs(20)),
        world.until(30, |owners| !owners.contains_key("alice")
            && all_owned(owners, 2)),
    );
    assert!(orderly);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let there = [&bob, &carol].map(|worker| worker.coordinator.view().me.session_id);
    for to in named(&world, &held).await {
        let to = to.expect("a taker is named");
        assert!(there.iter().any(|id| id.as_str() == to), "{to}");
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_large_cluster_too_the_one_named_sees_what_it_is_given() {
    let world = World::new();
    let accounts = world.accounts(24).await;
    let mut workers = Vec::new();
    for number in 0..12 {
        workers.push(world.worker(&format!("worker_{number:02}"), 18).await);
    }
    world.until(180, |owners| balanced(owners, 12)).await;
    for worker in workers.drain(..3) {
        let held: Vec<AccountId> = worker.gates.lock().keys().cloned().collect();
        let name = worker.coordinator.view().me.name;
        let (orderly, took) = tokio::join!(
            worker.coordinator.drain(Duration::from_secs(20)),
            world.until(30, |owners| !owners.contains_key(&name)
                && !owners.contains_key("nobody")),
        );
        assert!(orderly);
        assert!(took < Duration::from_secs(1), "{took:?}");
        for account in held {
            let history = world.history(&account).await;
            let last = history.last().unwrap();
            assert!(last.ends_with(ClaimReason::HandedOff.as_str()), "{last}");
        }
    }
    assert_eq!(named(&world, &accounts).await.len(), 24);
}

#[tokio::test(start_paused = true)]
async fn what_a_drain_cannot_give_back_is_taken_up_at_once() {
    let world = World::new();
    let accounts = world.accounts(1).await;
    let alice = world.worker("alice", 18).await;
    world.until(30, |owners| all_owned(owners, 1)).await;
    let _bob = world.worker("bob", 18).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    // Its work ends, and its lease is not given back.
    let gates = alice.gates.lock().get(&accounts[0]).cloned().unwrap();
    gates.store.close(CloseReason::Replaced);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (orderly, took) = tokio::join!(
        alice.coordinator.drain(Duration::from_secs(20)),
        world.until(120, |owners| owners.contains_key("bob")),
    );
    assert!(!orderly, "something was left");
    assert!(took < Duration::from_secs(3), "{took:?}");
    let history = world.history(&accounts[0]).await;
    let last = history.last().unwrap();
    assert!(last.ends_with(ClaimReason::OwnerSealed.as_str()), "{last}");
}

#[tokio::test(start_paused = true)]
async fn an_account_whose_first_release_fails_is_taken_up_again() {
    let world = World::new();
    let accounts = world.accounts(1).await;
    let alice = world.worker("alice", 18).await;
    world.until(30, |owners| all_owned(owners, 1)).await;
    // Its work ends before the first renewal, and nobody gives it back.
    let gates = alice.gates.lock().get(&accounts[0]).cloned().unwrap();
    gates.store.close(CloseReason::Replaced);
    let started = world.clock.boottime();
    while world.history(&accounts[0]).await.len() < 2 {
        assert!(world.clock.boottime() - started < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
