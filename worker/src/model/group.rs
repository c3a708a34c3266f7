//! A group that an account is, or was, in.

use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use whatsapp::groups::GroupRank;

use super::stored::Stored;

/// `groups/{id}`, with the id of the group's thread. Written by the owner from
/// what WhatsApp says; bounded by
/// [`GROUP_MEMBERS_MAX`](whatsapp::groups::GROUP_MEMBERS_MAX) members.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupDoc {
    /// Whose group.
    pub account_id: String,
    /// Its address, `…@g.us`.
    pub jid: String,
    /// Its name.
    pub subject: String,
    /// What it is about.
    #[serde(default)]
    pub description: Option<String>,
    /// Who made it, by address.
    #[serde(default)]
    pub owner: Option<String>,
    /// When.
    #[serde(default)]
    pub created_at: Option<StoreTime>,
    /// Only admins write.
    pub announcement: bool,
    /// Only admins change name and description.
    pub locked: bool,
    /// Messages disappear after so many seconds.
    #[serde(default)]
    pub timer_seconds: Option<i64>,
    /// It holds other groups, and no messages.
    pub community: bool,
    /// The account is in it.
    pub joined: bool,
    /// How many people are in it; more than `members` in the largest ones.
    pub size: i64,
    /// Who is in it.
    #[serde(default)]
    pub members: Vec<MemberDoc>,
}

impl Stored for GroupDoc {}

/// Somebody in a group.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = GroupMember)]
pub struct MemberDoc {
    /// The address by phone number, where it is known.
    #[serde(default)]
    pub pn: Option<String>,
    /// The address by LID, where it is known.
    #[serde(default)]
    pub lid: Option<String>,
    /// What they may do.
    pub rank: GroupRank,
}

impl GroupDoc {
    /// The number's address of whoever has this LID in the group.
    pub fn number_of(&self, lid: &str) -> Option<&str> {
        let known = |member: &&MemberDoc| member.lid.as_deref() == Some(lid);
        self.members.iter().find(known)?.pn.as_deref()
    }

    /// The LID of whoever has this number's address in the group.
    pub fn lid_of(&self, number: &str) -> Option<&str> {
        let known = |member: &&MemberDoc| member.pn.as_deref() == Some(number);
        self.members.iter().find(known)?.lid.as_deref()
    }
}

/// Who has got a message of ours in a group, and who has read it:
/// `receipts/{id}`, with the id of the stored message.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptsDoc {
    /// Whose message.
    pub account_id: String,
    /// In which thread.
    pub thread_id: String,
    /// By person, in the order of their first receipts;
    /// [`RECEIPTS_MAX`] at most.
    #[serde(default)]
    pub people: Vec<PersonReceipts>,
}

/// People whose receipts one message has: as many as a group has members.
pub const RECEIPTS_MAX: usize = whatsapp::groups::GROUP_MEMBERS_MAX;

impl Stored for ReceiptsDoc {}

/// What one person's devices said about a message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonReceipts {
    /// Who, by address.
    pub by: String,
    /// When a device of theirs had it.
    #[serde(default)]
    pub delivered_at: Option<StoreTime>,
    /// When they had read it.
    #[serde(default)]
    pub read_at: Option<StoreTime>,
    /// When they had played it.
    #[serde(default)]
    pub played_at: Option<StoreTime>,
}

/// What a receipt says of one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A device has it.
    Delivered,
    /// It was read.
    Read,
    /// It was played.
    Played,
}

impl ReceiptsDoc {
    /// Notes a receipt. False if it says nothing new, or there is no more room.
    pub fn note(&mut self, by: &str, seen: Seen, at: StoreTime) -> bool {
        let place = match self.people.iter().position(|known| known.by == by) {
            Some(place) => place,
            None if self.people.len() >= RECEIPTS_MAX => return false,
            None => {
                self.people.push(PersonReceipts {
                    by: by.to_owned(),
                    delivered_at: None,
                    read_at: None,
                    played_at: None,
                });
                self.people.len() - 1
            }
        };
        let person = &mut self.people[place];
        let field = match seen {
            Seen::Delivered => &mut person.delivered_at,
            Seen::Read => &mut person.read_at,
            Seen::Played => &mut person.played_at,
        };
        match field {
            Some(_) => false,
            None => {
                *field = Some(at);
                true
            }
        }
    }
}

// Names and numbers are people's own and stay out of logs.
impl std::fmt::Debug for GroupDoc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupDoc({} members)", self.members.len())
    }
}

impl std::fmt::Debug for ReceiptsDoc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReceiptsDoc({} people)", self.people.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_receipt_of_each_kind_and_person_holds() {
        let at = StoreTime::from_micros;
        let mut doc = ReceiptsDoc::default();
        assert!(doc.note("ada", Seen::Delivered, at(1)));
        assert!(!doc.note("ada", Seen::Delivered, at(2)), "another device");
        assert!(doc.note("bob", Seen::Read, at(3)));
        assert!(doc.note("ada", Seen::Read, at(4)));
        assert_eq!(doc.people.len(), 2);
        assert_eq!(
            (doc.people[0].delivered_at, doc.people[0].read_at),
            (Some(at(1)), Some(at(4)))
        );
        assert_eq!(doc.people[1].delivered_at, None);
    }

    #[test]
    fn receipts_are_bounded() {
        let mut doc = ReceiptsDoc::default();
        for n in 0..RECEIPTS_MAX {
            assert!(doc.note(&n.to_string(), Seen::Delivered, StoreTime::from_micros(1)));
        }
        assert!(!doc.note("one more", Seen::Delivered, StoreTime::from_micros(1)));
        assert_eq!(doc.people.len(), RECEIPTS_MAX);
        let bytes = coordinator_lib::store::limits::document_bytes(
            &crate::model::collections::receipts("wam_1").unwrap(),
            &doc.to_document().unwrap(),
        );
        assert!(
            bytes < coordinator_lib::store::limits::DOCUMENT_BYTES_MAX / 4,
            "{bytes}"
        );
    }
}
