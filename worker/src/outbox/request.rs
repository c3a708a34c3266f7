//! What clients ask to send, checked: limits, and the message that it refers to.

use std::time::Duration;

use bytes::Bytes;
use coordinator_lib::store::{Document, DocumentStore, Precondition, Write};
use session::DataKey;
use whatsapp::content::votes::{self, Ballot};
use whatsapp::content::{
    Contact, LinkPreview, Location, Media, MediaKind, POLL_OPTIONS_MAX, Poll, Quote, Target,
};
use whatsapp::{Content, Extras};

use super::accept::AcceptError;
use crate::media::sweep::keep;
use crate::messages::arrival::poll_purpose;
use crate::messages::identity;
use crate::model::message::Details;
use crate::model::{
    AmendsDoc, Change, GroupDoc, MediaDoc, MessageDoc, Read, Stored, ThreadKind, collections,
};

/// Characters of a name, a title, an address, a poll's option.
pub const LINE_CHARS_MAX: usize = 255;
/// Characters of a question, a description.
pub const PARAGRAPH_CHARS_MAX: usize = 1_024;
/// Bytes of an address card.
pub const VCARD_BYTES_MAX: usize = 16 * 1_024;
/// Address cards of one message.
pub const CONTACTS_MAX: usize = 10;
/// People that one message names.
pub const MENTIONS_MAX: usize = 256;
/// Bytes of an emoji.
pub const EMOJI_BYTES_MAX: usize = 64;

/// What is to be sent.
#[derive(Clone, PartialEq)]
pub enum NewMessage {
    /// A text, with what comes with it.
    Text {
        /// The text.
        text: String,
        /// The people it names, by number or address.
        mentions: Vec<String>,
        /// The page that a link in it leads to.
        preview: Option<LinkPreview>,
        /// The stored message that it answers.
        quote: Option<String>,
    },
    /// A place.
    Location(Location),
    /// Address cards.
    Contacts(Vec<Contact>),
    /// A poll.
    Poll(Poll),
    /// A file that was uploaded before.
    Media {
        /// Its document.
        media_id: String,
        /// As what it is sent.
        kind: MediaKind,
        /// Its text.
        caption: Option<String>,
        /// Its name.
        file_name: Option<String>,
    },
    /// A change to a message that is stored.
    Amend {
        /// Its document in the recipient's thread.
        stored_message_id: String,
        /// What is done to it.
        change: Change,
    },
}

/// A message, ready to be encoded.
pub(super) struct Prepared {
    pub(super) content: Content,
    pub(super) extras: Extras,
    pub(super) amends: Option<AmendsDoc>,
    pub(super) file: Option<PreparedFile>,
}

/// The file that goes with a message.
pub(super) struct PreparedFile {
    pub(super) media_id: String,
    /// A small JPEG of it, if it is a picture.
    pub(super) thumbnail: Option<Bytes>,
    /// Keeps it until the message is sent, where it might be removed before.
    pub(super) keep: Option<Write>,
}

/// Where a request is looked up.
pub(super) struct Context<'a> {
    pub(super) store: &'a dyn DocumentStore,
    pub(super) account_id: &'a str,
    pub(super) data_key: &'a DataKey,
    /// The account's own addresses, by number first.
    pub(super) own: &'a [String],
    /// The thread with the recipient, if there is one.
    pub(super) thread_id: Option<&'a str>,
    /// The recipient's address.
    pub(super) to: &'a str,
    /// The recipient, if it is a group that is known.
    pub(super) group: Option<&'a GroupDoc>,
    /// How long files are kept.
    pub(super) media_retention: Duration,
}

