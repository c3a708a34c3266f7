//! The simulator against a small client: what it does for good clients, and
//! that the oracle sees what bad ones do.
#![allow(clippy::unwrap_used, clippy::large_futures, reason = "tests")]

mod client;

use std::time::Duration;

use tokio::time::timeout;
use wa_sim::{
    Disconnect, Fault, FaultKind, Phone, Sim, SimConfig,
    fault::{MessagePoint, Stage},
    oracle::ViolationKind,
    phone::PhoneError,
    server::{DeviceId, PairError},
    wire::Node,
};

use self::client::{Client, DEADLINE, Link, id_of, receipt};

const ADA: &str = "15550001";
const BOB: &str = "15550002";

/// Two phones, and a client linked to the first.
struct Scene {
    sim: Sim,
    ada: Phone,
    bob: Phone,
    client: Client,
}

impl Scene {
    async fn new() -> Self {
        let sim = Sim::start(SimConfig::default()).await.unwrap();
        let ada = sim.add_phone(ADA, "Ada").unwrap();
        let bob = sim.add_phone(BOB, "Bob").unwrap();
        let client = Client::pair(&sim, &ada).await;
        Self {
            sim,
            ada,
            bob,
            client,
        }
    }

    /// As [`Scene::new`], connected, with the phone's greetings out of the way.
    async fn connected() -> (Self, Link) {
        let mut scene = Self::new().await;
        let (mut link, waiting) = scene.client.connect_active().await;
        for message in &waiting {
            scene.client.open(message);
            link.send(receipt(message).attr("type", "peer_msg")).await;
        }
        scene.settled(0).await;
        (scene, link)
    }

    /// Waits until so many stanzas are unsettled.
    async fn settled(&self, count: usize) {
        let waiting = || self.sim.state().accounts[ADA].devices[0].waiting;
        let wait = self
            .sim
            .wait("not settled", DEADLINE, || waiting() == count);
        wait.await.unwrap();
    }

    /// Waits until Bob's phone has received so many messages.
    async fn bob_received(&self, count: usize) {
        let wait = self
            .sim
            .wait_ledger(&self.bob, "not received", DEADLINE, |ledger| {
                ledger.received.len() == count
            });
        wait.await.unwrap();
    }

    fn violations(&self) -> Vec<ViolationKind> {
        let violations = self.sim.oracle().violations;
        violations.iter().map(|violation| violation.kind).collect()
    }

    /// Ends the test: nothing illegal happened, and everything stops.
    async fn finish(self) {
        assert_eq!(self.violations(), []);
        self.sim.shutdown().await;
    }
}

fn bobs_phone() -> DeviceId {
    DeviceId {
        account: BOB.into(),
        device: 0,
    }
}

#[tokio::test]
async fn a_new_device_is_greeted_by_its_phone() {
    let mut scene = Scene::new().await;
    let (_link, waiting) = scene.client.connect_active().await;
    let kinds: Vec<_> = waiting
        .iter()
        .map(|message| {
            assert_eq!(message.get("category"), Some("peer"));
            let content = scene.client.open(message).protocol_message.unwrap();
            content.app_state_sync_key_share.is_some()
        })
        .collect();
    // The keys of the app state, then the history.
    assert_eq!(kinds, [true, false]);
    let counts = scene.sim.oracle().accounts[ADA];
    assert_eq!((counts.qr_scans, counts.pairings, counts.logins), (1, 1, 1));
    scene.finish().await;
}

