//! Who a Signal record is about: Baileys' form and the engine's.
//!
//! | | Phone number | LID |
//! |---|---|---|
//! | Baileys 7 | `491701.2` | `1234_1.2` |
//! | Baileys 6 | `491701.2` | `1234.2` |
//! | the engine | `491701:2@c.us.0` | `1234:2@lid.0` |
//!
//! Baileys 6 does not say which of the two somebody's address is.

use std::fmt;

use super::export::Generation;

/// Digits of a user: a phone number has 15 at most, a LID a few more.
const USER_LENGTH_MAX: usize = 20;

/// The address spaces, with Baileys' numbers for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Space {
    Number,
    Lid,
    HostedNumber,
    HostedLid,
}

impl Space {
    const ALL: [Space; 4] = [
        Space::Number,
        Space::Lid,
        Space::HostedNumber,
        Space::HostedLid,
    ];

    fn number(self) -> u16 {
        match self {
            Space::Number => 0,
            Space::Lid => 1,
            Space::HostedNumber => 128,
            Space::HostedLid => 129,
        }
    }

    /// The server's name in the engine's Signal addresses.
    fn server(self) -> &'static str {
        match self {
            Space::Number => "c.us",
            Space::Lid => "lid",
            Space::HostedNumber => "hosted",
            Space::HostedLid => "hosted.lid",
        }
    }
}

/// One device of somebody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) user: String,
    pub(super) space: Space,
    pub(super) device: u16,
}

impl Address {
    /// Reads `user`, `user_space` and the device.
    pub(super) fn from_baileys(user: &str, device: &str) -> Option<Self> {
        let (user, space) = match user.split_once('_') {
            None => (user, Space::Number),
            Some((user, number)) => {
                let number: u16 = number.parse().ok()?;
                let space = Space::ALL.into_iter().find(|s| s.number() == number)?;
                (user, space)
            }
        };
        Some(Self {
            user: checked_user(user)?.to_owned(),
            space,
            device: device.parse().ok()?,
        })
    }

    /// Reads `user.device`.
    pub(super) fn from_dotted(text: &str) -> Option<Self> {
        let (user, device) = text.rsplit_once('.')?;
        Self::from_baileys(user, device)
    }

    /// Reads the engine's form.
    pub(super) fn from_engine(text: &str) -> Option<Self> {
        let (user, server) = text.strip_suffix(".0")?.split_once('@')?;
        let space = Space::ALL.into_iter().find(|s| s.server() == server)?;
        let (user, device) = match user.split_once(':') {
            Some((user, device)) => (user, device.parse().ok()?),
            None => (user, 0),
        };
        Some(Self {
            user: checked_user(user)?.to_owned(),
            space,
            device,
        })
    }

    /// The user in Baileys' form.
    pub(super) fn baileys_user(&self, generation: Generation) -> String {
        match (self.space, generation) {
            (Space::Number, _) | (_, Generation::Six) => self.user.clone(),
            (Space::Lid | Space::HostedNumber | Space::HostedLid, Generation::Seven) => {
                format!("{}_{}", self.user, self.space.number())
            }
        }
    }
}

/// The engine's form.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.user)?;
        if self.device != 0 {
            write!(f, ":{}", self.device)?;
        }
        write!(f, "@{}.0", self.space.server())
    }
}

/// A user's digits.
pub(super) fn checked_user(user: &str) -> Option<&str> {
    let is_user = (1..=USER_LENGTH_MAX).contains(&user.len())
        && user.bytes().all(|byte| byte.is_ascii_digit());
    is_user.then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back() {
        for (baileys, engine) in [
            ("491701.0", "491701@c.us.0"),
            ("491701.2", "491701:2@c.us.0"),
            ("1234_1.2", "1234:2@lid.0"),
            ("1234_1.0", "1234@lid.0"),
            ("491701_128.99", "491701:99@hosted.0"),
        ] {
            let address = Address::from_dotted(baileys).unwrap();
            assert_eq!(address.to_string(), engine);
            assert_eq!(Address::from_engine(engine).unwrap(), address);
            let user = address.baileys_user(Generation::Seven);
            assert_eq!(format!("{user}.{}", address.device), baileys);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "", ".", "49", "x.0", "1_7.0", "1.70000", "../1.0", "1_1_1.0",
        ] {
            assert_eq!(Address::from_dotted(text), None, "{text}");
        }
        for text in ["1@c.us", "1@example.0", "@lid.0", "1:x@lid.0"] {
            assert_eq!(Address::from_engine(text), None, "{text}");
        }
    }
}
