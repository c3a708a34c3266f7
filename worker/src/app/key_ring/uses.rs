//! What the store holds that opens with the key ring: which of its keys are still
//! needed, and for what.
//!
//! Two kinds of documents have a data key that is wrapped for the ring: an
//! account's head and a webhook. Everything else that is sealed (session files,
//! archives, kept originals, proxies, QR codes, queued messages, the keys of
//! files) is sealed with an account's data key, and goes with its head.

use std::fmt::Write as _;

use coordinator_lib::identity::head_collection;
use coordinator_lib::store::{Document, DocumentStore, Query, StoreError, query_all};
use serde::Deserialize;
use session::{KeyRing, WRAPPED_KEYS_FIELD, WrappedKeys};

use crate::model::queries;

/// Documents of a kind, at most.
const DOCUMENTS_MAX: usize = 1_000_000;
/// So many ids are named to people.
const NAMED_MAX: usize = 5;

/// Whose a data key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// An account's: of all that is sealed for it.
    Account,
    /// A webhook's: of its secrets.
    Webhook,
}

impl Holder {
    /// In the order in which people are told of them.
    pub const ALL: [Self; 2] = [Self::Account, Self::Webhook];

    /// What people call several of them.
    pub fn plural(self) -> &'static str {
        match self {
            Holder::Account => "account(s)",
            Holder::Webhook => "webhook(s)",
        }
    }
}

/// A document that needs keys of the ring.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyUse {
    /// Whose it is.
    pub holder: Holder,
    /// The account's or the webhook's id.
    pub id: String,
    /// Its data keys, as they are wrapped; none if they cannot be read.
    wrapped: Option<Vec<WrappedKeys>>,
}

/// The wrapped keys of a head or a webhook, whatever else is in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeysDoc {
    wrapped_keys: WrappedKeys,
    #[serde(default)]
    previous_secret: Option<PreviousKeysDoc>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PreviousKeysDoc {
    wrapped_keys: WrappedKeys,
}

impl KeyUse {
    /// None where there is no key, as in a purged account's head.
    fn of(holder: Holder, document: &Document) -> Option<Self> {
        document.fields.get(WRAPPED_KEYS_FIELD)?;
        let keys: Option<KeysDoc> = document.decode().ok();
        let wrapped = keys.map(|keys| {
            let previous = keys.previous_secret.map(|previous| previous.wrapped_keys);
            std::iter::once(keys.wrapped_keys).chain(previous).collect()
        });
        Some(Self {
            holder,
            id: document.path.id().to_owned(),
            wrapped,
        })
    }

    /// Whether it is to be wrapped anew for this ring. What cannot be read is
    /// not.
    pub fn is_due(&self, ring: &KeyRing) -> bool {
        let mut wrapped = self.wrapped.iter().flatten();
        wrapped.any(|keys| ring.is_due(keys))
    }

    /// Whether this ring opens all of it.
    pub fn opens_with(&self, ring: &KeyRing) -> bool {
        let opens = |keys: &WrappedKeys| ring.unwrap(keys, &self.id).is_ok();
        let wrapped = self.wrapped.as_ref();
        wrapped.is_some_and(|wrapped| wrapped.iter().all(opens))
    }

    /// Whether it is wrapped for this key. Of what cannot be read nobody knows
    /// that it is not.
    pub fn needs(&self, fingerprint: &str) -> bool {
        self.wrapped.as_ref().is_none_or(|wrapped| {
            let mut recipients = wrapped.iter().flat_map(WrappedKeys::recipients);
            recipients.any(|one| one.as_str() == fingerprint)
        })
    }
}

/// Everything that needs keys of a ring: accounts first, each kind by id.
///
/// # Errors
/// The store's.
pub async fn read(store: &dyn DocumentStore) -> Result<Vec<KeyUse>, StoreError> {
    let mut uses = Vec::new();
    for holder in Holder::ALL {
        let query = match holder {
            Holder::Account => Query::new(head_collection()),
            Holder::Webhook => queries::webhooks()?,
        };
        let documents = query_all(store, &query, DOCUMENTS_MAX).await?;
        let found = documents
            .iter()
            .filter_map(|document| KeyUse::of(holder, document));
        uses.extend(found);
    }
    Ok(uses)
}

