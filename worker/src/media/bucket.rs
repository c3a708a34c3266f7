//! The media store against a small server that speaks S3: what is asked of a
//! bucket, and in which order.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::tests::{given, names, put};
use super::*;

const PART_BYTES: usize = 5 * 1024 * 1024;

/// What the server has.
#[derive(Default)]
struct Shelf {
    files: BTreeMap<String, Bytes>,
    unfinished: BTreeMap<String, BTreeMap<u32, Bytes>>,
    uploads: usize,
    is_down: bool,
}

type Shared = Arc<Mutex<Shelf>>;

async fn answer(
    State(shelf): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut shelf = shelf.lock();
    if shelf.is_down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let key = uri
        .path()
        .trim_start_matches("/files")
        .trim_start_matches('/');
    let query: BTreeMap<&str, &str> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    let etag = [(header::ETAG, "\"e\"")];
    let xml = |text: String| ([(header::CONTENT_TYPE, "application/xml")], text).into_response();
    let upload = query.get("uploadId").map(|id| (*id).to_owned());
    match (method.as_str(), upload) {
        ("PUT", Some(id)) => {
            let number = query["partNumber"].parse().unwrap();
            let Some(parts) = shelf.unfinished.get_mut(&id) else {
                return StatusCode::NOT_FOUND.into_response();
            };
            parts.insert(number, body);
            etag.into_response()
        }
        ("PUT", None) => {
            if headers.contains_key(header::IF_NONE_MATCH) && shelf.files.contains_key(key) {
                return StatusCode::PRECONDITION_FAILED.into_response();
            }
            shelf.files.insert(key.to_owned(), body);
            etag.into_response()
        }
        ("POST", None) if query.contains_key("uploads") => {
            shelf.uploads += 1;
            let id = format!("upload{}", shelf.uploads);
            shelf.unfinished.insert(id.clone(), BTreeMap::new());
            xml(format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ))
        }
        ("POST", Some(id)) => {
            let parts = shelf.unfinished.remove(&id).unwrap_or_default();
            let is_too_small = |part: &&Bytes| part.len() < PART_BYTES;
            let small = parts.values().rev().skip(1).filter(is_too_small).count();
            assert_eq!(small, 0, "only the last part may be small");
            let whole: Vec<u8> = parts.values().flatten().copied().collect();
            shelf.files.insert(key.to_owned(), whole.into());
            xml(
                "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
                    .to_owned(),
            )
        }
        // Several are removed at once.
        ("POST", None) => {
            let text = String::from_utf8_lossy(&body).into_owned();
            let keys = text.split("<Key>").skip(1);
            let mut deleted = String::new();
            for key in keys.filter_map(|rest| rest.split("</Key>").next()) {
                shelf.files.remove(key);
                deleted += &format!("<Deleted><Key>{key}</Key></Deleted>");
            }
            xml(format!("<DeleteResult>{deleted}</DeleteResult>"))
        }
        ("DELETE", Some(id)) => {
            shelf.unfinished.remove(&id);
            StatusCode::NO_CONTENT.into_response()
        }
        ("GET", None) if query.contains_key("list-type") => {
            let entries: String = shelf
                .files
                .iter()
                .map(|(key, file)| {
                    format!(
                        "<Contents><Key>{key}</Key><Size>{}</Size><ETag>e</ETag>\
                         <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>",
                        file.len()
                    )
                })
                .collect();
            xml(format!("<ListBucketResult>{entries}</ListBucketResult>"))
        }
        ("GET", None) => read(&shelf, key, &headers),
        (_, _) => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn read(shelf: &Shelf, key: &str, headers: &HeaderMap) -> Response {
    let Some(file) = shelf.files.get(key) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let about = [
        (header::ETAG, "\"e\"".to_owned()),
        (
            header::LAST_MODIFIED,
            "Thu, 01 Jan 2026 00:00:00 GMT".to_owned(),
        ),
    ];
    let range = headers.get(header::RANGE).and_then(|range| {
        let range = range.to_str().ok()?.strip_prefix("bytes=")?;
        let (from, to) = range.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?))
    });
    match range {
        Some((from, to)) => {
            let to = to.min(file.len() - 1);
            let place = format!("bytes {from}-{to}/{}", file.len());
            let part = Body::from(file.slice(from..=to));
            (
                StatusCode::PARTIAL_CONTENT,
                about,
                [(header::CONTENT_RANGE, place)],
                part,
            )
                .into_response()
        }
        None => (about, Body::from(file.clone())).into_response(),
    }
}

