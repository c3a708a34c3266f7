//! Sessions of unmodified Baileys move in without a new QR code, are continued
//! by a worker, and move out again.
//!
//! Peers are a phone, another Baileys, and another worker's account; the oracle
//! sees every counter that is used, on both sides of the move.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use baileys::{Peer, Version};
use harness::api::Api;
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, Linked, Scene, play};
use harness::wait::{self, Look};
use harness::worker::Worker;
use wa_sim::phone::Phone;

/// Everybody who plays a part.
pub(crate) struct Cast {
    /// The session that moves.
    pub(crate) old: Peer,
    /// Its account, at the worker that it moves to.
    pub(crate) sales: Linked,
    /// A Baileys that stays.
    pub(crate) peer: Peer,
    pub(crate) peer_phone: Phone,
    /// A phone that writes by itself.
    pub(crate) contact: Phone,
    /// An account of the worker's.
    other: Linked,
    pub(crate) worker: Worker,
    /// All of them are in it.
    pub(crate) group: String,
}

pub(crate) fn jid(phone: &Phone) -> String {
    format!("{}@s.whatsapp.net", phone.number())
}

pub(crate) async fn pair(
    scene: &Scene,
    version: Version,
    phone: &Phone,
    folder: &Path,
) -> Result<Peer> {
    let mut peer = Peer::spawn(version, folder).await?;
    let scanning = phone.clone();
    peer.pair(&scene.sim().url(), async |code: String| {
        scanning
            .scan(&code)
            .await
            .expect("Baileys' own code is scanned");
    })
    .await?;
    Ok(peer)
}

impl Cast {
    /// Pairs everybody, and lets all of them write to one another.
    pub(crate) async fn gather(scene: &Scene, version: Version, folder: &Path) -> Result<Self> {
        let phone = scene.account_phone("Sales")?;
        let old = pair(scene, version, &phone, &folder.join("sales")).await?;
        let peer_phone = scene.account_phone("Peer")?;
        let peer = pair(scene, Version::Seven, &peer_phone, &folder.join("peer")).await?;
        let contact = scene.contact("Contact")?;
        let worker = scene.worker("alice")?.start().await?;
        let other = scene.link(worker.api(), "other").await?;
        let members: [&str; 3] = [phone.number(), peer_phone.number(), other.number()];
        let group = contact.create_group("Everybody", &members)?;
        let mut cast = Self {
            old,
            sales: Linked {
                id: "sales".to_owned(),
                phone,
            },
            peer,
            peer_phone,
            contact,
            other,
            worker,
            group,
        };
        cast.old_writes_to_all(scene).await?;
        cast.all_write_to_old(scene).await?;
        cast.old_writes_to_all(scene).await?;
        Ok(cast)
    }

    fn api(&self) -> &Api {
        self.worker.api()
    }

    /// The session, where it is still Baileys', writes to everybody.
    async fn old_writes_to_all(&mut self, scene: &Scene) -> Result<()> {
        let text = scene.text("from Baileys");
        let mark = self.peer.mark();
        self.old.send(&jid(&self.peer_phone), &text).await?;
        self.old.send(&jid(&self.contact), &text).await?;
        self.old.send(&jid(&self.other.phone), &text).await?;
        self.peer.received(mark, &text).await?;
        until_on_phone(&self.contact, &text).await?;
        scene::until_stored(self.api(), &self.other, &text, DELIVERY_LIMIT).await?;
        let text = scene.text("to the group from Baileys");
        let mark = self.peer.mark();
        self.old.send(&self.group, &text).await?;
        self.peer.received(mark, &text).await?;
        until_on_phone(&self.contact, &text).await?;
        scene::until_stored(self.api(), &self.other, &text, DELIVERY_LIMIT).await?;
        Ok(())
    }

    /// Everybody writes to the session, where it is still Baileys'.
    async fn all_write_to_old(&mut self, scene: &Scene) -> Result<()> {
        for text in self.write_to_sales(scene).await? {
            self.old.received(baileys::Mark::default(), &text).await?;
        }
        Ok(())
    }

