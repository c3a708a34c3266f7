//! Lists in pages: `limit` and `after` in, `next` out. A cursor is opaque.

use coordinator_lib::store::{Cursor, DocumentStore, Page, Query, StoreError};
use serde::Deserialize;

use super::problem::{Problem, ProblemKind};
use crate::model::thread::title_key;

/// Entries of a page unless the client says otherwise.
pub(super) const LIMIT_DEFAULT: u32 = 50;
/// Entries of the largest page.
pub(super) const LIMIT_MAX: u32 = 200;

/// Characters of a search.
pub(super) const SEARCH_CHARS_MAX: usize = 64;

/// What is searched for.
pub(super) enum Search<'a> {
    /// The beginning of a number: its digits.
    Number(&'a str),
    /// The beginning of a name, as names are compared.
    Name(String),
}

/// What a client searches for.
///
/// # Errors
/// It is empty, or too long.
pub(super) fn search(text: &str) -> Result<Search<'_>, Problem> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > SEARCH_CHARS_MAX {
        return Err(Problem::new(
            ProblemKind::InvalidQuery,
            format!("`search` has 1 to {SEARCH_CHARS_MAX} characters"),
        ));
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    Ok(match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Search::Number(digits),
        false => Search::Name(title_key(text)),
    })
}

/// Which page.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageParameters {
    /// Most entries to return.
    pub(super) limit: Option<u32>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
}

impl PageParameters {
    /// Reads the page of `query`.
    ///
    /// # Errors
    /// A limit out of range, an `after` that no page of this list returned, or
    /// the store's failure.
    pub(super) async fn read(
        &self,
        store: &dyn DocumentStore,
        query: Query,
    ) -> Result<Page, Problem> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::new(
                ProblemKind::InvalidQuery,
                format!("`limit` must be from 1 to {LIMIT_MAX}"),
            ));
        }
        let query = query.limit(limit);
        let Some(after) = &self.after else {
            return Ok(store.query(&query).await?);
        };
        let cursor: Cursor = after.parse().map_err(|_| foreign_cursor())?;
        match store.query(&query.start_after(cursor)).await {
            // The query is ours and valid, so it is the cursor that is not.
            Err(StoreError::Invalid { .. }) => Err(foreign_cursor()),
            other => Ok(other?),
        }
    }
}

fn foreign_cursor() -> Problem {
    Problem::new(
        ProblemKind::InvalidQuery,
        "`after` must be the `next` of an earlier page of the same list",
    )
}

/// The `after` of the page that follows, if there is one.
pub(super) fn next_page(page: &Page) -> Option<String> {
    page.next.as_ref().map(ToString::to_string)
}
