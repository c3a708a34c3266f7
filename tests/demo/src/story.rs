//! What the demo plays: three accounts, three phones, one restart.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use harness::api::Api;
use harness::ledger::Counts;
use harness::scene::{self, LINK_LIMIT, Linked, Scene};
use harness::wait::{self, Look};
use harness::worker::{Worker, WorkerSetup};
use wa_sim::phone::Phone;

const ACCOUNTS: [&str; 3] = ["sales", "support", "news"];
const CONTACTS: [&str; 3] = ["Ada", "Bayo", "Chen"];
/// Between two messages of one conversation: people are not faster.
const WRITING: Duration = Duration::from_millis(250);
/// For a worker to restart, as a client sees it.
const ACCEPT_LIMIT: Duration = Duration::from_secs(60);
/// For everything to have arrived after the last message was written.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// What is there at the end.
pub(crate) struct Story {
    pub(crate) worker: Worker,
    pub(crate) accounts: Vec<Linked>,
    pub(crate) contacts: Vec<Phone>,
    pub(crate) counts: Counts,
}

/// Plays everything, with a line for each step.
///
/// # Errors
/// A step that could not be done. Messages that went astray are no error here
/// but counts.
pub(crate) async fn play(scene: &Scene, binary: PathBuf, messages: u32) -> Result<Story> {
    println!(
        "\nSimulated WhatsApp   {}   in this process, {}",
        scene.sim().url(),
        std::process::id()
    );
    let setup = WorkerSetup::new(binary, "demo", scene.folder(), &scene.sim().url());
    scene.watch(&setup);
    let worker = setup.start().await?;
    println!(
        "Worker               {}   process {}",
        worker.api().base(),
        worker.id()
    );
    println!("  program            {}", setup.binary.display());
    println!("  data               {}", setup.data_folder().display());

    println!("\nLinking {} accounts by QR code", ACCOUNTS.len());
    let mut accounts = Vec::new();
    for name in ACCOUNTS {
        let account = scene.link(worker.api(), name).await?;
        println!(
            "  {name:<8} scanned by the phone {}, connected",
            account.number()
        );
        accounts.push(account);
    }
    let contacts = CONTACTS
        .iter()
        .map(|name| scene.contact(name))
        .collect::<Result<Vec<Phone>>>()?;

    let conversations = accounts.len() * contacts.len();
    let total = 2 * conversations * messages as usize;
    println!("\nChatting: {conversations} conversations, {total} messages");
    let written = AtomicUsize::new(0);
    let chat = chat(
        scene,
        worker.api().clone(),
        &accounts,
        &contacts,
        messages,
        &written,
    );
    let restart = restart(scene, worker, &accounts, &written, total);
    let worker = tokio::select! {
        done = async { tokio::try_join!(chat, restart) } => done?.1,
        never = show_progress(&written, total) => match never {},
    };

    println!("\nWaiting until everything has arrived");
    let counts = scene.settled(worker.api(), SETTLE_LIMIT).await?;
    Ok(Story {
        worker,
        accounts,
        contacts,
        counts,
    })
}

/// Every phone and every account write to each other, all at once, each
/// conversation in order.
async fn chat(
    scene: &Scene,
    api: Api,
    accounts: &[Linked],
    contacts: &[Phone],
    messages: u32,
    written: &AtomicUsize,
) -> Result<()> {
    let conversations = accounts
        .iter()
        .flat_map(|account| contacts.iter().map(move |contact| (account, contact)))
        .map(|(account, contact)| converse(scene, &api, account, contact, messages, written));
    try_join_all(conversations).await.map(drop)
}

/// One conversation. The phone writes whether the worker is there or not; the
/// account's client asks again, under the same key, while no worker answers.
async fn converse(
    scene: &Scene,
    api: &Api,
    account: &Linked,
    contact: &Phone,
    messages: u32,
    written: &AtomicUsize,
) -> Result<()> {
    let phone = async {
        let mut pace = tokio::time::interval(WRITING);
        for number in 0..messages {
            pace.tick().await;
            scene.write(contact, account, &format!("question {number}"))?;
            written.fetch_add(1, Ordering::Relaxed);
        }
        anyhow::Ok(())
    };
    let client = async {
        let mut pace = tokio::time::interval(WRITING);
        for number in 0..messages {
            pace.tick().await;
            let text = scene.text(&format!("answer {number}"));
            let (id, to) = (&account.id, contact.number());
            let key = format!("{to}-{number}");
            api.send_text_until_accepted(id, to, &text, &key, ACCEPT_LIMIT)
                .await?;
            scene.note_accepted(id, contact, &text);
            written.fetch_add(1, Ordering::Relaxed);
        }
        anyhow::Ok(())
    };
    tokio::try_join!(phone, client).map(drop)
}

/// Ends the worker with SIGTERM when a third of the messages are written, and
/// starts it again while phones and clients go on.
async fn restart(
    scene: &Scene,
    worker: Worker,
    accounts: &[Linked],
    written: &AtomicUsize,
    total: usize,
) -> Result<Worker> {
    wait::until(
        "a third of the messages are written",
        LINK_LIMIT,
        async || {
            let now = written.load(Ordering::Relaxed);
            Ok(Look::some((now >= total / 3).then_some(()), now))
        },
    )
    .await?;
    scene.mark_restart();
    println!(
        "  restart: SIGTERM to process {}; the phones go on writing",
        worker.id()
    );
    let worker = worker.terminate().await?.start().await?;
    println!("  restart: the worker is back as process {}", worker.id());
    for account in accounts {
        scene::until_connected(scene, worker.api(), account, LINK_LIMIT).await?;
    }
    println!("  restart: all accounts are connected again, no code was scanned");
    Ok(worker)
}

/// A line whenever another tenth of the messages is written.
async fn show_progress(written: &AtomicUsize, total: usize) -> Infallible {
    let mut pace = tokio::time::interval(WRITING);
    let mut shown = 0;
    loop {
        pace.tick().await;
        let now = written.load(Ordering::Relaxed);
        if now * 10 / total > shown {
            shown = now * 10 / total;
            println!("  {now:>4} of {total} written");
        }
    }
}

/// Says what can be tried by hand while everything is left running.
pub(crate) fn explain(scene: &Scene, story: &Story) {
    let base = story.worker.api().base();
    let (account, contact) = (&story.accounts[0], &story.contacts[0]);
    println!("Everything is left running. To try by hand:");
    println!("  the worker's page      {base}/");
    println!("  its health             curl {base}/health");
    println!("  its accounts           curl {base}/v1/accounts");
    println!(
        "  send as {:<14} curl {base}/v1/accounts/{}/messages \\",
        ACCOUNTS[0], account.id
    );
    println!("                           -H 'Content-Type: application/json' \\");
    println!(
        "                           -d '{{\"to\":\"{}\",\"text\":\"hello\"}}'",
        contact.number()
    );
    println!(
        "  its conversations      curl {base}/v1/accounts/{}/threads",
        account.id
    );
    println!(
        "  the simulated WhatsApp {}   (phones, faults, oracle)",
        scene.sim().admin_url()
    );
    println!("  logs and data          {}", scene.folder().display());
    println!("Ctrl-C ends it and removes the folder.");
}
