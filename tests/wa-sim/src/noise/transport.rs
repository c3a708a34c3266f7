//! After the handshake: frames sealed with AES-256-GCM and a counter each way.
//!
//! Order is all: a frame that is left out, repeated or swapped makes every
//! later one undecryptable. A plaintext is a flag byte and a node.

use std::fmt;

use aes_gcm::{Aes256Gcm, KeyInit, aead::Aead};

use super::{handshake::Pattern, symmetric::nonce};
use crate::wire::frame;

/// Why a frame was not opened. The connection is of no more use.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TransportError {
    #[error("frame {0} does not decrypt")]
    Decrypt(u32),
    #[error("too many frames on one connection")]
    Exhausted,
}

/// Both directions of a connection.
pub struct Transport {
    sealer: Sealer,
    opener: Opener,
    client: [u8; 32],
    pattern: Pattern,
}

/// Frames to the client.
pub struct Sealer {
    cipher: Aes256Gcm,
    counter: u32,
}

/// Frames from the client.
pub struct Opener {
    cipher: Aes256Gcm,
    counter: u32,
}

impl Transport {
    pub(super) fn new(
        ours: &[u8; 32],
        theirs: &[u8; 32],
        client: [u8; 32],
        pattern: Pattern,
    ) -> Self {
        let cipher = |key: &[u8; 32]| Aes256Gcm::new(&(*key).into());
        Self {
            sealer: Sealer {
                cipher: cipher(ours),
                counter: 0,
            },
            opener: Opener {
                cipher: cipher(theirs),
                counter: 0,
            },
            client,
            pattern,
        }
    }

    /// The client's static Noise key: the one it showed in its QR code.
    pub fn client_static(&self) -> &[u8; 32] {
        &self.client
    }

    /// How the keys were agreed on.
    pub fn pattern(&self) -> Pattern {
        self.pattern
    }

    /// See [`Sealer::seal`].
    pub fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        self.sealer.seal(plain)
    }

    /// See [`Opener::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(&mut self, frame: &[u8]) -> Result<Vec<u8>, TransportError> {
        self.opener.open(frame)
    }

    /// The two directions apart, for a task each.
    pub fn split(self) -> (Sealer, Opener) {
        (self.sealer, self.opener)
    }
}

impl Sealer {
    /// Encrypts a flag byte and node and frames it, ready for the WebSocket.
    ///
    /// # Panics
    /// After 2³² frames, or for one longer than a frame can be.
    pub fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let sealed = self
            .cipher
            .encrypt(&nonce(self.counter).into(), plain)
            .expect("a frame is far below the cipher's limit");
        self.counter = self
            .counter
            .checked_add(1)
            .expect("no connection lives that long");
        frame(&sealed)
    }
}

impl Opener {
    /// Decrypts a frame without its length: a flag byte and node.
    ///
    /// # Errors
    /// Not the client's next frame → [`TransportError::Decrypt`].
    pub fn open(&mut self, frame: &[u8]) -> Result<Vec<u8>, TransportError> {
        let counter = self.counter;
        self.counter = counter.checked_add(1).ok_or(TransportError::Exhausted)?;
        self.cipher
            .decrypt(&nonce(counter).into(), frame)
            .map_err(|_| TransportError::Decrypt(counter))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transport({:?})", self.pattern)
    }
}
