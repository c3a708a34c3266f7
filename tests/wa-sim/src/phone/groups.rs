//! What a phone does in groups: makes and changes them, and writes to them.

use std::sync::Arc;

use prost::Message as _;
use proto::whatsapp::{Message, message::GroupKeyDistribution};

use super::{Phone, PhoneError, Sent, State, outbox::text_message};
use crate::{
    server::{DeviceId, GroupChange, GroupRefusal, Overheard, Rank, fresh_id},
    signal::SignalError,
    wire::{
        Jid, Node,
        jid::{SERVER_GROUP, SERVER_LID},
    },
};

/// Android phones' message ids begin like this.
const ID_PREFIX: &str = "AC";

impl Phone {
    /// Makes a group with the people of these numbers. Returns its address.
    ///
    /// # Errors
    /// [`PhoneError::Group`]
    pub fn create_group(&self, subject: &str, numbers: &[&str]) -> Result<String, PhoneError> {
        let people: Vec<Jid> = numbers.iter().map(|number| Jid::pn(*number)).collect();
        let mut world = self.inner.world.lock();
        let id = world.create_group(self.number(), subject, &people)?;
        Ok(Jid::new(id, SERVER_GROUP).to_string())
    }

    /// Adds people to a group.
    ///
    /// # Errors
    /// [`PhoneError::Group`]
    pub fn add_to_group(&self, group: &str, numbers: &[&str]) -> Result<(), PhoneError> {
        self.change_group(group, GroupChange::Add(people(numbers)))
    }

    /// Takes people out of a group.
    ///
    /// # Errors
    /// [`PhoneError::Group`]
    pub fn remove_from_group(&self, group: &str, numbers: &[&str]) -> Result<(), PhoneError> {
        self.change_group(group, GroupChange::Remove(people(numbers)))
    }

    /// Makes people admins of a group.
    ///
    /// # Errors
    /// [`PhoneError::Group`]
    pub fn promote_in_group(&self, group: &str, numbers: &[&str]) -> Result<(), PhoneError> {
        self.change_group(group, GroupChange::Promote(people(numbers)))
    }

    /// Leaves a group.
    ///
    /// # Errors
    /// [`PhoneError::Group`]
    pub fn leave_group(&self, group: &str) -> Result<(), PhoneError> {
        self.change_group(group, GroupChange::Leave)
    }

    /// Gives a group another name.
    ///
    /// # Errors
    /// [`PhoneError::Group`]
    pub fn rename_group(&self, group: &str, subject: &str) -> Result<(), PhoneError> {
        self.change_group(group, GroupChange::Subject(subject.to_owned()))
    }

    /// Lets a group's messages disappear after so many seconds; 0 for never.
    ///
    /// # Errors
    /// [`PhoneError::Group`]
    pub fn time_group(&self, group: &str, seconds: u32) -> Result<(), PhoneError> {
        self.change_group(group, GroupChange::Timer(seconds))
    }

    /// The numbers in a group that this phone is in, with what each may do.
    ///
    /// # Errors
    /// [`PhoneError::Group`]
    pub fn group_members(&self, group: &str) -> Result<Vec<(Arc<str>, Rank)>, PhoneError> {
        let world = self.inner.world.lock();
        let group = world.group_for(&address(group)?, self.number())?;
        let members = group.members.iter();
        Ok(members
            .map(|(number, rank)| (Arc::clone(number), *rank))
            .collect())
    }

    /// Writes a text to a group. Returns the message's id.
    ///
    /// # Errors
    /// Not a member → [`PhoneError::Group`]; the server takes no more →
    /// [`PhoneError::Refused`].
    pub fn send_group_text(&self, group: &str, text: &str) -> Result<String, PhoneError> {
        let jid = address(group)?;
        let id = fresh_id(ID_PREFIX);
        let mut state = self.inner.state.lock();
        let (devices, now) = {
            let world = self.inner.world.lock();
            let found = world.group_for(&jid, self.number())?;
            (world.group_devices(found), world.clock.now_ms())
        };
        let content = text_message(&mut state, text);
        let distribution = self.distribution(&mut state, group);
        let mut parts = Vec::new();
        for device in devices {
            let has_it = state
                .holders
                .get(group)
                .is_some_and(|holders| holders.contains(&device));
            if device == self.inner.id || has_it {
                continue;
            }
            let encrypted = self.encrypt(&mut state, &device, &distribution)?;
            let to = Node::new("to").attr("jid", self.lid_of(&device));
            parts.push(to.child(encrypted));
            state
                .holders
                .entry(group.to_owned())
                .or_default()
                .insert(device);
        }
        let padded = state.signal.pad(&content.encode_to_vec());
        let State {
            sender_keys, rng, ..
        } = &mut *state;
        let ciphertext = sender_keys.encrypt(group, &padded, rng)?;
        let to: Arc<str> = group.into();
        state
            .texts
            .insert(id.clone(), (Arc::clone(&to), text.to_owned()));
        state.ledger.note_sent(Sent {
            id: id.clone(),
            to,
            text: text.to_owned(),
            at_ms: now,
            receipts: Vec::new(),
        });
        let message = Node::new("message")
            .attr("id", &id)
            .attr("to", group)
            .attr("type", "text")
            .attr("addressing_mode", "lid")
            .child(Node::new("participants").children(parts))
            .child(
                Node::new("enc")
                    .attr("v", "2")
                    .attr("type", "skmsg")
                    .bytes(ciphertext),
            );
        self.hand_in(&message)?;
        Ok(id)
    }

