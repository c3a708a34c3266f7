//! Webhooks, against a receiver that is down, and workers that are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use harness::api::{Api, Method};
use harness::scene::{DELIVERY_LIMIT, play};
use harness::wait::{self, Look};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::cluster::{
    Cluster, StoreKind, apis, for_the_time_of, owned_by, session_end, talk_while, until_taken_over,
};

/// Deliveries that are quick to try again: seconds stand for hours.
const QUICK: [&str; 5] = [
    "--webhook-allow-private",
    "--webhook-retry-wait",
    "100ms",
    "--webhook-retry-wait-max",
    "1s",
];

/// For what waited to be delivered.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(90);

/// A delivery that the receiver took.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) event: String,
    account: String,
    pub(crate) seq: i64,
    attempt: u32,
    pub(crate) is_signed: bool,
    /// The trace that it is a part of.
    pub(crate) traceparent: Option<String>,
}

/// A receiver of webhooks; it may be down.
pub(crate) struct Receiver {
    url: String,
    is_down: Arc<AtomicBool>,
    refused: Arc<Mutex<usize>>,
    taken: Arc<Mutex<Vec<Taken>>>,
    secret: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let is_down = Arc::new(AtomicBool::new(false));
        let (refused, taken, secret) = (Arc::default(), Arc::default(), Arc::default());
        let task = tokio::spawn(serve(
            listener,
            Arc::clone(&is_down),
            Arc::clone(&refused),
            Arc::clone(&taken),
            Arc::clone(&secret),
        ));
        Ok(Self {
            url,
            is_down,
            refused,
            taken,
            secret,
            task,
        })
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    is_down: Arc<AtomicBool>,
    refused: Arc<Mutex<usize>>,
    taken: Arc<Mutex<Vec<Taken>>>,
    secret: Arc<Mutex<String>>,
) {
    while let Ok((mut stream, _)) = listener.accept().await {
        if is_down.load(Ordering::SeqCst) {
            *refused.lock().unwrap() += 1;
            continue;
        }
        let (taken, secret) = (Arc::clone(&taken), Arc::clone(&secret));
        tokio::spawn(async move {
            if let Some(request) = read(&mut stream).await {
                let secret = secret.lock().unwrap().clone();
                taken.lock().unwrap().extend(check(&request, &secret));
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .await;
            }
        });
    }
}

/// Head, in small letters, and body of a request.
pub(crate) async fn read(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut heard = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream
            .read(&mut piece)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        heard.extend_from_slice(&piece[..count]);
        let Some(end) = heard.windows(4).position(|part| part == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&heard[..end]).to_lowercase();
        let length: usize = header(&head, "content-length")?.parse().ok()?;
        if let Some(body) = heard.get(end + 4..end + 4 + length) {
            return Some((head, body.to_vec()));
        }
    }
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// What a receiver does, as `worker/README.md` says.
fn check((head, body): &(String, Vec<u8>), secret: &str) -> Option<Taken> {
    let signature = header(head, "x-leasehold-signature")?;
    let (time, tag) = signature.strip_prefix("t=")?.split_once(",v1=")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{time}.").as_bytes());
    mac.update(body);
    let expected = hex::encode(mac.finalize().into_bytes());
    let event: Value = serde_json::from_slice(body).ok()?;
    Some(Taken {
        event: event["id"].as_str()?.to_owned(),
        account: event["accountId"].as_str()?.to_owned(),
        seq: event["seq"].as_i64()?,
        attempt: header(head, "x-leasehold-attempt")?.parse().ok()?,
        is_signed: expected == tag,
        traceparent: header(head, "traceparent").map(ToOwned::to_owned),
    })
}

pub(crate) async fn make_webhook(api: &Api, receiver: &Receiver) -> Result<String> {
    let answer = api
        .post("/v1/webhooks", json!({ "url": receiver.url }))
        .await?;
    let made: Value = answer.expect(201)?.json()?;
    let secret = made["secret"].as_str().context("`secret`")?;
    secret.clone_into(&mut receiver.secret.lock().unwrap());
    Ok(made["id"].as_str().context("`id`")?.to_owned())
}

