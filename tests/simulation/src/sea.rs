//! What all workers share: the store, its outages, and who listens to it.
//!
//! Commits of workers and of operators go through here, so that the [`Ledger`]
//! sees each of them, at the instant at which it lands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use coordinator_lib::clock::SharedClock;
use coordinator_lib::store::{
    Collection, CommitOutcome, Document, DocumentStore, Matcher, MemoryStore, Page, Path, Query,
    Snapshot, StoreError, Watch, Write, WriteOutcome,
};
use futures::FutureExt;
use parking_lot::Mutex;

use crate::ledger::Ledger;
use crate::process::Process;
use crate::record::Record;
use crate::timeline::Timeline;

/// The world below the workers.
pub struct Sea {
    /// Virtual time.
    pub timeline: Arc<Timeline>,
    /// What happened.
    pub record: Arc<Record>,
    /// What was committed, checked.
    pub ledger: Ledger,
    store: MemoryStore,
    down: AtomicU64,
    hangs: AtomicBool,
    topics: Mutex<BTreeMap<Collection, Vec<Topic>>>,
}

/// A query that is watched. Its watchers hear of what concerns it alone, as a
/// store's own watches do.
struct Topic {
    query: Query,
    matcher: Matcher,
    /// What it found after the last write.
    found: BTreeSet<Path>,
    ears: Vec<Weak<Ear>>,
}

