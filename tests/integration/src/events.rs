//! The event log over `/v1/events`: from worker to worker, while they end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use harness::api::{Api, Method};
use harness::scene::{DELIVERY_LIMIT, LINK_LIMIT, play};
use harness::wait::{self, Look};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::cluster::{
    Cluster, StoreKind, apis, for_the_time_of, owned_by, session_end, talk_while, until_taken_over,
};

/// For a stream to say something.
const STREAM_LIMIT: Duration = Duration::from_secs(60);

/// For accounts of a killed worker to be connected elsewhere.
const TAKEN_LIMIT: Duration = Duration::from_secs(30);

/// An event as a stream shows it.
#[derive(Debug, Clone)]
struct Shown {
    cursor: String,
    name: String,
    data: Value,
}

/// Reads one stream of server-sent events.
struct Stream {
    lines: tokio::io::Lines<BufReader<TcpStream>>,
    cursor: String,
}

impl Stream {
    async fn open(address: &str, path: &str, last_event_id: Option<&str>) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        let last = last_event_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{last}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut lines = BufReader::new(stream).lines();
        let status = lines.next_line().await?.context("an answer")?;
        if !status.contains(" 200 ") {
            bail!("{status}");
        }
        Ok(Self {
            lines,
            cursor: last_event_id.unwrap_or_default().to_owned(),
        })
    }

    /// The next event; none once the stream has ended. The sizes of chunks and
    /// the headers are lines that are no field of an event.
    async fn next(&mut self) -> Result<Option<Shown>> {
        let mut name = None;
        loop {
            let Some(line) = self.lines.next_line().await? else {
                return Ok(None);
            };
            let line = line.trim_end();
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut self.cursor);
            } else if let Some(event) = line.strip_prefix("event: ") {
                name = Some(event.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Ok(Some(Shown {
                    cursor: self.cursor.clone(),
                    name: name.unwrap_or_default(),
                    data: serde_json::from_str(data)?,
                }));
            }
        }
    }
}

