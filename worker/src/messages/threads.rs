//! Which thread a chat belongs to, for the owner of an account.
//!
//! Remembers what it has found: one owner, so nobody else makes threads from
//! what arrives. (Accepting a message makes one too, under the same id for the
//! same address.) Bounded like [`Known`](crate::events::known::Known): what was
//! not used lately is looked up again.

use std::collections::HashMap;

use coordinator_lib::store::{Document, Path, Store, StoreError};
use parking_lot::Mutex;

use super::identity::Peer;
use crate::model::{Stored, ThreadDoc, ThreadKind, collections, ids, queries};

/// Addresses of one generation.
const GENERATION_MAX: usize = 2_048;

/// The threads of one account.
pub struct ThreadBook {
    account_id: String,
    store: Store,
    found: Mutex<Found>,
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
        }
    }

    /// The id of the thread with a peer, which may not exist yet.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn thread_of(&self, peer: &Peer) -> Result<String, StoreError> {
        if let Some(thread) = self.found.lock().get(peer.preferred()) {
            return Ok(thread);
        }
        let thread = match self.existing(peer).await? {
            Some(path) => path.id().to_owned(),
            None => ids::thread(&self.account_id, peer.preferred()),
        };
        let mut found = self.found.lock();
        for address in peer.addresses() {
            found.learn(address.to_owned(), thread.clone());
        }
        Ok(thread)
    }

    /// The stored thread that was made for any of the peer's addresses, or that
    /// has learnt one of them since.
    async fn existing(&self, peer: &Peer) -> Result<Option<Path>, StoreError> {
        let mut paths = Vec::new();
        for address in peer.addresses() {
            paths.push(collections::thread(&ids::thread(
                &self.account_id,
                address,
            ))?);
        }
        let snapshot = self.store.get(&paths).await?;
        if let Some(document) = snapshot.documents.into_iter().flatten().next() {
            return Ok(Some(document.path));
        }
        if ThreadKind::of(&peer.chat) != ThreadKind::Direct {
            return Ok(None);
        }
        let by_pn = peer
            .pn
            .as_deref()
            .map(|pn| queries::thread_by_pn(&self.account_id, pn))
            .transpose()?;
        let by_lid = peer
            .lid
            .as_deref()
            .map(|lid| queries::thread_by_lid(&self.account_id, lid))
            .transpose()?;
        for query in [by_pn, by_lid].into_iter().flatten() {
            let page = self.store.query(&query).await?;
            if let Some(path) = page.documents.first().and_then(usable) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

fn usable(document: &Document) -> Option<Path> {
    ThreadDoc::read_or_skip(document).map(|record| record.path)
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
