//! Where a ring comes from.
//!
//! Two places are built in: a file (also one that is mounted from a secret
//! store, as Kubernetes does), and a variable of the environment. A key
//! management service is a third implementation of [`KeyRingProvider`].
//!
//! Blocking calls.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use coordinator_lib::rng::SharedRng;
use zeroize::Zeroizing;

use super::{KeyRing, KeyRingError, ParseError};

/// A place that a ring is kept in.
pub trait KeyRingProvider: Send + Sync {
    /// What people call the place.
    fn place(&self) -> String;

    /// The ring that is there now.
    ///
    /// # Errors
    /// [`ProviderError`] says what is wrong and what to do.
    fn load(&self) -> Result<KeyRing, ProviderError>;

    /// Puts a changed ring there.
    ///
    /// # Errors
    /// [`ProviderError::ReadOnly`] where a program cannot; the failure.
    fn store(&self, ring: &KeyRing) -> Result<(), ProviderError>;

    /// Whether the ring may change while a program runs.
    fn may_change(&self) -> bool;
}

/// Why a place has no ring, or does not take one.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The file.
    #[error(transparent)]
    File(#[from] KeyRingError),
    /// The variable's text is none.
    #[error("{variable} is no key ring: {source}")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// What is wrong.
        source: ParseError,
    },
    /// A program cannot change it.
    #[error(
        "{place} cannot be changed from here: change a copy in a file (--key-ring), and put that \
         where the workers get theirs from"
    )]
    ReadOnly {
        /// The place.
        place: String,
    },
}

/// A ring in a file of its owner's.
pub struct FileProvider {
    path: PathBuf,
    rng: SharedRng,
}

impl FileProvider {
    /// The ring at this path.
    pub fn new(path: PathBuf, rng: SharedRng) -> Self {
        Self { path, rng }
    }
}

impl KeyRingProvider for FileProvider {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn load(&self) -> Result<KeyRing, ProviderError> {
        Ok(KeyRing::load(&self.path)?)
    }

    fn store(&self, ring: &KeyRing) -> Result<(), ProviderError> {
        Ok(ring.save(&self.path, self.rng.as_ref())?)
    }

    fn may_change(&self) -> bool {
        true
    }
}

/// A ring in a variable that was read when the program started.
pub struct EnvironmentProvider {
    variable: &'static str,
    text: Arc<Zeroizing<String>>,
}

impl EnvironmentProvider {
    /// The ring that this variable holds.
    pub fn new(variable: &'static str, text: &str) -> Self {
        Self {
            variable,
            text: Arc::new(Zeroizing::new(text.to_owned())),
        }
    }
}

impl fmt::Debug for EnvironmentProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvironmentProvider({})", self.variable)
    }
}

impl KeyRingProvider for EnvironmentProvider {
    fn place(&self) -> String {
        self.variable.to_owned()
    }

    fn load(&self) -> Result<KeyRing, ProviderError> {
        KeyRing::from_json(&self.text).map_err(|source| ProviderError::Environment {
            variable: self.variable,
            source,
        })
    }

    fn store(&self, _ring: &KeyRing) -> Result<(), ProviderError> {
        Err(ProviderError::ReadOnly {
            place: self.place(),
        })
    }

    fn may_change(&self) -> bool {
        false
    }
}
