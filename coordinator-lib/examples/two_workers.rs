//! Two workers share out six jobs, each of which only one may do at a time; when
//! alice ends, bob takes over: `cargo run -p coordinator-lib --example two_workers`.

use std::{sync::Arc, time::Duration};

use coordinator_lib::coordinator::{Coordinator, CoordinatorParts};
use coordinator_lib::store::{Fields, MemoryStore, Store};
use coordinator_lib::{clock::SystemClock, identity::AccountId, lease, rng::SystemRng};
use tokio_util::task::TaskTracker;

/// Starts a worker that says what it does.
async fn worker(name: &'static str, store: &Store) -> anyhow::Result<Coordinator> {
    let tasks = TaskTracker::new();
    let (clock, rng) = (SystemClock::shared(), SystemRng::shared());
    let parts = CoordinatorParts::new(name, 18, store.clone(), clock, rng, tasks.clone());
    let coordinator = Coordinator::start(parts).await?;
    let claims = coordinator.clone();
    tasks.clone().spawn(async move {
        while let Some(job) = claims.next().await {
            println!("{name} does {}", job.account());
            tasks.spawn(async move {
                // The work goes here, each step of it behind a pass of a gate.
                let gates = job.gates();
                tokio::select! {
                    _ = gates.wire.closed() => println!("{name} lost {}", job.account()),
                    ask = job.asked() => drop(job.release(ask.reason).await),
                }
            });
        }
    });
    Ok(coordinator)
}

/// Waits until all six jobs are being done by these workers.
async fn all_done_by(workers: &[&Coordinator]) {
    let owned = |worker: &&Coordinator| worker.view().leases.len();
    while workers.iter().map(owned).sum::<usize>() < 6 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let store: Store = Arc::new(MemoryStore::new(SystemClock::shared()));
    for number in 1..=6 {
        let job = AccountId::new(format!("job-{number}"))?;
        let created = lease::create_account(&job, Fields::new(), Fields::new());
        let _ = store.commit(created.into()).await?;
    }
    let (alice, bob) = (worker("alice", &store).await?, worker("bob", &store).await?);
    all_done_by(&[&alice, &bob]).await;
    let orderly = alice.drain(Duration::from_secs(10)).await;
    println!("alice ended in order: {orderly}");
    all_done_by(&[&bob]).await;
    println!("bob does all six");
    Ok(())
}
