//! Who is who: names and addresses of people, from history, from the phone's
//! address book and from what they write.
//!
//! One document a person. It is made for the phone number where that is known;
//! if it becomes known later, the document that was made for the LID moves
//! there. Learning the same again changes nothing.

use std::collections::HashMap;

use coordinator_lib::store::{Path, Store, StoreError};
use parking_lot::Mutex;
use whatsapp::history::Person;

use super::identity::{bare, is_lid, is_pn};
use crate::events::{Draft, DraftError, Journal, JournalError, Need, Submitted};
use crate::model::{ContactDoc, Stored, collections, ids, queries};

/// People of one change.
const TOGETHER_MAX: usize = 50;

/// Addresses of one generation of what is remembered.
const GENERATION_MAX: usize = 2_048;

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 512;

/// The contacts of one account, for its owner.
pub struct ContactBook {
    account_id: String,
    store: Store,
    known: Mutex<Known>,
}

/// What need not be looked up or written again. Bounded: two generations, of
/// which the older is dropped when the younger is full.
#[derive(Default)]
struct Known {
    young: HashMap<String, Entry>,
    old: HashMap<String, Entry>,
}

#[derive(Clone, Default)]
struct Entry {
    /// The phone number's address of a LID.
    pn: Option<String>,
    /// The name that was last learnt.
    push_name: Option<String>,
}

impl ContactBook {
    /// A book that knows nobody yet.
    pub fn new(account_id: String, store: Store) -> Self {
        Self {
            account_id,
            store,
            known: Mutex::default(),
        }
    }

    /// Learns who these people are. Returns of how many something was new.
    ///
    /// # Errors
    /// [`JournalError`]; some may have been learnt.
    pub async fn learn(
        &self,
        journal: &Journal,
        people: Vec<Person>,
    ) -> Result<usize, JournalError> {
        let mut news = 0;
        let mut people = people.into_iter().peekable();
        while people.peek().is_some() {
            let some = people.by_ref().take(TOGETHER_MAX).collect();
            news += self.submit(journal, some).await?.settled().await?;
        }
        Ok(news)
    }

    /// Learns the name of somebody who writes, unless it was learnt just now.
    /// Nobody waits for it to be durable: it comes with the next message again.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn learn_name(&self, journal: &Journal, person: Person) -> Result<(), JournalError> {
        let address = person.pn.as_ref().or(person.lid.as_ref());
        let (Some(address), Some(name)) = (address, &person.push_name) else {
            return Ok(());
        };
        let known = self.known.lock().get(address);
        if known.is_some_and(|entry| entry.push_name.as_ref() == Some(name)) {
            return Ok(());
        }
        let entry = Entry {
            pn: person.pn.clone(),
            push_name: Some(name.clone()),
        };
        let address = address.clone();
        let _queued = self.submit(journal, vec![person]).await?;
        self.known.lock().learn(address, entry);
        Ok(())
    }

    async fn submit(
        &self,
        journal: &Journal,
        people: Vec<Person>,
    ) -> Result<Submitted<usize>, JournalError> {
        let mut all = Vec::with_capacity(people.len());
        for person in people {
            let learnt = self.prepared(person).await.map_err(JournalError::Store)?;
            all.extend(learnt);
        }
        let needs = all
            .iter()
            .flat_map(|learnt| [&learnt.pn_path, &learnt.lid_path])
            .flatten()
            .cloned()
            .map(Need::Read)
            .collect();
        let change = move |draft: &mut Draft<'_>| {
            let mut news = 0;
            for learnt in &all {
                news += usize::from(learnt.store(draft)?);
            }
            Ok(news)
        };
        journal.submit(needs, change).await
    }

    /// What is learnt of somebody, and where it belongs; nothing, if it names
    /// nobody.
    async fn prepared(&self, mut person: Person) -> Result<Option<Learnt>, StoreError> {
        person.pn = person.pn.map(|pn| bare(&pn)).filter(|pn| is_pn(pn));
        person.lid = person.lid.map(|lid| bare(&lid)).filter(|lid| is_lid(lid));
        if let (None, Some(lid)) = (&person.pn, &person.lid) {
            person.pn = self.pn_of(lid).await?;
        }
        for name in [&mut person.name, &mut person.push_name] {
            *name = name.take().and_then(|name| short_name(&name));
        }
        let path =
            |address: &String| collections::contact(&ids::contact(&self.account_id, address));
        let pn_path = person.pn.as_ref().map(path).transpose()?;
        let lid_path = person.lid.as_ref().map(path).transpose()?;
        let somewhere = pn_path.is_some() || lid_path.is_some();
        Ok(somewhere.then_some(Learnt {
            person,
            pn_path,
            lid_path,
        }))
    }

    /// The phone number's address of somebody who is known by both.
    async fn pn_of(&self, lid: &str) -> Result<Option<String>, StoreError> {
        if let Some(entry) = self.known.lock().get(lid) {
            return Ok(entry.pn);
        }
        let query = queries::contact_by_lid(&self.account_id, lid)?;
        let page = self.store.query(&query).await?;
        let contact = page.documents.first().and_then(ContactDoc::read_or_skip);
        let pn = contact.and_then(|contact| contact.value.pn);
        if pn.is_some() {
            let entry = Entry {
                pn: pn.clone(),
                push_name: None,
            };
            self.known.lock().learn(lid.to_owned(), entry);
        }
        Ok(pn)
    }
}

/// What is learnt of one person.
struct Learnt {
    person: Person,
    pn_path: Option<Path>,
    lid_path: Option<Path>,
}

