//! Groups, with unmodified Baileys 7 and with phones as members: made, changed,
//! written in, left; large ones; and an owner that dies in the middle.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, Result, bail, ensure};
use baileys::{Event, Peer, Version};
use harness::api::{Api, Method};
use harness::scene::{DELIVERY_LIMIT, LINK_LIMIT, Linked, Scene, play};
use harness::wait::{self, Look};
use serde_json::{Value, json};
use wa_sim::phone::Phone;
use wa_sim::signal::group_header;

use crate::cluster::{Cluster, StoreKind, owner_of, until_met, until_taken_over};

/// SIGKILL's number.
const KILLED: i32 = 9;

/// A group as an account sees it.
struct Group<'a> {
    api: &'a Api,
    account: &'a Linked,
    id: String,
    jid: String,
}

impl<'a> Group<'a> {
    /// Makes one through the API.
    async fn create(
        api: &'a Api,
        account: &'a Linked,
        subject: &str,
        people: &[&Phone],
    ) -> Result<Self> {
        let numbers: Vec<&str> = people.iter().map(|phone| &**phone.number()).collect();
        let path = format!("/v1/accounts/{}/groups", account.id);
        let body = json!({ "subject": subject, "people": numbers });
        let made: Value = api.post(&path, body).await?.expect(201)?.json()?;
        Ok(Self {
            api,
            account,
            id: text(&made, "id")?,
            jid: text(&made, "jid")?,
        })
    }

    /// Waits until the worker keeps a group that somebody else made.
    async fn found(api: &'a Api, account: &'a Linked, jid: &str) -> Result<Self> {
        let path = format!("/v1/accounts/{}/groups?limit=200", account.id);
        let id = wait::until("the group is kept", DELIVERY_LIMIT, async || {
            let page: Value = api.get(&path).await?.expect(200)?.json()?;
            let groups = page["groups"].as_array().cloned().unwrap_or_default();
            let found = groups.iter().find(|group| group["jid"] == jid);
            let id = found.and_then(|group| group["id"].as_str().map(str::to_owned));
            Ok(Look::some(id, groups.len()))
        })
        .await?;
        Ok(Self {
            api,
            account,
            id,
            jid: jid.to_owned(),
        })
    }

    async fn read(&self) -> Result<Value> {
        let path = format!("/v1/groups/{}", self.id);
        self.api.get(&path).await?.expect(200)?.json()
    }

    /// Waits until the group is kept as wanted.
    async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(what, DELIVERY_LIMIT, async || {
            let group = self.read().await?;
            let seen = format!("size {}, subject {}", group["size"], group["subject"]);
            Ok(Look::some(is_so(&group).then_some(group), seen))
        })
        .await
    }

    async fn send(&self, body: Value) -> Result<Value> {
        let mut body = body;
        body["to"] = self.jid.clone().into();
        let path = format!("/v1/accounts/{}/messages", self.account.id);
        self.api.post(&path, body).await?.expect(202)?.json()
    }

    async fn send_text(&self, text: &str) -> Result<Value> {
        self.send(json!({ "text": text })).await
    }

    async fn members(&self, change: &str, people: &[&Phone]) -> Result<Value> {
        let numbers: Vec<&str> = people.iter().map(|phone| &**phone.number()).collect();
        let path = format!("/v1/groups/{}/members", self.id);
        let body = json!({ "change": change, "people": numbers });
        self.api.post(&path, body).await?.expect(200)?.json()
    }

    async fn patch(&self, body: Value) -> Result<()> {
        let path = format!("/v1/groups/{}", self.id);
        let body = Some(body.to_string());
        let answer = self.api.request(Method::Patch, &path, &[], body).await?;
        answer.expect(204).map(drop)
    }

    /// Every stored message, the latest first.
    async fn messages(&self) -> Result<Vec<Value>> {
        let path = format!("/v1/threads/{}/messages?limit=200", self.id);
        let answer = self.api.get(&path).await?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        let page: Value = answer.expect(200)?.json()?;
        Ok(page["messages"].as_array().cloned().unwrap_or_default())
    }

    /// Waits for a stored message with this text that is as wanted.
    async fn stored(&self, wanted: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(
            "a message of the group is stored",
            DELIVERY_LIMIT,
            async || {
                let all = self.messages().await?;
                let seen = format!("{} messages", all.len());
                let found = all.into_iter().find(|message| message["text"] == wanted);
                let seen = format!("{seen}, {found:?}");
                Ok(Look::some(found.filter(|message| is_so(message)), seen))
            },
        )
        .await
    }
}

