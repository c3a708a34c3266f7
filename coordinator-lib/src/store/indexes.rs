//! Which index of Firestore a query needs, and whether it is declared.
//!
//! Pure. Firestore keeps an index for every field by itself, unless that is
//! switched off, and wants the *composite* ones declared in
//! `firestore.indexes.json`. The emulator never asks for any, so a missing one
//! would show in production only: a test of whoever has queries lists them all
//! and asks [`DeclaredIndexes::missing`].
//!
//! The rule, from Firestore's "Index types": equalities alone are answered by
//! merging the fields' own indexes. Equalities with an order (or with a range,
//! which orders by its field), and several orders, take a composite index that
//! names the equalities first, then the orders, each in its direction. The id,
//! which breaks ties in the direction of the last order, comes by itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Direction, Order, QueryShape};

/// The index that queries of a shape need.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Index {
    /// None: documents by id.
    Ids,
    /// These fields' own indexes, which nobody may switch off.
    Fields(Vec<Order>),
    /// One that is declared.
    Composite {
        /// Fields compared for equality, in any order.
        equalities: Vec<String>,
        /// Then these.
        orders: Vec<Order>,
    },
}

impl QueryShape {
    /// The index that queries of this shape need.
    pub fn index(&self) -> Index {
        match (self.equalities.as_slice(), self.orders.as_slice()) {
            ([], []) => Index::Ids,
            ([], [order]) => Index::Fields(vec![order.clone()]),
            (equalities, []) => {
                let ascending = |field: &String| Order {
                    field: field.clone(),
                    direction: Direction::Ascending,
                };
                Index::Fields(equalities.iter().map(ascending).collect())
            }
            (equalities, orders) => Index::Composite {
                equalities: equalities.to_vec(),
                orders: orders.to_vec(),
            },
        }
    }
}

/// What a `firestore.indexes.json` declares.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclaredIndexes {
    indexes: Vec<Declared>,
    field_overrides: Vec<Override>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Declared {
    collection_group: String,
    query_scope: Scope,
    fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Field {
    field_path: String,
    order: Way,
}

/// The indexes of one field, instead of those that it has by itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Override {
    collection_group: String,
    field_path: String,
    indexes: Vec<OwnIndex>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OwnIndex {
    order: Way,
    query_scope: Scope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Scope {
    Collection,
    CollectionGroup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Way {
    Ascending,
    Descending,
}

impl From<Direction> for Way {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Ascending => Way::Ascending,
            Direction::Descending => Way::Descending,
        }
    }
}

impl DeclaredIndexes {
    /// Reads the text of a `firestore.indexes.json`.
    ///
    /// # Errors
    /// It is not such a file, or says something that is not known here.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// What queries of these shapes lack, each with what to do.
    pub fn missing(&self, shapes: impl IntoIterator<Item = QueryShape>) -> BTreeSet<String> {
        shapes
            .into_iter()
            .flat_map(|shape| match shape.index() {
                Index::Ids => Vec::new(),
                Index::Fields(fields) => self.switched_off(&shape, &fields),
                Index::Composite { .. } if self.indexes.iter().any(|one| one.serves(&shape)) => {
                    Vec::new()
                }
                Index::Composite { equalities, orders } => {
                    vec![undeclared(&shape, &equalities, &orders)]
                }
            })
            .collect()
    }

    /// The composite indexes that no query of these shapes needs.
    pub fn unused(&self, shapes: impl IntoIterator<Item = QueryShape>) -> Vec<String> {
        let shapes: Vec<QueryShape> = shapes.into_iter().collect();
        self.indexes
            .iter()
            .filter(|declared| !shapes.iter().any(|shape| declared.serves(shape)))
            .map(Declared::json)
            .collect()
    }

    fn switched_off(&self, shape: &QueryShape, fields: &[Order]) -> Vec<String> {
        let lacks = |order: &&Order| {
            self.field_overrides.iter().any(|changed| {
                changed.collection_group == shape.collection_id
                    && changed.field_path == order.field
                    && !changed.indexes.iter().any(|own| {
                        own.query_scope == Scope::Collection && own.order == order.direction.into()
                    })
            })
        };
        fields
            .iter()
            .filter(lacks)
            .map(|order| {
                format!(
                    "a query of {} needs the index of {} ({:?}), which `fieldOverrides` switches off",
                    shape.collection_id, order.field, order.direction
                )
            })
            .collect()
    }
}

impl Declared {
    fn serves(&self, shape: &QueryShape) -> bool {
        let Index::Composite { equalities, orders } = shape.index() else {
            return false;
        };
        if self.collection_group != shape.collection_id
            || self.query_scope != Scope::Collection
            || self.fields.len() != equalities.len() + orders.len()
        {
            return false;
        }
        let (first, then) = self.fields.split_at(equalities.len());
        let named: BTreeSet<&String> = first.iter().map(|field| &field.field_path).collect();
        named == equalities.iter().collect()
            && then.iter().zip(&orders).all(|(field, order)| {
                field.field_path == order.field && field.order == order.direction.into()
            })
    }

    fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| format!("{self:?}"))
    }
}

