//! What queries promise.

use bytes::Bytes;

use super::super::limits::PAGE_BYTES_MAX;
use super::super::{
    Collection, Cursor, Direction, Op, Precondition, Query, Store, StoreError, Value, encode_id,
    query_all,
};
use super::{collection, committed, fields, put, set};

fn things() -> Query {
    Query::new(collection("things"))
}

async fn ids(store: &Store, query: Query) -> Vec<String> {
    let page = store.query(&query).await.unwrap();
    page.documents
        .into_iter()
        .map(|document| document.path.id().to_owned())
        .collect()
}

/// Filters, orders and limits work alone and together.
pub async fn equality_range_and_order(store: Store) {
    for (id, kind, n) in [
        ("a", "x", 3),
        ("b", "y", 2),
        ("c", "x", 1),
        ("d", "x", 2),
        ("e", "y", 9),
    ] {
        put(
            &store,
            &format!("things/{id}"),
            [("kind", kind.into()), ("n", n.into())],
        )
        .await;
    }
    put(&store, "others/z", [("kind", "x".into()), ("n", 1.into())]).await;
    let x = || things().filter("kind", Op::Eq, "x");
    assert_eq!(ids(&store, things()).await, ["a", "b", "c", "d", "e"]);
    assert_eq!(ids(&store, x()).await, ["a", "c", "d"]);
    assert_eq!(
        ids(&store, x().order("n", Direction::Ascending)).await,
        ["c", "d", "a"]
    );
    assert_eq!(
        ids(&store, x().order("n", Direction::Descending)).await,
        ["a", "d", "c"]
    );
    assert_eq!(
        ids(&store, x().order("n", Direction::Descending).limit(1)).await,
        ["a"]
    );
    assert_eq!(ids(&store, x().filter("n", Op::Ge, 2)).await, ["d", "a"]);
    assert_eq!(ids(&store, x().filter("n", Op::Gt, 2)).await, ["a"]);
    assert_eq!(ids(&store, x().filter("n", Op::Lt, 2.5)).await, ["c", "d"]);
    assert_eq!(
        ids(&store, things().filter("n", Op::Le, 2)).await,
        ["c", "b", "d"]
    );
    let between = things().filter("n", Op::Gt, 1).filter("n", Op::Lt, 9);
    assert_eq!(ids(&store, between).await, ["b", "d", "a"]);
    let two = things()
        .order("kind", Direction::Descending)
        .order("n", Direction::Ascending);
    assert_eq!(ids(&store, two).await, ["b", "e", "c", "d", "a"]);
    assert_eq!(
        ids(&store, Query::new(collection("nothing"))).await,
        [""; 0]
    );
}

/// A comparison finds values of its own type; an order puts types in theirs.
pub async fn types_do_not_mix(store: Store) {
    let values = [
        ("int", Value::Int(5)),
        ("double", Value::Double(5.0)),
        ("text", "5".into()),
        ("bytes", Bytes::from_static(b"5").into()),
        ("yes", true.into()),
        ("none", Value::Null),
        ("list", Value::List(vec![5.into()])),
    ];
    for (id, value) in values {
        put(&store, &format!("things/{id}"), [("v", value)]).await;
    }
    assert_eq!(
        ids(&store, things().filter("v", Op::Eq, 5)).await,
        ["double", "int"]
    );
    assert_eq!(
        ids(&store, things().filter("v", Op::Lt, 6.0)).await,
        ["double", "int"]
    );
    assert_eq!(
        ids(&store, things().filter("v", Op::Ge, "")).await,
        ["text"]
    );
    assert_eq!(
        ids(&store, things().filter("v", Op::Eq, true)).await,
        ["yes"]
    );
    assert_eq!(
        ids(&store, things().order("v", Direction::Ascending)).await,
        ["none", "yes", "double", "int", "text", "bytes", "list"]
    );
}

/// Null is a value that can be asked for; a missing field is none.
pub async fn null_is_found_and_missing_is_not(store: Store) {
    put(&store, "things/null", [("owner", Value::Null)]).await;
    put(&store, "things/missing", [("other", 1.into())]).await;
    put(&store, "things/set", [("owner", "alice".into())]).await;
    assert_eq!(
        ids(&store, things().filter("owner", Op::Eq, Value::Null)).await,
        ["null"]
    );
    assert_eq!(
        ids(&store, things().order("owner", Direction::Ascending)).await,
        ["null", "set"]
    );
    assert_eq!(
        ids(&store, things().filter("owner", Op::Lt, "z")).await,
        ["set"]
    );
}

/// `In` is a choice of equalities.
pub async fn one_of_several_values(store: Store) {
    for (id, state) in [
        ("a", "sent"),
        ("b", "queued"),
        ("c", "failed"),
        ("d", "queued"),
    ] {
        put(
            &store,
            &format!("things/{id}"),
            [("state", state.into()), ("id", id.into())],
        )
        .await;
    }
    let query = things().filter_in("state", ["queued", "failed", "failed"]);
    assert_eq!(ids(&store, query.clone()).await, ["b", "c", "d"]);
    assert_eq!(
        ids(&store, query.order("id", Direction::Descending)).await,
        ["d", "c", "b"]
    );
}

/// Walks a query page by page, and compares with one large page.
async fn walk(store: &Store, query: Query, page: u32) {
    let whole = ids(store, query.clone()).await;
    let mut walked = Vec::new();
    let mut next: Option<Cursor> = None;
    loop {
        let mut query = query.clone().limit(page);
        if let Some(cursor) = next {
            // As a client would hand it back.
            query = query.start_after(cursor.to_string().parse().unwrap());
        }
        let found = store.query(&query).await.unwrap();
        assert!(found.documents.len() <= page as usize);
        walked.extend(
            found
                .documents
                .iter()
                .map(|document| document.path.id().to_owned()),
        );
        next = found.next;
        if next.is_none() {
            break;
        }
        assert!(!found.documents.is_empty(), "a cursor after an empty page");
    }
    assert_eq!(walked, whole, "in pages of {page}");
}

