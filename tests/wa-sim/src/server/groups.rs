//! Groups: who is in them, and what their members change.
//!
//! Members are named by number here; clients are told hidden identities, with
//! the number beside them, as in groups of today. [`World::change_group`] is the
//! one way to change a group: it checks the right to do so and tells every
//! device of every member, also of those who have just left.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use rand::RngExt as _;

use super::{
    account::DeviceId,
    mailbox::{Address, Class},
    stanza::fresh_id,
    world::World,
};
use crate::wire::{
    Jid, Node,
    jid::{SERVER_GROUP, SERVER_LID, SERVER_PN},
};

/// Members of one group.
pub const GROUP_MEMBERS_MAX: usize = 1_024;

/// Characters of a subject and of a description.
const SUBJECT_CHARS_MAX: usize = 100;
const DESCRIPTION_CHARS_MAX: usize = 2_048;

/// Ciphertexts of a group that are kept for those who want to try to read them.
const OVERHEARD_MAX: usize = 64;

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    Member,
    Admin,
    /// Made the group; cannot be demoted.
    Creator,
}

impl Rank {
    /// The value of `type`; members have none.
    fn name(self) -> Option<&'static str> {
        match self {
            Rank::Member => None,
            Rank::Admin => Some("admin"),
            Rank::Creator => Some("superadmin"),
        }
    }

    fn is_admin(self) -> bool {
        self != Rank::Member
    }
}

/// A text with its author.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) id: String,
    body: String,
    by: Arc<str>,
    at: u64,
}

/// A message as it passed, to be tried by somebody who did not get it.
#[derive(Clone, Debug)]
pub struct Overheard {
    /// Who sent it.
    pub from: DeviceId,
    /// Its id.
    pub id: String,
    /// The ciphertext for the whole group.
    pub bytes: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: String,
    subject: String,
    subject_by: Arc<str>,
    subject_at: u64,
    pub(crate) description: Option<Description>,
    creator: Arc<str>,
    created_at: u64,
    pub(crate) members: BTreeMap<Arc<str>, Rank>,
    /// Only admins write.
    pub(crate) is_announcement: bool,
    /// Only admins change subject and description.
    is_locked: bool,
    /// Messages disappear after so many seconds; 0 for never.
    timer_seconds: u32,
    pub(crate) invite: String,
    pub(crate) overheard: VecDeque<Overheard>,
}

/// Something that a member changes.
#[derive(Clone, Debug)]
pub(crate) enum GroupChange {
    Add(Vec<Jid>),
    Remove(Vec<Jid>),
    Promote(Vec<Jid>),
    Demote(Vec<Jid>),
    Leave,
    /// With the invitation's code.
    Join,
    Subject(String),
    /// The new description's id and text, and the id of the one before.
    Description {
        text: Option<(String, String)>,
        before: Option<String>,
    },
    Announcement(bool),
    Locked(bool),
    Timer(u32),
    NewInvite,
}

/// Why a group is not changed or shown: the error's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupRefusal {
    #[error("no such group, or not a member of it")]
    NotFound,
    #[error("not allowed to do that")]
    Forbidden,
    #[error("not acceptable")]
    NotAcceptable,
    #[error("somebody else changed it meanwhile")]
    Conflict,
}

impl GroupRefusal {
    /// The protocol's code.
    pub(crate) fn code(self) -> u16 {
        match self {
            GroupRefusal::NotFound => 404,
            GroupRefusal::Forbidden => 403,
            GroupRefusal::NotAcceptable => 406,
            GroupRefusal::Conflict => 409,
        }
    }
}

/// What became of one person in a change: an error's code, if it failed.
type Affected = (Jid, Option<u16>);

impl Group {
    /// Its address.
    pub(crate) fn jid(&self) -> Jid {
        Jid::new(&self.id, SERVER_GROUP)
    }

    fn rank(&self, member: &str) -> Result<Rank, GroupRefusal> {
        let rank = self.members.get(member).copied();
        rank.ok_or(GroupRefusal::NotFound)
    }
}

