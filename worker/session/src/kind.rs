//! What an account's session consists of: kinds of records, and the families
//! of files that they are packed into.
//!
//! Records that change together share a family, so that a flush after a message
//! is few writes. Numbers and names here are stored: never reuse or change one.

use std::fmt;
use std::str::FromStr;

/// A kind of record. The key and value of each are the engine adapter's choice;
/// what it is to choose stands beside each. Keys are unique within a kind;
/// where a key has parts, they are joined with a 0 byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The engine's device, as it serialises it. One record, empty key.
    Device = 1,
    /// Signal address → session.
    Sessions = 2,
    /// Signal address → identity key, 32 bytes.
    Identities = 3,
    /// Signal address, message id → base key.
    BaseKeys = 4,
    /// Chat, sender, message id → [`proto::session::PendingMessage`].
    Pending = 5,
    /// Id, 4 bytes big-endian → [`proto::session::PreKey`].
    PreKeys = 6,
    /// Id, 4 bytes big-endian → signed prekey.
    SignedPreKeys = 7,
    /// Group and sender's address → sender key.
    SenderKeys = 8,
    /// Group → [`proto::session::SenderKeyDevices`].
    SenderKeyDevices = 9,
    /// Group → what the engine knows of it, as it serialises it.
    GroupMetadata = 10,
    /// Key id → [`proto::session::AppSyncKey`].
    AppSyncKeys = 11,
    /// Collection → [`proto::session::HashState`].
    HashStates = 12,
    /// Collection, index MAC → [`proto::session::MutationMac`].
    MutationMacs = 13,
    /// LID → [`proto::session::LidMapping`].
    LidMappings = 14,
    /// Phone number → the LID that it had last.
    PnMappings = 15,
    /// User → [`proto::session::DeviceList`].
    DeviceLists = 16,
    /// User → [`proto::session::TcToken`].
    TcTokens = 17,
    /// Chat, message id → [`proto::session::SentMessage`].
    SentMessages = 18,
    /// Chat, sender, message id → [`proto::session::MsgSecret`].
    MsgSecrets = 19,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Kind; 19] = [
        Kind::Device,
        Kind::Sessions,
        Kind::Identities,
        Kind::BaseKeys,
        Kind::Pending,
        Kind::PreKeys,
        Kind::SignedPreKeys,
        Kind::SenderKeys,
        Kind::SenderKeyDevices,
        Kind::GroupMetadata,
        Kind::AppSyncKeys,
        Kind::HashStates,
        Kind::MutationMacs,
        Kind::LidMappings,
        Kind::PnMappings,
        Kind::DeviceLists,
        Kind::TcTokens,
        Kind::SentMessages,
        Kind::MsgSecrets,
    ];

    /// The number under which the kind is stored.
    pub fn number(self) -> u32 {
        self as u32
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The family of files that holds records of this kind, but for
    /// [young](Family::young) ones.
    pub fn family(self) -> Family {
        match self {
            Kind::Device => Family::Device,
            Kind::Sessions | Kind::Identities | Kind::BaseKeys => Family::Peers,
            Kind::Pending => Family::Pending,
            Kind::PreKeys | Kind::SignedPreKeys => Family::PreKeys,
            Kind::SenderKeys => Family::SenderKeys,
            Kind::SenderKeyDevices | Kind::GroupMetadata => Family::Groups,
            Kind::AppSyncKeys | Kind::HashStates | Kind::MutationMacs => Family::AppState,
            Kind::LidMappings | Kind::PnMappings | Kind::DeviceLists | Kind::TcTokens => {
                Family::Contacts
            }
            Kind::SentMessages => Family::Sent,
            Kind::MsgSecrets => Family::Secrets,
        }
    }
}

