//! HTTP for the media hosts and for the client version, by the same way as the
//! WebSocket: through the account's proxy, and no write without the wire gate.
//!
//! One connection a request. Bodies go and come in pieces; who wants a whole
//! answer says how much it may hold. Nothing runs beside the caller: the
//! connection is driven by who waits for the answer or for its next piece, and
//! ends with it.

use coordinator_lib::gate::Gate;
use futures::FutureExt;
use futures::future::{BoxFuture, Fuse};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;

use crate::proxy::Proxy;
use crate::transport::{DialError, Target, open};
use crate::verification::SIMULATION;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is none, or this build must not ask there.
    #[error("not an address that this build may ask")]
    Address,
    /// The account is not this worker's any more.
    #[error("the wire gate is closed")]
    Gate,
    /// Not reached.
    #[error("not reached")]
    Dial(#[source] Cause),
    /// The exchange broke off.
    #[error("the exchange failed")]
    Exchange(#[source] Cause),
    /// The answer holds more than it may.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Not answered in time.
    #[error("no answer in time")]
    TimedOut,
}

/// Makes requests.
#[derive(Clone, Default)]
pub(crate) struct Http {
    pub(crate) proxy: Option<Proxy>,
    /// Absent where no account's lease is behind the request.
    pub(crate) wire: Option<Gate>,
}

/// An answer, whose body is still to come. Dropped, the connection ends.
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Incoming,
    connection: Connection,
    wire: Option<Gate>,
}

/// Must be driven for anything to happen.
type Connection = Fuse<BoxFuture<'static, hyper::Result<()>>>;

impl Http {
    /// Makes a request; gives the answer as soon as its head is there.
    ///
    /// # Cancel safety
    /// Dropped half-way, the request may or may not have left.
    pub(crate) async fn send<B>(
        &self,
        method: &str,
        url: &str,
        headers: impl IntoIterator<Item = (String, String)>,
        body: B,
    ) -> Result<Answer, HttpError>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Cause>,
    {
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
        let request = request.body(body).map_err(|_| HttpError::Address)?;
        let exchange = async {
            let dialled = open(target, self.proxy.as_ref(), self.wire.as_ref(), &|_| {}).await;
            let stream = dialled.map_err(|error: DialError| HttpError::Dial(error.into()))?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(broken)?;
            let mut connection = connection.boxed().fuse();
            let answer = driven(&mut connection, sender.send_request(request)).await;
            let answer = answer?.map_err(broken)?;
            Ok(Answer {
                status: answer.status().as_u16(),
                body: answer.into_body(),
                connection,
                wire: self.wire.clone(),
            })
        };
        while_open(self.wire.as_ref(), exchange).await
    }
}

impl Answer {
    /// The next piece of the body; none after the last.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, HttpError> {
        let Self {
            body,
            connection,
            wire,
            status: _,
        } = self;
        let next = async {
            loop {
                let frame = driven(connection, body.frame()).await?;
                let Some(frame) = frame.transpose().map_err(broken)? else {
                    return Ok(None);
                };
                // Else trailers, which nobody wants.
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        };
        while_open(wire.as_ref(), next).await
    }

    /// The whole body, if it is not longer than the limit.
    pub(crate) async fn whole(mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > limit {
                return Err(HttpError::TooLong { limit });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }
}

fn broken(error: hyper::Error) -> HttpError {
    HttpError::Exchange(error.into())
}

/// Drives the connection until `work` is done.
async fn driven<T>(
    connection: &mut Connection,
    work: impl Future<Output = T>,
) -> Result<T, HttpError> {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => Ok(done),
        ended = connection => match ended {
            // What it brought last is still to be taken.
            Ok(()) => Ok(work.await),
            Err(error) => Err(broken(error)),
        },
    }
}

/// Gives up as soon as the gate closes.
async fn while_open<T>(
    wire: Option<&Gate>,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    let Some(wire) = wire else {
        return work.await;
    };
    tokio::select! {
        biased;
        _ = wire.closed() => Err(HttpError::Gate),
        done = work => done,
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
