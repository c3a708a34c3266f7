//! An account is erased: of what the store and the media store knew of it only a
//! tombstone is left, and another account is what it was.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::api::{Api, Method};
use harness::scene::{DELIVERY_LIMIT, Linked, Scene, play, until_connected, until_stored};
use harness::wait::{self, Look};
use serde_json::{Value, json};

use crate::backups::until_settled;
use crate::database::{self, Documents, holds};
use crate::media::{kept, upload};

async fn delete(api: &Api, id: &str) -> Result<Value> {
    let path = format!("/v1/accounts/{id}?confirm={id}");
    wait::until("the account is purged", DELIVERY_LIMIT, async || {
        let answer = api.request(Method::Delete, &path, &[], None).await?;
        ensure!(matches!(answer.status, 200 | 202), "{}", answer.text());
        let view: Value = answer.json()?;
        let is_done = view["state"] == "purged";
        Ok(Look::some(is_done.then(|| view.clone()), view))
    })
    .await
}

/// What an account that goes has: one-to-one and group conversations, a file, a
/// webhook of its own.
async fn live(scene: &Scene, api: &Api, account: &Linked, other: &Linked) -> Result<()> {
    let contact = scene.contact("Contact")?;
    scene.send(api, account, &contact, "out").await?;
    let sent = scene.write(&contact, account, "in")?;
    until_stored(api, account, &sent.text, DELIVERY_LIMIT).await?;
    let members: [&str; 2] = [account.number(), other.number()];
    let group = contact.create_group("Everybody", &members)?;
    let text = scene.text("to the group");
    contact.send_group_text(&group, &text)?;
    until_stored(api, account, &text, DELIVERY_LIMIT).await?;
    until_stored(api, other, &text, DELIVERY_LIMIT).await?;
    let file = scene.folder().join("report.txt");
    std::fs::write(&file, format!("canary file of {}", account.id))?;
    let uploaded = upload(api, &file, "text/plain").await?;
    let body = json!({
        "to": contact.number(),
        "media": { "mediaId": uploaded["mediaId"], "kind": "document" },
    });
    let path = format!("/v1/accounts/{}/messages", account.id);
    api.post(&path, body).await?.expect(202)?;
    let hook = json!({ "url": "http://127.0.0.1:9/hook", "accounts": [account.id] });
    api.post("/v1/webhooks", hook).await?.expect(201)?;
    Ok(())
}

