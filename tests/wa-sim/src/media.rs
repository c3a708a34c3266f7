//! The media host: keeps what clients upload, as they encrypted it, and gives
//! it back. Like the real one it knows no key.
//!
//! Clients think that it is at [`HOST`], by HTTPS; a test's client is told to
//! go to the admin API's address instead.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use crate::wire::Node;

/// The host's name, as the server tells it.
pub const HOST: &str = "mmg.whatsapp.net";

/// Bytes of one upload.
const UPLOAD_BYTES_MAX: usize = 128 * 1024 * 1024;

/// What was uploaded, by token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Media {
    state: Arc<Mutex<Stored>>,
}

#[derive(Debug, Default)]
struct Stored {
    blobs: HashMap<String, Bytes>,
    is_down: bool,
}

#[derive(Deserialize)]
struct UploadQuery {
    resume: Option<String>,
}

impl Media {
    /// The host answers nothing but errors, or works again.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.state.lock().is_down = is_down;
    }

    /// Keeps a file that is encrypted already. Returns its path.
    pub(crate) fn put(&self, token: String, blob: Bytes) -> String {
        let path = format!("/v/{token}");
        self.state.lock().blobs.insert(token, blob);
        path
    }

    /// Forgets every file, as the real host does after some weeks.
    pub(crate) fn forget(&self) {
        self.state.lock().blobs.clear();
    }

    /// Files that it has.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().blobs.len()
    }
}

/// The answer to `media_conn`.
pub(crate) fn connection() -> Node {
    let host = Node::new("host")
        .attr("hostname", HOST)
        .attr("type", "primary")
        .attr("maxContentLengthBytes", UPLOAD_BYTES_MAX.to_string());
    Node::new("media_conn")
        .attr("auth", "sim")
        .attr("ttl", "300")
        .attr("auth_ttl", "3600")
        .attr("max_buckets", "12")
        .child(host)
}

/// The host's routes.
pub(crate) fn router(media: Media) -> Router {
    Router::new()
        .route("/mms/{kind}/{token}", post(upload))
        .route("/v/{token}", get(download))
        .layer(DefaultBodyLimit::max(UPLOAD_BYTES_MAX))
        .with_state(media)
}

async fn upload(
    State(media): State<Media>,
    Path((_, token)): Path<(String, String)>,
    Query(query): Query<UploadQuery>,
    blob: Bytes,
) -> Response {
    let mut stored = media.state.lock();
    if stored.is_down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if query.resume.is_some() {
        // Nothing is kept of an upload that broke off.
        return Json(json!({ "resume": "0" })).into_response();
    }
    stored.blobs.insert(token.clone(), blob);
    let path = format!("/v/{token}");
    Json(json!({ "url": format!("https://{HOST}{path}"), "direct_path": path })).into_response()
}

async fn download(State(media): State<Media>, Path(token): Path<String>) -> Response {
    let stored = media.state.lock();
    if stored.is_down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match stored.blobs.get(&token) {
        Some(blob) => {
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            (kind, Body::from(blob.clone())).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
