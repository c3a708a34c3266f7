//! Runs the engine's tasks where they can be counted and stopped.
//!
//! The engine spawns tasks and detaches them; its own runtime loses sight of
//! them, and dropping or aborting the engine leaves them at work with the
//! socket open. Here every task of one instance is in one tracker and ends
//! when the instance's token is cancelled, wherever it is waiting.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_lib::clock::SharedClock;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};
use wacore::runtime::AbortHandle;
use whatsapp_rust::Runtime;

type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Waits of at least this long need not be punctual: pings, limits of requests,
/// the engine's tidying up.
const LOOSE_FROM: Duration = Duration::from_secs(10);

/// The tasks of one engine instance.
#[derive(Clone)]
pub(crate) struct TaskRuntime {
    tracker: TaskTracker,
    stop: CancellationToken,
    handle: Handle,
    clock: SharedClock,
    /// Names the account in what the engine logs.
    span: Span,
}

impl TaskRuntime {
    /// A runtime on the tokio runtime that this is called on; its tasks log
    /// within the current span.
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            handle: Handle::current(),
            clock,
            span: Span::current(),
        }
    }

    /// Runs a task until it ends or the instance is stopped.
    pub(crate) fn spawn_task(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::AbortHandle {
        let stop = self.stop.clone();
        let task = async move {
            stop.run_until_cancelled_owned(task).await;
        };
        self.tracker
            .spawn_on(task.instrument(self.span.clone()), &self.handle)
            .abort_handle()
    }

    /// Runs a task that outlives the stop of the others and ends by itself.
    pub(crate) fn spawn_untracked(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task.instrument(self.span.clone()));
    }

    /// Tasks alive.
    pub(crate) fn alive(&self) -> usize {
        self.tracker.len()
    }

    /// Waits until no task is alive. None may be spawned that is to be waited
    /// for after this.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Stops every task at its next wait, those spawned from now on included.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

#[async_trait]
impl Runtime for TaskRuntime {
    fn spawn(&self, future: Task) -> AbortHandle {
        let task = self.spawn_task(future);
        AbortHandle::new(move || task.abort())
    }

    fn spawn_detached(&self, future: Task) {
        self.spawn_task(future);
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if duration >= LOOSE_FROM {
            self.clock.sleep_loosely(duration)
        } else {
            self.clock.sleep(duration)
        }
    }

    fn spawn_blocking(
        &self,
        work: Box<dyn FnOnce() + Send + 'static>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let work = self.tracker.spawn_blocking_on(work, &self.handle);
        Box::pin(async move {
            // A panic in there is the engine's to notice: it gets no result.
            let _ = work.await;
        })
    }

    fn yield_now(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        // Other tasks run on other threads.
        None
    }
}

#[cfg(test)]
mod tests {
    use coordinator_lib::clock::SystemClock;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn stopping_ends_tasks_that_wait_for_ever() {
        let runtime = TaskRuntime::new(SystemClock::shared());
        runtime.spawn_detached(Box::pin(std::future::pending()));
        runtime.spawn(Box::pin(std::future::pending())).detach();
        assert_eq!(runtime.alive(), 2);
        runtime.stop();
        tokio::time::timeout(LIMIT, runtime.ended())
            .await
            .expect("all tasks end");
        assert_eq!(runtime.alive(), 0);
    }

    #[tokio::test]
    async fn a_task_spawned_after_the_stop_does_nothing() {
        let runtime = TaskRuntime::new(SystemClock::shared());
        runtime.stop();
        let (done, ran) = tokio::sync::oneshot::channel();
        runtime.spawn_detached(Box::pin(async move {
            tokio::task::yield_now().await;
            let _ = done.send(());
        }));
        tokio::time::timeout(LIMIT, runtime.ended())
            .await
            .expect("it ends");
        assert!(
            ran.await.is_err(),
            "the task was dropped before it did anything"
        );
    }

    #[tokio::test]
    async fn dropping_the_handle_aborts_as_the_engine_expects() {
        let runtime = TaskRuntime::new(SystemClock::shared());
        drop(runtime.spawn(Box::pin(std::future::pending())));
        tokio::time::timeout(LIMIT, runtime.ended())
            .await
            .expect("the task was aborted");
    }
}
