//! What telemetry costs: spans of a message sent, of one received, of an idle
//! account in an hour; series of a worker with one account and with twenty. The
//! bounds here are stated in `k8s/observability/README.md`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use collector::span::Span;
use collector::{Collector, tree};
use futures::{StreamExt, TryStreamExt};
use harness::api::Api;
use harness::scene::{DELIVERY_LIMIT, Linked, Scene, play, until_stored};
use harness::wait::{self, Look};
use serde_json::json;
use wa_sim::phone::Phone;

use crate::traces::{exporting, until_spans};

/// Spans of a message, from the request to `read`.
const SENT_SPANS_MAX: usize = 24;
/// Spans of an inbound message.
const RECEIVED_SPANS_MAX: usize = 6;
/// Spans between two renewals of an idle account: the renewal's own and nothing
/// else that is traced.
const IDLE_SPANS_MAX: usize = 4;
/// Renewals an hour, unless configured otherwise.
const RENEWALS_AN_HOUR: usize = 30;
/// Series of a worker, whatever the number of its accounts.
const SERIES_MAX: usize = 500;
/// Series that nineteen accounts more may bring, of labels that are seen for the
/// first time: fewer than two each.
const MORE_SERIES_MAX: usize = 30;

/// A caller's trace, by which the request's is found.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Sends a text in [`TRACE`], and waits until it was read.
async fn send_and_read(scene: &Scene, api: &Api, from: &Linked, to: &Phone) -> Result<()> {
    let text = scene.text("costly");
    let path = format!("/v1/accounts/{}/messages", from.id);
    let body = json!({ "to": to.number().to_string(), "text": text });
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let headers = [("traceparent", traceparent.as_str())];
    let answer = api
        .request(
            harness::api::Method::Post,
            &path,
            &headers,
            Some(body.to_string()),
        )
        .await?;
    let accepted: serde_json::Value = answer.expect(202)?.json()?;
    let id = accepted["messageId"].as_str().context("an id")?.to_owned();
    scene.note_accepted(&from.id, to, &text);
    api.until_state(&id, &["delivered"], DELIVERY_LIMIT).await?;
    let received = to.ledger().received;
    let received = received.iter().find(|received| received.text == text);
    to.read(&[received.context("it was received")?.id.clone()])?;
    api.until_state(&id, &["read"], DELIVERY_LIMIT)
        .await
        .map(drop)
}

