//! The keys there are, as the store has them, with what was read lately kept in
//! memory: a revoked key is refused by all workers after [`FRESH`] at the latest.

use std::collections::HashMap;
use std::time::Duration;

use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::rng::Rng;
use coordinator_lib::store::{
    CommitOutcome, Precondition, Store, StoreError, StoreTime, Value, Write,
};
use parking_lot::Mutex;

use super::key::{ApiKey, KeyHash};
use super::scope::{Grant, Scope};
use crate::model::{ApiKeyDoc, Stored, collections, queries};
use crate::outbox::bucket::Bucket;

/// What was read is taken for true so long.
const FRESH: Duration = Duration::from_secs(5);

/// And so long while the store does not answer: accounts that are healthy shall
/// not be out of reach because of it.
const STALE_MAX: Duration = Duration::from_secs(10 * 60);

/// Keys that are remembered; far more than anybody has.
const KEYS_MAX: usize = 4_096;

/// Ids that nobody has are looked up so often a second, and so many at once.
const UNKNOWN_RATE: f64 = 10.0;
const UNKNOWN_BURST: u32 = 50;

/// The last use of a key is noted so often at most.
const USE_NOTED_EVERY: Duration = Duration::from_secs(10 * 60);

/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 100;

/// Accounts that a key is limited to.
pub const ACCOUNTS_MAX: usize = 100;

/// What a book works with.
pub struct KeyBookParts {
    /// The documents.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// Requests of one key a second, and so many at once; 0 does not limit.
    pub rate: f64,
    /// See `rate`.
    pub burst: u32,
}

/// See the module.
pub struct KeyBook {
    parts: KeyBookParts,
    known: Mutex<Known>,
}

struct Known {
    keys: HashMap<String, Entry>,
    /// Whether there is any key, and when that was read.
    any: Option<(bool, Boottime)>,
    unknown: Bucket,
}

struct Entry {
    document: Option<ApiKeyDoc>,
    read_at: Boottime,
    noted_at: Option<Boottime>,
    bucket: Bucket,
}

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// Its rights.
    pub scopes: Vec<Scope>,
    /// The only accounts that it is for.
    pub accounts: Option<Vec<String>>,
}

/// What became of a key that was brought along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Import {
    /// It is good now.
    Added,
    /// It was good already.
    Known,
    /// It was made good for nothing earlier, and stays so.
    Revoked,
    /// It is not good: its id is another key's.
    Another,
}

/// Why a key was not made.
#[derive(Debug, thiserror::Error)]
pub enum NewKeyError {
    /// The name is empty or long.
    #[error("`name` has 1 to {NAME_CHARS_MAX} characters")]
    Name,
    /// It may do nothing.
    #[error("`scopes` names at least one of read, send, control and admin")]
    Scopes,
    /// It is limited to no account, or to ones that cannot be.
    #[error("`accounts` names 1 to {ACCOUNTS_MAX} ids of accounts, or is left out")]
    Accounts,
    /// From the first key on every request needs one, the next key's too.
    #[error("the first key must have the scope admin, and no `accounts`: it makes the others")]
    First,
    /// Chance.
    #[error("a fresh id was taken already; try again")]
    Taken,
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a request goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// There is no key at all.
    Open,
    /// It came with a key.
    Granted(Grant),
}

