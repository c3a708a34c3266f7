//! What is posted of an event, in the webhook's format.
//!
//! Events hold ids alone. What WAHA's say beside that is read when they are
//! delivered, so it is as it is then.

use bytes::Bytes;
use coordinator_lib::store::{Document, DocumentStore, StoreError};
use serde::Serialize;

use super::hooks::Hook;
use crate::events::Logged;
use crate::model::stored::Record;
use crate::model::thread::MergedThreadDoc;
use crate::model::webhook::WebhookFormat;
use crate::model::{AccountDoc, MessageDoc, Stored, ThreadDoc, collections};
use crate::waha::events::{self as waha, InChat, Need};

/// The body for an event; none if the format has nothing for it, or if what it
/// tells of is gone.
///
/// # Errors
/// The store's.
pub async fn of(
    store: &dyn DocumentStore,
    hook: &Hook,
    event: &Logged,
) -> Result<Option<Bytes>, StoreError> {
    match hook.format {
        WebhookFormat::Leasehold => Ok(Some(json(&event.view()))),
        WebhookFormat::Waha => as_waha(store, event).await,
    }
}

async fn as_waha(store: &dyn DocumentStore, event: &Logged) -> Result<Option<Bytes>, StoreError> {
    let Some(need) = waha::need(event) else {
        return Ok(None);
    };
    let account = collections::account(&event.event.account_id)?;
    let found = store.get(&[account]).await?;
    let Some(account) = found.documents.iter().flatten().next().and_then(known) else {
        return Ok(None);
    };
    let account: Record<AccountDoc> = account;
    let message = match need {
        Need::Account => None,
        Need::Message { thread, message } => in_chat(store, &thread, &message).await?,
    };
    let told = waha::tell(event, &account.value, message);
    Ok(told.map(|envelope| json(&envelope)))
}

/// A message where it is now: its thread may have become one with another.
async fn in_chat(
    store: &dyn DocumentStore,
    thread: &str,
    message: &str,
) -> Result<Option<InChat>, StoreError> {
    if let Some(found) = in_thread(store, thread, message).await? {
        return Ok(Some(found));
    }
    let found = store.get(&[collections::merged_thread(thread)?]).await?;
    let merged = found.documents.iter().flatten().next();
    match merged.and_then(MergedThreadDoc::read_or_skip) {
        Some(merged) => in_thread(store, &merged.value.into, message).await,
        None => Ok(None),
    }
}

async fn in_thread(
    store: &dyn DocumentStore,
    thread: &str,
    message: &str,
) -> Result<Option<InChat>, StoreError> {
    let paths = [
        collections::thread(thread)?,
        collections::message(thread, message)?,
    ];
    let found = store.get(&paths).await?;
    let [Some(thread), Some(message)] = &found.documents[..] else {
        return Ok(None);
    };
    let (thread, message) = (known::<ThreadDoc>(thread), known::<MessageDoc>(message));
    let (Some(thread), Some(message)) = (thread, message) else {
        return Ok(None);
    };
    Ok(Some(InChat {
        chat: thread.value.pn.unwrap_or(thread.value.chat),
        message,
    }))
}

fn known<T: Stored>(document: &Document) -> Option<Record<T>> {
    T::read_or_skip(document)
}

/// What is made here always has a form as JSON.
pub fn json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .unwrap_or_default()
}
