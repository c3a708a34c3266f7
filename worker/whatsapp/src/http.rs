//! The engine's HTTP client: none yet.
//!
//! The engine asks for the client version (never, as the configuration gives
//! one) and for media and history blobs by HTTP. Media are not part of this
//! worker so far: every request is refused with a plain error, which the
//! engine reports for that one operation.

use async_trait::async_trait;
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};

/// Refuses every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoHttp;

#[async_trait]
impl HttpClient for NoHttp {
    async fn execute(&self, _request: HttpRequest) -> Result<HttpResponse, anyhow::Error> {
        anyhow::bail!(
            "this worker makes no HTTP requests for WhatsApp: media are not supported yet"
        )
    }
}