/// A watcher's ear: hears that something it watches changed.
pub(crate) struct Ear {
    process: Arc<Process>,
    heard: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// What a request asks.
pub(crate) enum Request {
    Get(Vec<Path>),
    Query(Query),
    Count(Query),
    Commit(Vec<Write>),
    CommitEach(Vec<Write>),
    Watch(Query),
    Ping,
}

/// What the store answers.
pub(crate) enum Answer {
    Get(Snapshot),
    Query(Page),
    Count(u64),
    Commit(CommitOutcome),
    CommitEach(Vec<WriteOutcome>),
    Watch(Watch),
    Ping(coordinator_lib::store::StoreTime),
}

impl Sea {
    /// An empty store.
    pub fn new(timeline: Arc<Timeline>, record: Arc<Record>, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            timeline,
            ledger: Ledger::new(Arc::clone(&record)),
            record,
            store: MemoryStore::new(clock),
            down: AtomicU64::new(0),
            hangs: AtomicBool::new(false),
            topics: Mutex::default(),
        })
    }

    /// The store is out of reach for everybody: it refuses, or says nothing.
    pub fn go_down(&self, hangs: bool) {
        self.down.fetch_add(1, Ordering::Relaxed);
        self.hangs.store(hangs, Ordering::Relaxed);
    }

    /// One outage ends.
    pub fn come_up(&self) {
        self.down.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether it answers.
    pub fn is_up(&self) -> bool {
        self.down.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn hangs(&self) -> bool {
        self.hangs.load(Ordering::Relaxed)
    }

    /// Commits as an operator or another program does, at once.
    pub fn commit_as_operator(&self, writes: Vec<Write>) -> Option<CommitOutcome> {
        let outcome = at_once(self.store.commit(writes.clone()))?;
        self.tell(&writes);
        Some(outcome)
    }

    /// Reads a document as it is now.
    pub fn look(&self, path: &Path) -> Option<Document> {
        at_once(self.store.get(std::slice::from_ref(path)))?
            .documents
            .swap_remove(0)
    }

    /// All documents that a query matches now.
    pub fn look_for(&self, query: &Query) -> Vec<Document> {
        let mut documents = Vec::new();
        let mut query = query.clone();
        while let Some(page) = at_once(self.store.query(&query)) {
            documents.extend(page.documents);
            match page.next {
                Some(cursor) => query = query.start_after(cursor),
                None => break,
            }
        }
        documents
    }

    /// A request has arrived.
    pub(crate) fn serve(&self, who: &str, request: Request) -> Result<Answer, StoreError> {
        match request {
            Request::Get(paths) => now(self.store.get(&paths)).map(Answer::Get),
            Request::Query(query) => now(self.store.query(&query)).map(Answer::Query),
            Request::Count(query) => now(self.store.count(&query)).map(Answer::Count),
            Request::Commit(writes) => {
                let outcome = now(self.store.commit(writes.clone()))?;
                if let CommitOutcome::Committed(commit) = &outcome {
                    self.ledger.see(who, &writes, commit.time);
                    self.tell(&writes);
                }
                Ok(Answer::Commit(outcome))
            }
            Request::CommitEach(writes) => {
                let outcomes = now(self.store.commit_each(writes.clone()))?;
                self.tell(&writes);
                Ok(Answer::CommitEach(outcomes))
            }
            Request::Watch(query) => now(self.store.watch(&query)).map(Answer::Watch),
            Request::Ping => now(self.store.ping()).map(Answer::Ping),
        }
    }

    pub(crate) fn listen(
        &self,
        query: &Query,
        process: &Arc<Process>,
    ) -> Result<Arc<Ear>, StoreError> {
        let ear = Arc::new(Ear {
            process: Arc::clone(process),
            heard: AtomicBool::new(false),
            waker: Mutex::new(None),
        });
        let mut topics = self.topics.lock();
        let topics = topics.entry(query.collection().clone()).or_default();
        topics.retain_mut(Topic::is_watched);
        let known = topics.iter_mut().find(|topic| topic.query == *query);
        match known {
            Some(topic) => topic.ears.push(Arc::downgrade(&ear)),
            None => {
                let found = self.look_for(query);
                topics.push(Topic {
                    query: query.clone(),
                    matcher: Matcher::of(query)?,
                    found: found.into_iter().map(|document| document.path).collect(),
                    ears: vec![Arc::downgrade(&ear)],
                });
            }
        }
        Ok(ear)
    }

    fn tell(&self, writes: &[Write]) {
        let mut wakers = Vec::new();
        {
            let mut topics = self.topics.lock();
            for write in writes {
                let Some(topics) = topics.get_mut(write.path().collection()) else {
                    continue;
                };
                let document = self.look(write.path());
                for topic in topics {
                    if !topic.is_concerned(write.path(), document.as_ref()) {
                        continue;
                    }
                    for ear in topic.ears.iter().filter_map(Weak::upgrade) {
                        if ear.process.is_alive() {
                            ear.heard.store(true, Ordering::Relaxed);
                            wakers.extend(ear.waker.lock().take());
                        }
                    }
                }
            }
        }
        for waker in wakers {
            self.timeline.stir();
            waker.wake();
        }
    }
}

impl Topic {
    /// Forgets the dead; false if nobody is left.
    fn is_watched(&mut self) -> bool {
        self.ears
            .retain(|ear| ear.upgrade().is_some_and(|ear| ear.process.is_alive()));
        !self.ears.is_empty()
    }

    /// Whether a write concerns it: it found the document before, or does now.
    fn is_concerned(&mut self, path: &Path, now: Option<&Document>) -> bool {
        let is_found = now.is_some_and(|document| self.matcher.finds(&document.fields));
        let was_found = if is_found {
            !self.found.insert(path.clone())
        } else {
            self.found.remove(path)
        };
        is_found || was_found
    }
}

impl Ear {
    /// Waits until there may be something new.
    pub(crate) fn hear(&self) -> impl Future<Output = ()> + '_ {
        std::future::poll_fn(|context: &mut Context<'_>| {
            if self.heard.swap(false, Ordering::Relaxed) {
                return Poll::Ready(());
            }
            *self.waker.lock() = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

/// The store in memory answers at once; its calls must not wait for the
/// runtime's leave to go on, either.
fn now<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::task::unconstrained(call)
        .now_or_never()
        .unwrap_or_else(|| {
            Err(StoreError::unavailable(
                "the store in memory did not answer",
            ))
        })
}

fn at_once<T>(call: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    now(call).ok()
}
