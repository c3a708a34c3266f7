//! The body of `POST /v1/accounts/{id}/messages`: a recipient, and exactly one
//! of the things that can be sent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use whatsapp::content::{Contact, LinkPreview, Location, MediaKind, Poll};

use super::problem::{Problem, ProblemKind};
use crate::model::Change;
use crate::outbox::NewMessage;

/// A recipient, and one of the things that can be sent.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = NewMessage)]
pub(super) struct MessageBody {
    to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mentions: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preview: Option<LinkPreview>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quote: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<Location>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contacts: Option<Vec<Contact>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    poll: Option<Poll>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reaction: Option<Reaction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    edit: Option<Edit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoke: Option<Revoke>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vote: Option<Vote>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media: Option<MediaBody>,
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = NewMessageMedia)]
struct MediaBody {
    media_id: String,
    kind: MediaKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caption: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_name: Option<String>,
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = NewReaction)]
struct Reaction {
    message_id: String,
    emoji: String,
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = NewEdit)]
struct Edit {
    message_id: String,
    text: String,
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = NewRevocation)]
struct Revoke {
    message_id: String,
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = NewVote)]
struct Vote {
    message_id: String,
    options: Vec<String>,
}

impl MessageBody {
    /// The request without its recipient, who may be spelt in several ways, in
    /// one spelling.
    pub(super) fn fingerprint(&self) -> Result<String, Problem> {
        let mut value = serde_json::to_value(self)
            .map_err(|error| Problem::new(ProblemKind::InvalidBody, error.to_string()))?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("to");
        }
        Ok(value.to_string())
    }

    /// The recipient and what it is to get.
    pub(super) fn message(self) -> Result<(String, NewMessage), Problem> {
        let is_text = self.text.is_some();
        if !is_text && (!self.mentions.is_empty() || self.preview.is_some() || self.quote.is_some())
        {
            return Err(Problem::new(
                ProblemKind::InvalidBody,
                "`mentions`, `preview` and `quote` come with `text`",
            ));
        }
        let amend = |stored_message_id, change| NewMessage::Amend {
            stored_message_id,
            change,
        };
        let (mentions, preview, quote) = (self.mentions, self.preview, self.quote);
        let text = self.text.map(|text| NewMessage::Text {
            text,
            mentions,
            preview,
            quote,
        });
        let all = [
            text,
            self.location.map(NewMessage::Location),
            self.contacts.map(NewMessage::Contacts),
            self.poll.map(NewMessage::Poll),
            self.reaction
                .map(|reaction| amend(reaction.message_id, Change::Reaction(reaction.emoji))),
            self.edit
                .map(|edit| amend(edit.message_id, Change::Edit(edit.text))),
            self.revoke
                .map(|revoke| amend(revoke.message_id, Change::Revoke)),
            self.vote
                .map(|vote| amend(vote.message_id, Change::Vote(vote.options))),
        ];
        let media = self.media.map(|media| NewMessage::Media {
            media_id: media.media_id,
            kind: media.kind,
            caption: media.caption,
            file_name: media.file_name,
        });
        let mut given = all.into_iter().chain([media]).flatten();
        match (given.next(), given.next()) {
            (Some(message), None) => Ok((self.to, message)),
            (_, _) => Err(Problem::new(
                ProblemKind::InvalidBody,
                "give exactly one of `text`, `location`, `contacts`, `poll`, `reaction`, `edit`, \
                 `revoke`, `vote`, `media`",
            )),
        }
    }
}
