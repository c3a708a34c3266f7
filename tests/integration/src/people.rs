//! What concerns people and not only messages: one thread a person, presence,
//! messages that disappear, one message to many.

use anyhow::{Context, Result, ensure};
use baileys::{Peer, Version};
use harness::api::Method;
use harness::scene::{DELIVERY_LIMIT, Linked, play, until_connected, until_stored};
use harness::wait::{self, Look};
use serde_json::{Value, json};

use crate::cluster::{Cluster, StoreKind, until_met};

fn jid(number: &str) -> String {
    format!("{number}@s.whatsapp.net")
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_begun_under_both_addresses_become_one() -> Result<()> {
    play(async |scene| {
        let alice = scene.worker("alice")?.start().await?;
        let account = scene.link(alice.api(), "sales").await?;
        let ada = scene.account_phone("Ada")?;
        let lid = scene.sim().state().accounts[ada.number()].lid.clone();
        let path = format!("/v1/accounts/{}/messages", account.id);
        let mut threads = Vec::new();
        let mut texts = Vec::new();
        for to in [format!("{lid}@lid"), ada.number().to_string()] {
            let text = scene.text("to one of two addresses");
            let body = json!({ "to": to, "text": text });
            let accepted: Value = alice.api().post(&path, body).await?.expect(202)?.json()?;
            threads.push(
                accepted["threadId"]
                    .as_str()
                    .context("threadId")?
                    .to_owned(),
            );
            let id = accepted["messageId"]
                .as_str()
                .context("messageId")?
                .to_owned();
            alice
                .api()
                .until_state(&id, &["delivered", "read"], DELIVERY_LIMIT)
                .await?;
            texts.push(text);
        }
        ensure!(threads[0] != threads[1], "nobody knew that they are one");

        // The answer names both.
        let answer = scene.text("an answer");
        ada.send_text(account.number(), &answer)?;
        until_stored(alice.api(), &account, &answer, DELIVERY_LIMIT).await?;
        texts.push(answer);
        wait::until("there is one thread", DELIVERY_LIMIT, async || {
            let all = alice.api().threads(&account.id).await?;
            Ok(Look::some((all.len() == 1).then_some(()), all.len()))
        })
        .await?;
        let all = alice.api().all_messages(&account.id).await?;
        let mut found: Vec<&str> = all.iter().filter_map(|one| one.text.as_deref()).collect();
        let mut wanted: Vec<&str> = texts.iter().map(String::as_str).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        ensure!(found == wanted, "{} messages", found.len());
        // Both old ids lead to it.
        for thread in &threads {
            let path = format!("/v1/threads/{thread}/messages");
            let page: Value = alice.api().get(&path).await?.expect(200)?.json()?;
            ensure!(
                page["messages"].as_array().map(Vec::len) == Some(3),
                "{page}"
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_shown_and_told_when_asked_for() -> Result<()> {
    play(async |scene| {
        let alice = scene.worker("alice")?.start().await?;
        let account = scene.link(alice.api(), "sales").await?;
        let ada = scene.account_phone("Ada")?;
        let hello = scene.text("hello");
        ada.send_text(account.number(), &hello)?;
        until_stored(alice.api(), &account, &hello, DELIVERY_LIMIT).await?;
        let thread = alice.api().threads(&account.id).await?[0].id.clone();

        // Its own.
        let path = format!("/v1/accounts/{}", account.id);
        let show = async |is_available: bool| {
            let body = Some(json!({ "available": is_available }).to_string());
            let answer = alice.api().request(Method::Patch, &path, &[], body).await?;
            let view: Value = answer.expect(200)?.json()?;
            ensure!(view["available"] == is_available, "{view}");
            scene
                .sim()
                .wait("the account's presence", DELIVERY_LIMIT, || {
                    scene.sim().is_online(account.number()) == is_available
                })
                .await?;
            anyhow::Ok(())
        };
        show(true).await?;
        show(false).await?;
        show(true).await?;

        // Hers, asked for; and that she writes, unasked.
        let seen = async || {
            let path = format!("/debug/accounts/{}", account.id);
            let debug: Value = alice.api().get(&path).await?.expect(200)?.json()?;
            let events = &debug["runtime"]["handlers"]["presence"]["events"];
            anyhow::Ok(events.as_u64().with_context(|| debug.to_string())?)
        };
        let until_seen = async |what: &'static str, count: u64| {
            wait::until(what, DELIVERY_LIMIT, async || {
                let events = seen().await?;
                Ok(Look::some((events >= count).then_some(()), events))
            })
            .await
        };
        let before = seen().await?;
        ada.set_typing(account.number(), true);
        until_seen("that she writes", before + 1).await?;
        let path = format!("/v1/threads/{thread}/presence");
        alice.api().post(&path, Value::Null).await?.expect(202)?;
        until_seen("that she is away", before + 2).await?;
        ada.set_online(true);
        until_seen("that she has come", before + 3).await?;

        // On the next connection both are asked for again.
        scene.sim().disconnect(
            account.number(),
            None,
            wa_sim::Disconnect::StreamError { code: 503 },
        );
        until_connected(scene, alice.api(), &account, DELIVERY_LIMIT).await?;
        let before = seen().await?;
        ada.set_online(false);
        until_seen("that she has gone", before + 1).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_disappear_when_their_time_is_past() -> Result<()> {
    play(async |scene| {
        let setup = scene.worker("alice")?;
        let alice = setup
            .with_variable("LEASEHOLD_EXPIRY_INTERVAL", "1s")
            .start()
            .await?;
        let account = scene.link(alice.api(), "sales").await?;
        let phone = scene.account_phone("Peer")?;
        let folder = tempfile::tempdir()?;
        let mut peer = Peer::spawn(Version::Seven, folder.path()).await?;
        let scanning = phone.clone();
        peer.pair(&scene.sim().url(), async |code: String| {
            scanning
                .scan(&code)
                .await
                .expect("Baileys' own code is scanned");
        })
        .await?;
        let stays = scene.text("stays");
        peer.send(&jid(account.number()), &stays).await?;
        until_stored(alice.api(), &account, &stays, DELIVERY_LIMIT).await?;
        let goes = scene.text("goes");
        peer.send_for(&jid(account.number()), &goes, 20).await?;
        until_stored(alice.api(), &account, &goes, DELIVERY_LIMIT).await?;
        wait::until("it is gone", 2 * DELIVERY_LIMIT, async || {
            let all = alice.api().all_messages(&account.id).await?;
            let texts: Vec<_> = all.into_iter().filter_map(|one| one.text).collect();
            let count = texts.len();
            Ok(Look::some((texts == [stays.clone()]).then_some(()), count))
        })
        .await?;
        let thread = &alice.api().threads(&account.id).await?[0];
        ensure!(thread.unread == 1);

        // A timer for the chat holds for what the account writes there.
        let timer = json!({ "disappearingMessagesInChat": 86_400 });
        peer.send_content(&jid(account.number()), timer, None)
            .await?;
        let path = format!("/v1/accounts/{}/threads", account.id);
        wait::until("the chat has a timer", DELIVERY_LIMIT, async || {
            let page: Value = alice.api().get(&path).await?.expect(200)?.json()?;
            let seconds = page["threads"][0]["timerSeconds"].clone();
            Ok(Look::some((seconds == 86_400).then_some(()), seconds))
        })
        .await?;
        let mark = peer.mark();
        let text = scene.text("for a day");
        let body = json!({ "to": &**phone.number(), "text": text });
        let path = format!("/v1/accounts/{}/messages", account.id);
        let sent: Value = alice.api().post(&path, body).await?.expect(202)?.json()?;
        let id = sent["waMessageId"].as_str().context("waMessageId")?;
        let seen = peer.content(mark, id).await?;
        let context = &seen["extendedTextMessage"]["contextInfo"];
        ensure!(context["expiration"] == 86_400, "{seen}");
        peer.quit().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_to_many_is_one_each_on_whatever_worker_and_however_often() -> Result<()> {
    const PEOPLE: usize = 20;
    play(async |scene| {
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        let alice = cluster.worker("alice")?.start().await?;
        let bob = cluster.worker("bob")?.start().await?;
        until_met(&[&alice, &bob]).await?;
        let account: Linked = scene.link(alice.api(), "sales").await?;
        let phones = (0..PEOPLE)
            .map(|n| scene.account_phone(&format!("Person {n}")))
            .collect::<Result<Vec<_>>>()?;
        let text = scene.text("to all");
        let to: Vec<&str> = phones.iter().map(|phone| &**phone.number()).collect();
        let body = json!({ "to": to, "text": text }).to_string();
        let path = format!("/v1/accounts/{}/broadcasts", account.id);
        let headers = [("Idempotency-Key", "spring")];
        let ask = async |api: &harness::api::Api| {
            let body = Some(body.clone());
            let answer = api.request(Method::Post, &path, &headers, body).await?;
            let answer: Value = answer.expect(202)?.json()?;
            anyhow::Ok(answer["messages"].clone())
        };
        let (one, other) = tokio::join!(ask(alice.api()), ask(bob.api()));
        let (one, other) = (one?, other?);
        ensure!(one == other, "the same messages");
        ensure!(one.as_array().map(Vec::len) == Some(PEOPLE), "{one}");
        for phone in &phones {
            scene
                .sim()
                .wait_ledger(phone, "the message", DELIVERY_LIMIT, |ledger| {
                    ledger.received.iter().any(|message| message.text == text)
                })
                .await?;
        }
        for phone in &phones {
            let count = phone.with_ledger(|ledger| ledger.received.len());
            ensure!(count == 1, "{count} messages");
        }
        let another = json!({ "to": to, "text": "another" }).to_string();
        let refused: Value = bob
            .api()
            .request(Method::Post, &path, &headers, Some(another))
            .await?
            .expect(422)?
            .json()?;
        ensure!(refused["code"] == "idempotency_key_reused", "{refused}");
        Ok(())
    })
    .await
}