async fn many(store: &Store) {
    let writes = (0..23)
        .map(|index| {
            let at = format!("things/t{index:02}");
            let entries = [("n", Value::Int(index % 5)), ("m", Value::Int(index % 3))];
            set(&at, entries, Precondition::None)
        })
        .collect();
    committed(store, writes).await;
}

/// A cursor goes on exactly where a page ended, ties included.
pub async fn pages_follow_each_other_without_gap_or_repetition(store: Store) {
    many(&store).await;
    for page in [1, 4, 23, 24] {
        walk(&store, things(), page).await;
        walk(&store, things().order("n", Direction::Ascending), page).await;
        walk(&store, things().order("n", Direction::Descending), page).await;
        walk(&store, things().filter("n", Op::Ge, 2), page).await;
        walk(
            &store,
            things()
                .filter("m", Op::Eq, 1)
                .order("n", Direction::Ascending),
            page,
        )
        .await;
    }
}

/// The same where one order goes up and the next one down.
pub async fn pages_follow_each_other_in_mixed_directions(store: Store) {
    many(&store).await;
    for (first, second) in [
        (Direction::Ascending, Direction::Descending),
        (Direction::Descending, Direction::Ascending),
        (Direction::Descending, Direction::Descending),
    ] {
        walk(&store, things().order("n", first).order("m", second), 4).await;
    }
    let all = query_all(&*store, &things().limit(5), 100).await.unwrap();
    assert_eq!(all.len(), 23);
    assert!(query_all(&*store, &things().limit(5), 22).await.is_err());
}

/// A page does not hold more than the memory it is allowed.
pub async fn a_page_of_large_documents_ends_early(store: Store) {
    const BYTES: usize = 900_000;
    const DOCUMENTS: usize = PAGE_BYTES_MAX / BYTES + 3;
    for index in 0..DOCUMENTS {
        let large = Value::Bytes(vec![index as u8; BYTES].into());
        put(&store, &format!("things/t{index}"), [("large", large)]).await;
    }
    let page = store.query(&things()).await.unwrap();
    assert!(!page.documents.is_empty() && page.documents.len() < DOCUMENTS);
    assert!(page.next.is_some());
    assert_eq!(
        query_all(&*store, &things(), DOCUMENTS)
            .await
            .unwrap()
            .len(),
        DOCUMENTS
    );
}

/// A query looks into one collection, not into those above, below or beside.
pub async fn a_nested_collection_is_its_own(store: Store) {
    put(&store, "threads/t1", [("n", 1.into())]).await;
    put(&store, "threads/t1/messages/m1", [("n", 1.into())]).await;
    put(&store, "threads/t2/messages/m2", [("n", 1.into())]).await;
    let found = |at: &str| {
        let query = Query::new(collection(at)).filter("n", Op::Eq, 1);
        let store = store.clone();
        async move { ids(&store, query).await }
    };
    assert_eq!(found("threads").await, ["t1"]);
    assert_eq!(found("threads/t1/messages").await, ["m1"]);
    assert_eq!(found("threads/t2/messages").await, ["m2"]);
    assert_eq!(found("messages").await, [""; 0]);
}

/// Counting goes by the filters alone.
pub async fn counting_counts_what_matches(store: Store) {
    many(&store).await;
    assert_eq!(store.count(&things()).await.unwrap(), 23);
    assert_eq!(
        store.count(&things().filter("n", Op::Eq, 4)).await.unwrap(),
        4
    );
    assert_eq!(
        store
            .count(&things().filter("n", Op::Lt, 2).limit(1))
            .await
            .unwrap(),
        10
    );
    let missing = Query::new(collection("nothing"));
    assert_eq!(store.count(&missing).await.unwrap(), 0);
}

/// Any text may be an id or a value, and means nothing.
pub async fn odd_ids_and_texts_are_kept(store: Store) {
    let odd = [
        "'; DROP TABLE documents; --",
        "100%",
        "a\u{0}b",
        "ünïcödé 🦀",
        "_",
        "?1",
    ];
    let names: Collection = collection("things");
    for text in odd {
        let at = names.doc(&encode_id(text)).unwrap().to_string();
        put(&store, &at, [("text", text.into())]).await;
    }
    for text in odd {
        assert_eq!(
            ids(&store, things().filter("text", Op::Eq, text)).await,
            [encode_id(text)]
        );
    }
    assert_eq!(store.count(&things()).await.unwrap(), odd.len() as u64);
}

/// Refusals are the same everywhere; the cases are with the planner.
pub async fn what_firestore_refuses_to_query_is_refused(store: Store) {
    let two_ranges = things().filter("a", Op::Lt, 1).filter("b", Op::Gt, 1);
    let a_map = things().filter("a", Op::Eq, Value::Map(fields([])));
    for query in [two_ranges, a_map, things().limit(0)] {
        let outcome = store.query(&query).await;
        assert!(
            matches!(outcome, Err(StoreError::Invalid { .. })),
            "{outcome:?}"
        );
    }
    let ordered = things().order("n", Direction::Ascending);
    assert!(matches!(
        store.watch(&ordered).await,
        Err(StoreError::Invalid { .. })
    ));
    assert!(matches!(
        store.watch(&things().limit(5)).await,
        Err(StoreError::Invalid { .. })
    ));
}
