//! Pages that are part of the program: one file each, with one script and one
//! style. Their content security policy lets nothing in from outside and runs
//! no script but the one in the file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The policy that goes with a page.
pub(super) fn policy(page: &str) -> String {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src 'self'; connect-src 'self'; \
         form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
        digest_of(page, "script"),
        digest_of(page, "style"),
    )
}

/// The hash, as a policy names it, of what stands inside the page's one such element.
fn digest_of(page: &str, element: &str) -> String {
    let inside = page
        .split_once(&format!("<{element}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{element}>")))
        .map_or("", |(inside, _)| inside);
    format!("sha256-{}", STANDARD.encode(Sha256::digest(inside)))
}

#[cfg(test)]
pub(super) mod tests {
    /// Checks that a page keeps to its policy.
    pub(in super::super) fn check(page: &str) {
        assert!(!page.contains("http://") && !page.contains("https://"));
        assert!(!page.contains(" style=") && !page.contains(" onclick="));
        assert!(!page.contains("innerHTML"), "texts are texts, never markup");
        assert_eq!(page.matches("<script").count(), 1);
        assert_eq!(page.matches("<style").count(), 1);
    }
}
