//! The owner dies at each named point of a message's way (`worker::killpoint`),
//! with traffic in both directions; another worker takes over. Counted is what
//! the receiving clients saw: phones, and unmodified Baileys 7.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, Result, bail};
use baileys::{Event, Peer, Version};
use harness::ledger::Counts;
use harness::scene::{DELIVERY_LIMIT, LINK_LIMIT, Linked, Scene, play, until_stored};
use harness::wait::{self, Look};
use harness::worker::Worker;
use wa_sim::phone::Phone;

use crate::cluster::{
    Cluster, Line, StoreKind, apis, owner_of, say_once, until_met, until_taken_over,
};

/// The points, and at which passage the worker dies: in the middle of traffic.
const POINTS: [(&str, u32); 7] = [
    ("after-accept", 6),
    ("after-sending", 6),
    ("after-wire", 6),
    ("before-ack", 6),
    ("after-ack", 6),
    ("inside-hook", 4),
    ("after-hook", 4),
];

/// Messages each way on each line.
const ROUNDS: usize = 8;

/// SIGKILL's number.
const KILLED: i32 = 9;

/// What Baileys saw of what the account sent it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    lost: usize,
    duplicated: usize,
    out_of_order: usize,
    resent: usize,
    /// What it could not read at first and asked for again: that comes after
    /// later ones. Baileys reads and writes one session at once without a lock
    /// and then loses a part of it; the oracle shows that as keys which its own
    /// device uses twice.
    asked_again: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_that_dies_at_a_named_point_loses_and_doubles_nothing() -> Result<()> {
    let mut table = vec![
        "| point | sent | received | lost | duplicated | out of order | resent | Baileys: lost | duplicated | out of order | resent | asked again |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    let mut faults = Vec::new();
    // For a look at some of them, by name, as often as they are named.
    let wanted = std::env::var("LEASEHOLD_KILL_POINTS").unwrap_or_default();
    let points: Vec<(&str, u32)> = match wanted.as_str() {
        "" => POINTS.to_vec(),
        names => names
            .split(',')
            .filter_map(|name| POINTS.into_iter().find(|(point, _)| *point == name))
            .collect(),
    };
    for (point, nth) in points {
        let mut row = None;
        play(async |scene| {
            row = Some(die_at(scene, point, nth).await?);
            Ok(())
        })
        .await?;
        let Some((counts, seen)) = row else {
            bail!("no row for {point}");
        };
        table.push(format!(
            "| {point} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            counts.sent,
            counts.received,
            counts.lost,
            counts.duplicated,
            counts.out_of_order,
            counts.resent,
            seen.lost,
            seen.duplicated,
            seen.out_of_order,
            seen.resent,
            seen.asked_again,
        ));
        // What Baileys itself wrote is not in the ledger of what phones wrote.
        let counts = Counts {
            unknown: counts.unknown.saturating_sub(ROUNDS + 1),
            ..counts
        };
        if !counts.faults().is_empty() || seen.lost + seen.duplicated + seen.out_of_order > 0 {
            faults.push(format!("{point}: {counts:?} {seen:?}"));
        }
    }
    println!("{}", table.join("\n"));
    assert!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

/// One run: two workers, one account that talks to a phone and to Baileys.
async fn die_at(scene: &Scene, point: &str, nth: u32) -> Result<(Counts, Seen)> {
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
    if before.worker != "alice" {
        bail!("{} owns the account", before.worker);
    }

    let folder = tempfile::tempdir()?;
    let (mut peer, baileys) = baileys(scene, folder.path()).await?;
    let lines = [scene.contact("Peer")?, baileys.clone()].map(|contact| Line {
        account: account.clone(),
        contact,
    });
    let mark = peer.mark();
    greet(scene, &alice, &lines[1], &mut peer).await?;
    // Each first to the owner, which is to die; then to the other one.
    let apis = apis(&[&alice, &bob]);
    let mut sent = Vec::new();
    let traffic = async {
        for round in 0..ROUNDS {
            let label = format!("round {round}");
            say_once(scene, &lines, &apis, &label).await?;
            let text = scene.text(&label);
            let id = peer.send(&jid(&account), &text).await?;
            sent.push((id, text));
        }
        anyhow::Ok(())
    };
    let (traffic, ended) = tokio::join!(traffic, alice.ended());
    traffic?;
    let (status, _) = ended?;
    if status.signal() != Some(KILLED) {
        bail!("{point} was not reached: {status}");
    }
    until_taken_over(scene, bob.api(), &account, &before, LINK_LIMIT).await?;
    let counts = scene.settled(bob.api(), 2 * DELIVERY_LIMIT).await?;
    until_all_stored(&bob, &account, &sent)
        .await
        .with_context(|| format!("{point}; {:?}", scene.sim().state().accounts))?;

    let accepted: Vec<String> = scene
        .ledgers(bob.api())
        .await?
        .accepted
        .into_iter()
        .filter(|message| message.to == **baileys.number())
        .map(|message| message.text)
        .collect();
    // Some may come by a retry, after later ones. What it has not seen by then
    // is lost, and counted.
    for text in &accepted {
        let _ = peer.received(mark, text).await;
    }
    let seen = seen(&accepted, &peer.events(mark));
    peer.quit().await?;
    Ok((counts, seen))
}

/// A first message each way, one after the other. (Where both sides begin at the
/// same moment, each in a session of its own, Baileys may have to ask for a
/// message again, which then comes after later ones.)
async fn greet(scene: &Scene, worker: &Worker, line: &Line, peer: &mut Peer) -> Result<()> {
    let mark = peer.mark();
    let sent = scene
        .send(worker.api(), &line.account, &line.contact, "hello")
        .await?;
    peer.received(mark, &sent.text).await?;
    let text = scene.text("hello yourself");
    peer.send(&jid(&line.account), &text).await?;
    until_stored(worker.api(), &line.account, &text, DELIVERY_LIMIT).await?;
    Ok(())
}

/// Waits until what Baileys itself wrote is stored, each once.
async fn until_all_stored(
    worker: &Worker,
    account: &Linked,
    sent: &[(String, String)],
) -> Result<()> {
    wait::until("what Baileys wrote is stored", DELIVERY_LIMIT, async || {
        let messages = worker.api().all_messages(&account.id).await?;
        let count = |(_, text): &(String, String)| {
            messages
                .iter()
                .filter(|message| message.text.as_ref() == Some(text))
                .count()
        };
        let counts: Vec<usize> = sent.iter().map(count).collect();
        if counts.iter().any(|count| *count > 1) {
            bail!("stored twice: {counts:?}");
        }
        let all = counts.iter().all(|count| *count == 1);
        let missing: Vec<String> = sent
            .iter()
            .filter(|sent| count(sent) == 0)
            .map(|(id, _)| {
                let stored = messages.iter().any(|message| message.wa_message_id == *id);
                let phone = account.phone.with_ledger(|ledger| {
                    ledger.received.iter().any(|received| received.id == *id)
                });
                format!("{id}: placeholder {stored}, at the account's phone {phone}")
            })
            .collect();
        Ok(Look::some(
            all.then_some(()),
            format!("{counts:?}, {missing:?}"),
        ))
    })
    .await
}

/// Joins what was accepted with what Baileys saw.
fn seen(accepted: &[String], events: &[Event]) -> Seen {
    let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut seen = Seen::default();
    let mut latest = 0;
    let unread: BTreeSet<&str> = events
        .iter()
        .filter_map(|event| {
            let Event::Undecryptable { id, .. } = event else {
                return None;
            };
            Some(id.as_str())
        })
        .collect();
    seen.asked_again = unread.len();
    for event in events {
        let Event::Message {
            id,
            text,
            from_me: false,
            ..
        } = event
        else {
            continue;
        };
        let Some(at) = accepted.iter().position(|sent| sent == text) else {
            continue;
        };
        let known = ids.entry(text).or_default();
        if known.contains(id.as_str()) {
            seen.resent += 1;
            continue;
        }
        if !known.is_empty() {
            seen.duplicated += 1;
        } else if !unread.contains(id.as_str()) {
            seen.out_of_order += usize::from(at < latest);
            latest = latest.max(at);
        }
        known.insert(id);
    }
    seen.lost = accepted
        .iter()
        .filter(|text| !ids.contains_key(text.as_str()))
        .count();
    seen
}

fn jid(account: &Linked) -> String {
    format!("{}@s.whatsapp.net", account.number())
}

/// A Baileys client that is linked to a contact's phone.
async fn baileys(scene: &Scene, folder: &std::path::Path) -> Result<(Peer, Phone)> {
    let phone = scene.contact("Baileys")?;
    scene.is_not_ours(phone.number());
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