impl NewMessage {
    /// What stands for it in lists: its text, an emoji, a name.
    fn check(&self) -> Result<(), AcceptError> {
        match self {
            NewMessage::Text {
                text,
                mentions,
                preview,
                ..
            } => {
                let max = whatsapp::TEXT_BYTES_MAX;
                if text.is_empty() || text.len() > max {
                    return Err(AcceptError::Text { max });
                }
                if mentions.len() > MENTIONS_MAX {
                    return Err(invalid(format!(
                        "`mentions` has {MENTIONS_MAX} entries at most"
                    )));
                }
                if let Some(preview) = preview {
                    if !text.contains(&preview.url) || preview.url.is_empty() {
                        return Err(invalid("`preview.url` must stand in the text"));
                    }
                    line("preview.title", preview.title.as_deref(), LINE_CHARS_MAX)?;
                    let description = preview.description.as_deref();
                    line("preview.description", description, PARAGRAPH_CHARS_MAX)?;
                }
                Ok(())
            }
            NewMessage::Location(place) => {
                let is_on_earth = (-90.0..=90.0).contains(&place.latitude)
                    && (-180.0..=180.0).contains(&place.longitude);
                if !is_on_earth || place.live {
                    return Err(invalid(
                        "`location` has a `latitude` from -90 to 90 and a `longitude` from -180 to \
                         180, and is not live",
                    ));
                }
                line("location.name", place.name.as_deref(), LINE_CHARS_MAX)?;
                line(
                    "location.address",
                    place.address.as_deref(),
                    PARAGRAPH_CHARS_MAX,
                )
            }
            NewMessage::Contacts(cards) => {
                if cards.is_empty() || cards.len() > CONTACTS_MAX {
                    return Err(invalid(format!(
                        "`contacts` has 1 to {CONTACTS_MAX} entries"
                    )));
                }
                for card in cards {
                    filled("contacts.name", &card.name, LINE_CHARS_MAX)?;
                    if !card.vcard.starts_with("BEGIN:VCARD") || card.vcard.len() > VCARD_BYTES_MAX
                    {
                        return Err(invalid(format!(
                            "`contacts.vcard` begins with BEGIN:VCARD and has {VCARD_BYTES_MAX} \
                             bytes at most"
                        )));
                    }
                }
                Ok(())
            }
            NewMessage::Poll(poll) => {
                filled("poll.question", &poll.question, LINE_CHARS_MAX)?;
                if !(2..=POLL_OPTIONS_MAX).contains(&poll.options.len()) {
                    return Err(invalid(format!(
                        "`poll.options` has 2 to {POLL_OPTIONS_MAX} entries"
                    )));
                }
                for (at, option) in poll.options.iter().enumerate() {
                    filled("poll.options", option, LINE_CHARS_MAX)?;
                    if poll.options[..at].contains(option) {
                        return Err(invalid("`poll.options` are unlike each other"));
                    }
                }
                if poll.selectable as usize > poll.options.len() {
                    return Err(invalid(
                        "`poll.selectable` is at most the number of options",
                    ));
                }
                Ok(())
            }
            NewMessage::Media {
                caption, file_name, ..
            } => {
                let max = whatsapp::TEXT_BYTES_MAX;
                if caption.as_ref().is_some_and(|caption| caption.len() > max) {
                    return Err(AcceptError::Text { max });
                }
                line("media.fileName", file_name.as_deref(), LINE_CHARS_MAX)
            }
            NewMessage::Amend { change, .. } => match change {
                Change::Reaction(emoji) if emoji.len() > EMOJI_BYTES_MAX => Err(invalid(
                    "`reaction.emoji` is one emoji, or empty to take it off",
                )),
                Change::Edit(text) if text.is_empty() || text.len() > whatsapp::TEXT_BYTES_MAX => {
                    Err(AcceptError::Text {
                        max: whatsapp::TEXT_BYTES_MAX,
                    })
                }
                Change::Vote(options) if options.len() > POLL_OPTIONS_MAX => {
                    Err(invalid("`vote.options` are some of the poll's"))
                }
                Change::Reaction(_) | Change::Edit(_) | Change::Vote(_) | Change::Revoke => Ok(()),
            },
        }
    }

