//! The connection: where Firestore is, and who we are there.
//!
//! The `firestore` crate connects and authenticates. Requests go through its
//! typed gRPC client: the crate's own calls lose the status code and, for
//! reads, the read time, and its listener keeps errors to the log.

use std::time::Duration;

use ::firestore::gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use ::firestore::gcloud_sdk::google_cloud_auth::credentials::{
    CacheableResource, Credentials, CredentialsProvider, EntityTag,
};
use ::firestore::gcloud_sdk::google_cloud_auth::errors::CredentialsError;
use ::firestore::gcloud_sdk::{
    GCP_DEFAULT_SCOPES, GoogleAuthHeaders, GoogleAuthMiddleware, HeaderMap,
};
use ::firestore::{FirestoreDb, FirestoreDbOptions};
use tonic::codegen::http::{Extensions, HeaderValue, header::AUTHORIZATION};

use super::FirestoreOptions;
use super::failure;
use crate::store::StoreError;

/// The typed client of Firestore's API.
pub(super) type Client = FirestoreClient<GoogleAuthMiddleware>;

const PRODUCTION: &str = "https://firestore.googleapis.com";

/// Until TCP and TLS stand; a server that takes longer is as good as none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects over an HTTP/2 channel of its own.
pub(super) async fn connect(options: &FirestoreOptions) -> Result<FirestoreDb, StoreError> {
    // The clients for tokens and for Firestore take the process's provider;
    // it stays as it is where another part of the program has chosen one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = match &options.emulator_host {
        Some(host) if host.contains("://") => host.clone(),
        Some(host) => format!("http://{host}"),
        None => PRODUCTION.to_owned(),
    };
    let auth = match &options.emulator_host {
        Some(_) => GoogleAuthHeaders::from(Credentials::from(EmulatorOwner::default())),
        None => application_default().await?,
    };
    // The address is always named: the crate would else look for the
    // emulator's in the environment.
    let settings = FirestoreDbOptions::new(options.project.clone())
        .with_database_id(options.database_id().to_owned())
        .with_max_retries(0)
        .with_request_timeout(options.attempt_timeout)
        .with_firebase_api_url(url.clone());
    let connecting = FirestoreDb::with_options_auth(settings, auth);
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(failure::of_connecting(&url, &error)),
        Err(_) => Err(StoreError::unavailable(format!(
            "no connection to Firestore at {url} within {CONNECT_TIMEOUT:?}; check the address \
             and the network"
        ))),
    }
}

/// A service account's key, gcloud's login, workload identity federation, or
/// the metadata server of the machine: whatever is found first.
async fn application_default() -> Result<GoogleAuthHeaders, StoreError> {
    GoogleAuthHeaders::from_adc_with_scopes(GCP_DEFAULT_SCOPES.clone())
        .await
        .map_err(|error| StoreError::Unusable {
            reason: format!(
                "no credentials for Firestore ({error}); bind the pod's service account to one \
                 of Google's (workload identity), or set GOOGLE_APPLICATION_CREDENTIALS, or \
                 name an emulator"
            ),
        })
}

/// The token that Firebase's tools send to emulators: it stands above the
/// security rules, as a server's credentials do.
#[derive(Debug, Default)]
struct EmulatorOwner {
    tag: EntityTag,
}

impl CredentialsProvider for EmulatorOwner {
    async fn headers(
        &self,
        extensions: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        if extensions.get::<EntityTag>() == Some(&self.tag) {
            return Ok(CacheableResource::NotModified);
        }
        let owner = HeaderValue::from_static("Bearer owner");
        Ok(CacheableResource::New {
            entity_tag: self.tag.clone(),
            data: HeaderMap::from_iter([(AUTHORIZATION, owner)]),
        })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}
