//! WhatsApp's media hosts, over HTTPS.
//!
//! Requests are the engine's; it names the hosts. Only the hosts of WhatsApp are
//! asked, never an address that came in a message. Files go and come in pieces,
//! on the threads on which the engine reads and writes them: such a thread waits
//! for the network itself, so there is never more than a piece in between.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use coordinator_lib::gate::Gate;
use http_body_util::Full;
use hyper::body::{Body, Buf, Bytes, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use wacore::net::{StreamingHttpResponse, UploadBody};
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};

use crate::http::{Answer, Http, HttpError};
use crate::proxy::Proxy;

/// For a question that is no file.
const QUESTION_LIMIT: Duration = Duration::from_secs(60);

/// For a whole file of the largest size on a slow line.
const TRANSFER_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Bytes of an answer that is no file.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a file that are read at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Names that belong to WhatsApp.
const HOST_SUFFIXES: [&str; 2] = [".whatsapp.net", ".whatsapp.com"];

/// Makes the requests.
#[derive(Clone)]
pub(crate) struct MediaHost {
    http: Http,
    /// Where every host is, in a test.
    instead: Option<String>,
    /// Bytes of a download. Whoever writes files has a limit of its own.
    bytes_max: u64,
}

impl MediaHost {
    /// WhatsApp's own hosts, or, in a simulation, this address instead of all;
    /// through the account's proxy, if it has one.
    pub(crate) fn new(instead: Option<String>, proxy: Option<Proxy>) -> Self {
        let http = Http { proxy, wire: None };
        Self {
            http,
            instead,
            bytes_max: u64::MAX,
        }
    }

    /// The same for an account's owner, who writes only while the gate is open.
    pub(crate) fn behind(mut self, wire: Gate) -> Self {
        self.http.wire = Some(wire);
        self
    }

    /// The same for an engine, which keeps what it fetches in memory: a longer
    /// download breaks off.
    pub(crate) fn at_most(mut self, bytes_max: u64) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Where a request really goes.
    fn address(&self, url: &str) -> Result<String, anyhow::Error> {
        let rest = url
            .strip_prefix("https://")
            .ok_or_else(|| anyhow::anyhow!("media are fetched by https only"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if !host.bytes().all(is_name) || !HOST_SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
        {
            anyhow::bail!("media are fetched from WhatsApp's hosts only");
        }
        Ok(match &self.instead {
            Some(instead) => format!("{instead}/{path}"),
            None => url.to_owned(),
        })
    }

    async fn send<B>(&self, request: HttpRequest, body: B) -> Result<Answer, anyhow::Error>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Buf + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let url = self.address(&request.url)?;
        let sent = self.http.send(&request.method, &url, request.headers, body);
        Ok(sent.await?)
    }
}

/// An answer that is no file.
async fn short(answer: Answer) -> Result<HttpResponse, anyhow::Error> {
    Ok(HttpResponse {
        status_code: answer.status,
        body: answer.whole(ANSWER_BYTES_MAX).await?,
    })
}

/// Waits on this thread, which may be kept waiting.
fn wait<T>(
    handle: &Handle,
    until: Instant,
    work: impl Future<Output = Result<T, anyhow::Error>>,
) -> Result<T, anyhow::Error> {
    let limited = async {
        match timeout_at(until, work).await {
            Ok(done) => done,
            Err(_elapsed) => Err(HttpError::TimedOut.into()),
        }
    };
    handle.block_on(limited)
}

#[async_trait]
impl HttpClient for MediaHost {
    async fn execute(&self, mut request: HttpRequest) -> Result<HttpResponse, anyhow::Error> {
        let body = Full::new(request.body.take().unwrap_or_default());
        let exchange = async { short(self.send(request, body).await?).await };
        match tokio::time::timeout(QUESTION_LIMIT, exchange).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(HttpError::TimedOut.into()),
        }
    }

    fn supports_streaming(&self) -> bool {
        true
    }

    fn execute_streaming(
        &self,
        request: HttpRequest,
    ) -> Result<StreamingHttpResponse, anyhow::Error> {
        let handle = Handle::try_current()?;
        let until = Instant::now() + TRANSFER_LIMIT;
        let nothing = Full::<Bytes>::default();
        let answer = wait(&handle, until, self.send(request, nothing))?;
        Ok(StreamingHttpResponse {
            status_code: answer.status,
            body: Box::new(Download {
                answer,
                piece: Bytes::new(),
                left: self.bytes_max,
                handle,
                until,
            }),
        })
    }

    fn supports_upload_streaming(&self) -> bool {
        true
    }

    fn execute_upload(
        &self,
        request: HttpRequest,
        body: UploadBody,
        content_length: u64,
    ) -> Result<HttpResponse, anyhow::Error> {
        let handle = Handle::try_current()?;
        let until = Instant::now() + TRANSFER_LIMIT;
        let body = Upload(body.take(content_length));
        let exchange = async { short(self.send(request, body).await?).await };
        wait(&handle, until, exchange)
    }
}

/// A file that comes.
struct Download {
    answer: Answer,
    /// What has come and was not read yet.
    piece: Bytes,
    /// What it may still be.
    left: u64,
    handle: Handle,
    until: Instant,
}

impl Read for Download {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !into.is_empty() {
            let next = async { Ok(self.answer.piece().await?) };
            match wait(&self.handle, self.until, next).map_err(io::Error::other)? {
                Some(piece) => {
                    let left = self.left.checked_sub(piece.len() as u64);
                    self.left =
                        left.ok_or_else(|| io::Error::other("the file is larger than allowed"))?;
                    self.piece = piece;
                }
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

/// A file that goes. Its length is known, for the hosts take no chunked uploads.
struct Upload(io::Take<UploadBody>);

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    /// Reads on the thread that waits for the upload, and for nothing else.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut piece = vec![0; PIECE_BYTES];
        let read = match self.0.read(&mut piece) {
            Ok(0) => return Poll::Ready(None),
            Ok(read) => read,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        piece.truncate(read);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.limit())
    }
}

#[cfg(test)]
mod tests;
