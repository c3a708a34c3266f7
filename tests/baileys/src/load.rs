//! Many accounts on Baileys in one Node process, for the bench.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{PeerError, Version, install};

/// For a command to be answered; a thousand may be on their way.
const DEADLINE: Duration = Duration::from_secs(120);

/// What the process says by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadEvent {
    /// A linking code of an account.
    Qr { account: String, code: String },
    /// An account is logged in.
    Open { account: String },
    /// An account's connection is over, and stays so.
    Closed { account: String, code: Option<u64> },
    /// Something went wrong inside Baileys.
    Trouble(String),
}

/// The process. Killed when dropped.
pub struct Load {
    process: Child,
    stdin: tokio::sync::Mutex<(u64, ChildStdin)>,
    replies: Replies,
    /// What it says by itself.
    pub events: tokio::sync::Mutex<mpsc::UnboundedReceiver<LoadEvent>>,
    _reader: JoinSet<()>,
}

type Replies = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

impl Load {
    /// Starts a process whose logins are in `folder`.
    ///
    /// # Errors
    /// [`PeerError::Missing`], [`PeerError::Spawn`].
    pub async fn spawn(folder: &Path) -> Result<Self, PeerError> {
        install::check(Version::Seven).await?;
        let mut process = Command::new("node")
            .arg(install::home().join("load.mjs"))
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(PeerError::Spawn)?;
        let stdin = process.stdin.take().expect("stdin is piped");
        let stdout = process.stdout.take().expect("stdout is piped");
        let replies = Replies::default();
        let (sender, events) = mpsc::unbounded_channel();
        let mut reader = JoinSet::new();
        reader.spawn(read(stdout, Arc::clone(&replies), sender));
        Ok(Self {
            process,
            stdin: tokio::sync::Mutex::new((0, stdin)),
            replies,
            events: tokio::sync::Mutex::new(events),
            _reader: reader,
        })
    }

    /// Its process id.
    ///
    /// # Errors
    /// [`PeerError::Gone`]
    pub fn id(&self) -> Result<i32, PeerError> {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        id.ok_or(PeerError::Gone)
    }

    /// Connects an account; without a login linking codes follow.
    ///
    /// # Errors
    /// [`PeerError::Failed`], [`PeerError::Gone`].
    pub async fn connect(&self, account: &str, url: &str) -> Result<(), PeerError> {
        let command = json!({ "account": account, "url": url });
        self.command("connect", command).await.map(drop)
    }

    /// Sends a text once it is in the journal. Returns the message's id.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn send(&self, account: &str, jid: &str, text: &str) -> Result<String, PeerError> {
        let command = json!({ "account": account, "jid": jid, "text": text });
        let sent = self.command("send", command).await?;
        Ok(sent["id"].as_str().unwrap_or_default().to_owned())
    }

    /// How many messages of others are in the journal.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn stored(&self) -> Result<u64, PeerError> {
        let answer = self.command("stored", json!({})).await?;
        Ok(answer["stored"].as_u64().unwrap_or_default())
    }

    async fn command(&self, name: &'static str, mut command: Value) -> Result<Value, PeerError> {
        let (sender, reply) = oneshot::channel();
        {
            let mut stdin = self.stdin.lock().await;
            stdin.0 += 1;
            command["seq"] = stdin.0.into();
            command["do"] = name.into();
            self.replies.lock().insert(stdin.0, sender);
            let line = format!("{command}\n");
            let written = stdin.1.write_all(line.as_bytes()).await;
            written.map_err(|_| PeerError::Gone)?;
        }
        let answer = timeout(DEADLINE, reply)
            .await
            .map_err(|_| PeerError::NoAnswer { command: name })?
            .map_err(|_| PeerError::Gone)?;
        match answer["error"].as_str() {
            Some(reason) => Err(PeerError::Failed {
                command: name,
                reason: reason.to_owned(),
            }),
            None => Ok(answer),
        }
    }
}

async fn read(stdout: ChildStdout, replies: Replies, events: mpsc::UnboundedSender<LoadEvent>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if let Some(reply) = said["reply"].as_u64() {
            let waiting = replies.lock().remove(&reply);
            // Whoever asked may have gone.
            drop(waiting.map(|waiting| waiting.send(said)));
            continue;
        }
        if let Some(event) = event(&said) {
            // Nobody may listen any more.
            let _ = events.send(event);
        }
    }
    // Nobody answers any more.
    replies.lock().clear();
}

fn event(said: &Value) -> Option<LoadEvent> {
    let text = |name: &str| said[name].as_str().map(str::to_owned);
    Some(match said["event"].as_str()? {
        "qr" => LoadEvent::Qr {
            account: text("account")?,
            code: text("code")?,
        },
        "open" => LoadEvent::Open {
            account: text("account")?,
        },
        "close" => LoadEvent::Closed {
            account: text("account")?,
            code: said["code"].as_u64(),
        },
        "trouble" => LoadEvent::Trouble(text("error")?),
        _ => return None,
    })
}
