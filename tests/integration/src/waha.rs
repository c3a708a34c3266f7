//! A program that was written for WAHA, against a real worker: it makes a
//! session, shows its code, sends, and reads what came.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use harness::api::Api;
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, Linked, play};
use harness::wait::{self, Look};
use serde_json::{Value, json};

const API: &str = "/compat/waha/api";

async fn get(api: &Api, path: &str) -> Result<Value> {
    api.get(&format!("{API}{path}")).await?.expect(200)?.json()
}

async fn until_session(api: &Api, name: &str, status: &str) -> Result<Value> {
    let path = format!("/sessions/{name}");
    wait::until("the session's status", LINK_LIMIT, async || {
        let session = get(api, &path).await?;
        let is_there = session["status"] == status;
        let seen = session["status"].clone();
        Ok(Look::some(is_there.then_some(session), seen))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_for_waha_links_sends_and_reads() -> Result<()> {
    play(async |scene| {
        let setup = scene.worker("alice")?;
        let media = scene.sim().media_url();
        let worker = setup
            .with(&["--waha-compat", "--whatsapp-media-url", &media])
            .start()
            .await?;
        let api = worker.api();
        let contact = scene.contact("Peer")?;
        let phone = scene.account_phone("owner")?;

        let made = api
            .post(
                &format!("{API}/sessions"),
                json!({ "name": "default", "start": true }),
            )
            .await?;
        let made: Value = made.expect(201)?.json()?;
        let id = made["accountId"].as_str().context("its id")?.to_owned();
        until_session(api, "default", "SCAN_QR_CODE").await?;
        let picture = api.get(&format!("{API}/default/auth/qr")).await?;
        assert!(picture.expect(200)?.body.starts_with(b"\x89PNG"));
        let raw = get(api, "/default/auth/qr?format=raw").await?;
        assert!(raw["value"].is_string());

        let account = Linked { id, phone };
        scene.scan(api, &account).await?;
        let session = until_session(api, "default", "WORKING").await?;
        assert_eq!(session["me"]["id"], format!("{}@c.us", account.number()));

        let chat = format!("{}@c.us", contact.number());
        let text = scene.text("hello");
        let body = json!({ "session": "default", "chatId": chat, "text": text });
        let sent = api.post(&format!("{API}/sendText"), body).await?;
        let sent: Value = sent.expect(201)?.json()?;
        scene.note_accepted(&account.id, &contact, &text);
        let file = json!({ "mimetype": "image/jpeg", "data": BASE64_STANDARD.encode([0xff; 64]) });
        let body = json!({ "session": "default", "chatId": chat, "file": file });
        let image = api.post(&format!("{API}/sendImage"), body).await?;
        image.expect(201)?;

        let written = scene.write(&contact, &account, "answer")?;
        scene::until_stored(api, &account, &written.text, DELIVERY_LIMIT).await?;
        let path = format!("/default/chats/{chat}/messages?limit=10");
        wait::until(
            "the text has arrived, and the answer",
            DELIVERY_LIMIT,
            async || {
                let messages = get(api, &path).await?;
                let all = messages.as_array().cloned().unwrap_or_default();
                let ours = all.iter().find(|message| message["id"] == sent["id"]);
                let has_arrived = ours.is_some_and(|message| message["ack"].as_i64() >= Some(2));
                let theirs = all
                    .iter()
                    .find(|message| message["body"] == written.text.as_str());
                let is_theirs = theirs.is_some_and(|message| message["from"] == chat.as_str());
                let seen = format!("{} messages, arrived {has_arrived}", all.len());
                Ok(Look::some((has_arrived && is_theirs).then_some(()), seen))
            },
        )
        .await?;
        let chats = get(api, "/default/chats").await?;
        assert_eq!(chats[0]["id"], chat.as_str());

        let out = api
            .post(&format!("{API}/sessions/default/logout"), Value::Null)
            .await?;
        out.expect(200)?;
        until_session(api, "default", "STOPPED").await?;
        Ok(())
    })
    .await
}
