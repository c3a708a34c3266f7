//! What a worker answers for the accounts that it owns: see [`commands`](crate::commands).
//!
//! What is secret crosses the store sealed with the account's data key, both
//! ways.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use coordinator_lib::identity::AccountId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use session::DataKey;
use whatsapp::{GroupError, LinkingError};

use super::SupervisorHandle;
use crate::account::link::Link;
use crate::account::observed::Observed;
use crate::commands::Answering;
use crate::groups::answers::{Answers, GroupReply};
use crate::groups::shelf::Shelf;
use crate::http::WorkerView;
use crate::model::command::{COMMAND_PURPOSE, CommandDoc, CommandKind};

/// What belongs to [`CommandKind::PairingCode`].
#[derive(Serialize, Deserialize)]
pub(crate) struct PhoneArgument {
    pub(crate) phone: String,
}

/// What belongs to [`CommandKind::PasskeyAnswer`], both in base64.
#[derive(Serialize, Deserialize)]
pub(crate) struct AssertionArgument {
    pub(crate) assertion: String,
    pub(crate) credential: String,
}

/// How a step of linking went, as the reply says it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum LinkingReply {
    /// Done.
    Done,
    /// The code, sealed, in base64.
    Code {
        /// Sealed for [`COMMAND_PURPOSE`].
        sealed: String,
        /// From the moment of the reply.
        valid_for_seconds: u64,
    },
    /// Not done.
    Failed {
        /// Why.
        why: LinkingFailure,
    },
}

/// [`LinkingError`] as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LinkingFailure {
    NotLinking,
    InvalidNumber,
    Refused,
    OutOfTurn,
    TimedOut,
}

impl From<LinkingError> for LinkingFailure {
    fn from(error: LinkingError) -> Self {
        match error {
            LinkingError::NotLinking => Self::NotLinking,
            LinkingError::InvalidNumber => Self::InvalidNumber,
            LinkingError::Refused => Self::Refused,
            LinkingError::OutOfTurn => Self::OutOfTurn,
            LinkingError::TimedOut => Self::TimedOut,
        }
    }
}

#[async_trait]
impl Answering for SupervisorHandle {
    fn session_id(&self) -> String {
        WorkerView::session_id(self)
    }

    async fn answer(&self, command: &CommandDoc) -> Option<String> {
        let account = AccountId::new(command.account_id.as_str()).ok()?;
        let observed = Arc::clone(self.shared.observed.lock().get(&account)?);
        let reply = match command.kind {
            CommandKind::Inspect => return Some(observed.snapshot().debug.to_string()),
            CommandKind::Group => {
                let reply = self.group(command, &observed).await;
                return serde_json::to_string(&reply).ok();
            }
            CommandKind::PairingCode | CommandKind::PasskeyAnswer | CommandKind::PasskeyConfirm => {
                match observed.running() {
                    Some((link, data_key)) => self.linking(command, &link, &data_key).await,
                    None => failed(LinkingError::NotLinking),
                }
            }
        };
        serde_json::to_string(&reply).ok()
    }
}

impl SupervisorHandle {
    /// Carries out what is asked about a group.
    async fn group(&self, command: &CommandDoc, observed: &Observed) -> GroupReply {
        let (Some((link, data_key)), Some(journal)) = (observed.running(), observed.journal())
        else {
            return GroupReply::Failed {
                error: GroupError::NotConnected,
            };
        };
        let shelf = Shelf {
            account_id: command.account_id.clone(),
            store: Arc::clone(&self.store),
            journal,
        };
        let answers = Answers {
            link: &link,
            data_key: &data_key,
            rng: self.rng.as_ref(),
            shelf: &shelf,
        };
        answers.answer(command).await
    }

    async fn linking(
        &self,
        command: &CommandDoc,
        link: &Arc<dyn Link>,
        data_key: &DataKey,
    ) -> LinkingReply {
        let account = command.account_id.as_str();
        let argument = command.argument.as_deref().unwrap_or_default();
        let argument = data_key.open_secret(account, COMMAND_PURPOSE, argument);
        let done = match command.kind {
            CommandKind::PairingCode => {
                let Some(PhoneArgument { phone }) = argument
                    .ok()
                    .and_then(|text| serde_json::from_slice(&text).ok())
                else {
                    return failed(LinkingError::InvalidNumber);
                };
                return match link.pairing_code(&phone).await {
                    Ok(code) => {
                        let text = code.expose().as_bytes();
                        let sealed =
                            data_key.seal_secret(self.rng.as_ref(), account, COMMAND_PURPOSE, text);
                        LinkingReply::Code {
                            sealed: BASE64_STANDARD.encode(sealed),
                            valid_for_seconds: code.valid_for.as_secs(),
                        }
                    }
                    Err(error) => failed(error),
                };
            }
            CommandKind::PasskeyAnswer => {
                let Some(AssertionArgument {
                    assertion,
                    credential,
                }) = argument
                    .ok()
                    .and_then(|text| serde_json::from_slice(&text).ok())
                else {
                    return failed(LinkingError::OutOfTurn);
                };
                let decode = |text: &str| BASE64_STANDARD.decode(text).unwrap_or_default();
                link.passkey_answer(decode(&assertion), decode(&credential))
                    .await
            }
            CommandKind::PasskeyConfirm => link.passkey_confirm().await,
            CommandKind::Inspect | CommandKind::Group => Ok(()), // answered by whoever called
        };
        match done {
            Ok(()) => LinkingReply::Done,
            Err(error) => failed(error),
        }
    }
}

fn failed(error: LinkingError) -> LinkingReply {
    LinkingReply::Failed { why: error.into() }
}

impl LinkingReply {
    /// Reads a reply.
    pub(crate) fn read(reply: serde_json::Value) -> Self {
        serde_json::from_value(reply).unwrap_or(Self::Failed {
            why: LinkingFailure::TimedOut,
        })
    }
}

/// The argument of a command, sealed.
pub(crate) fn seal_argument<T: Serialize>(
    data_key: &DataKey,
    rng: &dyn coordinator_lib::rng::Rng,
    account: &str,
    argument: &T,
) -> bytes::Bytes {
    let text = json!(argument).to_string();
    data_key
        .seal_secret(rng, account, COMMAND_PURPOSE, text.as_bytes())
        .into()
}
