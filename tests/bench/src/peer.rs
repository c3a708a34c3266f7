//! The same kind of accounts on Baileys, in one Node process.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use baileys::{Load, LoadEvent};
use harness::scene::Scene;
use harness::wait::{self, Look};
use tempfile::TempDir;
use tokio::time::timeout;
use wa_sim::phone::Phone;

use crate::stage::ARRIVAL_LIMIT;

/// For the next thing to happen while accounts are linked.
const LINK_LIMIT: Duration = Duration::from_secs(60);

/// Accounts that are linked at the same time.
const LINKED_AT_ONCE: usize = 8;

/// See the module.
pub(crate) struct Peer {
    pub(crate) load: Load,
    /// Their phones.
    pub(crate) accounts: Vec<Phone>,
    _folder: TempDir,
}

impl Peer {
    /// Starts the process; it has no accounts yet.
    ///
    /// # Errors
    /// Node or Baileys is missing: the error says how to install it.
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self {
            load: Load::spawn(folder.path()).await?,
            accounts: Vec::new(),
            _folder: folder,
        })
    }

    /// Links accounts until there are so many.
    ///
    /// # Errors
    /// One is not linked.
    pub(crate) async fn link(&mut self, scene: &Scene, count: usize) -> Result<()> {
        println!("Linking {count} accounts of Baileys ...");
        let mut missing: Vec<Phone> = (self.accounts.len()..count)
            .map(|number| scene.account_phone(&format!("peer {number}")))
            .collect::<Result<_>>()?;
        self.accounts.extend(missing.iter().cloned());
        missing.reverse();
        let url = scene.sim().url();
        let mut scanned = BTreeSet::new();
        let mut linking: Vec<Phone> = Vec::new();
        while !(missing.is_empty() && linking.is_empty()) {
            while linking.len() < LINKED_AT_ONCE
                && let Some(phone) = missing.pop()
            {
                // It is Baileys that breaks its rules, if somebody does.
                scene.is_not_ours(phone.number());
                self.load.connect(phone.number(), &url).await?;
                linking.push(phone);
            }
            match self.event().await? {
                LoadEvent::Qr { account, code } if scanned.insert(account.clone()) => {
                    let phone = linking.iter().find(|phone| **phone.number() == *account);
                    let phone = phone.context("a code of an account that is being linked")?;
                    phone.scan(&code).await?;
                }
                LoadEvent::Open { account } => {
                    linking.retain(|phone| **phone.number() != *account);
                }
                LoadEvent::Closed { account, code } => bail!("{account} was closed: {code:?}"),
                LoadEvent::Qr { .. } | LoadEvent::Trouble(_) => {}
            }
        }
        Ok(())
    }

    async fn event(&self) -> Result<LoadEvent> {
        let mut events = self.load.events.lock().await;
        let next = timeout(LINK_LIMIT, events.recv()).await;
        next.context("nothing happens at Baileys")?
            .context("Baileys' process is gone")
    }

    /// Each contact writes to each account, so often, as fast as it can, and all
    /// of it is in the journal. Returns how many messages there were.
    ///
    /// # Errors
    /// The simulator refuses one, or one does not come in time.
    pub(crate) async fn phones_write(
        &self,
        scene: &Scene,
        contacts: &[Phone],
        each: usize,
    ) -> Result<usize> {
        let before = self.load.stored().await?;
        for number in 0..each {
            for contact in contacts {
                for account in &self.accounts {
                    contact.send_text(account.number(), &scene.text(&format!("in {number}")))?;
                }
            }
        }
        let count = each * contacts.len() * self.accounts.len();
        wait::until("Baileys has all of it", ARRIVAL_LIMIT, async || {
            let stored = (self.load.stored().await? - before) as usize;
            Ok(Look::some((stored >= count).then_some(()), stored))
        })
        .await?;
        Ok(count)
    }
}
