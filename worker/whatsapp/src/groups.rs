//! Groups: what can be asked of WhatsApp about them, and what it answers.
//!
//! One request and one answer type, both plain data, so that a request can
//! cross the store from whichever worker took it to the one that owns the
//! account. [`Engine::group`](crate::Engine::group) carries one out.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Characters of a group's name, as WhatsApp allows.
pub const GROUP_SUBJECT_CHARS_MAX: usize = 100;

/// Characters of a group's description, as WhatsApp allows.
pub const GROUP_DESCRIPTION_CHARS_MAX: usize = 2_048;

/// People in one group, as WhatsApp allows for groups that are no communities.
pub const GROUP_MEMBERS_MAX: usize = 1_024;

/// Groups of one account that [`GroupRequest::List`] answers with at most.
pub const GROUPS_MAX: usize = 2_000;

/// What is asked. People and groups are named by address
/// (`…@s.whatsapp.net`, `…@lid`; `…@g.us`).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum GroupRequest {
    /// Makes a group. → [`GroupAnswer::Group`]
    Create {
        /// Its name.
        subject: String,
        /// Who is in it, beside this account.
        people: Vec<String>,
    },
    /// Every group that the account is in. → [`GroupAnswer::Groups`]
    List,
    /// One group. → [`GroupAnswer::Group`]
    Read {
        /// Which.
        group: String,
    },
    /// Changes who is in a group, or who is an admin. → [`GroupAnswer::People`]
    Members {
        /// Which group.
        group: String,
        /// What is done.
        change: MemberChange,
        /// With whom.
        people: Vec<String>,
    },
    /// Gives a group another name. → [`GroupAnswer::Done`]
    Subject {
        /// Which group.
        group: String,
        /// The name.
        subject: String,
    },
    /// Describes a group, or no longer. → [`GroupAnswer::Done`]
    Description {
        /// Which group.
        group: String,
        /// The description.
        text: Option<String>,
    },
    /// Whether only admins write. → [`GroupAnswer::Done`]
    Announcement {
        /// Which group.
        group: String,
        /// They only.
        on: bool,
    },
    /// Whether only admins change name and description. → [`GroupAnswer::Done`]
    Locked {
        /// Which group.
        group: String,
        /// They only.
        on: bool,
    },
    /// After how many seconds messages disappear; 0 for never. →
    /// [`GroupAnswer::Done`]
    Timer {
        /// Which group.
        group: String,
        /// Seconds.
        seconds: u32,
    },
    /// The link that lets people in. → [`GroupAnswer::Invitation`]
    Invitation {
        /// Which group.
        group: String,
        /// The one before is of no use any more.
        renew: bool,
    },
    /// Goes into a group by a link or its code. → [`GroupAnswer::Joined`]
    Join {
        /// The link or its code.
        invitation: String,
    },
    /// Goes out of a group. → [`GroupAnswer::Done`]
    Leave {
        /// Which group.
        group: String,
    },
}

/// What is done with people of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MemberChange {
    /// They come in.
    Add,
    /// They go out.
    Remove,
    /// They become admins.
    Promote,
    /// They are admins no longer.
    Demote,
}

/// What WhatsApp answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum GroupAnswer {
    /// A group.
    Group {
        /// As it is now.
        group: Box<GroupInfo>,
    },
    /// Groups, [`GROUPS_MAX`] at most.
    Groups {
        /// As they are now.
        groups: Vec<GroupInfo>,
        /// There are more.
        more: bool,
    },
    /// What became of each person.
    People {
        /// In the order of the answer.
        people: Vec<PersonOutcome>,
    },
    /// A link.
    Invitation {
        /// `https://chat.whatsapp.com/…`
        link: String,
    },
    /// A group was joined.
    Joined {
        /// Which.
        group: String,
        /// An admin has to agree first.
        waiting: bool,
    },
    /// It was done.
    Done,
}

/// What became of one person.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PersonOutcome {
    /// The person's address, by number where it is known.
    pub address: String,
    /// WhatsApp's code, if it was not done: 403 wants an invitation, 404 is not
    /// there, 408 left lately, 409 is in it already, 419 finds it full.
    pub error: Option<String>,
}

