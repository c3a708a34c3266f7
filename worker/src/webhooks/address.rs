//! Which addresses a webhook may lead to.
//!
//! Whoever may make a webhook makes this worker send a request to an address of
//! their choice, so an address within the operator's own network is refused: as
//! it is written, in all its forms (`0x7f.1`, `[::ffff:10.0.0.1]`), and again
//! when a name has been looked up. The address that was found good is the one
//! that is connected to.
//!
//! Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use url::{Host, Url};

/// Characters of an address.
const LENGTH_MAX: usize = 2_048;

/// Where a webhook leads: a URL of a known form.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    host: Host,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is long.
    #[error("an address has {LENGTH_MAX} characters at most")]
    Long,
    /// It is no URL with a host.
    #[error("not an address such as https://example.org/hook")]
    Form,
    /// Another scheme.
    #[error("the address begins with https:// (or http://)")]
    Scheme,
    /// It has a name and a password.
    #[error("no name and password in the address: the signature shows who sends")]
    Credentials,
    /// It leads into a private network.
    #[error(
        "the address is not a public one; --webhook-allow-private allows this machine's own \
         network to be asked"
    )]
    Private,
}

impl Endpoint {
    /// The host as a name or address, without brackets.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        }
    }

    /// What the header `Host` says.
    pub fn authority(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_string(),
        }
    }

    /// The port, named or not.
    pub fn port(&self) -> u16 {
        let default = if self.is_encrypted() { 443 } else { 80 };
        self.url.port().unwrap_or(default)
    }

    /// Path and query.
    pub fn path(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// Whether it is asked with TLS.
    pub fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Refuses what is not public as it is written.
    ///
    /// # Errors
    /// [`EndpointError::Private`].
    pub fn check_public(&self) -> Result<(), EndpointError> {
        let is_public = match &self.host {
            Host::Ipv4(ip) => is_public(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => is_public(IpAddr::V6(*ip)),
            // Other names show what they are when they are looked up.
            Host::Domain(name) => {
                let name = name.trim_end_matches('.');
                name != "localhost" && !name.ends_with(".localhost")
            }
        };
        match is_public {
            true => Ok(()),
            false => Err(EndpointError::Private),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.len() > LENGTH_MAX {
            return Err(EndpointError::Long);
        }
        let mut url: Url = text.trim().parse().map_err(|_| EndpointError::Form)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EndpointError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Credentials);
        }
        url.set_fragment(None);
        let host = url.host().ok_or(EndpointError::Form)?.to_owned();
        if url.port() == Some(0) {
            return Err(EndpointError::Form);
        }
        Ok(Self { url, host })
    }
}

/// As it was read, in one spelling.
impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.url.as_str())
    }
}

/// The query may hold somebody's token.
impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Endpoint({})", self.authority())
    }
}

/// Whether an address belongs to the public internet: what IANA's registries of
/// special-purpose addresses do not list as reachable globally is not.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    /// Network and length of its prefix.
    const SPECIAL: [(Ipv4Addr, u32); 15] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        // Also where clouds show a machine its credentials.
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(192, 88, 99, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
    ];
    !SPECIAL.iter().any(|(network, length)| {
        let mask = u32::MAX << (32 - length);
        ip.to_bits() & mask == network.to_bits()
    })
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    /// Within the global unicast addresses: what stands for another address, or
    /// for none.
    const SPECIAL: [(Ipv6Addr, u32); 4] = [
        // Teredo, benchmarks, ORCHID, …
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
        // 6to4: an IPv4 address is in it.
        (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
        (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    ];
    // 2000::/3 is all there is of them.
    let is_global_unicast = ip.to_bits() >> 125 == 0b001;
    is_global_unicast
        && !SPECIAL.iter().any(|(network, length)| {
            let mask = u128::MAX << (128 - length);
            ip.to_bits() & mask == network.to_bits()
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn private_addresses_are_refused_in_every_form() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "0.0.0.0",
            "0",
            "10.1.2.3",
            "100.64.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[2001:0:4136:e378::]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fec0::1]",
            "[ff02::1]",
            "[2001:db8::1]",
            "１２７.０.０.１",
        ] {
            let endpoint = endpoint(&format!("http://{host}:8080/hook"));
            assert_eq!(
                endpoint.check_public(),
                Err(EndpointError::Private),
                "{host}"
            );
        }
    }

    #[test]
    fn public_addresses_and_names_pass() {
        for host in [
            "example.org",
            "1.1.1.1",
            "172.32.0.1",
            "172.15.0.1",
            "100.63.0.1",
            "198.20.0.1",
            "[2606:4700::1111]",
            "[2a00:1450::1]",
            "[::ffff:1.1.1.1]",
            "localhost.example.org",
        ] {
            let endpoint = endpoint(&format!("https://{host}/hook"));
            assert_eq!(endpoint.check_public(), Ok(()), "{host}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        let long = format!("https://example.org/{}", "a".repeat(LENGTH_MAX));
        for (text, error) in [
            ("", EndpointError::Form),
            ("example.org", EndpointError::Form),
            ("https://", EndpointError::Form),
            ("http://256.1.1.1/", EndpointError::Form),
            ("https://example.org:0/", EndpointError::Form),
            ("ftp://example.org/", EndpointError::Scheme),
            ("file:///etc/passwd", EndpointError::Scheme),
            ("https://me:secret@example.org/", EndpointError::Credentials),
            (&long, EndpointError::Long),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
    }

    #[test]
    fn an_endpoint_is_taken_apart() {
        let plain = endpoint("http://example.org/a/b?c=d#e");
        assert_eq!(plain.authority(), "example.org");
        assert_eq!(plain.path(), "/a/b?c=d");
        assert_eq!((plain.port(), plain.is_encrypted()), (80, false));
        let other = endpoint("https://[2606:4700::1111]:8443");
        assert_eq!(other.authority(), "[2606:4700::1111]:8443");
        assert_eq!(other.host(), "2606:4700::1111");
        assert_eq!((other.path().as_str(), other.port()), ("/", 8443));
        assert!(!format!("{plain:?}").contains("c=d"), "{plain:?}");
    }

    proptest! {
        #[test]
        fn an_address_and_its_mapped_form_are_one(bits in any::<u32>()) {
            let ip = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(is_public(IpAddr::V4(ip)), is_public(IpAddr::V6(ip.to_ipv6_mapped())));
            let is_private = ip.is_private() || ip.is_loopback() || ip.is_link_local();
            prop_assert!(!(is_private && is_public(IpAddr::V4(ip))));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = text.parse::<Endpoint>();
        }
    }
}
