//! Queries, as Firestore's protocol has them.
//!
//! Pure. The port's order is made explicit, ids included, so that a cursor
//! always tells a place. Orders by a field that a filter makes equal order
//! nothing and are left out: Firestore refuses some of them.

use ::firestore::gcloud_sdk::google::firestore::v1 as pb;
use pb::structured_query::composite_filter::Operator as Composite;
use pb::structured_query::field_filter::Operator as Comparison;
use pb::structured_query::filter::FilterType;
use pb::structured_query::unary_filter::{OperandType, Operator as Unary};
use pb::structured_query::{
    CollectionSelector, CompositeFilter, Direction as PbDirection, FieldFilter, FieldReference,
    Filter as PbFilter, Order as PbOrder, UnaryFilter,
};
use pb::value::ValueType;

use super::values::{Root, encode};
use crate::store::key::key;
use crate::store::plan::Plan;
use crate::store::{Direction, Filter, Op, Query, Value};

/// The field that stands for a document's name.
const NAME: &str = "__name__";

/// A query's filters, orders and cursor. `limit` is the caller's business: a
/// page asks for one document more, to know whether there is more.
pub(super) fn page(root: &Root, query: &Query, plan: &Plan) -> pb::StructuredQuery {
    let orders = query.orders();
    let ordered: Vec<bool> = orders
        .iter()
        .map(|order| !is_fixed(query, &order.field))
        .collect();
    let mut order_by: Vec<PbOrder> = orders
        .iter()
        .zip(&ordered)
        .filter(|(_, ordered)| **ordered)
        .map(|(order, _)| order_of(&order.field, order.direction))
        .collect();
    order_by.push(order_of(NAME, plan.id_direction));
    let start_at = query.cursor().map(|cursor| {
        let mut values: Vec<pb::Value> = cursor
            .values
            .iter()
            .zip(&ordered)
            .filter(|(_, ordered)| **ordered)
            .map(|(value, _)| encode(value.clone()))
            .collect();
        let name = format!("{}/{}/{}", root.documents, query.collection(), cursor.id);
        values.push(pb::Value {
            value_type: Some(ValueType::ReferenceValue(name)),
        });
        pb::Cursor {
            values,
            before: false,
        }
    });
    pb::StructuredQuery {
        order_by,
        start_at,
        ..filters(query)
    }
}

/// A query's filters alone, as counts and watches need them.
pub(super) fn filters(query: &Query) -> pb::StructuredQuery {
    pb::StructuredQuery {
        from: vec![CollectionSelector {
            collection_id: query.collection().id().to_owned(),
            all_descendants: false,
        }],
        r#where: all(query.filters().iter().map(filter).collect()),
        ..pb::StructuredQuery::default()
    }
}

fn is_fixed(query: &Query, field: &str) -> bool {
    query
        .filters()
        .iter()
        .any(|filter| filter.op == Op::Eq && filter.field == field)
}

fn order_of(field: &str, direction: Direction) -> PbOrder {
    let direction = match direction {
        Direction::Ascending => PbDirection::Ascending,
        Direction::Descending => PbDirection::Descending,
    };
    PbOrder {
        field: Some(reference(field)),
        direction: direction.into(),
    }
}

/// Fields in queries are plain words (the planner sees to it).
fn reference(field: &str) -> FieldReference {
    FieldReference {
        field_path: field.to_owned(),
    }
}

fn filter(filter: &Filter) -> PbFilter {
    match (filter.op, &filter.value) {
        (Op::In, Value::List(values)) => one_of(&filter.field, values),
        (Op::Eq | Op::In, value) => equal(&filter.field, value),
        (Op::Lt, value) => comparison(&filter.field, Comparison::LessThan, value.clone()),
        (Op::Le, value) => comparison(&filter.field, Comparison::LessThanOrEqual, value.clone()),
        (Op::Gt, value) => comparison(&filter.field, Comparison::GreaterThan, value.clone()),
        (Op::Ge, value) => comparison(&filter.field, Comparison::GreaterThanOrEqual, value.clone()),
    }
}

/// Null and NaN are equal to nothing there; each has a question of its own.
fn equal(field: &str, value: &Value) -> PbFilter {
    match unary(value) {
        Some(op) => wrap(FilterType::UnaryFilter(UnaryFilter {
            op: op.into(),
            operand_type: Some(OperandType::Field(reference(field))),
        })),
        None => comparison(field, Comparison::Equal, value.clone()),
    }
}

fn unary(value: &Value) -> Option<Unary> {
    match value {
        Value::Null => Some(Unary::IsNull),
        Value::Double(number) if number.is_nan() => Some(Unary::IsNan),
        Value::Bool(_)
        | Value::Int(_)
        | Value::Double(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::Time(_)
        | Value::List(_)
        | Value::Map(_)
        | Value::CommitTime => None,
    }
}

fn one_of(field: &str, values: &[Value]) -> PbFilter {
    let mut seen = Vec::new();
    let (mut plain, mut choices) = (Vec::new(), Vec::new());
    for value in values {
        let key = key(value);
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        match unary(value) {
            Some(_) => choices.push(equal(field, value)),
            None => plain.push(value.clone()),
        }
    }
    match plain.len() {
        0 => {}
        1 => choices.extend(plain.iter().map(|value| equal(field, value))),
        _ => choices.push(comparison(field, Comparison::In, Value::List(plain))),
    }
    composite(Composite::Or, choices)
}

fn comparison(field: &str, op: Comparison, value: Value) -> PbFilter {
    wrap(FilterType::FieldFilter(FieldFilter {
        field: Some(reference(field)),
        op: op.into(),
        value: Some(encode(value)),
    }))
}

fn all(filters: Vec<PbFilter>) -> Option<PbFilter> {
    (!filters.is_empty()).then(|| composite(Composite::And, filters))
}

/// Several filters as one; a single one stays as it is.
fn composite(op: Composite, mut filters: Vec<PbFilter>) -> PbFilter {
    if filters.len() == 1 {
        return filters.remove(0);
    }
    wrap(FilterType::CompositeFilter(CompositeFilter {
        op: op.into(),
        filters,
    }))
}

fn wrap(filter: FilterType) -> PbFilter {
    PbFilter {
        filter_type: Some(filter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Collection, Cursor};

    fn things() -> Query {
        Query::new(Collection::new("things").unwrap())
    }

    fn fields(query: &pb::StructuredQuery) -> Vec<&str> {
        query
            .order_by
            .iter()
            .map(|order| order.field.as_ref().unwrap().field_path.as_str())
            .collect()
    }

    #[test]
    fn an_order_that_orders_nothing_is_left_out_of_query_and_cursor() {
        let query = things()
            .filter("kind", Op::Eq, "x")
            .order("kind", Direction::Ascending)
            .order("n", Direction::Descending)
            .start_after(Cursor {
                values: vec!["x".into(), 3.into()],
                id: "a".to_owned(),
            });
        let plan = Plan::new(&query).unwrap();
        let page = page(&Root::new("p", "d"), &query, &plan);
        assert_eq!(fields(&page), ["n", NAME]);
        assert_eq!(page.start_at.unwrap().values.len(), 2);
    }

    #[test]
    fn null_among_several_values_is_asked_for_by_itself() {
        let query = things().filter("owner", Op::In, Value::List(vec![Value::Null, "a".into()]));
        let Some(FilterType::CompositeFilter(either)) =
            filters(&query).r#where.unwrap().filter_type
        else {
            panic!("not a choice")
        };
        assert_eq!(either.op, i32::from(Composite::Or));
        assert_eq!(either.filters.len(), 2);
    }
}
