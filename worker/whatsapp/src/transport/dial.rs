//! Opens a WebSocket: name, TCP, proxy, TLS, upgrade, each reported as it starts.
//!
//! No time limit in here but that of one TCP address: the caller has the one
//! for all.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use coordinator_lib::gate::Gate;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::DialConfig;
use super::gated::Gated;
use super::link::WebSocket;
use super::tunnel;
use crate::disconnect::UnreachableReason;
use crate::events::Stage;
use crate::proxy::Proxy;

/// Limit for one address of a host that has several.
const TCP_ATTEMPT: Duration = Duration::from_secs(5);

/// The most that one WebSocket message may hold: a WhatsApp frame has a length
/// of three bytes.
const MESSAGE_BYTES_MAX: usize = (1 << 24) + 3;

/// A byte stream, TLS or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The wire gate is closed.
    #[error("the wire gate is closed")]
    Gate,
    /// The instance is going down.
    #[error("shutting down")]
    ShuttingDown,
    /// Not open within the time limit.
    #[error("the connection was not open in time")]
    TimedOut,
    /// A step failed.
    #[error("{step}")]
    Unreachable {
        /// Which.
        step: UnreachableReason,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn failed<E>(step: UnreachableReason) -> impl FnOnce(E) -> DialError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| DialError::Unreachable {
        step,
        source: source.into(),
    }
}

/// Opens a connection whose writes pass `wire`.
pub(super) async fn dial(
    config: &DialConfig,
    wire: &Gate,
    report: impl Fn(Stage),
) -> Result<WebSocket, DialError> {
    let endpoint = &config.endpoint;
    let target = Target {
        host: endpoint.host(),
        port: endpoint.port(),
        is_encrypted: endpoint.is_encrypted(),
    };
    let stream = open(target, config.proxy.as_ref(), Some(wire), &report).await?;

    report(Stage::Handshake);
    let request = upgrade_request(config).map_err(failed(UnreachableReason::WebSocket))?;
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let (socket, _response) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(limits))
            .await
            .map_err(failed(UnreachableReason::WebSocket))?;
    Ok(socket)
}

/// Where a stream is to lead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) is_encrypted: bool,
}

/// Opens a stream, through a proxy if there is one; writes pass `wire`.
pub(crate) async fn open(
    target: Target<'_>,
    proxy: Option<&Proxy>,
    wire: Option<&Gate>,
    report: &impl Fn(Stage),
) -> Result<Box<dyn Stream>, DialError> {
    let (host, port) = proxy.map_or((target.host, target.port), |proxy| {
        (proxy.host(), proxy.port())
    });
    report(Stage::Dns);
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(failed(UnreachableReason::Dns))?
        .collect();

    report(Stage::Tcp);
    let tcp = connect(&addresses)
        .await
        .map_err(failed(UnreachableReason::Tcp))?;
    let mut stream: Box<dyn Stream> = match wire {
        Some(wire) => Box::new(Gated::new(tcp, wire.clone())),
        None => Box::new(tcp),
    };
    if let Some(proxy) = proxy {
        tunnel::open(&mut stream, proxy, target.host, target.port)
            .await
            .map_err(failed(UnreachableReason::Proxy))?;
    }
    if !target.is_encrypted {
        return Ok(stream);
    }
    report(Stage::Tls);
    let encrypted = encrypt(target.host, stream).await;
    Ok(Box::new(encrypted.map_err(failed(UnreachableReason::Tls))?))
}

/// Tries the addresses in order.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match tokio::time::timeout(TCP_ATTEMPT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Frames are small and answers wait for them.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last_error = error,
            Err(_elapsed) => last_error = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last_error)
}

async fn encrypt<S>(host: &str, stream: S) -> io::Result<tokio_rustls::client::TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    TlsConnector::from(tls_config()).connect(name, stream).await
}

/// One configuration for all connections: it holds the roots.
fn tls_config() -> Arc<rustls::ClientConfig> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let roots = rustls::RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            };
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("ring supports TLS 1.2 and 1.3")
                .with_root_certificates(roots)
                .with_no_client_auth();
            Arc::new(config)
        })
        .clone()
}

fn upgrade_request(config: &DialConfig) -> Result<Request, tungstenite::Error> {
    let mut request = config.endpoint.uri().clone().into_client_request()?;
    let origin = HeaderValue::from_str(&config.origin).map_err(tungstenite::http::Error::from)?;
    request.headers_mut().insert(header::ORIGIN, origin);
    Ok(request)
}
