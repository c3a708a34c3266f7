//! Encrypts and decrypts with a key of Google Cloud KMS.
//!
//! With the credentials that the program runs with (Application Default
//! Credentials). Both directions carry checksums, so that what a broken network
//! or proxy alters is noticed before the ring in clear is gone.

use std::error::Error as _;
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use google_cloud_gax::client_builder;
use google_cloud_gax::error::CredentialsError;
use google_cloud_gax::exponential_backoff::ExponentialBackoffBuilder;
use google_cloud_gax::options::RequestOptionsBuilder as _;
use google_cloud_gax::retry_policy::{Aip194Strict, RetryPolicyExt as _};
use google_cloud_kms_v1::Error;
use google_cloud_kms_v1::client::KeyManagementService;
use zeroize::Zeroizing;

use super::GoogleKmsKey;
use crate::keyring::envelope::{Envelope, EnvelopeError};

#[cfg(test)]
mod tests;

/// Until a call has its answer, credentials and repetitions included.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// A service that was away for a moment is asked again.
const ATTEMPTS_MAX: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Ciphertext of something else, made with the same key, is no ring.
const ASSOCIATED_DATA: &[u8] = b"leasehold/key-ring/v1";

/// Encrypts rings with a key of Google Cloud KMS.
#[derive(Debug)]
pub struct GoogleKms {
    key: GoogleKmsKey,
    call_time_max: Duration,
    /// Another address, asked without credentials.
    #[cfg(test)]
    address: Option<String>,
}

impl GoogleKms {
    /// With this key. Nothing is asked yet.
    pub fn new(key: GoogleKmsKey) -> Self {
        Self {
            key,
            call_time_max: CALL_TIME_MAX,
            #[cfg(test)]
            address: None,
        }
    }

    /// Makes a call on a thread and a runtime of its own: whoever calls may be in
    /// a runtime already, and must not block there on one of its tasks. Calls are
    /// rare, so a client lives for one of them.
    fn call<T: Send>(
        &self,
        request: impl AsyncFnOnce(KeyManagementService) -> Result<T, EnvelopeError> + Send,
    ) -> Result<T, EnvelopeError> {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|_| EnvelopeError::Unreachable)?;
            let answer = runtime.block_on(async {
                let answer = async { request(self.connect().await?).await };
                tokio::time::timeout(self.call_time_max, answer)
                    .await
                    .unwrap_or(Err(EnvelopeError::Unreachable))
            });
            // A name that is still being looked up is not waited for.
            runtime.shutdown_background();
            answer
        };
        thread::scope(|scope| {
            scope
                .spawn(run)
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    async fn connect(&self) -> Result<KeyManagementService, EnvelopeError> {
        // The client takes the process's provider; it stays as it is where another
        // part of the program has chosen one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = KeyManagementService::builder()
            .with_retry_policy(Aip194Strict.with_attempt_limit(ATTEMPTS_MAX))
            .with_backoff_policy(
                ExponentialBackoffBuilder::new()
                    .with_initial_delay(FIRST_PAUSE)
                    .clamp(),
            );
        #[cfg(test)]
        let builder = match &self.address {
            Some(address) => builder.with_endpoint(address).with_credentials(
                google_cloud_auth::credentials::anonymous::Builder::new().build(),
            ),
            None => builder,
        };
        builder.build().await.map_err(|error| not_built(&error))
    }

    /// What the service's failure means. Its text is left out: it may quote the
    /// request, and so the ring.
    fn failure(&self, error: &Error, invalid: EnvelopeError) -> EnvelopeError {
        if error.is_authentication() {
            return without_credentials(error);
        }
        if error.is_deserialization() {
            return EnvelopeError::Damaged;
        }
        let key = || self.key.to_string();
        let Some(status) = error.status() else {
            return match error.http_status_code() {
                // Of something in between, such as a proxy.
                Some(code) if code < 500 => EnvelopeError::Refused {
                    code: code.to_string(),
                },
                Some(_) | None => EnvelopeError::Unreachable,
            };
        };
        match status.code.name() {
            "PERMISSION_DENIED" => EnvelopeError::Denied { key: key() },
            "UNAUTHENTICATED" => EnvelopeError::NoCredentials,
            "NOT_FOUND" => EnvelopeError::NoSuchKey { key: key() },
            "FAILED_PRECONDITION" => EnvelopeError::Disabled { key: key() },
            "INVALID_ARGUMENT" => invalid,
            "RESOURCE_EXHAUSTED" => EnvelopeError::Quota,
            "UNAVAILABLE" | "DEADLINE_EXCEEDED" => EnvelopeError::Unreachable,
            other => EnvelopeError::Refused {
                code: other.to_owned(),
            },
        }
    }
}

impl Envelope for GoogleKms {
    fn key(&self) -> &str {
        self.key.as_str()
    }

    fn seal(&self, clear: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        self.call(async |client| {
            let answer = client
                .encrypt()
                .set_name(self.key.as_str())
                .set_plaintext(Bytes::copy_from_slice(clear))
                .set_plaintext_crc32c(checksum(clear))
                .set_additional_authenticated_data(ASSOCIATED_DATA)
                .set_additional_authenticated_data_crc32c(checksum(ASSOCIATED_DATA))
                // Encrypting twice harms nobody.
                .with_idempotency(true)
                .send()
                .await
                .map_err(|error| {
                    // Nothing here is the caller's to choose but the key.
                    let invalid = EnvelopeError::Refused {
                        code: "INVALID_ARGUMENT: is it a key for ENCRYPT_DECRYPT?".to_owned(),
                    };
                    self.failure(&error, invalid)
                })?;
            let is_whole = answer.verified_plaintext_crc32c
                && answer.verified_additional_authenticated_data_crc32c
                && answer.ciphertext_crc32c == Some(checksum(&answer.ciphertext));
            if !is_whole {
                return Err(EnvelopeError::Damaged);
            }
            Ok(answer.ciphertext.to_vec())
        })
    }

    fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        self.call(async |client| {
            let answer = client
                .decrypt()
                .set_name(self.key.as_str())
                .set_ciphertext(Bytes::copy_from_slice(sealed))
                .set_ciphertext_crc32c(checksum(sealed))
                .set_additional_authenticated_data(ASSOCIATED_DATA)
                .set_additional_authenticated_data_crc32c(checksum(ASSOCIATED_DATA))
                .with_idempotency(true)
                .send()
                .await
                .map_err(|error| {
                    let invalid = EnvelopeError::NotOpened {
                        key: self.key.to_string(),
                    };
                    self.failure(&error, invalid)
                })?;
            if answer.plaintext_crc32c != Some(checksum(&answer.plaintext)) {
                return Err(EnvelopeError::Damaged);
            }
            Ok(Zeroizing::new(answer.plaintext.to_vec()))
        })
    }
}

/// A metadata server that is not there yet is no lack of credentials.
fn without_credentials(error: &Error) -> EnvelopeError {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<CredentialsError>());
    match cause {
        Some(cause) if cause.is_transient() => EnvelopeError::Unreachable,
        Some(_) | None => EnvelopeError::NoCredentials,
    }
}

fn not_built(error: &client_builder::Error) -> EnvelopeError {
    if error.is_default_credentials() {
        EnvelopeError::NoCredentials
    } else {
        EnvelopeError::Unreachable
    }
}

/// CRC32C, as the service counts it.
fn checksum(bytes: &[u8]) -> i64 {
    let sum = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes);
    i64::try_from(sum).expect("32 bits")
}