#[tokio::test]
async fn texts_and_receipts_travel_both_ways() {
    let (mut scene, mut link) = Scene::connected().await;

    let id = scene.bob.send_text(ADA, "hello").unwrap();
    let message = link.expect("message").await;
    assert_eq!(
        (id_of(&message), message.get("notify")),
        (&*id, Some("Bob"))
    );
    assert_eq!(scene.client.read(&message), "hello");
    link.send(receipt(&message)).await;
    link.send(receipt(&message).attr("type", "read")).await;
    let device = scene.client.device.clone();
    for kind in ["delivered", "read"] {
        let has = |ledger: &wa_sim::phone::Ledger| ledger.has_receipt(&id, &device, kind);
        let wait = scene.sim.wait_ledger(&scene.bob, kind, DEADLINE, has);
        wait.await.unwrap();
    }

    let text = scene.client.text(&mut link, BOB, "M1", "hi").await;
    link.send(text).await;
    let mut ack = link.expect("ack").await;
    while id_of(&ack) != "M1" {
        ack = link.expect("ack").await;
    }
    assert_eq!(
        (ack.get("class"), ack.get("error")),
        (Some("message"), None)
    );
    let delivered = link.expect("receipt").await;
    assert_eq!(delivered.get("from"), Some("15550002@s.whatsapp.net"));
    scene.bob.read(&["M1".to_owned()]).unwrap();
    assert_eq!(link.expect("receipt").await.get("type"), Some("read"));

    let received = scene.bob.ledger().received;
    assert_eq!((received.len(), &*received[0].text), (1, "hi"));
    let copied = |ledger: &wa_sim::phone::Ledger| ledger.copies.len() == 1;
    let wait = scene.sim.wait_ledger(&scene.ada, "copy", DEADLINE, copied);
    wait.await.unwrap();
    assert_eq!(scene.ada.ledger().copies[0].to, BOB);
    scene.finish().await;
}

#[tokio::test]
async fn what_is_not_receipted_comes_again_in_order() {
    let (mut scene, mut link) = Scene::connected().await;
    let ids = ["1", "2", "3"].map(|text| scene.bob.send_text(ADA, text).unwrap());
    let first = link.expect("message").await;
    link.send(receipt(&first)).await;
    scene.settled(2).await;
    drop(link);

    let (mut link, waiting) = scene.client.connect_active().await;
    let again: Vec<_> = waiting.iter().map(id_of).collect();
    assert_eq!(again, [&ids[1], &ids[2]]);
    assert!(
        waiting
            .iter()
            .all(|message| message.get("offline").is_some())
    );
    // One receipt for both.
    let list = Node::new("list").child(Node::new("item").attr("id", &ids[2]));
    link.send(receipt(&waiting[0]).child(list)).await;
    scene.settled(0).await;
    scene.finish().await;
}

#[tokio::test]
async fn a_newer_login_replaces_the_older() {
    let (mut scene, mut older) = Scene::connected().await;
    let (mut newer, _) = scene.client.connect_active().await;
    let conflict = older.expect("stream:error").await;
    let kind = conflict.find("conflict").and_then(|node| node.get("type"));
    assert_eq!(kind, Some("replaced"));
    assert_eq!(scene.sim.oracle().counts.replaced, 1);
    assert_eq!(scene.violations(), []);

    // One that sends all the same is seen, and not heard.
    let text = scene.client.text(&mut newer, BOB, "M1", "late").await;
    older.send(text).await;
    let seen = || scene.violations() == [ViolationKind::StaleSender];
    scene
        .sim
        .wait("stale sender", DEADLINE, seen)
        .await
        .unwrap();
    older.expect_end().await;
    assert_eq!(scene.bob.ledger().received.len(), 0);
    scene.sim.shutdown().await;
}

#[tokio::test]
async fn what_was_held_up_since_before_a_newer_login_is_not_held_against_it() {
    let (mut scene, mut older) = Scene::connected().await;
    let text = scene.client.text(&mut older, BOB, "M1", "held up").await;
    let (_newer, _) = scene.client.connect_active().await;
    older.expect("stream:error").await;
    scene
        .sim
        .note_held(older.address(), Duration::from_secs(60));
    older.send(text).await;
    older.expect_end().await;
    assert_eq!(scene.violations(), []);
    assert_eq!(scene.bob.ledger().received.len(), 0);
    scene.sim.shutdown().await;
}

