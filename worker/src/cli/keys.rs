//! `worker keys`: the key ring: made, shown, rotated. Never shows a secret.
//!
//! A rotation is a new ring, and every data key wrapped for it: of accounts and of
//! webhooks. Owners do that for their own accounts once they have seen the ring;
//! the command for those that nobody owns, and for webhooks. Interrupted anywhere,
//! the same command goes on.

mod settle;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use coordinator_lib::clock::{Clock, SystemClock};
use coordinator_lib::rng::SystemRng;
use session::{KeyRing, KeyState, RingChangeError};

use self::settle::{needing, settle};
use super::operate::{self, Tool};
use crate::app::{data_dir, key_ring};
use crate::config::StoreConfig;
use crate::config::duration::parse_duration;
use crate::exit::{self, Failure};

/// `worker keys …`
#[derive(Debug, Args)]
pub(super) struct KeysCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key ring where there is none
    Generate(StoreConfig),
    /// Show the ring's keys: fingerprint, state, public half
    Show(StoreConfig),
    /// Encrypt the ring's file with the key of --key-ring-kms; again, with that key's newest version
    Seal(StoreConfig),
    /// Replace the active key while the cluster runs; again, it goes on where it was
    Rotate {
        /// Stop once the new key is in the ring: for rings that are copied to other machines. Copy
        /// it there, and run this again without --add-only
        #[arg(long)]
        add_only: bool,
        #[command(flatten)]
        how: Settle,
    },
    /// Use an older key no more: every session is wrapped without it
    Retire {
        /// The key's fingerprint
        fingerprint: String,
        #[command(flatten)]
        how: Settle,
    },
    /// Take a retired key or a recipient out of the ring
    Remove {
        /// The key's fingerprint
        fingerprint: String,
        #[command(flatten)]
        how: Settle,
    },
    /// Wrap every session for a further key too, whose secret lies in a safe
    AddRecipient {
        /// Its public half, as `worker keys show` prints it where the secret is
        public: String,
        #[command(flatten)]
        how: Settle,
    },
}

/// How sessions are wrapped anew.
#[derive(Debug, Args)]
struct Settle {
    /// Wait so long for the workers that own accounts
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    wait: Duration,
    #[command(flatten)]
    store: StoreConfig,
}

impl KeysCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        match self.action {
            Action::Generate(store) => generate(&store),
            Action::Show(store) => {
                let ring = key_ring::load(&store)?;
                show(&ring);
                Ok(ExitCode::SUCCESS)
            }
            Action::Seal(store) => seal(&store),
            Action::Rotate { add_only, how } => operate::block_on(rotate(&how, add_only)),
            Action::Retire { fingerprint, how } => {
                operate::block_on(change(&how, |ring| ring.with_retired(&fingerprint)))
            }
            Action::Remove { fingerprint, how } => operate::block_on(remove(&how, &fingerprint)),
            Action::AddRecipient { public, how } => {
                operate::block_on(change(&how, |ring| ring.with_recipient(&public)))
            }
        }
    }
}

fn generate(store: &StoreConfig) -> Result<ExitCode, Failure> {
    let path = store.key_ring_path();
    if store.key_ring_json.is_some() || path.exists() {
        return Err(Failure::new(
            exit::CONFIG,
            format!(
                "there is a key ring already ({}): a new one could not open the sessions of the \
                 old, so nothing was changed; `worker keys rotate` replaces its key",
                key_ring::place(store)
            ),
        ));
    }
    data_dir::prepare(&store.data_dir)?;
    let ring = key_ring::load_or_generate_file(store, &SystemRng)?;
    println!(
        "made {}; keep a copy, without it no session can be opened",
        path.display()
    );
    show(&ring);
    Ok(ExitCode::SUCCESS)
}

fn seal(store: &StoreConfig) -> Result<ExitCode, Failure> {
    let refused = |message: &str| Err(Failure::new(exit::CONFIG, message));
    let Some(key) = &store.key_ring_kms else {
        return refused("name the key that is to encrypt the ring with --key-ring-kms");
    };
    if store.key_ring_json.is_some() {
        return refused(
            "a ring in LEASEHOLD_KEY_RING_JSON cannot be changed from here: encrypt a copy in a \
             file (--key-ring), and put that file's text there",
        );
    }
    let ring = key_ring::seal(store)?;
    println!(
        "{} is encrypted by {key}, and opens with --key-ring-kms only; copies that were made \
         before are in clear",
        key_ring::place(store)
    );
    show(&ring);
    Ok(ExitCode::SUCCESS)
}

