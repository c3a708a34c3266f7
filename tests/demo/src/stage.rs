//! What an act finds: the simulated WhatsApp, three workers on one store, linked
//! accounts, and phones to chat with.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use emulator::{Emulator, Size};
use futures::future::try_join_all;
use harness::api::Api;
use harness::chat;
use harness::cluster::Cluster;
use harness::scene::{Linked, Scene, Sent};
use harness::worker::WorkerSetup;
use wa_sim::phone::Phone;

use crate::acts::ACCEPT_LIMIT;
use crate::options::{Options, StoreKind};
use crate::screen::Screen;

/// The workers that are there from the beginning.
pub(crate) const WORKERS: [&str; 3] = ["alice", "bob", "carol"];
/// The worker that joins them in the end.
pub(crate) const NEWCOMER: &str = "dave";
/// Who chats with all accounts.
const CONTACTS: [&str; 3] = ["Ada", "Bayo", "Chen"];
/// Are written to around a pause, in conversations of their own.
const PEN_FRIENDS: [&str; 4] = ["Dina", "Emil", "Fang", "Gina"];
/// Names of accounts: their initials tell in one line who owns what.
const ACCOUNTS: [&str; 26] = [
    "Athens", "Berlin", "Cairo", "Delhi", "Essen", "Fargo", "Genoa", "Hanoi", "Izmir", "Jaffa",
    "Kyoto", "Lagos", "Milan", "Nice", "Oslo", "Paris", "Quito", "Rome", "Sofia", "Tunis", "Utica",
    "Venice", "Warsaw", "Xalapa", "York", "Zagreb",
];
/// Breaks the rules that `--unfenced` is about, in the simulation build only.
const MUTATIONS: (&str, &str) = ("LEASEHOLD_MUTATIONS", "skip-fence,skip-order,skip-gate");

/// See the module.
pub(crate) struct Stage<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) screen: &'a Screen,
    pub(crate) cluster: Cluster,
    /// Any of the first three workers, whichever answers.
    pub(crate) api: Api,
    pub(crate) accounts: Vec<Linked>,
    pub(crate) contacts: Vec<Phone>,
    pub(crate) pen_friends: Vec<Phone>,
    // Its data is in memory and ends with it: after the workers.
    _emulator: Option<Emulator>,
}

/// Who owns an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owned {
    /// The account's initial.
    pub(crate) initial: char,
    /// The account's id.
    pub(crate) id: String,
    /// The worker's name, if somebody owns it.
    pub(crate) worker: Option<String>,
    /// The fencing number; 0 if nobody owns it.
    pub(crate) epoch: i64,
    /// `connected`, …
    pub(crate) status: String,
}

impl<'a> Stage<'a> {
    /// Starts everything and links the accounts.
    ///
    /// # Errors
    /// Something does not start, or an account is not linked.
    pub(crate) async fn set(
        scene: &'a Scene,
        screen: &'a Screen,
        binary: PathBuf,
        options: &Options,
    ) -> Result<Self> {
        screen.head("The stage");
        screen.say(&format!(
            "simulated WhatsApp at {}, in this process, {}",
            scene.sim().url(),
            std::process::id()
        ));
        let mut setup = WorkerSetup::new(binary, "", scene.folder(), &scene.sim().url());
        screen.say(&format!("program {}", setup.binary.display()));
        screen.say(&format!("logs and data in {}", scene.folder().display()));
        let mut emulator = None;
        match options.store {
            StoreKind::Sqlite => {}
            StoreKind::Firestore => {
                let running = Emulator::start(Size::Large).await?;
                let project = emulator::project_id();
                screen.say(&format!(
                    "Firestore emulator at {}, project {project}",
                    running.host()
                ));
                setup.generate_keys().await?;
                setup = setup.with(&[
                    "--store",
                    "firestore",
                    "--firestore-project",
                    &project,
                    "--firestore-emulator-host",
                    running.host(),
                ]);
                emulator = Some(running);
            }
        }
        if options.unfenced {
            screen.say("UNFENCED: fence and gates are off; this must end with violations");
            setup = setup.with_variable(MUTATIONS.0, MUTATIONS.1);
        }

        let cluster = Cluster::new(setup);
        // One after the other: the first one makes the key ring.
        for name in WORKERS {
            start(scene, screen, &cluster, name).await?;
        }
        let api = cluster.api();

        screen.head(&format!(
            "Linking {} accounts by QR code",
            options.accounts()
        ));
        let linking =
            ACCOUNTS[..options.accounts()]
                .iter()
                .enumerate()
                .map(async |(number, name)| {
                    let account = scene.link(&api.for_client(number), name).await?;
                    screen.say(&format!(
                        "{name} scanned by the phone {}, connected",
                        account.number()
                    ));
                    anyhow::Ok(account)
                });
        let accounts = try_join_all(linking).await?;
        let contacts = CONTACTS[..options.contacts()]
            .iter()
            .map(|name| scene.contact(name))
            .collect::<Result<Vec<Phone>>>()?;
        Ok(Self {
            scene,
            screen,
            cluster,
            api,
            accounts,
            contacts,
            pen_friends: PEN_FRIENDS
                .iter()
                .map(|name| scene.contact(name))
                .collect::<Result<Vec<Phone>>>()?,
            _emulator: emulator,
        })
    }

