//! Who is who: one thread a peer, one document a message.
//!
//! WhatsApp names a peer by phone number (`…@s.whatsapp.net`) or by LID
//! (`…@lid`), and the same message may come under either. A thread is made for
//! the phone number where it is known. A message's document id is made from
//! its *thread*, so that it does not depend on which of the two a repetition
//! came under.
//!
//! Pure.

use coordinator_lib::store::StoreTime;

use whatsapp::Content;

use crate::model::{ThreadDoc, ThreadKind};

/// The sender of what this account wrote, here or on its phone.
pub const ME: &str = "me";

/// The sender of what the one peer of a direct chat wrote.
pub const PEER: &str = "peer";

/// Characters of a thread's preview.
const PREVIEW_CHARS_MAX: usize = 120;

/// An address without its device: `1234:5@lid` → `1234@lid`.
pub fn bare(address: &str) -> String {
    match address.split_once('@') {
        Some((user, server)) => {
            let user = user.split([':', '_']).next().unwrap_or(user);
            let server = if server == "c.us" {
                "s.whatsapp.net"
            } else {
                server
            };
            format!("{user}@{server}")
        }
        None => address.to_owned(),
    }
}

/// Whether an address is a LID.
pub fn is_lid(address: &str) -> bool {
    address.ends_with("@lid")
}

/// Whether an address is a phone number's.
pub fn is_pn(address: &str) -> bool {
    address.ends_with("@s.whatsapp.net")
}

/// The addresses of one chat, as far as they are known.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// By phone number; of a direct chat only.
    pub pn: Option<String>,
    /// By LID; of a direct chat only.
    pub lid: Option<String>,
    /// The address as it came: of a group the only one.
    pub chat: String,
}

impl Peer {
    /// From the chat's address and, for a direct chat, others of the same peer.
    pub fn new<'a>(chat: &str, others: impl IntoIterator<Item = &'a str>) -> Self {
        let chat = bare(chat);
        let mut peer = Self {
            pn: None,
            lid: None,
            chat,
        };
        if ThreadKind::of(&peer.chat) == ThreadKind::Direct {
            for address in std::iter::once(peer.chat.clone()).chain(others.into_iter().map(bare)) {
                if is_pn(&address) {
                    peer.pn.get_or_insert(address);
                } else if is_lid(&address) {
                    peer.lid.get_or_insert(address);
                }
            }
        }
        peer
    }

    /// The address that a new thread is made for.
    pub fn preferred(&self) -> &str {
        self.pn
            .as_deref()
            .or(self.lid.as_deref())
            .unwrap_or(&self.chat)
    }

    /// Every address that an existing thread may have been made for, the
    /// preferred one first.
    pub fn addresses(&self) -> Vec<&str> {
        let mut addresses: Vec<&str> = [self.pn.as_deref(), self.lid.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        if !addresses.contains(&self.chat.as_str()) {
            addresses.push(&self.chat);
        }
        addresses
    }
}

/// Names nobody.
impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").finish_non_exhaustive()
    }
}

/// What tells senders within one thread apart: for [`crate::model::ids::message`].
pub fn sender_key(
    kind: ThreadKind,
    sender: &str,
    sender_other: Option<&str>,
    from_me: bool,
) -> String {
    if from_me {
        return ME.to_owned();
    }
    match kind {
        ThreadKind::Direct => PEER.to_owned(),
        ThreadKind::Group | ThreadKind::Status | ThreadKind::Other => {
            let sender = bare(sender);
            let other = sender_other.map(bare).filter(|other| is_pn(other));
            other.unwrap_or(sender)
        }
    }
}

/// A thread without messages.
pub fn new_thread(account_id: &str, chat: &str, now: StoreTime) -> ThreadDoc {
    let peer = Peer::new(chat, []);
    ThreadDoc {
        account_id: account_id.to_owned(),
        chat: peer.chat.clone(),
        kind: ThreadKind::of(&peer.chat),
        pn: peer.pn,
        lid: peer.lid,
        title: None,
        title_key: None,
        last_message_at: now,
        last_message_preview: None,
        last_message_id: None,
        unread: 0,
        answered: false,
        timer_seconds: None,
        archived: false,
        merging: false,
        merging_into: None,
        pending: false,
        read_pending: false,
        typing_pending: None,
        presence_pending: false,
        typing_at: None,
        history_messages: 0,
        created_at: now,
    }
}

/// The start of a message, on one line.
#[derive(Clone, PartialEq, Eq)]
pub struct Preview(String);

impl Preview {
    /// Of a text.
    pub fn of(text: &str) -> Self {
        let line = text.chars().take(PREVIEW_CHARS_MAX);
        Self(line.map(|c| if c.is_control() { ' ' } else { c }).collect())
    }

    /// Of what a message holds.
    pub fn of_content(content: &Content) -> Self {
        content
            .text()
            .map_or_else(|| Self::of_kind(content.name()), Self::of)
    }

    /// Of a message that is no text.
    pub fn of_kind(kind: &str) -> Self {
        Self(format!("[{kind}]"))
    }
}

impl From<Preview> for String {
    fn from(preview: Preview) -> String {
        preview.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PN: &str = "491701234567@s.whatsapp.net";
    const LID: &str = "99887766@lid";

    #[test]
    fn devices_and_old_servers_are_left_out() {
        assert_eq!(bare("491701234567:12@s.whatsapp.net"), PN);
        assert_eq!(bare("491701234567@c.us"), PN);
        assert_eq!(bare("99887766:3@lid"), LID);
        assert_eq!(bare("1203630@g.us"), "1203630@g.us");
    }

    #[test]
    fn a_peer_is_the_same_under_either_address() {
        let by_lid = Peer::new("99887766:3@lid", [PN]);
        let by_pn = Peer::new(PN, [LID]);
        assert_eq!((by_lid.preferred(), by_pn.preferred()), (PN, PN));
        assert_eq!(by_lid.addresses(), [PN, LID]);
        assert_eq!(by_lid.addresses(), by_pn.addresses());
        assert_eq!(Peer::new(LID, []).preferred(), LID);
    }

    #[test]
    fn a_group_has_one_address_whoever_writes() {
        let group = Peer::new("1203630@g.us", [PN]);
        assert_eq!(
            (group.preferred(), group.addresses()),
            ("1203630@g.us", vec!["1203630@g.us"])
        );
    }

    #[test]
    fn senders_are_told_apart_only_where_there_are_several() {
        let key = |kind, from_me| sender_key(kind, "99887766:3@lid", Some(PN), from_me);
        assert_eq!(key(ThreadKind::Direct, false), "peer");
        assert_eq!(key(ThreadKind::Direct, true), "me");
        assert_eq!(key(ThreadKind::Group, false), PN);
    }

    #[test]
    fn a_preview_is_short_and_has_one_line() {
        let preview: String = Preview::of(&"a\nü".repeat(100)).into();
        assert_eq!(preview.chars().count(), PREVIEW_CHARS_MAX);
        assert!(!preview.contains('\n'));
    }
}