    /// Sends a group's message once more to a device that could not read it.
    pub(super) fn send_group_again(
        &self,
        state: &mut State,
        to: &DeviceId,
        (group, text): (&str, &str),
        (id, count): (&str, &str),
    ) -> Result<(), PhoneError> {
        self.begin_session(state, to)?;
        let mut content = text_message(state, text);
        content.sender_key_distribution_message = self
            .distribution(state, group)
            .sender_key_distribution_message;
        let encrypted = self.encrypt(state, to, &content)?.attr("count", count);
        let message = Node::new("message")
            .attr("id", id)
            .attr("to", group)
            .attr("participant", self.lid_of(to))
            .attr("type", "text")
            .attr("addressing_mode", "lid")
            .child(encrypted);
        self.hand_in(&message)
    }

    /// Whether it has drawn a key for a group, and still uses it.
    pub fn has_group_key(&self, group: &str) -> bool {
        self.inner.state.lock().holders.contains_key(group)
    }

    /// The messages of a group that passed lately, whoever may read them.
    pub fn overhear_group(&self, group: &str) -> Vec<Overheard> {
        let world = self.inner.world.lock();
        let group = address(group)
            .ok()
            .and_then(|jid| world.groups.get(&jid.user));
        let heard = group.map(|group| group.overheard.iter().cloned().collect());
        heard.unwrap_or_default()
    }

    /// Tries to read a group's ciphertext with the keys that this phone was
    /// given. Reading one takes its key, as reading always does.
    ///
    /// # Errors
    /// It has no such key, or it was read before.
    pub fn try_to_read(&self, group: &str, heard: &Overheard) -> Result<(), SignalError> {
        let mut state = self.inner.state.lock();
        let sender = heard.from.to_string();
        state
            .sender_keys
            .decrypt(group, &sender, &heard.bytes)
            .map(drop)
    }

    /// Somebody has left: a new key for those who have not.
    pub(super) fn forget_group_key(&self, group: &str) {
        let mut state = self.inner.state.lock();
        state.sender_keys.rotate(group);
        state.holders.remove(group);
    }

    /// What brings this phone's key of a group.
    fn distribution(&self, state: &mut State, group: &str) -> Message {
        let State {
            sender_keys, rng, ..
        } = state;
        let bytes = sender_keys.distribution(group, rng);
        Message {
            sender_key_distribution_message: Some(GroupKeyDistribution {
                group_id: Some(group.to_owned()),
                axolotl_sender_key_distribution_message: Some(bytes),
            }),
            ..Message::default()
        }
    }

    fn change_group(&self, group: &str, change: GroupChange) -> Result<(), PhoneError> {
        let mut world = self.inner.world.lock();
        let affected = world.change_group(&address(group)?, self.number(), change)?;
        match affected.iter().find_map(|(_, error)| *error) {
            None => Ok(()),
            Some(code) => Err(PhoneError::Refused(code.to_string())),
        }
    }

    /// A device's hidden identity.
    pub(super) fn lid_of(&self, device: &DeviceId) -> String {
        let world = self.inner.world.lock();
        world.address_of(device, SERVER_LID).to_string()
    }
}

fn people(numbers: &[&str]) -> Vec<Jid> {
    numbers.iter().map(|number| Jid::pn(*number)).collect()
}

fn address(group: &str) -> Result<Jid, GroupRefusal> {
    let jid = group.parse::<Jid>().ok();
    jid.filter(|jid| jid.server == SERVER_GROUP)
        .ok_or(GroupRefusal::NotFound)
}
