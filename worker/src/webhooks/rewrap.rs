//! Wraps the data keys of a webhook's secrets anew when the key ring has changed.
//!
//! Nobody owns a webhook, so whoever rotates the ring does it, on the condition
//! that the document is as it was read. The secrets stay what they are.

use coordinator_lib::rng::Rng;
use coordinator_lib::store::{CommitOutcome, Precondition, Store, StoreError, Write};
use session::{KeyRing, WrappedKeys};

use crate::model::webhook::PreviousSecretDoc;
use crate::model::{Read, Stored, WebhookDoc, collections};

/// Attempts at a document that others' changes keep getting ahead of.
const ATTEMPTS_MAX: usize = 8;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookRewrap {
    /// Wrapped anew.
    Done,
    /// It was wrapped for the present ring, or is gone.
    NotDue,
    /// Its secret opens with no key of the ring, or the document cannot be read.
    Unreadable,
}

/// Wraps a webhook's data keys for the ring, if that is due.
///
/// # Errors
/// The store's; [`StoreError::Contended`] if the webhook keeps changing.
pub async fn rewrap(
    store: &Store,
    ring: &KeyRing,
    rng: &dyn Rng,
    id: &str,
) -> Result<WebhookRewrap, StoreError> {
    let path = collections::webhook(id)?;
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = store.get(std::slice::from_ref(&path)).await?;
        let Some(document) = snapshot.documents.into_iter().flatten().next() else {
            return Ok(WebhookRewrap::NotDue);
        };
        let Ok(Read::Known(record)) = WebhookDoc::read(&document) else {
            return Ok(WebhookRewrap::Unreadable);
        };
        if !is_due(&record.value, ring) {
            return Ok(WebhookRewrap::NotDue);
        }
        let Some(changed) = anew(record.value, ring, rng, id) else {
            return Ok(WebhookRewrap::Unreadable);
        };
        let write = Write::Set {
            path: path.clone(),
            fields: changed.to_document()?,
            precondition: Precondition::Unchanged(record.update_time),
        };
        match store.commit(vec![write]).await {
            Ok(CommitOutcome::Committed(_)) => return Ok(WebhookRewrap::Done),
            // Changed meanwhile, or in doubt: look again.
            Ok(CommitOutcome::Rejected) | Err(StoreError::Ambiguous { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Contended {
        reason: format!("webhook {id} kept changing"),
    })
}

fn is_due(document: &WebhookDoc, ring: &KeyRing) -> bool {
    let previous = document.previous_secret.as_ref();
    ring.is_due(&document.wrapped_keys)
        || previous.is_some_and(|previous| ring.is_due(&previous.wrapped_keys))
}

/// The document with its keys wrapped for the ring; none if its secret does not
/// open. A secret before it that does not open is good for nothing, and goes.
fn anew(document: WebhookDoc, ring: &KeyRing, rng: &dyn Rng, id: &str) -> Option<WebhookDoc> {
    let wrap = |wrapped: &WrappedKeys| -> Option<WrappedKeys> {
        let data_key = ring.unwrap(wrapped, id).ok()?;
        Some(ring.wrap(rng, &data_key, id))
    };
    let previous_secret = document.previous_secret.and_then(|previous| {
        Some(PreviousSecretDoc {
            wrapped_keys: wrap(&previous.wrapped_keys)?,
            ..previous
        })
    });
    Some(WebhookDoc {
        wrapped_keys: wrap(&document.wrapped_keys)?,
        previous_secret,
        ..document
    })
}

#[cfg(test)]
mod tests {
    use coordinator_lib::store::{Stamp, StoreTime};

    use super::*;
    use crate::model::webhook::WebhookFormat;
    use crate::testing::Bench;
    use crate::webhooks::secret::Secret;

    const HOOK: &str = "whk_1";

    /// A webhook with two secrets, sealed for the bench's ring.
    async fn webhook(bench: &Bench) -> [Secret; 2] {
        let rng = bench.rng.as_ref();
        let secrets = [Secret::generate(rng), Secret::generate(rng)];
        let [(wrapped_keys, sealed_secret), (wrapped, sealed)] = secrets
            .clone()
            .map(|secret| secret.seal(&bench.keys, rng, HOOK));
        let document = WebhookDoc {
            name: String::new(),
            url: "https://example.com/".to_owned(),
            accounts: None,
            types: None,
            enabled: true,
            wrapped_keys,
            sealed_secret,
            previous_secret: Some(PreviousSecretDoc {
                wrapped_keys: wrapped,
                sealed_secret: sealed,
                until: StoreTime::from_micros(4_000_000_000_000_000),
            }),
            format: WebhookFormat::Leasehold,
            created_at: Stamp::Commit,
        };
        let write = Write::Set {
            path: collections::webhook(HOOK).unwrap(),
            fields: document.to_document().unwrap(),
            precondition: Precondition::Absent,
        };
        assert!(bench.store.commit(vec![write]).await.is_ok());
        secrets
    }

    async fn stored(bench: &Bench) -> WebhookDoc {
        let path = collections::webhook(HOOK).unwrap();
        let found = bench.store.get(&[path]).await.unwrap();
        let document = found.documents.into_iter().flatten().next().unwrap();
        WebhookDoc::read_or_skip(&document).unwrap().value
    }

    #[tokio::test]
    async fn both_secrets_open_with_the_new_key_alone_and_are_what_they_were() {
        let bench = Bench::new();
        let rng = bench.rng.as_ref();
        let secrets = webhook(&bench).await;
        let before = stored(&bench).await;
        let old = bench.keys.active().to_string();
        let rotated = bench.keys.with_new_key(rng).unwrap();
        let rotated = rotated.with_retired(&old).unwrap();
        let done = rewrap(&bench.store, &rotated, rng, HOOK).await.unwrap();
        assert_eq!(done, WebhookRewrap::Done);
        let again = rewrap(&bench.store, &rotated, rng, HOOK).await.unwrap();
        assert_eq!(again, WebhookRewrap::NotDue);

        let doc = stored(&bench).await;
        let new = rotated.without(&old).unwrap();
        let previous = doc.previous_secret.clone().unwrap();
        let opened = [
            Secret::open(&new, HOOK, &doc.wrapped_keys, &doc.sealed_secret),
            Secret::open(&new, HOOK, &previous.wrapped_keys, &previous.sealed_secret),
        ];
        assert!(opened.map(Result::unwrap) == secrets);
        assert!(bench.keys.unwrap(&doc.wrapped_keys, HOOK).is_err());
        // Nothing else of it is another: it gets the events since it was made.
        assert_eq!((doc.created_at, doc.url), (before.created_at, before.url));
    }

    #[tokio::test]
    async fn a_secret_of_another_ring_is_left_as_it_is() {
        let bench = Bench::new();
        let rng = bench.rng.as_ref();
        webhook(&bench).await;
        let before = stored(&bench).await;
        let others = KeyRing::generate(rng);
        let left = rewrap(&bench.store, &others, rng, HOOK).await.unwrap();
        assert_eq!(left, WebhookRewrap::Unreadable);
        assert!(stored(&bench).await == before);
        let missing = rewrap(&bench.store, &others, rng, "whk_2").await.unwrap();
        assert_eq!(missing, WebhookRewrap::NotDue);
    }
}