/// A group as WhatsApp tells it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupInfo {
    /// Its address.
    pub jid: String,
    /// Its name.
    pub subject: String,
    /// What it is about.
    pub description: Option<String>,
    /// Who made it.
    pub owner: Option<String>,
    /// When.
    pub created_at: Option<DateTime<Utc>>,
    /// Only admins write.
    pub announcement: bool,
    /// Only admins change name and description.
    pub locked: bool,
    /// Messages disappear after so many seconds.
    pub timer_seconds: Option<u32>,
    /// It holds other groups, and no messages.
    pub community: bool,
    /// How many people are in it, as the server says.
    pub size: u32,
    /// Who is in it, [`GROUP_MEMBERS_MAX`] at most.
    pub members: Vec<GroupMember>,
}

/// Somebody in a group.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    /// The address by phone number, where it is known.
    pub pn: Option<String>,
    /// The address by LID, where it is known.
    pub lid: Option<String>,
    /// What they may do.
    pub rank: GroupRank,
}

/// What somebody may do in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GroupRank {
    /// Write, where all may.
    Member,
    /// Change it.
    Admin,
    /// Change it; nobody can take that away.
    Owner,
}

/// What happened in a group, in a word; what it is like now is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupNews {
    /// It is new, or this account is new in it.
    Created,
    /// People came.
    Added,
    /// People left or were taken out.
    Removed,
    /// Somebody became an admin.
    Promoted,
    /// Somebody is an admin no longer.
    Demoted,
    /// Another name.
    Subject,
    /// Another description.
    Description,
    /// Another setting.
    Settings,
    /// It is no more.
    Deleted,
}

impl GroupNews {
    /// The name in events.
    pub fn as_str(self) -> &'static str {
        match self {
            GroupNews::Created => "created",
            GroupNews::Added => "added",
            GroupNews::Removed => "removed",
            GroupNews::Promoted => "promoted",
            GroupNews::Demoted => "demoted",
            GroupNews::Subject => "subject",
            GroupNews::Description => "description",
            GroupNews::Settings => "settings",
            GroupNews::Deleted => "deleted",
        }
    }
}

/// Why a request was not carried out. No variant names anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum GroupError {
    /// Not connected, or not any more.
    #[error("not connected to WhatsApp")]
    NotConnected,
    /// No answer within the limit. It may have been done.
    #[error("WhatsApp did not answer in time")]
    TimedOut,
    /// WhatsApp does not do it: 401 and 403 for lack of the right, 404 for a
    /// group that is not there, 406 for what it does not accept, 409 for what
    /// somebody else changed meanwhile, 429 for asking too often.
    #[error("WhatsApp refuses it ({code})")]
    Refused {
        /// Its code.
        code: u16,
    },
    /// It makes no sense to WhatsApp or to the engine.
    #[error("the request cannot be carried out like this")]
    Invalid,
    /// The engine failed.
    #[error("the WhatsApp engine failed")]
    Internal,
}

impl GroupRequest {
    /// The group that it changes, which is asked for again after it.
    pub fn changes(&self) -> Option<&str> {
        match self {
            Self::Members { group, .. }
            | Self::Subject { group, .. }
            | Self::Description { group, .. }
            | Self::Announcement { group, .. }
            | Self::Locked { group, .. }
            | Self::Timer { group, .. } => Some(group),
            Self::Create { .. }
            | Self::List
            | Self::Read { .. }
            | Self::Invitation { .. }
            | Self::Join { .. }
            | Self::Leave { .. } => None,
        }
    }
}

// Names, numbers and links are people's own and stay out of logs.
impl fmt::Debug for GroupRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupRequest(…)")
    }
}

impl fmt::Debug for GroupAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupAnswer(…)")
    }
}

impl fmt::Debug for PersonOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonOutcome({:?})", self.error)
    }
}

impl fmt::Debug for GroupInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupInfo({} members)", self.members.len())
    }
}

impl fmt::Debug for GroupMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupMember({:?})", self.rank)
    }
}
