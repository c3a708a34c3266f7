//! What happens to the workers while everybody chats.
//!
//! | Act | What happens |
//! |---|---|
//! | [`killed`] | SIGKILL: its accounts are connected elsewhere when its session is over; it starts again under its name |
//! | [`stopped`] | SIGTERM: its accounts are handed off; it starts again |
//! | [`paused`] | SIGSTOP, and SIGCONT when others have its accounts: it must stay silent |
//! | [`joined`] | another worker starts: accounts move until all have as many |

mod joined;
mod killed;
mod paused;
mod stopped;

use std::time::Duration;

use anyhow::Result;
use harness::chat::{Chat, ChatParts};

use crate::options::Options;
use crate::stage::Stage;
use crate::watch;

/// For accounts to be connected again: far above what they may take, so that
/// a slow failover is a number in the table and not the end of the demo.
const CONNECTED_LIMIT: Duration = Duration::from_secs(90);

/// For a client to find a worker that accepts a message.
pub(crate) const ACCEPT_LIMIT: Duration = Duration::from_secs(60);

/// What the acts measured.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// From SIGKILL to each account's login elsewhere.
    pub(crate) failover: Vec<Duration>,
    /// From SIGSTOP to each account's login elsewhere.
    pub(crate) paused_failover: Vec<Duration>,
    /// The worker that was stopped.
    pub(crate) stopped: String,
    /// How long each account was not connected around the SIGTERM.
    pub(crate) handoff_disconnected: Vec<Duration>,
    /// Logins of accounts right after the paused worker woke up that no change
    /// of owner explains.
    pub(crate) woken_logins: usize,
    /// The difference between the most and the fewest accounts of a worker.
    pub(crate) imbalance: usize,
}

/// Plays all acts while everybody chats, and shows who owns what.
///
/// # Errors
/// An act that could not be played to its end. Messages that went astray and
/// times that are too long are no errors here but counts.
pub(crate) async fn play_all(stage: &Stage<'_>, options: &Options) -> Result<Times> {
    stage.screen.head("Everybody chats");
    stage.screen.say(&format!(
        "{} conversations, each in both directions, until the last act is over",
        stage.accounts.len() * stage.contacts.len()
    ));
    stage.scene.mark_restart();
    let chat = Chat::new(ChatParts {
        scene: stage.scene,
        api: &stage.api,
        accounts: &stage.accounts,
        contacts: &stage.contacts,
        messages_min: options.messages(),
        pace: options.pace(),
        accept_limit: ACCEPT_LIMIT,
    });
    let mut times = Times::default();
    let acts = async {
        let played = play_each(stage, options, &mut times).await;
        chat.let_end();
        played
    };
    let played = tokio::select! {
        done = async { tokio::try_join!(acts, chat.run()) } => done.map(drop),
        never = watch::watch(stage, &chat) => match never {},
    };
    match played {
        Ok(()) => {}
        // A worker or a session that the broken rules have broken: what was
        // seen until then is counted.
        Err(error) if options.unfenced => {
            let text = format!("{error:#}");
            let first = text.lines().next().unwrap_or_default();
            stage.screen.say(&format!("broken: {first}"));
        }
        Err(error) => return Err(error),
    }
    stage.screen.clear();
    stage
        .screen
        .say(&format!("{} messages were written", chat.written()));
    Ok(times)
}

async fn play_each(stage: &Stage<'_>, options: &Options, times: &mut Times) -> Result<()> {
    // Which of them is the subject of an act does not matter: one that has
    // something to lose.
    until_even(stage, options).await?;
    let killed = stage.busiest(None).await?;
    killed::play(stage, &killed, times).await?;
    until_even(stage, options).await?;
    let stopped = stage.busiest(Some(&killed)).await?;
    stopped::play(stage, &stopped, times).await?;
    times.stopped = stopped;
    until_even(stage, options).await?;
    paused::play(stage, options, times).await?;
    joined::play(stage, options, times).await
}

/// Between two acts accounts move until all workers have as many, unless it is
/// to be quick.
async fn until_even(stage: &Stage<'_>, options: &Options) -> Result<()> {
    if !options.quick {
        joined::until_even(stage, joined::BALANCE_LIMIT).await?;
    }
    Ok(())
}