#[tokio::test]
async fn a_message_sent_again_under_its_id_is_no_violation() {
    let (mut scene, mut link) = Scene::connected().await;
    for _ in 0..2 {
        let text = scene.client.text(&mut link, BOB, "M1", "hi").await;
        link.send(text).await;
        link.expect("ack").await;
    }
    let repeated = |ledger: &wa_sim::phone::Ledger| {
        ledger
            .received
            .first()
            .is_some_and(|first| first.repeats == 1)
    };
    let wait = scene
        .sim
        .wait_ledger(&scene.bob, "repeat", DEADLINE, repeated);
    wait.await.unwrap();
    let counts = scene.sim.oracle().accounts[ADA];
    assert_eq!((counts.messages_accepted, counts.messages_resent), (3, 1));
    scene.finish().await;
}

#[tokio::test]
async fn a_ciphertext_sent_twice_is_a_violation() {
    let (mut scene, mut link) = Scene::connected().await;
    let text = scene.client.text(&mut link, BOB, "M1", "hi").await;
    for id in ["M1", "M2"] {
        link.send(text.clone().attr("id", id)).await;
        link.expect("ack").await;
    }
    assert_eq!(scene.violations(), [ViolationKind::CiphertextRepeated; 2]);
    scene.sim.shutdown().await;
}

#[tokio::test]
async fn one_prekey_for_two_sessions_is_a_violation() {
    let (mut scene, mut link) = Scene::connected().await;
    let mut other = Client::pair(&scene.sim, &scene.sim.add_phone("15550003", "").unwrap()).await;
    let bundle = link.bundle("15550002@s.whatsapp.net").await.unwrap();
    for client in [&mut scene.client, &mut other] {
        let address = "15550002@s.whatsapp.net";
        client.signal.start_session(address, &bundle).unwrap();
    }
    for (id, client) in [("M1", &mut scene.client), ("M2", &mut other)] {
        let text = client.text(&mut link, BOB, id, id).await;
        link.send(text).await;
        link.expect("ack").await;
    }
    let kinds = scene.violations();
    assert!(kinds.contains(&ViolationKind::PrekeyReused), "{kinds:?}");
    scene.sim.shutdown().await;
}

#[tokio::test]
async fn an_unreadable_message_is_a_violation_and_asked_for_again() {
    let (mut scene, mut link) = Scene::connected().await;
    let mut text = scene.client.text(&mut link, BOB, "M1", "hi").await;
    break_first_ciphertext(&mut text);
    link.send(text).await;
    let retry = link.expect("receipt").await;
    assert_eq!(retry.get("type"), Some("retry"));
    assert!(retry.find("keys").is_some());
    assert_eq!(scene.violations(), [ViolationKind::Undecryptable]);
    scene.sim.shutdown().await;
}

fn break_first_ciphertext(message: &mut Node) {
    use wa_sim::wire::Content;
    let mut node = message;
    loop {
        match &mut node.content {
            Content::Children(children) => node = &mut children[0],
            Content::Bytes(bytes) => {
                let middle = bytes.len() * 3 / 4;
                bytes[middle] ^= 1;
                return;
            }
            Content::Empty => unreachable!("a message has a ciphertext"),
        }
    }
}

#[tokio::test]
async fn a_retry_receipt_brings_the_message_again() {
    let (mut scene, mut link) = Scene::connected().await;
    let id = scene.bob.send_text(ADA, "hello").unwrap();
    let first = link.expect("message").await;
    let retry = Node::new("retry").attr("count", "1").attr("id", &id);
    link.send(receipt(&first).attr("type", "retry").child(retry))
        .await;
    let again = link.expect("message").await;
    assert_eq!(id_of(&again), id);
    assert_eq!(again.find("enc").unwrap().get("count"), Some("1"));
    assert_eq!(scene.client.read(&again), "hello");
    scene.finish().await;
}

