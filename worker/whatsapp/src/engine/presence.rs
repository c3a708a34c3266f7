//! The account's own presence, and that of others.

use super::{Engine, parse};
use crate::send_error::SendError;

impl Engine {
    /// Shows the account as online, or no longer. Phones show notifications
    /// only while no other device is.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn show_available(&self, is_available: bool) -> Result<(), SendError> {
        let client = self.connected_client()?;
        let presence = client.presence();
        self.limited(async {
            let shown = match is_available {
                true => presence.set_available().await,
                false => presence.set_unavailable().await,
            };
            shown.map_err(|_| SendError::Internal)
        })
        .await
    }

    /// Asks to be told of a person's presence, for as long as this connection
    /// lasts. WhatsApp tells only accounts that are shown as online.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn watch_presence(&self, person: &str) -> Result<(), SendError> {
        let client = self.connected_client()?;
        let person = parse(person)?;
        let presence = client.presence();
        self.limited(async {
            let asked = presence.subscribe(person).await;
            asked.map_err(|_| SendError::Internal)
        })
        .await
    }
}
