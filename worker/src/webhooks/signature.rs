//! The signature of a delivery: `t=<unix seconds>,v1=<hex>`, where the second
//! part is HMAC-SHA256, with the webhook's secret, over the time, a dot and the
//! body. The time is signed, so that a recording cannot be played later.
//!
//! Pure.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header that carries it.
pub const HEADER: &str = "x-leasehold-signature";

/// Signs a body.
pub fn sign(secret: &[u8], unix_seconds: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of every length");
    mac.update(unix_seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let tag = hex::encode(mac.finalize().into_bytes());
    format!("t={unix_seconds},v1={tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From: `printf '%s' '1700000000.{"id":"a-1"}' | openssl dgst -sha256 -hmac whsec_test`
    #[test]
    fn a_signature_is_what_openssl_says() {
        assert_eq!(
            sign(b"whsec_test", 1_700_000_000, br#"{"id":"a-1"}"#),
            format!("t=1700000000,v1={}", EXPECTED)
        );
    }

    const EXPECTED: &str = "0bf26072f8d2b6a946a2d7dbba3c3e65a2190f5bf52d6cffef27d92aaa9e5b59";

    #[test]
    fn secret_time_and_body_are_all_signed() {
        let whole = sign(b"secret", 1, b"body");
        assert_ne!(whole, sign(b"secreT", 1, b"body"));
        assert_ne!(whole, sign(b"secret", 2, b"body"));
        assert_ne!(whole, sign(b"secret", 1, b"bodY"));
    }
}
