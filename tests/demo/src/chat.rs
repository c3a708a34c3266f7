//! Phones and clients that write to each other, whatever happens to workers.
//!
//! Each conversation is in order in both directions. A phone writes whether a
//! worker is there or not; a client asks the next worker, under the same
//! idempotency key, where one does not answer.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use harness::api::Api;
use harness::scene::{Linked, Sent};
use tokio::time::{Instant, Interval, interval_at};
use wa_sim::phone::Phone;

use crate::options::{Options, StoreKind};
use crate::stage::Stage;

/// For a client to find a worker that accepts a message.
const ACCEPT_LIMIT: Duration = Duration::from_secs(60);

/// All conversations.
pub(crate) struct Chat<'a> {
    stage: &'a Stage<'a>,
    messages_min: usize,
    pace: Duration,
    written: AtomicUsize,
    is_last_act_over: AtomicBool,
}

impl<'a> Chat<'a> {
    /// Conversations of all accounts with all contacts.
    pub(crate) fn new(stage: &'a Stage<'a>, options: &Options) -> Self {
        Self {
            stage,
            messages_min: options.messages(),
            pace: pace(options),
            written: AtomicUsize::new(0),
            is_last_act_over: AtomicBool::new(false),
        }
    }

    /// How many messages were written so far.
    pub(crate) fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    /// Lets everybody stop who has written enough.
    pub(crate) fn last_act_is_over(&self) {
        self.is_last_act_over.store(true, Ordering::Relaxed);
    }

    /// Everybody writes until all have stopped.
    ///
    /// # Errors
    /// A message was refused, or no worker took it in time.
    pub(crate) async fn run(&self) -> Result<()> {
        let stage = self.stage;
        let pairs = stage.accounts.iter().flat_map(|account| {
            let contacts = stage.contacts.iter();
            contacts.map(move |contact| (account, contact))
        });
        let count = stage.accounts.len() * stage.contacts.len();
        let conversations = pairs.enumerate().map(async |(number, (account, contact))| {
            let api = stage.api.for_client(number);
            // Not all in the same moment.
            let offset = self.pace.mul_f64(number as f64 / count as f64);
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
            self.stage.scene.write(contact, account, &label)?;
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
        let mut pace = self.pace(offset + self.pace / 2);
        for number in 0.. {
            pace.tick().await;
            if self.is_enough(number) {
                break;
            }
            send(
                self.stage,
                api,
                account,
                contact,
                &format!("answer {number}"),
            )
            .await?;
            self.written.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_enough(&self, number: usize) -> bool {
        number >= self.messages_min && self.is_last_act_over.load(Ordering::Relaxed)
    }

    fn pace(&self, offset: Duration) -> Interval {
        interval_at(Instant::now() + offset, self.pace)
    }
}

/// Between two messages of one conversation: slow enough that many
/// conversations on a small machine do not wait for each other. The emulator does
/// one thing at a time, some hundred in a second.
fn pace(options: &Options) -> Duration {
    Duration::from_secs(match (options.store, options.quick) {
        (StoreKind::Sqlite, true) => 2,
        (StoreKind::Sqlite, false) => 4,
        (StoreKind::Firestore, true) => 8,
        (StoreKind::Firestore, false) => 20,
    })
}

/// A client sends a text for an account, and notes the 202. Returns what was sent.
///
/// # Errors
/// It was refused, or no worker took it in time.
pub(crate) async fn send(
    stage: &Stage<'_>,
    api: &Api,
    account: &Linked,
    contact: &Phone,
    label: &str,
) -> Result<Sent> {
    let text = stage.scene.text(label);
    // Unlike all others, as the text is.
    let key = text.replace(' ', "-");
    let message_id = api
        .send_text_until_accepted(&account.id, contact.number(), &text, &key, ACCEPT_LIMIT)
        .await?;
    stage.scene.note_accepted(&account.id, contact, &text);
    Ok(Sent { message_id, text })
}
