//! What people change on the phone and all devices of the account follow:
//! chats that are put away, names in the address book.
//!
//! The engine tells each change once, and all of them when a collection is
//! synchronised from its beginning; doing one again changes nothing.

use std::sync::Arc;

use tokio::sync::mpsc;
use whatsapp::history::Person;

use super::contacts::ContactBook;
use super::identity::Peer;
use super::threads::ThreadBook;
use crate::events::{Journal, JournalError, Need};
use crate::model::{ThreadDoc, collections};

/// Changes that wait: as many as an address book has, when all of it comes.
pub const CHANGES_MAX: usize = 4_096;

/// Changes that are taken together.
const TOGETHER_MAX: usize = 50;

/// A change on the phone.
pub enum PhoneChange {
    /// A chat was put away, or taken out again.
    Archived {
        /// The chat's address.
        chat: String,
        /// It was put away.
        archived: bool,
    },
    /// Somebody is in the address book.
    Named(Person),
}

/// Follows the phone while one engine instance runs.
pub struct PhoneChanges {
    /// Whose phone.
    pub account_id: String,
    /// Through which it writes.
    pub journal: Journal,
    /// Which thread a chat belongs to.
    pub threads: Arc<ThreadBook>,
    /// Who is who.
    pub contacts: Arc<ContactBook>,
}

impl PhoneChanges {
    /// Follows until the other end of `queue` is gone.
    pub async fn run(self, mut queue: mpsc::Receiver<PhoneChange>) {
        let mut changes = Vec::with_capacity(TOGETHER_MAX);
        while queue.recv_many(&mut changes, TOGETHER_MAX).await > 0 {
            let mut people = Vec::new();
            for change in changes.drain(..) {
                match change {
                    PhoneChange::Named(person) => people.push(person),
                    PhoneChange::Archived { chat, archived } => {
                        self.report(self.archive(&chat, archived).await);
                    }
                }
            }
            let learnt = self.contacts.learn(&self.journal, people).await;
            self.report(learnt.map(drop));
        }
    }

    fn report(&self, outcome: Result<(), JournalError>) {
        match outcome {
            Ok(()) => {}
            Err(error) if error.is_over() => {
                tracing::debug!(account.id = %self.account_id, "the phone is not followed any more");
            }
            Err(error) => {
                tracing::warn!(account.id = %self.account_id, %error, "a change on the phone was not followed");
            }
        }
    }

    async fn archive(&self, chat: &str, archived: bool) -> Result<(), JournalError> {
        let peer = Peer::new(chat, []);
        let thread = self.threads.thread_of(&peer).await;
        let path = thread.and_then(|thread| collections::thread(&thread));
        let path = path.map_err(JournalError::Store)?;
        let needs = vec![Need::Read(path.clone())];
        let change = self.journal.apply(needs, move |draft| {
            match draft.get::<ThreadDoc>(&path)? {
                Some(mut thread) if thread.archived != archived => {
                    thread.archived = archived;
                    draft.put(path.clone(), &thread)
                }
                // A chat without messages here is no thread.
                Some(_) | None => Ok(()),
            }
        });
        change.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids;
    use crate::testing::{ANNA, BEN, Bench};

    #[tokio::test]
    async fn threads_and_contacts_follow_the_phone() {
        let bench = Bench::new();
        let account = bench.account("a1").await;
        let term = bench.term(&account).await;
        let _accepted = bench.accept(&account, ANNA, "hello").await;
        let (sender, queue) = mpsc::channel(8);
        let changes = PhoneChanges {
            account_id: "a1".to_owned(),
            journal: term.journal.clone(),
            threads: Arc::clone(&term.threads),
            contacts: Arc::clone(&term.contacts),
        };
        let archived = |chat: &str, archived| PhoneChange::Archived {
            chat: chat.to_owned(),
            archived,
        };
        let anna = Person {
            pn: Some(ANNA.to_owned()),
            name: Some("Anna Smith".to_owned()),
            ..Person::default()
        };
        for change in [
            archived(ANNA, true),
            archived(BEN, true),
            PhoneChange::Named(anna),
        ] {
            sender.try_send(change).ok();
        }
        drop(sender);
        changes.run(queue).await;
        let path = collections::thread(&ids::thread("a1", ANNA)).unwrap();
        let thread: ThreadDoc = bench.read(path).await.unwrap();
        assert!(thread.archived);
        // Ben has no thread, and gets none by this.
        let path = collections::thread(&ids::thread("a1", BEN)).unwrap();
        assert!(bench.read::<ThreadDoc>(path).await.is_none());
        let contacts: Vec<crate::model::ContactDoc> = bench.list(collections::CONTACTS).await;
        assert_eq!(contacts[0].name.as_deref(), Some("Anna Smith"));
    }
}
