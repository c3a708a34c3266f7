//! What other workers ask of the owner about groups, carried out.
//!
//! Requests and answers hold names, numbers and links, so both cross the store
//! sealed with the account's data key. What has changed is asked for again and
//! kept before the answer: whoever reads after it reads it.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use coordinator_lib::rng::Rng;
use serde::{Deserialize, Serialize};
use session::DataKey;
use whatsapp::groups::{GroupAnswer, GroupError, GroupNews, GroupRequest};

use super::shelf::Shelf;
use crate::account::link::Link;
use crate::model::command::{COMMAND_PURPOSE, CommandDoc};

/// How a request went, as the command's reply says it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum GroupReply {
    /// WhatsApp's answer, sealed for [`COMMAND_PURPOSE`], in base64.
    Answered {
        /// The JSON of a [`GroupAnswer`].
        sealed: String,
    },
    /// Not done.
    Failed {
        /// Why.
        error: GroupError,
    },
}

impl GroupReply {
    /// Reads a reply.
    pub fn read(
        reply: serde_json::Value,
        data_key: &DataKey,
        account: &str,
    ) -> Result<GroupAnswer, GroupError> {
        let reply: Self = serde_json::from_value(reply).map_err(|_| GroupError::Internal)?;
        let sealed = match reply {
            GroupReply::Answered { sealed } => sealed,
            GroupReply::Failed { error } => return Err(error),
        };
        let sealed = BASE64_STANDARD.decode(sealed).unwrap_or_default();
        let opened = data_key.open_secret(account, COMMAND_PURPOSE, &sealed);
        let text = opened.map_err(|_| GroupError::Internal)?;
        serde_json::from_slice(&text).map_err(|_| GroupError::Internal)
    }
}

/// The owner's side of one command.
pub struct Answers<'a> {
    /// Through which WhatsApp is asked.
    pub link: &'a Arc<dyn Link>,
    /// Opens and seals.
    pub data_key: &'a DataKey,
    /// Nonces.
    pub rng: &'a dyn Rng,
    /// Where groups are kept.
    pub shelf: &'a Shelf,
}

impl Answers<'_> {
    /// Carries a command out.
    pub async fn answer(&self, command: &CommandDoc) -> GroupReply {
        match self.carry_out(command).await {
            Ok(answer) => {
                let text = serde_json::to_vec(&answer).unwrap_or_default();
                let account = &command.account_id;
                let sealed = self
                    .data_key
                    .seal_secret(self.rng, account, COMMAND_PURPOSE, &text);
                GroupReply::Answered {
                    sealed: BASE64_STANDARD.encode(sealed),
                }
            }
            Err(error) => GroupReply::Failed { error },
        }
    }

    async fn carry_out(&self, command: &CommandDoc) -> Result<GroupAnswer, GroupError> {
        let argument = command.argument.as_deref().unwrap_or_default();
        let opened = self
            .data_key
            .open_secret(&command.account_id, COMMAND_PURPOSE, argument);
        let text = opened.map_err(|_| GroupError::Internal)?;
        let request: GroupRequest =
            serde_json::from_slice(&text).map_err(|_| GroupError::Invalid)?;
        let answer = self.link.group(&request).await?;
        self.keep(&request, &answer).await;
        Ok(answer)
    }

    /// Keeps what has changed. A failure is not the request's: it was carried
    /// out, and WhatsApp's notification brings the same once more.
    async fn keep(&self, request: &GroupRequest, answer: &GroupAnswer) {
        let kept = match (request, answer) {
            (GroupRequest::Leave { group }, _) => self.shelf.left(group).await,
            (_, GroupAnswer::Group { group }) => self.shelf.keep(group, GroupNews::Settings).await,
            (_, GroupAnswer::Joined { group, waiting }) => match waiting {
                true => Ok(()),
                false => return self.read_again(group).await,
            },
            (
                _,
                GroupAnswer::Groups { .. }
                | GroupAnswer::People { .. }
                | GroupAnswer::Invitation { .. }
                | GroupAnswer::Done,
            ) => match request.changes() {
                Some(group) => return self.read_again(group).await,
                None => Ok(()),
            },
        };
        if let Err(error) = kept {
            tracing::warn!(account.id = %self.shelf.account_id, %error, "a group was not kept");
        }
    }

    async fn read_again(&self, group: &str) {
        let request = GroupRequest::Read {
            group: group.to_owned(),
        };
        let kept = match self.link.group(&request).await {
            Ok(GroupAnswer::Group { group }) => self.shelf.keep(&group, GroupNews::Settings).await,
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::debug!(account.id = %self.shelf.account_id, %error, "a group was not read again");
                Ok(())
            }
        };
        if let Err(error) = kept {
            tracing::warn!(account.id = %self.shelf.account_id, %error, "a group was not kept");
        }
    }
}
