//! Answers what other workers ask of this one.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::store::{Change, Document, Precondition, Store, Value, Write};
use tokio_util::sync::CancellationToken;

use crate::model::command::{CommandDoc, CommandKind, CommandState};
use crate::model::stored::Record;
use crate::model::{Stored, queries};

/// After a watch that ended, and between looks at whether the session is still
/// the same one.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Whoever knows the answers.
pub trait Answering: Send + Sync + 'static {
    /// The present worker session.
    fn session_id(&self) -> String;

    /// The answer as JSON; `None` where this worker does not own the account.
    fn answer(&self, account_id: &str, kind: CommandKind) -> Option<String>;
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
                    while self.answering.session_id() == session {
                        tokio::select! {
                            biased;
                            change = watch.next() => match change {
                                Some(Change::Snapshot(documents)) => self.handle(&documents).await,
                                Some(Change::Changed(document)) => self.handle(&[document]).await,
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

    async fn handle(&self, documents: &[Document]) {
        for command in documents.iter().filter_map(CommandDoc::read_or_skip) {
            if command.value.state == CommandState::Queued
                && let Err(error) = self.carry_out(&command).await
            {
                tracing::warn!(account.id = command.value.account_id, %error, "a command was not answered");
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
            let reply = self
                .answering
                .answer(&command.value.account_id, command.value.kind);
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

#[cfg(test)]
mod tests {
    use coordinator_lib::store::Collection;

    use super::*;
    use crate::commands::{AskError, ask};
    use crate::model::collections::COMMANDS;
    use crate::testing::Bench;

    struct Owner;

    impl Answering for Owner {
        fn session_id(&self) -> String {
            "s1".to_owned()
        }

        fn answer(&self, account_id: &str, _kind: CommandKind) -> Option<String> {
            (account_id == "a1").then(|| r#"{"known":true}"#.to_owned())
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
            CommandKind::Inspect,
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
