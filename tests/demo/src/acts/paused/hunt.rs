//! Pausing a worker at the moment at which it matters most: it has decided to
//! send a message, the store says so, and the frame has not left.
//!
//! That moment is short and cannot be seen from outside while the worker runs.
//! So it is given much to send, stopped for an instant, looked at, and let go
//! again, until it was stopped at the right moment.

use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use harness::api::Api;
use harness::scene::{DELIVERY_LIMIT, Linked, Sent};
use harness::wait::{self, Look};
use tokio::time::{Instant, interval_at};
use wa_sim::phone::{Ledger, Phone};

use super::Pause;
use crate::stage::Stage;

/// For the right moment to come.
const HUNT_LIMIT: Duration = Duration::from_secs(45);
/// For a frame that has left to arrive at its phone, in this process.
const ARRIVAL: Duration = Duration::from_millis(25);
/// Between two messages of one conversation; an account may send two a second
/// in the long run, in all its conversations.
const WRITING: Duration = Duration::from_secs(4);

/// A message of the hunt and whom it is to.
struct Bait<'a> {
    sent: Sent,
    friend: &'a Phone,
}

/// What the hunt works with.
struct Hunt<'a> {
    stage: &'a Stage<'a>,
    name: &'a str,
    /// Other workers.
    api: Api,
    /// Conversations in which nobody else writes: an account that was written
    /// to makes its session durable before it answers, and may wait just then.
    pairs: Vec<(&'a Linked, &'a Phone)>,
    baits: Mutex<Vec<Bait<'a>>>,
    is_over: AtomicBool,
}

/// Gives a worker much to send, and pauses it with a message in its hands.
///
/// # Errors
/// It owns nothing, or the moment does not come.
pub(super) async fn pause_while_sending<'a>(
    stage: &'a Stage<'a>,
    name: &'a str,
) -> Result<Pause<'a>> {
    let owned = stage.owned_by(name).await?;
    let hunt = Hunt {
        stage,
        name,
        api: stage.cluster.api_without(name)?,
        pairs: owned
            .into_iter()
            .flat_map(|account| {
                stage
                    .pen_friends
                    .iter()
                    .map(move |friend| (account, friend))
            })
            .collect(),
        baits: Mutex::default(),
        is_over: AtomicBool::new(false),
    };
    hunt.greet().await?;
    let (stops, _) = tokio::try_join!(hunt.stop(), hunt.write())?;
    stage.screen.say(&format!(
        "{name} was stopped with a message in its hands, at the {stops}. attempt"
    ));
    Pause::begun(stage, name).await
}

impl<'a> Hunt<'a> {
    /// The first message of a conversation asks the server for keys; those that
    /// matter here need nothing of it.
    async fn greet(&self) -> Result<()> {
        let greetings = self.stage.pen_friends.iter().map(async |friend| {
            for (account, _) in self.pairs.iter().filter(|(_, to)| ptr::eq(*to, friend)) {
                let sent = self
                    .stage
                    .send(&self.api, account, friend, "greeting")
                    .await?;
                let sim = self.stage.scene.sim();
                sim.wait_ledger(friend, "no greeting", DELIVERY_LIMIT, |ledger| {
                    has(ledger, &sent.text)
                })
                .await?;
            }
            anyhow::Ok(())
        });
        try_join_all(greetings).await.map(drop)
    }

    /// Clients write in all conversations until the hunt is over.
    async fn write(&self) -> Result<()> {
        let conversations = self.pairs.iter().enumerate();
        let conversations = conversations.map(async |(number, &(account, friend))| {
            let api = self.api.for_client(number);
            let offset = WRITING.mul_f64(number as f64 / self.pairs.len() as f64);
            let mut pace = interval_at(Instant::now() + offset, WRITING);
            while !self.is_over.load(Ordering::Relaxed) {
                pace.tick().await;
                let sent = self.stage.send(&api, account, friend, "in hand").await?;
                let mut baits = self.baits.lock().unwrap_or_else(PoisonError::into_inner);
                baits.push(Bait { sent, friend });
            }
            anyhow::Ok(())
        });
        try_join_all(conversations).await.map(drop)
    }

    /// Stops the worker again and again until it has a message in its hands.
    async fn stop(&self) -> Result<usize> {
        let mut stops = 0;
        let caught = wait::until("it has a message in its hands", HUNT_LIMIT, async || {
            stops += 1;
            self.stage.cluster.pause(self.name).await?;
            tokio::time::sleep(ARRIVAL).await;
            if self.holds_message().await? {
                return Ok(Look::Done(()));
            }
            self.stage.cluster.resume(self.name)?;
            Ok(Look::NotYet(format!("{stops} stops")))
        })
        .await;
        self.is_over.store(true, Ordering::Relaxed);
        caught.map(|()| stops)
    }

    /// Whether the worker, which stands still, is about to send a message.
    async fn holds_message(&self) -> Result<bool> {
        let on_the_way: Vec<String> = {
            let mut baits = self.baits.lock().unwrap_or_else(PoisonError::into_inner);
            baits.retain(|bait| !(bait.friend).with_ledger(|ledger| has(ledger, &bait.sent.text)));
            let ids = baits.iter().map(|bait| bait.sent.message_id.clone());
            ids.collect()
        };
        for id in on_the_way {
            if self.api.outgoing(&id).await?.state == "sending" {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn has(ledger: &Ledger, text: &str) -> bool {
    ledger.received.iter().any(|one| one.text == text)
}
