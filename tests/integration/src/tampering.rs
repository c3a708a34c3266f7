//! The whole database after a full run: none of the secrets that are known from
//! outside is in it, in any form; and what somebody with the database could do
//! to sessions is noticed.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::api::{Api, Method};
use harness::scene::{DELIVERY_LIMIT, LINK_LIMIT, Linked, play, until_connected, until_stored};
use harness::wait::{self, Look};
use harness::worker::Worker;
use serde_json::{Value, json};

use crate::backups::until_settled;
use crate::database::{self, forms, holds};

/// Sessions of Baileys, with every key in clear.
const SESSIONS: &str = include_str!("../../../worker/whatsapp/src/baileys/fixture.json");
/// The files of a session.
const FILES: &str = "files/";

/// Every key of a session in Baileys' files: 32 or 33 bytes in base64.
fn keys_of(value: &Value, keys: &mut BTreeSet<Vec<u8>>) {
    match value {
        Value::Object(members) => members.values().for_each(|value| keys_of(value, keys)),
        Value::Array(items) => items.iter().for_each(|item| keys_of(item, keys)),
        Value::String(text) => {
            let bytes = STANDARD.decode(text).unwrap_or_default();
            // A sender key is JSON in base64.
            if let Ok(inner) = serde_json::from_slice::<Value>(&bytes)
                && (inner.is_array() || inner.is_object())
            {
                keys_of(&inner, keys);
            } else if matches!(bytes.len(), 32 | 33) {
                keys.insert(bytes);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

async fn patch(api: &Api, id: &str, body: Value) -> Result<()> {
    let path = format!("/v1/accounts/{id}");
    let body = Some(body.to_string());
    let answer = api.request(Method::Patch, &path, &[], body).await?;
    answer.expect(200).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_everything_holds_no_secret_in_any_form() -> Result<()> {
    play(async |scene| {
        let worker = scene
            .worker("alice")?
            .with(&["--webhook-allow-private"])
            .start()
            .await?;
        let (api, setup) = (worker.api(), worker.setup());
        let data = setup.data_folder();
        let mut secrets: Vec<(&str, Vec<u8>)> = Vec::new();

        // Pairing, one-to-one and group traffic.
        let account = scene.link(api, "sales").await?;
        let contact = scene.contact("Contact")?;
        scene.send(api, &account, &contact, "out").await?;
        let sent = scene.write(&contact, &account, "in")?;
        until_stored(api, &account, &sent.text, DELIVERY_LIMIT).await?;
        let group = contact.create_group("Both", &[account.number()])?;
        let text = scene.text("to the group");
        contact.send_group_text(&group, &text)?;
        until_stored(api, &account, &text, DELIVERY_LIMIT).await?;
        api.send_text(&account.id, &group, &scene.text("and back"))
            .await?;

        // An import, whose keys are all known; and what else is secret.
        let source = scene.folder().join("sessions.json");
        std::fs::write(&source, SESSIONS)?;
        let source = source.display().to_string();
        let import = ["import-baileys", &source, "--write", "--stopped"];
        let (ok, said) = setup.command(&import).await?;
        ensure!(ok && said.contains("2 imported"), "{said}");
        let mut keys = BTreeSet::new();
        keys_of(&serde_json::from_str(SESSIONS)?, &mut keys);
        ensure!(keys.len() > 40, "{}", keys.len());
        secrets.extend(keys.into_iter().map(|key| ("session key", key)));
        let password = "proxy-password-7f3a91";
        let proxy = format!("socks5://somebody:{password}@127.0.0.1:9");
        patch(api, "baileys7", json!({ "proxy": proxy })).await?;
        secrets.push(("proxy password", password.into()));
        let hook = json!({ "url": "http://127.0.0.1:9/hook" });
        let hook: Value = api.post("/v1/webhooks", hook).await?.expect(201)?.json()?;
        let secret = hook["secret"].as_str().context("a webhook has a secret")?;
        secrets.push(("webhook secret", secret.into()));
        if let Some(encoded) = secret.strip_prefix("whsec_") {
            secrets.push(("webhook secret", database::decoded(encoded)?));
        }
        // One whose code waits to be scanned.
        let waiting = api.create_account("waiting").await?;
        api.until_status(&waiting.id, &["qr_ready"], LINK_LIMIT)
            .await?;
        let code = api.qr(&waiting.id).await?.context("a code")?.qr;
        let code = code.rsplit('#').next().unwrap_or_default();
        for part in code.split(',').skip(1).filter(|part| part.len() >= 40) {
            secrets.push(("part of a QR code", part.into()));
            secrets.push(("part of a QR code", database::decoded(part)?));
        }
        until_settled(scene, api).await?;
        let ring: Value = serde_json::from_slice(&std::fs::read(data.join("keyring.json"))?)?;
        let mut keys = BTreeSet::new();
        keys_of(&ring["keys"], &mut keys);
        ensure!(!keys.is_empty(), "the ring has a key");
        secrets.extend(keys.into_iter().map(|key| ("key of the ring", key)));
        // Last, since from then on the API needs it.
        let create = ["apikeys", "create", "--name", "admin", "--scope", "admin"];
        let (ok, said) = setup.command(&create).await?;
        let key = said.split_whitespace().find(|word| word.starts_with("lh_"));
        let key = key.with_context(|| said.clone())?;
        ensure!(ok, "{said}");
        secrets.push(("API key", key.into()));

        let documents = database::documents(&data)?;
        let raw = database::bytes(&data)?;
        // A control: what is no secret is found, in the documents and in the file.
        let known = account.id.as_bytes();
        ensure!(documents.values().any(|fields| holds(fields, known)));
        ensure!(holds(&raw, known) && holds(&raw, b"baileys7"));
        for (what, secret) in &secrets {
            for form in forms(secret) {
                for (path, fields) in &documents {
                    ensure!(!holds(fields, &form), "a {what} in {path}");
                }
                ensure!(!holds(&raw, &form), "a {what} in the file");
            }
        }
        let all: Vec<u8> = documents.into_values().flatten().collect();
        scene.check_bytes(&all, &["secret of a QR code"])?;
        scene.check_bytes(&raw, &["secret of a QR code"])?;
        Ok(())
    })
    .await
}

/// A session file of an account that another account, or an older time, has too.
fn session_file(data: &Path, account: &Linked, name: &str) -> Result<(String, Vec<u8>)> {
    let path = format!("wa_sessions/{}/{FILES}{name}", account.id);
    let fields = database::documents(data)?.remove(&path);
    Ok((
        path.clone(),
        fields.with_context(|| format!("{path} is there"))?,
    ))
}

/// The account asks for a person, and sends nothing.
async fn until_refused(worker: &Worker, account: &Linked) -> Result<()> {
    wait::until("the session is refused", LINK_LIMIT, async || {
        let account = worker.api().account(&account.id).await?;
        let asks = account.action_required.clone().unwrap_or_default();
        let is_so = account.status == "failed" && asks.contains("altered");
        Ok(Look::some(
            is_so.then_some(()),
            format!("{} {asks}", account.status),
        ))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_and_replayed_session_files_are_refused_and_nothing_is_sent() -> Result<()> {
    play(async |scene| {
        scene.allow_error("is refused");
        let worker = scene.worker("alice")?.start().await?;
        let one = scene.link(worker.api(), "one").await?;
        let two = scene.link(worker.api(), "two").await?;
        let contact = scene.contact("Contact")?;
        for account in [&one, &two] {
            scene
                .send(worker.api(), account, &contact, "before")
                .await?;
        }
        scene.settle(worker.api(), DELIVERY_LIMIT).await?;
        let data = worker.setup().data_folder();
        let older = session_file(&data, &one, "peers")?;
        let worker = worker.terminate().await?.start().await?;
        until_connected(scene, worker.api(), &one, LINK_LIMIT).await?;
        until_connected(scene, worker.api(), &two, LINK_LIMIT).await?;
        scene.send(worker.api(), &one, &contact, "between").await?;
        scene.settle(worker.api(), DELIVERY_LIMIT).await?;

        // Each other's file, under a name that both have.
        let setup = worker.terminate().await?;
        let (mine, theirs) = (
            session_file(&data, &one, "peers")?,
            session_file(&data, &two, "peers")?,
        );
        database::put(&data, &mine.0, &theirs.1)?;
        database::put(&data, &theirs.0, &mine.1)?;
        let worker = setup.start().await?;
        until_refused(&worker, &one).await?;
        until_refused(&worker, &two).await?;
        let arrived = contact.ledger().received.len();
        let text = scene.text("into a session that is refused");
        worker
            .api()
            .send_text(&one.id, contact.number(), &text)
            .await?;
        scene.note_accepted(&one.id, &contact, &text);

        // Put right, a start goes on, and what waited is sent.
        let setup = worker.terminate().await?;
        assert_eq!(contact.ledger().received.len(), arrived, "nothing was sent");
        database::put(&data, &mine.0, &mine.1)?;
        database::put(&data, &theirs.0, &theirs.1)?;
        let worker = setup.start().await?;
        for account in [&one, &two] {
            worker.api().act(&account.id, "start").await?;
            until_connected(scene, worker.api(), account, LINK_LIMIT).await?;
        }
        scene.settle(worker.api(), DELIVERY_LIMIT).await?;

        // An older file of its own.
        let setup = worker.terminate().await?;
        let now = session_file(&data, &one, "peers")?;
        ensure!(now.1 != older.1, "the file has changed since");
        database::put(&data, &older.0, &older.1)?;
        let worker = setup.start().await?;
        until_refused(&worker, &one).await?;
        until_connected(scene, worker.api(), &two, LINK_LIMIT).await?;
        Ok(())
    })
    .await
}