/// Documents that name somebody.
fn of<'a>(documents: &'a Documents, account: &str) -> BTreeSet<&'a str> {
    let account = account.as_bytes();
    documents
        .iter()
        .filter(|(path, fields)| holds(path.as_bytes(), account) || holds(fields, account))
        .map(|(path, _)| path.as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_leaves_a_tombstone_and_touches_no_other_account() -> Result<()> {
    play(async |scene| {
        let options = ["--webhook-allow-private"];
        let worker = scene.worker("alice")?.with(&options).start().await?;
        let api = worker.api();
        let other = scene.link(api, "other").await?;
        let gone = scene.link(api, "gone").await?;
        live(scene, api, &gone, &other).await?;
        live(scene, api, &other, &other).await?;
        until_settled(scene, api).await?;
        let data = worker.setup().data_folder();
        let files = kept(&data.join("media"))?.len();

        // Without the id once more nothing is done.
        let path = format!("/v1/accounts/{}", gone.id);
        let answer = api.request(Method::Delete, &path, &[], None).await?;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid_query")
        );
        until_connected(scene, api, &gone, DELIVERY_LIMIT).await?;

        // The other account stands still, so that it can be compared.
        api.act(&other.id, "stop").await?;
        wait::until("the other account is let go", DELIVERY_LIMIT, async || {
            let account = api.account(&other.id).await?;
            let is_free = account.owner.is_none() && account.status == "stopped";
            Ok(Look::some(is_free.then_some(()), account.status))
        })
        .await?;
        let before = database::documents(&data)?;
        let theirs: Documents = before
            .iter()
            .filter(|(path, _)| of(&before, &other.id).contains(path.as_str()))
            .map(|(path, fields)| (path.clone(), fields.clone()))
            .collect();
        ensure!(theirs.len() > 20, "{}", theirs.len());
        ensure!(of(&before, &gone.id).len() > 20);

        let view = delete(api, &gone.id).await?;
        ensure!(view["purgedAt"].is_string(), "{view}");
        let answer = api.get(&path).await?;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "unknown_account")
        );
        let listed = api.accounts().await?;
        ensure!(listed.iter().all(|account| account.id != gone.id));

        let after = database::documents(&data)?;
        let left = of(&after, &gone.id);
        let tombstones = [
            format!("accounts/{}", gone.id),
            format!("wa_sessions/{}", gone.id),
        ];
        for path in left {
            // Without keys nobody is on record who asked for it by name.
            let is_record = path.starts_with("audit/");
            ensure!(
                is_record || tombstones.iter().any(|known| known == path),
                "{path} is left"
            );
        }
        let numbers = [
            gone.number().to_string(),
            format!("canary file of {}", gone.id),
        ];
        for (path, fields) in &after {
            for known in &numbers {
                // The group is the other account's, too, and has both as members.
                let is_theirs = theirs.contains_key(path);
                ensure!(is_theirs || !holds(fields, known.as_bytes()), "{path}");
            }
        }
        for (path, fields) in &theirs {
            let now = after.get(path).with_context(|| format!("{path} is gone"))?;
            ensure!(now == fields, "{path} was changed");
        }
        assert_eq!(kept(&data.join("media"))?.len(), files - 1);

        // The same id is nobody's for good; the other goes on.
        let again = delete(api, &gone.id).await?;
        assert_eq!(
            (&again["removed"], &again["purgedAt"]),
            (&json!(0), &view["purgedAt"])
        );
        api.act(&other.id, "start").await?;
        until_connected(scene, api, &other, DELIVERY_LIMIT).await?;
        Ok(())
    })
    .await
}

/// For a purge to be taken up: what was left is looked for every half a minute.
const RESUME_LIMIT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_whose_worker_dies_goes_on_by_itself() -> Result<()> {
    play(async |scene| {
        let alice = scene.worker("alice")?.start().await?;
        let gone = scene.link(alice.api(), "gone").await?;
        let contact = scene.contact("Contact")?;
        scene.send(alice.api(), &gone, &contact, "out").await?;
        scene.settle(alice.api(), DELIVERY_LIMIT).await?;
        let bob = scene.worker("bob")?.start().await?;
        let data = alice.setup().data_folder();

        // Its owner stands still, so whoever is asked to erase it waits; and dies.
        alice.pause().await?;
        let api = bob.api().clone();
        let path = format!("/v1/accounts/{0}?confirm={0}", gone.id);
        let asked = tokio::spawn(async move {
            // Nobody answers.
            api.request(Method::Delete, &path, &[], None).await.is_ok()
        });
        let account = format!("accounts/{}", gone.id);
        wait::until("the account is marked", DELIVERY_LIMIT, async || {
            let documents = database::documents(&data)?;
            let stored = documents.get(&account);
            let is_marked = stored.is_some_and(|fields| holds(fields, b"purging"));
            Ok(Look::some(is_marked.then_some(()), "not yet"))
        })
        .await?;
        bob.kill().await?;
        ensure!(!asked.await?, "it was not to be answered");
        alice.resume()?;

        let left = wait::until("nothing else is left", RESUME_LIMIT, async || {
            let documents = database::documents(&data)?;
            let left = of(&documents, &gone.id).into_iter().map(str::to_owned);
            let left: Vec<String> = left.filter(|path| !path.starts_with("audit/")).collect();
            Ok(Look::some((left.len() == 2).then(|| left.clone()), left))
        })
        .await?;
        assert_eq!(left, [account.clone(), format!("wa_sessions/{}", gone.id)]);
        Ok(())
    })
    .await
}