/// Why it does not.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It has no key.
    #[error("no key")]
    NoKey,
    /// What it has is no key, or not one of this cluster.
    #[error("not a key")]
    Unknown,
    /// The key was revoked.
    #[error("revoked")]
    Revoked,
    /// The key is used too often.
    #[error("too many requests")]
    TooFast(Duration),
    /// Nobody knows.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl KeyBook {
    /// An empty book.
    pub fn new(parts: KeyBookParts) -> Self {
        let now = parts.clock.boottime();
        Self {
            parts,
            known: Mutex::new(Known {
                keys: HashMap::new(),
                any: None,
                unknown: Bucket::new(UNKNOWN_RATE, UNKNOWN_BURST, now),
            }),
        }
    }

    /// Whether a request with this key, or without one, goes on.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn admit(&self, presented: Option<&str>) -> Result<Admission, Refused> {
        let Some(text) = presented else {
            return match self.is_open().await? {
                true => Ok(Admission::Open),
                false => Err(Refused::NoKey),
            };
        };
        let key = ApiKey::parse(text).ok_or(Refused::Unknown)?;
        let document = self.read(key.id()).await?.ok_or(Refused::Unknown)?;
        let is_it = KeyHash::from_bytes(&document.hash).is_some_and(|hash| hash.is_of(&key));
        if !is_it {
            return Err(Refused::Unknown);
        }
        let grant = self.use_key(key.id(), document).await?;
        Ok(Admission::Granted(grant))
    }

    /// What a key may do whose owner has signed in with it before.
    ///
    /// # Errors
    /// [`Refused`], but for [`Refused::NoKey`].
    pub async fn admit_signed_in(&self, key_id: &str) -> Result<Grant, Refused> {
        let document = self.read(key_id).await?.ok_or(Refused::Unknown)?;
        self.use_key(key_id, document).await
    }

    async fn use_key(&self, id: &str, document: ApiKeyDoc) -> Result<Grant, Refused> {
        if document.revoked_at.is_some() {
            return Err(Refused::Revoked);
        }
        self.count_use(id).await?;
        Ok(Grant {
            key_id: id.to_owned(),
            name: document.name,
            scopes: document.scopes,
            accounts: document.accounts,
        })
    }

    /// Whether there is no key at all. Once there was one, there always is:
    /// revoked ones stay.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn is_open(&self) -> Result<bool, StoreError> {
        let now = self.parts.clock.boottime();
        match self.known.lock().any {
            Some((true, _)) => return Ok(false),
            Some((false, at)) if now - at < FRESH => return Ok(true),
            Some(_) | None => {}
        }
        let page = self
            .parts
            .store
            .query(&queries::api_keys()?.limit(1))
            .await?;
        let is_any = !page.documents.is_empty();
        self.known.lock().any = Some((is_any, now));
        Ok(!is_any)
    }

    /// Whether whoever was admitted may go on: the key was not revoked since, or
    /// there is still none. Taken for true while the store does not answer.
    pub async fn is_still_good(&self, grant: &Grant) -> bool {
        if grant.is_without_key() {
            return self.is_open().await.unwrap_or(true);
        }
        match self.read(&grant.key_id).await {
            Ok(Some(document)) => document.revoked_at.is_none(),
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Makes a key. It is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`NewKeyError`].
    pub async fn create(
        &self,
        new: NewKey,
        now: StoreTime,
        rng: &dyn Rng,
    ) -> Result<(ApiKey, ApiKeyDoc), NewKeyError> {
        let key = ApiKey::generate(rng);
        let (outcome, document) = self.add(&key, new, now).await?;
        match outcome {
            CommitOutcome::Committed(_) => Ok((key, document)),
            CommitOutcome::Rejected => Err(NewKeyError::Taken),
        }
    }

    /// Makes a key good that was made elsewhere, and keeps no copy of it. Done
    /// again it changes nothing: a key that is there keeps its rights.
    ///
    /// # Errors
    /// [`NewKeyError`].
    pub async fn import(
        &self,
        key: &ApiKey,
        new: NewKey,
        now: StoreTime,
    ) -> Result<Import, NewKeyError> {
        let (outcome, _) = self.add(key, new, now).await?;
        match outcome {
            CommitOutcome::Committed(_) => return Ok(Import::Added),
            CommitOutcome::Rejected => {}
        }
        let there = self.look_up(key.id()).await?.ok_or(NewKeyError::Taken)?;
        let is_it = KeyHash::from_bytes(&there.hash).is_some_and(|hash| hash.is_of(key));
        Ok(match (is_it, there.revoked_at) {
            (false, _) => Import::Another,
            (true, None) => Import::Known,
            (true, Some(_)) => Import::Revoked,
        })
    }

    /// Writes the document of a key unless there is one of its id.
    async fn add(
        &self,
        key: &ApiKey,
        mut new: NewKey,
        now: StoreTime,
    ) -> Result<(CommitOutcome, ApiKeyDoc), NewKeyError> {
        new.check()?;
        let is_admins = new.scopes.contains(&Scope::Admin) && new.accounts.is_none();
        if !is_admins && self.is_open().await? {
            return Err(NewKeyError::First);
        }
        let document = ApiKeyDoc {
            name: new.name,
            hash: key.hash().as_bytes().to_vec().into(),
            scopes: new.scopes,
            accounts: new.accounts,
            created_at: now,
            revoked_at: None,
            last_used_at: None,
        };
        let write = Write::Set {
            path: collections::api_key(key.id())?,
            fields: document.to_document()?,
            precondition: Precondition::Absent,
        };
        let outcome = self.parts.store.commit(vec![write]).await?;
        self.forget();
        Ok((outcome, document))
    }

    /// Makes a key good for nothing; false if there is none of this id.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn revoke(&self, id: &str, now: StoreTime) -> Result<bool, StoreError> {
        let write = Write::Update {
            path: collections::api_key(id)?,
            fields: [("revokedAt".to_owned(), Value::Time(now))].into(),
            precondition: Precondition::Exists,
        };
        let outcome = self.parts.store.commit(vec![write]).await?;
        self.forget();
        Ok(matches!(outcome, CommitOutcome::Committed(_)))
    }

    /// Forgets what was read: a key was made or revoked here.
    fn forget(&self) {
        let mut known = self.known.lock();
        known.any = None;
        for entry in known.keys.values_mut() {
            entry.read_at = Boottime::default();
        }
    }

    async fn read(&self, id: &str) -> Result<Option<ApiKeyDoc>, Refused> {
        let now = self.parts.clock.boottime();
        let stale = {
            let mut known = self.known.lock();
            let entry = known.keys.get(id);
            if let Some(entry) = entry.filter(|entry| now - entry.read_at < FRESH) {
                return Ok(entry.document.clone());
            }
            let stale = entry.and_then(|entry| {
                let is_usable = now - entry.read_at < STALE_MAX;
                entry.document.clone().filter(|_| is_usable)
            });
            if stale.is_none() {
                known.unknown.take(now).map_err(Refused::TooFast)?;
            }
            stale
        };
        let document = match self.look_up(id).await {
            Ok(document) => document,
            Err(error) => match stale {
                Some(document) => return Ok(Some(document)),
                None => return Err(error.into()),
            },
        };
        self.remember(id, document.clone(), now);
        Ok(document)
    }

    async fn look_up(&self, id: &str) -> Result<Option<ApiKeyDoc>, StoreError> {
        let found = self.parts.store.get(&[collections::api_key(id)?]).await?;
        let document = found.documents.iter().flatten().next();
        Ok(document
            .and_then(ApiKeyDoc::read_or_skip)
            .map(|record| record.value))
    }

    fn remember(&self, id: &str, document: Option<ApiKeyDoc>, now: Boottime) {
        let mut known = self.known.lock();
        if known.keys.len() >= KEYS_MAX && !known.keys.contains_key(id) {
            known.keys.clear();
        }
        let parts = &self.parts;
        let entry = known.keys.entry(id.to_owned()).or_insert_with(|| Entry {
            document: None,
            read_at: now,
            noted_at: None,
            bucket: Bucket::new(parts.rate, parts.burst, now),
        });
        entry.document = document;
        entry.read_at = now;
    }

    /// Takes a token, and notes the use now and then.
    async fn count_use(&self, id: &str) -> Result<(), Refused> {
        let now = self.parts.clock.boottime();
        let is_to_note = {
            let mut known = self.known.lock();
            let Some(entry) = known.keys.get_mut(id) else {
                return Ok(());
            };
            entry.bucket.take(now).map_err(Refused::TooFast)?;
            let is_due = entry.noted_at.is_none_or(|at| now - at >= USE_NOTED_EVERY);
            if is_due {
                entry.noted_at = Some(now);
            }
            is_due
        };
        if is_to_note {
            let used = Value::Time(StoreTime::from_datetime(self.parts.clock.wall()));
            let write = Write::Update {
                path: collections::api_key(id)?,
                fields: [("lastUsedAt".to_owned(), used)].into(),
                precondition: Precondition::Exists,
            };
            // Whoever asks shall not wait for it, nor fail by it.
            if let Err(error) = self.parts.store.commit(vec![write]).await {
                tracing::debug!(%error, key.id = id, "last use of a key was not noted");
            }
        }
        Ok(())
    }
}

