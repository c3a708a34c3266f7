//! HTTP for the engine and for the client version, by the same way as the
//! WebSocket: through the account's proxy, and no write without the wire gate.
//!
//! One connection a request. Media and history are not part of this worker yet,
//! so what the engine asks for here is little; what an answer may hold is
//! limited all the same.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coordinator_lib::gate::Gate;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};

use crate::proxy::Proxy;
use crate::transport::{DialError, Target, open};
use crate::verification::SIMULATION;

/// The most that an answer may hold.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// For a whole request.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is none, or this build must not ask there.
    #[error("not an address that this build may ask")]
    Address,
    /// Not reached.
    #[error("not reached")]
    Dial(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The exchange broke off, or was too large.
    #[error("the exchange failed")]
    Exchange(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not answered in time.
    #[error("no answer in time")]
    TimedOut,
}

/// Makes requests.
#[derive(Clone, Default)]
pub(crate) struct Http {
    pub(crate) proxy: Option<Proxy>,
    /// Absent where no account is behind the request.
    pub(crate) wire: Option<Gate>,
}

impl Http {
    /// Makes a request; gives status and body.
    pub(crate) async fn request(
        &self,
        method: &str,
        url: &str,
        headers: impl Iterator<Item = (String, String)>,
        body: Bytes,
    ) -> Result<(u16, Bytes), HttpError> {
        let exchange = self.exchange(method, url, headers, body);
        match tokio::time::timeout(REQUEST_LIMIT, exchange).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(HttpError::TimedOut),
        }
    }

    async fn exchange(
        &self,
        method: &str,
        url: &str,
        headers: impl Iterator<Item = (String, String)>,
        body: Bytes,
    ) -> Result<(u16, Bytes), HttpError> {
        let uri: Uri = url.parse().map_err(|_| HttpError::Address)?;
        let target = target(&uri).ok_or(HttpError::Address)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().ok_or(HttpError::Address)?.as_str();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, authority);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|_| HttpError::Address)?;

        let dialled = open(target, self.proxy.as_ref(), self.wire.as_ref(), &|_| {}).await;
        let stream = dialled.map_err(|error: DialError| HttpError::Dial(error.into()))?;
        let exchange = |error: hyper::Error| HttpError::Exchange(error.into());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(exchange)?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(exchange)?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(HttpError::Exchange)?;
            Ok((status, body.to_bytes()))
        };
        tokio::pin!(answer, connection);
        // The connection must be driven; it ends with the answer.
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(HttpError::Exchange(error.into())),
            },
        }
    }
}

/// Where an address leads, if this build may go there.
fn target(uri: &Uri) -> Option<Target<'_>> {
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback());
    let is_encrypted = match uri.scheme_str()? {
        "https" => true,
        // In clear only on this machine.
        "http" if is_loopback => false,
        _ => return None,
    };
    if SIMULATION && !is_loopback {
        return None;
    }
    Some(Target {
        host,
        port: uri
            .port_u16()
            .unwrap_or(if is_encrypted { 443 } else { 80 }),
        is_encrypted,
    })
}

#[async_trait]
impl HttpClient for Http {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse, anyhow::Error> {
        let body = request.body.unwrap_or_default();
        let headers = request.headers.into_iter();
        let (status_code, body) = self
            .request(&request.method, &request.url, headers, body)
            .await?;
        Ok(HttpResponse {
            status_code,
            body: body.to_vec(),
        })
    }
}
