//! The command line's HTTP client for a running worker. Blocking: a command
//! does one thing after another.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, RequestBuilder};

use crate::exit::{self, Failure};

/// A local worker answers in milliseconds; its own request limit is 30 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Talks to the API at one address.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    base: String,
    key: Option<String>,
}

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The problem's stable code, if the answer was a problem.
    pub(super) code: String,
    /// What is wrong.
    pub(super) title: String,
    /// What to do about it.
    pub(super) detail: String,
}

/// What came of a request: an answer, or the worker's refusal.
pub(super) type Answer<T> = Result<T, Refusal>;

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(
            1,
            format!("{}: {} ({})", refusal.title, refusal.detail, refusal.code),
        )
    }
}

impl Client {
    /// A client for the worker at `base`, such as `http://127.0.0.1:8080`.
    pub(super) fn new(base: &str, key: Option<String>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .build()
            .new_agent();
        Self {
            agent,
            base: base.trim_end_matches('/').to_owned(),
            key,
        }
    }

    /// `GET path`.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        let response = self.with_key(self.agent.get(self.url(path))).call();
        self.read(response)
    }

    /// `POST path` with a body.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, Failure> {
        let response = self
            .with_key(self.agent.post(self.url(path)))
            .send_json(body);
        self.read(response)
    }

    /// `POST path` without a body.
    pub(super) fn post_empty<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        let response = self.with_key(self.agent.post(self.url(path))).send_empty();
        self.read(response)
    }

    /// `DELETE path`.
    pub(super) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        let response = self.with_key(self.agent.delete(self.url(path))).call();
        self.read(response)
    }

    fn with_key<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.key {
            Some(key) => request.header("x-api-key", key),
            None => request,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn read<T: DeserializeOwned>(
        &self,
        response: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer<T>, Failure> {
        let mut response = response.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            return serde_json::from_str(&body).map(Ok).map_err(|error| {
                Failure::new(
                    1,
                    format!("{} answers, but not as a worker does: {error}", self.base),
                )
            });
        }
        let problem: Value = serde_json::from_str(&body).unwrap_or_default();
        let text = |name: &str| problem[name].as_str().map(ToOwned::to_owned);
        Ok(Err(Refusal {
            code: text("code").unwrap_or_else(|| status.as_u16().to_string()),
            title: text("title").unwrap_or_else(|| "the worker refused the request".to_owned()),
            detail: text("detail").unwrap_or_else(|| "it did not say why".to_owned()),
        }))
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        Failure::new(
            exit::UNAVAILABLE,
            format!(
                "no worker answers at {} ({error}): start one with `worker`, or name its address \
                 with --api",
                self.base
            ),
        )
    }
}
