//! Every kind of message that needs no file, both ways between a worker and
//! unmodified Baileys 7, compared field by field.

use std::path::Path;

use anyhow::{Context, Result};
use baileys::{Mark, Peer, Version};
use harness::api::Api;
use harness::scene::{DELIVERY_LIMIT, Linked, Scene, play};
use harness::wait::{self, Look};
use serde_json::{Value, json};
use wa_sim::phone::Phone;

const CARD: &str = "BEGIN:VCARD\nVERSION:3.0\nFN:Ada Example\nEND:VCARD";

/// A worker's account and Baileys, who talk to each other.
struct Talk<'s> {
    scene: &'s Scene,
    api: Api,
    account: Linked,
    phone: Phone,
    peer: Peer,
}

impl Talk<'_> {
    fn worker_jid(&self) -> String {
        format!("{}@s.whatsapp.net", self.account.number())
    }

    fn baileys_jid(&self) -> String {
        format!("{}@s.whatsapp.net", self.phone.number())
    }

    /// Has the worker send this and Baileys receive it: what Baileys saw, and
    /// the 202's id.
    async fn tell_baileys(&mut self, mut body: Value) -> Result<(Value, String)> {
        let mark = self.peer.mark();
        body["to"] = self.phone.number().to_string().into();
        let path = format!("/v1/accounts/{}/messages", self.account.id);
        let accepted: Value = self.api.post(&path, body).await?.expect(202)?.json()?;
        let id = accepted["waMessageId"].as_str().context("waMessageId")?;
        let seen = self.peer.content(mark, id).await?;
        let message_id = accepted["messageId"].as_str().context("messageId")?;
        self.api
            .until_state(message_id, &["sent", "delivered", "read"], DELIVERY_LIMIT)
            .await?;
        Ok((seen, message_id.to_owned()))
    }

    /// Has Baileys send this and the worker store it: what the worker shows.
    async fn tell_worker(&mut self, content: Value, quoted: Option<Value>) -> Result<Value> {
        let to = self.worker_jid();
        let id = self.peer.send_content(&to, content, quoted).await?;
        self.stored(&id, |_| true).await
    }

    /// Waits for a stored message that is as wanted.
    async fn stored(&self, wa_id: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until("a message is stored", DELIVERY_LIMIT, async || {
            let all = self.messages().await?;
            let found = all
                .into_iter()
                .find(|message| message["waMessageId"] == wa_id);
            let seen = format!("{found:?}");
            Ok(Look::some(found.filter(|message| is_so(message)), seen))
        })
        .await
    }

    async fn messages(&self) -> Result<Vec<Value>> {
        let threads = self.api.threads(&self.account.id).await?;
        let Some(thread) = threads.first() else {
            return Ok(Vec::new());
        };
        let path = format!("/v1/threads/{}/messages?limit=200", thread.id);
        let page: Value = self.api.get(&path).await?.expect(200)?.json()?;
        Ok(page["messages"].as_array().cloned().unwrap_or_default())
    }
}

