//! A proxy of an account's own: HTTP CONNECT or SOCKS5, with or without a name
//! and a password.
//!
//! Everything that an account's engine opens goes through it, and names are
//! looked up by the proxy. Credentials are in neither `Debug` nor `Display`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use tokio_tungstenite::tungstenite::http::Uri;

/// The longest name or password (RFC 1929 has one byte for the length).
const CREDENTIAL_BYTES_MAX: usize = 255;
/// The longest host name (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// `CONNECT` (RFC 9110).
    Http,
    /// RFC 1928.
    Socks5,
}

/// A proxy; its text form is `http://name:password@host:port` or `socks5://…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: ProxyKind,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) name: String,
    pub(crate) password: String,
}

/// Why a text is no [`Proxy`]. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a proxy such as http://host:3128 or socks5://name:password@host:1080")]
pub struct InvalidProxy;

impl Proxy {
    /// How it is spoken to.
    pub fn kind(&self) -> ProxyKind {
        self.kind
    }

    /// Its host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// True if it is this machine's own, whatever a name server says.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl FromStr for Proxy {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| InvalidProxy)?;
        let (kind, port) = match uri.scheme_str() {
            Some("http") => (ProxyKind::Http, 8080),
            Some("socks5" | "socks5h") => (ProxyKind::Socks5, 1080),
            Some(_) | None => return Err(InvalidProxy),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(InvalidProxy);
        }
        let authority = uri.authority().ok_or(InvalidProxy)?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() || host.len() > HOST_BYTES_MAX {
            return Err(InvalidProxy);
        }
        let place = authority.as_str().rsplit('@').next().unwrap_or_default();
        let has_port = place.len() > authority.host().len();
        if has_port && authority.port_u16().is_none() {
            return Err(InvalidProxy);
        }
        let credentials = match authority.as_str().rsplit_once('@') {
            None => None,
            Some((user, _)) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                let credentials = Credentials {
                    name: decode_percent(name)?,
                    password: decode_percent(password)?,
                };
                let is_good = !credentials.name.is_empty()
                    && credentials.name.len() <= CREDENTIAL_BYTES_MAX
                    && credentials.password.len() <= CREDENTIAL_BYTES_MAX;
                Some(credentials)
                    .filter(|_| is_good)
                    .ok_or(InvalidProxy)?
                    .into()
            }
        };
        Ok(Self {
            kind,
            host,
            port: authority.port_u16().unwrap_or(port),
            credentials,
        })
    }
}

/// `%40` → `@`; what is no number stands for an error.
fn decode_percent(text: &str) -> Result<String, InvalidProxy> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            let digit = rest.next().and_then(|byte| char::from(byte).to_digit(16));
            digit.and_then(|digit| u8::try_from(digit).ok())
        };
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(InvalidProxy);
        };
        bytes.push(high << 4 | low);
    }
    let text = String::from_utf8(bytes).map_err(|_| InvalidProxy)?;
    if text.chars().any(char::is_control) {
        return Err(InvalidProxy);
    }
    Ok(text)
}

/// Without credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Socks5 => "socks5",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<(String, Option<(String, String)>)> {
        let proxy: Proxy = text.parse().ok()?;
        let credentials = proxy.credentials.clone();
        Some((
            proxy.to_string(),
            credentials.map(|credentials| (credentials.name, credentials.password)),
        ))
    }

    #[test]
    fn both_kinds_are_read_with_and_without_credentials() {
        let plain = |text: &str| Some((text.to_owned(), None));
        assert_eq!(shown("http://proxy:3128"), plain("http://proxy:3128"));
        assert_eq!(shown("socks5://10.0.0.1"), plain("socks5://10.0.0.1:1080"));
        assert_eq!(shown("http://[::1]:1/"), plain("http://[::1]:1"));
        let (proxy, credentials) = shown("socks5h://an%40na:p%3Aw@proxy:1").unwrap();
        assert_eq!(proxy, "socks5://proxy:1");
        assert_eq!(credentials, Some(("an@na".into(), "p:w".into())));
    }

    #[test]
    fn nonsense_is_refused() {
        let long = format!("http://{}@h:1", "x".repeat(300));
        for text in [
            "",
            "proxy:3128",
            "https://proxy:3128",
            "ftp://proxy:1",
            "http://proxy:3128/path",
            "http://proxy:99999",
            "http://:password@proxy:1",
            "http://%zz@proxy:1",
            "http://a%0d%0ab@proxy:1",
            &long,
        ] {
            assert!(text.parse::<Proxy>().is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let proxy: Proxy = "http://anna:canary-77@proxy:1".parse().unwrap();
        let shown = format!("{proxy} {proxy:?}");
        assert!(
            !shown.contains("canary") && !shown.contains("anna"),
            "{shown}"
        );
    }
}