struct Bucket {
    shelf: Shared,
    store: MediaStore,
    _serving: TaskTracker,
}

async fn bucket() -> Bucket {
    let shelf = Shared::default();
    let router = Router::new()
        .fallback(answer)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(Arc::clone(&shelf));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = TaskTracker::new();
    serving.spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            tasks.spawn(async move {
                let stream = hyper_util::rt::TokioIo::new(stream);
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(stream, service).await;
            });
        }
    });
    place::use_ring();
    let objects = AmazonS3Builder::new()
        .with_bucket_name("files")
        .with_region("somewhere")
        .with_endpoint(format!("http://{address}"))
        .with_allow_http(true)
        .with_access_key_id("id")
        .with_secret_access_key("secret")
        .with_retry(object_store::RetryConfig {
            max_retries: 0,
            ..object_store::RetryConfig::default()
        })
        .build()
        .unwrap();
    let store = MediaStore {
        files: Some(Arc::new(Files::new(Opened {
            objects: Arc::new(objects),
            prefix: Path::from("some/where"),
            folder: None,
            is_own: false,
            part_bytes: PART_BYTES,
        }))),
        ..MediaStore::default()
    };
    Bucket {
        shelf,
        store,
        _serving: serving,
    }
}

#[tokio::test]
async fn a_bucket_keeps_files_small_and_large() {
    let bucket = bucket().await;
    let store = &bucket.store;
    assert!(
        store.begin(&given("med_1")).await.is_err(),
        "it has no mark yet"
    );
    let mark = "m".repeat(32);
    store.put_mark(&mark).await.unwrap();
    store.put_mark(&"x".repeat(32)).await.unwrap();
    assert_eq!(store.read_mark().await.unwrap().unwrap(), mark.as_bytes());
    for bytes in [1, PART_BYTES, 2 * PART_BYTES + 1_000] {
        let content: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
        put(store, "med_1", &content).await;
        let mut read = Vec::new();
        let mut file = store.read(&given("med_1")).await.unwrap();
        file.read_to_end(&mut read).unwrap();
        assert!(read == content, "{bytes}");
    }
    assert_eq!(names(store).await, ["med_1"]);
    let files: Vec<String> = bucket.shelf.lock().files.keys().cloned().collect();
    assert_eq!(files, ["some/where/leasehold-cluster", "some/where/med_1"]);
    store.probe("1").await.unwrap();
    store.remove(&given("med_1")).await.unwrap();
    assert!(matches!(
        store.read(&given("med_1")).await,
        Err(MediaStoreError::Gone)
    ));
    assert_eq!(bucket.shelf.lock().uploads, 2, "of large files only");
}

#[tokio::test]
async fn a_bucket_has_nothing_of_a_file_that_was_given_up() {
    let bucket = bucket().await;
    let store = &bucket.store;
    store.put_mark(&"m".repeat(32)).await.unwrap();
    for is_dropped in [true, false] {
        let mut upload = store.begin(&given("med_1")).await.unwrap();
        upload.write(vec![7; PART_BYTES + 1].into()).await.unwrap();
        assert_eq!(bucket.shelf.lock().unfinished.len(), 1);
        match is_dropped {
            true => drop(upload),
            false => upload.give_up().await,
        }
        let files = store.files().unwrap();
        files.given_up.close();
        files.given_up.wait().await;
        files.given_up.reopen();
        assert_eq!(bucket.shelf.lock().unfinished.len(), 0);
    }
    bucket.shelf.lock().is_down = true;
    let unavailable = |error: MediaStoreError| matches!(error, MediaStoreError::Unavailable(_));
    assert!(store.read(&given("med_1")).await.is_err_and(unavailable));
}
