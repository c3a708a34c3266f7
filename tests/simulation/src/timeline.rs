//! Virtual time: events in one order, one after another.
//!
//! Nothing here waits for real time, and nothing depends on how the runtime
//! orders its own timers: an event fires, everybody it woke works until nobody
//! has anything left to do, then the next event fires. Events at the same
//! instant fire in the order in which they were made.
//!
//! An event may belong to a [`Process`]: while that one is stopped its events
//! wait, and once it is dead they never fire. That is how a worker is stopped
//! or killed *exactly* where it is, whatever tasks it has.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::process::{Domain, Process};
use crate::record::Record;

/// Whose event it is.
pub type Owner = Option<(Arc<Process>, Domain)>;

/// What happens when an event fires.
pub(crate) enum Act {
    Wake(Weak<Timer>),
    /// The second part says that it wakes nobody unless it says so by
    /// [`Timeline::stir`].
    Call(Box<dyn FnOnce() + Send>, bool),
}

/// A time that somebody waits for.
#[derive(Default)]
pub(crate) struct Timer {
    fired: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

struct Event {
    owner: Owner,
    act: Act,
}

/// The order of all events.
pub struct Timeline {
    record: Arc<Record>,
    /// Whether the event that fires has woken somebody.
    stirred: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: u64,
    made: u64,
    events: BTreeMap<(u64, u64), Event>,
}

impl Timeline {
    /// A timeline at its beginning.
    pub fn new(record: Arc<Record>) -> Arc<Self> {
        Arc::new(Self {
            record,
            stirred: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// Nanoseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.state.lock().now
    }

    /// Forgets what would have happened: events hold their owners, and those hold
    /// the timeline.
    pub(crate) fn end(&self) {
        let events = std::mem::take(&mut self.state.lock().events);
        drop(events);
    }

    /// Calls this after a while; at once if its owner was stopped meanwhile
    /// and goes on.
    pub fn after(&self, wait: Duration, owner: Owner, call: impl FnOnce() + Send + 'static) {
        self.add(nanos(wait), owner, Act::Call(Box::new(call), false));
    }

    /// Like [`Timeline::after`], for what wakes nobody, or says so by
    /// [`Timeline::stir`]: waiting until all have worked takes most of the time
    /// of an event.
    pub(crate) fn quietly(
        &self,
        wait: Duration,
        owner: Owner,
        call: impl FnOnce() + Send + 'static,
    ) {
        self.add(nanos(wait), owner, Act::Call(Box::new(call), true));
    }

    /// Somebody was woken.
    pub(crate) fn stir(&self) {
        self.stirred.store(true, Ordering::Relaxed);
    }

    /// Calls this now, as part of the event that fires; later, if the process
    /// that it belongs to is stopped; never, if that is dead.
    pub(crate) fn now_for(
        &self,
        process: &Process,
        domain: Domain,
        call: impl FnOnce() + Send + 'static,
    ) {
        if !process.is_alive() {
            return;
        }
        if process.is_stopped(domain) {
            process.hold(domain, Act::Call(Box::new(call), false));
            return;
        }
        call();
        self.stir();
    }

    /// Waits for a while.
    pub fn sleep(&self, wait: Duration, owner: Owner) -> Sleep {
        let timer = Arc::new(Timer::default());
        self.add(nanos(wait), owner, Act::Wake(Arc::downgrade(&timer)));
        Sleep(timer)
    }

    pub(crate) fn add(&self, wait: u64, owner: Owner, act: Act) {
        let mut state = self.state.lock();
        let key = (state.now.saturating_add(wait), state.made);
        state.made += 1;
        state.events.insert(key, Event { owner, act });
    }

    /// Lets time pass.
    pub async fn run_for(&self, time: Duration) {
        let until = self.now().saturating_add(nanos(time));
        loop {
            let event = {
                let mut state = self.state.lock();
                let Some(first) = state.events.first_entry() else {
                    state.now = until;
                    break;
                };
                let at = first.key().0;
                if at > until {
                    state.now = until;
                    break;
                }
                let event = first.remove();
                state.now = at;
                event
            };
            if self.fire(event) {
                settle().await;
            }
        }
        settle().await;
    }

    /// True if somebody may have something to do now.
    fn fire(&self, event: Event) -> bool {
        let Event { owner, act } = event;
        if let Some((process, domain)) = &owner {
            if !process.is_alive() {
                return false;
            }
            if process.is_stopped(*domain) {
                process.hold(*domain, act);
                return false;
            }
        }
        match act {
            Act::Wake(timer) => {
                let Some(timer) = timer.upgrade() else {
                    // Nobody waits for it any more.
                    return false;
                };
                let number = owner.map_or(0, |(process, _)| process.number());
                self.record.tick(self.now(), number * 2);
                timer.fired.store(true, Ordering::Relaxed);
                let waker = timer.waker.lock().take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Act::Call(call, is_quiet) => {
                let number = owner.map_or(0, |(process, _)| process.number());
                self.record.tick(self.now(), number * 2 + 1);
                self.stirred.store(!is_quiet, Ordering::Relaxed);
                call();
                return self.stirred.load(Ordering::Relaxed);
            }
        }
        true
    }
}

/// Waits until nobody has anything left to do: paused, the runtime moves its
/// own time on only then.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Waits for a time; see [`Timeline::sleep`].
pub struct Sleep(Arc<Timer>);

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.fired.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        *self.0.waker.lock() = Some(context.waker().clone());
        Poll::Pending
    }
}
