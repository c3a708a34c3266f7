//! One test a script.

use anyhow::Result;
use harness::api::{Api, Method};
use harness::scene::{Scene, play};
use serde_json::{Value, json};

use crate::script;
use crate::stage::Stage;

/// Makes a key over the API, with one that may.
async fn make_key(api: &Api, admin: Option<&str>, scope: &str) -> Result<Value> {
    let body = json!({ "name": format!("{scope} key"), "scopes": [scope] });
    let headers: Vec<(&str, &str)> = admin.iter().map(|key| ("x-api-key", *key)).collect();
    let body = Some(body.to_string());
    let made = api
        .request(Method::Post, "/v1/keys", &headers, body)
        .await?;
    made.expect(201)?.json()
}

/// What accounts are called here; none is part of another.
const NAMES: [&str; 8] = [
    "Front desk",
    "Sales Berlin",
    "Support",
    "Orders",
    "Clinic Nord",
    "Courses",
    "Billing",
    "Newsletter",
];

/// Accounts that are linked, so many.
async fn link_all(scene: &Scene, api: &Api, count: usize) -> Result<Vec<Value>> {
    let mut linked = Vec::new();
    for name in NAMES.into_iter().take(count) {
        let account = scene.link(api, name).await?;
        linked.push(json!({ "id": account.id, "name": name, "number": account.number() }));
    }
    Ok(linked)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_linked_by_the_code_on_the_screen_and_its_ticks_turn() -> Result<()> {
    play(async |scene| {
        let stage = Stage::new(scene, &[])?;
        let base = stage.start("alice").await?;
        let own = scene.account_phone("Front desk")?;
        let contact = scene.contact("Anna")?;
        let about = json!({ "base": base, "number": own.number(), "contact": contact.number() });
        script::play("linking.mjs", &stage, about).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_linked_by_a_code_that_is_typed_on_the_phone() -> Result<()> {
    play(async |scene| {
        let stage = Stage::new(scene, &[])?;
        let base = stage.start("alice").await?;
        let own = scene.account_phone("Front desk")?;
        let about = json!({ "base": base, "number": own.number() });
        script::play("pairing.mjs", &stage, about).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_accounts_are_seen_to_move() -> Result<()> {
    play(async |scene| {
        let stage = Stage::new(scene, &[])?;
        let bob = stage.start("bob").await?;
        let accounts = link_all(scene, &stage.cluster.api_of("bob")?, 8).await?;
        let alice = stage.start("alice").await?;
        let carol = stage.start("carol").await?;
        let workers = json!({ "alice": alice, "bob": bob, "carol": carol });
        let about = json!({ "workers": workers, "accounts": accounts });
        script::play("failover.mjs", &stage, about).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_key_nothing_is_shown() -> Result<()> {
    play(async |scene| {
        let stage = Stage::new(scene, &["--sign-in-time", "20s"])?;
        let base = stage.start("alice").await?;
        let api = stage.cluster.api_of("alice")?;
        let admin = make_key(&api, None, "admin").await?;
        let admin_key = admin["key"].as_str().unwrap_or_default();
        let reader = make_key(&api, Some(admin_key), "read").await?;
        let about = json!({ "base": base, "admin": admin, "reader": reader });
        script::play("sign-in.mjs", &stage, about).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_accounts_scroll() -> Result<()> {
    play(async |scene| {
        let stage = Stage::new(scene, &["--capacity", "1", "--api-rate", "0"])?;
        let base = stage.start("alice").await?;
        let api = stage.cluster.api_of("alice")?;
        for number in 0..1_000 {
            let body = json!({ "name": format!("Account {number:04}") });
            api.post("/v1/accounts", body).await?.expect(201)?;
        }
        script::play("thousand.mjs", &stage, json!({ "base": base })).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_is_shown_once_and_is_the_way_in() -> Result<()> {
    play(async |scene| {
        let stage = Stage::new(scene, &[])?;
        let base = stage.start("alice").await?;
        script::play("keys.mjs", &stage, json!({ "base": base })).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_came_is_opened_and_saved() -> Result<()> {
    play(async |scene| {
        let stage = Stage::new(scene, &[])?;
        let base = stage.start("alice").await?;
        let accounts = link_all(scene, &stage.cluster.api_of("alice")?, 1).await?;
        let contact = scene.contact("Anna")?;
        let about = json!({ "base": base, "account": accounts[0], "contact": contact.number() });
        script::play("files.mjs", &stage, about).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_sent_by_keyboard_alone() -> Result<()> {
    play(async |scene| {
        let stage = Stage::new(scene, &[])?;
        let base = stage.start("alice").await?;
        let api = stage.cluster.api_of("alice")?;
        let accounts = link_all(scene, &api, 2).await?;
        let contact = scene.contact("Anna")?;
        let admin = make_key(&api, None, "admin").await?;
        let about = json!({
            "base": base,
            "key": admin["key"],
            "account": accounts[1],
            "contact": contact.number(),
        });
        script::play("keyboard.mjs", &stage, about).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_did_not_get_is_shown_and_sent_again() -> Result<()> {
    play(async |scene| {
        let waits = [
            "--webhook-retry-wait",
            "1s",
            "--webhook-retry-wait-max",
            "2s",
        ];
        let stage = Stage::new(scene, &waits)?;
        let base = stage.start("alice").await?;
        let accounts = link_all(scene, &stage.cluster.api_of("alice")?, 1).await?;
        let contact = scene.contact("Anna")?;
        let about = json!({ "base": base, "account": accounts[0], "contact": contact.number() });
        script::play("webhooks.mjs", &stage, about).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_and_what_failed_is_seen_of_all_accounts() -> Result<()> {
    play(async |scene| {
        let stage = Stage::new(scene, &[])?;
        let base = stage.start("alice").await?;
        let accounts = link_all(scene, &stage.cluster.api_of("alice")?, 3).await?;
        let about = json!({
            "base": base,
            "accounts": accounts,
            "contact": scene.contact("Anna")?.number(),
            "unwilling": scene.contact("Ben")?.number(),
        });
        script::play("outbox.mjs", &stage, about).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_moves_lead_to_their_traces() -> Result<()> {
    play(async |scene| {
        let telemetry = [
            "--trace-url",
            "https://traces.example/trace/{trace}",
            "--account-traces-url",
            "https://traces.example/search?tags=%7B%22account.id%22%3A%22{account}%22%7D",
            // Nobody listens there; but spans are made.
            "--otlp-traces-endpoint",
            "http://127.0.0.1:9",
        ];
        let stage = Stage::new(scene, &telemetry)?;
        let base = stage.start("alice").await?;
        let accounts = link_all(scene, &stage.cluster.api_of("alice")?, 1).await?;
        let contact = scene.contact("Anna")?;
        let about = json!({ "base": base, "account": accounts[0], "contact": contact.number() });
        script::play("traces.mjs", &stage, about).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_being_erased_says_so_until_nothing_is_left() -> Result<()> {
    play(async |scene| {
        let stage = Stage::new(scene, &[])?;
        let base = stage.start("alice").await?;
        let accounts = link_all(scene, &stage.cluster.api_of("alice")?, 1).await?;
        let about = json!({ "base": base, "account": accounts[0] });
        script::play("erasing.mjs", &stage, about).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dialog_is_for_everybody_in_light_and_dark() -> Result<()> {
    play(async |scene| {
        let stage = Stage::new(scene, &["--api-rate", "0"])?;
        let base = stage.start("alice").await?;
        let api = stage.cluster.api_of("alice")?;
        let accounts = link_all(scene, &api, 1).await?;
        let webhook = json!({ "url": "http://127.0.0.1:9/events", "name": "CRM" });
        let webhook: Value = api.post("/v1/webhooks", webhook).await?.json()?;
        let about = json!({
            "base": base,
            "account": accounts[0]["id"],
            "webhook": webhook["id"],
        });
        script::play("dialogs.mjs", &stage, about).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_for_everybody_in_light_and_dark() -> Result<()> {
    play(async |scene| {
        let stage = Stage::new(scene, &["--api-rate", "0"])?;
        let base = stage.start("alice").await?;
        let api = stage.cluster.api_of("alice")?;
        let accounts = link_all(scene, &api, 5).await?;
        stage.start("bob").await?;
        let contact = scene.contact("Anna Weber")?;
        let waiting = api.create_account("Workshop").await?;
        let webhook = json!({ "url": "http://127.0.0.1:9/events", "name": "CRM" });
        let webhook: Value = api.post("/v1/webhooks", webhook).await?.json()?;
        let about = json!({
            "base": base,
            "accounts": accounts,
            "waiting": waiting.id,
            "contact": contact.number(),
            "webhook": webhook["id"],
        });
        script::play("pages.mjs", &stage, about).await
    })
    .await
}