impl World {
    /// Makes a group; unknown numbers are passed over, as WhatsApp does.
    pub(crate) fn create_group(
        &mut self,
        creator: &Arc<str>,
        subject: &str,
        others: &[Jid],
    ) -> Result<String, GroupRefusal> {
        if subject.is_empty() || subject.chars().count() > SUBJECT_CHARS_MAX {
            return Err(GroupRefusal::NotAcceptable);
        }
        let mut members: BTreeMap<Arc<str>, Rank> = others
            .iter()
            .filter_map(|jid| self.account_of(jid))
            .map(|account| (Arc::clone(&account.number), Rank::Member))
            .take(GROUP_MEMBERS_MAX - 1)
            .collect();
        members.insert(Arc::clone(creator), Rank::Creator);
        #[allow(clippy::disallowed_methods, reason = "a test program")]
        let number: u64 = rand::rng().random_range(0..1_000_000_000_000);
        let now = self.clock.stamp();
        let group = Group {
            id: format!("120363{number:012}"),
            subject: subject.to_owned(),
            subject_by: Arc::clone(creator),
            subject_at: now,
            description: None,
            creator: Arc::clone(creator),
            created_at: now,
            members,
            is_announcement: false,
            is_locked: false,
            timer_seconds: 0,
            invite: fresh_id("IN"),
            overheard: VecDeque::new(),
        };
        let id = group.id.clone();
        let shown = Node::new("create").child(self.group_node(&group));
        let told: Vec<_> = group.members.keys().cloned().collect();
        self.groups.insert(id.clone(), group);
        self.tell_group(&id, creator, &told, shown);
        Ok(id)
    }

    /// A group, to one of its members.
    pub(crate) fn group_for(&self, jid: &Jid, member: &str) -> Result<&Group, GroupRefusal> {
        let group = self.groups.get(&jid.user).ok_or(GroupRefusal::NotFound)?;
        group.rank(member)?;
        Ok(group)
    }

    /// The group that an invitation leads to.
    pub(crate) fn group_by_invite(&self, code: &str) -> Result<Jid, GroupRefusal> {
        let group = self.groups.values().find(|group| group.invite == code);
        group.map(Group::jid).ok_or(GroupRefusal::NotFound)
    }

    /// Groups that somebody is in.
    pub(crate) fn groups_of(&self, member: &str) -> impl Iterator<Item = &Group> {
        let all = self.groups.values();
        all.filter(move |group| group.members.contains_key(member))
    }

    /// Every device of a group, by number.
    pub(crate) fn group_devices(&self, group: &Group) -> Vec<DeviceId> {
        let members = group.members.keys();
        members
            .flat_map(|number| self.devices(number).unwrap_or_default())
            .collect()
    }

    /// Changes a group and tells its members. Returns what became of each
    /// person that the change names.
    pub(crate) fn change_group(
        &mut self,
        jid: &Jid,
        by: &Arc<str>,
        change: GroupChange,
    ) -> Result<Vec<Affected>, GroupRefusal> {
        let group = self.groups.get(&jid.user).ok_or(GroupRefusal::NotFound)?;
        let rank = if matches!(change, GroupChange::Join) {
            Rank::Member
        } else {
            group.rank(by)?
        };
        let is_for_admins = match &change {
            GroupChange::Add(_)
            | GroupChange::Remove(_)
            | GroupChange::Promote(_)
            | GroupChange::Demote(_)
            | GroupChange::Announcement(_)
            | GroupChange::Locked(_)
            | GroupChange::NewInvite => true,
            GroupChange::Subject(_) | GroupChange::Description { .. } | GroupChange::Timer(_) => {
                group.is_locked
            }
            GroupChange::Leave | GroupChange::Join => false,
        };
        if is_for_admins && !rank.is_admin() {
            return Err(GroupRefusal::Forbidden);
        }
        // Whoever leaves hears of it, too.
        let mut told: Vec<Arc<str>> = group.members.keys().cloned().collect();
        let (affected, shown) = self.apply(jid, by, change)?;
        if let Some(group) = self.groups.get(&jid.user) {
            let new = group.members.keys().filter(|member| !told.contains(member));
            told.extend(new.cloned().collect::<Vec<_>>());
        }
        if let Some(shown) = shown {
            self.tell_group(&jid.user, by, &told, shown);
        }
        self.changed();
        Ok(affected)
    }

