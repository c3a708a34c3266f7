//! Where a ring comes from.
//!
//! Two places are built in: a file (also one that is mounted from a secret
//! store, as Kubernetes does), and a variable of the environment. What is in
//! either may be encrypted by a key management service ([`Envelope`]).
//!
//! Blocking calls.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use coordinator_lib::rng::{Rng, SharedRng};
use zeroize::Zeroizing;

use super::envelope::{Cover, Envelope, EnvelopeError};
use super::file::{self, Placed};
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
    /// It was not encrypted or decrypted.
    #[error("key ring {place}: {source}")]
    Envelope {
        /// The place.
        place: String,
        /// What is wrong.
        source: EnvelopeError,
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
    cover: Cover,
    rng: SharedRng,
}

impl FileProvider {
    /// The ring at this path, encrypted by that key if there is one.
    pub fn new(path: PathBuf, envelope: Option<Arc<dyn Envelope>>, rng: SharedRng) -> Self {
        Self {
            path,
            cover: Cover::new(envelope),
            rng,
        }
    }

    /// The ring that is there, or a new one if there is no file.
    ///
    /// # Errors
    /// [`ProviderError`]: whatever exists but is not a good ring is left alone.
    pub fn load_or_generate(&self, rng: &dyn Rng) -> Result<KeyRing, ProviderError> {
        match self.load() {
            Err(ProviderError::File(KeyRingError::Read { source, .. }))
                if source.kind() == io::ErrorKind::NotFound => {}
            loaded_or_broken => return loaded_or_broken,
        }
        let ring = KeyRing::generate(rng);
        let content = self.sealed(&ring)?;
        match file::place(&self.path, content.as_bytes(), rng)? {
            Placed::Here => Ok(ring),
            Placed::AnotherWasFaster => self.load(),
        }
    }

    /// Encrypts what is there in clear, and anew what is encrypted by this key
    /// already. Yields the ring.
    ///
    /// # Errors
    /// [`ProviderError`]: the file is as it was.
    pub fn seal(&self) -> Result<KeyRing, ProviderError> {
        let ring = match self.load() {
            Err(ProviderError::Envelope {
                source: EnvelopeError::Clear,
                ..
            }) => self.parse(&file::read(&self.path)?)?,
            loaded_or_broken => loaded_or_broken?,
        };
        self.store(&ring)?;
        Ok(ring)
    }

    /// What the file is to hold for this ring.
    fn sealed(&self, ring: &KeyRing) -> Result<Zeroizing<String>, ProviderError> {
        let content = self
            .cover
            .seal(ring.to_json())
            .map_err(|source| self.not_covered(source))?;
        // Whoever may encrypt need not be allowed to decrypt: found out before
        // sessions depend on it, and before what was there is gone.
        self.opened(Zeroizing::new(content.as_bytes().to_vec()))?;
        Ok(content)
    }

    fn opened(&self, held: Zeroizing<Vec<u8>>) -> Result<KeyRing, ProviderError> {
        let clear = self
            .cover
            .open(held)
            .map_err(|source| self.not_covered(source))?;
        self.parse(&clear)
    }

    fn parse(&self, clear: &[u8]) -> Result<KeyRing, ProviderError> {
        let ring = parse(clear).map_err(|source| KeyRingError::Broken {
            path: self.path.clone(),
            source,
        })?;
        Ok(ring)
    }

    fn not_covered(&self, source: EnvelopeError) -> ProviderError {
        ProviderError::Envelope {
            place: self.place(),
            source,
        }
    }
}

impl KeyRingProvider for FileProvider {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn load(&self) -> Result<KeyRing, ProviderError> {
        self.opened(file::read(&self.path)?)
    }

    fn store(&self, ring: &KeyRing) -> Result<(), ProviderError> {
        let content = self.sealed(ring)?;
        file::write(&self.path, content.as_bytes(), self.rng.as_ref())?;
        Ok(())
    }

    fn may_change(&self) -> bool {
        true
    }
}

/// A ring in a variable that was read when the program started.
pub struct EnvironmentProvider {
    variable: &'static str,
    text: Zeroizing<String>,
    cover: Cover,
}

impl EnvironmentProvider {
    /// The ring that this variable holds, encrypted by that key if there is one.
    pub fn new(variable: &'static str, text: &str, envelope: Option<Arc<dyn Envelope>>) -> Self {
        Self {
            variable,
            text: Zeroizing::new(text.to_owned()),
            cover: Cover::new(envelope),
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
        let held = Zeroizing::new(self.text.as_bytes().to_vec());
        let clear = self
            .cover
            .open(held)
            .map_err(|source| ProviderError::Envelope {
                place: self.place(),
                source,
            })?;
        parse(&clear).map_err(|source| ProviderError::Environment {
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

fn parse(clear: &[u8]) -> Result<KeyRing, ParseError> {
    let text = std::str::from_utf8(clear).map_err(|_| ParseError::Json { line: 1, column: 1 })?;
    KeyRing::from_json(text)
}
