//! What follows from each answer to an attempt at sending: data.

use std::time::Duration;

use whatsapp::SendError;

use crate::media::MediaStoreError;

/// How long everything waits after WhatsApp said that this is too much, for the
/// first time. An acknowledgement names no time, so it is ours; a ban names its
/// end, and until then the account has no connection to send on.
const OVERLOAD_PAUSE: Duration = Duration::from_secs(60);

/// How long a conversation waits that the account may not begin now.
const REACH_OUT_PAUSE: Duration = Duration::from_secs(15 * 60);

/// How long new conversations wait once their number is used up.
const NEW_CHATS_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What follows from an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server has it.
    Sent,
    /// There is no connection: it stays as it is and goes first on the next.
    Unconnected,
    /// Another attempt under the same id, after a wait.
    Retry(Reason),
    /// As `Retry`, and others wait for a while too.
    Pause {
        /// Who waits.
        scope: Scope,
        /// How long.
        pause: Duration,
        /// Why.
        reason: Reason,
    },
    /// Given up.
    Fail(Reason),
}

impl Verdict {
    /// Why it was not sent, if it failed.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Retry(reason) | Self::Pause { reason, .. } | Self::Fail(reason) => Some(reason),
            Self::Sent | Self::Unconnected => None,
        }
    }
}

/// Whom a pause concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything that the account sends.
    Account,
    /// Conversations in which the peer has never written.
    NewChats,
    /// This conversation.
    Chat,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// For programs; stable.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// WhatsApp's number, where it gave one.
    pub wa_code: Option<u16>,
}

impl Reason {
    /// A reason without a number of WhatsApp's.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            wa_code: None,
        }
    }
}

/// What follows when the frame did not leave, or may not have.
pub fn of_send_error(error: &SendError) -> Verdict {
    match error {
        SendError::NotConnected | SendError::Gate => Verdict::Unconnected,
        SendError::TimedOut => Verdict::Retry(Reason::new("timed_out", "sending took too long")),
        SendError::Storage => Verdict::Retry(Reason::new(
            "storage",
            "the session could not be stored before sending",
        )),
        SendError::Query => Verdict::Retry(Reason::new(
            "query_failed",
            "WhatsApp did not answer what sending needs",
        )),
        SendError::Media => Verdict::Retry(Reason::new(
            "media_host_down",
            "WhatsApp's media host did not take the file",
        )),
        SendError::Disk => Verdict::Retry(Reason::new(
            "disk",
            "the file could not be prepared: see to the disk of the data folder",
        )),
        SendError::Internal => Verdict::Retry(Reason::new(
            "engine_failed",
            "the WhatsApp engine failed to send",
        )),
        SendError::Rejected(why) => Verdict::Fail(Reason::new("not_sendable", why.to_string())),
    }
}

/// What follows when the file that goes with a message was not read.
pub fn of_media_error(error: &MediaStoreError) -> Verdict {
    match error {
        MediaStoreError::Gone => Verdict::Fail(Reason::new("media_gone", "its file is gone")),
        MediaStoreError::TooLarge { .. } => Verdict::Fail(Reason::new(
            "media_too_large",
            "its file is larger than this worker sends: see to --media-bytes-max",
        )),
        // Another worker may have what this one has not.
        MediaStoreError::NoPlace => Verdict::Retry(Reason::new(
            "no_media_store",
            "this worker has no place for files: see to --media-store",
        )),
        MediaStoreError::Full(_) => Verdict::Retry(Reason::new(
            "disk",
            "the file could not be prepared: see to the disk of the data folder",
        )),
        MediaStoreError::Unavailable(_) => Verdict::Retry(Reason::new(
            "media_store_down",
            "the media store does not answer",
        )),
    }
}

/// What follows from the server's answer to the frame: none in time, or an
/// acknowledgement with or without an error.
pub fn of_ack(answer: Option<Option<u16>>) -> Verdict {
    let code = match answer {
        None => {
            return Verdict::Retry(Reason::new(
                "no_answer",
                "WhatsApp did not acknowledge the message in time",
            ));
        }
        Some(None) => return Verdict::Sent,
        Some(Some(code)) => code,
    };
    let reason = |name, message: &str| Reason {
        code: name,
        message: message.to_owned(),
        wa_code: Some(code),
    };
    match code {
        // Too much at once.
        429 => Verdict::Pause {
            scope: Scope::Account,
            pause: OVERLOAD_PAUSE,
            reason: reason("rate_limited", "WhatsApp asks to send less"),
        },
        // A privacy token is missing: the account may not begin this chat now.
        463 => Verdict::Pause {
            scope: Scope::Chat,
            pause: REACH_OUT_PAUSE,
            reason: reason(
                "reach_out_restricted",
                "WhatsApp does not let this account begin a chat with this recipient now",
            ),
        },
        // The account has begun as many chats as it may for now.
        475 => Verdict::Pause {
            scope: Scope::NewChats,
            pause: NEW_CHATS_PAUSE,
            reason: reason(
                "new_chats_capped",
                "WhatsApp lets this account begin no more chats for now",
            ),
        },
        404 => Verdict::Fail(reason(
            "not_on_whatsapp",
            "the recipient is not on WhatsApp",
        )),
        // The list of the recipient's devices was out of date; the engine asks
        // for it anew.
        479 => Verdict::Retry(reason("devices_changed", "the recipient's devices changed")),
        500..=599 => Verdict::Retry(reason(
            "server_error",
            "WhatsApp reported an error of its own",
        )),
        _ => Verdict::Fail(reason("refused", "WhatsApp refused the message")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Sent => "sent",
            Verdict::Unconnected => "unconnected",
            Verdict::Retry(_) => "retry",
            Verdict::Pause { .. } => "pause",
            Verdict::Fail(_) => "fail",
        }
    }

    #[test]
    fn every_answer_of_the_server_has_its_verdict() {
        let rows = [
            (None, "retry"),
            (Some(None), "sent"),
            (Some(Some(400)), "fail"),
            (Some(Some(403)), "fail"),
            (Some(Some(404)), "fail"),
            (Some(Some(429)), "pause"),
            (Some(Some(463)), "pause"),
            (Some(Some(475)), "pause"),
            (Some(Some(479)), "retry"),
            (Some(Some(503)), "retry"),
        ];
        for (answer, expected) in rows {
            assert_eq!(name(&of_ack(answer)), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_given_up_and_one_that_is_out_of_reach_is_not() {
        let rows = [
            (MediaStoreError::Gone, "fail"),
            (MediaStoreError::TooLarge { limit: 1 }, "fail"),
            (MediaStoreError::NoPlace, "retry"),
            (MediaStoreError::Full("no room".into()), "retry"),
            (MediaStoreError::Unavailable("no answer".into()), "retry"),
        ];
        for (error, expected) in rows {
            assert_eq!(name(&of_media_error(&error)), expected, "{error:?}");
        }
    }

    #[test]
    fn only_what_can_never_be_sent_is_given_up_at_once() {
        let rows = [
            (SendError::NotConnected, "unconnected"),
            (SendError::Gate, "unconnected"),
            (SendError::TimedOut, "retry"),
            (SendError::Storage, "retry"),
            (SendError::Query, "retry"),
            (SendError::Internal, "retry"),
            (SendError::Media, "retry"),
            (SendError::Disk, "retry"),
            (SendError::Rejected("no such group"), "fail"),
        ];
        for (error, expected) in rows {
            assert_eq!(name(&of_send_error(&error)), expected, "{error:?}");
        }
    }
}