    /// The change itself, and how it is told; nothing, if nothing changed.
    fn apply(
        &mut self,
        jid: &Jid,
        by: &Arc<str>,
        change: GroupChange,
    ) -> Result<(Vec<Affected>, Option<Node>), GroupRefusal> {
        let now = self.clock.stamp();
        match change {
            GroupChange::Add(people) => {
                Ok(self.change_members(jid, "add", &people, |members, who| {
                    if members.contains_key(who) {
                        return Some(409);
                    }
                    if members.len() >= GROUP_MEMBERS_MAX {
                        return Some(419);
                    }
                    members.insert(Arc::clone(who), Rank::Member);
                    None
                }))
            }
            GroupChange::Join => {
                let me = [self.account(by).map(|account| account.jid(0, SERVER_LID))];
                let me: Vec<Jid> = me.into_iter().flatten().collect();
                Ok(self.change_members(jid, "add", &me, |members, who| {
                    members.entry(Arc::clone(who)).or_insert(Rank::Member);
                    None
                }))
            }
            GroupChange::Remove(people) => {
                Ok(self.change_members(jid, "remove", &people, |members, who| {
                    match members.get(who) {
                        Some(Rank::Creator) => Some(406),
                        Some(Rank::Member | Rank::Admin) => {
                            members.remove(who);
                            None
                        }
                        None => Some(404),
                    }
                }))
            }
            GroupChange::Leave => {
                let me = [self.account(by).map(|account| account.jid(0, SERVER_LID))];
                let me: Vec<Jid> = me.into_iter().flatten().collect();
                Ok(self.change_members(jid, "remove", &me, |members, who| {
                    members.remove(who);
                    None
                }))
            }
            GroupChange::Promote(people) => Ok(self.change_members(
                jid,
                "promote",
                &people,
                |members, who| match members.get_mut(who) {
                    Some(rank @ Rank::Member) => {
                        *rank = Rank::Admin;
                        None
                    }
                    Some(Rank::Admin | Rank::Creator) => None,
                    None => Some(404),
                },
            )),
            GroupChange::Demote(people) => {
                Ok(self.change_members(jid, "demote", &people, |members, who| {
                    match members.get_mut(who) {
                        Some(rank @ Rank::Admin) => {
                            *rank = Rank::Member;
                            None
                        }
                        Some(Rank::Creator) => Some(406),
                        Some(Rank::Member) => None,
                        None => Some(404),
                    }
                }))
            }
            GroupChange::Subject(subject) => {
                if subject.is_empty() || subject.chars().count() > SUBJECT_CHARS_MAX {
                    return Err(GroupRefusal::NotAcceptable);
                }
                let owner = self.account(by).map(|account| account.jid(0, SERVER_LID));
                let shown = Node::new("subject")
                    .attr("subject", &subject)
                    .attr("s_t", now.to_string())
                    .attr("s_o", owner.map(|jid| jid.to_string()).unwrap_or_default());
                let group = self.group_mut(jid)?;
                group.subject = subject;
                group.subject_by = Arc::clone(by);
                group.subject_at = now;
                Ok((Vec::new(), Some(shown)))
            }
            GroupChange::Description { text, before } => {
                let group = self.group_mut(jid)?;
                let current = group.description.as_ref().map(|known| &known.id);
                if current != before.as_ref() {
                    return Err(GroupRefusal::Conflict);
                }
                let shown = match &text {
                    Some((id, body)) if body.chars().count() <= DESCRIPTION_CHARS_MAX => {
                        let body = Node::new("body").bytes(body.as_bytes());
                        Node::new("description").attr("id", id).child(body)
                    }
                    Some(_) => return Err(GroupRefusal::NotAcceptable),
                    None => Node::new("description").child(Node::new("delete")),
                };
                group.description = text.map(|(id, body)| Description {
                    id,
                    body,
                    by: Arc::clone(by),
                    at: now,
                });
                Ok((Vec::new(), Some(shown)))
            }
            GroupChange::Announcement(is_so) => {
                self.group_mut(jid)?.is_announcement = is_so;
                let tag = if is_so {
                    "announcement"
                } else {
                    "not_announcement"
                };
                Ok((Vec::new(), Some(Node::new(tag))))
            }
            GroupChange::Locked(is_so) => {
                self.group_mut(jid)?.is_locked = is_so;
                let tag = if is_so { "locked" } else { "unlocked" };
                Ok((Vec::new(), Some(Node::new(tag))))
            }
            GroupChange::Timer(seconds) => {
                self.group_mut(jid)?.timer_seconds = seconds;
                let shown = match seconds {
                    0 => Node::new("not_ephemeral"),
                    seconds => Node::new("ephemeral").attr("expiration", seconds.to_string()),
                };
                Ok((Vec::new(), Some(shown)))
            }
            GroupChange::NewInvite => {
                let group = self.group_mut(jid)?;
                group.invite = fresh_id("IN");
                Ok((Vec::new(), Some(Node::new("revoke"))))
            }
        }
    }

    fn group_mut(&mut self, jid: &Jid) -> Result<&mut Group, GroupRefusal> {
        self.groups.get_mut(&jid.user).ok_or(GroupRefusal::NotFound)
    }

