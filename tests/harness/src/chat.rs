//! Phones and clients that write to each other, whatever happens to workers.
//!
//! Each conversation is in order in both directions. A phone writes whether a
//! worker is there or not; a client asks the next worker, under the same
//! idempotency key, where one does not answer.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use tokio::time::{Instant, Interval, interval_at};
use wa_sim::phone::Phone;

use crate::api::Api;
use crate::scene::{Linked, Scene, Sent};

/// Who chats, and how much.
pub struct ChatParts<'a> {
    /// Where it is noted.
    pub scene: &'a Scene,
    /// Every worker's API.
    pub api: &'a Api,
    /// Each of them with all contacts.
    pub accounts: &'a [Linked],
    /// See `accounts`.
    pub contacts: &'a [Phone],
    /// Messages of each side of each conversation, at least.
    pub messages_min: usize,
    /// Between two messages of one side of a conversation.
    pub pace: Duration,
    /// For a client to find a worker that accepts a message.
    pub accept_limit: Duration,
}

/// All conversations.
pub struct Chat<'a> {
    parts: ChatParts<'a>,
    written: AtomicUsize,
    may_end: AtomicBool,
}

impl<'a> Chat<'a> {
    /// Conversations of all accounts with all contacts.
    pub fn new(parts: ChatParts<'a>) -> Self {
        Self {
            parts,
            written: AtomicUsize::new(0),
            may_end: AtomicBool::new(false),
        }
    }

    /// How many messages were written so far.
    pub fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    /// Lets everybody stop who has written enough.
    pub fn let_end(&self) {
        self.may_end.store(true, Ordering::Relaxed);
    }

    /// Everybody writes until all have stopped.
    ///
    /// # Errors
    /// A message was refused, or no worker took it in time.
    pub async fn run(&self) -> Result<()> {
        let ChatParts {
            api,
            accounts,
            contacts,
            pace,
            ..
        } = self.parts;
        let pairs = accounts.iter().flat_map(|account| {
            let contacts = contacts.iter();
            contacts.map(move |contact| (account, contact))
        });
        let count = accounts.len() * contacts.len();
        let conversations = pairs.enumerate().map(async |(number, (account, contact))| {
            let api = api.for_client(number);
            // Not all in the same moment.
            let offset = pace.mul_f64(number as f64 / count as f64);
            tokio::try_join!(
                self.phone_writes(account, contact, offset),
                self.client_writes(&api, account, contact, offset)
            )
        });
        try_join_all(conversations).await.map(drop)
    }

    async fn phone_writes(
        &self,
        account: &Linked,
        contact: &Phone,
        offset: Duration,
    ) -> Result<()> {
        let mut pace = self.pace(offset);
        for number in 0.. {
            pace.tick().await;
            if self.is_enough(number) {
                break;
            }
            let label = format!("question {number}");
            self.parts.scene.write(contact, account, &label)?;
            self.written.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn client_writes(
        &self,
        api: &Api,
        account: &Linked,
        contact: &Phone,
        offset: Duration,
    ) -> Result<()> {
        // A client answers what the phone has asked.
        let mut pace = self.pace(offset + self.parts.pace / 2);
        for number in 0.. {
            pace.tick().await;
            if self.is_enough(number) {
                break;
            }
            let label = format!("answer {number}");
            let ChatParts {
                scene,
                accept_limit,
                ..
            } = self.parts;
            send(scene, api, account, contact, &label, accept_limit).await?;
            self.written.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_enough(&self, number: usize) -> bool {
        number >= self.parts.messages_min && self.may_end.load(Ordering::Relaxed)
    }

    fn pace(&self, offset: Duration) -> Interval {
        interval_at(Instant::now() + offset, self.parts.pace)
    }
}

/// A client sends a text for an account, and notes the 202. Returns what was sent.
///
/// # Errors
/// It was refused, or no worker took it in time.
pub async fn send(
    scene: &Scene,
    api: &Api,
    account: &Linked,
    contact: &Phone,
    label: &str,
    limit: Duration,
) -> Result<Sent> {
    let text = scene.text(label);
    // Unlike all others, as the text is.
    let key = text.replace(' ', "-");
    let message_id = api
        .send_text_until_accepted(&account.id, contact.number(), &text, &key, limit)
        .await?;
    scene.note_accepted(&account.id, contact, &text);
    Ok(Sent { message_id, text })
}
