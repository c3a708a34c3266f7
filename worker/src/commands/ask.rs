//! Asks the owner of an account, and waits for the reply.

use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::rng::Rng;
use coordinator_lib::store::{
    Change, CommitOutcome, Precondition, Store, StoreError, StoreTime, Write,
};
use serde_json::Value;
use thiserror::Error;

use crate::model::command::{CommandDoc, CommandKind, CommandState};
use crate::model::{Stored, collections, queries};
use crate::telemetry::propagation;

/// Why there is no reply.
#[derive(Debug, Error)]
pub enum AskError {
    /// The session that was asked does not own the account any more.
    #[error("the worker that was asked does not own the account any more")]
    Refused,
    /// The owner did not reply in time.
    #[error("the account's owner did not reply within {0:?}")]
    NoReply(Duration),
    /// The store failed.
    #[error("store failed")]
    Store(#[from] StoreError),
}

/// Asks `session`, which owns the account, and waits for its reply.
///
/// # Errors
/// [`AskError`].
///
/// # Cancel safety
/// The command may still be carried out until its deadline.
pub async fn ask(
    store: &Store,
    clock: &SharedClock,
    rng: &dyn Rng,
    (account_id, session): (&str, &str),
    (kind, argument): (CommandKind, Option<bytes::Bytes>),
    limit: Duration,
) -> Result<Value, AskError> {
    let id = rng.nonce();
    let path = collections::command(&id)?;
    // Store time: the two workers' clocks need not agree.
    let deadline: StoreTime = store.ping().await?.saturating_add(limit);
    let command = CommandDoc {
        id: id.clone(),
        account_id: account_id.to_owned(),
        session: session.to_owned(),
        state: CommandState::Queued,
        kind,
        argument,
        deadline,
        reply: None,
        traceparent: propagation::current(),
    };
    let mut watch = store.watch(&queries::command_by_id(&id)?).await?;
    let write = Write::Set {
        path: path.clone(),
        fields: command.to_document()?,
        precondition: Precondition::Absent,
    };
    if store.commit(vec![write]).await? == CommitOutcome::Rejected {
        return Err(StoreError::invalid("a fresh command id was taken already").into());
    }
    let answered = async {
        loop {
            let documents = match watch.next().await {
                Some(Change::Snapshot(documents)) => documents,
                Some(Change::Changed(document)) => vec![document],
                Some(Change::Removed(_)) => return Err(AskError::NoReply(limit)),
                None => return Err(StoreError::unavailable("the store was closed").into()),
            };
            for command in documents.iter().filter_map(CommandDoc::read_or_skip) {
                match command.value.state {
                    CommandState::Queued => {}
                    CommandState::Refused => return Err(AskError::Refused),
                    CommandState::Answered => return Ok(command.value.reply),
                }
            }
        }
    };
    let outcome = tokio::select! {
        biased;
        answered = answered => answered,
        () = clock.sleep(limit) => Err(AskError::NoReply(limit)),
    };
    let remove = Write::Delete {
        path,
        precondition: Precondition::None,
    };
    // Should that fail, the owner removes it after its deadline.
    if let Err(error) = store.commit(vec![remove]).await {
        tracing::debug!(%error, "a command was not removed");
    }
    let reply = outcome?.unwrap_or_default();
    Ok(serde_json::from_str(&reply).unwrap_or(Value::Null))
}