    /// Starts a worker, for the first time or again.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(&self, name: &str) -> Result<()> {
        start(self.scene, self.screen, &self.cluster, name).await
    }

    /// A client sends a text for an account, and notes the 202.
    ///
    /// # Errors
    /// As for [`chat::send`].
    pub(crate) async fn send(
        &self,
        api: &Api,
        account: &Linked,
        contact: &Phone,
        label: &str,
    ) -> Result<Sent> {
        chat::send(self.scene, api, account, contact, label, ACCEPT_LIMIT).await
    }

    /// Who owns what, as the store says.
    ///
    /// # Errors
    /// No worker answers.
    pub(crate) async fn owners(&self) -> Result<Vec<Owned>> {
        let mut owned: Vec<Owned> = self
            .cluster
            .api_of_running()?
            .accounts()
            .await?
            .into_iter()
            .map(|account| Owned {
                initial: account.name.chars().next().unwrap_or('?'),
                id: account.id,
                epoch: account.owner.as_ref().map_or(0, |owner| owner.epoch),
                worker: account.owner.map(|owner| owner.worker),
                status: account.status,
            })
            .collect();
        owned.sort_by_key(|account| account.initial);
        Ok(owned)
    }

    /// The accounts that a worker owns, as the store says.
    ///
    /// # Errors
    /// No worker answers.
    pub(crate) async fn owned_by(&self, name: &str) -> Result<Vec<&Linked>> {
        let owners = self.owners().await?;
        Ok(self
            .accounts
            .iter()
            .filter(|account| {
                owners
                    .iter()
                    .any(|owned| owned.id == account.id && owned.worker.as_deref() == Some(name))
            })
            .collect())
    }

    /// The running worker with the most accounts, but not `other`.
    ///
    /// # Errors
    /// No worker answers, or none has accounts.
    pub(crate) async fn busiest(&self, other: Option<&str>) -> Result<String> {
        let owners = self.owners().await?;
        let count = |name: &String| {
            let is_its = |owned: &&Owned| owned.worker.as_ref() == Some(name);
            owners.iter().filter(is_its).count()
        };
        self.cluster
            .running()
            .into_iter()
            .filter(|name| Some(&**name) != other)
            // The last of equals; that is the first by name here.
            .rev()
            .max_by_key(count)
            .filter(|name| count(name) > 0)
            .context("no worker owns accounts")
    }

    /// Says what can be tried by hand while everything is left running.
    pub(crate) fn explain(&self) {
        let base = self.api.base();
        let (account, contact) = (&self.accounts[0], &self.contacts[0]);
        println!("\nEverything is left running. To try by hand:");
        for name in self.cluster.running() {
            if let Ok(api) = self.cluster.api_of(&name) {
                println!("  {name:<22} {}/", api.base());
            }
        }
        println!("Each of them answers for all accounts:");
        println!("  health                 curl {base}/health");
        println!("  who owns what          curl {base}/v1/accounts");
        println!("  the workers            curl {base}/v1/workers");
        println!(
            "  who owned {:<12} curl {base}/v1/accounts/{}/history",
            ACCOUNTS[0], account.id
        );
        println!(
            "  send as {:<14} curl {base}/v1/accounts/{}/messages \\",
            ACCOUNTS[0], account.id
        );
        println!("                           -H 'Content-Type: application/json' \\");
        println!(
            "                           -d '{{\"to\":\"{}\",\"text\":\"hello\"}}'",
            contact.number()
        );
        println!(
            "  its conversations      curl {base}/v1/accounts/{}/threads",
            account.id
        );
        println!(
            "  the simulated WhatsApp {}   (phones, faults, oracle)",
            self.scene.sim().admin_url()
        );
        println!("  logs and data          {}", self.scene.folder().display());
        println!(
            "Kill a worker and watch its accounts move. Ctrl-C ends it and removes the folder."
        );
    }
}

async fn start(scene: &Scene, screen: &Screen, cluster: &Cluster, name: &str) -> Result<()> {
    scene.watch(&cluster.setup(name));
    let id = cluster.start(name).await?;
    screen.say(&format!(
        "{name} serves at {}, process {id}",
        cluster.api_of(name)?.base()
    ));
    Ok(())
}

/// The longest of some times, in seconds; none of none.
pub(crate) fn max_s(times: &[Duration]) -> Option<f64> {
    times.iter().max().map(Duration::as_secs_f64)
}