/// A family of files: one file, or the parts that it was split into.
///
/// The order is the order in which a flush that is too large for one commit is
/// written: a decrypted message before the ratchet that can decrypt it no more,
/// a session before the removal of the prekey that it was made with, a record in
/// its place before its removal from the young ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// Decrypted messages that nobody has stored yet.
    Pending,
    /// Sessions and identities of peers.
    Peers,
    /// Our prekeys.
    PreKeys,
    /// The device itself.
    Device,
    /// Sender keys of groups.
    SenderKeys,
    /// Groups, and who has our sender key.
    Groups,
    /// App state sync.
    AppState,
    /// Who is who: mappings, device lists, tokens.
    Contacts,
    /// Messages sent lately, for retries.
    Sent,
    /// Secrets of messages, for later reactions, votes and edits.
    Secrets,
    /// The latest of [`Family::Sent`].
    YoungSent,
    /// The latest of [`Family::Secrets`].
    YoungSecrets,
}

impl Family {
    /// All families, in order.
    pub const ALL: [Family; 12] = [
        Family::Pending,
        Family::Peers,
        Family::PreKeys,
        Family::Device,
        Family::SenderKeys,
        Family::Groups,
        Family::AppState,
        Family::Contacts,
        Family::Sent,
        Family::Secrets,
        Family::YoungSent,
        Family::YoungSecrets,
    ];

    /// Whether the family belongs to the Signal state that one inbound message
    /// changes: what is dirty of these goes into one commit.
    pub(crate) fn is_core(self) -> bool {
        match self {
            Family::Pending | Family::Peers | Family::PreKeys => true,
            Family::Device
            | Family::SenderKeys
            | Family::Groups
            | Family::AppState
            | Family::Contacts
            | Family::Sent
            | Family::Secrets
            | Family::YoungSent
            | Family::YoungSecrets => false,
        }
    }

    /// The family that a new record is put into first, if not into this one.
    /// Every message adds a record here, by its hash to any of many files; while
    /// it is young, it is in one small file with the others.
    pub(crate) fn young(self) -> Option<Self> {
        match self {
            Family::Sent => Some(Family::YoungSent),
            Family::Secrets => Some(Family::YoungSecrets),
            Family::Pending
            | Family::Peers
            | Family::PreKeys
            | Family::Device
            | Family::SenderKeys
            | Family::Groups
            | Family::AppState
            | Family::Contacts
            | Family::YoungSent
            | Family::YoungSecrets => None,
        }
    }

    /// The families that have young ones, each with these.
    pub(crate) fn with_young() -> impl Iterator<Item = (Self, Self)> {
        let families = Self::ALL.into_iter();
        families.filter_map(|family| Some((family, family.young()?)))
    }

    /// Whether it is the young one of another.
    pub(crate) fn is_young(self) -> bool {
        Self::with_young().any(|(_, young)| young == self)
    }

    /// Whether its files may hold records of a kind.
    pub(crate) fn holds(self, kind: Kind) -> bool {
        let family = kind.family();
        family == self || family.young() == Some(self)
    }

    /// Whether a change may be stored a little later than what came with it:
    /// nothing that is sent or acknowledged depends on what every message adds.
    pub(crate) fn may_wait(self) -> bool {
        self.young().is_some() || self.is_young()
    }

    /// The name of its first file.
    pub fn name(self) -> &'static str {
        match self {
            Family::Pending => "pending",
            Family::Peers => "peers",
            Family::PreKeys => "prekeys",
            Family::Device => "device",
            Family::SenderKeys => "senderkeys",
            Family::Groups => "groups",
            Family::AppState => "appstate",
            Family::Contacts => "contacts",
            Family::Sent => "sent",
            Family::Secrets => "secrets",
            Family::YoungSent => "youngsent",
            Family::YoungSecrets => "youngsecrets",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Family {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|family| family.name() == name)
            .ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_read_back() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.number() as usize, index + 1);
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(Kind::from_number(0), None);
        assert_eq!(Kind::from_number(20), None);
        for (index, family) in Family::ALL.into_iter().enumerate() {
            assert_eq!(family as usize, index);
            assert_eq!(family.name().parse(), Ok(family));
        }
    }

    #[test]
    fn what_moves_is_written_in_its_place_first() {
        for (family, young) in Family::with_young() {
            assert!(family < young && young.is_young() && !family.is_young());
        }
    }

    #[test]
    fn every_family_holds_some_kind() {
        for family in Family::ALL {
            let mut kinds = Kind::ALL.into_iter();
            assert!(kinds.any(|kind| family.holds(kind)), "{family}");
        }
    }
}
