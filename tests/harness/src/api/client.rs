//! Requests and answers.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Agent;

/// Above the worker's own limit for a request, so that its answer is seen.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(35);
/// Nobody listens: known at once on loopback.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The API at one address.
#[derive(Debug, Clone)]
pub struct Api {
    agent: Agent,
    base: String,
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
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            // A kept connection would be one to a worker that has ended.
            .max_idle_connections(0)
            .build()
            .new_agent();
        Self {
            agent,
            base: base.into(),
        }
    }

    /// Its address.
    pub fn base(&self) -> &str {
        &self.base
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
    /// No answer.
    pub async fn request(
        &self,
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
            .uri(format!("{}{path}", self.base));
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
        let what = format!("{method:?} {}{path}", self.base);
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
        bail!(
            "status {} instead of {status}: {}",
            self.status,
            self.text()
        )
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
