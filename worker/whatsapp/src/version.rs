//! The client version that WhatsApp's own web client has at the moment.

use bytes::Bytes;

use crate::http::{Http, HttpError};
use crate::proxy::Proxy;

/// Where the web client's service worker is, which names its version.
pub const WHATSAPP_VERSION_URL: &str = "https://web.whatsapp.com/sw.js";

/// Without these headers the server answers with something else.
const HEADERS: [(&str, &str); 2] = [
    ("sec-fetch-site", "none"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
];

/// Why the version is not known.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// The page was not read.
    #[error("the page with the client version was not read")]
    Http(#[from] HttpError),
    /// The page is not there.
    #[error("the page with the client version answered {0}")]
    Status(u16),
    /// The page says nothing about a version.
    #[error("the page does not name a client version")]
    NoVersion,
}

/// Reads the version from the page at `url`.
///
/// # Errors
/// [`VersionError`].
pub async fn fetch_version(
    url: &str,
    proxy: Option<Proxy>,
) -> Result<(u32, u32, u32), VersionError> {
    let http = Http { proxy, wire: None };
    let headers = HEADERS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let (status, page) = http.request("GET", url, headers, Bytes::new()).await?;
    if status != 200 {
        return Err(VersionError::Status(status));
    }
    let page = String::from_utf8_lossy(&page);
    wacore::version::parse_sw_js(&page).ok_or(VersionError::NoVersion)
}
