//! A query made ready to run: checked, with its values turned into keys.
//!
//! Pure, and shared by every adapter that evaluates queries itself, so that
//! memory, SQLite and watches agree.

use std::cmp::Ordering;
use std::ops::Bound;

use super::key::{key, type_bounds};
use super::limits::{IN_VALUES_MAX, QUERY_LIMIT_MAX, QUERY_TERMS_MAX};
use super::query::{Direction, Filter, Op, Order, Query};
use super::{Fields, StoreError, Value};

/// A checked query. All conditions hold together.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) orders: Vec<Order>,
    /// The direction of the last order, in which ids break ties.
    pub(crate) id_direction: Direction,
    pub(crate) limit: usize,
    pub(crate) after: Option<After>,
}

/// A test of one field's key.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) field: String,
    pub(crate) test: Test,
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// The key is one of these.
    OneOf(Vec<Vec<u8>>),
    /// The key lies between these.
    Between(Bound<Vec<u8>>, Bound<Vec<u8>>),
}

/// The place after which a page begins: a key for each order, and an id.
#[derive(Clone, Debug)]
pub(crate) struct After {
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) id: String,
}

impl Plan {
    /// Checks a query as Firestore would.
    pub(crate) fn new(query: &Query) -> Result<Self, StoreError> {
        let orders = query.orders();
        check_terms(query, &orders)?;
        let conditions = query
            .filters()
            .iter()
            .map(Condition::new)
            .collect::<Result<Vec<_>, StoreError>>()?;
        let limit = query.limit_or_default();
        if limit == 0 || limit > QUERY_LIMIT_MAX {
            return Err(StoreError::invalid(format!(
                "a limit of {limit} documents; 1 to {QUERY_LIMIT_MAX}"
            )));
        }
        let after = match query.cursor() {
            None => None,
            Some(cursor) if cursor.values.len() == orders.len() => Some(After {
                keys: cursor.values.iter().map(key).collect(),
                id: cursor.id.clone(),
            }),
            Some(_) => return Err(StoreError::invalid("a cursor of another query")),
        };
        Ok(Self {
            conditions,
            id_direction: orders
                .last()
                .map_or(Direction::Ascending, |order| order.direction),
            orders,
            limit: limit as usize,
            after,
        })
    }

    /// A query that is to be watched: filters only.
    pub(crate) fn for_watch(query: &Query) -> Result<Self, StoreError> {
        if query.explicit_limit().is_some() || query.cursor().is_some() || query.has_orders() {
            return Err(StoreError::invalid(
                "a watch takes filters only: no order, limit, cursor",
            ));
        }
        Self::new(query)
    }

    /// A query whose matches are to be counted: its filters only.
    pub(crate) fn for_count(query: &Query) -> Result<Self, StoreError> {
        let mut plan = Self::new(&query.filters_only())?;
        // A range filter's field is among the conditions; its order finds no
        // other documents.
        plan.orders.clear();
        Ok(plan)
    }

    /// Whether the filters find a document with these fields.
    pub(crate) fn matches(&self, fields: &Fields) -> bool {
        let conditions_hold = self.conditions.iter().all(|condition| {
            fields
                .get(&condition.field)
                .is_some_and(|value| condition.test.holds(&key(value)))
        });
        conditions_hold
            && self
                .orders
                .iter()
                .all(|order| fields.contains_key(&order.field))
    }

    /// What documents are ordered by: a key for each order.
    pub(crate) fn order_keys(&self, fields: &Fields) -> Vec<Vec<u8>> {
        self.orders
            .iter()
            .map(|order| fields.get(&order.field).map_or_else(Vec::new, key))
            .collect()
    }

    /// The order of two documents of this query.
    pub(crate) fn compare(&self, a: (&[Vec<u8>], &str), b: (&[Vec<u8>], &str)) -> Ordering {
        for ((a, b), order) in a.0.iter().zip(b.0).zip(&self.orders) {
            let ordering = directed(a.cmp(b), order.direction);
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        directed(a.1.cmp(b.1), self.id_direction)
    }
}

fn directed(ordering: Ordering, direction: Direction) -> Ordering {
    match direction {
        Direction::Ascending => ordering,
        Direction::Descending => ordering.reverse(),
    }
}

impl Condition {
    fn new(filter: &Filter) -> Result<Self, StoreError> {
        let refuse = |why: &str| {
            Err(StoreError::invalid(format!(
                "filter on {}: {why}",
                filter.field
            )))
        };
        let test = match (filter.op, &filter.value) {
            (Op::In, Value::List(values)) => {
                if values.is_empty() || values.len() > IN_VALUES_MAX {
                    return refuse("`In` takes 1 to 30 values");
                }
                for value in values {
                    check_comparable(&filter.field, value)?;
                }
                Test::OneOf(values.iter().map(key).collect())
            }
            (Op::In, _) => return refuse("`In` takes a list"),
            (op, value) => {
                check_comparable(&filter.field, value)?;
                if op.is_range() && *value == Value::Null {
                    return refuse("null has no order");
                }
                Test::comparing(op, key(value))
            }
        };
        Ok(Self {
            field: filter.field.clone(),
            test,
        })
    }
}

impl Test {
    fn comparing(op: Op, key: Vec<u8>) -> Self {
        let (first, beyond) = type_bounds(&key);
        match op {
            Op::Eq | Op::In => Test::OneOf(vec![key]),
            Op::Lt => Test::Between(Bound::Included(first), Bound::Excluded(key)),
            Op::Le => Test::Between(Bound::Included(first), Bound::Included(key)),
            Op::Gt => Test::Between(Bound::Excluded(key), Bound::Excluded(beyond)),
            Op::Ge => Test::Between(Bound::Included(key), Bound::Excluded(beyond)),
        }
    }