fn undeclared(shape: &QueryShape, equalities: &[String], orders: &[Order]) -> String {
    let equal = equalities.iter().map(|field| Field {
        field_path: field.clone(),
        order: Way::Ascending,
    });
    let ordered = orders.iter().map(|order| Field {
        field_path: order.field.clone(),
        order: order.direction.into(),
    });
    let declared = Declared {
        collection_group: shape.collection_id.clone(),
        query_scope: Scope::Collection,
        fields: equal.chain(ordered).collect(),
    };
    format!("add to `indexes`: {}", declared.json())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Collection, Op, Query};

    fn things() -> Query {
        Query::new(Collection::new("things").unwrap())
    }

    fn declared() -> DeclaredIndexes {
        DeclaredIndexes::parse(
            r#"{
                "indexes": [{
                    "collectionGroup": "things",
                    "queryScope": "COLLECTION",
                    "fields": [
                        { "fieldPath": "kind", "order": "ASCENDING" },
                        { "fieldPath": "n", "order": "DESCENDING" }
                    ]
                }],
                "fieldOverrides": [
                    { "collectionGroup": "things", "fieldPath": "blob", "indexes": [] },
                    {
                        "collectionGroup": "things",
                        "fieldPath": "at",
                        "indexes": [{ "order": "ASCENDING", "queryScope": "COLLECTION" }]
                    }
                ]
            }"#,
        )
        .unwrap()
    }

    fn missing(query: Query) -> Vec<String> {
        declared().missing([query.shape()]).into_iter().collect()
    }

    #[test]
    fn queries_by_one_field_or_by_equalities_need_nothing_declared() {
        for query in [
            things(),
            things().filter("kind", Op::Eq, "x"),
            things().filter("kind", Op::Eq, "x").filter("n", Op::Eq, 1),
            things().order("n", Direction::Descending),
            things().filter("n", Op::Gt, 3),
            things().filter("at", Op::Lt, 3),
        ] {
            assert_eq!(missing(query), [""; 0]);
        }
    }

    #[test]
    fn an_equality_with_an_order_needs_an_index_in_that_direction() {
        let kind = || things().filter("kind", Op::Eq, "x");
        assert_eq!(missing(kind().order("n", Direction::Descending)), [""; 0]);
        let up = missing(kind().order("n", Direction::Ascending));
        assert!(
            matches!(&up[..], [one] if one.contains(r#"{"fieldPath":"n","order":"ASCENDING"}"#)),
            "{up:?}"
        );
        // A range orders by its field.
        assert_eq!(missing(kind().filter("n", Op::Gt, 3)), up);
    }

    #[test]
    fn several_orders_need_an_index() {
        let query = things()
            .order("kind", Direction::Ascending)
            .order("n", Direction::Ascending);
        assert_eq!(missing(query).len(), 1);
    }

    #[test]
    fn an_index_that_is_switched_off_is_missed() {
        assert_eq!(missing(things().filter("blob", Op::Eq, 1)).len(), 1);
        assert_eq!(
            missing(things().order("at", Direction::Descending)).len(),
            1
        );
    }

    #[test]
    fn an_index_that_nobody_needs_is_named() {
        let used = things()
            .filter("kind", Op::Eq, "x")
            .order("n", Direction::Descending);
        assert_eq!(declared().unused([used.shape()]), [""; 0]);
        assert_eq!(declared().unused([things().shape()]).len(), 1);
    }
}
