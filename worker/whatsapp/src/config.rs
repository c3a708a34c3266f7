//! What an [`Engine`](crate::Engine) is told at its start.
//!
//! Plain values only: nothing here is read from the environment, and nothing
//! is checked twice. [`Endpoint`] is the one type with rules of its own.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio_tungstenite::tungstenite::http::Uri;

use crate::proxy::Proxy;

/// Where WhatsApp's web clients connect.
pub const WHATSAPP_URL: &str = "wss://web.whatsapp.com/ws/chat";

/// The `Origin` header that the server expects of a web client.
pub const WHATSAPP_ORIGIN: &str = "https://web.whatsapp.com";

/// One-time keys kept on the server for each account.
///
/// The engine's own default is 812, which is 812 key pairs made and stored at
/// pairing; the server asks for more when few are left, so 100 is plenty.
pub const PREKEYS_WANTED: usize = 100;

/// A WebSocket address: `ws` or `wss`, a host, no user name or password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// Why a text is not an [`Endpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a WebSocket address such as {WHATSAPP_URL}")]
pub struct InvalidEndpoint;

impl Endpoint {
    /// The address of the real WhatsApp.
    pub fn production() -> Self {
        Self(Uri::from_static(WHATSAPP_URL))
    }

    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        self.0
            .host()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']')
    }

    /// The port, given or implied by the scheme.
    pub fn port(&self) -> u16 {
        self.0
            .port_u16()
            .unwrap_or(if self.is_encrypted() { 443 } else { 80 })
    }

    /// True for `wss`.
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme_str() == Some("wss")
    }

    /// True if the address is this machine's own, whatever a name server says.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| InvalidEndpoint)?;
        let known_scheme = matches!(uri.scheme_str(), Some("ws" | "wss"));
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        // Credentials in an address would end up in logs.
        let has_user = uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
        if known_scheme && has_host && !has_user {
            Ok(Self(uri))
        } else {
            Err(InvalidEndpoint)
        }
    }
}

/// How an account without an identity gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PairingMethod {
    /// The phone scans a QR code.
    #[default]
    QrCode,
}

/// Settings of one engine instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Where to connect.
    pub endpoint: Endpoint,
    /// The `Origin` header.
    pub origin: String,
    /// The client version to announce. Refused by the server when too old
    /// (reason 405), so it is configuration and not a constant.
    pub version: (u32, u32, u32),
    /// The name under "Linked devices" on the phone; used at pairing only.
    pub device_name: String,
    /// One-time keys to make for each upload.
    pub prekeys_wanted: usize,
    /// Limit for name lookup, TCP, TLS and the WebSocket upgrade together.
    pub connect_timeout: Duration,
    /// Limit for one [`Engine::send`](crate::Engine::send).
    pub send_timeout: Duration,
    /// In a simulation: where the media hosts are, instead of WhatsApp's own.
    pub media_url: Option<String>,
    /// The largest piece of history that is fetched, in bytes; with none the
    /// phone's history is acknowledged and left.
    pub history_bytes_max: Option<u64>,
    /// How to pair.
    pub pairing: PairingMethod,
    /// The account's own proxy, for everything that its engine opens.
    pub proxy: Option<Proxy>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            endpoint: Endpoint::production(),
            origin: WHATSAPP_ORIGIN.to_owned(),
            version: (2, 3000, 1_035_194_821),
            device_name: "Leasehold".to_owned(),
            prekeys_wanted: PREKEYS_WANTED,
            connect_timeout: Duration::from_secs(15),
            send_timeout: Duration::from_secs(20),
            media_url: None,
            history_bytes_max: None,
            pairing: PairingMethod::QrCode,
            proxy: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_accepts_websocket_addresses_only() {
        for good in [
            "ws://127.0.0.1:9000/ws",
            "wss://web.whatsapp.com/ws/chat",
            "ws://[::1]:80/",
        ] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for bad in [
            "http://127.0.0.1",
            "wss://",
            "ws://user:secret@127.0.0.1/",
            "",
            "nonsense",
        ] {
            assert_eq!(bad.parse::<Endpoint>(), Err(InvalidEndpoint), "{bad}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_address_and_not_from_a_name_server() {
        let is_loopback = |text: &str| text.parse::<Endpoint>().unwrap().is_loopback();
        assert!(is_loopback("ws://127.0.0.1:1/"));
        assert!(is_loopback("ws://127.8.9.1:1/"));
        assert!(is_loopback("ws://[::1]/"));
        assert!(is_loopback("ws://[::ffff:127.0.0.1]/"));
        assert!(is_loopback("ws://localhost/"));
        assert!(!is_loopback("wss://web.whatsapp.com/"));
        assert!(!is_loopback("ws://localhost.example/"));
        assert!(!is_loopback("ws://10.0.0.1/"));
    }

    #[test]
    fn ports_follow_the_scheme() {
        assert_eq!("ws://a/".parse::<Endpoint>().unwrap().port(), 80);
        assert_eq!("wss://a/".parse::<Endpoint>().unwrap().port(), 443);
        assert_eq!("wss://a:8443/".parse::<Endpoint>().unwrap().port(), 8443);
    }
}
