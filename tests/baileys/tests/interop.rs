//! Unmodified Baileys through the simulated server, both versions: pairing,
//! chats, receipts, what was kept while someone was away, and how connections
//! end. Each test ends by asking the oracle.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use baileys::{Event, Peer, PeerError, Status, Version};
use tempfile::TempDir;
use wa_sim::{
    Disconnect, Fault, FaultKind, Phone, Sim, SimConfig, phone::Ledger, server::DeviceId,
};

const DEADLINE: Duration = Duration::from_secs(30);

const ADA: &str = "15550000001";
const BEN: &str = "15550000002";

/// An account: its phone, and Baileys as its linked device.
struct Account {
    number: &'static str,
    phone: Phone,
    peer: Peer,
    folder: TempDir,
    version: Version,
}

impl Account {
    async fn pair(sim: &Sim, number: &'static str, version: Version) -> Self {
        let phone = sim.add_phone(number, "Somebody").unwrap();
        let folder = TempDir::new().unwrap();
        let mut peer = Peer::spawn(version, folder.path()).await.unwrap();
        let scan = async |code: String| {
            phone.scan(&code).await.unwrap();
        };
        let jid = peer.pair(&sim.url(), scan).await.unwrap();
        assert_eq!(jid, format!("{number}:1@s.whatsapp.net"));
        sim.wait_connected(number, DEADLINE).await.unwrap();
        Self {
            number,
            phone,
            peer,
            folder,
            version,
        }
    }

    /// Kills the process; another one takes over the login in its folder, and
    /// does not connect yet.
    async fn crash(&mut self) {
        self.peer = Peer::spawn(self.version, self.folder.path()).await.unwrap();
    }

    fn jid(&self) -> String {
        format!("{}@s.whatsapp.net", self.number)
    }
}

async fn sim() -> Sim {
    Sim::start(SimConfig::default()).await.unwrap()
}

fn assert_clean(sim: &Sim) {
    let report = sim.oracle();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
}

/// One text, and back to its sender that it was delivered and read.
async fn chat(from: &mut Account, to: &mut Account, text: &str) {
    let mark = to.peer.mark();
    let id = from.peer.send(&to.jid(), text).await.unwrap();
    assert_eq!(to.peer.received(mark, text).await.unwrap(), id);
    from.peer.reached(&id, Status::Delivered).await.unwrap();
    to.peer.read(&from.jid(), &[&id]).await.unwrap();
    from.peer.reached(&id, Status::Read).await.unwrap();
}

async fn two_accounts_chat(versions: [Version; 2]) {
    let sim = sim().await;
    let mut ada = Account::pair(&sim, ADA, versions[0]).await;
    let mut ben = Account::pair(&sim, BEN, versions[1]).await;
    for round in 0..3 {
        chat(&mut ada, &mut ben, &format!("to Ben, {round}")).await;
        chat(&mut ben, &mut ada, &format!("to Ada, {round}")).await;
    }
    assert_clean(&sim);
    sim.shutdown().await;
}

/// Linked by a code that is typed on the phone, and the link is as good as any.
async fn account_links_by_code(version: Version) {
    let sim = sim().await;
    let phone = sim.add_phone(ADA, "Somebody").unwrap();
    let folder = TempDir::new().unwrap();
    let mut peer = Peer::spawn(version, folder.path()).await.unwrap();
    let enter = async |code: String| {
        assert!(phone.enter_code("AAAA1111").await.is_err(), "another code");
        phone.enter_code(&code).await.unwrap();
    };
    let jid = peer.pair_by_code(&sim.url(), ADA, enter).await.unwrap();
    assert_eq!(jid, format!("{ADA}:1@s.whatsapp.net"));
    sim.wait_connected(ADA, DEADLINE).await.unwrap();
    let mut ada = Account {
        number: ADA,
        phone,
        peer,
        folder,
        version,
    };
    let mut ben = Account::pair(&sim, BEN, Version::Seven).await;
    chat(&mut ada, &mut ben, "linked by code").await;
    assert_clean(&sim);
    sim.shutdown().await;
}

#[tokio::test]
async fn baileys_7_links_by_code() {
    account_links_by_code(Version::Seven).await;
}

#[tokio::test]
async fn baileys_6_links_by_code() {
    account_links_by_code(Version::Six).await;
}

/// Three texts while the receiver is away, in their order when it is back.
async fn what_was_kept_arrives(version: Version, leave: Leave) {
    let sim = sim().await;
    let mut ada = Account::pair(&sim, ADA, Version::Seven).await;
    let mut ben = Account::pair(&sim, BEN, version).await;
    chat(&mut ada, &mut ben, "before").await;

    match leave {
        Leave::Politely => ben.peer.disconnect().await.unwrap(),
        Leave::ByCrash => ben.crash().await,
    }
    let texts = ["first", "second", "third"];
    let mut sent = Vec::new();
    for text in texts {
        sent.push(ada.peer.send(&ben.jid(), text).await.unwrap());
    }
    let mark = ben.peer.mark();
    ben.peer.login(&sim.url()).await.unwrap();
    ben.peer.received(mark, "third").await.unwrap();
    let kept: Vec<_> = ben
        .peer
        .events(mark)
        .into_iter()
        .filter_map(|event| {
            if let Event::Message {
                id,
                text,
                live,
                from_me: false,
                ..
            } = event
            {
                return Some((id, text, live));
            }
            None
        })
        .collect();
    let wanted: Vec<_> = std::iter::zip(sent, texts)
        .map(|(id, text)| (id, text.to_owned(), false))
        .collect();
    assert_eq!(kept, wanted);

    // The sessions have survived on both sides.
    chat(&mut ben, &mut ada, "after").await;
    chat(&mut ada, &mut ben, "and back").await;
    assert_clean(&sim);
    sim.shutdown().await;
}

