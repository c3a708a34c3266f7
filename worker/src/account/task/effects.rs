//! Carries out what follows from a step of the machine.

use std::time::Duration;

use coordinator_lib::coordinator::RenewOutcome;
use coordinator_lib::gate::CloseReason;
use coordinator_lib::history::ReleaseReason;
use coordinator_lib::mutation::{self, Mutation};

use whatsapp::{DisconnectReason, Proxy};

use super::{Driver, Exit, with_sources};
use crate::account::instance::Instance;
use crate::account::state::{Effect, Input, Timer};
use crate::model::account::{ProxyUnreadable, SealedProxy};
use crate::model::{AccountDoc, Status, Stored};
use crate::outbox::held;
use crate::telemetry::metrics;

impl Driver {
    pub(super) async fn carry_out(&mut self, effect: Effect) -> Result<(), Exit> {
        match effect {
            Effect::StartEngine => {
                self.turn = Some(self.parts.connects.ask(self.egress().as_deref()));
            }
            Effect::StopEngine => self.end_instance(None).await,
            Effect::FreezeEngine => {
                // Done first. Whether the account is still ours is asked before
                // the next attempt, which cannot begin without it.
            }
            Effect::SetTimer(Timer::Connecting, wait) => {
                // Begins when the engine does.
                if self.turn.is_none() && self.start_at.is_none() {
                    self.set_connecting(wait.about);
                }
            }
            Effect::SetTimer(Timer::Stable, wait) => {
                self.timers
                    .set(Timer::Stable, self.term.clock().boottime() + wait.about);
            }
            Effect::SetTimer(Timer::Retry, _) => {
                // Set when it was noted, so that both tell the same time.
            }
            Effect::ClearTimer(timer) => {
                self.timers.clear(timer);
                if timer == Timer::Connecting {
                    self.turn = None;
                    self.start_at = None;
                }
            }
            Effect::Error { .. } => {
                // Noted.
            }
            Effect::Count(reason) => {
                metrics::disconnected(reason.name());
                self.parts.connects.ended(self.egress().as_deref(), &reason);
                self.is_outdated = reason == DisconnectReason::ClientOutdated;
                if self.is_outdated {
                    let proxy = self.proxy().ok().flatten();
                    self.parts.versions.outdated(self.announced, proxy);
                }
            }
            Effect::OpenOutbox => {
                if let Some(instance) = &self.instance {
                    instance.open_outbox();
                }
            }
            Effect::Alert(action) => {
                tracing::error!(account.id = %self.term.account, status = %self.machine.status(), action = &*action, "a person must look at an account");
            }
            Effect::Release => {
                if self.machine.status() == Status::LoggedOut {
                    self.hold_outbox().await;
                }
                return Err(Exit::Release(ReleaseReason::NotWanted));
            }
        }
        Ok(())
    }

    pub(super) fn set_connecting(&mut self, wait: Duration) {
        self.frames_at_timer = self.frames_in();
        self.timers
            .set(Timer::Connecting, self.term.clock().boottime() + wait);
    }

    pub(super) fn frames_in(&self) -> u64 {
        self.instance
            .as_ref()
            .map_or(0, |instance| instance.link.stats().frames_in)
    }

    /// Starts an engine, after another look at the lease.
    pub(super) async fn start_engine(&mut self) -> Result<(), Exit> {
        if let Some(left) = self.instance.take() {
            // The machine ends one before it begins another.
            left.stop(&self.term, self.parts.account.shutdown_limit)
                .await;
        }
        self.look_at_lease().await?;
        self.begin_attempt();
        self.announced = self.parts.versions.current();
        let started = match self.proxy() {
            Ok(proxy) => Instance::start(&self.parts, &self.term, &self.observed, proxy)
                .await
                .map_err(|error| with_sources(&error)),
            Err(error) => Err(error.to_string()),
        };
        match started {
            Ok(instance) => {
                let wishes = self.wishes.borrow().clone();
                let doc = wishes.as_ref().and_then(AccountDoc::read_or_skip);
                instance.show(doc.and_then(|record| record.value.available));
                self.instance = Some(instance);
                self.set_connecting(self.parts.account.connecting_timeout);
                Ok(())
            }
            Err(message) => {
                tracing::error!(account.id = %self.term.account, error = message, "engine did not start");
                Box::pin(self.drive(Input::EngineFailed { message }, "engine did not start")).await
            }
        }
    }

    /// Before each attempt: whether the account is still ours.
    pub(super) async fn look_at_lease(&self) -> Result<(), Exit> {
        match self.term.ownership.renew().await {
            Ok(RenewOutcome::Renewed { .. }) => Ok(()),
            Ok(RenewOutcome::Lost) if mutation::is_on(Mutation::SkipGate) => Ok(()),
            Ok(RenewOutcome::Lost) => Err(Exit::Lost(CloseReason::LeaseLost)),
            Err(error) => {
                // The gates' deadlines decide for how long that may go on.
                tracing::warn!(account.id = %self.term.account, %error, "lease was not looked at");
                Ok(())
            }
        }
    }

    /// The account's own proxy, as its document has it now.
    fn proxy(&self) -> Result<Option<Proxy>, ProxyUnreadable> {
        let Some(sealed) = self.sealed_proxy() else {
            return Ok(None);
        };
        let account = self.term.account.as_str();
        sealed.open(&self.term.data_key, account).map(Some)
    }

    /// The name of the address that the account's connections come from, where
    /// it has one of its own.
    fn egress(&self) -> Option<String> {
        let sealed = self.sealed_proxy()?;
        let address = sealed.address.rsplit('/').next().unwrap_or_default();
        Some(format!("proxy-{address}"))
    }

    fn sealed_proxy(&self) -> Option<SealedProxy> {
        let document = self.wishes.borrow();
        match document.as_ref().and_then(AccountDoc::read_or_skip) {
            Some(record) => record.value.proxy,
            None => self.record.doc().proxy.clone(),
        }
    }

    pub(super) async fn end_instance(&mut self, freeze: Option<CloseReason>) {
        self.connected_at = None;
        self.turn = None;
        self.start_at = None;
        let Some(instance) = self.instance.take() else {
            return;
        };
        let limit = self.parts.account.shutdown_limit;
        match freeze {
            Some(reason) => instance.freeze(&self.term, reason, limit).await,
            None => instance.stop(&self.term, limit).await,
        }
    }

    pub(super) async fn hold_outbox(&self) {
        let account = self.term.account.as_str();
        if let Err(error) = held::hold(&self.parts.term.store, &self.term.journal, account).await {
            tracing::warn!(account.id = account, %error, "outbox was not marked as held");
        }
    }
}
