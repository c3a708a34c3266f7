//! Which WhatsApp this build may speak to.
//!
//! WhatsApp proves itself with a certificate chain whose root is a constant of
//! the engine. One cargo feature skips that check, because the simulated
//! WhatsApp cannot sign with WhatsApp's root. Features unify across a cargo
//! invocation, so a build that was meant to be strict may not be: hence the
//! check of the program itself, at its start, with a chain that no one signed.
//!
//! - A strict build refuses to run if a forged chain passes.
//! - A simulation build refuses every address that is not this machine's own.

use prost::Message;
use proto::whatsapp::CertChain;
use proto::whatsapp::cert_chain::NoiseCertificate;
use proto::whatsapp::cert_chain::noise_certificate::Details;
use wacore::handshake::HandshakeUtils;

use crate::config::Endpoint;
use crate::proxy::Proxy;

/// True if this build accepts forged certificate chains.
pub const SIMULATION: bool = cfg!(feature = "simulation");

/// Why this build must not run, or not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerificationError {
    /// The engine was built with `danger-skip-cert-chain-verify` although this
    /// crate was not built with `simulation`.
    #[error(
        "this build accepts forged WhatsApp certificates; build the worker on its own: cargo build --release -p worker"
    )]
    AcceptsForgedChain,
    /// A simulation build was given an address that is not loopback.
    #[error("this is a simulation build: it speaks to a WhatsApp address on this machine only")]
    NotLoopback,
}

/// Feeds a forged certificate chain to the engine. To be called once, before
/// anything connects.
///
/// # Errors
/// [`VerificationError::AcceptsForgedChain`] if a strict build lets it pass.
pub fn assert_chain_is_verified() -> Result<(), VerificationError> {
    if !SIMULATION && accepts_forged_chain() {
        return Err(VerificationError::AcceptsForgedChain);
    }
    Ok(())
}

/// Checks an address against what this build may speak to.
///
/// # Errors
/// [`VerificationError::NotLoopback`] for a simulation build and an address
/// that is not this machine's own.
pub fn assert_endpoint_is_allowed(endpoint: &Endpoint) -> Result<(), VerificationError> {
    endpoint_is_allowed(endpoint, SIMULATION)
}

/// As [`assert_endpoint_is_allowed`], for a proxy.
///
/// # Errors
/// [`VerificationError::NotLoopback`].
pub fn assert_proxy_is_allowed(proxy: Option<&Proxy>) -> Result<(), VerificationError> {
    if SIMULATION && proxy.is_some_and(|proxy| !proxy.is_loopback()) {
        return Err(VerificationError::NotLoopback);
    }
    Ok(())
}

fn endpoint_is_allowed(endpoint: &Endpoint, simulation: bool) -> Result<(), VerificationError> {
    if simulation && !endpoint.is_loopback() {
        return Err(VerificationError::NotLoopback);
    }
    Ok(())
}

/// True if the engine takes a chain that is well-formed but signed by no one.
fn accepts_forged_chain() -> bool {
    let server_key = [7; 32];
    HandshakeUtils::verify_server_cert(&forged_chain(server_key), &server_key).is_ok()
}

/// A chain in which all is right but the signatures, which are zeros.
fn forged_chain(server_key: [u8; 32]) -> Vec<u8> {
    let certificate = |serial, issuer_serial, key: [u8; 32]| {
        let details = Details {
            serial: Some(serial),
            issuer_serial: Some(issuer_serial),
            key: Some(key.to_vec()),
            ..Details::default()
        };
        NoiseCertificate {
            details: Some(details.encode_to_vec()),
            signature: Some(vec![0; 64]),
        }
    };
    let chain = CertChain {
        intermediate: Some(certificate(1, 0, [8; 32])),
        leaf: Some(certificate(2, 1, server_key)),
    };
    chain.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In whichever way this test was built, the engine must do what the
    /// build says.
    #[test]
    fn a_forged_chain_passes_in_a_simulation_build_only() {
        assert_eq!(accepts_forged_chain(), SIMULATION);
        assert_eq!(assert_chain_is_verified(), Ok(()));
    }

    #[test]
    fn a_chain_for_another_key_is_refused_in_every_build() {
        assert!(HandshakeUtils::verify_server_cert(&forged_chain([7; 32]), &[9; 32]).is_err());
    }

    #[test]
    fn a_simulation_build_speaks_to_this_machine_only() {
        let local = "ws://127.0.0.1:9/".parse().unwrap();
        let real = Endpoint::production();
        assert_eq!(endpoint_is_allowed(&local, true), Ok(()));
        assert_eq!(
            endpoint_is_allowed(&real, true),
            Err(VerificationError::NotLoopback)
        );
        assert_eq!(endpoint_is_allowed(&local, false), Ok(()));
        assert_eq!(endpoint_is_allowed(&real, false), Ok(()));
    }
}