enum Leave {
    Politely,
    ByCrash,
}

#[tokio::test]
async fn two_accounts_chat_and_see_each_others_receipts() {
    two_accounts_chat([Version::Seven, Version::Seven]).await;
}

#[tokio::test]
async fn old_and_new_baileys_chat() {
    two_accounts_chat([Version::Six, Version::Seven]).await;
}

#[tokio::test]
async fn what_was_sent_while_away_arrives_in_order() {
    what_was_kept_arrives(Version::Seven, Leave::Politely).await;
}

#[tokio::test]
async fn what_was_sent_while_old_baileys_was_away_arrives_in_order() {
    what_was_kept_arrives(Version::Six, Leave::Politely).await;
}

#[tokio::test]
async fn what_was_sent_after_a_crash_arrives_in_order() {
    what_was_kept_arrives(Version::Seven, Leave::ByCrash).await;
}

#[tokio::test]
async fn a_phone_chats_with_baileys() {
    let sim = sim().await;
    let phone = sim.add_phone(ADA, "Ada").unwrap();
    let mut ben = Account::pair(&sim, BEN, Version::Seven).await;
    let device = DeviceId {
        account: BEN.into(),
        device: 1,
    };

    let mark = ben.peer.mark();
    let id = phone.send_text(BEN, "from the phone").unwrap();
    assert_eq!(ben.peer.received(mark, "from the phone").await.unwrap(), id);
    ben.peer
        .read(&format!("{ADA}@s.whatsapp.net"), &[&id])
        .await
        .unwrap();
    for kind in ["delivered", "read"] {
        let seen = |ledger: &Ledger| ledger.has_receipt(&id, &device, kind);
        sim.wait_ledger(&phone, kind, DEADLINE, seen).await.unwrap();
    }

    let id = ben
        .peer
        .send(&format!("{ADA}@s.whatsapp.net"), "to the phone")
        .await
        .unwrap();
    let arrived = |ledger: &Ledger| {
        let mut received = ledger.received.iter();
        received.any(|message| message.id == id && message.text == "to the phone")
    };
    sim.wait_ledger(&phone, "a message", DEADLINE, arrived)
        .await
        .unwrap();
    phone.read(std::slice::from_ref(&id)).unwrap();
    ben.peer.reached(&id, Status::Read).await.unwrap();

    // The account's own phone has a copy of what its device sent.
    let copied = |ledger: &Ledger| ledger.copies.iter().any(|copy| copy.id == id);
    sim.wait_ledger(&ben.phone, "a copy", DEADLINE, copied)
        .await
        .unwrap();
    assert_clean(&sim);
    sim.shutdown().await;
}

#[tokio::test]
async fn connections_end_with_the_codes_that_baileys_knows() {
    let sim = sim().await;
    let mut ada = Account::pair(&sim, ADA, Version::Seven).await;
    for (how, code) in [
        (Disconnect::StreamError { code: 515 }, Some(515)),
        (Disconnect::StreamError { code: 503 }, Some(503)),
        (Disconnect::Replaced, Some(440)),
        (Disconnect::XmlStreamEnd, Some(428)),
        (Disconnect::Close, Some(428)),
        (Disconnect::DeviceRemoved, Some(401)),
    ] {
        let mark = ada.peer.mark();
        assert_eq!(sim.disconnect(ADA, None, how), 1);
        assert_eq!(ada.peer.closed(mark).await.unwrap(), code, "{how:?}");
        ada.peer.login(&sim.url()).await.unwrap();
    }
    assert_clean(&sim);
    sim.shutdown().await;
}

#[tokio::test]
async fn a_login_may_be_refused_for_a_while() {
    let sim = sim().await;
    let mut ada = Account::pair(&sim, ADA, Version::Seven).await;
    ada.peer.disconnect().await.unwrap();
    let failure = FaultKind::Failure {
        reason: 503,
        code: None,
        expire: None,
    };
    sim.inject(Fault::new(failure).for_account(ADA).times(1))
        .unwrap();
    let refused = ada.peer.login(&sim.url()).await;
    assert!(matches!(
        refused,
        Err(PeerError::Closed {
            code: Some(503),
            ..
        })
    ));
    ada.peer.login(&sim.url()).await.unwrap();
    sim.shutdown().await;
}

#[tokio::test]
async fn an_unlinked_device_is_logged_out_for_good() {
    let sim = sim().await;
    let mut ada = Account::pair(&sim, ADA, Version::Seven).await;
    let mark = ada.peer.mark();
    ada.phone.unlink(1).unwrap();
    assert_eq!(ada.peer.closed(mark).await.unwrap(), Some(401));
    let refused = ada.peer.login(&sim.url()).await;
    assert!(matches!(
        refused,
        Err(PeerError::Closed {
            code: Some(401),
            ..
        })
    ));
    assert_clean(&sim);
    sim.shutdown().await;
}

#[tokio::test]
async fn of_two_with_the_same_login_the_older_is_replaced() {
    let sim = sim().await;
    let ada = Account::pair(&sim, ADA, Version::Seven).await;
    let mark = ada.peer.mark();
    let mut twin = Peer::spawn(Version::Seven, ada.folder.path())
        .await
        .unwrap();
    twin.login(&sim.url()).await.unwrap();
    assert_eq!(ada.peer.closed(mark).await.unwrap(), Some(440));
    assert!(twin.state().await.unwrap().open);
    assert_clean(&sim);
    sim.shutdown().await;
}
