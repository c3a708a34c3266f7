//! Who the server is: its static key and the certificates for it.
//!
//! The chain is root → intermediate → leaf as WhatsApp's, but under a root of
//! our own. Clients that verify it against WhatsApp's root must refuse it:
//! they have to be told to accept a simulation.

use std::fmt;

use parking_lot::Mutex;
use prost::Message as _;
use proto::whatsapp::{
    CertChain,
    cert_chain::{NoiseCertificate, noise_certificate::Details},
};
use rand::{CryptoRng, SeedableRng, rngs::StdRng};

use crate::{keys::KeyPair, signal::xeddsa};

/// Clients expect the intermediate certificate to be issued by this one.
const ROOT_SERIAL: u32 = 0;
const INTERMEDIATE_SERIAL: u32 = 1;
const LEAF_SERIAL: u32 = 2;

/// The certificates' validity in Unix seconds: 2020 to 2100.
const NOT_BEFORE: u64 = 1_577_836_800;
const NOT_AFTER: u64 = 4_102_444_800;

/// The server's static key, its certificates, and the randomness for the
/// handshakes' ephemeral keys.
pub struct ServerIdentity {
    key: KeyPair,
    root: [u8; 32],
    chain: Vec<u8>,
    rng: Mutex<StdRng>,
}

impl ServerIdentity {
    /// Draws all keys and signs the chain.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let [root, intermediate, key] = [(); 3].map(|()| KeyPair::generate(rng));
        let certificate =
            |rng: &mut R, serial, issuer_serial, subject: &KeyPair, issuer: &KeyPair| {
                let details = Details {
                    serial: Some(serial),
                    issuer_serial: Some(issuer_serial),
                    key: Some(subject.public().to_vec()),
                    not_before: Some(NOT_BEFORE),
                    not_after: Some(NOT_AFTER),
                }
                .encode_to_vec();
                let signature = xeddsa::sign(issuer, &details, rng);
                NoiseCertificate {
                    details: Some(details),
                    signature: Some(signature.to_vec()),
                }
            };
        let chain = CertChain {
            intermediate: Some(certificate(
                rng,
                INTERMEDIATE_SERIAL,
                ROOT_SERIAL,
                &intermediate,
                &root,
            )),
            leaf: Some(certificate(
                rng,
                LEAF_SERIAL,
                INTERMEDIATE_SERIAL,
                &key,
                &intermediate,
            )),
        };
        Self {
            key,
            root: *root.public(),
            chain: chain.encode_to_vec(),
            rng: Mutex::new(StdRng::from_rng(rng)),
        }
    }

    /// The static key that clients may cache and use for IK.
    pub fn public(&self) -> &[u8; 32] {
        self.key.public()
    }

    /// The root's public key, which nobody out there trusts.
    pub fn root(&self) -> &[u8; 32] {
        &self.root
    }

    pub(super) fn key(&self) -> &KeyPair {
        &self.key
    }

    /// The encoded `CertChain`.
    pub(super) fn chain(&self) -> &[u8] {
        &self.chain
    }

    pub(super) fn ephemeral(&self) -> KeyPair {
        KeyPair::generate(&mut *self.rng.lock())
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerIdentity")
    }
}