fn show(ring: &KeyRing) {
    for key in ring.views() {
        println!(
            "{}  {:<9}  {}",
            key.fingerprint,
            key.state.as_str(),
            key.public
        );
    }
}

async fn rotate(how: &Settle, add_only: bool) -> Result<ExitCode, Failure> {
    let provider = key_ring::provider(&how.store)?;
    let mut ring = provider.load().map_err(key_ring::provider_failure)?;
    if older_keys(&ring).is_empty() {
        ring = ring.with_new_key(&SystemRng).map_err(refused)?;
        provider.store(&ring).map_err(key_ring::provider_failure)?;
        println!("new key {}: keep a copy of the ring", ring.active());
    } else {
        println!("going on with the rotation to {}", ring.active());
    }
    if add_only {
        return Ok(ExitCode::SUCCESS);
    }
    let tool = Tool::open_with(&how.store, "keys", ring.clone()).await?;
    let done = async {
        settle(&tool, &ring, how.wait).await?;
        // Owners have shown that they have the new key; give those without an
        // account the time to, before webhooks open with nothing else.
        SystemClock.sleep(key_ring::RELOAD_INTERVAL * 2).await;
        // Everybody has it now: the old one is of no more use.
        let older = older_keys(&ring);
        for fingerprint in &older {
            ring = ring.with_retired(fingerprint).map_err(refused)?;
        }
        provider.store(&ring).map_err(key_ring::provider_failure)?;
        tool.operator.parts().keys.replace(&ring);
        settle(&tool, &ring, how.wait).await?;
        Ok(older)
    };
    let done: Result<Vec<String>, Failure> = done.await;
    tool.close().await;
    for fingerprint in done? {
        println!(
            "{fingerprint} is retired and opens no session any more: `worker keys remove \
             {fingerprint}` takes it out of the ring"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Changes the ring, and has every session wrapped for it.
async fn change(
    how: &Settle,
    apply: impl FnOnce(&KeyRing) -> Result<KeyRing, RingChangeError>,
) -> Result<ExitCode, Failure> {
    let provider = key_ring::provider(&how.store)?;
    let ring = provider.load().map_err(key_ring::provider_failure)?;
    let ring = apply(&ring).map_err(refused)?;
    provider.store(&ring).map_err(key_ring::provider_failure)?;
    let tool = Tool::open_with(&how.store, "keys", ring.clone()).await?;
    let done = settle(&tool, &ring, how.wait).await;
    tool.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

/// Takes a key out, once nothing in the store needs it.
async fn remove(how: &Settle, fingerprint: &str) -> Result<ExitCode, Failure> {
    let provider = key_ring::provider(&how.store)?;
    let ring = provider.load().map_err(key_ring::provider_failure)?;
    let without = ring.without(fingerprint).map_err(refused)?;
    let is_recipient = ring
        .views()
        .iter()
        .any(|key| key.fingerprint.as_str() == fingerprint && key.state == KeyState::Recipient);
    let tool = Tool::open_with(&how.store, "keys", ring.clone()).await?;
    let done = async {
        if !is_recipient {
            // Under the old ring, which still opens what is left of it.
            settle(&tool, &ring, how.wait).await?;
            if let Some(uses) = needing(&tool, fingerprint).await? {
                return Err(Failure::new(
                    exit::DATA,
                    format!(
                        "{fingerprint} stays in the ring: what is wrapped for it cannot be \
                         wrapped anew ({uses}). Give such a webhook a new secret or delete it; \
                         restore such an account (`worker restore`) or purge it"
                    ),
                ));
            }
        }
        provider
            .store(&without)
            .map_err(key_ring::provider_failure)?;
        tool.operator.parts().keys.replace(&without);
        settle(&tool, &without, how.wait).await
    };
    let done: Result<(), Failure> = done.await;
    tool.close().await;
    done?;
    println!(
        "{fingerprint} is out of the ring; backups that were made for it open with a copy of it \
         only"
    );
    Ok(ExitCode::SUCCESS)
}

/// Keys that data keys are wrapped for beside the active one.
fn older_keys(ring: &KeyRing) -> Vec<String> {
    ring.views()
        .into_iter()
        .filter(|key| key.state == KeyState::Valid)
        .map(|key| key.fingerprint.to_string())
        .collect()
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: RingChangeError) -> Failure {
    Failure::new(exit::CONFIG, error)
}