    /// Changes members one by one. `change` gives an error's code, or none.
    fn change_members(
        &mut self,
        jid: &Jid,
        tag: &str,
        people: &[Jid],
        change: impl Fn(&mut BTreeMap<Arc<str>, Rank>, &Arc<str>) -> Option<u16>,
    ) -> (Vec<Affected>, Option<Node>) {
        let mut affected = Vec::new();
        let mut shown = Node::new(tag).children(Vec::new());
        for person in people {
            let number = self
                .account_of(person)
                .map(|account| Arc::clone(&account.number));
            let (Some(number), Some(group)) = (number, self.groups.get_mut(&jid.user)) else {
                affected.push((person.bare(), Some(404)));
                continue;
            };
            let error = change(&mut group.members, &number);
            if error.is_none() {
                shown = shown.child(self.person_node(&number));
            }
            affected.push((person.bare(), error));
        }
        let shown = Some(shown).filter(|node| !node.kids().is_empty());
        (affected, shown)
    }

    /// `<participant>`, with both addresses.
    pub(crate) fn person_node(&self, number: &Arc<str>) -> Node {
        let node = Node::new("participant");
        match self.account(number) {
            Some(account) => node
                .attr("jid", account.jid(0, SERVER_LID).to_string())
                .attr("phone_number", account.jid(0, SERVER_PN).to_string()),
            None => node,
        }
    }

    /// `<group>`, as whoever asks for it sees it.
    pub(crate) fn group_node(&self, group: &Group) -> Node {
        let lid = |number: &Arc<str>| {
            let account = self.account(number);
            account.map_or(String::new(), |account| {
                account.jid(0, SERVER_LID).to_string()
            })
        };
        let pn = |number: &Arc<str>| Jid::pn(&**number).to_string();
        let mut node = Node::new("group")
            .attr("id", &group.id)
            .attr("subject", &group.subject)
            .attr("addressing_mode", "lid")
            .attr("creator", lid(&group.creator))
            .attr("creator_pn", pn(&group.creator))
            .attr("creation", group.created_at.to_string())
            .attr("s_t", group.subject_at.to_string())
            .attr("s_o", lid(&group.subject_by))
            .attr("s_o_pn", pn(&group.subject_by))
            .attr("size", group.members.len().to_string());
        for (number, rank) in &group.members {
            let person = self.person_node(number);
            node = node.child(match rank.name() {
                Some(name) => person.attr("type", name),
                None => person,
            });
        }
        if let Some(description) = &group.description {
            node = node.child(
                Node::new("description")
                    .attr("id", &description.id)
                    .attr("participant", lid(&description.by))
                    .attr("participant_pn", pn(&description.by))
                    .attr("t", description.at.to_string())
                    .child(Node::new("body").bytes(description.body.as_bytes())),
            );
        }
        if group.is_announcement {
            node = node.child(Node::new("announcement"));
        }
        if group.is_locked {
            node = node.child(Node::new("locked"));
        }
        if group.timer_seconds > 0 {
            let timer = Node::new("ephemeral");
            node = node.child(timer.attr("expiration", group.timer_seconds.to_string()));
        }
        node
    }

    /// Tells members' devices what somebody did.
    fn tell_group(&mut self, group: &str, by: &Arc<str>, told: &[Arc<str>], what: Node) {
        let Some(actor) = self.account(by) else {
            return;
        };
        let id = fresh_id("");
        let node = Node::new("notification")
            .attr("from", Jid::new(group, SERVER_GROUP).to_string())
            .attr("type", "w:gp2")
            .attr("id", &id)
            .attr("t", self.clock.stamp().to_string())
            .attr("participant", actor.jid(0, SERVER_LID).to_string())
            .attr("participant_pn", actor.jid(0, SERVER_PN).to_string())
            .attr("addressing_mode", "lid")
            .attr("notify", &actor.name)
            .child(what);
        for member in told {
            for device in self.devices(member).unwrap_or_default() {
                let address = Address {
                    class: Class::Notification,
                    id: id.clone(),
                    from: None,
                };
                self.post(&device, address, node.clone());
            }
        }
        self.changed();
    }

    /// Keeps a ciphertext for those who want to try to read it.
    pub(crate) fn overhear(&mut self, group: &Jid, from: &DeviceId, id: &str, bytes: &[u8]) {
        if let Some(group) = self.groups.get_mut(&group.user) {
            if group.overheard.len() >= OVERHEARD_MAX {
                group.overheard.pop_front();
            }
            group.overheard.push_back(Overheard {
                from: from.clone(),
                id: id.to_owned(),
                bytes: bytes.to_vec(),
            });
        }
    }
}
