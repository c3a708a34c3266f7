//! An account comes back from a backup: beside traffic that the backup does not
//! know, and into an empty store. No QR code, no counter used twice.

use anyhow::{Result, ensure};
use harness::api::Api;
use harness::scene::{
    DELIVERY_LIMIT, LINK_LIMIT, Linked, Scene, play, until_connected, until_stored,
};
use harness::wait::{self, Look};
use harness::worker::WorkerSetup;
use wa_sim::phone::Phone;

/// Both write to each other, alone and in a group.
async fn talk(scene: &Scene, api: &Api, account: &Linked, with: &Phone, group: &str) -> Result<()> {
    for label in ["one", "two", "three"] {
        let sent = scene.send(api, account, with, label).await?;
        until_arrived(with, &sent.text).await?;
        let text = scene.text(label);
        api.send_text(&account.id, group, &text).await?;
        until_arrived(with, &text).await?;
    }
    let sent = scene.write(with, account, "back")?;
    until_stored(api, account, &sent.text, DELIVERY_LIMIT).await?;
    let text = scene.text("back to the group");
    with.send_group_text(group, &text)?;
    until_stored(api, account, &text, DELIVERY_LIMIT).await?;
    Ok(())
}

async fn until_arrived(phone: &Phone, text: &str) -> Result<()> {
    wait::until(
        "a message arrives at the phone",
        DELIVERY_LIMIT,
        async || {
            let received = phone.ledger().received;
            let has = received.iter().any(|received| received.text == text);
            Ok(Look::some(has.then_some(()), received.len()))
        },
    )
    .await
}

/// Nothing is lost or comes twice. That the clients' ledger does not know what is
/// written to groups is no fault.
pub(crate) async fn until_settled(scene: &Scene, api: &Api) -> Result<()> {
    let counts = scene.settled(api, DELIVERY_LIMIT).await?;
    let faults = (counts.lost, counts.duplicated, counts.violations);
    ensure!(faults == (0, 0, 0), "{counts:?}");
    Ok(())
}

async fn stop(api: &Api, account: &Linked) -> Result<()> {
    api.act(&account.id, "stop").await?;
    wait::until("the account is let go", LINK_LIMIT, async || {
        let account = api.account(&account.id).await?;
        let is_free = account.owner.is_none() && account.status == "stopped";
        Ok(Look::some(is_free.then_some(()), account.status))
    })
    .await
}

async fn command(setup: &WorkerSetup, arguments: &[&str]) -> Result<String> {
    let (ok, said) = setup.command(arguments).await?;
    ensure!(ok, "{said}");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_session_comes_back_and_no_counter_is_used_twice() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let setup = worker.setup();
        let account = scene.link(api, "sales").await?;
        let contact = scene.contact("Contact")?;
        let group = contact.create_group("Both", &[account.number()])?;
        talk(scene, api, &account, &contact, &group).await?;
        let scans = scene.sim().oracle().counts.qr_scans;

        // While it runs.
        let file = scene.folder().join("accounts.backup").display().to_string();
        command(setup, &["backup", &account.id, "--to", &file]).await?;
        talk(scene, api, &account, &contact, &group).await?;

        // Beside its owner nothing is restored; nor over what went on, unasked.
        let (ok, said) = setup.command(&["restore", &file]).await?;
        ensure!(!ok && said.contains("stop it first"), "{said}");
        stop(api, &account).await?;
        let (ok, said) = setup.command(&["restore", &file]).await?;
        ensure!(!ok && said.contains("--force-stale"), "{said}");
        let said = command(setup, &["restore", &file, "--dry-run"]).await?;
        ensure!(
            said.contains(&account.id) && said.contains("Nothing was written"),
            "{said}"
        );

        let said = command(setup, &["restore", &file, "--force-stale", "--start"]).await?;
        ensure!(said.contains("must not run anywhere else"), "{said}");
        until_connected(scene, api, &account, LINK_LIMIT).await?;
        talk(scene, api, &account, &contact, &group).await?;
        until_settled(scene, api).await?;
        assert_eq!(
            scene.sim().oracle().counts.qr_scans,
            scans,
            "no new QR code"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_comes_back_into_an_empty_store() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let account = scene.link(worker.api(), "sales").await?;
        let contact = scene.contact("Contact")?;
        let group = contact.create_group("Both", &[account.number()])?;
        talk(scene, worker.api(), &account, &contact, &group).await?;
        let before = worker.api().all_messages(&account.id).await?.len();
        let file = scene.folder().join("accounts.backup").display().to_string();
        command(worker.setup(), &["backup", "--all", "--to", &file]).await?;
        let scans = scene.sim().oracle().counts.qr_scans;

        // The machine is gone, and what is left is the key ring and the file.
        let setup = worker.kill().await?;
        let data = setup.data_folder();
        let ring = std::fs::read(data.join("keyring.json"))?;
        std::fs::remove_dir_all(&data)?;
        std::fs::create_dir(&data)?;
        std::fs::write(data.join("keyring.json"), ring)?;
        private(&data)?;
        let said = command(&setup, &["restore", &file, "--start"]).await?;
        ensure!(said.contains("made, with the backup's session"), "{said}");

        let worker = setup.start().await?;
        let api = worker.api();
        until_connected(scene, api, &account, LINK_LIMIT).await?;
        let after = api.all_messages(&account.id).await?.len();
        ensure!(after >= before, "{after} of {before} messages");
        talk(scene, api, &account, &contact, &group).await?;
        assert_eq!(
            scene.sim().oracle().counts.qr_scans,
            scans,
            "no new QR code"
        );
        Ok(())
    })
    .await
}

/// As the program makes them.
fn private(data: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    for (path, mode) in [(data.to_owned(), 0o700), (data.join("keyring.json"), 0o600)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}
