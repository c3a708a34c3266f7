//! The worker's HTTP API, as a client sees it: JSON over loopback, one
//! connection a request.
//!
//! [`Api`] has a method for each thing that the tests and the demo do; what a
//! test does wrong on purpose goes through [`Api::request`]. The shapes are
//! written here anew, not taken from the worker: a field that is renamed there
//! fails here, as it would fail a user's program.

mod client;
mod views;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

pub(crate) use self::client::is_unavailable;
pub use self::client::{Answer, Api, Method};
pub use self::views::{
    Account, Direction, HistoryEntry, HistoryKind, LastError, Message, OutgoingMessage, Owner,
    QrCode, Reason, Thread, WorkerSession,
};
use crate::wait::{self, Look};

/// Documents a page; more than any test makes.
const PAGE_LIMIT: u32 = 200;

impl Api {
    /// `POST /v1/accounts`.
    ///
    /// # Errors
    /// The worker does not answer, or refuses.
    pub async fn create_account(&self, name: &str) -> Result<Account> {
        let answer = self.post("/v1/accounts", json!({ "name": name })).await?;
        answer.expect(201)?.json()
    }

    /// `GET /v1/accounts/{id}`.
    ///
    /// # Errors
    /// The worker does not answer, or knows no such account.
    pub async fn account(&self, id: &str) -> Result<Account> {
        self.get(&format!("/v1/accounts/{id}"))
            .await?
            .expect(200)?
            .json()
    }

    /// `GET /v1/accounts`, all pages.
    ///
    /// # Errors
    /// The worker does not answer, or refuses.
    pub async fn accounts(&self) -> Result<Vec<Account>> {
        self.pages("/v1/accounts", "accounts").await
    }

    /// `GET /v1/accounts/{id}/history`, all pages: who owned it, the latest first.
    ///
    /// # Errors
    /// The worker does not answer, or refuses.
    pub async fn history(&self, id: &str) -> Result<Vec<HistoryEntry>> {
        self.pages(&format!("/v1/accounts/{id}/history"), "history")
            .await
    }

    /// `GET /v1/workers`: the worker sessions that have not ended.
    ///
    /// # Errors
    /// The worker does not answer, or refuses.
    pub async fn workers(&self) -> Result<Vec<WorkerSession>> {
        let answer = self.get("/v1/workers").await?;
        let mut body: Value = answer.expect(200)?.json()?;
        serde_json::from_value(body["workers"].take()).context("`workers` of /v1/workers")
    }

    /// `POST /v1/accounts/{id}/{action}` with `start`, `stop` or `restart`.
    ///
    /// # Errors
    /// The worker does not answer, or refuses.
    pub async fn act(&self, id: &str, action: &str) -> Result<Account> {
        let answer = self
            .post(&format!("/v1/accounts/{id}/{action}"), Value::Null)
            .await?;
        answer.expect(202)?.json()
    }

    /// `GET /v1/accounts/{id}/qr`: the text to scan, or nothing if there is none now.
    ///
    /// # Errors
    /// The worker does not answer, or refuses for another reason.
    pub async fn qr(&self, id: &str) -> Result<Option<QrCode>> {
        let answer = self.get(&format!("/v1/accounts/{id}/qr")).await?;
        if answer.status == 409 {
            return Ok(None);
        }
        answer.expect(200)?.json().map(Some)
    }

    /// `POST /v1/accounts/{id}/messages`: the id under which it was accepted.
    ///
    /// # Errors
    /// The worker does not answer, or refuses.
    pub async fn send_text(&self, account: &str, to: &str, text: &str) -> Result<String> {
        let path = format!("/v1/accounts/{account}/messages");
        accepted_id(&self.post(&path, json!({ "to": to, "text": text })).await?)
    }

    /// The same under an idempotency key: repeated until a worker answers, as
    /// a client does whose request may or may not have been taken.
    ///
    /// # Errors
    /// A refusal, or no answer within `limit`.
    pub async fn send_text_until_accepted(
        &self,
        account: &str,
        to: &str,
        text: &str,
        key: &str,
        limit: Duration,
    ) -> Result<String> {
        let path = format!("/v1/accounts/{account}/messages");
        let body = json!({ "to": to, "text": text });
        let headers = [("Idempotency-Key", key)];
        wait::until("message is accepted", limit, async || {
            match self
                .request(Method::Post, &path, &headers, Some(body.to_string()))
                .await
            {
                // The store is away, or full.
                Ok(answer) if matches!(answer.status, 503 | 507) => Ok(Look::NotYet(answer.text())),
                Ok(answer) => accepted_id(&answer).map(Look::Done),
                Err(error) => Ok(Look::NotYet(format!("{error:#}"))),
            }
        })
        .await
    }

