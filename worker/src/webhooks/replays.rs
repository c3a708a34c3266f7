//! Sends again what a client wants to be sent again: one attempt each, beside
//! the lanes and without their order, marked as a repetition.

use std::time::Duration;

use coordinator_lib::store::{Change, Document, StoreError, StoreTime};
use tokio::sync::watch;

use super::body;
use super::hooks::{Hook, Hooks};
use super::lane::LaneParts;
use super::post::Letter;
use crate::events::{Draft, DraftError, JournalError, Logged, Need};
use crate::model::stored::Record;
use crate::model::webhook::{DeliveryDoc, DeliveryState};
use crate::model::{Stored, collections, queries};

/// Between two attempts to watch while the store fails.
const RETRY_WAIT: Duration = Duration::from_secs(2);

/// What was wanted for an event that is not kept any more.
const EVENT_GONE: &str = "the event, or what it tells of, is not kept any more";

/// The replays of one account.
pub struct Replays {
    /// What lanes work with, too.
    pub parts: LaneParts,
    /// The webhooks.
    pub hooks: watch::Receiver<Hooks>,
}

impl Replays {
    /// Follows what clients want, as long as the claim lasts.
    pub async fn run(self) {
        loop {
            match self.watch().await {
                Ok(()) => {}
                Err(error) if error.is_over() => return,
                Err(error) => {
                    tracing::warn!(account.id = self.parts.account_id, %error, "replays wait");
                }
            }
            self.parts.clock.sleep(RETRY_WAIT).await;
        }
    }

    async fn watch(&self) -> Result<(), JournalError> {
        let query =
            queries::webhook_replays(&self.parts.account_id).map_err(JournalError::Store)?;
        let watch = self.parts.store.watch(&query).await;
        let mut watch = watch.map_err(JournalError::Store)?;
        while let Some(change) = watch.next().await {
            match change {
                Change::Snapshot(documents) => {
                    for document in &documents {
                        self.replay(document).await?;
                    }
                }
                Change::Changed(document) => self.replay(&document).await?,
                Change::Removed(_) => {}
            }
        }
        Ok(())
    }

    async fn replay(&self, document: &Document) -> Result<(), JournalError> {
        let Some(record) = DeliveryDoc::read_or_skip(document) else {
            return Ok(());
        };
        let hooks = self.hooks.borrow().clone();
        let hook = hooks.iter().find(|hook| hook.id == record.value.webhook_id);
        // One that is switched off gets it once it is asked for again.
        let Some(hook) = hook.filter(|hook| hook.is_enabled) else {
            return Ok(());
        };
        let event = self
            .event(&record.value)
            .await
            .map_err(JournalError::Store)?;
        let letter = match event {
            Some(event) => body::of(self.parts.store.as_ref(), hook, &event)
                .await
                .map_err(JournalError::Store)?
                .map(|body| Letter::of(&event, body)),
            None => None,
        };
        let done = match letter {
            Some(letter) => self.send(hook, letter, record.value.clone()).await,
            None => DeliveryDoc {
                error: Some(EVENT_GONE.to_owned()),
                replay: false,
                ..record.value.clone()
            },
        };
        self.note(record, done).await
    }

    async fn event(&self, delivery: &DeliveryDoc) -> Result<Option<Logged>, StoreError> {
        let path = collections::event(&delivery.account_id, delivery.seq)?;
        let found = self.parts.store.get(&[path]).await?;
        Ok(found.documents.iter().flatten().find_map(Logged::read))
    }

    async fn send(&self, hook: &Hook, letter: Letter, before: DeliveryDoc) -> DeliveryDoc {
        let attempts = before.attempts.saturating_add(1);
        let letter = Letter {
            attempt: u32::try_from(attempts).unwrap_or(u32::MAX).max(2),
            ..letter
        };
        let (outcome, took) = self.parts.post.send_now(hook, &letter).await;
        DeliveryDoc {
            state: match outcome.is_delivered() {
                true => DeliveryState::Delivered,
                false => before.state,
            },
            attempts,
            status: outcome.status().map(i64::from),
            error: outcome.error(),
            at: StoreTime::from_datetime(self.parts.clock.wall()),
            duration_ms: i64::try_from(took.as_millis()).unwrap_or(i64::MAX),
            replay: false,
            ..before
        }
    }

    async fn note(
        &self,
        record: Record<DeliveryDoc>,
        done: DeliveryDoc,
    ) -> Result<(), JournalError> {
        let path = record.path;
        let needs = vec![Need::Read(path.clone())];
        let change = move |draft: &mut Draft<'_>| -> Result<(), DraftError> {
            // Swept meanwhile, it stays so.
            if draft.get::<DeliveryDoc>(&path)?.is_some() {
                draft.put(path.clone(), &done)?;
            }
            Ok(())
        };
        self.parts.journal.apply(needs, change).await
    }
}
