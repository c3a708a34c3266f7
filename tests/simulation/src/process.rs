//! A worker's process: it runs, is stopped, or is dead.
//!
//! A process has two [`Domain`]s, as a worker has: the heartbeat's thread and
//! the runtime of the work. SIGSTOP stops both, an executor that is blocked
//! stops the work alone. What a stopped domain waits for (timers, answers of
//! the store) is held until it goes on; the tasks themselves are untouched, so
//! it goes on exactly where it was. A killed one just never goes on: nothing of
//! it is dropped, as nothing is by SIGKILL.
//!
//! The tasks that the simulation starts are [`Running`]: they are not polled
//! while stopped. Tasks that the coordinator starts by itself cannot be wrapped;
//! all that could wake them is held.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::timeline::{Act, Timeline};

/// A part of a process that may be stopped by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The runtime of the work, with the coordinator.
    Work,
    /// The heartbeat's own thread.
    Heartbeat,
}

thread_local! {
    /// Which domain's task is being polled.
    static DOMAIN: Cell<Domain> = const { Cell::new(Domain::Work) };
}

/// One boot of a worker.
pub struct Process {
    timeline: Arc<Timeline>,
    number: u64,
    name: String,
    alive: AtomicBool,
    /// How often it was stopped.
    stops: AtomicU64,
    /// Calls that have passed a wire gate and are under way.
    on_wire: AtomicU64,
    work: Part,
    heartbeat: Part,
}

#[derive(Default)]
struct Part {
    /// Stops that have not ended.
    stopped: AtomicU64,
    held: Mutex<Vec<Act>>,
    parked: Mutex<Vec<Waker>>,
}

impl Process {
    /// A process that runs.
    pub fn new(timeline: Arc<Timeline>, number: u64, name: &str) -> Arc<Self> {
        Arc::new(Self {
            timeline,
            number,
            name: name.to_owned(),
            alive: AtomicBool::new(true),
            stops: AtomicU64::new(0),
            on_wire: AtomicU64::new(0),
            work: Part::default(),
            heartbeat: Part::default(),
        })
    }

    /// Its number; no two have the same.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What it is called in traces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has not been killed.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Whether this part of it does not run for now.
    pub fn is_stopped(&self, domain: Domain) -> bool {
        self.part(domain).stopped.load(Ordering::Relaxed) > 0
    }

    /// How often it was stopped: the same before and after means that it ran.
    pub fn stops(&self) -> u64 {
        self.stops.load(Ordering::Relaxed)
    }

    /// Calls under way that have passed a wire gate.
    pub fn on_wire(&self) -> u64 {
        self.on_wire.load(Ordering::Relaxed)
    }

    /// One more, or one less, of them.
    pub fn count_on_wire(&self, begins: bool) {
        if begins {
            self.on_wire.fetch_add(1, Ordering::Relaxed);
        } else {
            self.on_wire.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Ends it, as SIGKILL does.
    pub fn kill(&self) {
        self.alive.store(false, Ordering::Relaxed);
    }

    /// Forgets what it would have gone on with.
    pub(crate) fn end(&self) {
        for part in [&self.work, &self.heartbeat] {
            part.held.lock().clear();
            part.parked.lock().clear();
        }
    }

    /// Stops these parts.
    pub fn stop(&self, domains: &[Domain]) {
        self.stops.fetch_add(1, Ordering::Relaxed);
        for domain in domains {
            self.part(*domain).stopped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets them go on: what they waited for has come meanwhile.
    pub fn go_on(self: &Arc<Self>, domains: &[Domain]) {
        for domain in domains {
            let part = self.part(*domain);
            if part.stopped.fetch_sub(1, Ordering::Relaxed) > 1 {
                continue;
            }
            let held = std::mem::take(&mut *part.held.lock());
            for act in held {
                self.timeline.add(0, Some((Arc::clone(self), *domain)), act);
            }
            let parked = std::mem::take(&mut *part.parked.lock());
            for waker in parked {
                waker.wake();
            }
        }
    }

    pub(crate) fn hold(&self, domain: Domain, act: Act) {
        self.part(domain).held.lock().push(act);
    }

    /// The domain whose task is being polled.
    pub(crate) fn domain() -> Domain {
        DOMAIN.get()
    }

    fn part(&self, domain: Domain) -> &Part {
        match domain {
            Domain::Work => &self.work,
            Domain::Heartbeat => &self.heartbeat,
        }
    }
}

/// A task of a process: not polled while that is stopped or dead.
pub struct Running {
    process: Arc<Process>,
    domain: Domain,
    task: BoxFuture<'static, ()>,
}

impl Running {
    /// Makes a task one of this process.
    pub fn new(
        process: &Arc<Process>,
        domain: Domain,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self {
            process: Arc::clone(process),
            domain,
            task: Box::pin(task),
        }
    }
}

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.process.is_alive() {
            return Poll::Pending;
        }
        if self.process.is_stopped(self.domain) {
            let part = self.process.part(self.domain);
            part.parked.lock().push(context.waker().clone());
            return Poll::Pending;
        }
        let before = DOMAIN.replace(self.domain);
        let polled = self.task.as_mut().poll(context);
        DOMAIN.set(before);
        polled
    }
}

/// Waits for `work` as long as the process runs: what other tasks of it, which
/// are not [`Running`], do with the outside world goes through this.
pub(crate) async fn while_running<T>(
    process: &Arc<Process>,
    domain: Domain,
    work: impl Future<Output = T> + Send,
) -> T {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        if !process.is_alive() {
            return Poll::Pending;
        }
        if process.is_stopped(domain) {
            let part = process.part(domain);
            part.parked.lock().push(context.waker().clone());
            return Poll::Pending;
        }
        work.as_mut().poll(context)
    })
    .await
}