impl Learnt {
    /// Makes the change; says whether anything was new.
    fn store(&self, draft: &mut Draft<'_>) -> Result<bool, DraftError> {
        let read = |path: &Option<Path>| match path {
            Some(path) => draft.get::<ContactDoc>(path),
            None => Ok(None),
        };
        let (by_pn, by_lid) = (read(&self.pn_path)?, read(&self.lid_path)?);
        let Some(place) = self.pn_path.as_ref().or(self.lid_path.as_ref()) else {
            return Ok(false);
        };
        let here = if self.pn_path.is_some() {
            &by_pn
        } else {
            &by_lid
        };
        let before = by_pn.clone().or_else(|| by_lid.clone());
        let mut contact = before.unwrap_or_else(|| ContactDoc {
            account_id: draft.account_id().to_owned(),
            pn: None,
            lid: None,
            name: None,
            push_name: None,
            name_key: String::new(),
            updated_at: draft.now(),
        });
        if let Some(other) = &by_lid {
            // What was learnt under the other address, as far as it is missing.
            contact.name = contact.name.take().or_else(|| other.name.clone());
            contact.push_name = contact.push_name.take().or_else(|| other.push_name.clone());
        }
        let person = &self.person;
        for (known, learnt) in [
            (&mut contact.pn, &person.pn),
            (&mut contact.lid, &person.lid),
            (&mut contact.name, &person.name),
            (&mut contact.push_name, &person.push_name),
        ] {
            if learnt.is_some() {
                known.clone_from(learnt);
            }
        }
        contact.name_key = contact.key();
        let moved = self.pn_path.is_some() && by_lid.is_some();
        if !moved && here.as_ref() == Some(&contact) {
            return Ok(false);
        }
        contact.updated_at = draft.now();
        draft.put(place.clone(), &contact)?;
        if let (true, Some(old)) = (moved, &self.lid_path) {
            draft.remove(old.clone())?;
        }
        Ok(true)
    }
}

/// A name, cut; none that is empty.
fn short_name(name: &str) -> Option<String> {
    let name = name.trim();
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    (end > 0).then(|| name[..end].to_owned())
}

impl Known {
    fn get(&mut self, address: &str) -> Option<Entry> {
        if let Some(entry) = self.young.get(address) {
            return Some(entry.clone());
        }
        let entry = self.old.remove(address)?;
        self.learn(address.to_owned(), entry.clone());
        Some(entry)
    }

    fn learn(&mut self, address: String, entry: Entry) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(address, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ANNA, ANNA_LID, BEN, Bench};

    fn person(pn: Option<&str>, lid: Option<&str>) -> Person {
        Person {
            pn: pn.map(str::to_owned),
            lid: lid.map(str::to_owned),
            ..Person::default()
        }
    }

    fn named(person: Person, name: &str) -> Person {
        Person {
            name: Some(name.to_owned()),
            ..person
        }
    }

    fn going_by(person: Person, name: &str) -> Person {
        Person {
            push_name: Some(name.to_owned()),
            ..person
        }
    }

    async fn contacts(bench: &Bench) -> Vec<ContactDoc> {
        let mut contacts: Vec<ContactDoc> = bench.list(collections::CONTACTS).await;
        contacts.sort_by(|a, b| a.name_key.cmp(&b.name_key));
        contacts
    }

    #[tokio::test]
    async fn one_person_is_one_contact_whichever_address_was_known_first() {
        let bench = Bench::new();
        let account = bench.account("a1").await;
        let term = bench.term(&account).await;
        let book = ContactBook::new("a1".to_owned(), std::sync::Arc::clone(&bench.store));
        let steps = [
            going_by(person(None, Some(ANNA_LID)), "anna99"),
            named(person(Some(ANNA), None), "Anna Smith"),
            person(Some(ANNA), Some(ANNA_LID)),
            // From now on the LID alone says who it is.
            going_by(person(None, Some(ANNA_LID)), "anna100"),
        ];
        for step in steps {
            assert_eq!(book.learn(&term.journal, vec![step]).await.unwrap(), 1);
        }
        let all = contacts(&bench).await;
        assert_eq!(all.len(), 1);
        let anna = &all[0];
        assert_eq!(
            (anna.pn.as_deref(), anna.lid.as_deref()),
            (Some(ANNA), Some(ANNA_LID))
        );
        assert_eq!(anna.name.as_deref(), Some("Anna Smith"));
        assert_eq!(anna.push_name.as_deref(), Some("anna100"));
        assert_eq!(anna.name_key, "anna smith");
    }

    #[tokio::test]
    async fn what_is_known_is_not_written_again() {
        let bench = Bench::new();
        let account = bench.account("a1").await;
        let term = bench.term(&account).await;
        let book = ContactBook::new("a1".to_owned(), std::sync::Arc::clone(&bench.store));
        let people = || {
            vec![
                going_by(person(Some(ANNA), Some(ANNA_LID)), "Anna"),
                going_by(person(Some(BEN), None), "Ben"),
                going_by(person(Some("1203630@g.us"), None), "a group is nobody"),
            ]
        };
        assert_eq!(book.learn(&term.journal, people()).await.unwrap(), 2);
        let commits = bench.memory.commits();
        assert_eq!(book.learn(&term.journal, people()).await.unwrap(), 0);
        let ben = going_by(person(Some(BEN), None), "Ben");
        book.learn_name(&term.journal, ben).await.unwrap();
        term.journal.settled().await;
        assert_eq!(bench.memory.commits(), commits);
        assert_eq!(contacts(&bench).await.len(), 2);
        assert!(bench.events(&account).await.is_empty());
    }

    #[test]
    fn a_name_fits_into_a_document_whatever_it_is() {
        assert_eq!(short_name("  "), None);
        let long = "ü".repeat(4_000);
        assert_eq!(short_name(&long).unwrap().len(), NAME_BYTES_MAX);
    }
}
