//! History: what a phone gives when it is linked is in threads and contacts,
//! within limits, once, whoever owns the account meanwhile; and unmodified
//! Baileys takes the same from the same phone.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use baileys::{Event, Peer, Version};
use harness::api::Api;
use harness::scene::{self, DELIVERY_LIMIT, Linked, Scene, play};
use harness::wait::{self, Look};
use harness::worker::WorkerSetup;
use serde_json::Value;
use wa_sim::phone::{History, PastChat, PastText};

/// For some thousand messages, on a busy machine.
const HISTORY_LIMIT: Duration = Duration::from_secs(120);

const ANNA: &str = "4917000000001@s.whatsapp.net";
const ANNA_LID: &str = "887700000001@lid";
const BEN: &str = "4917000000002@s.whatsapp.net";
const CARA: &str = "4917000000003@s.whatsapp.net";

fn chat(scene: &Scene, chat: &str, name: &str, texts: usize) -> PastChat {
    let text = |number: usize| PastText {
        id: format!("AC{number:06}"),
        from_me: number.is_multiple_of(2),
        text: scene.text(&format!("{name} no. {number:06}")),
        age_seconds: 60 + number as u64,
    };
    PastChat {
        chat: chat.to_owned(),
        name: name.to_owned(),
        archived: false,
        unread: 3,
        texts: (0..texts).map(text).collect(),
    }
}

/// Three chats, one of them put away, and somebody who is only a name.
fn history(scene: &Scene, texts: usize) -> History {
    let put_away = PastChat {
        archived: true,
        ..chat(scene, CARA, "Cara Miller", texts)
    };
    History {
        chats: vec![
            chat(scene, ANNA, "Anna Smith", texts),
            chat(scene, BEN, "Ben Jones", texts),
            put_away,
        ],
        names: vec![
            (ANNA_LID.to_owned(), "anna99".to_owned()),
            ("4917000000004@s.whatsapp.net".to_owned(), "dave".to_owned()),
        ],
        addresses: vec![(ANNA.to_owned(), ANNA_LID.to_owned())],
    }
}

fn worker(scene: &Scene, name: &str) -> Result<WorkerSetup> {
    let media = scene.sim().media_url();
    Ok(scene.worker(name)?.with(&["--whatsapp-media-url", &media]))
}

/// Links an account whose phone remembers.
async fn link(scene: &Scene, api: &Api, history: &History) -> Result<Linked> {
    let phone = scene.account_phone("Rememberer")?;
    phone.remember(history.clone());
    let account = api.create_account("sales").await?;
    let linked = Linked {
        id: account.id,
        phone,
    };
    scene.scan(api, &linked).await?;
    Ok(linked)
}

/// The messages of a chat, the latest first, as the API shows them.
async fn messages(api: &Api, account: &Linked, chat: &str) -> Result<Vec<Value>> {
    let threads = api.threads(&account.id).await?;
    let Some(thread) = threads.into_iter().find(|thread| thread.chat == chat) else {
        return Ok(Vec::new());
    };
    ensure!(thread.unread == 0, "{} unread", thread.unread);
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/threads/{}/messages?limit=200{after}", thread.id);
        let page: Value = api.get(&path).await?.expect(200)?.json()?;
        all.extend(page["messages"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(all),
        }
    }
}

async fn count(api: &Api, account: &Linked) -> Result<usize> {
    let mut count = 0;
    for chat in [ANNA, BEN, CARA] {
        count += messages(api, account, chat).await?.len();
    }
    Ok(count)
}

async fn until_stored(api: &Api, account: &Linked, expected: usize) -> Result<()> {
    wait::until("the history is stored", HISTORY_LIMIT, async || {
        let count = count(api, account).await?;
        Ok(Look::some((count == expected).then_some(()), count))
    })
    .await
}

/// Every text is there once, in its order.
async fn check_chat(api: &Api, account: &Linked, chat: &PastChat, kept: usize) -> Result<()> {
    let stored = messages(api, account, &chat.chat).await?;
    let texts: Vec<&str> = stored
        .iter()
        .filter_map(|message| message["text"].as_str())
        .collect();
    // The latest first, which is also how they were made.
    let expected: Vec<&str> = chat
        .texts
        .iter()
        .map(|text| &*text.text)
        .take(kept)
        .collect();
    ensure!(texts == expected, "{} of {}", texts.len(), expected.len());
    for (message, text) in stored.iter().zip(&chat.texts) {
        ensure!(
            message["history"] == true && message["state"] == "read",
            "{message}"
        );
        ensure!(message["fromMe"] == text.from_me, "{message}");
    }
    Ok(())
}

