//! The stream behind a watch: Firestore's listener, and a slow poll beside it.
//!
//! A stream that fails is opened again, with growing waits, where its last
//! token says. One that is silent may be dead without anybody's saying so: the
//! poll, an ordinary query now and then, finds what it did not tell, tells it,
//! and has the stream opened anew.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ::firestore::gcloud_sdk::google::firestore::v1 as pb;
use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream;
use pb::listen_request::TargetChange as Asked;
use pb::listen_response::ResponseType;
use pb::target::query_target::QueryType;
use pb::target::{QueryTarget, ResumeType, TargetType};
use pb::target_change::TargetChangeType;
use tonic::{Status, Streaming};
use tracing::{debug, warn};

use super::failure::{self, Failure};
use super::structured;
use super::target::Target;
use super::{Shared, reads};
use crate::backoff::Backoff;
use crate::clock::Boottime;
use crate::store::plan::Plan;
use crate::store::{Change, Query, StoreError, Watch};

/// Waits between attempts to open a stream.
const REOPEN_BASE: Duration = Duration::from_millis(100);
const REOPEN_MAX: Duration = Duration::from_secs(5);

/// The one target of each stream.
const TARGET: i32 = 1;

/// Watches a query; the first snapshot is there when this returns.
pub(super) async fn watch(
    shared: Arc<Shared>,
    query: &Query,
    plan: Plan,
) -> Result<Watch, StoreError> {
    let mut listener = Listener {
        next_poll: shared.attempts.clock.boottime() + shared.poll_interval,
        shared,
        query: query.clone(),
        target: Target::new(plan),
        stream: None,
        token: Vec::new(),
        backoff: Backoff::new(REOPEN_BASE, REOPEN_MAX),
        ready: VecDeque::new(),
    };
    while listener.ready.is_empty() {
        listener.follow().await.map_err(failure::of_read)?;
    }
    Ok(Watch::new(stream::unfold(
        listener,
        |mut listener| async move {
            let change = listener.next().await;
            Some((change, listener))
        },
    )))
}

struct Listener {
    shared: Arc<Shared>,
    query: Query,
    target: Target,
    stream: Option<Streaming<pb::ListenResponse>>,
    /// Where the next stream may go on; empty for the beginning.
    token: Vec<u8>,
    backoff: Backoff,
    next_poll: Boottime,
    ready: VecDeque<Change>,
}