/// A client that follows the log: from the first worker that answers to the
/// next one, from where it was.
struct Follower {
    addresses: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<Vec<Value>>>,
    connections: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Follower {
    fn start(addresses: &[&str]) -> Self {
        let owned = addresses
            .iter()
            .map(|&address| address.to_owned())
            .collect();
        let addresses: Arc<Mutex<Vec<String>>> = Arc::new(Mutex::new(owned));
        let (seen, connections) = (Arc::default(), Arc::default());
        let task = tokio::spawn(follow(
            Arc::clone(&addresses),
            Arc::clone(&seen),
            Arc::clone(&connections),
        ));
        Self {
            addresses,
            seen,
            connections,
            task,
        }
    }

    fn also_at(&self, address: &str) {
        self.addresses.lock().unwrap().push(address.to_owned());
    }

    fn ids(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(id_of).collect()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn id_of(event: &Value) -> String {
    event["id"].as_str().unwrap_or_default().to_owned()
}

async fn follow(
    addresses: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<Vec<Value>>>,
    connections: Arc<Mutex<usize>>,
) {
    let mut cursor = "oldest".to_owned();
    let mut next = 0;
    loop {
        let address = {
            let addresses = addresses.lock().unwrap();
            addresses[next % addresses.len()].clone()
        };
        next += 1;
        if let Ok(mut stream) = Stream::open(&address, "/v1/events", Some(&cursor)).await {
            *connections.lock().unwrap() += 1;
            while let Ok(Some(shown)) = stream.next().await {
                if shown.name != "end" {
                    seen.lock().unwrap().push(shown.data);
                    cursor = shown.cursor;
                }
            }
            if stream.cursor != "oldest" {
                cursor.clone_from(&stream.cursor);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn event_page(api: &Api, after: &str) -> Result<Value> {
    let path = format!("/v1/events?limit=200&after={after}");
    let answer = api
        .request(Method::Get, &path, &[("Accept", "application/json")], None)
        .await?;
    answer.expect(200)?.json()
}

/// All events that are kept, by pages.
async fn all_events(api: &Api) -> Result<Vec<Value>> {
    let mut after = "oldest".to_owned();
    let mut all = Vec::new();
    loop {
        let page = event_page(api, &after).await?;
        let events = page["events"].as_array().context("`events`")?;
        if events.is_empty() {
            return Ok(all);
        }
        all.extend(events.iter().cloned());
        page["next"]
            .as_str()
            .context("`next`")?
            .clone_into(&mut after);
    }
}

async fn a_client_follows_from_worker_to_worker(kind: StoreKind) -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, kind).await?;
        let [bob] = cluster.start(["bob"]).await?;
        let follower = Follower::start(&[bob.address()]);
        let lines = cluster.lines(bob.api(), 2).await?;
        let [alice, carol] = cluster.start(["alice", "carol"]).await?;
        follower.also_at(alice.address());
        scene.mark_restart();

        let limit = session_end() + TAKEN_LIMIT;
        // The first worker that is followed, and owns; then whoever has them.
        let lost = owned_by(alice.api(), &lines, "bob").await?;
        assert!(!lost.is_empty());
        let kill = async {
            for_the_time_of(Duration::from_secs(1)).await;
            let setup = bob.kill().await?;
            for (line, before) in &lost {
                until_taken_over(scene, carol.api(), &line.account, before, limit).await?;
            }
            setup.start().await
        };
        let bob = talk_while(scene, &lines, &apis(&[&carol]), kill).await?;
        follower.also_at(bob.address());
        let lost = owned_by(carol.api(), &lines, "alice").await?;
        let kill = async {
            for_the_time_of(Duration::from_secs(1)).await;
            alice.kill().await?;
            for (line, before) in &lost {
                until_taken_over(scene, carol.api(), &line.account, before, limit).await?;
            }
            anyhow::Ok(())
        };
        talk_while(scene, &lines, &apis(&[&carol]), kill).await?;
        scene.settle(carol.api(), 2 * DELIVERY_LIMIT).await?;

        let (mut all, mut seen) = wait::until(
            "the client has seen every event",
            STREAM_LIMIT,
            async || {
                let all: Vec<String> = all_events(carol.api()).await?.iter().map(id_of).collect();
                let mut seen = follower.ids();
                let lengths = (seen.len(), all.len());
                // Accounts may still be shared out, which is told, too.
                seen.retain(|id| all.contains(id));
                let has_all = seen.len() >= all.len();
                Ok(Look::some(has_all.then_some((all, seen)), lengths))
            },
        )
        .await?;
        let connections = *follower.connections.lock().unwrap();
        eprintln!("{} events over {connections} connections", seen.len());
        assert!(connections >= 3, "it went from worker to worker");
        // Each once, and all in one order; what the emulator's watch leaves out for
        // a while comes late.
        if kind == StoreKind::Firestore {
            all.sort();
            seen.sort();
        }
        assert_eq!(seen, all);
        for line in &lines {
            let of_account: Vec<i64> = follower
                .seen
                .lock()
                .unwrap()
                .iter()
                .filter(|event| event["accountId"] == line.account.id)
                .filter_map(|event| event["seq"].as_i64())
                .collect();
            let expected: Vec<i64> = (1..=of_account.len() as i64).collect();
            assert_eq!(of_account, expected, "no gap, no repeat");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_follows_from_worker_to_worker_on_sqlite() -> Result<()> {
    a_client_follows_from_worker_to_worker(StoreKind::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_follows_from_worker_to_worker_on_firestore() -> Result<()> {
    a_client_follows_from_worker_to_worker(StoreKind::Firestore).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_away_too_long_is_told_that_it_fell_behind() -> Result<()> {
    play(async |scene| {
        let setup = scene.worker("alice")?.with(&["--event-retention", "2s"]);
        let worker = setup.start().await?;
        let peer = scene.contact("Peer")?;
        let account = scene.link(worker.api(), "sales").await?;
        scene.write(&peer, &account, "one")?;
        scene.settle(worker.api(), DELIVERY_LIMIT).await?;

        // A cursor from the beginning, once events are removed.
        let cursor = "1000000.a-000000000001";
        wait::until("old events are removed", LINK_LIMIT, async || {
            // One page: a cursor may be too old by the next.
            let page = event_page(worker.api(), "oldest").await?;
            let kept = page["events"].as_array().context("`events`")?.len();
            Ok(Look::some((kept == 0).then_some(()), kept))
        })
        .await?;
        let path = format!("/v1/events?after={cursor}");
        let json = [("Accept", "application/json")];
        let answer = worker
            .api()
            .request(Method::Get, &path, &json, None)
            .await?;
        assert_eq!(
            (answer.status, answer.code()),
            (410, "cursor_expired".to_owned())
        );
        let mut stream = Stream::open(worker.address(), "/v1/events", Some(cursor)).await?;
        let shown = stream.next().await?.context("the stream goes on")?;
        assert_eq!(
            (shown.name.as_str(), shown.data["from"].as_str()),
            ("fell_behind", Some(cursor))
        );

        // It goes on, and the numbers do.
        scene.write(&peer, &account, "two")?;
        let shown = tokio::time::timeout(STREAM_LIMIT, stream.next()).await??;
        let shown = shown.context("the stream goes on")?;
        assert!(shown.data["seq"].as_i64() > Some(1), "{shown:?}");
        scene.settle(worker.api(), DELIVERY_LIMIT).await?;

        // Whoever listens is told that the worker leaves.
        let ended = async {
            while let Some(shown) = stream.next().await? {
                if shown.name == "end" {
                    return Ok(shown.data["reason"].clone());
                }
            }
            bail!("the stream ended without a word")
        };
        let (reason, terminated) = tokio::join!(ended, worker.terminate());
        terminated?;
        assert_eq!(reason?, "worker_leaves");
        Ok(())
    })
    .await
}
