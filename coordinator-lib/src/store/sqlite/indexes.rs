//! Indexes, made for the shapes of the queries that are asked.
//!
//! The shapes come from the program, not from its users, so there are few; a
//! bound keeps a mistake from slowing every write down. A query without an
//! index is slower, never wrong.

use std::collections::HashSet;

use parking_lot::Mutex;
use rusqlite::Connection;
use tracing::warn;

use super::failure;
use super::statement::{field, word};
use crate::store::{Direction, Query, QueryShape, StoreError};

/// Far more shapes than this program asks; each costs the writes of its own
/// collection a little.
const INDEXES_MAX: usize = 64;

/// The indexes that the file has, and those that need not be tried again.
pub(super) struct Indexes {
    known: Mutex<HashSet<String>>,
}

/// An index to be made.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) sql: String,
}

impl Indexes {
    /// Reads which indexes there are.
    pub(super) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let load = || -> rusqlite::Result<HashSet<String>> {
            let sql = "SELECT name FROM sqlite_schema WHERE type = 'index' AND name LIKE 'query:%'";
            connection
                .prepare(sql)?
                .query_map([], |row| row.get(0))?
                .collect()
        };
        Ok(Self {
            known: Mutex::new(load().map_err(failure::of)?),
        })
    }

    /// The index that this query should have and the file lacks. Asked once
    /// for each shape: whoever gets it makes it.
    pub(super) fn missing(&self, query: &Query) -> Option<Index> {
        let index = Index::of(query.shape())?;
        let mut known = self.known.lock();
        if known.contains(&index.name) {
            return None;
        }
        known.insert(index.name.clone());
        if known.len() > INDEXES_MAX {
            warn!(
                index = index.name,
                "too many shapes of queries; this one is asked slowly"
            );
            return None;
        }
        Some(index)
    }
}

impl Index {
    /// The index for a shape; none where the order of ids is enough.
    fn of(shape: QueryShape) -> Option<Self> {
        let QueryShape {
            collection_id: kind,
            equalities,
            orders,
        } = shape;
        if equalities.is_empty() && orders.is_empty() {
            return None;
        }
        // An index is read both ways: the first order always goes up.
        let turned = orders
            .first()
            .is_some_and(|order| order.direction == Direction::Descending);
        let direction = |direction| match (direction, turned) {
            (Direction::Ascending, false) | (Direction::Descending, true) => Direction::Ascending,
            (Direction::Descending, false) | (Direction::Ascending, true) => Direction::Descending,
        };
        let mut name = format!("query:{kind}");
        let mut columns = vec!["collection".to_owned()];
        for equality in &equalities {
            name.push_str(&format!(" {equality}"));
            columns.push(field(equality));
        }
        let mut last = Direction::Ascending;
        for order in &orders {
            last = direction(order.direction);
            name.push_str(&format!(
                " {}:{}",
                order.field,
                word(last).to_ascii_lowercase()
            ));
            columns.push(format!("{} {}", field(&order.field), word(last)));
        }
        columns.push(format!("id {}", word(last)));
        let columns = columns.join(", ");
        let sql = format!(
            "CREATE INDEX IF NOT EXISTS \"{name}\" ON documents ({columns}) WHERE kind = '{kind}'"
        );
        Some(Self { name, sql })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Collection, Op};

    fn index(query: Query) -> Option<String> {
        Index::of(query.shape()).map(|index| index.name)
    }

    #[test]
    fn both_directions_share_an_index() {
        let query = || Query::new(Collection::new("threads/t1/messages").unwrap());
        let up = query()
            .filter("chat", Op::Eq, 1)
            .order("at", Direction::Ascending);
        let down = query()
            .filter("chat", Op::Eq, 1)
            .order("at", Direction::Descending);
        assert_eq!(index(up), Some("query:messages chat at:asc".into()));
        assert_eq!(index(down), Some("query:messages chat at:asc".into()));
        assert_eq!(index(query()), None);
    }
}
