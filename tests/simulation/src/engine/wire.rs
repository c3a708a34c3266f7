//! Frames: each passes the wire gate, takes a while until it is on the wire, and
//! a while on it. The pass is held until the frame has arrived, as for the
//! stand-in of `work`: what is on its way is not forgotten by who sent it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coordinator_lib::gate::GateClosed;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::Instance;
use crate::post::Cargo;
use crate::process::{Domain, Running};
use crate::server::Says;
use crate::work;

/// Frames that have passed the gate and not arrived yet.
#[derive(Default)]
pub(super) struct Underway {
    count: AtomicU64,
    landed: Notify,
    /// When the last one arrives: frames of one connection keep their order.
    last: Mutex<u64>,
}

impl Underway {
    fn leave(&self) {
        if self.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.landed.notify_waiters();
        }
    }

    /// Waits until there is none.
    pub(super) async fn landed(&self) {
        loop {
            let landed = self.landed.notified();
            if self.count.load(Ordering::Relaxed) == 0 {
                return;
            }
            landed.await;
        }
    }
}

impl Instance {
    /// Sends a frame; returns once it has left. Dropped, it may still leave.
    pub(super) async fn send_frame(
        self: &Arc<Self>,
        counter: i64,
        cargo: Cargo,
    ) -> Result<(), GateClosed> {
        let engines = &self.engines;
        let says = match &cargo {
            Cargo::Login(_) => Says::Login,
            Cargo::Message { chat, .. } => Says::Message {
                chat: *chat,
                counter,
            },
            Cargo::Acknowledged(letters) => {
                Says::Acknowledged(letters.last().copied().unwrap_or_default())
            }
            Cargo::Ping => Says::Ping,
        };
        let (gap, travel) = work::times(&engines.rng, engines.has_long_frames, says);
        let pass = self.gates.wire.pass().await?;
        engines.process.count_on_wire(true);
        self.underway.count.fetch_add(1, Ordering::Relaxed);
        self.stats.lock().frames_out += 1;
        let stops = engines.process.stops();
        let (leaves, left) = oneshot::channel();
        let instance = Arc::clone(self);
        let flight = async move {
            let engines = &instance.engines;
            // Between the check and the wire: encryption, a queue.
            engines.clock.sleep(gap).await;
            let process = &engines.process;
            let frame = instance.sender.frame(process, stops, says);
            let timeline = &engines.sea.timeline;
            let travel = instance.in_order(travel);
            let arrival = {
                let (server, post) = (Arc::clone(&engines.server), Arc::clone(&engines.post));
                move || {
                    server.receive(&frame);
                    let sender = &frame.sender;
                    post.take(&sender.account, sender.connection, cargo);
                }
            };
            timeline.quietly(travel, None, arrival);
            // Whoever waited may have given up.
            let _ = leaves.send(());
            let owner = Some((Arc::clone(process), Domain::Work));
            timeline.sleep(travel, owner).await;
            process.count_on_wire(false);
            instance.underway.leave();
            drop(pass);
        };
        engines
            .tracker
            .spawn(Running::new(&engines.process, Domain::Work, flight));
        // An error cannot be: the flight sends before it ends.
        let _ = left.await;
        Ok(())
    }

    /// How long until a frame arrives that would by itself take so long.
    fn in_order(&self, travel: Duration) -> Duration {
        let now = self.engines.sea.timeline.now();
        let mut last = self.underway.last.lock();
        let nanos = u64::try_from(travel.as_nanos()).unwrap_or(u64::MAX);
        *last = (*last).max(now.saturating_add(nanos));
        Duration::from_nanos(*last - now)
    }
}
