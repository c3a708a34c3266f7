//! Which thread a chat belongs to, for the owner of an account.
//!
//! Remembers what it has found: one owner, so nobody else makes threads from
//! what arrives. (Accepting a message makes one too, under the same id for the
//! same address.) Bounded like [`Known`](crate::events::known::Known): what was
//! not used lately is looked up again.

use std::collections::{BTreeMap, HashMap};

use coordinator_lib::store::{Query, Store, StoreError};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::identity::{Peer, Preview};
use crate::model::stored::Record;
use crate::model::{MessageDoc, Stored, ThreadDoc, ThreadKind, collections, ids, queries};

/// Addresses of one generation.
const GENERATION_MAX: usize = 2_048;

/// Pairs of threads that wait to become one; more are found again later.
const SPLITS_MAX: usize = 1_000;

/// The threads of one account.
pub struct ThreadBook {
    account_id: String,
    store: Store,
    found: Mutex<Found>,
    /// Threads that are one person's: the first is to go into the second.
    splits: Mutex<BTreeMap<String, String>>,
    split_found: Notify,
}

#[derive(Default)]
struct Found {
    young: HashMap<String, String>,
    old: HashMap<String, String>,
}

impl ThreadBook {
    /// A book that has found nothing yet.
    pub fn new(account_id: String, store: Store) -> Self {
        Self {
            account_id,
            store,
            found: Mutex::default(),
            splits: Mutex::default(),
            split_found: Notify::new(),
        }
    }

    /// The id of the thread with a peer, which may not exist yet. Where there
    /// are two, it is the one that the other goes into: see
    /// [`merge`](super::merge).
    ///
    /// # Errors
    /// The store's failure.
    pub async fn thread_of(&self, peer: &Peer) -> Result<String, StoreError> {
        if let Some(thread) = self.remembered(peer) {
            return Ok(thread);
        }
        let existing = self.existing(peer).await?;
        let thread = match existing.first() {
            Some(thread) => thread.path.id().to_owned(),
            None => ids::thread(&self.account_id, peer.preferred()),
        };
        for other in existing.iter().skip(1) {
            self.note_split(other.path.id(), &thread);
        }
        let mut found = self.found.lock();
        for address in peer.addresses() {
            found.learn(address.to_owned(), thread.clone());
        }
        Ok(thread)
    }

    /// The thread, if every address of the peer is known to lead there.
    fn remembered(&self, peer: &Peer) -> Option<String> {
        let mut found = self.found.lock();
        let mut threads = peer
            .addresses()
            .into_iter()
            .map(|address| found.get(address));
        let first = threads.next()??;
        threads
            .all(|other| other.as_ref() == Some(&first))
            .then_some(first)
    }

    /// The stored threads that were made for any of the peer's addresses, or that
    /// have learnt one of them since: the number's first, each once.
    async fn existing(&self, peer: &Peer) -> Result<Vec<Record<ThreadDoc>>, StoreError> {
        let mut paths = Vec::new();
        for address in peer.addresses() {
            paths.push(collections::thread(&ids::thread(
                &self.account_id,
                address,
            ))?);
        }
        let snapshot = self.store.get(&paths).await?;
        let found = snapshot.documents.iter().flatten();
        let mut threads: Vec<_> = found.filter_map(ThreadDoc::read_or_skip).collect();
        if ThreadKind::of(&peer.chat) != ThreadKind::Direct {
            return Ok(threads);
        }
        // One that is there for each address, or is on its way into another, says
        // all there is to know.
        let is_known = |address: &Option<String>| {
            address.as_ref().is_none_or(|address| {
                let own = ids::thread(&self.account_id, address);
                threads.iter().any(|thread| thread.path.id() == own)
            })
        };
        let (pn_known, lid_known) = (is_known(&peer.pn), is_known(&peer.lid));
        let by_pn = peer.pn.as_deref().filter(|_| !pn_known);
        let by_pn = by_pn.map(|pn| queries::thread_by_pn(&self.account_id, pn));
        let by_lid = peer.lid.as_deref().filter(|_| !lid_known);
        let by_lid = by_lid.map(|lid| queries::thread_by_lid(&self.account_id, lid));
        for query in [by_pn.transpose()?, by_lid.transpose()?]
            .into_iter()
            .flatten()
        {
            threads.extend(self.first(&query).await?);
        }
        let mut all: Vec<Record<ThreadDoc>> = Vec::new();
        for thread in threads {
            let thread = match &thread.value.merging_into {
                Some(into) => self.read(into).await?.unwrap_or(thread),
                None => thread,
            };
            if all.iter().all(|known| known.path != thread.path) {
                all.push(thread);
            }
        }
        // The number's is the one that stays.
        all.sort_by_key(|thread| thread.value.pn.is_none());
        Ok(all)
    }

    async fn first(&self, query: &Query) -> Result<Option<Record<ThreadDoc>>, StoreError> {
        let page = self.store.query(query).await?;
        Ok(page.documents.first().and_then(ThreadDoc::read_or_skip))
    }

    async fn read(&self, id: &str) -> Result<Option<Record<ThreadDoc>>, StoreError> {
        let snapshot = self.store.get(&[collections::thread(id)?]).await?;
        let found = snapshot.documents.iter().flatten().next();
        Ok(found.and_then(ThreadDoc::read_or_skip))
    }

    /// Two threads are one person's.
    fn note_split(&self, source: &str, target: &str) {
        let mut splits = self.splits.lock();
        if splits.len() < SPLITS_MAX {
            splits.insert(source.to_owned(), target.to_owned());
            self.split_found.notify_one();
        }
    }

    /// Takes what has been found since the last time.
    pub(super) fn take_splits(&self) -> BTreeMap<String, String> {
        std::mem::take(&mut *self.splits.lock())
    }

    /// Resolves when there is something to take.
    pub(super) async fn split_found(&self) {
        self.split_found.notified().await;
    }
}

/// What stands for a stored message in its thread.
pub(super) fn preview(message: &MessageDoc) -> Preview {
    match (&message.revoked_at, &message.body) {
        (None, Some(body)) => Preview::of(body),
        (Some(_), _) => Preview::of_kind("revoked"),
        (None, None) => Preview::of_kind(&message.kind),
    }
}

impl Found {
    fn get(&mut self, address: &str) -> Option<String> {
        if let Some(thread) = self.young.get(address) {
            return Some(thread.clone());
        }
        let thread = self.old.remove(address)?;
        self.learn(address.to_owned(), thread.clone());
        Some(thread)
    }

    fn learn(&mut self, address: String, thread: String) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(address, thread);
    }
}
