//! Reads: documents by path, pages, counts. All are strong.

use std::collections::HashMap;

use ::firestore::gcloud_sdk::google::firestore::v1 as pb;
use futures::TryStreamExt;
use pb::batch_get_documents_response::Result as Found;
use pb::run_aggregation_query_request::QueryType as CountType;
use pb::run_query_request::QueryType as PageType;
use pb::structured_aggregation_query::aggregation::{Count, Operator};
use pb::structured_aggregation_query::{Aggregation, QueryType as CountedType};
use pb::value::ValueType;

use super::failure::{self, Failure};
use super::values::time;
use super::{Shared, structured};
use crate::store::limits::{PAGE_BYTES_MAX, QUERY_LIMIT_MAX, document_bytes};
use crate::store::plan::Plan;
use crate::store::{Cursor, Document, Page, Path, Query, Snapshot, StoreError, StoreTime};

/// A document that is never there: reading it tells the time.
const NOTHING: &str = "ping/none";

/// Documents by path, at one time: the last of those that Firestore names,
/// until which none of the others has changed (as it promises).
pub(super) async fn get(shared: &Shared, paths: &[Path]) -> Result<Snapshot, StoreError> {
    let mut names: Vec<String> = paths.iter().map(|path| shared.root.name(path)).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        names.push(format!("{}/{NOTHING}", shared.root.documents));
    }
    let (found, read_time) = shared
        .attempts
        .run(|| async {
            batch_get(shared, names.clone())
                .await
                .map_err(failure::of_read)
        })
        .await?;
    let documents = paths
        .iter()
        .map(|path| {
            found
                .get(&shared.root.name(path))
                .map(|document| shared.root.document(path.collection(), document.clone()))
                .transpose()
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(Snapshot {
        documents,
        read_time,
    })
}

async fn batch_get(
    shared: &Shared,
    documents: Vec<String>,
) -> Result<(HashMap<String, pb::Document>, StoreTime), Failure> {
    let request = shared.attempts.request(pb::BatchGetDocumentsRequest {
        database: shared.root.database.clone(),
        documents,
        ..pb::BatchGetDocumentsRequest::default()
    });
    let mut client = shared.client();
    let answered = async {
        let mut stream = client.batch_get_documents(request).await?.into_inner();
        let mut found = HashMap::new();
        let mut read_time = None;
        while let Some(response) = stream.try_next().await? {
            read_time = read_time.max(response.read_time.as_ref().map(time));
            match response.result {
                Some(Found::Found(document)) => {
                    found.insert(document.name.clone(), document);
                }
                Some(Found::Missing(_)) | None => {}
            }
        }
        Ok::<_, Failure>((found, read_time.ok_or_else(timeless)?))
    };
    shared.attempts.once(answered).await
}

/// One page of a query.
pub(super) async fn page(shared: &Shared, query: &Query, plan: &Plan) -> Result<Page, StoreError> {
    let (mut documents, full, read_time) = shared
        .attempts
        .run(|| async {
            run_query(shared, query, plan)
                .await
                .map_err(failure::of_read)
        })
        .await?;
    // One more than the limit was asked for, to know whether there is more.
    let more = full || documents.len() > plan.limit;
    documents.truncate(plan.limit);
    let next = documents
        .last()
        .filter(|_| more)
        .map(|last| Cursor::after(query, last));
    Ok(Page {
        documents,
        read_time,
        next,
    })
}

/// The documents, and whether they are cut off for their size.
async fn run_query(
    shared: &Shared,
    query: &Query,
    plan: &Plan,
) -> Result<(Vec<Document>, bool, StoreTime), Failure> {
    // A limit is at most 1,000.
    let limit = plan.limit as i32 + 1;
    let request = shared.attempts.request(pb::RunQueryRequest {
        parent: shared.root.parent(query.collection()),
        query_type: Some(PageType::StructuredQuery(pb::StructuredQuery {
            limit: Some(limit),
            ..structured::page(&shared.root, query, plan)
        })),
        ..pb::RunQueryRequest::default()
    });
    let mut client = shared.client();
    let answered = async {
        let mut stream = client.run_query(request).await?.into_inner();
        let (mut documents, mut bytes) = (Vec::new(), 0);
        let mut read_time = None;
        let mut full = false;
        while let Some(response) = stream.try_next().await? {
            read_time = read_time.max(response.read_time.as_ref().map(time));
            let Some(document) = response.document else {
                continue;
            };
            if bytes >= PAGE_BYTES_MAX {
                full = true;
                break;
            }
            let document = shared.root.document(query.collection(), document)?;
            bytes += document_bytes(&document.path, &document.fields);
            documents.push(document);
        }
        Ok::<_, Failure>((documents, full, read_time.ok_or_else(timeless)?))
    };
    shared.attempts.once(answered).await
}

/// Every document that a query's filters match, page by page.
pub(super) async fn all(shared: &Shared, query: &Query) -> Result<Vec<Document>, StoreError> {
    let mut query = query.filters_only().limit(QUERY_LIMIT_MAX);
    let mut documents = Vec::new();
    loop {
        let found = page(shared, &query, &Plan::new(&query)?).await?;
        documents.extend(found.documents);
        match found.next {
            Some(cursor) => query = query.start_after(cursor),
            None => return Ok(documents),
        }
    }
}

/// How many documents a query's filters match.
pub(super) async fn count(shared: &Shared, query: &Query) -> Result<u64, StoreError> {
    shared
        .attempts
        .run(|| async { run_count(shared, query).await.map_err(failure::of_read) })
        .await
}

async fn run_count(shared: &Shared, query: &Query) -> Result<u64, Failure> {
    const ALIAS: &str = "n";
    let counted = pb::StructuredAggregationQuery {
        aggregations: vec![Aggregation {
            alias: ALIAS.to_owned(),
            operator: Some(Operator::Count(Count { up_to: None })),
        }],
        query_type: Some(CountedType::StructuredQuery(structured::filters(query))),
    };
    let request = shared.attempts.request(pb::RunAggregationQueryRequest {
        parent: shared.root.parent(query.collection()),
        query_type: Some(CountType::StructuredAggregationQuery(counted)),
        ..pb::RunAggregationQueryRequest::default()
    });
    let mut client = shared.client();
    let answered = async {
        let mut stream = client.run_aggregation_query(request).await?.into_inner();
        let mut count = None;
        while let Some(response) = stream.try_next().await? {
            let result = response.result.unwrap_or_default();
            if let Some(ValueType::IntegerValue(found)) = result
                .aggregate_fields
                .get(ALIAS)
                .and_then(|value| value.value_type.as_ref())
            {
                count = u64::try_from(*found).ok();
            }
        }
        count.ok_or_else(|| {
            Failure::from(StoreError::unavailable(
                "Firestore counted and did not say what",
            ))
        })
    };
    shared.attempts.once(answered).await
}

/// Firestore's time, read without a write.
pub(super) async fn now(shared: &Shared) -> Result<StoreTime, StoreError> {
    Ok(get(shared, &[]).await?.read_time)
}

fn timeless() -> StoreError {
    StoreError::unavailable("Firestore answered without the time of its reading")
}
