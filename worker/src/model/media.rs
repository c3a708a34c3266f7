//! Files: what clients gave, to be sent, and what came, to be kept.

use bytes::Bytes;
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::stored::Stored;

/// `media/{id}`: what is known of a file in the media store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaDoc {
    /// What its client says it is.
    pub mime_type: String,
    /// Its size.
    pub bytes: i64,
    /// When it came.
    pub created_at: StoreTime,
    /// It is there at least until then, and as long as a message that waits to
    /// be sent needs it. Using it moves this on.
    pub keep_until: StoreTime,
    /// Of a picture: pixels, as it is to be looked at.
    #[serde(default)]
    pub width: Option<i64>,
    /// Of a picture: pixels, as it is to be looked at.
    #[serde(default)]
    pub height: Option<i64>,
    /// Of a picture: a small JPEG of it, of some kilobytes.
    #[serde(default)]
    pub thumbnail: Option<Bytes>,
}

impl Stored for MediaDoc {}

/// `received_media/{id}`: a file that came with a message, as long as it is to
/// be kept or is kept. Written with the message, and removed with it; without
/// it the file in the media store is nobody's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedMediaDoc {
    /// Whose.
    pub account_id: String,
    /// Where its message is.
    pub thread_id: String,
    /// Its message.
    pub message_id: String,
    /// The owner still has to fetch it.
    pub open: bool,
    /// Attempts that came to nothing.
    pub attempts: i64,
    /// Not to be tried before.
    pub next_at: StoreTime,
    /// Bytes in the media store, once it is there.
    #[serde(default)]
    pub bytes: Option<i64>,
}

impl Stored for ReceivedMediaDoc {}

/// In a message: the file that came with it, where files are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedFile {
    /// Its name in the media store and in `received_media`. Random: it is never
    /// another file's.
    pub id: String,
    /// Where it stands.
    pub state: KeptState,
}

/// Where the keeping of a file stands. There is a [`ReceivedMediaDoc`] while it
/// is `Pending` or `Kept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeptState {
    /// It is still to be fetched.
    Pending,
    /// It is in the media store.
    Kept,
    /// WhatsApp did not have it any more.
    Expired,
    /// It is larger than is kept.
    TooLarge,
    /// It could not be had, or does not open.
    Failed,
}

impl KeptState {
    /// All of them.
    pub const ALL: [KeptState; 5] = [
        KeptState::Pending,
        KeptState::Kept,
        KeptState::Expired,
        KeptState::TooLarge,
        KeptState::Failed,
    ];

    /// The name in the store, in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            KeptState::Pending => "pending",
            KeptState::Kept => "kept",
            KeptState::Expired => "expired",
            KeptState::TooLarge => "too_large",
            KeptState::Failed => "failed",
        }
    }

    /// Whether there is a [`ReceivedMediaDoc`].
    pub fn has_document(self) -> bool {
        match self {
            KeptState::Pending | KeptState::Kept => true,
            KeptState::Expired | KeptState::TooLarge | KeptState::Failed => false,
        }
    }
}
