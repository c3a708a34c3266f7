//! A worker's client of the store: everything takes time and may go wrong.
//!
//! A request is an event of its own: it arrives, and lands, whether or not its
//! sender still waits, or lives. An answer is an event of the sender's process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_lib::rng::{Rng, SeededRng};
use coordinator_lib::store::{
    Change, CommitOutcome, DocumentStore, Page, Path, Query, Snapshot, StoreError, StoreTime,
    Watch, Write, WriteOutcome,
};
use futures::{FutureExt, stream};
use tokio::sync::oneshot;

use crate::link::{Link, Lost, Way};
use crate::process::{Domain, Process};
use crate::sea::{Answer, Ear, Request, Sea};
use crate::timeline::Sleep;
use crate::work::Prefetched;

/// How often a watch looks whether a way that was cut is there again.
const RECONNECT: Duration = Duration::from_millis(500);

/// A client ends every call by itself, as the one of Firestore does after its
/// attempts.
const CALL_LIMIT: Duration = Duration::from_secs(9);

/// A client of the store.
pub struct Port {
    inner: Arc<Inner>,
}

struct Inner {
    sea: Arc<Sea>,
    process: Arc<Process>,
    domain: Domain,
    link: Arc<Link>,
    rng: SeededRng,
    prefetched: Arc<Prefetched>,
}

impl Port {
    /// A client for one domain of a process.
    pub fn new(
        sea: Arc<Sea>,
        process: Arc<Process>,
        domain: Domain,
        link: Arc<Link>,
        seed: u64,
        prefetched: Arc<Prefetched>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                sea,
                process,
                domain,
                link,
                rng: SeededRng::new(seed),
                prefetched,
            }),
        }
    }

    async fn call(&self, request: Request) -> Result<Answer, StoreError> {
        let is_commit = matches!(request, Request::Commit(_) | Request::CommitEach(_));
        let owner = Some((Arc::clone(&self.inner.process), self.inner.domain));
        let limit = self.inner.sea.timeline.sleep(CALL_LIMIT, owner);
        tokio::select! {
            biased;
            answer = self.ask(request, is_commit) => answer,
            () = limit => Err(reset(is_commit)),
        }
    }

    async fn ask(&self, request: Request, is_commit: bool) -> Result<Answer, StoreError> {
        let inner = &self.inner;
        let fate = inner.link.fate(&inner.rng);
        // Drawn now, so that nothing later changes what is drawn.
        let is_reset = inner.rng.range(0..2) == 0;
        let keeps = [(); 2].map(|()| inner.rng.range(0..2) == 0);
        let (sender, answer) = oneshot::channel();
        if let Some(lost) = fate.lost {
            inner.sea.record.fault(match (lost, is_commit) {
                (Lost::Before, _) => "request lost",
                (Lost::After, true) => "acknowledgement lost",
                (Lost::After, false) => "answer lost",
            });
        } else if fate.there > Duration::from_millis(1_500) {
            inner.sea.record.fault(if is_commit {
                "commit lands late"
            } else {
                "request late"
            });
        } else if fate.back > Duration::from_millis(1_500) {
            inner.sea.record.fault("answer late");
        }
        let lost = fate.lost;
        if lost == Some(Lost::Before) {
            if is_reset {
                inner.answer(fate.there + fate.back, false, sender, Err(reset(is_commit)));
                return wait(answer).await;
            }
            return std::future::pending().await;
        }
        let arrival = {
            let inner = Arc::clone(inner);
            move || {
                inner.arrived(
                    request, is_commit, fate.back, lost, is_reset, keeps[1], sender,
                )
            }
        };
        inner.send(fate.there, keeps[0], is_commit, Box::new(arrival));
        wait(answer).await
    }
}

impl Inner {
    /// Sends a request on its way.
    fn send(
        self: &Arc<Self>,
        there: Duration,
        keeps: bool,
        is_commit: bool,
        arrival: Box<dyn FnOnce() + Send>,
    ) {
        if !self.link.is_cut(Way::There) {
            self.sea.timeline.quietly(there, None, arrival);
            return;
        }
        if keeps {
            let inner = Arc::clone(self);
            let again = move || {
                if is_commit {
                    inner.sea.record.fault("commit lands after a partition");
                }
                inner.sea.timeline.quietly(there, None, arrival);
            };
            self.link.keep(Way::There, Box::new(again));
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what was drawn when the request was sent"
    )]
    fn arrived(
        self: &Arc<Self>,
        request: Request,
        is_commit: bool,
        back: Duration,
        lost: Option<Lost>,
        is_reset: bool,
        keeps: bool,
        sender: oneshot::Sender<Result<Answer, StoreError>>,
    ) {
        if !self.sea.is_up() {
            if !self.sea.hangs() {
                let refused = Err(StoreError::unavailable("the store is down"));
                self.answer(back, keeps, sender, refused);
            }
            return;
        }
        let result = self.sea.serve(self.process.name(), request);
        if lost == Some(Lost::After) {
            if is_reset {
                self.answer(back, keeps, sender, Err(reset(is_commit)));
            }
            return;
        }
        self.answer(back, keeps, sender, result);
    }

