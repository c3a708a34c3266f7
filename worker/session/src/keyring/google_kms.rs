//! A key of Google Cloud KMS: its name, which every build knows, and what encrypts
//! with it, which the feature `google-kms` brings.

#[cfg(feature = "google-kms")]
mod client;

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "google-kms")]
pub use client::GoogleKms;

/// What stands before each of the name's parts.
const COLLECTIONS: [&str; 4] = ["projects", "locations", "keyRings", "cryptoKeys"];
/// Longer than Google's longest part, a project with its domain.
const PART_BYTES_MAX: usize = 128;

/// `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoogleKmsKey(String);

/// A name of another shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not projects/P/locations/L/keyRings/R/cryptoKeys/K, as `gcloud kms keys list` prints it \
     (without a version)"
)]
pub struct GoogleKmsKeyError;

impl GoogleKmsKey {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GoogleKmsKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for GoogleKmsKey {
    type Err = GoogleKmsKeyError;

    fn from_str(text: &str) -> Result<Self, GoogleKmsKeyError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (pairs, rest) = parts.as_chunks::<2>();
        let is_name = rest.is_empty()
            && pairs.len() == COLLECTIONS.len()
            && COLLECTIONS
                .iter()
                .zip(pairs)
                .all(|(wanted, [collection, part])| collection == wanted && is_part(part));
        is_name
            .then(|| Self(text.to_owned()))
            .ok_or(GoogleKmsKeyError)
    }
}

/// A project may have a domain before it, `example.com:name`.
fn is_part(part: &str) -> bool {
    (1..=PART_BYTES_MAX).contains(&part.len())
        && part.starts_with(|first: char| first.is_ascii_alphanumeric())
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_whole_path() {
        for good in [
            "projects/p/locations/europe-west1/keyRings/leasehold/cryptoKeys/key-ring",
            "projects/example.com:p-1/locations/global/keyRings/R_1/cryptoKeys/2",
        ] {
            assert_eq!(good.parse::<GoogleKmsKey>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_name_of_another_shape_is_refused() {
        let long = format!(
            "projects/p/locations/l/keyRings/r/cryptoKeys/{}",
            "k".repeat(129)
        );
        for bad in [
            "",
            "key",
            "projects/p/locations/l/keyRings/r",
            "projects/p/locations/l/keyRings/r/cryptoKeys",
            "projects/p/locations/l/keyRings/r/cryptoKeys/",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "/projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "projects/../locations/l/keyRings/r/cryptoKeys/k",
            "projects/p/locations/l/keyrings/r/cryptoKeys/k",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k?x",
            "projects/p/locations/l/keyRings/r/cryptoKeys/ k",
            &long,
        ] {
            assert_eq!(bad.parse::<GoogleKmsKey>(), Err(GoogleKmsKeyError), "{bad}");
        }
    }
}
