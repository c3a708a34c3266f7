//! Queries as SQL.
//!
//! Field and collection names stand in the text, so that SQLite finds the
//! expression index for them; they are plain words by then (the planner and
//! [`Collection`] see to it). Values are always parameters.

use std::fmt::Write as _;
use std::ops::Bound;

use rusqlite::types::Value as SqlValue;

use crate::store::plan::{After, Plan, Test};
use crate::store::{Collection, Direction};

/// A statement with its parameters.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) parameters: Vec<SqlValue>,
}

/// The expression for a field, the same in queries and indexes.
pub(super) fn field(name: &str) -> String {
    format!("doc_field(fields, '{name}')")
}

impl Statement {
    /// All documents that a plan finds after its cursor, in order; the caller
    /// stops reading where the page ends.
    pub(super) fn page(collection: &Collection, plan: &Plan) -> Self {
        let mut statement = Self::matching(collection, plan, "id, update_time, fields");
        if let Some(after) = &plan.after {
            statement.after(plan, after);
        }
        statement.sql.push_str(" ORDER BY ");
        for order in &plan.orders {
            let _ = write!(
                statement.sql,
                "{} {}, ",
                field(&order.field),
                word(order.direction)
            );
        }
        let _ = write!(statement.sql, "id {}", word(plan.id_direction));
        // One more than the page holds shows whether there is another.
        let rows = statement.parameter(SqlValue::Integer(plan.limit as i64 + 1));
        let _ = write!(statement.sql, " LIMIT {rows}");
        statement
    }

    /// How many documents a plan finds.
    pub(super) fn count(collection: &Collection, plan: &Plan) -> Self {
        Self::matching(collection, plan, "count(*)")
    }

    /// All documents that a plan finds, in no order.
    pub(super) fn matching(collection: &Collection, plan: &Plan, columns: &str) -> Self {
        let mut statement = Self {
            sql: String::new(),
            parameters: Vec::new(),
        };
        let place = statement.parameter(SqlValue::Text(collection.as_str().to_owned()));
        let _ = write!(
            statement.sql,
            "SELECT {columns} FROM documents WHERE collection = {place} AND kind = '{}'",
            collection.id()
        );
        for condition in &plan.conditions {
            let field = field(&condition.field);
            match &condition.test {
                Test::OneOf(keys) => {
                    let places: Vec<String> = keys.iter().map(|key| statement.key(key)).collect();
                    let _ = match places.as_slice() {
                        [place] => write!(statement.sql, " AND {field} = {place}"),
                        places => write!(statement.sql, " AND {field} IN ({})", places.join(", ")),
                    };
                }
                Test::Between(low, high) => {
                    statement.bound(&field, low, [">=", ">"]);
                    statement.bound(&field, high, ["<=", "<"]);
                }
            }
        }
        for order in &plan.orders {
            let _ = write!(statement.sql, " AND {} IS NOT NULL", field(&order.field));
        }
        statement
    }

    fn bound(&mut self, field: &str, bound: &Bound<Vec<u8>>, [inclusive, exclusive]: [&str; 2]) {
        let (operator, key) = match bound {
            Bound::Included(key) => (inclusive, key),
            Bound::Excluded(key) => (exclusive, key),
            Bound::Unbounded => return,
        };
        let place = self.key(key);
        let _ = write!(self.sql, " AND {field} {operator} {place}");
    }

    /// What lies after the cursor: beyond it in the first order, or equal there
    /// and beyond it in the next, and so on to the id.
    fn after(&mut self, plan: &Plan, after: &After) {
        let mut columns: Vec<(String, &str, String)> = Vec::new();
        for (order, key) in plan.orders.iter().zip(&after.keys) {
            columns.push((field(&order.field), beyond(order.direction), self.key(key)));
        }
        let id = self.parameter(SqlValue::Text(after.id.clone()));
        columns.push(("id".to_owned(), beyond(plan.id_direction), id));
        // The first term alone already lets an index begin at the right place.
        if let Some((field, operator, place)) = columns.first() {
            let _ = write!(self.sql, " AND {field} {operator}= {place}");
        }
        let alternatives: Vec<String> = (0..columns.len())
            .map(|last| {
                let mut terms: Vec<String> = columns[..last]
                    .iter()
                    .map(|(field, _, place)| format!("{field} = {place}"))
                    .collect();
                let (field, operator, place) = &columns[last];
                terms.push(format!("{field} {operator} {place}"));
                terms.join(" AND ")
            })
            .collect();
        let _ = write!(self.sql, " AND ({})", alternatives.join(" OR "));
    }

    fn key(&mut self, key: &[u8]) -> String {
        self.parameter(SqlValue::Blob(key.to_vec()))
    }

    fn parameter(&mut self, value: SqlValue) -> String {
        self.parameters.push(value);
        format!("?{}", self.parameters.len())
    }
}

pub(super) fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    }
}

fn beyond(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => ">",
        Direction::Descending => "<",
    }
}
