//! An engine that waits to be linked: the pairing code, and the passkey step.

use std::sync::Arc;
use std::time::Duration;

use whatsapp_rust::Client;
use whatsapp_rust::pair_code::{PairCodeError, PairCodeOptions, PairError};
use whatsapp_rust::passkey::Assertion;

use super::Engine;
use crate::linking::{LinkingError, PairingCode};

/// As long as the engine takes a code for valid.
const CODE_VALID_FOR: Duration = Duration::from_secs(180);

impl Engine {
    /// Asks WhatsApp for a code to be typed into the phone with this number
    /// (digits, with the country code). The code before, if there is one, is of
    /// no use any more. QR codes go on beside it.
    ///
    /// # Errors
    /// [`LinkingError`].
    pub async fn pairing_code(&self, phone: &str) -> Result<PairingCode, LinkingError> {
        let client = self.linking_client()?;
        let options = PairCodeOptions {
            phone_number: phone.to_owned(),
            ..PairCodeOptions::default()
        };
        let work = async {
            client.cancel_pair_code().await;
            let code = client.pair_with_code(options).await.map_err(refusal)?;
            Ok(PairingCode::new(code, CODE_VALID_FOR))
        };
        self.linking(work).await
    }

    /// Answers a request for a passkey's assertion: the WebAuthn answer as JSON
    /// and the credential's raw id.
    ///
    /// # Errors
    /// [`LinkingError`].
    pub async fn passkey_answer(
        &self,
        assertion_json: Vec<u8>,
        credential_id: Vec<u8>,
    ) -> Result<(), LinkingError> {
        let client = self.linking_client()?;
        let assertion = Assertion {
            assertion_json,
            credential_id,
        };
        self.linking(async {
            let sent = client.send_passkey_response(assertion).await;
            sent.map_err(|_| LinkingError::OutOfTurn)
        })
        .await
    }

    /// A person has compared the code with the phone's.
    ///
    /// # Errors
    /// [`LinkingError`].
    pub async fn passkey_confirm(&self) -> Result<(), LinkingError> {
        let client = self.linking_client()?;
        self.linking(async {
            let sent = client.send_passkey_confirmation().await;
            sent.map_err(|_| LinkingError::OutOfTurn)
        })
        .await
    }

    fn linking_client(&self) -> Result<Arc<Client>, LinkingError> {
        let client = self.client.read().clone();
        client
            .filter(|client| client.pn().is_none())
            .ok_or(LinkingError::NotLinking)
    }

    async fn linking<T>(
        &self,
        work: impl Future<Output = Result<T, LinkingError>>,
    ) -> Result<T, LinkingError> {
        tokio::select! {
            biased;
            _ = self.gates.wire.closed() => Err(LinkingError::NotLinking),
            done = Box::pin(work) => done,
            () = self.clock.sleep(self.send_timeout) => Err(LinkingError::TimedOut),
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the engine's enums, which grow"
)]
fn refusal(error: PairError) -> LinkingError {
    match error {
        PairError::PairCode(
            PairCodeError::PhoneNumberRequired
            | PairCodeError::PhoneNumberTooShort
            | PairCodeError::PhoneNumberNotInternational,
        ) => LinkingError::InvalidNumber,
        PairError::PairCode(_) => LinkingError::OutOfTurn,
        _ => LinkingError::Refused,
    }
}
