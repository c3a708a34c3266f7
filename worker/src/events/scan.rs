//! Reads the log of all accounts from a place on, page by page.

use coordinator_lib::store::{Cursor, DocumentStore, StoreError, StoreTime};

use super::logged::Logged;
use super::position::Position;
use super::settling::Settling;
use crate::model::queries;

/// Events of one page.
const PAGE_EVENTS: u32 = 200;

/// One reading; see [`Settling`] for what holds of it.
#[derive(Debug)]
pub struct Scan {
    settling: Settling,
    next: Option<Cursor>,
    is_over: bool,
}

impl Scan {
    /// Everything after a place, as it is when the first page is read.
    pub fn new(after: Position) -> Self {
        Self {
            settling: Settling::new(after),
            next: None,
            is_over: false,
        }
    }

    /// Events that follow, in order; there may be none on a page. `None` at the
    /// end.
    ///
    /// # Errors
    /// The store's failure; the same page is asked for again.
    pub async fn page(
        &mut self,
        store: &dyn DocumentStore,
    ) -> Result<Option<Vec<Logged>>, StoreError> {
        if self.is_over {
            return Ok(None);
        }
        let query = queries::events_stored_after(self.settling.stored_after())?.limit(PAGE_EVENTS);
        let query = match self.next.clone() {
            Some(next) => query.start_after(next),
            None => query,
        };
        let page = store.query(&query).await?;
        let events: Vec<Logged> = page.documents.iter().filter_map(Logged::read).collect();
        let last = events.last().map(Logged::stored_at);
        // A page of documents that nobody can read says nothing of the time.
        let next_from = page.next.is_some().then(|| last.unwrap_or(LONG_AGO));
        let settled = self.settling.page(events, page.read_time, next_from);
        self.is_over = next_from.is_none_or(|from| self.settling.is_over(from));
        self.next = page.next;
        Ok(Some(settled))
    }

    /// The place after all that was given.
    pub fn position(&self) -> &Position {
        self.settling.position()
    }
}

const LONG_AGO: StoreTime = StoreTime::from_micros(0);