impl NewKey {
    fn check(&mut self) -> Result<(), NewKeyError> {
        self.name = self.name.trim().to_owned();
        let characters = self.name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&characters) {
            return Err(NewKeyError::Name);
        }
        self.scopes.sort_unstable();
        self.scopes.dedup();
        if self.scopes.is_empty() {
            return Err(NewKeyError::Scopes);
        }
        let is_account = |id: &String| collections::account(id).is_ok();
        match &self.accounts {
            Some(accounts)
                if accounts.is_empty()
                    || accounts.len() > ACCOUNTS_MAX
                    || !accounts.iter().all(is_account) =>
            {
                Err(NewKeyError::Accounts)
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use coordinator_lib::clock::ManualClock;
    use coordinator_lib::rng::SeededRng;
    use coordinator_lib::store::MemoryStore;

    use super::*;

    struct Scene {
        book: KeyBook,
        store: Store,
        clock: Arc<ManualClock>,
        memory: MemoryStore,
    }

    fn scene() -> Scene {
        let clock = Arc::new(ManualClock::new());
        let memory = MemoryStore::new(clock.clone());
        let store: Store = Arc::new(memory.clone());
        let parts = KeyBookParts {
            store: store.clone(),
            clock: clock.clone(),
            rate: 1.0,
            burst: 3,
        };
        Scene {
            book: KeyBook::new(parts),
            store,
            clock,
            memory,
        }
    }

    impl Scene {
        async fn add(&self, seed: u64) -> ApiKey {
            let key = ApiKey::generate(&*SeededRng::shared(seed));
            let document = ApiKeyDoc {
                name: "test".to_owned(),
                hash: key.hash().as_bytes().to_vec().into(),
                scopes: vec![Scope::Read],
                accounts: Some(vec!["a1".to_owned()]),
                created_at: StoreTime::from_micros(0),
                revoked_at: None,
                last_used_at: None,
            };
            self.write(Write::Set {
                path: collections::api_key(key.id()).unwrap(),
                fields: document.to_document().unwrap(),
                precondition: Precondition::None,
            })
            .await;
            key
        }

        async fn write(&self, write: Write) {
            let _ = self.store.commit(vec![write]).await.unwrap();
        }

        /// As another worker does.
        async fn revoke(&self, key: &ApiKey) {
            let at = Value::Time(StoreTime::from_micros(1));
            self.write(Write::Update {
                path: collections::api_key(key.id()).unwrap(),
                fields: [("revokedAt".to_owned(), at)].into(),
                precondition: Precondition::Exists,
            })
            .await;
        }

        async fn admit(&self, key: &ApiKey) -> Result<Admission, Refused> {
            self.book.admit(Some(&key.expose())).await
        }
    }

    #[tokio::test]
    async fn without_any_key_none_is_asked_for_and_with_one_it_is() {
        let scene = scene();
        assert_eq!(scene.book.admit(None).await.unwrap(), Admission::Open);
        let key = scene.add(1).await;
        // The other workers find out a little later.
        scene.clock.advance(FRESH);
        assert!(matches!(scene.book.admit(None).await, Err(Refused::NoKey)));
        let Admission::Granted(grant) = scene.admit(&key).await.unwrap() else {
            panic!("granted");
        };
        assert_eq!(grant.key_id, key.id());
        assert!(grant.has(Scope::Read) && grant.is_for("a1") && !grant.is_for("a2"));
    }

    #[tokio::test]
    async fn another_secret_is_unknown_and_a_revoked_key_is_refused_soon() {
        let scene = scene();
        let key = scene.add(1).await;
        let stranger = ApiKey::generate(&*SeededRng::shared(2));
        assert!(matches!(
            scene.admit(&stranger).await,
            Err(Refused::Unknown)
        ));
        let secret = stranger.expose();
        let (_, secret) = secret.rsplit_once('_').unwrap();
        let forged = format!("lh_{}_{secret}", key.id());
        let forged = scene.book.admit(Some(&forged)).await;
        assert!(matches!(forged, Err(Refused::Unknown)));

        assert!(scene.admit(&key).await.is_ok());
        scene.revoke(&key).await;
        scene.clock.advance(FRESH);
        assert!(matches!(scene.admit(&key).await, Err(Refused::Revoked)));
    }

    #[tokio::test]
    async fn a_key_has_its_rate_and_a_guess_has_one_too() {
        let scene = scene();
        let key = scene.add(1).await;
        for _ in 0..3 {
            assert!(scene.admit(&key).await.is_ok());
        }
        assert!(matches!(scene.admit(&key).await, Err(Refused::TooFast(_))));
        scene.clock.advance(Duration::from_secs(1));
        assert!(scene.admit(&key).await.is_ok());

        let guesses = (10..200).map(|seed| ApiKey::generate(&*SeededRng::shared(seed)));
        let mut too_fast = 0;
        for guess in guesses {
            too_fast += usize::from(matches!(
                scene.admit(&guess).await,
                Err(Refused::TooFast(_))
            ));
        }
        assert!(too_fast > 100, "{too_fast}");
    }

    #[tokio::test]
    async fn a_key_that_was_read_is_good_for_a_while_without_the_store() {
        let scene = scene();
        let key = scene.add(1).await;
        assert!(scene.admit(&key).await.is_ok());
        scene.memory.fail_next_read();
        scene.clock.advance(STALE_MAX - Duration::from_secs(1));
        assert!(scene.admit(&key).await.is_ok());
        scene.memory.fail_next_read();
        scene.clock.advance(Duration::from_secs(2));
        assert!(matches!(scene.admit(&key).await, Err(Refused::Store(_))));
    }

    fn new_key(scope: Scope) -> NewKey {
        NewKey {
            name: "brought along".to_owned(),
            scopes: vec![scope],
            accounts: None,
        }
    }

    #[tokio::test]
    async fn a_key_that_is_brought_along_is_good_once_and_for_all() {
        let scene = scene();
        let now = StoreTime::from_micros(1);
        let key = ApiKey::generate(&*SeededRng::shared(1));
        let import = async |scope| scene.book.import(&key, new_key(scope), now).await;
        assert!(matches!(import(Scope::Read).await, Err(NewKeyError::First)));
        assert_eq!(import(Scope::Admin).await.unwrap(), Import::Added);
        assert_eq!(import(Scope::Admin).await.unwrap(), Import::Known);
        // Its rights are not changed by the way.
        assert_eq!(import(Scope::Read).await.unwrap(), Import::Known);
        let Admission::Granted(grant) = scene.admit(&key).await.unwrap() else {
            panic!("granted");
        };
        assert!(grant.has(Scope::Admin));

        scene.revoke(&key).await;
        assert_eq!(import(Scope::Admin).await.unwrap(), Import::Revoked);
    }

    #[tokio::test]
    async fn the_id_of_another_key_is_refused() {
        let scene = scene();
        let key = scene.add(1).await;
        let stranger = ApiKey::generate(&*SeededRng::shared(2)).expose();
        let (_, secret) = stranger.rsplit_once('_').unwrap();
        let forged = ApiKey::parse(&format!("lh_{}_{secret}", key.id())).unwrap();
        let now = StoreTime::from_micros(1);
        let refused = scene.book.import(&forged, new_key(Scope::Admin), now).await;
        assert_eq!(refused.unwrap(), Import::Another);
    }
}
