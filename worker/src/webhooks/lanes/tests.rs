#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn receivers of their own"
)]

use coordinator_lib::clock::{Clock, ManualClock};
use coordinator_lib::identity::AccountId;
use coordinator_lib::store::{CommitOutcome, Precondition, Stamp, StoreTime, Write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::account::term::Term;
use crate::events::Draft;
use crate::model::webhook::{
    DeliveryDoc, DeliveryState, LaneDoc, PreviousSecretDoc, WebhookFormat,
};
use crate::model::{EventKind, Stored, WebhookDoc, collections};
use crate::testing::{Bench, until};
use crate::webhooks::secret::Secret;
use crate::webhooks::{HookBook, Post, WebhookConfig};

/// A request as the receiver got it.
#[derive(Debug, Clone)]
struct Got {
    event: String,
    attempt: u32,
    signature: String,
    body: Vec<u8>,
}

/// Answers each request with the next status of a list, then with 200.
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    statuses: Arc<Mutex<Vec<u16>>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://127.0.0.1:{}/",
            listener.local_addr().unwrap().port()
        );
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let statuses: Arc<Mutex<Vec<u16>>> = Arc::default();
        let (kept, answers) = (Arc::clone(&got), Arc::clone(&statuses));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // A lane that ends breaks off, perhaps before it has said anything.
                let Some(request) = read(&mut stream).await else {
                    continue;
                };
                let status = {
                    let mut answers = answers.lock();
                    if answers.is_empty() {
                        200
                    } else {
                        answers.remove(0)
                    }
                };
                kept.lock().push(request);
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, got, statuses }
    }

    fn got(&self) -> Vec<(String, u32)> {
        let got = self.got.lock();
        got.iter()
            .map(|got| (got.event.clone(), got.attempt))
            .collect()
    }
}

/// The whole request; none if the other side breaks off.
async fn read(stream: &mut TcpStream) -> Option<Got> {
    let mut heard = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.ok()?;
        if count == 0 {
            return None;
        }
        heard.extend_from_slice(&piece[..count]);
        if let Some(request) = parse(&heard) {
            return Some(request);
        }
    }
}

fn parse(heard: &[u8]) -> Option<Got> {
    let end = heard.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&heard[..end]).to_lowercase();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches(':').trim().to_owned())
    };
    let length: usize = header("content-length")?.parse().ok()?;
    let body = heard.get(end + 4..end + 4 + length)?.to_vec();
    Some(Got {
        event: header("x-leasehold-event")?,
        attempt: header("x-leasehold-attempt")?.parse().ok()?,
        signature: header("x-leasehold-signature")?,
        body,
    })
}

struct Scene {
    bench: Bench,
    account: AccountId,
    receiver: Receiver,
    secret: Secret,
    stop: CancellationToken,
}

const HOOK: &str = "whk_1";

impl Scene {
    async fn new(types: Option<Vec<EventKind>>) -> Self {
        Self::with(types, |_, _| {}).await
    }

