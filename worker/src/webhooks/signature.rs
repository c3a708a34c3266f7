//! The signature of a delivery: `t=<unix seconds>,v1=<hex>`, where the second
//! part is HMAC-SHA256, with the webhook's secret, over the time, a dot and the
//! body. The time is signed, so that a recording cannot be played later. While
//! two secrets are good there is a `v1` of each, the newer one's first.
//!
//! Pure.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header that carries it.
pub const HEADER: &str = "x-leasehold-signature";

/// Signs a body with each of the secrets.
pub fn sign<'a>(secrets: impl Iterator<Item = &'a [u8]>, unix_seconds: i64, body: &[u8]) -> String {
    let mut signature = format!("t={unix_seconds}");
    for secret in secrets {
        signature.push_str(",v1=");
        signature.push_str(&tag(secret, unix_seconds, body));
    }
    signature
}

fn tag(secret: &[u8], unix_seconds: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of every length");
    mac.update(unix_seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From: `printf '%s' '1700000000.{"id":"a-1"}' | openssl dgst -sha256 -hmac whsec_test`
    #[test]
    fn a_signature_is_what_openssl_says() {
        assert_eq!(
            sign(one(b"whsec_test"), 1_700_000_000, br#"{"id":"a-1"}"#),
            format!("t=1700000000,v1={}", EXPECTED)
        );
    }

    const EXPECTED: &str = "0bf26072f8d2b6a946a2d7dbba3c3e65a2190f5bf52d6cffef27d92aaa9e5b59";

    fn one(secret: &[u8]) -> impl Iterator<Item = &[u8]> {
        std::iter::once(secret)
    }

    #[test]
    fn secret_time_and_body_are_all_signed() {
        let whole = sign(one(b"secret"), 1, b"body");
        assert_ne!(whole, sign(one(b"secreT"), 1, b"body"));
        assert_ne!(whole, sign(one(b"secret"), 2, b"body"));
        assert_ne!(whole, sign(one(b"secret"), 1, b"bodY"));
    }

    #[test]
    fn each_secret_has_its_own_part() {
        let both = sign([&b"new"[..], b"old"].into_iter(), 1, b"body");
        let parts: Vec<&str> = both.split(',').collect();
        let of = |secret| sign(one(secret), 1, b"body");
        assert_eq!(parts.len(), 3);
        assert_eq!(format!("t=1,{}", parts[1]), of(b"new"));
        assert_eq!(format!("t=1,{}", parts[2]), of(b"old"));
    }
}
