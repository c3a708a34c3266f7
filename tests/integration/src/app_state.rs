//! What is changed on the phone shows at its linked devices: at a worker, and
//! at unmodified Baileys beside it on the same account.

use anyhow::{Result, ensure};
use baileys::{Event, Peer, Version};
use harness::api::Api;
use harness::scene::{self, DELIVERY_LIMIT, Linked, play};
use harness::wait::{self, Look};
use serde_json::Value;

async fn archived(api: &Api, account: &Linked) -> Result<Vec<Value>> {
    let path = format!("/v1/accounts/{}/threads?archived=true", account.id);
    let page: Value = api.get(&path).await?.expect(200)?.json()?;
    Ok(page["threads"].as_array().cloned().unwrap_or_default())
}

async fn until_archived(api: &Api, account: &Linked, expected: usize) -> Result<()> {
    wait::until(
        "the chat is put away as on the phone",
        DELIVERY_LIMIT,
        async || {
            let threads = archived(api, account).await?;
            Ok(Look::some(
                (threads.len() == expected).then_some(()),
                threads,
            ))
        },
    )
    .await
}

async fn until_named(api: &Api, account: &Linked, name: &str) -> Result<()> {
    wait::until(
        "the name of the address book is there",
        DELIVERY_LIMIT,
        async || {
            let path = format!("/v1/accounts/{}/contacts", account.id);
            let page: Value = api.get(&path).await?.expect(200)?.json()?;
            let contacts = page["contacts"].as_array().into_iter().flatten();
            let named = contacts.clone().any(|contact| contact["name"] == name);
            Ok(Look::some(named.then_some(()), page.clone()))
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_on_the_phone_shows_in_threads_and_contacts() -> Result<()> {
    play(async |scene| {
        let alice = scene.worker("alice")?.start().await?;
        let peer = scene.contact("Peer")?;
        let account = scene.link(alice.api(), "sales").await?;
        let sent = scene.write(&peer, &account, "first")?;
        scene::until_stored(alice.api(), &account, &sent.text, DELIVERY_LIMIT).await?;
        let chat = format!("{}@s.whatsapp.net", peer.number());

        let phone = &account.phone;
        phone.archive(&chat, true);
        until_archived(alice.api(), &account, 1).await?;
        phone.save_contact(&chat, None, "Paula Peer");
        until_named(alice.api(), &account, "Paula Peer").await?;
        phone.archive(&chat, false);
        until_archived(alice.api(), &account, 0).await?;

        // While nobody owns it, and by the next owner.
        alice.terminate().await?;
        phone.archive(&chat, true);
        phone.save_contact(&chat, None, "Paula Smith");
        let bob = scene.worker("bob")?.start().await?;
        scene::until_connected(scene, bob.api(), &account, DELIVERY_LIMIT).await?;
        until_archived(bob.api(), &account, 1).await?;
        until_named(bob.api(), &account, "Paula Smith").await?;

        // A message takes it out again.
        let sent = scene.write(&peer, &account, "second")?;
        scene::until_stored(bob.api(), &account, &sent.text, DELIVERY_LIMIT).await?;
        until_archived(bob.api(), &account, 0).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn baileys_takes_the_same_changes_from_the_same_phone() -> Result<()> {
    play(async |scene| {
        let phone = scene.account_phone("Changer")?;
        let folder = tempfile::tempdir()?;
        let mut peer = Peer::spawn(Version::Seven, folder.path()).await?;
        peer.want_history().await?;
        let mark = peer.mark();
        peer.pair(&scene.sim().url(), async |code: String| {
            phone
                .scan(&code)
                .await
                .expect("Baileys' own code is scanned");
        })
        .await?;
        let chat = "4917000000001@s.whatsapp.net";
        phone.save_contact(chat, None, "Anna Smith");
        phone.archive(chat, true);
        let named = peer.wait(mark, "the name", |event| {
            if let Event::Contact { name, .. } = event {
                return Some(name.clone());
            }
            None
        });
        ensure!(named.await? == "Anna Smith");
        let put_away = peer.wait(mark, "the chat that was put away", |event| {
            if let Event::Archived { chat, archived } = event {
                return Some((chat.clone(), *archived));
            }
            None
        });
        ensure!(put_away.await? == (chat.to_owned(), true));
        Ok(())
    })
    .await
}
