//! `config.webhooks` of a new session: webhooks in WAHA's format, for its
//! account.

use serde::Deserialize;

use crate::http::problem::{Problem, ProblemKind};
use crate::http::state::Api;
use crate::http::webhooks::{NewHook, checked_url};
use crate::model::EventKind;
use crate::model::webhook::WebhookFormat;
use crate::webhooks::secret::Secret;

/// Webhooks of one session.
const WEBHOOKS_MAX: usize = 8;

/// What a session is made with. Fields that are not known are left alone.
#[derive(Default, Deserialize)]
pub(super) struct SessionConfig {
    #[serde(default)]
    webhooks: Vec<SessionWebhook>,
}

#[derive(Deserialize)]
struct SessionWebhook {
    url: String,
    /// Their names, or `*`; all if there are none.
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    hmac: Option<Signing>,
}

#[derive(Deserialize)]
struct Signing {
    /// What deliveries are signed with.
    key: Option<String>,
}

impl SessionConfig {
    /// The webhooks that are asked for, checked.
    ///
    /// # Errors
    /// `invalid_body`.
    pub(super) fn checked(self, api: &Api, name: &str) -> Result<Vec<NewHook>, Problem> {
        if self.webhooks.len() > WEBHOOKS_MAX {
            return Err(invalid(format!(
                "`config.webhooks` has {WEBHOOKS_MAX} at most"
            )));
        }
        let webhooks = self.webhooks.into_iter();
        webhooks.map(|webhook| webhook.checked(api, name)).collect()
    }
}

impl SessionWebhook {
    fn checked(self, api: &Api, name: &str) -> Result<NewHook, Problem> {
        let key = self.hmac.and_then(|hmac| hmac.key);
        let secret = key
            .filter(|key| !key.is_empty())
            .map(|key| Secret::given(key).map_err(|error| invalid(format!("`hmac.key`: {error}"))));
        Ok(NewHook {
            endpoint: checked_url(api, &self.url)?,
            name: name.to_owned(),
            // The session's account has no id yet.
            accounts: None,
            types: kinds(&self.events)?,
            format: WebhookFormat::Waha,
            secret: secret.transpose()?,
        })
    }
}

/// Our kinds of WAHA's events; all if it is all.
fn kinds(events: &[String]) -> Result<Option<Vec<EventKind>>, Problem> {
    if events.is_empty() || events.iter().any(|event| event == "*") {
        return Ok(None);
    }
    let kinds = events.iter().map(|event| match event.as_str() {
        "message" => Ok(EventKind::MessageReceived),
        "message.ack" => Ok(EventKind::MessageUpdated),
        "session.status" => Ok(EventKind::AccountStatus),
        other => Err(invalid(format!(
            "`events`: {other:?} is not told of here; message, message.ack and session.status \
             are, and GET /v1/events has the rest"
        ))),
    });
    let mut kinds: Vec<EventKind> = kinds.collect::<Result<_, _>>()?;
    kinds.sort_by_key(|kind| kind.as_str());
    kinds.dedup();
    Ok(Some(kinds))
}

fn invalid(detail: String) -> Problem {
    Problem::new(ProblemKind::InvalidBody, detail)
}
