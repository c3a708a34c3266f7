//! Makes things happen, and mends them.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "most tables of a kind concern a few of them"
)]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use harness::scene::LINK_LIMIT;
use harness::wait::{self, Look};
use rusqlite::Connection;
use tokio::time::{Instant, sleep, sleep_until};
use wa_sim::fault::{Disconnect, Fault, FaultKind, MessagePoint};

use crate::plan::{Event, Kind, Plan, Target};
use crate::proxy::Flow;
use crate::stage::{GUEST, Links, Stage, WORKERS};

/// For a worker to start: longer than all that is in its way.
const START_LIMIT: Duration = Duration::from_secs(120);

/// The longest that bytes come late.
const LATE_MAX: Duration = Duration::from_millis(400);

/// Of a thousand packets so many are lost at most.
const LOSS_MAX: u32 = 300;

/// What happened.
pub(crate) struct Faults<'a> {
    stage: &'a Stage<'a>,
    counts: Mutex<BTreeMap<&'static str, usize>>,
}

impl<'a> Faults<'a> {
    pub(crate) fn new(stage: &'a Stage<'a>) -> Self {
        Self {
            stage,
            counts: Mutex::default(),
        }
    }

    /// How often each kind happened.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lets everything happen at its time.
    ///
    /// # Errors
    /// A worker that does not start again, or does not end.
    pub(crate) async fn play(&self, plan: &Plan) -> Result<()> {
        let begun = Instant::now();
        let events = plan.events.iter().map(async |event| {
            sleep_until(begun + event.at).await;
            println!("{event}");
            let done = self.happen(event).await;
            done.with_context(|| event.to_string())
        });
        try_join_all(events).await.map(drop)
    }

    async fn happen(&self, event: &Event) -> Result<()> {
        let stage = self.stage;
        let cluster = &stage.cluster;
        let lasts = || sleep(event.lasts);
        if let (Kind::Kill | Kind::Stop | Kind::Terminate, Target::Worker(number)) =
            (event.kind, event.target)
            && !cluster.running().iter().any(|name| name == WORKERS[number])
        {
            // Whatever else goes wrong may still keep it from starting.
            println!("{event}: it is not there");
            return Ok(());
        }
        match (event.kind, event.target) {
            (Kind::Kill, Target::Worker(number)) => {
                cluster.kill(WORKERS[number]).await?;
                lasts().await;
                self.start(WORKERS[number]).await?;
            }
            (Kind::Stop, Target::Worker(number)) => {
                cluster.pause(WORKERS[number]).await?;
                lasts().await;
                cluster.resume(WORKERS[number])?;
            }
            (Kind::Terminate, Target::Worker(number)) => {
                // Whatever else goes wrong may be in the way of its order.
                if let Err(error) = cluster.terminate(WORKERS[number]).await {
                    println!("{event}: {error:#}");
                }
                lasts().await;
                self.start(WORKERS[number]).await?;
            }
            (Kind::Join, _) => {
                self.start(GUEST).await?;
                lasts().await;
                if let Err(error) = cluster.terminate(GUEST).await {
                    println!("{event}: {error:#}");
                }
            }
            (Kind::StoreStops, _) => self.store_stops(event.lasts).await?,
            (Kind::DiskFull, _) => {
                let Some(disk) = &stage.disk else {
                    return Ok(());
                };
                disk.fill()?;
                lasts().await;
                disk.clear()?;
            }
            (kind, Target::Worker(number)) => {
                let links = stage.links(WORKERS[number])?;
                let (up, down) = flows(event);
                let Some(link) = link(kind, links) else {
                    bail!("{kind:?} concerns no link");
                };
                link.set(up, down);
                lasts().await;
                link.set(Flow::Free, Flow::Free);
            }
            (Kind::StreamError, Target::Account(number)) => {
                let number = stage.accounts[number].number();
                let how = match event.strength % 4 {
                    0 => Disconnect::StreamError { code: 503 },
                    1 => Disconnect::XmlStreamEnd,
                    2 => Disconnect::Close,
                    _ => Disconnect::Drop,
                };
                stage.scene.sim().disconnect(number, None, how);
            }
            (Kind::MassDisconnect, _) => {
                for account in &stage.accounts {
                    let number = account.number();
                    stage.scene.sim().disconnect(number, None, Disconnect::Drop);
                }
            }
            (kind, target) => self.server_errs(kind, target, event).await?,
        }
        *self
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(event.kind.name())
            .or_default() += 1;
        Ok(())
    }