/// The phone begins a session anew then; what comes in the old one is no violation.
#[tokio::test]
async fn a_message_on_its_way_when_one_is_asked_for_again_is_read() {
    let (mut scene, mut link) = Scene::connected().await;
    let text = scene.client.text(&mut link, BOB, "M1", "hi").await;
    link.send(text).await;
    link.expect("ack").await;
    let id = scene.bob.send_text(ADA, "hello").unwrap();
    let first = link.expect("message").await;
    let on_its_way = scene.client.text(&mut link, BOB, "M2", "and").await;
    let retry = Node::new("retry").attr("count", "1").attr("id", &id);
    link.send(receipt(&first).attr("type", "retry").child(retry))
        .await;
    let again = link.expect("message").await;
    link.send(on_its_way).await;
    link.expect("ack").await;
    assert_eq!(scene.client.read(&again), "hello");
    scene.finish().await;
}

#[tokio::test]
async fn one_time_prekeys_go_out_once() {
    let (scene, mut link) = Scene::connected().await;
    let mut seen = std::collections::HashSet::new();
    // More than a phone uploads at a time: it has to top them up.
    for _ in 0..50 {
        let bundle = link.bundle("15550002@s.whatsapp.net").await.unwrap();
        seen.extend(bundle.prekey.map(|(id, _)| id));
    }
    assert!(seen.len() >= 45, "{} prekeys", seen.len());
    let gone = link.bundle("15550002:9@s.whatsapp.net").await;
    assert_eq!(gone, None);
    scene.finish().await;
}

#[tokio::test]
async fn strangers_are_refused() {
    let mut scene = Scene::new().await;
    let mut link = scene.client.knock_as_impostor().await;
    assert_eq!(link.expect("failure").await.get("reason"), Some("401"));
    link.expect_end().await;

    scene.ada.unlink(1).unwrap();
    let mut link = scene.client.knock().await.unwrap();
    assert_eq!(link.expect("failure").await.get("reason"), Some("401"));
    assert!(matches!(
        scene.ada.unlink(1),
        Err(PhoneError::UnknownDevice)
    ));
    scene.finish().await;
}

#[tokio::test]
async fn a_code_of_nobody_is_refused() {
    let scene = Scene::new().await;
    let key = "A".repeat(43) + "=";
    let code = format!("2@x,{key},{key},{key}");
    let refused = scene.bob.scan(&code).await;
    assert!(matches!(
        refused,
        Err(PhoneError::Pair(PairError::UnknownRef))
    ));
    assert!(matches!(
        scene.bob.scan("no code").await,
        Err(PhoneError::Qr(_))
    ));
    scene.finish().await;
}

#[tokio::test]
async fn a_login_fails_as_told_and_then_succeeds() {
    let mut scene = Scene::new().await;
    let ban = FaultKind::Failure {
        reason: 402,
        code: Some(101),
        expire: Some(3600),
    };
    for kind in [FaultKind::failure(503), ban] {
        let fault = Fault::new(kind).for_account(ADA).times(1);
        scene.sim.inject(fault).unwrap();
    }
    let mut link = scene.client.knock().await.unwrap();
    assert_eq!(link.expect("failure").await.get("reason"), Some("503"));
    let mut link = scene.client.knock().await.unwrap();
    assert_eq!(link.expect("failure").await.get("expire"), Some("3600"));
    scene.client.connect().await;
    assert_eq!(scene.sim.oracle().counts.logins_refused, 2);
    scene.finish().await;
}

