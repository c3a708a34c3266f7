//! What no event tells, looked at now and then: stages, silence, stalls, memory.

use std::sync::atomic::Ordering;
use std::time::Duration;

use coordinator_lib::clock::Boottime;
use whatsapp::Stage;

use super::{Driver, Exit};
use crate::account::pulse::{Pulse, Stall};
use crate::account::state::{Input, Phase};

/// How often the engine's memory is looked at, which walks through all of it.
const MEMORY_INTERVAL: Duration = Duration::from_secs(30);

/// It is not worth a longer wait.
const MEMORY_LIMIT: Duration = Duration::from_secs(1);

impl Driver {
    /// Looks at what no event tells.
    pub(super) async fn look(&mut self) -> Result<(), Exit> {
        let stage = self.machine.stage().map(Stage::name);
        if self.record.doc().stage.as_deref() != stage {
            self.record
                .change_status("stage", |doc| doc.stage = stage.map(str::to_owned));
        }
        if self.record.is_dirty() {
            self.write_record().await;
        }
        let now = self.term.clock().boottime();
        if self.log_out_by.is_some_and(|limit| limit <= now) {
            tracing::warn!(account.id = %self.term.account, "logged out without a connection: the phone may still list this device");
            return self.end_link().await;
        }
        if self.memory_at <= now
            && let Some(instance) = &self.instance
        {
            self.memory_at = now + MEMORY_INTERVAL;
            let limit = self.term.clock().sleep(MEMORY_LIMIT);
            tokio::select! {
                biased;
                bytes = instance.link.memory_bytes() => {
                    self.observed.memory.store(bytes.unwrap_or(0), Ordering::Relaxed);
                }
                () = limit => {
                    // A busy engine; it is looked at again later.
                }
            }
        }
        self.retry_with_other_version().await?;
        if let Some(stall) = self.stall(now) {
            self.observed.stalled(stall);
            tracing::warn!(account.id = %self.term.account, stall = stall.name(), "connection is dead");
            self.drive(Input::Silent, stall.name()).await?;
        }
        Ok(())
    }

    /// Whoever was refused for its version waits no longer than for another one.
    pub(super) async fn retry_with_other_version(&mut self) -> Result<(), Exit> {
        if self.is_outdated && self.parts.versions.current() > self.announced {
            self.is_outdated = false;
            return self.drive(Input::Retry, "another WhatsApp version").await;
        }
        Ok(())
    }

    /// What is wrong with the connection, if there is one.
    pub(super) fn stall(&self, now: Boottime) -> Option<Stall> {
        let (Phase::Connected { .. }, Some(connected_at), Some(instance)) =
            (self.machine.phase(), self.connected_at, &self.instance)
        else {
            return None;
        };
        let pump = &self.observed.pump;
        let unanswered = pump.unanswered.load(Ordering::Relaxed);
        let pulse = Pulse {
            connected_at,
            last_frame_in: instance.link.stats().last_frame_in,
            sends_unanswered: unanswered.saturating_sub(self.unanswered_before),
            sends_hung_in_a_row: pump.hung_in_a_row.load(Ordering::Relaxed),
        };
        pulse.stall(now, self.parts.account.silence_limit)
    }
}