async fn contacts(api: &Api, account: &Linked, query: &str) -> Result<Vec<Value>> {
    let path = format!("/v1/accounts/{}/contacts{query}", account.id);
    let page: Value = api.get(&path).await?.expect(200)?.json()?;
    Ok(page["contacts"].as_array().cloned().unwrap_or_default())
}

fn names(contacts: &[Value]) -> Vec<&str> {
    let shown = |contact: &Value| !contact["name"].is_null();
    contacts
        .iter()
        .filter_map(|contact| {
            let field = if shown(contact) { "name" } else { "pushName" };
            contact[field].as_str()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_in_threads_and_contacts_and_nothing_of_it_is_news() -> Result<()> {
    play(async |scene| {
        let worker = worker(scene, "alice")?.start().await?;
        let api = worker.api();
        let history = history(scene, 40);
        let account = link(scene, api, &history).await?;
        scene::until_connected(scene, api, &account, DELIVERY_LIMIT).await?;
        until_stored(api, &account, 120).await?;
        for chat in &history.chats {
            check_chat(api, &account, chat, 40).await?;
        }
        let path = format!("/v1/accounts/{}/threads?archived=true", account.id);
        let page: Value = api.get(&path).await?.expect(200)?.json()?;
        ensure!(page["threads"][0]["chat"] == CARA, "{page}");
        ensure!(page["threads"][0]["title"] == "Cara Miller", "{page}");

        // People, by name; each once, under both addresses.
        let all = wait::until("everybody is known", DELIVERY_LIMIT, async || {
            let all = contacts(api, &account, "").await?;
            Ok(Look::some((all.len() == 4).then(|| all.clone()), all))
        })
        .await?;
        ensure!(
            names(&all) == ["Anna Smith", "Ben Jones", "Cara Miller", "dave"],
            "{all:?}"
        );
        ensure!(
            all[0]["pn"] == ANNA && all[0]["lid"] == ANNA_LID,
            "{}",
            all[0]
        );
        ensure!(all[0]["pushName"] == "anna99", "{}", all[0]);
        ensure!(all[0]["phone"] == "+4917000000001", "{}", all[0]);
        for (search, expected) in [
            ("BEN", vec!["Ben Jones"]),
            ("%2B49170000000", names(&all)),
            ("4917000000004", vec!["dave"]),
            ("nobody", vec![]),
        ] {
            let mut found = contacts(api, &account, &format!("?search={search}")).await?;
            found.sort_by_key(|contact| contact["phone"].to_string());
            ensure!(names(&found) == expected, "{search}: {found:?}");
        }
        let path = format!("/v1/accounts/{}/contacts?limit=3", account.id);
        let first: Value = api.get(&path).await?.expect(200)?.json()?;
        let next = first["next"].as_str().unwrap_or_default();
        let second = contacts(api, &account, &format!("?limit=3&after={next}")).await?;
        ensure!(names(&second) == ["dave"], "{second:?}");

        // What is written from now on is news.
        let peer = scene.contact("Peer")?;
        let sent = scene.write(&peer, &account, "news")?;
        let stored = scene::until_stored(api, &account, &sent.text, DELIVERY_LIMIT).await?;
        ensure!(stored.state == "received", "{}", stored.state);
        let known = contacts(api, &account, "?search=peer").await?;
        ensure!(names(&known) == ["Peer"] || known.is_empty(), "{known:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn history_survives_the_death_of_the_owner_and_lets_live_messages_pass() -> Result<()> {
    play(async |scene| {
        let options = ["--history-chat-messages", "2000"];
        let alice = worker(scene, "alice")?.with(&options).start().await?;
        let history = history(scene, 1_500);
        let account = link(scene, alice.api(), &history).await?;
        let api = alice.api();
        scene::until_connected(scene, api, &account, DELIVERY_LIMIT).await?;
        // More than the first piece has.
        let some = wait::until("some of it is stored", HISTORY_LIMIT, async || {
            let count = count(api, &account).await?;
            Ok(Look::some((count > 100).then_some(count), count))
        })
        .await?;
        ensure!(some < 4_500, "the owner dies in the middle");
        alice.kill().await?;

        let bob = worker(scene, "bob")?.with(&options).start().await?;
        let api = bob.api();
        scene::until_connected(scene, api, &account, HISTORY_LIMIT).await?;
        let peer = scene.contact("Peer")?;
        let sent = scene.write(&peer, &account, "live")?;
        scene::until_stored(api, &account, &sent.text, DELIVERY_LIMIT).await?;
        until_stored(api, &account, 4_500).await?;
        for chat in &history.chats {
            check_chat(api, &account, chat, 1_500).await?;
        }
        Ok(())
    })
    .await
}

/// Everybody whom an account knows, page by page.
async fn all_contacts(api: &Api, account: &Linked) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/accounts/{}/contacts?limit=200{after}", account.id);
        let page: Value = api.get(&path).await?.expect(200)?.json()?;
        all.extend(page["contacts"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(all),
        }
    }
}

/// An account that knows so many people is taken over as fast as any other.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_contacts_are_kept_and_hold_no_takeover_up() -> Result<()> {
    const PEOPLE: usize = 3_000;
    play(async |scene| {
        let alice = worker(scene, "alice")?.start().await?;
        let number = |person: usize| format!("49180{person:08}@s.whatsapp.net");
        let lid = |person: usize| format!("9980{person:08}@lid");
        let history = History {
            names: (0..PEOPLE)
                .map(|person| (number(person), format!("person {person:04}")))
                .collect(),
            addresses: (0..PEOPLE)
                .map(|person| (number(person), lid(person)))
                .collect(),
            ..history(scene, 1)
        };
        let account = link(scene, alice.api(), &history).await?;
        scene::until_connected(scene, alice.api(), &account, DELIVERY_LIMIT).await?;
        let known = wait::until("everybody is known", HISTORY_LIMIT, async || {
            let known = all_contacts(alice.api(), &account).await?;
            let count = known.len();
            Ok(Look::some((count >= PEOPLE + 3).then_some(known), count))
        })
        .await?;
        let twice: BTreeSet<_> = known.iter().map(|contact| contact["id"].as_str()).collect();
        ensure!(twice.len() == known.len(), "somebody is there twice");
        alice.kill().await?;

        let bob = worker(scene, "bob")?.start().await?;
        scene::until_connected(scene, bob.api(), &account, DELIVERY_LIMIT).await?;
        let peer = scene.contact("Peer")?;
        let sent = scene.write(&peer, &account, "news")?;
        scene::until_stored(bob.api(), &account, &sent.text, DELIVERY_LIMIT).await?;
        // And a start of its own.
        let bob = bob.terminate().await?.start().await?;
        scene::until_connected(scene, bob.api(), &account, DELIVERY_LIMIT).await?;
        let kept = all_contacts(bob.api(), &account).await?;
        let missing = known.iter().filter(|contact| !kept.contains(contact));
        ensure!(missing.count() == 0, "{} of {}", kept.len(), known.len());
        let health = bob.api().health().await?;
        eprintln!(
            "{} contacts; after two starts: {}",
            kept.len(),
            health["accounts"]
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_bounded_as_configured_and_can_be_switched_off() -> Result<()> {
    play(async |scene| {
        let options = ["--history-chat-messages", "20", "--history-messages", "50"];
        let alice = worker(scene, "alice")?.with(&options).start().await?;
        let history = history(scene, 40);
        let account = link(scene, alice.api(), &history).await?;
        until_stored(alice.api(), &account, 50).await?;
        let mut kept = Vec::new();
        for chat in &history.chats {
            let stored = messages(alice.api(), &account, &chat.chat).await?.len();
            check_chat(alice.api(), &account, chat, stored).await?;
            kept.push(stored);
        }
        ensure!(kept.iter().all(|kept| *kept <= 20), "{kept:?}");
        let setup = alice.terminate().await?;

        let off = setup.with(&["--no-history"]).start().await?;
        let second = link(scene, off.api(), &history).await?;
        scene::until_connected(scene, off.api(), &second, DELIVERY_LIMIT).await?;
        let peer = scene.contact("Peer")?;
        let sent = scene.write(&peer, &second, "news")?;
        scene::until_stored(off.api(), &second, &sent.text, DELIVERY_LIMIT).await?;
        ensure!(off.api().threads(&second.id).await?.len() == 1);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn baileys_takes_the_same_history_from_the_same_phone() -> Result<()> {
    play(async |scene| {
        let history = history(scene, 40);
        let phone = scene.account_phone("Rememberer")?;
        phone.remember(history.clone());
        let folder = tempfile::tempdir()?;
        let mut peer = Peer::spawn(Version::Seven, folder.path()).await?;
        peer.use_media_host(&scene.sim().media_url()).await?;
        peer.want_history().await?;
        let mark = peer.mark();
        peer.pair(&scene.sim().url(), async |code: String| {
            phone
                .scan(&code)
                .await
                .expect("Baileys' own code is scanned");
        })
        .await?;
        let expected: BTreeSet<&str> = history
            .chats
            .iter()
            .flat_map(|chat| chat.texts.iter().map(|text| &*text.text))
            .collect();
        let (mut texts, mut names) = (BTreeSet::new(), BTreeSet::new());
        peer.wait(mark, "the whole history", |event| {
            if let Event::History {
                texts: some,
                names: called,
                ..
            } = event
            {
                texts.extend(some.iter().cloned());
                names.extend(called.iter().cloned());
            }
            let all = expected.iter().all(|text| texts.contains(*text));
            (all && names.contains("dave")).then_some(())
        })
        .await?;
        Ok(())
    })
    .await
}