#[tokio::test]
async fn a_connection_stalls_where_told() {
    let mut scene = Scene::new().await;
    for stage in [Stage::Accept, Stage::Handshake, Stage::Login, Stage::Sync] {
        let fault = Fault::new(FaultKind::Stall { stage }).times(1);
        scene.sim.inject(fault).unwrap();
        let told = timeout(Duration::from_millis(300), async {
            match stage {
                Stage::Accept | Stage::Handshake => drop(scene.client.knock().await),
                Stage::Login => drop(scene.client.connect().await),
                Stage::Sync => drop(scene.client.connect_active().await),
            }
        });
        assert!(told.await.is_err(), "{stage:?} does not stall");
    }
    scene.client.connect_active().await;
    scene.finish().await;
}

#[tokio::test]
async fn a_connection_drops_where_told() {
    let mut scene = Scene::new().await;
    scene
        .sim
        .inject(Fault::new(FaultKind::RefuseTcp).times(1))
        .unwrap();
    assert!(scene.client.knock().await.is_err());
    let stage = Stage::Handshake;
    scene
        .sim
        .inject(Fault::new(FaultKind::Drop { stage }).times(1))
        .unwrap();
    assert!(scene.client.knock().await.is_err());

    for stage in [Stage::Login, Stage::Sync] {
        let drop = Fault::new(FaultKind::Drop { stage }).for_account(ADA);
        scene.sim.inject(drop.times(1)).unwrap();
        let mut link = scene.client.knock().await.unwrap();
        link.expect_end().await;
    }

    let (mut link, _) = scene.client.connect_active().await;
    let how = Disconnect::StreamError { code: 515 };
    assert_eq!(scene.sim.disconnect(ADA, None, how), 1);
    assert_eq!(link.expect("stream:error").await.get("code"), Some("515"));
    link.expect_end().await;
    scene.finish().await;
}