    /// `GET /v1/messages/{id}`: an accepted message.
    ///
    /// # Errors
    /// The worker does not answer, or knows no such message.
    pub async fn outgoing(&self, message_id: &str) -> Result<OutgoingMessage> {
        self.get(&format!("/v1/messages/{message_id}"))
            .await?
            .expect(200)?
            .json()
    }

    /// `GET /v1/accounts/{id}/threads`, all pages.
    ///
    /// # Errors
    /// The worker does not answer, or refuses.
    pub async fn threads(&self, account: &str) -> Result<Vec<Thread>> {
        self.pages(&format!("/v1/accounts/{account}/threads"), "threads")
            .await
    }

    /// `GET /v1/threads/{id}/messages`, all pages.
    ///
    /// # Errors
    /// The worker does not answer, or refuses.
    pub async fn messages(&self, thread: &str) -> Result<Vec<Message>> {
        self.pages(&format!("/v1/threads/{thread}/messages"), "messages")
            .await
    }

    /// The messages of all threads of an account.
    ///
    /// # Errors
    /// The worker does not answer, or refuses.
    pub async fn all_messages(&self, account: &str) -> Result<Vec<Message>> {
        let mut all = Vec::new();
        for thread in self.threads(account).await? {
            all.extend(self.messages(&thread.id).await?);
        }
        Ok(all)
    }

    /// `POST /v1/threads/{id}/read`.
    ///
    /// # Errors
    /// The worker does not answer, or refuses.
    pub async fn mark_read(&self, thread: &str) -> Result<()> {
        let answer = self
            .post(&format!("/v1/threads/{thread}/read"), Value::Null)
            .await?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        bail!("reading was refused: {}", answer.text())
    }

    /// `GET /health`.
    ///
    /// # Errors
    /// The worker does not answer, or its answer is no JSON.
    pub async fn health(&self) -> Result<Value> {
        self.get("/health").await?.json()
    }

    /// Waits until the account has one of `statuses`.
    ///
    /// # Errors
    /// It has not within `limit`.
    pub async fn until_status(
        &self,
        id: &str,
        statuses: &[&str],
        limit: Duration,
    ) -> Result<Account> {
        wait::until(
            &format!("{id} is {}", statuses.join(" or ")),
            limit,
            async || {
                let account = self.account(id).await?;
                // One that was given back keeps its status until it is claimed.
                let is_stale = account.status == "connected" && account.owner.is_none();
                let there = !is_stale && statuses.contains(&account.status.as_str());
                let instead = format!("{} ({:?})", account.status, account.last_error);
                Ok(Look::some(there.then_some(account), instead))
            },
        )
        .await
    }

    /// Waits until an accepted message has come as far as one of `states`.
    ///
    /// # Errors
    /// It has not within `limit`.
    pub async fn until_state(
        &self,
        message_id: &str,
        states: &[&str],
        limit: Duration,
    ) -> Result<OutgoingMessage> {
        wait::until(
            &format!("{message_id} is {}", states.join(" or ")),
            limit,
            async || {
                let message = self.outgoing(message_id).await?;
                let there = states.contains(&message.state.as_str());
                let instead = format!("{} ({:?})", message.state, message.error);
                Ok(Look::some(there.then_some(message), instead))
            },
        )
        .await
    }

    /// All documents of a list, page by page.
    async fn pages<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        member: &str,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let cursor = after
                .map(|after| format!("&after={after}"))
                .unwrap_or_default();
            let answer = self
                .get(&format!("{path}?limit={PAGE_LIMIT}{cursor}"))
                .await?;
            let mut page: Value = answer.expect(200)?.json()?;
            let documents = page[member].take();
            all.extend(
                serde_json::from_value::<Vec<T>>(documents)
                    .with_context(|| format!("`{member}` of {path}"))?,
            );
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(all),
            }
        }
    }
}

fn accepted_id(answer: &Answer) -> Result<String> {
    let body: Value = answer.expect(202)?.json()?;
    let id = body["messageId"]
        .as_str()
        .context("the 202 has no `messageId`")?;
    Ok(id.to_owned())
}