    /// With a webhook that is changed so before it is stored.
    async fn with(
        types: Option<Vec<EventKind>>,
        change: impl FnOnce(&Bench, &mut WebhookDoc),
    ) -> Self {
        let bench = Bench::new();
        let account = bench.account("a1").await;
        let receiver = Receiver::start().await;
        let secret = Secret::generate(bench.rng.as_ref());
        let (wrapped_keys, sealed_secret) = secret.seal(&bench.keys, bench.rng.as_ref(), HOOK);
        let mut document = WebhookDoc {
            name: String::new(),
            url: receiver.url.clone(),
            accounts: None,
            types,
            enabled: true,
            wrapped_keys,
            sealed_secret,
            previous_secret: None,
            format: WebhookFormat::Leasehold,
            created_at: Stamp::Commit,
        };
        change(&bench, &mut document);
        let write = Write::Set {
            path: collections::webhook(HOOK).unwrap(),
            fields: document.to_document().unwrap(),
            precondition: Precondition::Absent,
        };
        let outcome = bench.store.commit(vec![write]).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed(_)));
        Self {
            bench,
            account,
            receiver,
            secret,
            stop: CancellationToken::new(),
        }
    }

    /// Delivers for a claim, as the account's task does.
    fn deliver(&self, term: &Term, config: WebhookConfig) {
        self.deliver_by(term, config, Arc::clone(&self.bench.clock));
    }

    /// The same, with waits and requests by another clock.
    fn deliver_by(&self, term: &Term, config: WebhookConfig, clock: SharedClock) {
        let bench = &self.bench;
        let book = HookBook::new(
            Arc::clone(&bench.store),
            Arc::clone(&bench.clock),
            Arc::clone(&bench.rng),
            Arc::clone(&bench.keys),
        );
        bench.tracker.spawn(book.clone().run(self.stop.clone()));
        let post = Post::new(config, Arc::clone(&clock), Arc::clone(&bench.rng));
        let lanes = Lanes {
            parts: LaneParts {
                account_id: self.account.to_string(),
                store: Arc::clone(&bench.store),
                journal: term.journal.clone(),
                claimed_seq: term.journal.seq(),
                post: Arc::new(post),
                clock,
                rng: Arc::clone(&bench.rng),
            },
            hooks: book.subscribe(),
            board: Arc::clone(&term.lanes),
        };
        bench.tracker.spawn(lanes.run(term.gates.store.clone()));
    }

    async fn lane(&self) -> LaneDoc {
        let path = collections::webhook_lane(HOOK, "a1").unwrap();
        self.bench.read(path).await.unwrap_or_default()
    }

    async fn delivery(&self, seq: i64) -> Option<DeliveryDoc> {
        let path = collections::webhook_delivery(HOOK, "a1", seq).unwrap();
        self.bench.read(path).await
    }

    async fn until_settled(&self, seq: i64) {
        until("the lane is settled", || async {
            (self.lane().await.settled_seq == seq).then_some(())
        })
        .await;
    }
}

async fn event(term: &Term, kind: EventKind) -> i64 {
    term.journal
        .apply(Vec::new(), move |draft: &mut Draft<'_>| {
            Ok(draft.event(kind, [("threadId", "thr_1".to_owned())]))
        })
        .await
        .unwrap()
}

fn config() -> WebhookConfig {
    WebhookConfig {
        retry_base: Duration::from_millis(5),
        retry_max: Duration::from_millis(20),
        allow_private: true,
        ..WebhookConfig::default()
    }
}

fn id(seq: i64) -> String {
    collections::event_id("a1", seq)
}

#[tokio::test]
async fn events_go_out_in_order_signed_and_those_that_are_not_wanted_do_not() {
    let scene = Scene::new(Some(vec![EventKind::Presence])).await;
    let term = scene.bench.term(&scene.account).await;
    scene.deliver(&term, config());
    for kind in [
        EventKind::Presence,
        EventKind::CallReceived,
        EventKind::Presence,
    ] {
        event(&term, kind).await;
    }
    scene.until_settled(3).await;
    assert_eq!(scene.receiver.got(), [(id(1), 1), (id(3), 1)]);
    let got = scene.receiver.got.lock()[0].clone();
    let time: i64 = got
        .signature
        .strip_prefix("t=")
        .and_then(|rest| rest.split(',').next())
        .and_then(|time| time.parse().ok())
        .unwrap();
    let secret = scene.secret.expose().as_bytes();
    assert_eq!(
        got.signature,
        crate::webhooks::signature::sign(std::iter::once(secret), time, &got.body)
    );
    let body: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(
        (body["id"].as_str(), body["seq"].as_i64()),
        (Some(id(1).as_str()), Some(1))
    );
    let delivery = scene.delivery(3).await.unwrap();
    assert_eq!(
        (delivery.state, delivery.attempts),
        (DeliveryState::Delivered, 1)
    );
    assert_eq!(scene.delivery(2).await, None);
    scene.stop.cancel();
}

