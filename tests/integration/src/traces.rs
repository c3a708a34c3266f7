//! What operators see of it: one trace from the request to the receipt, why an
//! account moved, what is measured; and that a collector which is not there
//! costs nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use collector::span::Span;
use collector::{Collector, Manner, tree};
use coordinator_lib::store::{Query, SqliteOptions, SqliteStore, Store, Value};
use harness::api::{Api, Method};
use harness::log::check_canaries;
use harness::port;
use harness::scene::{DELIVERY_LIMIT, Linked, Scene, play, until_stored};
use harness::wait::{self, Look};
use harness::worker::{Worker, WorkerSetup};
use serde_json::json;
use wa_sim::phone::Phone;

use crate::cluster::{Owner, owner_of, session_end, until_met, until_taken_over};
use crate::webhooks::{Receiver, make_webhook};

/// For spans to come in: they are gathered for a moment.
pub(crate) const EXPORT_LIMIT: Duration = Duration::from_secs(30);

/// A caller's context, as W3C writes it.
const CALLER_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER_SPAN: &str = "00f067aa0ba902b7";

/// A worker that exports to this endpoint, soon.
pub(crate) fn exporting(scene: &Scene, name: &str, endpoint: &str) -> Result<WorkerSetup> {
    Ok(scene
        .worker(name)?
        .with(&["--log", "debug"])
        .with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .with_variable("OTEL_LOGS_EXPORTER", "otlp")
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "100")
        .with_variable("OTEL_BLRP_SCHEDULE_DELAY", "100")
        .with_variable("OTEL_METRIC_EXPORT_INTERVAL", "500")
        .with_variable("POD_NAME", &format!("{name}-0")))
}

/// Waits until spans are there for which `found` gives something.
pub(crate) async fn until_spans<T>(
    what: &str,
    collector: &Collector,
    mut found: impl FnMut(&[Span]) -> Option<T>,
) -> Result<T> {
    wait::until(what, EXPORT_LIMIT, async || {
        let spans = collector.spans();
        let names: BTreeSet<String> = spans.iter().map(|span| span.name.clone()).collect();
        Ok(Look::some(found(&spans), names))
    })
    .await
}

/// The one span of this name by this worker for which `is` holds.
fn span<'a>(
    spans: &'a [Span],
    name: &str,
    worker: &str,
    is: impl Fn(&Span) -> bool,
) -> Option<&'a Span> {
    spans
        .iter()
        .find(|span| span.name == name && span.worker == worker && is(span))
}

/// Two workers that export to a collector; `bob` owns the account.
struct Pair {
    alice: Worker,
    bob: Worker,
    account: Linked,
    contact: Phone,
    before: Owner,
}

async fn pair(scene: &Scene, endpoint: &str) -> Result<Pair> {
    let bob = exporting(scene, "bob", endpoint)?.start().await?;
    let contact = scene.contact("Peer")?;
    let account = scene.link(bob.api(), "sales").await?;
    let alice = exporting(scene, "alice", endpoint)?.start().await?;
    until_met(&[&alice, &bob]).await?;
    scene.mark_restart();
    let before = owner_of(alice.api(), &account.id).await?;
    let before = before.context("somebody owns the account")?;
    assert_eq!(before.worker, "bob");
    Ok(Pair {
        alice,
        bob,
        account,
        contact,
        before,
    })
}