fn text(value: &Value, name: &str) -> Result<String> {
    let text = value[name].as_str();
    Ok(text.with_context(|| name.to_owned())?.to_owned())
}

fn jid(number: &str) -> String {
    format!("{number}@s.whatsapp.net")
}

/// Waits until a phone has got a text in a group.
async fn until_got(scene: &Scene, phone: &Phone, group: &str, text: &str) -> Result<()> {
    scene
        .sim()
        .wait_ledger(phone, "a text of the group", DELIVERY_LIMIT, |ledger| {
            ledger
                .received
                .iter()
                .any(|message| message.group.as_deref() == Some(group) && message.text == text)
        })
        .await?;
    Ok(())
}

async fn baileys(scene: &Scene, folder: &std::path::Path) -> Result<(Peer, Phone)> {
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
    Ok((peer, phone))
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_with_baileys_are_written_in_by_all() -> Result<()> {
    play(async |scene| {
        let alice = scene.worker("alice")?.start().await?;
        let account = scene.link(alice.api(), "sales").await?;
        let folder = tempfile::tempdir()?;
        let (mut peer, peer_phone) = baileys(scene, folder.path()).await?;
        let ada = scene.account_phone("Ada")?;

        let mark = peer.mark();
        let group = Group::create(alice.api(), &account, "Team", &[&peer_phone, &ada]).await?;
        ensure!(peer.group_changed(mark, "create").await? == group.jid);
        let kept = group.read().await?;
        ensure!(
            kept["members"].as_array().map(Vec::len) == Some(3),
            "{kept}"
        );
        ensure!(kept["size"] == 3 && kept["subject"] == "Team", "{kept}");

        // From the worker to everyone.
        let first = scene.text("to the group");
        let mark = peer.mark();
        let sent = group.send_text(&first).await?;
        peer.received(mark, &first).await?;
        until_got(scene, &ada, &group.jid, &first).await?;
        let message_id = text(&sent, "messageId")?;
        group
            .api
            .until_state(&message_id, &["delivered", "read"], DELIVERY_LIMIT)
            .await?;

        // From Baileys, and from a phone, to everyone.
        let second = scene.text("from Baileys");
        peer.send(&group.jid, &second).await?;
        let stored = group.stored(&second, |_| true).await?;
        ensure!(stored["sender"] == jid(peer_phone.number()), "{stored}");
        until_got(scene, &ada, &group.jid, &second).await?;
        let third = scene.text("from a phone");
        let mark = peer.mark();
        ada.send_group_text(&group.jid, &third)?;
        let stored_third = group.stored(&third, |_| true).await?;
        ensure!(
            stored_third["sender"] == jid(ada.number()),
            "{stored_third}"
        );
        ensure!(stored_third["pushName"] == "Ada", "{stored_third}");
        peer.received(mark, &third).await?;

        // One thread, with the group's name.
        let threads = group.api.threads(&account.id).await?;
        ensure!(threads.len() == 1 && threads[0].chat == group.jid);
        group.patch(json!({ "subject": "Whole team" })).await?;
        group
            .until("the new name", |group| group["subject"] == "Whole team")
            .await?;
        let seen = peer.group("groupMetadata", json!([group.jid])).await?;
        ensure!(seen["subject"] == "Whole team", "{seen}");

        quote_and_react(scene, &group, &mut peer, &peer_phone, &stored).await?;
        receipts(&group, &mut peer, &sent, [&peer_phone, &ada]).await?;
        peer.quit().await?;
        Ok(())
    })
    .await
}

/// Answers, mentions and reactions in a group, both ways.
async fn quote_and_react(
    scene: &Scene,
    group: &Group<'_>,
    peer: &mut Peer,
    phone: &Phone,
    theirs: &Value,
) -> Result<()> {
    let lid = scene.sim().state().accounts[phone.number()].lid.clone();
    let own_lid = scene.sim().state().accounts[group.account.number()]
        .lid
        .clone();
    let mark = peer.mark();
    let answer = scene.text("an answer");
    let named = format!("{answer} @{}", phone.number());
    let body = json!({
        "text": named,
        "mentions": [&**phone.number()],
        "quote": theirs["id"],
    });
    let sent = group.send(body).await?;
    let seen = peer.content(mark, &text(&sent, "waMessageId")?).await?;
    let shown = &seen["extendedTextMessage"];
    ensure!(shown["text"] == format!("{answer} @{lid}"), "{shown}");
    let context = &shown["contextInfo"];
    ensure!(context["stanzaId"] == theirs["waMessageId"], "{context}");
    let by = context["participant"].as_str().unwrap_or_default();
    ensure!(by.starts_with(&lid), "{context}");
    ensure!(
        context["mentionedJid"] == json!([format!("{lid}@lid")]),
        "{context}"
    );

    // Baileys reacts to what the account wrote, and the account to that of
    // Baileys.
    let key = json!({
        "remoteJid": group.jid, "id": sent["waMessageId"], "fromMe": false,
        "participant": format!("{own_lid}@lid"),
    });
    let react = json!({ "react": { "text": "👍", "key": key } });
    peer.send_content(&group.jid, react, None).await?;
    let shown = text(&shown_text(&answer, &lid), "text")?;
    group
        .stored(&shown, |message| message["reactions"][0]["emoji"] == "👍")
        .await?;
    let mark = peer.mark();
    let reaction = json!({ "reaction": { "messageId": theirs["id"], "emoji": "🎉" } });
    let sent = group.send(reaction).await?;
    let seen = peer.content(mark, &text(&sent, "waMessageId")?).await?;
    ensure!(seen["reactionMessage"]["text"] == "🎉", "{seen}");
    ensure!(
        seen["reactionMessage"]["key"]["id"] == theirs["waMessageId"],
        "{seen}"
    );
    Ok(())
}

fn shown_text(answer: &str, lid: &str) -> Value {
    json!({ "text": format!("{answer} @{lid}") })
}

/// Who has got and read a message of the account's.
async fn receipts(
    group: &Group<'_>,
    peer: &mut Peer,
    sent: &Value,
    people: [&Phone; 2],
) -> Result<()> {
    let all = group.messages().await?;
    let stored = all
        .iter()
        .find(|message| message["waMessageId"] == sent["waMessageId"]);
    let stored = text(stored.context("the message is stored")?, "id")?;
    let path = format!("/v1/threads/{}/messages/{stored}/receipts", group.id);
    let until = async |what: &str, is_so: &dyn Fn(&Value) -> bool| {
        wait::until(what, DELIVERY_LIMIT, async || {
            let answer: Value = group.api.get(&path).await?.expect(200)?.json()?;
            let people = answer["people"].as_array().cloned().unwrap_or_default();
            let all: BTreeMap<String, Value> = people
                .into_iter()
                .map(|person| (person["by"].as_str().unwrap_or_default().to_owned(), person))
                .collect();
            let all = json!(all);
            let seen = all.to_string();
            Ok(Look::some(is_so(&all).then_some(()), seen))
        })
        .await
    };
    let [one, other] = people.map(|phone| jid(phone.number()));
    until("both have it", &|all| {
        [&one, &other]
            .iter()
            .all(|who| all[who.as_str()]["deliveredAt"].is_string())
    })
    .await?;
    let mine = peer
        .events(baileys::Mark::default())
        .into_iter()
        .find_map(|event| {
            let Event::Message { id, by, .. } = event else {
                return None;
            };
            (id == sent["waMessageId"].as_str().unwrap_or_default()).then_some(by)
        });
    let by = mine.flatten().context("Baileys knows who wrote it")?;
    let wa_id = text(sent, "waMessageId")?;
    peer.read_in_group(&group.jid, &by, &[&wa_id]).await?;
    until("one has read it", &|all| {
        all[one.as_str()]["readAt"].is_string() && all[other.as_str()]["readAt"].is_null()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_and_admins_change_the_group() -> Result<()> {
    play(async |scene| {
        let alice = scene.worker("alice")?.start().await?;
        let account = scene.link(alice.api(), "sales").await?;
        let folder = tempfile::tempdir()?;
        let (mut peer, peer_phone) = baileys(scene, folder.path()).await?;
        let ada = scene.account_phone("Ada")?;

        // Baileys makes the group; the worker is put into it.
        let people = json!([jid(account.number())]);
        let made = peer.group("groupCreate", json!(["Club", people])).await?;
        let group = Group::found(alice.api(), &account, &text(&made, "id")?).await?;
        ensure!(group.read().await?["subject"] == "Club");

        // Not an admin: WhatsApp's refusal is a typed error.
        let path = format!("/v1/groups/{}/members", group.id);
        let body = json!({ "change": "add", "people": [&**ada.number()] });
        let refused: Value = alice.api().post(&path, body).await?.expect(502)?.json()?;
        ensure!(refused["code"] == "refused_by_whatsapp", "{refused}");
        ensure!(refused["waCode"] == 403, "{refused}");

        let own_lid = scene.sim().state().accounts[account.number()].lid.clone();
        let me = json!([format!("{own_lid}@lid")]);
        peer.group("groupParticipantsUpdate", json!([group.jid, me, "promote"]))
            .await?;
        group
            .until("the account is an admin", |group| {
                let members = group["members"].as_array().into_iter().flatten();
                let mut own = members.filter(|member| member["pn"] == jid(account.number()));
                own.any(|member| member["rank"] == "admin")
            })
            .await?;
        let mark = peer.mark();
        let added = group.members("add", &[&ada, &peer_phone]).await?;
        ensure!(added["people"][0]["error"].is_null(), "{added}");
        ensure!(added["people"][1]["error"] == "409", "is in it: {added}");
        peer.group_changed(mark, "add").await?;
        ensure!(group.read().await?["size"] == 3);

        // Name, description, settings.
        group.patch(json!({ "description": "What we do" })).await?;
        group.patch(json!({ "announcement": true })).await?;
        let kept = group.read().await?;
        ensure!(kept["description"] == "What we do" && kept["announcement"] == true);
        ensure!(
            ada.send_group_text(&group.jid, "hush").is_err(),
            "admins only"
        );
        group.patch(json!({ "announcement": false })).await?;
        peer.group("groupUpdateDescription", json!([group.jid, "Other things"]))
            .await?;
        group
            .until("Baileys' description", |group| {
                group["description"] == "Other things"
            })
            .await?;
        let seen = peer.group("groupMetadata", json!([group.jid])).await?;
        ensure!(
            seen["desc"] == "Other things" && seen["announce"] == false,
            "{seen}"
        );

        // By a link: another account of the worker comes in.
        let path = format!("/v1/groups/{}/invitation", group.id);
        let first: Value = alice.api().get(&path).await?.expect(200)?.json()?;
        let renewed: Value = alice
            .api()
            .post(&path, Value::Null)
            .await?
            .expect(200)?
            .json()?;
        ensure!(first["link"] != renewed["link"]);
        let other = scene.link(alice.api(), "support").await?;
        let join = format!("/v1/accounts/{}/groups/join", other.id);
        let body = json!({ "invitation": first["link"] });
        let old: Value = alice.api().post(&join, body).await?.expect(502)?.json()?;
        ensure!(old["waCode"] == 404, "{old}");
        let body = json!({ "invitation": renewed["link"] });
        let joined: Value = alice.api().post(&join, body).await?.expect(200)?.json()?;
        ensure!(
            joined["jid"] == group.jid && joined["waiting"] == false,
            "{joined}"
        );
        let hello = scene.text("hello from the new one");
        let body = json!({ "to": group.jid, "text": hello });
        let path = format!("/v1/accounts/{}/messages", other.id);
        alice.api().post(&path, body).await?.expect(202)?;
        group.stored(&hello, |_| true).await?;

        // Taken out by Baileys: nothing more can be sent there.
        peer.group("groupParticipantsUpdate", json!([group.jid, me, "remove"]))
            .await?;
        group
            .until("the account is out", |group| group["joined"] == false)
            .await?;
        let path = format!("/v1/accounts/{}/messages", account.id);
        let body = json!({ "to": group.jid, "text": "too late" });
        let late: Value = alice.api().post(&path, body).await?.expect(409)?.json()?;
        ensure!(late["code"] == "not_in_group", "{late}");

        // The other one goes by itself.
        let id = text(&joined, "id")?;
        let mark = peer.mark();
        let leave = format!("/v1/groups/{id}/leave");
        alice.api().post(&leave, Value::Null).await?.expect(204)?;
        peer.group_changed(mark, "remove").await?;
        let path = format!("/v1/accounts/{}/groups", other.id);
        let page: Value = alice.api().get(&path).await?.expect(200)?.json()?;
        ensure!(page["groups"] == json!([]), "{page}");
        peer.quit().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_200_members_and_a_new_key_when_one_leaves() -> Result<()> {
    const MEMBERS: usize = 200;
    play(async |scene| {
        let alice = scene.worker("alice")?.start().await?;
        let account = scene.link(alice.api(), "sales").await?;
        let phones = (1..MEMBERS)
            .map(|n| scene.account_phone(&format!("Member {n}")))
            .collect::<Result<Vec<_>>>()?;
        let [host, leaver, rest @ ..] = &phones[..] else {
            bail!("there are members");
        };
        let mut numbers: Vec<&str> = phones.iter().map(|phone| &**phone.number()).collect();
        numbers.push(account.number());
        let made = host.create_group("All of us", &numbers)?;
        let group = Group::found(alice.api(), &account, &made).await?;
        let kept = group.read().await?;
        ensure!(kept["size"] == MEMBERS, "{}", kept["size"]);
        ensure!(kept["members"].as_array().map(Vec::len) == Some(MEMBERS));

        let to_all = async |text: &str, phones: &mut dyn Iterator<Item = &Phone>| {
            group.send_text(text).await?;
            for phone in phones {
                until_got(scene, phone, &group.jid, text).await?;
            }
            anyhow::Ok(())
        };
        let first = scene.text("to two hundred");
        to_all(&first, &mut phones.iter()).await?;
        for phone in rest.iter().take(3) {
            let text = scene.text("from one of them");
            phone.send_group_text(&group.jid, &text)?;
            group.stored(&text, |_| true).await?;
        }
        let second = scene.text("to two hundred once more");
        to_all(&second, &mut phones.iter()).await?;

        // Somebody comes: reads from then on, and nothing from before.
        let newcomer = scene.account_phone("Newcomer")?;
        host.add_to_group(&group.jid, &[&**newcomer.number()])?;
        group
            .until("the newcomer", |group| group["size"] == MEMBERS + 1)
            .await?;
        let third = scene.text("with the newcomer");
        to_all(&third, &mut phones.iter().chain([&newcomer])).await?;

        // Somebody goes: what was sent before can be read with the keys that
        // the one who left has, what is sent after cannot.
        leaver.leave_group(&group.jid)?;
        group
            .until("one less", |group| group["size"] == MEMBERS)
            .await?;
        let fourth = scene.text("without the one who left");
        to_all(&fourth, &mut rest.iter().chain([host, &newcomer])).await?;
        let heard = host.overhear_group(&group.jid);
        let own: Vec<_> = heard
            .iter()
            .filter(|message| &*message.from.account == account.number())
            .collect();
        let [one, two, three, four] = &own[..] else {
            bail!("{} messages of the account passed", own.len());
        };
        let chains = [one, two, three, four]
            .map(|message| group_header(&message.bytes).map(|header| header.chain));
        let chains = chains.into_iter().collect::<Result<Vec<_>, _>>()?;
        ensure!(
            chains[0] == chains[1] && chains[1] == chains[2],
            "{chains:?}"
        );
        ensure!(
            chains[2] != chains[3],
            "a new key after one left: {chains:?}"
        );
        // It reads each once: that it had the key is shown by what it got.
        let got = leaver.with_ledger(|ledger| {
            let texts = ledger.received.iter().map(|message| message.text.clone());
            texts.collect::<Vec<_>>()
        });
        ensure!(
            [&first, &second, &third]
                .iter()
                .all(|text| got.contains(text))
        );
        ensure!(!got.contains(&fourth), "not delivered");
        ensure!(
            leaver.try_to_read(&group.jid, four).is_err(),
            "not readable"
        );
        for early in [one, two] {
            ensure!(newcomer.try_to_read(&group.jid, early).is_err());
        }
        let oracle = scene.sim().oracle();
        let counts = oracle.accounts[account.number()];
        println!(
            "{MEMBERS} members: {} messages of the account, {} retries, {} hashes refused",
            own.len(),
            counts.retry_receipts,
            counts.group_hashes_refused
        );
        ensure!(counts.retry_receipts == 0, "{counts:?}");
        Ok(())
    })
    .await
}

/// Where the owner dies, and at which passage.
const POINTS: [(&str, u32); 4] = [
    ("after-sending", 4),
    ("after-wire", 4),
    ("inside-hook", 4),
    ("after-hook", 4),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_dies_in_a_group_loses_and_doubles_nothing() -> Result<()> {
    let mut table = vec![
        "| point | sent to the group | got by each member | written by members | stored | lost | doubled | resent |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for (point, nth) in POINTS {
        play(async |scene| {
            table.push(die_at(scene, point, nth).await?);
            Ok(())
        })
        .await
        .with_context(|| point.to_owned())?;
    }
    println!("{}", table.join("\n"));
    Ok(())
}

async fn die_at(scene: &Scene, point: &str, nth: u32) -> Result<String> {
    const ROUNDS: usize = 8;
    let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
    let alice = cluster
        .worker("alice")?
        .with_variable("LEASEHOLD_KILL_POINT", &format!("{point}:{nth}"))
        .start()
        .await?;
    let account = scene.link(alice.api(), "sales").await?;
    let bob = cluster.worker("bob")?.start().await?;
    until_met(&[&alice, &bob]).await?;
    let Some(before) = owner_of(bob.api(), &account.id).await? else {
        bail!("nobody owns the account");
    };
    let members = (0..5)
        .map(|n| scene.account_phone(&format!("Member {n}")))
        .collect::<Result<Vec<_>>>()?;
    let numbers: Vec<&str> = members
        .iter()
        .map(|phone| &**phone.number())
        .chain([account.number()])
        .collect();
    let made = members[0].create_group("Traffic", &numbers)?;
    let group = Group::found(bob.api(), &account, &made).await?;

    let both = [&alice, &bob].map(|worker| worker.api().base().to_owned());
    let any = Api::at_any(both);
    let (mut sent, mut written) = (Vec::new(), Vec::new());
    let traffic = async {
        for round in 0..ROUNDS {
            let text = scene.text("to the group");
            let api = any.for_client(round);
            // The one that is to die may not answer any more.
            let id = api
                .send_text_until_accepted(&account.id, &group.jid, &text, &text, LINK_LIMIT)
                .await?;
            sent.push((id, text));
            for phone in &members[..2] {
                let text = scene.text("to the account");
                phone.send_group_text(&group.jid, &text)?;
                written.push(text);
            }
        }
        anyhow::Ok(())
    };
    let (traffic, ended) = tokio::join!(traffic, alice.ended());
    traffic?;
    let (status, _) = ended?;
    ensure!(
        status.signal() == Some(KILLED),
        "{point} was not reached: {status}"
    );
    until_taken_over(scene, bob.api(), &account, &before, LINK_LIMIT).await?;

    for (_, text) in &sent {
        for phone in &members {
            until_got(scene, phone, &group.jid, text).await?;
        }
    }
    for text in &written {
        group.stored(text, |_| true).await?;
    }
    let mut doubled = 0;
    let mut resent = 0;
    for phone in &members {
        let seen = phone.with_ledger(|ledger| {
            let of_account =
                |message: &&wa_sim::phone::Received| &*message.from.account == account.number();
            let all = ledger.received.iter().filter(of_account);
            all.map(|message| (message.text.clone(), message.repeats))
                .collect::<Vec<_>>()
        });
        resent += seen
            .iter()
            .map(|(_, repeats)| *repeats as usize)
            .sum::<usize>();
        let texts: Vec<&String> = seen.iter().map(|(text, _)| text).collect();
        let wanted: Vec<&String> = sent.iter().map(|(_, text)| text).collect();
        doubled += texts.len().saturating_sub(wanted.len());
        ensure!(
            texts == wanted,
            "each once and in order: {} of {}",
            texts.len(),
            wanted.len()
        );
    }
    let stored = group.messages().await?;
    for text in &written {
        let count = stored
            .iter()
            .filter(|message| message["text"] == **text)
            .count();
        ensure!(count == 1, "stored {count} times");
    }
    let incoming = stored
        .iter()
        .filter(|message| message["direction"] == "in" && message["text"].is_string())
        .count();
    Ok(format!(
        "| {point} | {} | {} | {} | {incoming} | 0 | {doubled} | {resent} |",
        sent.len(),
        sent.len(),
        written.len(),
    ))
}