/// How many there are of each kind, and the first ids: `2 account(s): a, b;
/// 1 webhook(s): whk_1`.
pub fn describe<'a>(uses: impl Iterator<Item = &'a KeyUse> + Clone) -> String {
    let mut text = String::new();
    for holder in Holder::ALL {
        let ids: Vec<&str> = uses
            .clone()
            .filter(|one| one.holder == holder)
            .map(|one| one.id.as_str())
            .collect();
        if ids.is_empty() {
            continue;
        }
        let separator = if text.is_empty() { "" } else { "; " };
        let named = ids[..ids.len().min(NAMED_MAX)].join(", ");
        let more = if ids.len() > NAMED_MAX { ", …" } else { "" };
        // Writing into a text cannot fail.
        let _ = write!(
            text,
            "{separator}{} {}: {named}{more}",
            ids.len(),
            holder.plural()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use coordinator_lib::clock::ManualClock;
    use coordinator_lib::rng::SeededRng;
    use coordinator_lib::store::{Fields, MemoryStore, Path, Precondition, Store, Value, Write};
    use session::{DataKey, HeadDoc};

    use super::*;

    struct Scene {
        store: Store,
        ring: KeyRing,
        rng: SeededRng,
    }

    impl Scene {
        fn new() -> Self {
            let rng = SeededRng::new(1);
            Self {
                store: Arc::new(MemoryStore::new(Arc::new(ManualClock::new()))),
                ring: KeyRing::generate(&rng),
                rng,
            }
        }

        fn keys_for(&self, ring: &KeyRing, id: &str) -> Fields {
            let key = DataKey::generate(&self.rng);
            let head = HeadDoc {
                wrapped_keys: ring.wrap(&self.rng, &key, id),
            };
            head.to_document().unwrap()
        }

        async fn put(&self, path: &str, fields: Fields) {
            let write = Write::Set {
                path: Path::new(path).unwrap(),
                fields,
                precondition: Precondition::Absent,
            };
            assert!(self.store.commit(vec![write]).await.is_ok());
        }
    }

    #[tokio::test]
    async fn accounts_and_both_secrets_of_a_webhook_need_their_keys() {
        let scene = Scene::new();
        let old = scene.ring.active().to_string();
        let rotated = scene.ring.with_new_key(&scene.rng).unwrap();
        let rotated = rotated.with_retired(&old).unwrap();
        scene
            .put("wa_sessions/a1", scene.keys_for(&scene.ring, "a1"))
            .await;
        scene
            .put("wa_sessions/a2", scene.keys_for(&rotated, "a2"))
            .await;
        // Its present secret is the new ring's, the one before the old ring's.
        let mut webhook = scene.keys_for(&rotated, "whk_1");
        let previous = scene.keys_for(&scene.ring, "whk_1");
        webhook.insert("previousSecret".to_owned(), Value::Map(previous));
        scene.put("webhooks/whk_1", webhook).await;
        // A tombstone has no key.
        let epoch = [("epoch".to_owned(), Value::Int(3))];
        scene.put("wa_sessions/gone", epoch.into()).await;

        let uses = read(scene.store.as_ref()).await.unwrap();
        let needing = || uses.iter().filter(|one| one.needs(&old));
        assert_eq!(describe(needing()), "1 account(s): a1; 1 webhook(s): whk_1");
        let due: Vec<&str> = uses
            .iter()
            .filter(|one| one.is_due(&rotated))
            .map(|one| one.id.as_str())
            .collect();
        assert_eq!(due, ["a1", "whk_1"]);
        let without = rotated.without(&old).unwrap();
        let closed = |one: &&KeyUse| !one.opens_with(&without);
        assert_eq!(uses.iter().filter(closed).count(), 2);
        assert!(uses.iter().all(|one| one.opens_with(&rotated)));
    }

    #[tokio::test]
    async fn what_cannot_be_read_may_need_any_key() {
        let scene = Scene::new();
        let garbled = [(WRAPPED_KEYS_FIELD.to_owned(), Value::Int(7))];
        scene.put("wa_sessions/a1", garbled.into()).await;
        let uses = read(scene.store.as_ref()).await.unwrap();
        assert!(uses[0].needs("0123456789abcdef"));
        assert!(!uses[0].is_due(&scene.ring));
    }

    #[test]
    fn many_are_counted_and_some_named() {
        let uses: Vec<KeyUse> = (0..7)
            .map(|number| KeyUse {
                holder: Holder::Webhook,
                id: format!("w{number}"),
                wrapped: None,
            })
            .collect();
        assert_eq!(describe(uses.iter()), "7 webhook(s): w0, w1, w2, w3, w4, …");
        assert_eq!(describe([].iter()), "");
    }
}
