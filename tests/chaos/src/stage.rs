//! What is there: workers on one store, each with links of its own, linked
//! accounts, and phones to chat with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use emulator::{Emulator, Size};
use harness::cluster::Cluster;
use harness::scene::{Linked, Scene};
use harness::worker::WorkerSetup;
use wa_sim::phone::Phone;

use crate::disk::Disk;
use crate::options::{Options, StoreKind};
use crate::proxy::Proxy;

/// The workers that are there from the beginning.
pub(crate) const WORKERS: [&str; 3] = ["alice", "bob", "carol"];
/// The one that joins them now and then.
pub(crate) const GUEST: &str = "dave";

/// The variable that names the rules to break.
const MUTATIONS: &str = "LEASEHOLD_MUTATIONS";

/// A worker's links.
#[derive(Debug)]
pub(crate) struct Links {
    /// To the store, where that is elsewhere.
    pub(crate) store: Option<Proxy>,
    /// To WhatsApp.
    pub(crate) whatsapp: Proxy,
}

/// See the module.
pub(crate) struct Stage<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) cluster: Cluster,
    pub(crate) links: BTreeMap<&'static str, Links>,
    pub(crate) accounts: Vec<Linked>,
    pub(crate) contacts: Vec<Phone>,
    pub(crate) disk: Option<Disk>,
    // Its data is in memory and ends with it: after the workers.
    pub(crate) emulator: Option<Emulator>,
}

impl<'a> Stage<'a> {
    /// Starts everything and links the accounts.
    ///
    /// # Errors
    /// Something does not start, or an account is not linked.
    pub(crate) async fn set(scene: &'a Scene, binary: PathBuf, options: &Options) -> Result<Self> {
        println!("logs and data in {}", scene.folder().display());
        let mut setup = WorkerSetup::new(binary, "", scene.folder(), "")
            .with(&["--send-rate", "0", "--send-chat-rate", "0"])
            .with_variable(MUTATIONS, &options.mutations);
        // What is logged as an error while everything goes wrong is no failure;
        // texts, numbers and keys must not be in it all the same.
        scene.allow_error("");
        let (mut disk, mut emulator) = (None, None);
        match options.store {
            StoreKind::Sqlite => {
                disk = Disk::at(&setup.data_folder())?;
                if disk.is_none() {
                    println!("no mounts here: the disk will not be full");
                }
            }
            StoreKind::Firestore => {
                let running = Emulator::start(Size::Huge).await?;
                setup.generate_keys().await?;
                let project = emulator::project_id();
                setup = setup.with(&["--store", "firestore", "--firestore-project", &project]);
                emulator = Some(running);
            }
        }

        let cluster = Cluster::new(setup);
        let mut links = BTreeMap::new();
        for name in WORKERS.into_iter().chain([GUEST]) {
            links.insert(name, Links::new(scene, emulator.as_ref()).await?);
        }
        let mut stage = Self {
            scene,
            cluster,
            links,
            accounts: Vec::new(),
            contacts: Vec::new(),
            disk,
            emulator,
        };
        // One after the other: the first one makes the key ring.
        for name in WORKERS {
            stage.start(name).await?;
        }
        let api = stage.cluster.api();
        for number in 0..options.accounts {
            let api = api.for_client(number as usize);
            let account = scene.link(&api, &format!("account {number}")).await?;
            stage.accounts.push(account);
        }
        for number in 0..options.contacts {
            stage
                .contacts
                .push(scene.contact(&format!("Peer {number}"))?);
        }
        println!("{} accounts are linked", stage.accounts.len());
        Ok(stage)
    }

    /// Starts a worker, for the first time or again.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(&self, name: &str) -> Result<()> {
        let mut setup = self.cluster.setup(name);
        if setup.whatsapp_url.is_empty() {
            let links = self.links(name)?;
            let (_, path) = self
                .scene
                .sim()
                .url()
                .split_once("://")
                .and_then(|(_, rest)| rest.split_once('/'))
                .map_or((String::new(), String::new()), |(host, path)| {
                    (host.to_owned(), path.to_owned())
                });
            setup.whatsapp_url = format!("ws://{}/{path}", links.whatsapp.address());
            if let Some(store) = &links.store {
                let host = store.address().to_string();
                setup = setup.with(&["--firestore-emulator-host", &host]);
            }
            self.scene.watch(&setup);
        }
        self.cluster.start_with(setup).await?;
        Ok(())
    }

    /// A worker's links.
    ///
    /// # Errors
    /// There is no such worker.
    pub(crate) fn links(&self, name: &str) -> Result<&Links> {
        self.links
            .get(name)
            .with_context(|| format!("{name} has links"))
    }
}

impl Links {
    async fn new(scene: &Scene, emulator: Option<&Emulator>) -> Result<Self> {
        let sim = scene.sim().clone();
        let url = sim.url();
        let host = url.split("://").last().unwrap_or_default();
        let host = host.split('/').next().unwrap_or_default();
        let store = match emulator {
            Some(emulator) => Some(Proxy::to(emulator.host().to_owned()).await?),
            None => None,
        };
        Ok(Self {
            store,
            whatsapp: Proxy::telling(
                host.to_owned(),
                Arc::new(move |from, held| sim.note_held(from, held)),
            )
            .await?,
        })
    }
}
