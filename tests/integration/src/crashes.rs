//! SIGKILL at any moment, with traffic in both directions.

use std::time::Duration;

use anyhow::Result;
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, play};

/// Kills in one run; each costs a restart.
const KILLS: usize = 4;
/// Messages each way before a kill.
const MESSAGES: usize = 12;

/// A small generator: the moments of a run can be had again from its seed.
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: u64) -> u64 {
        // Knuth's MMIX constants.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// The seed of `LEASEHOLD_SEED`, or one from the clock.
fn seed() -> u64 {
    let given = std::env::var("LEASEHOLD_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |now| now.as_secs())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_at_any_moment_loses_and_doubles_nothing() -> Result<()> {
    let seed = seed();
    eprintln!("to repeat: LEASEHOLD_SEED={seed}");
    let mut moments = Moments(seed);
    play(async |scene| {
        let mut worker = scene.worker("alice")?.start().await?;
        let peer = scene.contact("Peer")?;
        let account = scene.link(worker.api(), "sales").await?;
        scene.mark_restart();

        for round in 0..KILLS {
            let api = worker.api().clone();
            let kill_after = Duration::from_millis(moments.next(600));
            let traffic = async {
                for number in 0..MESSAGES {
                    let label = format!("round {round} number {number}");
                    scene.write(&peer, &account, &label)?;
                    // A client that gets no answer asks again, under the same key.
                    let text = scene.text(&label);
                    let (id, to) = (&account.id, peer.number());
                    api.send_text_until_accepted(id, to, &text, &label, LINK_LIMIT)
                        .await?;
                    scene.note_accepted(id, &peer, &text);
                }
                anyhow::Ok(())
            };
            let restart = async {
                tokio::time::sleep(kill_after).await;
                worker.kill().await?.start().await
            };
            let (traffic, restarted) = tokio::join!(traffic, restart);
            traffic?;
            worker = restarted?;
            scene::until_connected(scene, worker.api(), &account, LINK_LIMIT).await?;
        }

        let counts = scene.settle(worker.api(), 2 * DELIVERY_LIMIT).await?;
        assert_eq!(
            (counts.sent, counts.received),
            (KILLS * MESSAGES, KILLS * MESSAGES)
        );
        Ok(())
    })
    .await
}