#[tokio::test]
async fn what_fails_is_sent_again_before_what_comes_after_it() {
    let scene = Scene::new(None).await;
    *scene.receiver.statuses.lock() = vec![500, 302];
    let term = scene.bench.term(&scene.account).await;
    scene.deliver(&term, config());
    event(&term, EventKind::Presence).await;
    event(&term, EventKind::Presence).await;
    scene.until_settled(2).await;
    assert_eq!(
        scene.receiver.got(),
        [(id(1), 1), (id(1), 2), (id(1), 3), (id(2), 1)]
    );
    let lane = scene.lane().await;
    assert_eq!((lane.attempts, lane.failing_since), (0, None));
    assert_eq!(scene.delivery(1).await.unwrap().attempts, 3);
    scene.stop.cancel();
}

#[tokio::test]
async fn what_is_old_and_fails_becomes_a_dead_letter_that_can_be_replayed() {
    let scene = Scene::new(None).await;
    *scene.receiver.statuses.lock() = vec![500];
    let term = scene.bench.term(&scene.account).await;
    let give_up = WebhookConfig {
        give_up_after: Duration::ZERO,
        ..config()
    };
    scene.deliver(&term, give_up);
    event(&term, EventKind::Presence).await;
    event(&term, EventKind::Presence).await;
    scene.until_settled(2).await;
    let dead = scene.delivery(1).await.unwrap();
    assert_eq!((dead.state, dead.status), (DeliveryState::Dead, Some(500)));

    let wish = Write::Update {
        path: collections::webhook_delivery(HOOK, "a1", 1).unwrap(),
        fields: [("replay".to_owned(), true.into())].into(),
        precondition: Precondition::Exists,
    };
    let outcome = scene.bench.store.commit(vec![wish]).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
    until("the replay is delivered", || async {
        let delivery = scene.delivery(1).await?;
        (delivery.state == DeliveryState::Delivered && !delivery.replay).then_some(())
    })
    .await;
    assert_eq!(scene.receiver.got().last(), Some(&(id(1), 2)));
    scene.stop.cancel();
}

#[tokio::test]
async fn the_next_owner_goes_on_and_marks_what_may_have_been_sent() {
    let scene = Scene::new(None).await;
    let term = scene.bench.term(&scene.account).await;
    scene.deliver(&term, config());
    event(&term, EventKind::Presence).await;
    scene.until_settled(1).await;
    *scene.receiver.statuses.lock() = vec![500; 1_000];
    event(&term, EventKind::Presence).await;
    until("it is tried", || async {
        (scene.lane().await.attempts > 0).then_some(())
    })
    .await;
    drop(term);
    let next = scene.bench.term_of("bob", &scene.account).await;
    let before = scene.receiver.got().len();
    scene.receiver.statuses.lock().clear();
    scene.deliver(&next, config());
    event(&next, EventKind::Presence).await;
    scene.until_settled(3).await;
    let got = scene.receiver.got();
    let after: Vec<_> = got[before..].iter().collect();
    assert!(
        after
            .iter()
            .any(|(event, attempt)| *event == id(2) && *attempt > 1),
        "{after:?}"
    );
    assert_eq!(after.last(), Some(&&(id(3), 1)), "{after:?}");
    assert!(!after.iter().any(|(event, _)| *event == id(1)), "{after:?}");
    scene.stop.cancel();
}