/// Posts a text as a caller that is traced itself; waits until it was read.
async fn send_and_read(scene: &Scene, api: &Api, pair: &Pair) -> Result<String> {
    let text = scene.text("traced");
    let traceparent = format!("00-{CALLER_TRACE}-{CALLER_SPAN}-01");
    let path = format!("/v1/accounts/{}/messages", pair.account.id);
    let body = json!({ "to": pair.contact.number().to_string(), "text": text });
    let headers = [("traceparent", traceparent.as_str())];
    let answer = api
        .request(Method::Post, &path, &headers, Some(body.to_string()))
        .await?;
    let accepted: serde_json::Value = answer.expect(202)?.json()?;
    let id = accepted["messageId"].as_str().context("an id")?.to_owned();
    scene.note_accepted(&pair.account.id, &pair.contact, &text);
    api.until_state(&id, &["delivered"], DELIVERY_LIMIT).await?;
    let received = pair.contact.ledger().received;
    let received = received.iter().find(|received| received.text == text);
    pair.contact
        .read(&[received.context("it was received")?.id.clone()])?;
    api.until_state(&id, &["read"], DELIVERY_LIMIT).await?;
    Ok(id)
}

async fn store_of(setup: &WorkerSetup) -> Result<Store> {
    let path = setup.data_folder().join("leasehold.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())?;
    Ok(std::sync::Arc::new(store))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_the_request_to_the_receipt() -> Result<()> {
    play(async |scene| {
        let collector = Collector::start().await?;
        let pair = pair(scene, &collector.grpc()).await?;
        let id = send_and_read(scene, pair.alice.api(), &pair).await?;

        let receipt = |state: &'static str| {
            move |span: &Span| {
                span.trace == CALLER_TRACE && span.attribute("message.state") == state
            }
        };
        let spans = until_spans("the whole trace", &collector, |spans| {
            span(spans, "message.receipt", "bob", receipt("read"))?;
            span(spans, "message.receipt", "bob", receipt("delivered"))?;
            let send = span(spans, "outbox.send", "bob", |span| {
                span.trace == CALLER_TRACE
            })?;
            span(spans, "store.commit", "bob", |span| span.parent == send.id)?;
            span(spans, "http.request", "alice", |span| {
                span.trace == CALLER_TRACE
            })?;
            Some(spans.to_vec())
        })
        .await?;
        println!("{}", tree::draw(&spans, CALLER_TRACE));

        let trace = tree::of(&spans, CALLER_TRACE);
        let named = |name: &str| trace.iter().find(|span| span.name == name);
        let request = named("http.request").unwrap();
        assert_eq!(request.parent, CALLER_SPAN);
        assert_eq!(request.attribute("http.response.status_code"), "202");
        assert_eq!(
            request.attribute("http.route"),
            "/v1/accounts/{id}/messages"
        );
        assert_eq!(
            request.resource.get("k8s.pod.name").map(String::as_str),
            Some("alice-0")
        );
        assert!(
            trace
                .iter()
                .any(|span| span.name == "store.commit" && span.parent == request.id),
            "the acceptance is a commit of the request"
        );
        let send = named("outbox.send").unwrap();
        assert_eq!((&*send.parent, &*send.worker), (&*request.id, "bob"));
        assert_eq!(send.attribute("message.outcome"), "sent");
        assert_eq!(send.attribute("message.id"), id);
        assert_eq!(named("whatsapp.send").unwrap().parent, send.id);
        for receipt in trace.iter().filter(|span| span.name == "message.receipt") {
            assert_eq!(receipt.parent, request.id);
            assert_eq!(receipt.attribute("message.id"), id);
        }
        assert!(trace.iter().all(|span| !span.is_error), "{trace:#?}");
        println!(
            "spans of one message, from the request to `read`: {}",
            trace.len()
        );

        // Whoever asks for the message is told its trace, and where it is in its thread.
        let shown = pair.alice.api().get(&format!("/v1/messages/{id}")).await?;
        let shown: serde_json::Value = shown.json()?;
        assert_eq!(shown["traceId"], CALLER_TRACE);
        let thread = shown["threadId"].as_str().context("a thread")?;
        let path = format!("/v1/threads/{thread}/messages");
        let messages: serde_json::Value = pair.alice.api().get(&path).await?.json()?;
        assert_eq!(messages["messages"][0]["traceId"], CALLER_TRACE);

        // Whoever goes on from the event goes on with the trace.
        let store = store_of(pair.bob.setup()).await?;
        let query = Query::new(coordinator_lib::store::Collection::new("events")?);
        let events = store.query(&query).await?.documents;
        let told: Vec<_> = events
            .iter()
            .filter(|event| match event.fields.get("trace") {
                Some(Value::Text(context)) => context.contains(CALLER_TRACE),
                Some(_) | None => false,
            })
            .filter_map(|event| event.fields.get("type").and_then(Value::as_text))
            .collect();
        assert!(told.contains(&"message.updated"), "{told:?}");

        // The way in has a trace of its own.
        let sent = scene.write(&pair.contact, &pair.account, "answer")?;
        until_stored(pair.alice.api(), &pair.account, &sent.text, DELIVERY_LIMIT).await?;
        let spans = until_spans("the inbound message", &collector, |spans| {
            let receive = span(spans, "message.receive", "bob", |span| {
                span.attribute("message.outcome") == "stored"
            })?;
            span(spans, "store.commit", "bob", |span| {
                span.parent == receive.id
            })?;
            Some(spans.to_vec())
        })
        .await?;
        let receive = span(&spans, "message.receive", "bob", |_| true).unwrap();
        println!("{}", tree::draw(&spans, &receive.trace));

        // Lines of the log came along, those of a span with its trace.
        let line = wait::until("a line of a traced span", EXPORT_LIMIT, async || {
            let lines = collector.lines();
            let traced = lines.iter().find(|line| {
                let spans = collector.spans();
                let is_of = |span: &Span| span.id == line.span && span.trace == line.trace;
                spans.iter().any(is_of)
            });
            Ok(Look::some(traced.cloned(), lines.len()))
        })
        .await?;
        println!("a line of {}: {} {}", line.worker, line.level, line.body);
        let lines = collector.lines();
        assert!(
            lines.iter().any(|line| line.worker == "bob"
                && line.attributes.get("account.id") == Some(&pair.account.id)),
            "a line says whose it is"
        );

        // Nothing secret: not in spans, lines and exported metrics, not in the
        // scrape.
        check_canaries(&collector.text(), &scene.canaries())?;
        for worker in [&pair.alice, &pair.bob] {
            let scrape = worker.api().get("/metrics").await?.expect(200)?.text();
            check_canaries(&scrape, &scene.canaries())?;
            ensure!(!scrape.contains(&pair.account.id), "an account is a label");
            let series = scrape.lines().filter(|line| !line.starts_with('#')).count();
            println!("series of {}: {series}", worker.setup().name);
        }
        // A control: what is no secret is found there.
        assert!(collector.text().contains(&pair.account.id));
        // A line of the log names the trace.
        let log = pair.bob.log().text()?;
        assert!(log.contains(r#""trace_id":""#), "no line has a trace");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_to_a_webhook_is_a_part_of_the_messages_trace() -> Result<()> {
    play(async |scene| {
        let collector = Collector::start().await?;
        let receiver = Receiver::start().await?;
        let setup = exporting(scene, "alice", &collector.grpc())?;
        let alice = setup.with(&["--webhook-allow-private"]).start().await?;
        let api = alice.api();
        let webhook = make_webhook(api, &receiver).await?;
        let contact = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;
        let text = scene.text("traced");
        let path = format!("/v1/accounts/{}/messages", account.id);
        let body = json!({ "to": contact.number().to_string(), "text": text });
        let traceparent = format!("00-{CALLER_TRACE}-{CALLER_SPAN}-01");
        let headers = [("traceparent", traceparent.as_str())];
        let answer = api
            .request(Method::Post, &path, &headers, Some(body.to_string()))
            .await?;
        answer.expect(202)?;
        scene.note_accepted(&account.id, &contact, &text);
        let spans = until_spans("a delivery of the message's", &collector, |spans| {
            span(spans, "webhook.deliver", "alice", |span| {
                span.trace == CALLER_TRACE
            })?;
            Some(spans.to_vec())
        })
        .await?;
        println!("{}", tree::draw(&spans, CALLER_TRACE));
        let delivery = span(&spans, "webhook.deliver", "alice", |span| {
            span.trace == CALLER_TRACE
        })
        .context("a delivery")?;
        assert_eq!(delivery.attribute("webhook.id"), webhook);
        assert_eq!(delivery.attribute("webhook.outcome"), "delivered");
        assert_eq!(delivery.attribute("http.response.status_code"), "200");
        assert_eq!(delivery.attribute("event.type"), "message.updated");
        assert_eq!(delivery.attribute("account.id"), account.id);
        // The receiver goes on from this very span.
        let sent_along = format!("00-{CALLER_TRACE}-{}-01", delivery.id);
        let taken = receiver.taken();
        assert!(
            taken
                .iter()
                .any(|taken| taken.traceparent.as_deref() == Some(sent_along.as_str())),
            "{taken:?}"
        );
        scene.settle(api, DELIVERY_LIMIT).await?;
        Ok(())
    })
    .await
}

/// The claim that ended the hand-over, and the span of `bob` that it links to.
async fn claim_and_its_link(
    collector: &Collector,
    reason: &str,
    linked: &str,
) -> Result<(Vec<Span>, Span, Span)> {
    until_spans("the claim and what it links to", collector, |spans| {
        let claim = span(spans, "lease.claim", "alice", |span| {
            span.attribute("lease.reason") == reason
        })?;
        let (trace, id) = claim.links.first()?;
        let before = span(spans, linked, "bob", |span| {
            span.trace == *trace && span.id == *id
        })?;
        // The account's connection is a part of the takeover.
        span(spans, "account.connect", "alice", |span| {
            span.trace == claim.trace && span.attribute("account.status") == "connected"
        })?;
        Some((spans.to_vec(), claim.clone(), before.clone()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_is_a_trace_of_its_own_with_a_link_to_the_dead_owners_claim() -> Result<()> {
    play(async |scene| {
        let collector = Collector::start().await?;
        let pair = pair(scene, &collector.grpc()).await?;
        until_spans("bob's claim", &collector, |spans| {
            span(spans, "lease.claim", "bob", |span| {
                span.attribute("lease.outcome") == "claimed"
            })
            .cloned()
        })
        .await?;
        pair.bob.kill().await?;
        let killed = Instant::now();
        let api = pair.alice.api();
        let limit = session_end() + DELIVERY_LIMIT;
        until_taken_over(scene, api, &pair.account, &pair.before, limit).await?;
        let took = killed.elapsed();
        let (spans, claim, before) =
            claim_and_its_link(&collector, "owner_sealed", "lease.claim").await?;
        println!("{}", tree::draw(&spans, &claim.trace));
        println!(
            "links to {} of {} in {}",
            before.name, before.worker, before.trace
        );
        assert_ne!(claim.trace, before.trace);
        assert_eq!(claim.attribute("lease.from"), "bob");
        assert_eq!(
            claim.attribute("lease.epoch"),
            (pair.before.epoch + 1).to_string()
        );
        let unowned: u64 = claim.attribute("lease.unowned_ms").parse()?;
        println!("unowned for {unowned} ms, connected {took:?} after the kill");
        // Counted from the last heartbeat, which was a moment before the kill.
        let silent = session_end().as_millis();
        assert!(
            u128::from(unowned) <= took.as_millis() + silent,
            "{unowned}"
        );
        span(&spans, "lease.seal", "alice", |span| {
            span.attribute("sealed.name") == "bob"
        })
        .context("alice sealed bob")?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_off_links_to_the_release_of_the_old_owner() -> Result<()> {
    play(async |scene| {
        let collector = Collector::start().await?;
        let pair = pair(scene, &collector.grpc()).await?;
        // What is queued at the end is exported, too.
        pair.bob.terminate().await?;
        let api = pair.alice.api();
        until_taken_over(scene, api, &pair.account, &pair.before, DELIVERY_LIMIT).await?;
        let (spans, claim, release) =
            claim_and_its_link(&collector, "handed_off", "lease.release").await?;
        println!("{}", tree::draw(&spans, &release.trace));
        println!("{}", tree::draw(&spans, &claim.trace));
        assert_eq!(release.attribute("lease.reason"), "drain");
        let unowned: u64 = claim.attribute("lease.unowned_ms").parse()?;
        println!("unowned for {unowned} ms");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_can_be_spoken_to_over_http() -> Result<()> {
    play(async |scene| {
        let collector = Collector::start().await?;
        let setup = exporting(scene, "alice", &collector.http())?
            .with_variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        let alice = setup.start().await?;
        alice.api().accounts().await?;
        until_spans("a request's span", &collector, |spans| {
            span(spans, "http.request", "alice", |_| true).cloned()
        })
        .await?;
        wait::until("metrics come", EXPORT_LIMIT, async || {
            let metrics = collector.metrics();
            let there = metrics.contains_key("leasehold.store.call.duration");
            Ok(Look::some(there.then_some(()), metrics.len()))
        })
        .await?;
        wait::until("lines come", EXPORT_LIMIT, async || {
            let lines = collector.lines();
            Ok(Look::some((!lines.is_empty()).then_some(()), lines.len()))
        })
        .await
    })
    .await
}

/// What `/metrics` says of a counter or gauge with this label.
async fn value(api: &Api, name: &str, label: &str) -> Result<f64> {
    let scrape = api.get("/metrics").await?.expect(200)?.text();
    let values = scrape
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}

/// The worker does its work, counts what it drops, and ends in time.
async fn a_rude_collector_costs_nothing(scene: &Scene, endpoint: &str) -> Result<()> {
    let setup = exporting(scene, "alice", endpoint)?
        .with_variable("OTEL_BSP_MAX_QUEUE_SIZE", "16")
        .with_variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
        .with_variable("OTEL_EXPORTER_OTLP_TIMEOUT", "1000");
    let alice = setup.start().await?;
    let api = alice.api();
    let contact = scene.contact("Peer")?;
    let account = scene.link(api, "sales").await?;
    for _ in 0..5 {
        scene.send(api, &account, &contact, "hello").await?;
    }
    scene.settle(api, DELIVERY_LIMIT).await?;
    wait::until("what is lost is counted", EXPORT_LIMIT, async || {
        let name = "leasehold_telemetry_spans_total";
        let dropped = value(api, name, r#"fate="dropped""#).await?;
        let failed = value(api, name, r#"fate="failed""#).await?;
        let exported = value(api, name, r#"fate="exported""#).await?;
        let is_so = dropped + failed > 0.0 && exported == 0.0;
        let seen = (dropped, failed, exported);
        Ok(Look::some(is_so.then_some(()), seen))
    })
    .await?;
    let asked = Instant::now();
    alice.terminate().await?;
    println!("ended {:?} after SIGTERM", asked.elapsed());
    // The flush has three seconds; the rest is the hand-over's.
    assert!(asked.elapsed() < Duration::from_secs(25));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_nothing() -> Result<()> {
    play(async |scene| {
        let (_nobody, address) = port::nobody()?;
        a_rude_collector_costs_nothing(scene, &format!("http://{address}")).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_costs_nothing() -> Result<()> {
    play(async |scene| {
        let collector = Collector::with_manner(Manner::Silent).await?;
        a_rude_collector_costs_nothing(scene, &collector.grpc()).await?;
        assert!(collector.calls() > 0, "it was called");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_costs_nothing() -> Result<()> {
    play(async |scene| {
        let collector = Collector::with_manner(Manner::Refusing).await?;
        a_rude_collector_costs_nothing(scene, &collector.grpc()).await?;
        assert!(collector.calls() > 0, "it was called");
        Ok(())
    })
    .await
}
