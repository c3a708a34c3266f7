//! What is asked of groups, and asked to be changed in them (`xmlns="w:g2"`).

use std::sync::Arc;

use super::{
    account::DeviceId,
    groups::{GroupChange, GroupRefusal},
    stanza::{error, result},
    world::World,
};
use crate::wire::{Jid, Node, jid::SERVER_GROUP};

impl World {
    /// Answers a device.
    pub(super) fn answer_group(&mut self, from: &DeviceId, query: &Node) -> Node {
        let to = query.get("to").unwrap_or_default().parse::<Jid>();
        let answer = match to {
            Ok(jid) if jid.server != SERVER_GROUP => Err(GroupRefusal::NotAcceptable),
            Ok(jid) if jid.user.is_empty() => self.answer_groups(from, query),
            Ok(jid) => self.answer_one_group(&jid, from, query),
            Err(_) => Err(GroupRefusal::NotAcceptable),
        };
        match answer {
            Ok(Some(node)) => result(query).child(node),
            Ok(None) => result(query),
            Err(refusal) => error(query, refusal.code(), &refusal.to_string()),
        }
    }

    /// What is asked of no group in particular.
    fn answer_groups(
        &mut self,
        from: &DeviceId,
        query: &Node,
    ) -> Result<Option<Node>, GroupRefusal> {
        let Some(what) = query.kids().first() else {
            return Err(GroupRefusal::NotAcceptable);
        };
        let me = Arc::clone(&from.account);
        match (what.tag.as_str(), what.get("code")) {
            ("create", _) => {
                let subject = what.get("subject").unwrap_or_default();
                let id = self.create_group(&me, subject, &people(what))?;
                let group = self.group_for(&Jid::new(id, SERVER_GROUP), &me)?;
                Ok(Some(self.group_node(group)))
            }
            ("participating", _) => {
                let groups = self.groups_of(&me).map(|group| self.group_node(group));
                Ok(Some(Node::new("groups").children(groups.collect())))
            }
            ("leave", _) => {
                let ids = what.find_all("group").filter_map(|group| group.get("id"));
                for id in ids {
                    let jid = match id.parse::<Jid>() {
                        Ok(jid) => jid,
                        Err(_) => Jid::new(id, SERVER_GROUP),
                    };
                    self.change_group(&jid, &me, GroupChange::Leave)?;
                }
                Ok(None)
            }
            ("invite", Some(code)) if query.get("type") == Some("get") => {
                let jid = self.group_by_invite(code)?;
                let group = self.groups.get(&jid.user).ok_or(GroupRefusal::NotFound)?;
                Ok(Some(self.group_node(group)))
            }
            ("invite", Some(code)) => {
                let jid = self.group_by_invite(code)?;
                self.change_group(&jid, &me, GroupChange::Join)?;
                Ok(Some(Node::new("group").attr("jid", jid.to_string())))
            }
            _ => Err(GroupRefusal::NotAcceptable),
        }
    }

    fn answer_one_group(
        &mut self,
        jid: &Jid,
        from: &DeviceId,
        query: &Node,
    ) -> Result<Option<Node>, GroupRefusal> {
        let Some(what) = query.kids().first() else {
            return Err(GroupRefusal::NotAcceptable);
        };
        let me = &from.account;
        let change = match (query.get("type"), what.tag.as_str()) {
            (Some("get"), "query") => {
                let group = self.group_for(jid, me)?;
                return Ok(Some(self.group_node(group)));
            }
            (Some("get"), "invite") => {
                let group = self.group_for(jid, me)?;
                return Ok(Some(Node::new("invite").attr("code", &group.invite)));
            }
            (Some("set"), "invite") => {
                self.change_group(jid, me, GroupChange::NewInvite)?;
                let group = self.group_for(jid, me)?;
                return Ok(Some(Node::new("invite").attr("code", &group.invite)));
            }
            (Some("set"), "add") => GroupChange::Add(people(what)),
            (Some("set"), "remove") => GroupChange::Remove(people(what)),
            (Some("set"), "promote") => GroupChange::Promote(people(what)),
            (Some("set"), "demote") => GroupChange::Demote(people(what)),
            (Some("set"), "subject") => GroupChange::Subject(text(what)),
            (Some("set"), "description") => GroupChange::Description {
                text: what.find("body").map(|body| {
                    let id = what.get("id").unwrap_or_default();
                    (id.to_owned(), text(body))
                }),
                before: what.get("prev").map(str::to_owned),
            },
            (Some("set"), "announcement") => GroupChange::Announcement(true),
            (Some("set"), "not_announcement") => GroupChange::Announcement(false),
            (Some("set"), "locked") => GroupChange::Locked(true),
            (Some("set"), "unlocked") => GroupChange::Locked(false),
            (Some("set"), "not_ephemeral") => GroupChange::Timer(0),
            (Some("set"), "ephemeral") => {
                let seconds = what.get("expiration").and_then(|text| text.parse().ok());
                GroupChange::Timer(seconds.ok_or(GroupRefusal::NotAcceptable)?)
            }
            _ => return Err(GroupRefusal::NotAcceptable),
        };
        let affected = self.change_group(jid, me, change)?;
        let shown = affected.into_iter().map(|(person, error)| {
            let node = match self.account_of(&person) {
                Some(account) => self.person_node(&account.number),
                None => Node::new("participant").attr("jid", person.to_string()),
            };
            match error {
                Some(code) => node.attr("error", code.to_string()),
                None => node,
            }
        });
        Ok(Some(Node::new(&what.tag).children(shown.collect())))
    }
}

fn people(node: &Node) -> Vec<Jid> {
    node.find_all("participant")
        .filter_map(|person| person.get("jid")?.parse().ok())
        .collect()
}

fn text(node: &Node) -> String {
    String::from_utf8_lossy(node.data()).into_owned()
}
