//! Queries: which documents of one collection, in which order, from where on.
//!
//! The rules are Firestore's. A filter or an order concerns one top-level
//! field, and a document without that field is never found by it. Comparisons
//! find values of the same type only (numbers of both kinds are one type), so
//! `<` never finds null. Range filters concern a single field, by which the
//! result is then ordered first. Documents that are equal in all orders are
//! ordered by id. A field that is a list or a map can be neither filtered by
//! nor ordered by.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::limits::QUERY_LIMIT_DEFAULT;
use super::plan::Plan;
use super::{Collection, Document, Fields, StoreError, Value, codec};

/// A query, built up from its collection; checked when it is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    collection: Collection,
    filters: Vec<Filter>,
    orders: Vec<Order>,
    limit: Option<u32>,
    start_after: Option<Cursor>,
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// The top-level field.
    pub field: String,
    /// How it compares.
    pub op: Op,
    /// With what; for [`Op::In`] a list.
    pub value: Value,
}

/// How a field compares with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Equal.
    Eq,
    /// Less than.
    Lt,
    /// At most.
    Le,
    /// Greater than.
    Gt,
    /// At least.
    Ge,
    /// Equal to one of the values of a list.
    In,
}

impl Op {
    pub(crate) fn is_range(self) -> bool {
        match self {
            Op::Eq | Op::In => false,
            Op::Lt | Op::Le | Op::Gt | Op::Ge => true,
        }
    }
}

/// One field to order by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// The top-level field.
    pub field: String,
    /// Which way.
    pub direction: Direction,
}

/// Which way to order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Greatest first.
    Descending,
}

impl Query {
    /// All documents of a collection, by id.
    pub fn new(collection: Collection) -> Self {
        Self {
            collection,
            filters: Vec::new(),
            orders: Vec::new(),
            limit: None,
            start_after: None,
        }
    }

    /// Only documents whose field compares so; several filters all hold.
    pub fn filter(mut self, field: &str, op: Op, value: impl Into<Value>) -> Self {
        self.filters.push(Filter {
            field: field.to_owned(),
            op,
            value: value.into(),
        });
        self
    }

    /// Only documents whose field equals one of the values.
    pub fn filter_in<V: Into<Value>>(
        self,
        field: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        self.filter(
            field,
            Op::In,
            Value::List(values.into_iter().map(Into::into).collect()),
        )
    }

    /// Ordered by this field, after those named before.
    pub fn order(mut self, field: &str, direction: Direction) -> Self {
        self.orders.push(Order {
            field: field.to_owned(),
            direction,
        });
        self
    }

    /// At most this many documents a page, 1 to [`super::limits::QUERY_LIMIT_MAX`];
    /// [`QUERY_LIMIT_DEFAULT`] where nothing is said.
    pub fn limit(mut self, documents: u32) -> Self {
        self.limit = Some(documents);
        self
    }

    /// Only what comes after the page that gave this cursor.
    pub fn start_after(mut self, cursor: Cursor) -> Self {
        self.start_after = Some(cursor);
        self
    }

    /// The same query without order, limit and cursor.
    pub(crate) fn filters_only(&self) -> Query {
        Query {
            filters: self.filters.clone(),
            ..Query::new(self.collection.clone())
        }
    }

    /// The collection that it asks.
    pub fn collection(&self) -> &Collection {
        &self.collection
    }

    /// Its filters, in the order in which they were added.
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// The limit that applies.
    pub fn limit_or_default(&self) -> u32 {
        self.limit.unwrap_or(QUERY_LIMIT_DEFAULT)
    }

    pub(crate) fn explicit_limit(&self) -> Option<u32> {
        self.limit
    }

    pub(crate) fn cursor(&self) -> Option<&Cursor> {
        self.start_after.as_ref()
    }

    pub(crate) fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    /// The orders that apply: those named, or the range filter's field.
    pub fn orders(&self) -> Vec<Order> {
        if !self.orders.is_empty() {
            return self.orders.clone();
        }
        self.filters
            .iter()
            .find(|filter| filter.op.is_range())
            .map(|filter| Order {
                field: filter.field.clone(),
                direction: Direction::Ascending,
            })
            .into_iter()
            .collect()
    }

