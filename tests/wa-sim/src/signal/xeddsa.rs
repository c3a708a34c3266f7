//! XEdDSA: signatures made with Curve25519 keys.
//!
//! After Signal's specification ("The XEdDSA and VXEdDSA Signature Schemes").
//! Older implementations do not fix the sign of the Edwards key but put it in
//! the signature's highest bit, which is otherwise 0; verifying honours it.

use curve25519_dalek::{EdwardsPoint, MontgomeryPoint, Scalar, scalar::clamp_integer};
use rand::CryptoRng;
use sha2::{Digest, Sha512};
use subtle::{Choice, ConditionallySelectable as _};

use crate::keys::KeyPair;

/// What separates the hash for the nonce from all others: 2²⁵⁶ - 2,
/// little-endian.
const NONCE_PREFIX: [u8; 32] = {
    let mut prefix = [0xff; 32];
    prefix[0] = 0xfe;
    prefix
};

const SIGN_BIT: u8 = 0x80;

/// Signs a message.
pub fn sign<R: CryptoRng + ?Sized>(key: &KeyPair, message: &[u8], rng: &mut R) -> [u8; 64] {
    let mut random = [0; 64];
    rng.fill_bytes(&mut random);

    // The key whose Edwards point has sign 0.
    let private = Scalar::from_bytes_mod_order(clamp_integer(*key.private()));
    let mut public = EdwardsPoint::mul_base(&private).compress().to_bytes();
    let negative = Choice::from(public[31] >> 7);
    let private = Scalar::conditional_select(&private, &-private, negative);
    public[31] &= !SIGN_BIT;

    let nonce = scalar_of(&[&NONCE_PREFIX, private.as_bytes(), message, &random]);
    let commitment = EdwardsPoint::mul_base(&nonce).compress().to_bytes();
    let challenge = scalar_of(&[&commitment, &public, message]);

    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&commitment);
    signature[32..].copy_from_slice((nonce + challenge * private).as_bytes());
    signature
}

/// Whether the owner of `public` signed the message.
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = <&[u8; 64]>::try_from(signature) else {
        return false;
    };
    let (commitment, response) = signature.split_at(32);
    let sign = response[31] >> 7;
    let mut response: [u8; 32] = response.try_into().expect("half of 64 bytes");
    response[31] &= !SIGN_BIT;

    let Some(response) = Option::<Scalar>::from(Scalar::from_canonical_bytes(response)) else {
        return false;
    };
    let Some(point) = MontgomeryPoint(*public).to_edwards(sign) else {
        return false;
    };
    let challenge = scalar_of(&[commitment, point.compress().as_bytes(), message]);
    let expected =
        EdwardsPoint::vartime_double_scalar_mul_basepoint(&-challenge, &point, &response);
    expected.compress().as_bytes() == commitment
}

fn scalar_of(parts: &[&[u8]]) -> Scalar {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}
