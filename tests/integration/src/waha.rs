//! A program that was written for WAHA, against a real worker: it makes a
//! session, shows its code, sends, reads what came, and is told of it.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use harness::api::Api;
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, Linked, play};
use harness::wait::{self, Look};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha512;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::webhooks::{header, read};

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

/// What the receiver verifies deliveries with.
const KEY: &str = "a key of WAHA's";

/// A receiver as WAHA's clients have it: takes what is signed.
struct Receiver {
    url: String,
    taken: Arc<Mutex<Vec<Value>>>,
    // It ends with it.
    _task: JoinSet<()>,
}

impl Receiver {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/bot", listener.local_addr()?);
        let taken: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&taken);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(request) = read(&mut stream).await else {
                    continue;
                };
                let event = verified(&request);
                let status = if event.is_some() { "200 OK" } else { "403 No" };
                kept.lock().unwrap().extend(event);
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Ok(Self {
            url,
            taken,
            _task: task,
        })
    }

    /// The payloads of an event, in their order.
    fn payloads(&self, event: &str) -> Vec<Value> {
        let taken = self.taken.lock().unwrap();
        let named = taken.iter().filter(|taken| taken["event"] == event);
        named.map(|taken| taken["payload"].clone()).collect()
    }
}

/// The event, if its signature is right.
fn verified((head, body): &(String, Vec<u8>)) -> Option<Value> {
    let mut mac = Hmac::<Sha512>::new_from_slice(KEY.as_bytes()).ok()?;
    mac.update(body);
    let expected = hex::encode(mac.finalize().into_bytes());
    let is_signed = header(head, "x-webhook-hmac") == Some(expected.as_str())
        && header(head, "x-webhook-hmac-algorithm") == Some("sha512");
    let millis: i64 = header(head, "x-webhook-timestamp")?.parse().ok()?;
    let event: Value = serde_json::from_slice(body).ok()?;
    // `read` yields headers in lower case.
    let named = header(head, "x-webhook-request-id")?;
    let is_named = named.eq_ignore_ascii_case(event["id"].as_str()?);
    (is_signed && is_named && millis > 0).then_some(event)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_waha_is_told_of_the_session_messages_and_acks() -> Result<()> {
    play(async |scene| {
        let receiver = Receiver::start().await?;
        let options = ["--waha-compat", "--webhook-allow-private"];
        let worker = scene.worker("alice")?.with(&options).start().await?;
        let api = worker.api();
        let contact = scene.contact("Peer")?;
        let phone = scene.account_phone("owner")?;
        let session = json!({
            "name": "default",
            "config": { "webhooks": [{
                "url": receiver.url,
                "events": ["message", "message.ack", "session.status"],
                "hmac": { "key": KEY },
            }] },
        });
        let made = api.post(&format!("{API}/sessions"), session).await?;
        let made: Value = made.expect(201)?.json()?;
        let id = made["accountId"].as_str().context("its id")?.to_owned();
        until_session(api, "default", "SCAN_QR_CODE").await?;
        let account = Linked { id, phone };
        scene.scan(api, &account).await?;
        until_session(api, "default", "WORKING").await?;

        let chat = format!("{}@c.us", contact.number());
        let text = scene.text("hello");
        let body = json!({ "session": "default", "chatId": chat, "text": text });
        let sent = api.post(&format!("{API}/sendText"), body).await?;
        let sent: Value = sent.expect(201)?.json()?;
        scene.note_accepted(&account.id, &contact, &text);
        let written = scene.write(&contact, &account, "answer")?;

        wait::until("all of it is told", DELIVERY_LIMIT, async || {
            let statuses = receiver.payloads("session.status");
            let is_working = statuses.iter().any(|told| told["status"] == "WORKING");
            let acks = receiver.payloads("message.ack");
            let has_arrived = acks
                .iter()
                .any(|told| told["id"] == sent["id"] && told["ackName"] == "DEVICE");
            let messages = receiver.payloads("message");
            let is_theirs = messages.iter().any(|told| {
                told["body"] == written.text.as_str()
                    && told["from"] == chat.as_str()
                    && told["fromMe"] == false
            });
            let seen = (is_working, has_arrived, is_theirs);
            let is_all = is_working && has_arrived && is_theirs;
            Ok(Look::some(is_all.then_some(()), seen))
        })
        .await?;
        let statuses = receiver.payloads("session.status");
        let statuses: Vec<&Value> = statuses.iter().map(|told| &told["status"]).collect();
        println!("statuses that were told: {statuses:?}");
        assert!(
            statuses.windows(2).all(|pair| pair[0] != pair[1]),
            "{statuses:?}"
        );
        for taken in receiver.taken.lock().unwrap().iter() {
            assert_eq!(taken["session"], "default");
            assert_eq!(taken["metadata"]["accountId"], account.id.as_str());
        }
        let own = receiver.payloads("message");
        assert!(own.iter().all(|told| told["body"] != text.as_str()));
        scene.settle(api, DELIVERY_LIMIT).await?;
        Ok(())
    })
    .await
}