    /// What an index for this query has to cover: the same for all queries
    /// that differ in their values only.
    pub fn shape(&self) -> QueryShape {
        let mut equalities: Vec<String> = self
            .filters
            .iter()
            .filter(|filter| !filter.op.is_range())
            .map(|filter| filter.field.clone())
            .collect();
        equalities.sort();
        equalities.dedup();
        let orders = self
            .orders()
            .into_iter()
            .filter(|order| !equalities.contains(&order.field))
            .collect();
        QueryShape {
            collection_id: self.collection.id().to_owned(),
            equalities,
            orders,
        }
    }
}

/// A query without its values: the fields that an index for it lists.
///
/// Firestore needs a composite index declared for a shape with an equality and
/// an order, or with two orders; a test compares the shapes in use with
/// `firestore.indexes.json` (see [`super::indexes`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryShape {
    /// The collection's last segment.
    pub collection_id: String,
    /// Fields compared for equality, sorted.
    pub equalities: Vec<String>,
    /// Fields ordered by (a range filter's among them), in order.
    pub orders: Vec<Order>,
}

/// A query's filters, made ready to be asked about one document after another:
/// for whoever has to know which watches a write concerns.
#[derive(Clone, Debug)]
pub struct Matcher(Plan);

impl Matcher {
    /// The filters of a query.
    ///
    /// # Errors
    /// `Invalid`, as for the query itself.
    pub fn of(query: &Query) -> Result<Self, StoreError> {
        Plan::for_count(query).map(Self)
    }

    /// Whether they find a document with these fields.
    pub fn finds(&self, fields: &Fields) -> bool {
        self.0.matches(fields)
    }
}

/// Where a page of a query ended. Its text is opaque, and safe in a URL.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    /// The last document's values of the query's orders.
    pub(crate) values: Vec<Value>,
    /// The last document's id.
    pub(crate) id: String,
}

impl Cursor {
    /// The place after this document in a query's order.
    pub fn after(query: &Query, document: &Document) -> Self {
        let values = query
            .orders()
            .iter()
            .map(|order| {
                document
                    .fields
                    .get(&order.field)
                    .cloned()
                    .unwrap_or(Value::Null)
            })
            .collect();
        Self {
            values,
            id: document.path.id().to_owned(),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values = self.values.clone();
        values.push(Value::Text(self.id.clone()));
        let bytes = codec::encode_value(&Value::List(values));
        formatter.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let refused = || StoreError::invalid("not a cursor of this store");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refused())?;
        let Ok(Value::List(mut values)) = codec::decode_single(&bytes) else {
            return Err(refused());
        };
        match values.pop() {
            Some(Value::Text(id)) => Ok(Self { values, id }),
            Some(_) | None => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages() -> Query {
        Query::new(Collection::new("threads/t1/messages").unwrap())
    }

    #[test]
    fn queries_that_differ_in_values_have_one_shape() {
        let query = |sender: &str, limit| {
            messages()
                .filter("sender", Op::Eq, sender)
                .filter("at", Op::Gt, 3)
                .order("at", Direction::Descending)
                .limit(limit)
        };
        assert_eq!(query("a", 1).shape(), query("b", 2).shape());
        assert_eq!(query("a", 1).shape().collection_id, "messages");
        assert_eq!(query("a", 1).shape().equalities, ["sender"]);
    }

    #[test]
    fn a_range_filter_orders_by_its_field() {
        let query = messages().filter("at", Op::Le, 3);
        assert_eq!(
            query.orders(),
            [Order {
                field: "at".into(),
                direction: Direction::Ascending
            }]
        );
    }

    proptest! {
        #[test]
        fn cursors_survive_their_text(id in ".{1,9}", value in codec::arbitrary::value()) {
            let cursor = Cursor { values: vec![value], id };
            prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }

        #[test]
        fn foreign_cursors_never_panic(text in "[A-Za-z0-9_-]{0,60}") {
            let _ = text.parse::<Cursor>();
        }
    }
}