    /// Everybody writes to the account, alone and in the group.
    pub(crate) async fn write_to_sales(&mut self, scene: &Scene) -> Result<Vec<String>> {
        let sales = jid(&self.sales.phone);
        let mut texts = Vec::new();
        let mut text = |label| {
            let text = scene.text(label);
            texts.push(text.clone());
            text
        };
        self.peer.send(&sales, &text("from the peer")).await?;
        self.peer
            .send(&self.group, &text("peer to the group"))
            .await?;
        let contact = text("from the contact");
        self.contact.send_text(self.sales.number(), &contact)?;
        let contact = text("contact to the group");
        self.contact.send_group_text(&self.group, &contact)?;
        let api = self.worker.api();
        api.send_text(&self.other.id, self.sales.number(), &text("from the other"))
            .await?;
        api.send_text(&self.other.id, &self.group, &text("other to the group"))
            .await?;
        Ok(texts)
    }

    /// The account, once it is the worker's, writes to everybody.
    pub(crate) async fn sales_writes_to_all(&self, scene: &Scene) -> Result<()> {
        let api = self.api();
        let text = scene.text("from the worker");
        let mark = self.peer.mark();
        for to in [&self.peer_phone, &self.contact, &self.other.phone] {
            api.send_text(&self.sales.id, to.number(), &text).await?;
        }
        self.peer.received(mark, &text).await?;
        until_on_phone(&self.contact, &text).await?;
        scene::until_stored(api, &self.other, &text, DELIVERY_LIMIT).await?;
        let text = scene.text("to the group from the worker");
        let mark = self.peer.mark();
        api.send_text(&self.sales.id, &self.group, &text).await?;
        self.peer.received(mark, &text).await?;
        until_on_phone(&self.contact, &text).await?;
        scene::until_stored(api, &self.other, &text, DELIVERY_LIMIT).await?;
        Ok(())
    }

    /// What was written is stored, every text of it.
    pub(crate) async fn until_stored(&self, texts: &[String]) -> Result<()> {
        for text in texts {
            scene::until_stored(self.api(), &self.sales, text, DELIVERY_LIMIT)
                .await
                .with_context(|| text.clone())?;
        }
        Ok(())
    }

    /// Runs `worker import-baileys` on a folder.
    pub(crate) async fn import(&self, folder: &Path, more: &[&str]) -> Result<(bool, String)> {
        let folder = folder.to_string_lossy();
        let mut arguments = vec!["import-baileys", &folder, "--account", &self.sales.id];
        arguments.extend(more);
        self.worker.setup().command(&arguments).await
    }

    /// The account connects with the session that it was given.
    pub(crate) async fn until_continued(&self, scene: &Scene) -> Result<()> {
        scene::until_connected(scene, self.api(), &self.sales, LINK_LIMIT).await?;
        Ok(())
    }
}

/// Waits until a phone has got a text.
async fn until_on_phone(phone: &Phone, text: &str) -> Result<()> {
    wait::until("a text is on the phone", DELIVERY_LIMIT, async || {
        let (seen, all) = phone.with_ledger(|ledger| {
            let seen = ledger.received.iter().any(|found| found.text == text);
            (seen, ledger.received.len())
        });
        Ok(Look::some(seen.then_some(()), format!("{all} texts")))
    })
    .await
}

