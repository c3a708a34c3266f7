//! Helpers of this crate's tests.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Asserts that the output shows the secret in none of the forms in which
/// bytes get printed.
pub(crate) fn assert_hidden(output: &str, secret: &[u8]) {
    let decimal: Vec<String> = secret.iter().map(u8::to_string).collect();
    let forms = [
        hex::encode(secret),
        hex::encode_upper(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        decimal.join(", "),
        decimal.join(",\n"),
        String::from_utf8_lossy(secret).into_owned(),
        secret.escape_ascii().to_string(),
    ];
    for form in forms {
        assert!(!output.contains(&form), "a secret shows in: {output}");
    }
}