    /// Looks up what it refers to.
    pub(super) async fn prepare(&self, context: &Context<'_>) -> Result<Prepared, AcceptError> {
        self.check()?;
        let plain = |content| Prepared {
            content,
            extras: Extras::default(),
            amends: None,
            file: None,
        };
        match self {
            NewMessage::Text {
                text,
                mentions,
                preview,
                quote,
            } => {
                let mentions: Vec<String> = mentions
                    .iter()
                    .map(|who| whatsapp::normalise_recipient(who))
                    .collect::<Result<_, _>>()?;
                let (text, mentions) = named_in_group(text, mentions, context.group);
                let quote = match quote {
                    Some(id) => Some(quoted(&context.find(id).await?, context)),
                    None => None,
                };
                Ok(Prepared {
                    extras: Extras {
                        mentions,
                        quote,
                        preview: preview.clone(),
                        ..Extras::default()
                    },
                    ..plain(Content::Text(text))
                })
            }
            NewMessage::Location(place) => Ok(plain(Content::Location(place.clone()))),
            NewMessage::Contacts(cards) => Ok(plain(Content::Contacts(cards.clone()))),
            NewMessage::Poll(poll) => Ok(plain(Content::Poll(poll.clone()))),
            NewMessage::Media {
                media_id,
                kind,
                caption,
                file_name,
            } => {
                let (file, keep) = context.find_media(media_id).await?;
                if !is_of_kind(*kind, &file.mime_type) {
                    return Err(invalid(
                        "`media.kind` does not go with the file's media type",
                    ));
                }
                let content = Content::Media(Media {
                    kind: *kind,
                    mime_type: Some(file.mime_type),
                    bytes: u64::try_from(file.bytes).ok(),
                    caption: caption.clone(),
                    file_name: file_name.clone(),
                    seconds: None,
                    width: file.width.and_then(|pixels| u32::try_from(pixels).ok()),
                    height: file.height.and_then(|pixels| u32::try_from(pixels).ok()),
                });
                let file = PreparedFile {
                    media_id: media_id.clone(),
                    thumbnail: file.thumbnail.filter(|_| *kind == MediaKind::Image),
                    keep,
                };
                Ok(Prepared {
                    file: Some(file),
                    ..plain(content)
                })
            }
            NewMessage::Amend {
                stored_message_id,
                change,
            } => {
                let message = context.find(stored_message_id).await?;
                Ok(Prepared {
                    content: amendment(&message, change, context)?,
                    extras: Extras::default(),
                    amends: Some(AmendsDoc {
                        stored_message_id: stored_message_id.clone(),
                        change: change.clone(),
                    }),
                    file: None,
                })
            }
        }
    }
}

impl Context<'_> {
    async fn find(&self, stored_message_id: &str) -> Result<MessageDoc, AcceptError> {
        let unknown = || AcceptError::UnknownTarget;
        let thread_id = self.thread_id.ok_or_else(unknown)?;
        let path = collections::message(thread_id, stored_message_id).map_err(|_| unknown())?;
        let snapshot = self.store.get(&[path]).await?;
        let document: Option<&Document> = snapshot.documents.iter().flatten().next();
        match MessageDoc::read(document.ok_or_else(unknown)?)? {
            Read::Known(record) => Ok(record.value),
            Read::Newer(_) => Err(AcceptError::Newer),
        }
    }

    /// A file, and the write that keeps it, where it may be removed soon. Most
    /// of the time there is none, so that messages with the same file do not
    /// hinder one another.
    async fn find_media(&self, id: &str) -> Result<(MediaDoc, Option<Write>), AcceptError> {
        let unknown = || AcceptError::UnknownMedia;
        let path = collections::media(id).map_err(|_| unknown())?;
        let snapshot = self.store.get(&[path]).await?;
        let now = snapshot.read_time;
        let document: Option<&Document> = snapshot.documents.iter().flatten().next();
        let record = match MediaDoc::read(document.ok_or_else(unknown)?)? {
            Read::Known(record) => record,
            Read::Newer(_) => return Err(AcceptError::Newer),
        };
        let is_safe = record.value.keep_until > now.saturating_add(self.media_retention / 2);
        let unchanged = Precondition::Unchanged(record.update_time);
        let keep = (!is_safe).then(|| keep(record.path, now, self.media_retention, unchanged));
        Ok((record.value, keep))
    }

    /// The account's own address of the same kind as another one; in a group,
    /// whose members know one another by it, the LID.
    fn own_like(&self, other: &str) -> String {
        let is_by_lid = identity::is_lid(other) || ThreadKind::of(other) == ThreadKind::Group;
        let is_alike = |own: &&String| identity::is_lid(own) == is_by_lid;
        let own = self.own.iter().find(is_alike).or(self.own.first());
        own.cloned().unwrap_or_default()
    }

    fn author_of(&self, message: &MessageDoc) -> String {
        match message.from_me {
            true => self.own_like(self.to),
            false => message
                .wire_sender
                .clone()
                .unwrap_or_else(|| message.sender.clone()),
        }
    }
}