/// What is compared, as one value.
fn fields(value: &Value, names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| ((*name).to_owned(), value[*name].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

async fn talk<'s>(scene: &'s Scene, api: &Api, folder: &Path) -> Result<Talk<'s>> {
    let phone = scene.account_phone("Peer")?;
    let mut peer = Peer::spawn(Version::Seven, folder).await?;
    let scanning = phone.clone();
    peer.pair(&scene.sim().url(), async |code: String| {
        scanning
            .scan(&code)
            .await
            .expect("Baileys' own code is scanned");
    })
    .await?;
    let account = scene.link(api, "sales").await?;
    Ok(Talk {
        scene,
        api: api.clone(),
        account,
        phone,
        peer,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_sends_is_what_baileys_reads() -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let worker = scene.worker("alice")?.start().await?;
        let mut talk = talk(scene, worker.api(), folder.path()).await?;

        let text = format!("{} https://example.com", scene.text("mentions"));
        let (seen, sent) = talk
            .tell_baileys(json!({
                "text": text,
                "mentions": [talk.phone.number().to_string()],
                "preview": { "url": "https://example.com", "title": "Example", "description": "A page" },
            }))
            .await?;
        let extended = &seen["extendedTextMessage"];
        assert_eq!(extended["text"], text.as_str());
        assert_eq!(extended["matchedText"], "https://example.com");
        assert_eq!(extended["title"], "Example");
        assert_eq!(extended["description"], "A page");
        assert_eq!(
            extended["contextInfo"]["mentionedJid"],
            json!([talk.baileys_jid()])
        );
        let first = talk.api.outgoing(&sent).await?.wa_message_id;

        let question = talk
            .tell_worker(json!({ "text": talk.scene.text("question") }), None)
            .await?;
        let answer = talk.scene.text("answer");
        let (seen, _) = talk
            .tell_baileys(json!({ "text": answer, "quote": question["id"] }))
            .await?;
        let context = &seen["extendedTextMessage"]["contextInfo"];
        assert_eq!(context["stanzaId"], question["waMessageId"]);
        assert_eq!(context["quotedMessage"]["conversation"], question["text"]);

        let place = json!({ "latitude": 52.5, "longitude": -13.25, "name": "Office", "address": "1 Street" });
        let (seen, _) = talk.tell_baileys(json!({ "location": place })).await?;
        assert_eq!(
            fields(
                &seen["locationMessage"],
                &["degreesLatitude", "degreesLongitude", "name", "address"]
            ),
            json!({ "degreesLatitude": 52.5, "degreesLongitude": -13.25, "name": "Office", "address": "1 Street" })
        );

        let card = json!({ "name": "Ada Example", "vcard": CARD });
        let (seen, _) = talk.tell_baileys(json!({ "contacts": [card] })).await?;
        assert_eq!(
            fields(&seen["contactMessage"], &["displayName", "vcard"]),
            json!({ "displayName": "Ada Example", "vcard": CARD })
        );
        let (seen, _) = talk.tell_baileys(json!({ "contacts": [card, card] })).await?;
        let cards = &seen["contactsArrayMessage"]["contacts"];
        assert_eq!(cards.as_array().map(Vec::len), Some(2));
        assert_eq!(cards[1]["vcard"], CARD);

        let (seen, poll_sent) = talk
            .tell_baileys(json!({ "poll": { "question": "When?", "options": ["now", "later"], "selectable": 1 } }))
            .await?;
        let poll = &seen["pollCreationMessageV3"];
        assert_eq!((&poll["name"], &poll["selectableOptionsCount"]), (&json!("When?"), &json!(1)));
        let names: Vec<&Value> = poll["options"].as_array().into_iter().flatten().map(|option| &option["optionName"]).collect();
        assert_eq!(names, ["now", "later"]);

        let (seen, _) = talk
            .tell_baileys(json!({ "reaction": { "messageId": question["id"], "emoji": "👍" } }))
            .await?;
        let reaction = &seen["reactionMessage"];
        assert_eq!((&reaction["text"], &reaction["key"]["id"]), (&json!("👍"), &question["waMessageId"]));
        let wa_id = question["waMessageId"].as_str().unwrap_or_default();
        talk.stored(wa_id, |message| message["reactions"][0]["emoji"] == "👍").await?;

        let own = talk.stored(&first, |_| true).await?;
        let edited = talk.scene.text("edited");
        let (seen, _) = talk
            .tell_baileys(json!({ "edit": { "messageId": own["id"], "text": edited } }))
            .await?;
        let protocol = &seen["protocolMessage"];
        assert_eq!((&protocol["type"], &protocol["key"]["id"]), (&json!("MESSAGE_EDIT"), &json!(first)));
        assert_eq!(protocol["editedMessage"]["conversation"], edited.as_str());
        talk.stored(&first, |message| message["text"] == edited.as_str()).await?;

        let (seen, _) = talk.tell_baileys(json!({ "revoke": { "messageId": own["id"] } })).await?;
        let protocol = &seen["protocolMessage"];
        assert_eq!((&protocol["type"], &protocol["key"]["id"]), (&json!("REVOKE"), &json!(first)));
        talk.stored(&first, |message| message["text"].is_null() && !message["revokedAt"].is_null()).await?;

        // Baileys votes in the worker's poll.
        let poll = talk
            .api
            .outgoing(&poll_sent)
            .await?
            .wa_message_id;
        let own = talk.worker_jid();
        talk.peer.vote(&own, &poll, &["later"]).await?;
        let voted = talk
            .stored(&poll, |message| message["votes"][0]["options"] == json!(["later"]))
            .await?;
        assert_eq!(voted["votes"].as_array().map(Vec::len), Some(1));

        // A vote in a poll of Baileys', which it opens.
        let poll = talk
            .tell_worker(json!({ "poll": { "name": "Lunch?", "values": ["soup", "salad"], "selectableCount": 1 } }), None)
            .await?;
        let (_, _) = talk
            .tell_baileys(json!({ "vote": { "messageId": poll["id"], "options": ["salad"] } }))
            .await?;
        let chosen = talk.peer.votes(Mark::default(), poll["waMessageId"].as_str().unwrap_or_default()).await?;
        assert_eq!(chosen, ["salad"]);
        talk.peer.quit().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_baileys_sends_is_what_a_worker_stores() -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let worker = scene.worker("alice")?.start().await?;
        let mut talk = talk(scene, worker.api(), folder.path()).await?;
        let (own, theirs) = (talk.worker_jid(), talk.baileys_jid());

        let text = scene.text("mentions");
        let first = talk
            .tell_worker(json!({ "text": text, "mentions": [own] }), None)
            .await?;
        assert_eq!((&first["kind"], &first["text"]), (&json!("text"), &json!(text)));
        assert_eq!(first["mentions"], json!([own]));
        let first_id = first["waMessageId"].as_str().unwrap_or_default().to_owned();

        let key = json!({ "remoteJid": own, "fromMe": true, "id": first_id });
        let quoted = json!({ "key": key, "message": { "conversation": text } });
        let answer = talk
            .tell_worker(json!({ "text": scene.text("quotes") }), Some(quoted))
            .await?;
        assert_eq!(
            fields(&answer["quote"], &["waMessageId", "text"]),
            json!({ "waMessageId": first_id, "text": text })
        );

        let place = talk
            .tell_worker(
                json!({ "location": { "degreesLatitude": 52.5, "degreesLongitude": -13.25, "name": "Office", "address": "1 Street" } }),
                None,
            )
            .await?;
        assert_eq!(place["kind"], "location");
        assert_eq!(
            place["location"],
            json!({ "latitude": 52.5, "longitude": -13.25, "name": "Office", "address": "1 Street", "live": false })
        );

        let card = json!({ "displayName": "Ada Example", "vcard": CARD });
        let contact = talk
            .tell_worker(json!({ "contacts": { "displayName": "Ada Example", "contacts": [card] } }), None)
            .await?;
        assert_eq!(contact["kind"], "contact");
        assert_eq!(contact["contacts"], json!([{ "name": "Ada Example", "vcard": CARD }]));

        let poll = talk
            .tell_worker(json!({ "poll": { "name": "Lunch?", "values": ["soup", "salad"], "selectableCount": 1 } }), None)
            .await?;
        assert_eq!(poll["kind"], "poll");
        assert_eq!(
            poll["poll"],
            json!({ "question": "Lunch?", "options": ["soup", "salad"], "selectable": 1 })
        );

        let react = json!({ "react": { "text": "🎉", "key": key } });
        talk.peer.send_content(&own, react, None).await?;
        let reacted = talk
            .stored(&first_id, |message| message["reactions"][0]["emoji"] == "🎉")
            .await?;
        assert_eq!(reacted["reactions"][0]["sender"], theirs.as_str());

        let edited = scene.text("edited");
        talk.peer.send_content(&own, json!({ "text": edited, "edit": key }), None).await?;
        let shown = talk.stored(&first_id, |message| message["text"] == edited.as_str()).await?;
        assert!(!shown["editedAt"].is_null());

        talk.peer.send_content(&own, json!({ "delete": key }), None).await?;
        talk.stored(&first_id, |message| message["text"].is_null() && !message["revokedAt"].is_null())
            .await?;
        let all = talk.messages().await?;
        assert_eq!(all.len(), 5, "changes are no messages of their own");
        talk.peer.quit().await?;
        Ok(())
    })
    .await
}
