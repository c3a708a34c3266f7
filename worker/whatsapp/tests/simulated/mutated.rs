//! A rule of the receiving path, broken on purpose: that it is noticed. In a
//! program of its own, for it is broken for the whole process.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test program"
)]

#[allow(dead_code, reason = "shared with other tests")]
mod account;

use std::sync::atomic::Ordering;

use coordinator_lib::mutation::{self, Mutation};

use crate::account::{LIMIT, OWN, World};

/// What the rows of pending messages, and the question whether a message is
/// stored, are there for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_pending_messages_and_the_question_one_is_acknowledged_and_lost() {
    mutation::plant(&[Mutation::ForgetPending]);
    let mut world = World::new().await;
    let mut run = world.pair().await;
    world.shelf.refuses.store(true, Ordering::SeqCst);
    world.peer.send_text(OWN, "lost").unwrap();
    world.shelf.has_refused().await;
    run.stop().await;
    world.shelf.refuses.store(false, Ordering::SeqCst);
    run = world.start().await;
    world
        .sim
        .wait("it is acknowledged", LIMIT, || {
            world.sim.state().accounts[OWN].devices[0].waiting == 0
        })
        .await
        .unwrap();
    run.stop().await;
    assert!(world.shelf.messages().is_empty());
}