    /// Brings an answer back.
    fn answer(
        self: &Arc<Self>,
        back: Duration,
        keeps: bool,
        sender: oneshot::Sender<Result<Answer, StoreError>>,
        result: Result<Answer, StoreError>,
    ) {
        let inner = Arc::clone(self);
        // First the way, then the process: a stopped one has its answer waiting.
        self.sea.timeline.quietly(back, None, move || {
            let delivery = {
                let inner = Arc::clone(&inner);
                move || {
                    let timeline = &inner.sea.timeline;
                    timeline.now_for(&inner.process, inner.domain, move || {
                        // Whoever gave up does not want to know.
                        let _ = sender.send(result);
                    });
                }
            };
            if !inner.link.is_cut(Way::Back) {
                delivery();
            } else if keeps {
                inner.link.keep(Way::Back, Box::new(delivery));
            }
        });
    }

    fn is_connected(&self) -> bool {
        self.sea.is_up() && !self.link.is_cut(Way::There) && !self.link.is_cut(Way::Back)
    }
}

/// Waits for an answer; for ever, if it was lost.
async fn wait(answer: oneshot::Receiver<Result<Answer, StoreError>>) -> Result<Answer, StoreError> {
    match answer.await {
        Ok(result) => result,
        Err(_) => std::future::pending().await,
    }
}

fn reset(is_commit: bool) -> StoreError {
    let reason = "the connection was reset, or nobody answered".to_owned();
    if is_commit {
        StoreError::Ambiguous { reason }
    } else {
        StoreError::Unavailable { reason }
    }
}

fn odd() -> StoreError {
    StoreError::invalid("the answer to another question")
}

#[async_trait]
impl DocumentStore for Port {
    async fn get(&self, paths: &[Path]) -> Result<Snapshot, StoreError> {
        let Answer::Get(snapshot) = self.call(Request::Get(paths.to_vec())).await? else {
            return Err(odd());
        };
        Ok(snapshot)
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let Answer::Query(page) = self.call(Request::Query(query.clone())).await? else {
            return Err(odd());
        };
        self.inner.prefetched.see(&self.inner.sea, &page.documents);
        Ok(page)
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        let Answer::Count(count) = self.call(Request::Count(query.clone())).await? else {
            return Err(odd());
        };
        Ok(count)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<CommitOutcome, StoreError> {
        let Answer::Commit(outcome) = self.call(Request::Commit(writes)).await? else {
            return Err(odd());
        };
        Ok(outcome)
    }

    async fn commit_each(&self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, StoreError> {
        let Answer::CommitEach(outcomes) = self.call(Request::CommitEach(writes)).await? else {
            return Err(odd());
        };
        Ok(outcomes)
    }

    async fn watch(&self, query: &Query) -> Result<Watch, StoreError> {
        let ear = self.inner.sea.listen(query, &self.inner.process)?;
        let Answer::Watch(watch) = self.call(Request::Watch(query.clone())).await? else {
            return Err(odd());
        };
        let state = Watching {
            inner: Arc::clone(&self.inner),
            ear,
            watch,
            ready: Vec::new(),
            is_first: true,
        };
        Ok(Watch::new(stream::unfold(state, |mut state| async move {
            let change = state.next().await;
            Some((change, state))
        })))
    }

    async fn ping(&self) -> Result<StoreTime, StoreError> {
        let Answer::Ping(time) = self.call(Request::Ping).await? else {
            return Err(odd());
        };
        Ok(time)
    }

    fn backend(&self) -> &'static str {
        "simulated"
    }
}

/// A watch whose changes take time, and wait while the way is cut.
struct Watching {
    inner: Arc<Inner>,
    ear: Arc<Ear>,
    watch: Watch,
    /// The latest first.
    ready: Vec<Change>,
    is_first: bool,
}

impl Watching {
    async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.ready.pop() {
                return change;
            }
            if !std::mem::take(&mut self.is_first) {
                self.ear.hear().await;
                let lag = Duration::from_micros(self.inner.rng.range(1_000..80_000));
                self.sleep(lag).await;
            }
            while !self.inner.is_connected() {
                self.sleep(RECONNECT).await;
            }
            while let Some(Some(change)) =
                tokio::task::unconstrained(self.watch.next()).now_or_never()
            {
                if let Change::Changed(document) = &change {
                    let seen = std::slice::from_ref(document);
                    self.inner.prefetched.see(&self.inner.sea, seen);
                } else if let Change::Snapshot(documents) = &change {
                    self.inner.prefetched.see(&self.inner.sea, documents);
                }
                self.ready.push(change);
            }
            self.ready.reverse();
        }
    }

    fn sleep(&self, wait: Duration) -> Sleep {
        let owner = Some((Arc::clone(&self.inner.process), self.inner.domain));
        self.inner.sea.timeline.sleep(wait, owner)
    }
}
