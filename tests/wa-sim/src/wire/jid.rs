//! Addresses: `user:device@server`, device 0 left out.
//!
//! Text is the form used everywhere; [`super::codec`] turns text that is
//! exactly the display of a [`Jid`] into the wire's address tokens and back.

use std::{fmt, str::FromStr};

/// Phone numbers.
pub const SERVER_PN: &str = "s.whatsapp.net";
/// Hidden identities ("LID").
pub const SERVER_LID: &str = "lid";
/// Groups.
pub const SERVER_GROUP: &str = "g.us";

/// The servers that an address can name. Clients refuse others.
const SERVERS: [&str; 12] = [
    SERVER_PN,
    SERVER_LID,
    SERVER_GROUP,
    "broadcast",
    "newsletter",
    "c.us",
    "call",
    "bot",
    "hosted",
    "hosted.lid",
    "msgr",
    "interop",
];

/// Who is meant: an account (device 0 is its phone) or one of its devices.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid {
    /// May be empty: `@s.whatsapp.net` is the server itself.
    pub user: String,
    pub device: u16,
    pub server: String,
}

/// Why a text is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JidError {
    #[error("no `@` in the address")]
    NoServer,
    #[error("unknown server in the address")]
    UnknownServer,
    #[error("the device is not a number below 65536")]
    BadDevice,
}

impl Jid {
    /// A phone number's account.
    pub fn pn(user: impl Into<String>) -> Self {
        Self::new(user, SERVER_PN)
    }

    /// A hidden identity's account.
    pub fn lid(user: impl Into<String>) -> Self {
        Self::new(user, SERVER_LID)
    }

    /// The account, device 0, at a server.
    pub fn new(user: impl Into<String>, server: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            device: 0,
            server: server.into(),
        }
    }

    /// The account without the device.
    #[must_use]
    pub fn bare(&self) -> Self {
        self.with_device(0)
    }

    /// The same account's other device.
    #[must_use]
    pub fn with_device(&self, device: u16) -> Self {
        Self {
            device,
            ..self.clone()
        }
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.device {
            0 => write!(f, "{}@{}", self.user, self.server),
            device => write!(f, "{}:{device}@{}", self.user, self.server),
        }
    }
}

impl FromStr for Jid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        let (user, server) = text.split_once('@').ok_or(JidError::NoServer)?;
        if !SERVERS.contains(&server) {
            return Err(JidError::UnknownServer);
        }
        let (user, device) = match user.split_once(':') {
            Some((user, device)) => (user, device.parse().map_err(|_| JidError::BadDevice)?),
            None => (user, 0),
        };
        Ok(Self {
            user: user.to_owned(),
            device,
            server: server.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn display_and_parse_are_inverse() {
        for text in [
            "123@s.whatsapp.net",
            "9:41@lid",
            "1-2@g.us",
            "@s.whatsapp.net",
        ] {
            assert_eq!(text.parse::<Jid>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!("123".parse::<Jid>(), Err(JidError::NoServer));
        assert_eq!("a@example.org".parse::<Jid>(), Err(JidError::UnknownServer));
        assert_eq!("1:x@lid".parse::<Jid>(), Err(JidError::BadDevice));
        assert_eq!("1:70000@lid".parse::<Jid>(), Err(JidError::BadDevice));
    }

    #[test]
    fn bare_forgets_the_device_only() {
        let device: Jid = "7:3@lid".parse().unwrap();
        assert_eq!(device.bare().to_string(), "7@lid");
        assert_eq!(device.bare().with_device(3), device);
    }
}