/// The spans of a trace once there are no new ones for a while.
async fn whole_trace(collector: &Collector, trace: &str) -> Result<Vec<Span>> {
    let mut before = 0;
    let mut calls = collector.calls();
    wait::until("the trace is whole", Duration::from_secs(60), async || {
        let spans = tree::of(&collector.spans(), trace);
        // Two exports came in, and none of it was in them.
        let is_whole = spans.len() == before && collector.calls() >= calls + 2;
        if spans.len() != before {
            before = spans.len();
            calls = collector.calls();
        }
        let count = spans.len();
        Ok(Look::some(is_whole.then_some(spans), count))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_idle_accounts_cost_a_bounded_number_of_spans() -> Result<()> {
    play(async |scene| {
        let collector = Collector::start().await?;
        let setup = exporting(scene, "alice", &collector.grpc())?.with(&[
            "--lease-duration",
            "30s",
            "--lease-refresh",
            "2s",
        ]);
        let alice = setup.start().await?;
        let api = alice.api();
        let contact = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;

        send_and_read(scene, api, &account, &contact).await?;
        until_spans("the last receipt", &collector, |spans| {
            let is_read = |span: &&Span| {
                span.trace == TRACE && span.attribute("message.state") == "read"
            };
            spans.iter().find(is_read).cloned()
        })
        .await?;
        let sent = whole_trace(&collector, TRACE).await?;
        println!("{}", tree::draw(&sent, TRACE));

        let answer = scene.write(&contact, &account, "answer")?;
        until_stored(api, &account, &answer.text, DELIVERY_LIMIT).await?;
        let receive = until_spans("the inbound message", &collector, |spans| {
            let is_stored = |span: &&Span| {
                span.name == "message.receive" && span.attribute("message.outcome") == "stored"
            };
            spans.iter().find(is_stored).cloned()
        })
        .await?;
        let received = whole_trace(&collector, &receive.trace).await?;
        println!("{}", tree::draw(&received, &receive.trace));
        scene.settle(api, DELIVERY_LIMIT).await?;

        // From here on nobody asks for anything.
        let renewals = |spans: &[Span]| -> Vec<Duration> {
            let of_account = |span: &&Span| {
                span.name == "lease.renew" && span.attribute("account.id") == account.id
            };
            let mut began: Vec<_> = spans.iter().filter(of_account).map(|span| span.began).collect();
            began.sort_unstable();
            began
        };
        let already = renewals(&collector.spans()).len();
        let spans = until_spans("some renewals", &collector, |spans| {
            (renewals(spans).len() >= already + 6).then(|| spans.to_vec())
        })
        .await?;
        // Between the second and the sixth: what came before may still be the
        // messages', and what belongs to the last may still be on its way.
        let began = renewals(&spans);
        let window = began[already + 1]..began[already + 5];
        let idle: Vec<&Span> = spans
            .iter()
            .filter(|span| window.contains(&span.began))
            .collect();
        let names: BTreeSet<&str> = idle.iter().map(|span| span.name.as_str()).collect();
        println!(
            "spans: {} of a message sent, {} of one received, {} of an idle account an hour ({names:?})",
            sent.len(),
            received.len(),
            idle.len() * RENEWALS_AN_HOUR / 4,
        );
        assert!((10..=SENT_SPANS_MAX).contains(&sent.len()), "{}", sent.len());
        assert!(
            (2..=RECEIVED_SPANS_MAX).contains(&received.len()),
            "{}",
            received.len()
        );
        assert!(
            (4..=4 * IDLE_SPANS_MAX).contains(&idle.len()),
            "{idle:#?}"
        );
        Ok(())
    })
    .await
}

/// How often it was scraped.
const SCRAPES: &str = "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_response_status_code=\"200\",http_route=\"/metrics\"}";

/// Every series of a scrape: its name and labels.
async fn series(api: &Api) -> Result<BTreeSet<String>> {
    let scrape = api.get("/metrics").await?.expect(200)?.text();
    let lines = scrape.lines().filter(|line| !line.starts_with('#'));
    Ok(lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, _)| series.to_owned())
        .collect())
}

/// A message each way.
async fn talk(scene: &Scene, api: &Api, account: &Linked, contact: &Phone) -> Result<()> {
    scene.send(api, account, contact, "hello").await?;
    let answer = scene.write(contact, account, "answer")?;
    until_stored(api, account, &answer.text, DELIVERY_LIMIT)
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_accounts_have_no_series_of_their_own() -> Result<()> {
    play(async |scene| {
        let options = [
            "--metrics-public",
            "--capacity",
            "20",
            "--connect-rate",
            "0",
        ];
        let alice = scene.worker("alice")?.with(&options).start().await?;
        let api = alice.api();
        let contact = scene.contact("Peer")?;
        let first = scene.link(api, "account 0").await?;
        talk(scene, api, &first, &contact).await?;
        scene.settle(api, DELIVERY_LIMIT).await?;
        // What there is of any worker: a heartbeat, and a scrape before this one.
        let of_one = wait::until("a heartbeat is counted", DELIVERY_LIMIT, async || {
            let series = series(api).await?;
            let has_all = ["leasehold_heartbeat_duration_seconds_count", SCRAPES]
                .iter()
                .all(|name| series.contains(*name));
            let count = series.len();
            Ok(Look::some(has_all.then_some(series), count))
        })
        .await?;

        let links = (1..20).map(async |number| scene.link(api, &format!("account {number}")).await);
        let others: Vec<Linked> = futures::stream::iter(links)
            .buffer_unordered(4)
            .try_collect()
            .await?;
        for account in &others {
            talk(scene, api, account, &contact).await?;
        }
        scene.settle(api, 3 * DELIVERY_LIMIT).await?;
        let of_twenty = series(api).await?;

        let more: Vec<&String> = of_twenty.difference(&of_one).collect();
        println!(
            "series: {} with one account, {} with twenty; new: {more:#?}",
            of_one.len(),
            of_twenty.len()
        );
        for account in others.iter().chain([&first]) {
            let own = of_twenty
                .iter()
                .find(|series| series.contains(&account.id) || series.contains(account.number()));
            assert_eq!(own, None, "an account is a label");
        }
        assert!(of_one.len() > 100, "they are there");
        assert!(of_twenty.len() <= SERIES_MAX, "{}", of_twenty.len());
        assert!(more.len() <= MORE_SERIES_MAX, "{more:#?}");
        Ok(())
    })
    .await
}