impl Listener {
    async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return change;
            }
            if self.shared.attempts.clock.boottime() >= self.next_poll {
                self.poll().await;
            } else if let Err(failure) = self.follow().await {
                self.close();
                let wait = self.backoff.next(&*self.shared.attempts.rng);
                warn!(collection = %self.query.collection().id(), %failure, ?wait, "watch waits for Firestore");
                self.shared.attempts.clock.sleep(wait).await;
            }
        }
    }

    /// Opens the stream, or takes one message from it, or finds that it is
    /// time to poll.
    async fn follow(&mut self) -> Result<(), Failure> {
        let Some(mut stream) = self.stream.take() else {
            return self.open().await;
        };
        let attempts = &self.shared.attempts;
        let message = if self.target.is_current() {
            let poll = attempts.clock.sleep_until(self.next_poll);
            match select(stream.next(), poll).await {
                Either::Left((message, _)) => message,
                Either::Right(_) => {
                    self.stream = Some(stream);
                    return Ok(());
                }
            }
        } else {
            // What there is comes at once; a stream that pauses here is dead.
            attempts
                .once(async { Ok::<_, Failure>(stream.next().await) })
                .await?
        };
        match message {
            Some(Ok(message)) => {
                self.stream = Some(stream);
                self.take(message)
            }
            Some(Err(status)) => Err(status.into()),
            None => Err(Status::unavailable("the stream ended").into()),
        }
    }

    async fn open(&mut self) -> Result<(), Failure> {
        let root = &self.shared.root;
        let resume_type =
            (!self.token.is_empty()).then(|| ResumeType::ResumeToken(self.token.clone()));
        let target = pb::Target {
            target_id: TARGET,
            once: false,
            expected_count: None,
            target_type: Some(TargetType::Query(QueryTarget {
                parent: root.parent(self.query.collection()),
                query_type: Some(QueryType::StructuredQuery(structured::filters(&self.query))),
            })),
            resume_type,
        };
        let request = pb::ListenRequest {
            database: root.database.clone(),
            labels: HashMap::new(),
            request_options: None,
            target_change: Some(Asked::AddTarget(target)),
        };
        // The stream lives for as long as its requests may go on.
        let requests = stream::once(async { request }).chain(stream::pending());
        let mut client = self.shared.client();
        let answered = self.shared.attempts.once(client.listen(requests)).await?;
        if self.token.is_empty() {
            self.target.reset();
        } else {
            self.target.resume();
        }
        self.stream = Some(answered.into_inner());
        Ok(())
    }

    /// A stream that failed before it had caught up may have failed for its
    /// token: the next one does without.
    fn close(&mut self) {
        self.stream = None;
        if !self.target.is_current() {
            self.token.clear();
        }
    }

    /// The next stream begins from nothing.
    fn begin_anew(&mut self) {
        self.stream = None;
        self.token.clear();
    }

    fn take(&mut self, message: pb::ListenResponse) -> Result<(), Failure> {
        let (root, collection) = (&self.shared.root, self.query.collection());
        match message.response_type {
            Some(ResponseType::TargetChange(change)) => self.target_change(change)?,
            Some(ResponseType::DocumentChange(change)) => {
                if let Some(document) = change.document {
                    if change.removed_target_ids.contains(&TARGET) {
                        self.target.left(root.path(collection, &document.name)?);
                    } else {
                        self.target.changed(root.document(collection, document)?);
                    }
                }
            }
            Some(ResponseType::DocumentDelete(gone)) => {
                self.target.left(root.path(collection, &gone.document)?);
            }
            Some(ResponseType::DocumentRemove(gone)) => {
                self.target.left(root.path(collection, &gone.document)?);
            }
            Some(ResponseType::Filter(filter)) => {
                let count = usize::try_from(filter.count).unwrap_or(0);
                if !self.target.has(count) {
                    debug!(collection = %collection.id(), "the listener missed something");
                    self.begin_anew();
                }
            }
            None => {}
        }
        Ok(())
    }

    fn target_change(&mut self, change: pb::TargetChange) -> Result<(), Failure> {
        match change.target_change_type() {
            TargetChangeType::Add => {}
            TargetChangeType::Reset => self.target.reset(),
            TargetChangeType::Current => {
                let changes = self.target.caught_up();
                self.ready.extend(changes);
                self.backoff.reset();
            }
            TargetChangeType::NoChange => {
                let all = change.target_ids.is_empty() && change.read_time.is_some();
                if all && self.target.is_current() {
                    let changes = self.target.consistent();
                    self.ready.extend(changes);
                }
            }
            TargetChangeType::Remove => {
                self.token.clear();
                let cause = change.cause.unwrap_or_default();
                return Err(Status::new(cause.code.into(), cause.message).into());
            }
        }
        if !change.resume_token.is_empty() {
            self.token = change.resume_token;
        }
        Ok(())
    }

    /// Looks whether the listener has told everything.
    async fn poll(&mut self) {
        match reads::all(&self.shared, &self.query).await {
            Ok(found) => {
                let missed = self.target.compare(found);
                if !missed.is_empty() {
                    warn!(
                        collection = %self.query.collection().id(),
                        changes = missed.len(),
                        "a poll found what the listener had not told"
                    );
                    self.begin_anew();
                }
                self.ready.extend(missed);
            }
            Err(error) => {
                debug!(collection = %self.query.collection().id(), %error, "watch could not poll");
            }
        }
        self.next_poll = self.shared.attempts.clock.boottime() + self.shared.poll_interval;
    }
}