/// Names people as the members of a group know them: by LID, also where the
/// text says `@number`.
fn named_in_group(
    text: &str,
    mentions: Vec<String>,
    group: Option<&GroupDoc>,
) -> (String, Vec<String>) {
    let mut text = text.to_owned();
    let user = |address: &str| address.split('@').next().unwrap_or_default().to_owned();
    let mentions = mentions.into_iter().map(|who| {
        let Some(lid) = group.and_then(|group| group.lid_of(&who)) else {
            return who;
        };
        text = text.replace(&format!("@{}", user(&who)), &format!("@{}", user(lid)));
        lid.to_owned()
    });
    let mentions = mentions.collect();
    (text, mentions)
}

fn quoted(message: &MessageDoc, context: &Context<'_>) -> Quote {
    Quote {
        wa_message_id: message.wa_message_id.clone(),
        sender: context.author_of(message),
        text: message.body.clone(),
    }
}

fn amendment(
    message: &MessageDoc,
    change: &Change,
    context: &Context<'_>,
) -> Result<Content, AcceptError> {
    let is_group = ThreadKind::of(context.to) != ThreadKind::Direct;
    let target = Target {
        id: message.wa_message_id.clone(),
        from_me: message.from_me,
        participant: (is_group && !message.from_me).then(|| context.author_of(message)),
    };
    match change {
        Change::Reaction(emoji) => Ok(Content::Reaction {
            target,
            emoji: emoji.clone(),
        }),
        Change::Edit(text) if message.from_me && message.kind == "text" => Ok(Content::Edit {
            target,
            text: text.clone(),
        }),
        Change::Revoke if message.from_me => Ok(Content::Revoke { target }),
        Change::Edit(_) | Change::Revoke => Err(AcceptError::NotOurs),
        Change::Vote(options) => {
            let Some(Details::Poll(poll)) = &message.details else {
                return Err(invalid("`vote.messageId` is a poll's"));
            };
            let is_option = |option: &String| poll.options.contains(option);
            if !options.iter().all(is_option) {
                return Err(invalid("`vote.options` are some of the poll's"));
            }
            let sealed = message.poll_secret.as_ref();
            let sealed = sealed.ok_or_else(|| invalid("this poll came without its secret"))?;
            let purpose = poll_purpose(&message.wa_message_id);
            let secret = context
                .data_key
                .open_secret(context.account_id, &purpose, sealed)
                .map_err(|_| AcceptError::Keys)?;
            let creator = context.author_of(message);
            let voter = context.own_like(&creator);
            let ballot = Ballot {
                secret: &secret,
                poll: &message.wa_message_id,
                creator: &creator,
                voter: &voter,
            };
            let vote = votes::seal(ballot, options)
                .map_err(|_| invalid("this poll's secret cannot be used"))?;
            Ok(Content::Vote { target, vote })
        }
    }
}

/// What WhatsApp's clients can show as what.
fn is_of_kind(kind: MediaKind, mime_type: &str) -> bool {
    match kind {
        MediaKind::Image => matches!(mime_type, "image/jpeg" | "image/png"),
        MediaKind::Video => mime_type.starts_with("video/"),
        MediaKind::Audio | MediaKind::Voice => mime_type.starts_with("audio/"),
        MediaKind::Sticker => mime_type == "image/webp",
        MediaKind::Document => true,
    }
}

fn filled(name: &str, text: &str, max: usize) -> Result<(), AcceptError> {
    if text.is_empty() {
        return Err(invalid(format!("`{name}` has 1 to {max} characters")));
    }
    line(name, Some(text), max)
}

fn line(name: &str, text: Option<&str>, max: usize) -> Result<(), AcceptError> {
    match text {
        Some(text) if text.chars().count() > max => {
            Err(invalid(format!("`{name}` has {max} characters at most")))
        }
        Some(_) | None => Ok(()),
    }
}

fn invalid(text: impl Into<String>) -> AcceptError {
    AcceptError::Content(text.into())
}