/// The ids of all events, by account.
async fn all_events(api: &Api) -> Result<BTreeSet<String>> {
    let mut after = "oldest".to_owned();
    let mut all = BTreeSet::new();
    loop {
        let path = format!("/v1/events?limit=500&after={after}");
        let json = [("Accept", "application/json")];
        let answer = api.request(Method::Get, &path, &json, None).await?;
        let page: Value = answer.expect(200)?.json()?;
        let events = page["events"].as_array().context("`events`")?;
        if events.is_empty() {
            return Ok(all);
        }
        all.extend(
            events
                .iter()
                .filter_map(|event| Some(event["id"].as_str()?.to_owned())),
        );
        page["next"]
            .as_str()
            .context("`next`")?
            .clone_into(&mut after);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_down_gets_everything_though_workers_are_killed() -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        let receiver = Receiver::start().await?;
        let alice = cluster.worker("alice")?.with(&QUICK).start().await?;
        make_webhook(alice.api(), &receiver).await?;
        let lines = cluster.lines(alice.api(), 2).await?;
        let bob = cluster.worker("bob")?.with(&QUICK).start().await?;
        scene.mark_restart();
        let limit = session_end() + Duration::from_secs(30);

        receiver.is_down.store(true, Ordering::SeqCst);
        let lost = owned_by(bob.api(), &lines, "alice").await?;
        assert!(!lost.is_empty());
        let kill = async {
            for_the_time_of(Duration::from_secs(2)).await;
            let setup = alice.kill().await?;
            for (line, before) in &lost {
                until_taken_over(scene, bob.api(), &line.account, before, limit).await?;
            }
            setup.start().await
        };
        let alice = talk_while(scene, &lines, &apis(&[&bob]), kill).await?;
        let lost = owned_by(alice.api(), &lines, "bob").await?;
        let kill = async {
            for_the_time_of(Duration::from_secs(2)).await;
            bob.kill().await?;
            for (line, before) in &lost {
                until_taken_over(scene, alice.api(), &line.account, before, limit).await?;
            }
            anyhow::Ok(())
        };
        talk_while(scene, &lines, &apis(&[&alice]), kill).await?;
        assert!(*receiver.refused.lock().unwrap() > 0, "it was down");
        receiver.is_down.store(false, Ordering::SeqCst);
        scene.settle(alice.api(), 2 * DELIVERY_LIMIT).await?;

        let all = wait::until("everything is delivered", CATCH_UP_LIMIT, async || {
            let all = all_events(alice.api()).await?;
            let taken: BTreeSet<String> = receiver
                .taken()
                .into_iter()
                .map(|taken| taken.event)
                .collect();
            let instead = (taken.len(), all.len());
            Ok(Look::some((taken == all).then_some(all), instead))
        })
        .await?;
        let taken = receiver.taken();
        eprintln!("{} events in {} deliveries", all.len(), taken.len());
        assert!(taken.iter().all(|taken| taken.is_signed), "signed");
        let mut last: BTreeMap<String, i64> = BTreeMap::new();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for taken in &taken {
            if seen.insert(taken.event.clone()) {
                let before = last.insert(taken.account.clone(), taken.seq).unwrap_or(0);
                assert_eq!(taken.seq, before + 1, "in order, without a gap: {taken:?}");
            } else {
                assert!(taken.attempt > 1, "marked as a repetition: {taken:?}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_stopped_still_says_so_and_a_dead_letter_is_replayed() -> Result<()> {
    play(async |scene| {
        let receiver = Receiver::start().await?;
        let setup = scene.worker("alice")?.with(&QUICK);
        // Whatever fails is a dead letter at once.
        let worker = setup
            .with(&["--webhook-give-up-after", "0s"])
            .start()
            .await?;
        let id = make_webhook(worker.api(), &receiver).await?;
        let test = worker
            .api()
            .post(&format!("/v1/webhooks/{id}/test"), Value::Null)
            .await?;
        let test: Value = test.expect(200)?.json()?;
        assert_eq!(
            (&test["delivered"], &test["status"]),
            (&json!(true), &json!(200))
        );

        let account = scene.link(worker.api(), "sales").await?;
        worker.api().act(&account.id, "stop").await?;
        let newest = wait::until("the last event is delivered", CATCH_UP_LIMIT, async || {
            let view = worker.api().account(&account.id).await?;
            let all = all_events(worker.api()).await?;
            let newest = all.iter().next_back().cloned().unwrap_or_default();
            let is_there = receiver.taken().iter().any(|taken| taken.event == newest);
            let done = is_there && view.owner.is_none();
            Ok(Look::some(done.then_some(newest), receiver.taken().len()))
        })
        .await?;
        eprintln!("the last event was {newest}");

        receiver.is_down.store(true, Ordering::SeqCst);
        let peer = scene.contact("Peer")?;
        worker.api().act(&account.id, "start").await?;
        let path = format!("/v1/webhooks/{id}/deliveries?state=dead");
        let dead = wait::until("a dead letter", CATCH_UP_LIMIT, async || {
            let page: Value = worker.api().get(&path).await?.expect(200)?.json()?;
            let first = page["deliveries"][0]["id"].as_str().map(ToOwned::to_owned);
            Ok(Look::some(first, page))
        })
        .await?;
        receiver.is_down.store(false, Ordering::SeqCst);
        let replay = format!("/v1/webhooks/{id}/deliveries/{dead}/replay");
        let answer = worker.api().post(&replay, Value::Null).await?;
        answer.expect(202)?;
        let event = dead.strip_prefix(&format!("{id}-")).context("its event")?;
        wait::until("the replay", CATCH_UP_LIMIT, async || {
            let taken = receiver.taken();
            let again = taken.iter().find(|taken| taken.event == event);
            Ok(Look::some(
                again.filter(|taken| taken.attempt > 1).cloned(),
                taken.len(),
            ))
        })
        .await?;
        harness::scene::until_connected(scene, worker.api(), &account, CATCH_UP_LIMIT).await?;
        scene.write(&peer, &account, "one")?;
        scene.settle(worker.api(), DELIVERY_LIMIT).await?;
        Ok(())
    })
    .await
}
