//! Workers on one store, with linked accounts, and phones that write to them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use emulator::{Emulator, Size};
use futures::StreamExt;
use futures::stream;
use harness::api::Api;
use harness::cluster::Cluster;
use harness::scene::{Linked, Scene, Sent};
use harness::wait::{self, Look};
use harness::worker::WorkerSetup;
use wa_sim::phone::Phone;

use crate::metrics::Calls;
use crate::options::StoreKind;

/// For messages to arrive.
pub(crate) const ARRIVAL_LIMIT: Duration = Duration::from_secs(120);

/// For accounts to be connected.
pub(crate) const CONNECTED_LIMIT: Duration = Duration::from_secs(120);

/// Accounts that are linked at the same time.
const LINKED_AT_ONCE: usize = 8;

/// No limits but the machine's: connects and sends are not paced.
const UNPACED: [&str; 6] = [
    "--connect-rate",
    "0",
    "--send-rate",
    "0",
    "--send-chat-rate",
    "0",
];

/// For the store calls of a worker that does nothing to be counted.
const IDLE: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) accounts: Vec<Linked>,
    pub(crate) contacts: Vec<Phone>,
    pub(crate) scene: Scene,
    // Its data is in memory and ends with it: after the workers.
    _emulator: Option<Emulator>,
}

/// How a stage is set.
pub(crate) struct Setting<'a> {
    pub(crate) store: StoreKind,
    pub(crate) workers: &'a [&'a str],
    /// Accounts that each worker owns at most.
    pub(crate) capacity: usize,
    pub(crate) accounts: usize,
    pub(crate) contacts: usize,
    /// More options of each worker.
    pub(crate) options: &'a [&'a str],
}

impl Stage {
    /// Starts workers and links accounts.
    ///
    /// # Errors
    /// Something does not start, or an account is not linked.
    pub(crate) async fn set(setting: &Setting<'_>) -> Result<Self> {
        println!(
            "Building the worker for the simulated WhatsApp (the first time takes minutes) ..."
        );
        let binary = harness::build::worker_sim().await?;
        let scene = Scene::new().await?;
        let mut setup = WorkerSetup::new(binary, "", scene.folder(), &scene.sim().url())
            .with(&["--capacity", &setting.capacity.to_string()])
            .with(&UNPACED)
            .with(setting.options);
        let mut emulator = None;
        match setting.store {
            StoreKind::Sqlite => {}
            StoreKind::Firestore => {
                let running = Emulator::start(Size::Large).await?;
                setup.generate_keys().await?;
                setup = setup.with(&[
                    "--store",
                    "firestore",
                    "--firestore-project",
                    &emulator::project_id(),
                    "--firestore-emulator-host",
                    running.host(),
                ]);
                emulator = Some(running);
            }
            StoreKind::Memory => anyhow::bail!("processes share no memory"),
        }
        let cluster = Cluster::new(setup);
        for name in setting.workers {
            scene.watch(&cluster.setup(name));
            cluster.start(name).await?;
        }
        let mut stage = Self {
            accounts: Vec::new(),
            contacts: (0..setting.contacts)
                .map(|number| scene.contact(&format!("contact {number}")))
                .collect::<Result<_>>()?,
            cluster,
            scene,
            _emulator: emulator,
        };
        stage.link(setting.accounts).await?;
        Ok(stage)
    }

    /// Links accounts until there are so many.
    ///
    /// # Errors
    /// One is not linked.
    pub(crate) async fn link(&mut self, count: usize) -> Result<()> {
        println!("Linking {count} accounts ...");
        let api = self.cluster.api();
        let scene = &self.scene;
        let linked: Vec<Result<Linked>> = stream::iter(self.accounts.len()..count)
            .map(async |number| {
                scene
                    .link(&api.for_client(number), &number.to_string())
                    .await
            })
            .buffered(LINKED_AT_ONCE)
            .collect()
            .await;
        self.accounts
            .extend(linked.into_iter().collect::<Result<Vec<_>>>()?);
        Ok(())
    }

    /// Every contact with every account.
    pub(crate) fn chats(&self) -> Vec<(&Phone, &Linked)> {
        let accounts = self.accounts.iter();
        accounts
            .flat_map(|account| self.contacts.iter().map(move |contact| (contact, account)))
            .collect()
    }