/// Copies a folder as somebody does who makes a copy of a session.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A session moves in, after the old program was stopped.
async fn moves_in(version: Version) -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let mut cast = Cast::gather(scene, version, folder.path()).await?;
        let scans = scene.sim().oracle().counts.qr_scans;
        cast.old.disconnect().await?;
        // Written while nobody is connected.
        let waiting = cast.write_to_sales(scene).await?;

        let sales = folder.path().join("sales");
        let (ok, report) = cast.import(&sales, &[]).await?;
        ensure!(ok && report.contains("Nothing was written"), "{report}");
        ensure!(report.contains("1 checked only"), "{report}");
        let (ok, report) = cast.import(&sales, &["--write"]).await?;
        ensure!(ok && report.contains("1 imported"), "{report}");
        for what in ["credentials", "prekeys", "sessions", "sender keys"] {
            ensure!(report.contains(what), "{what}: {report}");
        }

        let mut retries = scene.sim().oracle().counts.retry_receipts;
        cast.until_continued(scene).await?;
        cast.until_stored(&waiting).await?;
        cast.sales_writes_to_all(scene).await?;
        if version == Version::Six {
            // Its files do not say who is a LID: each conversation may have to be
            // asked once, and not again.
            let texts = cast.write_to_sales(scene).await?;
            cast.until_stored(&texts).await?;
            cast.sales_writes_to_all(scene).await?;
            retries = scene.sim().oracle().counts.retry_receipts;
        }
        let texts = cast.write_to_sales(scene).await?;
        cast.until_stored(&texts).await?;
        cast.sales_writes_to_all(scene).await?;
        let counts = scene.sim().oracle().counts;
        assert_eq!(counts.qr_scans, scans, "no new QR code");
        let retried = counts.retry_receipts - retries;
        ensure!(retried == 0, "{retried} messages were asked for again");

        // Twice is once.
        let (ok, report) = cast.import(&sales, &["--write"]).await?;
        ensure!(ok && report.contains("1 there already"), "{report}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_baileys_7_moves_in() -> Result<()> {
    moves_in(Version::Seven).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_baileys_6_moves_in() -> Result<()> {
    moves_in(Version::Six).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_out_again_and_baileys_goes_on() -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let mut cast = Cast::gather(scene, Version::Seven, folder.path()).await?;
        let scans = scene.sim().oracle().counts.qr_scans;
        cast.old.disconnect().await?;
        let sales = folder.path().join("sales");
        let (ok, report) = cast.import(&sales, &["--write"]).await?;
        ensure!(ok, "{report}");
        cast.until_continued(scene).await?;
        let texts = cast.write_to_sales(scene).await?;
        cast.until_stored(&texts).await?;
        cast.sales_writes_to_all(scene).await?;

        // A worker that runs it keeps it.
        let out = folder.path().join("out");
        let target = out.to_string_lossy().into_owned();
        let command = ["export-baileys", &cast.sales.id, &target];
        let (ok, report) = cast.worker.setup().command(&command).await?;
        ensure!(!ok && report.contains("stop it first"), "{report}");
        ensure!(!out.exists(), "nothing is written then");

        cast.api().act(&cast.sales.id, "stop").await?;
        cast.api()
            .until_status(&cast.sales.id, &["stopped"], LINK_LIMIT)
            .await?;
        let (ok, report) = wait::until("the lease is given back", LINK_LIMIT, async || {
            let ran = cast.worker.setup().command(&command).await?;
            Ok(Look::some(ran.0.then(|| ran.clone()), ran.1))
        })
        .await?;
        ensure!(ok, "{report}");
        let account = cast.api().account(&cast.sales.id).await?;
        assert_eq!(account.status, "needs_import", "it is not the worker's now");

        cast.old = Peer::spawn(Version::Seven, &out).await?;
        cast.old.login(&scene.sim().url()).await?;
        cast.old_writes_to_all(scene).await?;
        cast.all_write_to_old(scene).await?;
        assert_eq!(scene.sim().oracle().counts.qr_scans, scans);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_uses_no_counter_twice_and_peers_recover() -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let mut cast = Cast::gather(scene, Version::Seven, folder.path()).await?;
        let stale = folder.path().join("stale");
        cast.old.disconnect().await?;
        copy(&folder.path().join("sales"), &stale)?;

        // The session goes on, and the copy does not know.
        cast.old.login(&scene.sim().url()).await?;
        for _ in 0..3 {
            cast.old_writes_to_all(scene).await?;
            cast.all_write_to_old(scene).await?;
        }
        cast.old_writes_to_all(scene).await?;
        cast.old.disconnect().await?;

        let (ok, report) = cast.import(&stale, &["--write"]).await?;
        ensure!(ok, "{report}");
        cast.until_continued(scene).await?;
        let texts = cast.write_to_sales(scene).await?;
        cast.until_stored(&texts).await?;
        cast.sales_writes_to_all(scene).await?;
        let texts = cast.write_to_sales(scene).await?;
        cast.until_stored(&texts).await?;
        let reused = scene.violation_kinds()?;
        ensure!(!reused.contains_key("counter_reused"), "{reused:?}");
        Ok(())
    })
    .await
}