    fn holds(&self, key: &[u8]) -> bool {
        match self {
            Test::OneOf(keys) => keys.iter().any(|one| one == key),
            Test::Between(low, high) => {
                (match low {
                    Bound::Included(low) => key >= low.as_slice(),
                    Bound::Excluded(low) => key > low.as_slice(),
                    Bound::Unbounded => true,
                }) && (match high {
                    Bound::Included(high) => key <= high.as_slice(),
                    Bound::Excluded(high) => key < high.as_slice(),
                    Bound::Unbounded => true,
                })
            }
        }
    }
}

/// Field names in queries are plain words, so that every adapter can name them
/// without quoting.
fn check_terms(query: &Query, orders: &[Order]) -> Result<(), StoreError> {
    if query.filters().len() > QUERY_TERMS_MAX || orders.len() > QUERY_TERMS_MAX {
        return Err(StoreError::invalid(
            "a query with more than eight filters or orders",
        ));
    }
    let filtered = query.filters().iter().map(|filter| &filter.field);
    for field in filtered.chain(orders.iter().map(|order| &order.field)) {
        let plain = field.starts_with(|first: char| first.is_ascii_alphabetic())
            && field
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain || field.len() > 100 {
            return Err(StoreError::invalid(
                "a query's field is a letter, then letters, digits or _",
            ));
        }
    }
    let mut ranges = query.filters().iter().filter(|filter| filter.op.is_range());
    if let Some(first) = ranges.next() {
        if ranges.any(|other| other.field != first.field) {
            return Err(StoreError::invalid("range filters on two fields"));
        }
        if orders
            .first()
            .is_some_and(|order| order.field != first.field)
        {
            return Err(StoreError::invalid(
                "a range filter's field must be ordered by first",
            ));
        }
    }
    Ok(())
}

fn check_comparable(field: &str, value: &Value) -> Result<(), StoreError> {
    match value {
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Double(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::Time(_) => Ok(()),
        Value::List(_) | Value::Map(_) | Value::CommitTime => Err(StoreError::invalid(format!(
            "filter on {field}: cannot compare with a {}",
            value.type_name()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Collection;

    fn query() -> Query {
        Query::new(Collection::new("things").unwrap())
    }

    fn fields(value: Value) -> Fields {
        Fields::from([("n".into(), value)])
    }

    #[test]
    fn queries_that_firestore_refuses_are_refused() {
        let refused = [
            query().filter("a", Op::Lt, 1).filter("b", Op::Gt, 1),
            query()
                .filter("a", Op::Lt, 1)
                .order("b", Direction::Ascending),
            query().filter("a", Op::Lt, Value::Null),
            query().filter("a", Op::Eq, Value::List(vec![])),
            query().filter("a", Op::In, 1),
            query().filter("a", Op::In, Value::List(vec![])),
            query().filter("a'b", Op::Eq, 1),
            query().order("a.b", Direction::Ascending),
            query().limit(0),
            query().limit(QUERY_LIMIT_MAX + 1),
            query().start_after(crate::store::Cursor {
                values: vec![Value::Null],
                id: "x".into(),
            }),
        ];
        for query in refused {
            assert!(
                matches!(Plan::new(&query), Err(StoreError::Invalid { .. })),
                "{query:?}"
            );
        }
    }

    #[test]
    fn comparisons_stay_within_a_type() {
        let below = Plan::new(&query().filter("n", Op::Lt, 5)).unwrap();
        assert!(below.matches(&fields(Value::Int(4))));
        assert!(below.matches(&fields(Value::Double(4.9))));
        for other in [
            Value::Int(5),
            Value::Null,
            Value::from("4"),
            Value::Bool(true),
        ] {
            assert!(!below.matches(&fields(other)));
        }
        let above = Plan::new(&query().filter("n", Op::Ge, "b")).unwrap();
        assert!(above.matches(&fields("b".into())));
        assert!(!above.matches(&fields("a".into())));
        assert!(!above.matches(&fields(Value::Bytes(bytes::Bytes::from_static(b"z")))));
    }

    #[test]
    fn a_missing_field_is_neither_found_nor_ordered() {
        let ordered = Plan::new(&query().order("n", Direction::Ascending)).unwrap();
        assert!(!ordered.matches(&Fields::new()));
        assert!(ordered.matches(&fields(Value::Null)));
        let null = Plan::new(&query().filter("n", Op::Eq, Value::Null)).unwrap();
        assert!(!null.matches(&Fields::new()));
        assert!(null.matches(&fields(Value::Null)));
    }
}
