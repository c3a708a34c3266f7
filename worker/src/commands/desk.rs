//! Answers what other workers ask of this one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_lib::clock::SharedClock;
use coordinator_lib::store::{Change, Document, Precondition, Store, Value, Write};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use crate::model::command::{CommandDoc, CommandState};
use crate::model::stored::Record;
use crate::model::{Stored, queries};
use crate::telemetry::{propagation, spans};

/// After a watch that ended, and between looks at whether the session is still
/// the same one.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Whoever knows the answers.
#[async_trait]
pub trait Answering: Send + Sync + 'static {
    /// The present worker session.
    fn session_id(&self) -> String;

    /// The answer as JSON; `None` where this worker does not own the account.
    async fn answer(&self, command: &CommandDoc) -> Option<String>;
}

/// The owner's side.
pub struct Desk {
    /// The documents.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// Who answers.
    pub answering: Arc<dyn Answering>,
}

/// Commands that are carried out at the same time: some wait for WhatsApp.
const COMMANDS_MAX: usize = 64;

/// What is being carried out.
#[derive(Default)]
struct Work<'a> {
    running: FuturesUnordered<BoxFuture<'a, String>>,
    /// The ids of these: a watch may show a command more than once.
    ids: HashSet<String>,
}

impl Desk {
    /// Answers until `stop`. A worker session that was sealed is followed by
    /// another one, whose commands are watched then.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.serve() => {}
        }
    }

    async fn serve(&self) {
        loop {
            let session = self.answering.session_id();
            let watch = match queries::commands_for(&session) {
                Ok(query) => self.store.watch(&query).await,
                Err(error) => Err(error),
            };
            match watch {
                Ok(mut watch) => {
                    let mut work = Work::default();
                    while self.answering.session_id() == session {
                        tokio::select! {
                            biased;
                            Some(id) = work.running.next() => {
                                work.ids.remove(&id);
                            }
                            change = watch.next() => match change {
                                Some(Change::Snapshot(documents)) => self.handle(&mut work, &documents),
                                Some(Change::Changed(document)) => self.handle(&mut work, &[document]),
                                Some(Change::Removed(_)) => {
                                    // Answered, or nobody waits any more.
                                }
                                None => break,
                            },
                            () = self.clock.sleep(LOOK_INTERVAL) => {}
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "commands cannot be watched"),
            }
            self.clock.sleep(LOOK_INTERVAL).await;
        }
    }

    /// Begins what is new; beyond the limit, commands wait for the next look.
    fn handle<'a>(&'a self, work: &mut Work<'a>, documents: &[Document]) {
        for command in documents.iter().filter_map(CommandDoc::read_or_skip) {
            let is_new = command.value.state == CommandState::Queued
                && work.running.len() < COMMANDS_MAX
                && work.ids.insert(command.value.id.clone());
            if is_new {
                work.running.push(Box::pin(async move {
                    let span = span(&command.value);
                    let carried_out = self.carry_out(&command).instrument(span.clone());
                    if let Err(error) = carried_out.await {
                        spans::failed(&span);
                        tracing::warn!(account.id = command.value.account_id, %error, "a command was not answered");
                    }
                    command.value.id
                }));
            }
        }
    }

    async fn carry_out(
        &self,
        command: &Record<CommandDoc>,
    ) -> Result<(), coordinator_lib::store::StoreError> {
        let now = self.store.ping().await?;
        let write = if now > command.value.deadline {
            Write::Delete {
                path: command.path.clone(),
                precondition: Precondition::None,
            }
        } else {
            let reply = self.answering.answer(&command.value).await;
            let state = match &reply {
                Some(_) => CommandState::Answered,
                None => CommandState::Refused,
            };
            Write::Update {
                path: command.path.clone(),
                fields: [
                    ("state".to_owned(), Value::from(state.as_str())),
                    ("reply".to_owned(), reply.into()),
                ]
                .into(),
                precondition: Precondition::Unchanged(command.update_time),
            }
        };
        // Rejected: nobody waits for it any more.
        self.store.commit(vec![write]).await.map(drop)
    }
}

/// What is asked is a part of the trace of the request that asks.
fn span(command: &CommandDoc) -> Span {
    let span = info_span!(
        parent: None,
        "command.answer",
        otel.kind = "consumer",
        otel.status_code = Empty,
        account.id = command.account_id,
        command.kind = command.kind.as_str(),
    );
    propagation::continues(&span, command.traceparent.as_deref());
    span
}

#[cfg(test)]
mod tests {
    use coordinator_lib::store::Collection;

    use super::*;
    use crate::commands::{AskError, ask};
    use crate::model::collections::COMMANDS;
    use crate::model::command::CommandKind;
    use crate::testing::Bench;

    struct Owner;

    #[async_trait]
    impl Answering for Owner {
        fn session_id(&self) -> String {
            "s1".to_owned()
        }

        async fn answer(&self, command: &CommandDoc) -> Option<String> {
            (command.account_id == "a1").then(|| r#"{"known":true}"#.to_owned())
        }
    }

    async fn asked(
        bench: &Bench,
        account: &str,
        session: &str,
    ) -> Result<serde_json::Value, AskError> {
        let limit = Duration::from_millis(500);
        let whom = (account, session);
        ask(
            &bench.store,
            &bench.clock,
            bench.rng.as_ref(),
            whom,
            (CommandKind::Inspect, None),
            limit,
        )
        .await
    }

    #[tokio::test]
    async fn the_owner_answers_others_refuse_and_nobody_waits_for_ever() {
        let bench = Bench::new();
        let desk = Desk {
            store: Arc::clone(&bench.store),
            clock: Arc::clone(&bench.clock),
            answering: Arc::new(Owner),
        };
        let stop = CancellationToken::new();
        bench.tracker.spawn(desk.run(stop.clone()));
        let reply = asked(&bench, "a1", "s1").await.unwrap();
        assert_eq!(reply["known"], true);
        assert!(matches!(
            asked(&bench, "a2", "s1").await,
            Err(AskError::Refused)
        ));
        assert!(matches!(
            asked(&bench, "a1", "gone").await,
            Err(AskError::NoReply(_))
        ));
        // Nothing is left behind.
        let all = coordinator_lib::store::Query::new(Collection::new(COMMANDS).unwrap());
        assert_eq!(bench.store.count(&all).await.unwrap(), 0);
        stop.cancel();
    }
}
