//! What a file is, by its name: `type-id`, with `/` as `__` and `:` as `-`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::address::{Address, checked_user};
use super::fault::Fault;
use super::report::Part;

/// Longest name: a group, a user, a device and the type are far below.
const NAME_BYTES_MAX: usize = 256;
/// Of a prekey: WhatsApp has three bytes for it.
const PREKEY_ID_MAX: u32 = 0x00ff_ffff;

/// The types, longer ones before those that they begin with.
const TYPES: [(&str, Part); 10] = [
    ("app-state-sync-version-", Part::AppStateVersions),
    ("app-state-sync-key-", Part::AppStateKeys),
    ("sender-key-memory-", Part::SenderKeyMemory),
    ("sender-key-", Part::SenderKeys),
    ("identity-key-", Part::Identities),
    ("lid-mapping-", Part::LidMappings),
    ("device-list-", Part::DeviceLists),
    ("tctoken-", Part::TcTokens),
    ("pre-key-", Part::PreKeys),
    ("session-", Part::Sessions),
];

/// What a file's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Creds,
    PreKey(u32),
    Session(Address),
    SenderKey {
        group: String,
        sender: Address,
    },
    Identity(Address),
    AppStateKey(Vec<u8>),
    /// Number → LID.
    LidMapping(String),
    /// LID → number.
    ReverseMapping(String),
    /// Of a user, with or without a server.
    TcToken(String),
    /// Part of the session, but not taken along.
    LeftOut,
}

/// Which part of the session a file belongs to.
pub(super) fn part(name: &str) -> Part {
    if name == "creds" {
        return Part::Creds;
    }
    TYPES
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .map_or(Part::Unknown, |(_, part)| *part)
}

/// Reads a name.
pub(super) fn read(name: &str) -> Result<Entry, Fault> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Fault::Name);
    }
    let id = TYPES
        .iter()
        .find_map(|(prefix, _)| name.strip_prefix(prefix))
        .unwrap_or_default();
    let entry = match part(name) {
        Part::Creds => Some(Entry::Creds),
        Part::PreKeys => prekey_id(id).map(Entry::PreKey),
        Part::Sessions => Address::from_dotted(id).map(Entry::Session),
        Part::Identities => Address::from_dotted(id).map(Entry::Identity),
        Part::SenderKeys => sender_key(id),
        Part::AppStateKeys => app_state_key(id),
        Part::LidMappings => mapping(id),
        Part::TcTokens => tc_token(id),
        Part::AppStateVersions | Part::DeviceLists | Part::SenderKeyMemory | Part::Unknown => {
            Some(Entry::LeftOut)
        }
    };
    entry.ok_or(Fault::Name)
}

fn prekey_id(id: &str) -> Option<u32> {
    id.parse()
        .ok()
        .filter(|id| (1..=PREKEY_ID_MAX).contains(id))
}

/// `group::user::device`; a group's id may hold a hyphen itself.
fn sender_key(id: &str) -> Option<Entry> {
    let separator = if id.contains("::") { "::" } else { "--" };
    let mut parts = id.rsplitn(3, separator);
    let (device, user, group) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Entry::SenderKey {
        group: checked_group(group)?.to_owned(),
        sender: Address::from_baileys(user, device)?,
    })
}

/// A group, or whoever sees one's status messages.
pub(super) fn checked_group(group: &str) -> Option<&str> {
    let (id, server) = group.split_once('@')?;
    let is_group = match server {
        "g.us" => !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit() || b == b'-'),
        "broadcast" => id == "status" || checked_user(id).is_some(),
        _ => false,
    };
    is_group.then_some(group)
}

fn app_state_key(id: &str) -> Option<Entry> {
    let id = BASE64.decode(id.replace("__", "/")).ok()?;
    (!id.is_empty() && id.len() <= 64).then_some(Entry::AppStateKey(id))
}

fn mapping(id: &str) -> Option<Entry> {
    Some(match id.strip_suffix("_reverse") {
        Some(lid) => Entry::ReverseMapping(checked_user(lid)?.to_owned()),
        None => Entry::LidMapping(checked_user(id)?.to_owned()),
    })
}

/// `user@server`; `__index` is a list of them all.
fn tc_token(id: &str) -> Option<Entry> {
    if id == "__index" || id == "/index" {
        return Some(Entry::LeftOut);
    }
    let user = id.split_once('@').map_or(id, |(user, _)| user);
    Some(Entry::TcToken(checked_user(user)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_is() {
        let sender = Address::from_dotted("1234_1.3").unwrap();
        let group = |group: &str| Entry::SenderKey {
            group: group.to_owned(),
            sender: sender.clone(),
        };
        for (name, entry) in [
            ("creds", Entry::Creds),
            ("pre-key-7", Entry::PreKey(7)),
            ("session-1234_1.3", Entry::Session(sender.clone())),
            ("identity-key-1234_1.3", Entry::Identity(sender.clone())),
            ("sender-key-120363@g.us--1234_1--3", group("120363@g.us")),
            (
                "sender-key-49170-1500@g.us--1234_1--3",
                group("49170-1500@g.us"),
            ),
            ("sender-key-120363@g.us::1234_1::3", group("120363@g.us")),
            ("sender-key-memory-120363@g.us", Entry::LeftOut),
            (
                "app-state-sync-key-AAAA__w==",
                Entry::AppStateKey(vec![0, 0, 0, 255]),
            ),
            ("app-state-sync-version-regular", Entry::LeftOut),
            ("lid-mapping-49170", Entry::LidMapping("49170".into())),
            (
                "lid-mapping-1234_reverse",
                Entry::ReverseMapping("1234".into()),
            ),
            ("tctoken-1234@lid", Entry::TcToken("1234".into())),
            ("tctoken-__index", Entry::LeftOut),
            ("device-list-49170", Entry::LeftOut),
            ("something-else", Entry::LeftOut),
        ] {
            assert_eq!(read(name).unwrap(), entry, "{name}");
        }
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for name in [
            "pre-key-0",
            "pre-key-99999999",
            "pre-key-x",
            "session-",
            "session-../../etc.0",
            "sender-key-120363@g.us--1234_1",
            "sender-key-nobody--1--0",
            "app-state-sync-key-!",
            "lid-mapping-x",
            "tctoken-x@lid",
        ] {
            assert!(matches!(read(name), Err(Fault::Name)), "{name}");
        }
        assert!(matches!(read(&"1".repeat(300)), Err(Fault::Name)));
    }
}
