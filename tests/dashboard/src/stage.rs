//! What scripts act in front of: a scene with workers and phones, and what a
//! script may ask of it.

use anyhow::{Context, Result};
use harness::cluster::Cluster;
use harness::scene::Scene;
use serde::Deserialize;
use serde_json::{Value, json};

/// See the module.
pub(crate) struct Stage<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) cluster: Cluster,
}

/// What a script asks for.
#[derive(Debug, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// The phone with this number scans a code.
    Scan { number: String, code: String },
    /// The phone with this number types a code.
    EnterCode { number: String, code: String },
    /// The phone sends a picture to a number.
    SendPicture {
        from: String,
        to: String,
        content: Vec<u8>,
    },
    /// The phone writes to a number.
    Write {
        from: String,
        to: String,
        text: String,
    },
    /// The phone reads all that came.
    Read { number: String },
    /// SIGKILL to a worker.
    Kill { worker: String },
}

impl<'a> Stage<'a> {
    /// A stage without workers. They may send events to this machine, and find
    /// files at the simulated WhatsApp.
    ///
    /// # Errors
    /// There is no `worker-sim`.
    pub(crate) fn new(scene: &'a Scene, arguments: &[&str]) -> Result<Self> {
        let media = scene.sim().media_url();
        let template = scene
            .worker("alice")?
            .with(&["--webhook-allow-private", "--whatsapp-media-url", &media])
            .with(arguments);
        Ok(Self {
            scene,
            cluster: Cluster::new(template),
        })
    }

    /// Starts a worker; returns where its page is.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(&self, name: &str) -> Result<String> {
        let setup = self.cluster.setup(name);
        self.scene.watch(&setup);
        self.cluster.start_with(setup).await?;
        Ok(self.cluster.api_of(name)?.base().to_owned())
    }

    /// Does what a script asks for.
    ///
    /// # Errors
    /// It cannot be done; the script is told.
    pub(crate) async fn obey(&self, ask: Ask) -> Result<Value> {
        let sim = self.scene.sim();
        match ask {
            Ask::Scan { number, code } => {
                let phone = sim.phone(&number)?;
                phone.scan(&code).await.context("scanning")?;
            }
            Ask::EnterCode { number, code } => {
                let phone = sim.phone(&number)?;
                phone.enter_code(&code).await.context("typing a code")?;
            }
            Ask::SendPicture { from, to, content } => {
                sim.phone(&from)?.send_picture(&to, &content)?;
            }
            Ask::Write { from, to, text } => {
                sim.phone(&from)?.send_text(&to, &text)?;
            }
            Ask::Read { number } => {
                let phone = sim.phone(&number)?;
                let received = phone.ledger().received;
                let ids: Vec<String> = received.into_iter().map(|one| one.id.to_string()).collect();
                phone.read(&ids)?;
            }
            Ask::Kill { worker } => self.cluster.kill(&worker).await?,
        }
        Ok(json!({}))
    }
}