    /// Each contact writes to each account, so often, as fast as it can, and all
    /// of it is stored and acknowledged. Returns how many messages there were.
    ///
    /// # Errors
    /// The simulator refuses one, or one is not acknowledged in time.
    pub(crate) async fn phones_write(&self, each: usize) -> Result<usize> {
        let mut written: Vec<(&Phone, Sent)> = Vec::new();
        for number in 0..each {
            for (contact, account) in self.chats() {
                let sent = self
                    .scene
                    .write(contact, account, &format!("in {number}"))?;
                written.push((contact, sent));
            }
        }
        until_acknowledged(&written).await?;
        Ok(written.len())
    }

    /// Counts what was sent, and what came of it.
    ///
    /// # Errors
    /// No worker answers.
    pub(crate) async fn counts(&self) -> Result<harness::ledger::Counts> {
        let counts = self
            .scene
            .settled(&self.cluster.api(), ARRIVAL_LIMIT)
            .await?;
        self.scene.check_logs()?;
        Ok(counts)
    }

    /// The accounts that a worker owns, as the store says.
    ///
    /// # Errors
    /// No worker answers.
    pub(crate) async fn owned_by(&self, name: &str) -> Result<Vec<&Linked>> {
        let owned = self.cluster.api_of_running()?.accounts().await?;
        let is_owned = |account: &&Linked| {
            owned.iter().any(|known| {
                known.id == account.id
                    && known
                        .owner
                        .as_ref()
                        .is_some_and(|owner| owner.worker == name)
            })
        };
        Ok(self.accounts.iter().filter(is_owned).collect())
    }

    /// Waits until all accounts are connected, and no worker that runs has many
    /// more of them than another.
    ///
    /// # Errors
    /// They are not in time.
    pub(crate) async fn until_even(&self) -> Result<()> {
        let names = self.cluster.running();
        wait::until("accounts are shared out", 2 * CONNECTED_LIMIT, async || {
            let known = self.cluster.api_of_running()?.accounts().await?;
            let owned = names.iter().map(|name| {
                let is_its = |account: &&harness::api::Account| {
                    account.status == "connected"
                        && account
                            .owner
                            .as_ref()
                            .is_some_and(|owner| owner.worker == *name)
                };
                known.iter().filter(is_its).count()
            });
            let owned: Vec<usize> = owned.collect();
            let (most, least) = (owned.iter().max(), owned.iter().min());
            let (most, least) = (most.context("workers")?, least.context("workers")?);
            let is_even = owned.iter().sum::<usize>() == self.accounts.len() && most - least <= 1;
            Ok(Look::some(is_even.then_some(()), owned))
        })
        .await
    }
}

/// Waits until each message is acknowledged by a device that is no phone: a
/// worker does that once it has stored it.
///
/// # Errors
/// One is not in time.
pub(crate) async fn until_acknowledged(written: &[(&Phone, Sent)]) -> Result<()> {
    wait::until("every message is acknowledged", ARRIVAL_LIMIT, async || {
        let missing = written.iter().filter(|(contact, sent)| {
            contact.with_ledger(|ledger| {
                let sent = ledger.sent(&sent.message_id);
                !sent.is_some_and(|sent| {
                    let mut receipts = sent.receipts.iter();
                    receipts.any(|receipt| receipt.from.device > 0 && receipt.kind != "retry")
                })
            })
        });
        let missing = missing.count();
        Ok(Look::some((missing == 0).then_some(()), missing))
    })
    .await
}

/// What a worker asks of its store while it does nothing, in a second.
///
/// # Errors
/// It does not answer.
pub(crate) async fn idle_calls(api: &Api) -> Result<(f64, f64)> {
    let before = Calls::of(api).await?;
    let began = Instant::now();
    tokio::time::sleep(IDLE).await;
    let calls = Calls::of(api).await?.since(before);
    let seconds = began.elapsed().as_secs_f64();
    ensure!(calls.commits > 0, "a worker that lives writes heartbeats");
    Ok((calls.commits as f64 / seconds, calls.reads as f64 / seconds))
}
