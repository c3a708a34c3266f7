//! Why something was not sent.
//!
//! The engine's errors carry addresses in their texts; none of these do, as
//! they end up in logs and in stored messages.

use whatsapp_rust::{ClientError, ErrorChainExt, SendError as EngineSendError};

/// Why a message was not sent. For all but [`SendError::Rejected`] a later
/// attempt under the same id is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No media host took the file.
    #[error("the file could not be uploaded")]
    Media,
    /// The file could not be read or encrypted here.
    #[error("the file could not be prepared")]
    Disk,
    /// Not logged in, or not any more.
    #[error("not connected to WhatsApp")]
    NotConnected,
    /// Not done within the limit. The frame may have left.
    #[error("sending took too long")]
    TimedOut,
    /// The account is no longer this worker's to use.
    #[error("the connection's gate is closed")]
    Gate,
    /// It cannot be sent like this, now or later.
    #[error("the message cannot be sent: {0}")]
    Rejected(&'static str),
    /// The session state could not be stored before sending.
    #[error("the session could not be stored before sending")]
    Storage,
    /// A query that had to be made first was not answered, or with an error:
    /// for the receiver's devices, for their keys.
    #[error("WhatsApp did not answer what sending needs")]
    Query,
    /// The engine failed, as when a message cannot be encrypted for any device.
    #[error("the WhatsApp engine failed to send")]
    Internal,
}

impl SendError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the engine's enum, which grows"
    )]
    pub(crate) fn from_engine(error: EngineSendError) -> Self {
        match &error {
            EngineSendError::NotLoggedIn => Self::NotConnected,
            EngineSendError::InvalidRequest(_) => {
                Self::Rejected("the engine refuses its address or content")
            }
            // Whatever it was, the causes tell.
            _ => Self::from_internal(&error),
        }
    }

    /// Told by what the causes are, not by their texts.
    pub(crate) fn from_internal(error: &(dyn std::error::Error + 'static)) -> Self {
        if error.store_failure().is_some() {
            return Self::Storage;
        }
        if error.is_transport_unavailable() || is_not_logged_in(error) {
            return Self::NotConnected;
        }
        if error.is_timeout() || error.server_rejection().is_some() {
            return Self::Query;
        }
        Self::Internal
    }
}

fn is_not_logged_in(error: &(dyn std::error::Error + 'static)) -> bool {
    ErrorChainExt::sources(error)
        .any(|cause| matches!(cause.downcast_ref(), Some(ClientError::NotLoggedIn)))
}

#[cfg(test)]
mod tests {
    use whatsapp_rust::store::error::StoreError;

    use super::*;

    #[test]
    fn causes_decide_and_not_texts() {
        let storage = StoreError::Validation("not connected".to_owned());
        let storage = EngineSendError::Internal(anyhow::Error::from(storage).context("sending"));
        assert_eq!(SendError::from_engine(storage), SendError::Storage);
        let offline = EngineSendError::Client(ClientError::NotConnected);
        assert_eq!(SendError::from_engine(offline), SendError::NotConnected);
        let offline = EngineSendError::Internal(ClientError::NotLoggedIn.into());
        assert_eq!(SendError::from_engine(offline), SendError::NotConnected);
        let refused = EngineSendError::InvalidRequest("491701234567@newsletter".to_owned());
        assert!(!SendError::from_engine(refused).to_string().contains("4917"));
        let unknown = EngineSendError::Internal(anyhow::anyhow!("491701234567 has no devices"));
        assert_eq!(SendError::from_engine(unknown), SendError::Internal);
    }
}