    /// Starts a worker, again and again, as an orchestrator does: it ends by
    /// itself where the store does not let it begin.
    async fn start(&self, name: &str) -> Result<()> {
        wait::until(&format!("{name} starts"), START_LIMIT, async || match self
            .stage
            .start(name)
            .await
        {
            Ok(()) => Ok(Look::Done(())),
            Err(error) => Ok(Look::NotYet(format!("{error:#}"))),
        })
        .await
    }

    /// The emulator stands still, or somebody else has the embedded database.
    async fn store_stops(&self, lasts: Duration) -> Result<()> {
        if let Some(emulator) = &self.stage.emulator {
            emulator.pause()?;
            sleep(lasts).await;
            return emulator.resume();
        }
        let setup = self.stage.cluster.setup(WORKERS[0]);
        let path = setup.data_folder().join("leasehold.db");
        let lock = move || -> Result<Connection> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(30))?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            Ok(connection)
        };
        let locked = tokio::task::spawn_blocking(lock).await??;
        sleep(lasts).await;
        locked.execute_batch("ROLLBACK")?;
        Ok(())
    }

    async fn server_errs(&self, kind: Kind, target: Target, event: &Event) -> Result<()> {
        let times = 1 + event.strength % 5;
        let fault = match kind {
            Kind::Refusals => FaultKind::failure(503),
            Kind::Duplicates => FaultKind::Duplicate,
            Kind::Corruption => FaultKind::Corrupt,
            Kind::DropBeforeAccept => FaultKind::DropOnMessage {
                point: MessagePoint::BeforeAccept,
            },
            Kind::DropBeforeAck => FaultKind::DropOnMessage {
                point: MessagePoint::BeforeAck,
            },
            Kind::WithheldAcks => FaultKind::WithholdAcks,
            _ => bail!("{kind:?} is nothing that a server does"),
        };
        let mut fault = Fault::new(fault).times(times);
        if let Target::Account(number) = target {
            fault = fault.for_account(self.stage.accounts[number].number());
        }
        let id = self.stage.scene.sim().inject(fault)?;
        sleep(event.lasts).await;
        self.stage.scene.sim().clear_fault(id);
        Ok(())
    }

    /// Everything is as it was, and all accounts are connected.
    ///
    /// # Errors
    /// A worker does not start, or an account does not come back.
    pub(crate) async fn mend(&self) -> Result<()> {
        let stage = self.stage;
        stage.scene.sim().clear_faults();
        for name in WORKERS {
            if !stage.cluster.running().iter().any(|known| known == name) {
                self.start(name).await?;
            }
        }
        let api = stage.cluster.api_of_running()?;
        for account in &stage.accounts {
            // A waiting time may have grown to minutes by now.
            api.until_status(&account.id, &["connected"], 5 * LINK_LIMIT)
                .await?;
        }
        Ok(())
    }
}

/// The link that a kind concerns.
fn link(kind: Kind, links: &Links) -> Option<&crate::proxy::Proxy> {
    match kind {
        Kind::StoreLate | Kind::StoreLossy | Kind::StoreCutUp | Kind::StoreCutDown => {
            links.store.as_ref()
        }
        Kind::WhatsappLate | Kind::WhatsappLossy | Kind::WhatsappCutUp | Kind::WhatsappCutDown => {
            Some(&links.whatsapp)
        }
        _ => None,
    }
}

/// How bytes pass from a worker and to it.
fn flows(event: &Event) -> (Flow, Flow) {
    match event.kind {
        Kind::StoreCutUp | Kind::WhatsappCutUp => (Flow::Cut, Flow::Free),
        Kind::StoreCutDown | Kind::WhatsappCutDown => (Flow::Free, Flow::Cut),
        Kind::StoreLossy | Kind::WhatsappLossy => {
            let loss = Flow::Lossy(LOSS_MAX * event.strength / 1_000);
            (loss, loss)
        }
        _ => {
            let late = Flow::Late(LATE_MAX * event.strength / 1_000);
            (late, late)
        }
    }
}
