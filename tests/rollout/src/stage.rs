//! What is there: pods behind one address, linked accounts, and phones to chat
//! with.

use std::path::PathBuf;

use anyhow::{Context, Result};
use emulator::{Emulator, Size};
use harness::api::Api;
use harness::scene::{Linked, Scene};
use harness::worker::WorkerSetup;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wa_sim::phone::Phone;

use crate::deployment::{Deployment, Version};
use crate::manifest::Manifest;
use crate::network::Network;
use crate::options::{Options, StoreKind};
use crate::service::Service;

/// What the loss of its node does to a pod here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It is killed, and the kernel closes its connections.
    Kill,
    /// Its network is gone, and it is killed: the embedded store is a file, which it
    /// would still reach.
    Cut,
    /// Its network is gone, and the store with it; it is killed once others have taken
    /// its accounts over.
    CutAlone,
}

/// See the module.
pub(crate) struct Stage<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) manifest: &'a Manifest,
    pub(crate) loss: Loss,
    pub(crate) deployment: Deployment<'a>,
    pub(crate) service: Service,
    pub(crate) old: Version,
    pub(crate) new: Version,
    pub(crate) accounts: Vec<Linked>,
    pub(crate) contacts: Vec<Phone>,
    address: String,
    // Ends with the stage.
    _serving: JoinSet<Result<()>>,
    // Its data is in memory and ends with it: after the workers.
    _emulator: Option<Emulator>,
}

impl<'a> Stage<'a> {
    /// Starts everything and links the accounts.
    ///
    /// # Errors
    /// Something does not start, or an account is not linked.
    pub(crate) async fn set(
        scene: &'a Scene,
        binary: PathBuf,
        options: &Options,
        manifest: &'a Manifest,
        network: &'a Network,
    ) -> Result<Self> {
        println!("logs and data in {}", scene.folder().display());
        let mut template = WorkerSetup::new(binary.clone(), "", scene.folder(), &scene.sim().url())
            .with(&["--send-rate", "0", "--send-chat-rate", "0"]);
        // A killed pod's last line may be anything; texts must not be in it.
        scene.allow_error("");
        template.generate_keys().await?;
        let mut emulator = None;
        if options.store == StoreKind::Firestore {
            emulator = Some(Emulator::start_at(network.outside(), Size::Large).await?);
            let project = emulator::project_id();
            template = template.with(&["--store", "firestore", "--firestore-project", &project]);
            let host = emulator.as_ref().map(Emulator::host).unwrap_or_default();
            template = template.with(&["--firestore-emulator-host", host]);
        }
        let version = |name, binary| Version { name, binary };
        let old = version(
            "old",
            options.from.clone().unwrap_or_else(|| binary.clone()),
        );
        let new = version("new", binary);

        let service = Service::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let mut serving = JoinSet::new();
        serving.spawn(service.clone().run(listener));
        let deployment = Deployment::new(scene, template, manifest, network, service.clone());
        let loss = match (network, options.store) {
            (Network::Loopback, _) => Loss::Kill,
            (Network::Namespaces(_), StoreKind::Sqlite) => Loss::Cut,
            (Network::Namespaces(_), StoreKind::Firestore) => Loss::CutAlone,
        };
        let mut stage = Self {
            scene,
            manifest,
            loss,
            deployment,
            service,
            old,
            new,
            accounts: Vec::new(),
            contacts: Vec::new(),
            address,
            _serving: serving,
            _emulator: emulator,
        };
        // The first one makes the database.
        stage.deployment.add(&stage.old).await?;
        stage
            .deployment
            .scale(&stage.old, manifest.replicas)
            .await
            .context("the pods at the beginning")?;
        for number in 0..options.accounts {
            let account = stage
                .scene
                .link(&stage.api(), &format!("account {number}"))
                .await?;
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

    /// The API through the service: of any pod that is ready.
    pub(crate) fn api(&self) -> Api {
        // Twice the same address: what may be repeated is asked again there.
        let base = format!("http://{}", self.address);
        Api::at_any([base.clone(), base])
    }
}
