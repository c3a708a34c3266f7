//! One Baileys account in a Node process of its own.
//!
//! Commands are answered one at a time and within [`DEADLINE`]. Dropping a peer
//! kills its process, which is how a crash is played; its folder stays, so that
//! another peer can go on with the same login.

use std::{collections::HashMap, io, path::Path, process::Stdio, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};

use crate::{
    Event, Status, Version, install,
    log::{Log, Mark, Writer, log},
};

/// For each command and each event that is waited for.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Baileys' code of "restart required", with which each pairing ends.
const RESTART_REQUIRED: u16 = 515;

/// Why a peer did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("{what} is not installed; run: {command}")]
    Missing {
        what: &'static str,
        command: &'static str,
    },
    #[error("the peer process did not start")]
    Spawn(#[source] io::Error),
    #[error("the peer process is gone")]
    Gone,
    #[error("the peer could not {command}: {reason}")]
    Failed {
        command: &'static str,
        reason: String,
    },
    #[error("the peer's answer to {command} is not understood")]
    Answer {
        command: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("the peer did not answer {command} in time")]
    NoAnswer { command: &'static str },
    #[error("waited in vain for {what}; the peer's last events: {seen:?}")]
    Timeout {
        what: &'static str,
        seen: Vec<Event>,
    },
    #[error("the connection was closed with {code:?}: {reason:?}")]
    Closed {
        code: Option<u16>,
        reason: Option<String>,
    },
}

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct State {
    pub open: bool,
    pub jid: Option<String>,
    pub lid: Option<String>,
}

/// One account on Baileys.
pub struct Peer {
    /// Killed when dropped.
    _process: Child,
    stdin: ChildStdin,
    log: Log,
    replies: Replies,
    sequence: u64,
    /// Reads the process's output; stopped when dropped.
    _reader: JoinSet<()>,
}

type Replies = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

impl Peer {
    /// Starts a peer whose login is in `folder`; it does not connect yet.
    ///
    /// # Errors
    /// [`PeerError::Missing`], [`PeerError::Spawn`].
    pub async fn spawn(version: Version, folder: &Path) -> Result<Self, PeerError> {
        install::check(version).await?;
        let mut process = Command::new("node")
            .arg(install::home().join("peer.mjs"))
            .arg(folder)
            .arg(version.argument())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(PeerError::Spawn)?;
        let stdin = process.stdin.take().expect("stdin is piped");
        let stdout = process.stdout.take().expect("stdout is piped");
        let (writer, log) = log();
        let replies = Replies::default();
        let mut reader = JoinSet::new();
        reader.spawn(read(stdout, writer, Arc::clone(&replies)));
        Ok(Self {
            _process: process,
            stdin,
            log,
            replies,
            sequence: 0,
            _reader: reader,
        })
    }

    /// Connects to a server: `ws://…`. With no login in the folder, linking
    /// codes follow.
    ///
    /// # Errors
    /// Connected already → [`PeerError::Failed`].
    pub async fn connect(&mut self, url: &str) -> Result<(), PeerError> {
        self.command("connect", json!({ "url": url }))
            .await
            .map(drop)
    }

    /// Connects again to the server of before.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn reconnect(&mut self) -> Result<(), PeerError> {
        self.command("reconnect", json!({})).await.map(drop)
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// Not connected → [`PeerError::Failed`].
    pub async fn disconnect(&mut self) -> Result<(), PeerError> {
        self.command("disconnect", json!({})).await.map(drop)
    }

    /// Connects and waits until it is logged in, which takes an earlier
    /// pairing. Returns the device's address.
    ///
    /// # Errors
    /// Refused → [`PeerError::Closed`].
    pub async fn login(&mut self, url: &str) -> Result<String, PeerError> {
        let mark = self.mark();
        self.connect(url).await?;
        self.opened(mark).await
    }

    /// Connects for the first time, has `scan` show each linking code to a
    /// phone, and waits until the new device is logged in. Returns its address.
    ///
    /// # Errors
    /// The connection closed other than for the restart that belongs to
    /// pairing → [`PeerError::Closed`].
    pub async fn pair<F>(
        &mut self,
        url: &str,
        scan: impl FnOnce(String) -> F,
    ) -> Result<String, PeerError>
    where
        F: Future<Output = ()>,
    {
        let mark = self.mark();
        let code = self.first_code(mark, url).await?;
        scan(code).await;
        self.linked(mark).await
    }

    /// As [`Self::pair`], with a code to be typed on the phone with this number.
    ///
    /// # Errors
    /// As [`Self::pair`].
    pub async fn pair_by_code<F>(
        &mut self,
        url: &str,
        phone: &str,
        enter: impl FnOnce(String) -> F,
    ) -> Result<String, PeerError>
    where
        F: Future<Output = ()>,
    {
        #[derive(Deserialize)]
        struct Code {
            code: String,
        }
        let mark = self.mark();
        // Once it shows a QR code, it can ask for the other kind.
        self.first_code(mark, url).await?;
        let answered = self
            .command("pairingCode", json!({ "phone": phone }))
            .await?;
        let Code { code } = answer("pairingCode", answered)?;
        enter(code).await;
        self.linked(mark).await
    }

    /// Connects, and waits for the first QR code.
    async fn first_code(&mut self, mark: Mark, url: &str) -> Result<String, PeerError> {
        self.connect(url).await?;
        self.wait(mark, "a linking code", |event| {
            if let Event::Qr { code } = event {
                return Some(Ok(code.clone()));
            }
            closed(event)
        })
        .await?
    }

    /// Waits for the restart that belongs to pairing, and logs in.
    async fn linked(&mut self, mark: Mark) -> Result<String, PeerError> {
        match self.opened(mark).await {
            Err(PeerError::Closed {
                code: Some(RESTART_REQUIRED),
                ..
            }) => {}
            other => return other,
        }
        let mark = self.mark();
        self.reconnect().await?;
        self.opened(mark).await
    }

    /// Sends a text and returns the message's id. It has left, no more.
    ///
    /// # Errors
    /// Not connected, or Baileys' own reasons → [`PeerError::Failed`].
    pub async fn send(&mut self, jid: &str, text: &str) -> Result<String, PeerError> {
        #[derive(Deserialize)]
        struct Sent {
            id: String,
        }
        let sent = self
            .command("send", json!({ "jid": jid, "text": text }))
            .await?;
        let sent: Sent = answer("send", sent)?;
        Ok(sent.id)
    }

    /// Sends anything that Baileys can send, in its own shape; `quoted` is a
    /// message in its own shape, too. Returns the message's id.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_content(
        &mut self,
        jid: &str,
        content: serde_json::Value,
        quoted: Option<serde_json::Value>,
    ) -> Result<String, PeerError> {
        #[derive(Deserialize)]
        struct Sent {
            id: String,
        }
        let command = json!({ "jid": jid, "content": content, "quoted": quoted });
        let sent: Sent = answer("sendContent", self.command("sendContent", command).await?)?;
        Ok(sent.id)
    }

    /// Sends a text that disappears so many seconds later.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_for(
        &mut self,
        jid: &str,
        text: &str,
        seconds: u32,
    ) -> Result<String, PeerError> {
        #[derive(Deserialize)]
        struct Sent {
            id: String,
        }
        let options = json!({ "ephemeralExpiration": seconds });
        let command = json!({ "jid": jid, "content": { "text": text }, "options": options });
        let sent: Sent = answer("sendContent", self.command("sendContent", command).await?)?;
        Ok(sent.id)
    }

    /// Says where the media host is.
    ///
    /// # Errors
    /// [`PeerError::Gone`]
    pub async fn use_media_host(&mut self, url: &str) -> Result<(), PeerError> {
        self.command("media", json!({ "url": url })).await.map(drop)
    }

    /// Has it ask for the history when it is linked.
    ///
    /// # Errors
    /// [`PeerError::Gone`]
    pub async fn want_history(&mut self) -> Result<(), PeerError> {
        self.command("wantHistory", json!({})).await.map(drop)
    }

    /// Fetches the file that came with a message: its SHA-256 and its size.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn download(&mut self, id: &str) -> Result<(String, u64), PeerError> {
        #[derive(Deserialize)]
        struct File {
            sha256: String,
            bytes: u64,
        }
        let file: File = answer(
            "download",
            self.command("download", json!({ "id": id })).await?,
        )?;
        Ok((file.sha256, file.bytes))
    }

    /// Sends a file; `kind` and `options` are Baileys' own. Returns the
    /// message's id.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_file(
        &mut self,
        jid: &str,
        path: &Path,
        kind: &str,
        options: serde_json::Value,
    ) -> Result<String, PeerError> {
        #[derive(Deserialize)]
        struct Sent {
            id: String,
        }
        let command = json!({ "jid": jid, "path": path, "as": kind, "options": options });
        let sent: Sent = answer("sendFile", self.command("sendFile", command).await?)?;
        Ok(sent.id)
    }

    /// Votes in a poll of another's.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn vote(&mut self, jid: &str, poll: &str, options: &[&str]) -> Result<(), PeerError> {
        self.command(
            "vote",
            json!({ "jid": jid, "poll": poll, "options": options }),
        )
        .await
        .map(drop)
    }

    /// Waits for a message of this id from another, and returns what it holds
    /// as protobuf's JSON.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn content(&self, since: Mark, id: &str) -> Result<serde_json::Value, PeerError> {
        self.wait(since, "a message's content", |event| {
            let Event::Content {
                id: of,
                from_me: false,
                content,
                ..
            } = event
            else {
                return None;
            };
            (of == id).then(|| serde_json::from_str(content).unwrap_or_default())
        })
        .await
    }

    /// Waits for votes in a poll that the peer made, and returns the options
    /// that have any.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn votes(&self, since: Mark, poll: &str) -> Result<Vec<String>, PeerError> {
        self.wait(since, "votes", |event| {
            let Event::Votes { id, chosen } = event else {
                return None;
            };
            (id == poll).then(|| chosen.clone())
        })
        .await
    }

    /// Marks messages of a chat as read.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn read(&mut self, jid: &str, ids: &[&str]) -> Result<(), PeerError> {
        self.command("read", json!({ "jid": jid, "ids": ids }))
            .await
            .map(drop)
    }

    /// Marks messages of one member of a group as read.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn read_in_group(
        &mut self,
        group: &str,
        participant: &str,
        ids: &[&str],
    ) -> Result<(), PeerError> {
        let command = json!({ "jid": group, "participant": participant, "ids": ids });
        self.command("read", command).await.map(drop)
    }

    /// Calls one of Baileys' own functions for groups, such as
    /// `groupUpdateSubject`, and returns what it returns.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn group(
        &mut self,
        function: &str,
        arguments: serde_json::Value,
    ) -> Result<serde_json::Value, PeerError> {
        let command = json!({ "call": function, "args": arguments });
        let mut reply = self.command("group", command).await?;
        Ok(reply["result"].take())
    }

    /// Waits until a group has changed in this way, in Baileys' word.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn group_changed(&self, since: Mark, wanted: &str) -> Result<String, PeerError> {
        self.wait(since, "a change of a group", |event| {
            let Event::Group { group, change } = event else {
                return None;
            };
            (change == wanted).then(|| group.clone())
        })
        .await
    }

    /// Shows its presence, or what it does in a chat, in Baileys' word.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn presence(&mut self, state: &str, chat: Option<&str>) -> Result<(), PeerError> {
        let command = json!({ "state": state, "jid": chat });
        self.command("presence", command).await.map(drop)
    }

    /// Asks to be told of somebody's presence.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn watch_presence(&mut self, jid: &str) -> Result<(), PeerError> {
        let command = json!({ "jid": jid });
        self.command("presenceSubscribe", command).await.map(drop)
    }

    /// Whether it is logged in, and as whom.
    ///
    /// # Errors
    /// [`PeerError::Gone`]
    pub async fn state(&mut self) -> Result<State, PeerError> {
        answer("state", self.command("state", json!({})).await?)
    }

    /// Disconnects, writes the login down and ends the process.
    ///
    /// # Errors
    /// [`PeerError::Gone`]
    pub async fn quit(mut self) -> Result<(), PeerError> {
        self.command("quit", json!({})).await.map(drop)
    }

    /// Now, for [`Self::wait`].
    pub fn mark(&self) -> Mark {
        self.log.mark()
    }

    /// Every event since the mark.
    pub fn events(&self, since: Mark) -> Vec<Event> {
        self.log.after(since)
    }

    /// The first event since the mark, past or to come, of which `pick` makes
    /// something. `what` is for the error.
    ///
    /// # Errors
    /// [`PeerError::Timeout`], [`PeerError::Gone`].
    pub async fn wait<T>(
        &self,
        since: Mark,
        what: &'static str,
        pick: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, PeerError> {
        self.log.wait(since, what, DEADLINE, pick).await
    }

    /// Whether this text has come by now.
    pub fn received_already(&self, wanted: &str) -> bool {
        let events = self.events(Mark::default());
        let is_it = |event: &Event| matches!(event, Event::Message { text, .. } if text == wanted);
        events.iter().any(is_it)
    }

    /// Waits for a text from another and returns the message's id.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn received(&self, since: Mark, wanted: &str) -> Result<String, PeerError> {
        self.wait(since, "a message", |event| {
            let Event::Message {
                id,
                text,
                from_me: false,
                ..
            } = event
            else {
                return None;
            };
            (text == wanted).then(|| id.clone())
        })
        .await
    }

    /// Waits until a message that the peer sent has come at least that far.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn reached(&self, id: &str, wanted: Status) -> Result<(), PeerError> {
        self.wait(Mark::default(), "a receipt", |event| {
            let Event::Update {
                id: of,
                from_me: true,
                status,
                ..
            } = event
            else {
                return None;
            };
            (of == id && *status >= wanted).then_some(())
        })
        .await
    }

    /// Waits for the end of the connection and returns its code.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn closed(&self, since: Mark) -> Result<Option<u16>, PeerError> {
        self.wait(since, "the end of the connection", |event| {
            if let Event::Close { code, .. } = event {
                return Some(*code);
            }
            None
        })
        .await
    }

    async fn opened(&self, since: Mark) -> Result<String, PeerError> {
        self.wait(since, "a login", |event| {
            if let Event::Open { jid, .. } = event {
                return Some(Ok(jid.clone()));
            }
            closed(event)
        })
        .await?
    }

    async fn command(
        &mut self,
        command: &'static str,
        mut arguments: Value,
    ) -> Result<Value, PeerError> {
        self.sequence += 1;
        arguments["seq"] = self.sequence.into();
        arguments["do"] = command.into();
        let (sender, receiver) = oneshot::channel();
        self.replies.lock().insert(self.sequence, sender);

        let line = format!("{arguments}\n");
        self.stdin
            .write_all(line.as_bytes())
            .await
            .map_err(|_| PeerError::Gone)?;
        let reply = timeout(DEADLINE, receiver)
            .await
            .map_err(|_| PeerError::NoAnswer { command })?
            .map_err(|_| PeerError::Gone)?;
        match reply.get("error").and_then(Value::as_str) {
            Some(reason) => Err(PeerError::Failed {
                command,
                reason: reason.to_owned(),
            }),
            None => Ok(reply),
        }
    }
}

fn answer<T: for<'de> Deserialize<'de>>(
    command: &'static str,
    reply: Value,
) -> Result<T, PeerError> {
    serde_json::from_value(reply).map_err(|source| PeerError::Answer { command, source })
}

/// The end of the connection as the failure of what was waited for.
fn closed<T>(event: &Event) -> Option<Result<T, PeerError>> {
    let Event::Close { code, reason } = event else {
        return None;
    };
    Some(Err(PeerError::Closed {
        code: *code,
        reason: reason.clone(),
    }))
}

/// Hands out replies and logs events until the process ends or misbehaves.
async fn read(stdout: ChildStdout, log: Writer, replies: Replies) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(line) = serde_json::from_str::<Value>(&line) else {
            break;
        };
        match line.get("reply").and_then(Value::as_u64) {
            Some(sequence) => {
                if let Some(waiting) = replies.lock().remove(&sequence) {
                    // Who asked may have stopped waiting.
                    let _ = waiting.send(line);
                }
            }
            None => {
                let logged = serde_json::from_value(line).is_ok_and(|event| log.push(event));
                if !logged {
                    break;
                }
            }
        }
    }
    // Whoever still waits learns that nothing will come.
    replies.lock().clear();
}
