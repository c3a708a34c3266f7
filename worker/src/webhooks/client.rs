//! One request to a receiver, bounded in every way: addresses, redirects (none),
//! time, bytes.
//!
//! The name is looked up once a request, every address of it must be a public
//! one, and the connection goes to one of these very addresses: a name that leads
//! elsewhere a moment later (DNS rebinding) gains nothing. Nothing of the answer is
//! read but its head. A connection serves one request.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::WebhookConfig;
use super::address::{Endpoint, is_public};
use super::schedule::Outcome;

/// For one of a name's addresses; a name has few.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Addresses that are tried.
const ADDRESSES_MAX: usize = 4;

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Headers of an answer.
const HEADERS_MAX: usize = 64;

/// Asks receivers.
#[derive(Clone)]
pub struct Client {
    config: WebhookConfig,
    network: Arc<dyn Network>,
}

/// What a request needs of the network.
#[async_trait]
trait Network: Send + Sync {
    /// The addresses of a name, as they are now.
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;

    /// Connects to this very address.
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// The machine's.
struct SystemNetwork;

#[async_trait]
impl Network for SystemNetwork {
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        // A simulation stays on this machine.
        if cfg!(feature = "simulation") && !address.ip().to_canonical().is_loopback() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        TcpStream::connect(address).await
    }
}

/// Why there is no answer, in words for the delivery log. Never what the
/// receiver said.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("the name cannot be looked up")]
    Dns(#[source] io::Error),
    #[error("the name leads to an address that is not public")]
    Private,
    #[error("not reached")]
    Connect(#[source] io::Error),
    #[error("no TLS with the receiver; is its certificate good?")]
    Tls(#[source] io::Error),
    #[error("the exchange broke off, or the answer is no HTTP")]
    Exchange(#[source] hyper::Error),
    #[error("the request has no form")]
    Request(#[source] hyper::http::Error),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Client {
    /// A client with these limits.
    pub fn new(config: WebhookConfig) -> Self {
        Self {
            config,
            network: Arc::new(SystemNetwork),
        }
    }

    /// Posts a body of JSON; gives what the receiver answered.
    ///
    /// # Cancel safety
    /// Dropped half-way, the receiver may or may not have got it.
    pub async fn post(
        &self,
        endpoint: &Endpoint,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Outcome {
        let exchange = self.exchange(endpoint, headers, body);
        match tokio::time::timeout(self.config.timeout, exchange).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                let source = std::error::Error::source(&error);
                tracing::debug!(%error, source, "a receiver was not asked or gave no answer");
                Outcome::Failed {
                    error: error.to_string(),
                }
            }
            Err(_elapsed) => Outcome::Failed {
                error: "no answer in time".to_owned(),
            },
        }
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<Outcome, ClientError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(endpoint.path())
            .header(header::HOST, endpoint.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(ClientError::Request)?;
        let stream = self.connect(endpoint).await?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ClientError::Exchange)?;
        // Nothing runs beside this: the connection is driven here and ends here.
        let mut connection = connection.boxed().fuse();
        let sent = sender.send_request(request);
        tokio::pin!(sent);
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut sent => break answer.map_err(ClientError::Exchange)?,
                ended = &mut connection => ended.map_err(ClientError::Exchange)?,
            }
        };
        Ok(Outcome::Answered {
            status: answer.status().as_u16(),
            retry_after: retry_after(answer.headers()),
        })
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Stream>, ClientError> {
        let host = endpoint.host();
        let addresses = self.addresses(&host, endpoint.port()).await?;
        let tcp = self.reach(&addresses).await.map_err(ClientError::Connect)?;
        if !endpoint.is_encrypted() {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(host).map_err(|error| {
            ClientError::Tls(io::Error::new(io::ErrorKind::InvalidInput, error))
        })?;
        let connector = TlsConnector::from(tls_config());
        let encrypted = connector.connect(name, tcp).await;
        Ok(Box::new(encrypted.map_err(ClientError::Tls)?))
    }

    /// All addresses of a host; none if one of them must not be asked.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ClientError> {
        let found = self.network.look_up(host, port).await;
        let found = found.map_err(ClientError::Dns)?;
        let may_be_asked =
            |address: &SocketAddr| self.config.allow_private || is_public(address.ip());
        match found.iter().all(may_be_asked) {
            true => Ok(found),
            false => Err(ClientError::Private),
        }
    }

    /// Tries the addresses in order.
    async fn reach(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses.iter().take(ADDRESSES_MAX) {
            let connected = self.network.connect(*address);
            match tokio::time::timeout(CONNECT_LIMIT, connected).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last_error = error,
                Err(_elapsed) => last_error = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last_error)
    }
}

/// What the receiver says of when to come again; in seconds only, dates are
/// rare.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// One configuration for all connections: it holds the roots.
fn tls_config() -> Arc<rustls::ClientConfig> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let roots = rustls::RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has all that the default versions need")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    });
    Arc::clone(config)
}

#[cfg(test)]
mod tests;