#[tokio::test]
async fn a_message_is_lost_or_not_as_told() {
    let (mut scene, link) = Scene::connected().await;
    drop(link);
    for (point, received) in [
        (MessagePoint::BeforeAccept, 0),
        (MessagePoint::BeforeAck, 1),
    ] {
        let (mut link, _) = scene.client.connect_active().await;
        let fault = Fault::new(FaultKind::DropOnMessage { point }).for_account(ADA);
        scene.sim.inject(fault.times(1)).unwrap();
        let text = scene
            .client
            .text(&mut link, BOB, &format!("{point:?}"), "x")
            .await;
        link.send(text).await;
        link.expect_end().await;
        scene.bob_received(received).await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn delayed_stanzas_keep_their_order() {
    let (mut scene, mut link) = Scene::connected().await;
    let delay = Fault::new(FaultKind::Delay { ms: 50 }).for_account(ADA);
    scene.sim.inject(delay.times(3)).unwrap();
    let ids: Vec<_> = (0..5)
        .map(|n| scene.bob.send_text(ADA, &n.to_string()).unwrap())
        .collect();
    for id in &ids {
        let message = link.expect("message").await;
        assert_eq!(id_of(&message), id);
        scene.client.read(&message);
    }
    scene.finish().await;
}

#[tokio::test]
async fn faults_can_double_break_and_silence() {
    let (mut scene, mut link) = Scene::connected().await;
    let once = |kind| Fault::new(kind).for_account(ADA).times(1);
    scene.sim.inject(once(FaultKind::Duplicate)).unwrap();
    let id = scene.bob.send_text(ADA, "twice").unwrap();
    for _ in 0..2 {
        assert_eq!(id_of(&link.expect("message").await), id);
    }

    scene.sim.inject(once(FaultKind::Corrupt)).unwrap();
    scene.bob.send_text(ADA, "broken").unwrap();
    let broken = link.expect("message").await;
    let enc = broken.find("enc").unwrap();
    let kind = enc.get("type").unwrap().parse().unwrap();
    let sender = broken.get("from").unwrap();
    assert!(
        scene
            .client
            .signal
            .decrypt(sender, kind, enc.data())
            .is_err()
    );

    scene.sim.inject(once(FaultKind::WithholdAcks)).unwrap();
    for id in ["M1", "M2"] {
        let text = scene.client.text(&mut link, BOB, id, "x").await;
        link.send(text).await;
    }
    while link.expect("ack").await.get("id") != Some("M2") {}
    scene.bob_received(2).await;
    scene.finish().await;
}

#[tokio::test]
async fn the_servers_clock_can_be_wrong() {
    let (scene, mut link) = Scene::connected().await;
    let stamp = |node: &Node| node.get("t").unwrap().parse::<i64>().unwrap();
    scene.bob.send_text(ADA, "now").unwrap();
    let now = stamp(&link.expect("message").await);
    let offset_seconds = -86_400;
    let id = scene
        .sim
        .inject(Fault::new(FaultKind::Clock { offset_seconds }))
        .unwrap();
    scene.bob.send_text(ADA, "yesterday").unwrap();
    assert!(stamp(&link.expect("message").await) < now - 80_000);
    assert!(scene.sim.clear_fault(id));
    scene.bob.send_text(ADA, "now again").unwrap();
    assert!(stamp(&link.expect("message").await) >= now);
    scene.finish().await;
}

#[tokio::test]
async fn an_echoing_phone_answers() {
    let (mut scene, mut link) = Scene::connected().await;
    scene.bob.set_echo(Some("echo: ".to_owned()));
    let text = scene.client.text(&mut link, BOB, "M1", "hi").await;
    link.send(text).await;
    let answer = link.expect("message").await;
    assert_eq!(scene.client.read(&answer), "echo: hi");
    let sent = scene.bob.ledger().sent;
    assert_eq!((&*sent[0].to, sent[0].id.as_str()), (ADA, id_of(&answer)));
    let has = scene
        .bob
        .with_ledger(|ledger| ledger.has_receipt("M1", &bobs_phone(), "read"));
    assert!(!has);
    scene.finish().await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_anyone() {
    let (mut scene, link) = Scene::connected().await;
    let stage = Stage::Login;
    scene
        .sim
        .inject(Fault::new(FaultKind::Stall { stage }))
        .unwrap();
    let stalled = scene.client.knock().await.unwrap();
    timeout(DEADLINE, scene.sim.shutdown()).await.unwrap();
    drop((link, stalled));
}

#[tokio::test]
async fn phones_write_in_groups_and_whoever_left_cannot_read() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let ada = sim.add_phone("15550001", "Ada").unwrap();
    let ben = sim.add_phone("15550002", "Ben").unwrap();
    let eve = sim.add_phone("15550003", "Eve").unwrap();
    let group = ada
        .create_group("Three", &["15550002", "15550003"])
        .unwrap();
    assert_eq!(ben.group_members(&group).unwrap().len(), 3);
    let got = async |phone: &Phone, text: &str| {
        let wanted = text.to_owned();
        sim.wait_ledger(phone, "a text of the group", DEADLINE, move |ledger| {
            ledger.received.iter().any(|one| one.text == wanted)
        })
        .await
        .unwrap();
    };
    ada.send_group_text(&group, "one").unwrap();
    ben.send_group_text(&group, "two").unwrap();
    for (phone, text) in [(&ben, "one"), (&eve, "one"), (&ada, "two"), (&eve, "two")] {
        got(phone, text).await;
    }
    assert!(
        ben.remove_from_group(&group, &["15550003"]).is_err(),
        "no admin"
    );
    eve.leave_group(&group).unwrap();
    assert!(eve.send_group_text(&group, "three").is_err(), "not in it");
    // Ada hears of it in her own time, and forgets her key.
    sim.wait("that she has heard", DEADLINE, || {
        !ada.has_group_key(&group)
    })
    .await
    .unwrap();
    ada.send_group_text(&group, "four").unwrap();
    got(&ben, "four").await;
    let heard = ada.overhear_group(&group);
    let last = heard.last().expect("it passed");
    assert!(eve.try_to_read(&group, last).is_err());
    assert_eq!(sim.oracle().violations, []);
    sim.shutdown().await;
}
