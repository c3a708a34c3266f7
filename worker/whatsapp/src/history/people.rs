//! The people that a piece of history names, and which of their two addresses
//! belong together.

use std::collections::HashMap;

use wacore::history_sync::{HistorySyncError, HistorySyncStream};
use wacore_binary::Jid;
use waproto::whatsapp as wa;

use super::{PEOPLE_MAX, Person};
use crate::content::decode::{LINE_BYTES, line};

/// Which phone number belongs to which LID.
#[derive(Default)]
pub(super) struct Addresses {
    pn_of: HashMap<String, String>,
    lid_of: HashMap<String, String>,
}

impl Addresses {
    fn learn(&mut self, pn: String, lid: String) {
        if self.pn_of.len() < PEOPLE_MAX {
            self.pn_of.insert(lid.clone(), pn.clone());
            self.lid_of.insert(pn, lid);
        }
    }

    /// Somebody's addresses, of which one is known.
    pub(super) fn person(&self, jid: &Jid) -> Person {
        let address = jid.to_non_ad().to_string();
        let (pn, lid) = if jid.is_lid() {
            (self.pn_of.get(&address).cloned(), Some(address))
        } else {
            let lid = self.lid_of.get(&address).cloned();
            (Some(address), lid)
        };
        Person {
            pn,
            lid,
            ..Person::default()
        }
    }
}

/// Everybody whom a piece names, conversations aside, and all pairs of
/// addresses in it.
///
/// # Errors
/// The piece is broken, or unpacks to more than allowed.
pub(super) fn read(
    compressed: &[u8],
    bytes_max: u64,
) -> Result<(Addresses, Vec<Person>), HistorySyncError> {
    let mut stream = HistorySyncStream::new(compressed, bytes_max);
    while stream.next_conversation_bytes()?.is_some() {
        // They are read the second time.
    }
    let rest = stream.remainder()?;
    let mut addresses = Addresses::default();
    for pair in &rest.phone_number_to_lid_mappings {
        let (pn, lid) = (pair.pn_jid.as_deref(), pair.lid_jid.as_deref());
        if let (Some(pn), Some(lid)) = (pn.and_then(person_jid), lid.and_then(person_jid))
            && pn.is_pn()
            && lid.is_lid()
        {
            addresses.learn(pn.to_non_ad().to_string(), lid.to_non_ad().to_string());
        }
    }
    let named = rest.pushnames.iter().take(PEOPLE_MAX);
    let people = named
        .filter_map(|entry| named_person(entry, &addresses))
        .collect();
    Ok((addresses, people))
}

fn named_person(entry: &wa::Pushname, addresses: &Addresses) -> Option<Person> {
    let jid = person_jid(entry.id.as_deref()?)?;
    let push_name = line(entry.pushname.as_deref(), LINE_BYTES)?;
    // What phones write for people who never gave themselves a name.
    if push_name == "-" {
        return None;
    }
    Some(Person {
        push_name: Some(push_name),
        ..addresses.person(&jid)
    })
}

/// A person's address; none of anything else.
pub(super) fn person_jid(text: &str) -> Option<Jid> {
    let text = match text.strip_suffix("@c.us") {
        Some(user) => format!("{user}@s.whatsapp.net"),
        None => text.to_owned(),
    };
    let jid: Jid = text.parse().ok()?;
    (jid.is_pn() || jid.is_lid()).then_some(jid)
}
