//! Requests and answers.
//!
//! Any worker of a cluster answers any request, so an [`Api`] may know several
//! addresses: it stays with one until that one does not answer, and goes on
//! with the next. What must not be done twice is not asked twice: only a
//! request that may be repeated goes on after an answer that did not come.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use ureq::Agent;

/// Above the worker's own limit for a request, so that its answer is seen.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(35);
/// The same where another worker can be asked instead.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nobody listens: known at once on loopback.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The status of a worker that cannot do it now; another may.
const UNAVAILABLE: u16 = 503;
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The API at one address, or at several that all give the same answers.
/// Clones stay with the same worker.
#[derive(Debug, Clone)]
pub struct Api {
    agent: Agent,
    bases: Arc<[String]>,
    /// Which one is asked first.
    current: Arc<AtomicUsize>,
}

/// The methods that the API knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates, or asks for something to be done.
    Post,
    /// Changes.
    Patch,
    /// Takes away.
    Delete,
}

/// What came back, whatever the status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The media type, empty if none was given.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Api {
    /// The API at `base`, such as `http://127.0.0.1:8080`.
    pub fn at(base: impl Into<String>) -> Self {
        Self::with(Arc::new([base.into()]), REQUEST_TIMEOUT)
    }

    /// The API of a cluster, at the addresses of some of its workers.
    ///
    /// # Panics
    /// There is none.
    pub fn at_any(bases: impl IntoIterator<Item = String>) -> Self {
        let bases: Arc<[String]> = bases.into_iter().collect();
        assert!(!bases.is_empty(), "a cluster has workers");
        let patience = match bases.len() {
            1 => REQUEST_TIMEOUT,
            _ => PATIENCE,
        };
        Self::with(bases, patience)
    }

    fn with(bases: Arc<[String]>, timeout: Duration) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            // A kept connection would be one to a worker that has ended.
            .max_idle_connections(0)
            .build()
            .new_agent();
        Self {
            agent,
            bases,
            current: Arc::default(),
        }
    }

    /// The same API for another client, who asks the `number`th worker first.
    #[must_use]
    pub fn for_client(&self, number: usize) -> Self {
        Self {
            current: Arc::new(AtomicUsize::new(number)),
            ..self.clone()
        }
    }

    /// The address that is asked first.
    pub fn base(&self) -> &str {
        &self.bases[self.current.load(Ordering::Relaxed) % self.bases.len()]
    }

    /// `GET path`.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.request(Method::Get, path, &[], None).await
    }

    /// `POST path` with a JSON body, or without one for `null`.
    ///
    /// # Errors
    /// No answer.
    pub async fn post(&self, path: &str, body: Value) -> Result<Answer> {
        let body = (!body.is_null()).then(|| body.to_string());
        self.request(Method::Post, path, &[], body).await
    }

    /// Any request. A body is declared as JSON unless `headers` says otherwise.
    ///
    /// # Errors
    /// No answer, from nobody who could be asked.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Answer> {
        let is_repeatable = method == Method::Get
            || headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"));
        for _ in 1..self.bases.len() {
            let current = self.current.load(Ordering::Relaxed);
            let base = &self.bases[current % self.bases.len()];
            let answer = self
                .request_at(base, method, path, headers, body.clone())
                .await;
            match &answer {
                Ok(answer) if answer.status == UNAVAILABLE && is_repeatable => {}
                Err(error) if is_repeatable || is_refused(error) => {}
                Ok(_) | Err(_) => return answer,
            }
            // Unless another request has gone on already.
            let _ = self.current.compare_exchange(
                current,
                current + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        self.request_at(self.base(), method, path, headers, body)
            .await
    }

    async fn request_at(
        &self,
        base: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Answer> {
        let mut request = ureq::http::Request::builder()
            .method(match method {
                Method::Get => "GET",
                Method::Post => "POST",
                Method::Patch => "PATCH",
                Method::Delete => "DELETE",
            })
            .uri(format!("{base}{path}"));
        let typed = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if body.is_some() && !typed {
            request = request.header("Content-Type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let agent = self.agent.clone();
        let what = format!("{method:?} {base}{path}");
        tokio::task::spawn_blocking(move || {
            let mut response = match body {
                Some(body) => agent.run(request.body(body)?),
                None => agent.run(request.body(())?),
            }?;
            let content_type = response
                .headers()
                .get("content-type")
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned();
            let status = response.status().as_u16();
            let body = response
                .body_mut()
                .with_config()
                .limit(ANSWER_BYTES_MAX)
                .read_to_vec()?;
            Ok::<_, anyhow::Error>(Answer {
                status,
                content_type,
                body,
            })
        })
        .await
        .context("the request's thread ended")?
        .context(what)
    }
}

/// Whether nobody listens there: nothing was done, then.
fn is_refused(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::ConnectionFailed) => true,
        Some(ureq::Error::Io(error)) => error.kind() == io::ErrorKind::ConnectionRefused,
        Some(_) | None => false,
    }
}

/// An answer with another status than the one that was expected.
#[derive(Debug, Error)]
#[error("status {status} instead of {expected}: {text}")]
struct Unexpected {
    status: u16,
    expected: u16,
    text: String,
}

/// Whether a worker said that it cannot do it now, and can soon.
pub(crate) fn is_unavailable(error: &anyhow::Error) -> bool {
    let unexpected = error.downcast_ref::<Unexpected>();
    unexpected.is_some_and(|answer| answer.status == UNAVAILABLE)
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON of a known shape.
    ///
    /// # Errors
    /// It has another shape; the message shows it.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).with_context(|| format!("answer {}", self.text()))
    }

    /// This answer, if it has that status.
    ///
    /// # Errors
    /// It has another one; the message shows the body.
    pub fn expect(&self, status: u16) -> Result<&Self> {
        if self.status == status {
            return Ok(self);
        }
        bail!(Unexpected {
            status: self.status,
            expected: status,
            text: self.text(),
        })
    }

    /// The stable code of a problem, empty if this is none.
    pub fn code(&self) -> String {
        self.member("code")
    }

    /// What a problem says to do, empty if this is none.
    pub fn detail(&self) -> String {
        self.member("detail")
    }

    fn member(&self, name: &str) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body[name].as_str().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::port;

    /// Serves one request with an empty answer of this status.
    async fn serve_once(listener: &TcpListener, status: u16) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn another_worker_is_asked_where_one_is_not_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = format!("http://{}", listener.local_addr().unwrap());
        let (_nobody, address) = port::nobody().unwrap();
        let api = Api::at_any([format!("http://{address}"), there.clone()]);
        let (answer, ()) = tokio::join!(api.post("/", Value::Null), serve_once(&listener, 202));
        assert_eq!(answer.unwrap().status, 202);
        assert_eq!(api.base(), there, "and it stays there");
    }

    #[tokio::test]
    async fn only_what_may_be_repeated_goes_on_after_a_refusal() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = format!("http://{}", listener.local_addr().unwrap());
        let (_nobody, address) = port::nobody().unwrap();
        let api = Api::at_any([there, format!("http://{address}")]);
        let (answer, ()) = tokio::join!(api.post("/", Value::Null), serve_once(&listener, 503));
        assert_eq!(answer.unwrap().status, 503);
        let (answer, ()) = tokio::join!(api.get("/"), serve_once(&listener, 503));
        assert!(answer.is_err(), "nobody is left to be asked");
    }
}