#[tokio::test]
async fn a_receiver_that_was_down_for_an_hour_gets_everything_though_owners_died_twice() {
    const EVENTS: i64 = 60;
    let minute = Duration::from_secs(60);
    let config = || WebhookConfig {
        allow_private: true,
        ..WebhookConfig::default()
    };
    let clock = Arc::new(ManualClock::new());
    let scene = Scene::new(None).await;
    // Longer than it is asked in that hour.
    *scene.receiver.statuses.lock() = vec![503; 10_000];
    let mut owner = scene.bench.term(&scene.account).await;
    scene.deliver_by(&owner, config(), clock.clone());
    for passed in 0..EVENTS {
        if let Some(next) = [(20, "bob"), (40, "carol")]
            .iter()
            .find_map(|(at, name)| (passed == *at).then_some(name))
        {
            drop(owner);
            owner = scene.bench.term_of(next, &scene.account).await;
            scene.deliver_by(&owner, config(), clock.clone());
        }
        event(&owner, EventKind::Presence).await;
        clock.advance(minute);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = scene.receiver.got().len();
    assert!(refused > 3, "it was asked {refused} times");
    assert!(
        scene
            .receiver
            .got()
            .iter()
            .all(|(event, _)| *event == id(1))
    );

    scene.receiver.statuses.lock().clear();
    // Past the longest wait, and once more for an attempt that was under way.
    for _ in 0..3 {
        clock.advance(2 * WebhookConfig::default().retry_max);
        for _ in 0..1_000 {
            if scene.lane().await.settled_seq == EVENTS {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(
        scene.lane().await.settled_seq,
        EVENTS,
        "everything is delivered"
    );
    let got = scene.receiver.got.lock().clone();
    let mut order: Vec<String> = Vec::new();
    for got in &got[refused..] {
        if got.event != id(1) && !order.contains(&got.event) {
            order.push(got.event.clone());
        } else {
            assert!(got.attempt > 1, "marked as a repetition: {got:?}");
        }
    }
    let expected: Vec<_> = (2..=EVENTS).map(id).collect();
    assert_eq!(order, expected);
    for got in &got {
        let (time, _) = taken_apart(&got.signature);
        let secret = [scene.secret.expose().as_bytes()].into_iter();
        let expected = crate::webhooks::signature::sign(secret, time, &got.body);
        assert_eq!(got.signature, expected);
    }
    scene.stop.cancel();
}

#[tokio::test]
async fn a_new_webhook_gets_what_happens_after_it_was_made() {
    let scene = Scene::new(None).await;
    let term = scene.bench.term(&scene.account).await;
    // From before there was a lane, but after the webhook was made.
    event(&term, EventKind::Presence).await;
    scene.deliver(&term, config());
    scene.until_settled(1).await;
    assert_eq!(scene.receiver.got(), [(id(1), 1)]);
    scene.stop.cancel();
}

#[tokio::test]
async fn whoever_ends_a_claim_can_wait_for_the_last_events() {
    let scene = Scene::new(None).await;
    let term = scene.bench.term(&scene.account).await;
    scene.deliver(&term, config());
    event(&term, EventKind::Presence).await;
    scene.until_settled(1).await;
    event(&term, EventKind::AccountStatus).await;
    let limit = Duration::from_secs(60);
    term.lanes
        .settled(&term.journal, &scene.bench.clock, limit)
        .await;
    assert_eq!(scene.receiver.got().len(), 2);
    // A receiver that does not take it holds nobody up.
    *scene.receiver.statuses.lock() = vec![500; 1_000];
    event(&term, EventKind::AccountStatus).await;
    term.lanes
        .settled(&term.journal, &scene.bench.clock, limit)
        .await;
    scene.stop.cancel();
}

/// The time and the tags of a signature.
fn taken_apart(signature: &str) -> (i64, Vec<&str>) {
    let mut parts = signature.split(',');
    let time = parts.next().and_then(|part| part.strip_prefix("t="));
    let tags = parts.filter_map(|part| part.strip_prefix("v1=")).collect();
    (time.unwrap().parse().unwrap(), tags)
}

#[tokio::test]
async fn after_a_rotation_both_secrets_sign_until_the_old_ones_time_is_over() {
    let clock = Arc::new(ManualClock::new());
    let overlap = Duration::from_secs(3_600);
    let until = StoreTime::from_datetime(clock.wall()).saturating_add(overlap);
    let mut old = None;
    let scene = Scene::with(None, |bench, document| {
        let secret = Secret::generate(bench.rng.as_ref());
        let (wrapped_keys, sealed_secret) = secret.seal(&bench.keys, bench.rng.as_ref(), HOOK);
        document.previous_secret = Some(PreviousSecretDoc {
            wrapped_keys,
            sealed_secret,
            until,
        });
        old = Some(secret);
    })
    .await;
    let old = old.unwrap();
    let term = scene.bench.term(&scene.account).await;
    scene.deliver_by(&term, config(), clock.clone());

    // By the clock of whoever sends: a moment before, and when it is over.
    for (wait, secrets) in [
        (Duration::ZERO, vec![&scene.secret, &old]),
        (overlap - Duration::from_secs(1), vec![&scene.secret, &old]),
        (Duration::from_secs(1), vec![&scene.secret]),
        (Duration::from_secs(86_400), vec![&scene.secret]),
    ] {
        clock.advance(wait);
        let seq = event(&term, EventKind::Presence).await;
        scene.until_settled(seq).await;
        let got = scene.receiver.got.lock().last().cloned().unwrap();
        let (time, tags) = taken_apart(&got.signature);
        assert_eq!(time, clock.wall().timestamp());
        assert_eq!(tags.len(), secrets.len(), "{}", got.signature);
        let secrets = secrets.iter().map(|secret| secret.expose().as_bytes());
        let expected = crate::webhooks::signature::sign(secrets, time, &got.body);
        assert_eq!(got.signature, expected);
    }
    scene.stop.cancel();
}

#[tokio::test]
async fn a_webhook_in_wahas_format_gets_wahas_events_and_no_others() {
    let scene = Scene::with(None, |_, document| document.format = WebhookFormat::Waha).await;
    let term = scene.bench.term(&scene.account).await;
    scene.deliver(&term, config());
    event(&term, EventKind::Presence).await;
    let status = |from: &'static str, to: &'static str| {
        let journal = term.journal.clone();
        async move {
            let data = [("from", from.to_owned()), ("to", to.to_owned())];
            let change = move |draft: &mut Draft<'_>| {
                Ok(draft.event(EventKind::AccountStatus, data.clone()))
            };
            journal.apply(Vec::new(), change).await.unwrap()
        }
    };
    status("idle", "connecting").await;
    status("connecting", "connected").await;
    // A message that is gone by now.
    event(&term, EventKind::MessageReceived).await;
    until("one is sent, and all are settled", || async {
        let measure = term.lanes.measure(term.journal.seq());
        (!scene.receiver.got().is_empty() && measure.backlog == 0).then_some(())
    })
    .await;
    assert_eq!(scene.receiver.got(), [(id(3), 1)]);
    let got = scene.receiver.got.lock()[0].clone();
    let body: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(
        (&body["event"], &body["payload"]["status"], &body["session"]),
        (&"session.status".into(), &"WORKING".into(), &"a1".into())
    );
    scene.stop.cancel();
}

#[tokio::test]
async fn what_waits_and_what_fails_is_measured() {
    let scene = Scene::new(None).await;
    let term = scene.bench.term(&scene.account).await;
    scene.deliver(&term, config());
    event(&term, EventKind::Presence).await;
    scene.until_settled(1).await;
    let measure = || term.lanes.measure(term.journal.seq());
    until("nothing waits", || async {
        (measure() == WebhookMeasure::default()).then_some(())
    })
    .await;
    *scene.receiver.statuses.lock() = vec![500; 10_000];
    for _ in 0..3 {
        event(&term, EventKind::Presence).await;
    }
    let waiting = WebhookMeasure {
        backlog: 3,
        failing: 1,
    };
    until("three wait for one that fails", || async {
        (measure() == waiting).then_some(())
    })
    .await;
    scene.receiver.statuses.lock().clear();
    until("nothing waits any more", || async {
        (measure() == WebhookMeasure::default()).then_some(())
    })
    .await;
    scene.stop.cancel();
}
