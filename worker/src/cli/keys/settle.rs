//! Has everything wrapped for a changed ring: accounts that nobody owns and
//! webhooks by the command itself, the others by their owners.

use std::collections::BTreeSet;
use std::time::Duration;

use coordinator_lib::clock::{Clock, SystemClock};
use coordinator_lib::identity::AccountId;
use session::KeyRing;

use crate::app::key_ring::uses::{self, Holder, KeyUse};
use crate::cli::operate::Tool;
use crate::config::duration::format_duration;
use crate::exit::{self, Failure};
use crate::operator::OperatorError;
use crate::webhooks::rewrap::{WebhookRewrap, rewrap};

/// How often it is looked whether the owners have done their part.
const POLL: Duration = Duration::from_secs(1);

/// What the command has wrapped itself.
#[derive(Default)]
struct Wrapped {
    accounts: usize,
    webhooks: usize,
}

/// What became of one.
enum Step {
    /// Wrapped anew, or it needs no more.
    Done,
    /// Its owner will.
    Owned,
    /// Nobody can, or needs to.
    PassedOver,
}

/// Wraps what is due, and waits for the owners of what is theirs.
///
/// # Errors
/// [`exit::UNFINISHED`] if an owner has not done its part in `wait`;
/// [`exit::DATA`] with the account whose session does not open; the store's.
pub(super) async fn settle(tool: &Tool, ring: &KeyRing, wait: Duration) -> Result<(), Failure> {
    let deadline = SystemClock.boottime() + wait;
    let mut wrapped = Wrapped::default();
    let mut passed_over: BTreeSet<(Holder, String)> = BTreeSet::new();
    loop {
        let mut due = read(tool).await?;
        due.retain(|one| one.is_due(ring) && !passed_over.contains(&(one.holder, one.id.clone())));
        if due.is_empty() {
            println!(
                "every session and webhook is wrapped for the ring ({} account(s) and {} \
                 webhook(s) by this command)",
                wrapped.accounts, wrapped.webhooks
            );
            return Ok(());
        }
        let count = |holder| due.iter().filter(|one| one.holder == holder).count();
        let (accounts, webhooks) = (count(Holder::Account), count(Holder::Webhook));
        let mut owned = Vec::new();
        for one in due {
            let step = match one.holder {
                Holder::Account => account(tool, &one.id, &mut wrapped).await?,
                Holder::Webhook => webhook(tool, ring, &one.id, &mut wrapped).await?,
            };
            match step {
                Step::Done => {}
                Step::Owned => owned.push(one),
                Step::PassedOver => {
                    passed_over.insert((one.holder, one.id));
                }
            }
        }
        println!(
            "{accounts} account(s), {} of them with a worker, and {webhooks} webhook(s) to go",
            owned.len()
        );
        if !owned.is_empty() && SystemClock.boottime() >= deadline {
            return Err(Failure::new(
                exit::UNFINISHED,
                format!(
                    "not wrapped for the ring after {}: {}. Do all workers have it? Run this \
                     again; it goes on where it was",
                    format_duration(wait),
                    uses::describe(owned.iter())
                ),
            ));
        }
        if !owned.is_empty() {
            SystemClock.sleep(POLL).await;
        }
    }
}

/// What still needs a key, for people; none if nothing does.
///
/// # Errors
/// The store's.
pub(super) async fn needing(tool: &Tool, fingerprint: &str) -> Result<Option<String>, Failure> {
    let uses = read(tool).await?;
    let needing: Vec<&KeyUse> = uses.iter().filter(|one| one.needs(fingerprint)).collect();
    Ok((!needing.is_empty()).then(|| uses::describe(needing.iter().copied())))
}

async fn read(tool: &Tool) -> Result<Vec<KeyUse>, Failure> {
    uses::read(tool.operator.parts().store.as_ref())
        .await
        .map_err(|error| Failure::new(exit::BUSY, format!("what the ring's keys open: {error}")))
}

async fn account(tool: &Tool, id: &str, wrapped: &mut Wrapped) -> Result<Step, Failure> {
    let busy = |error| Failure::new(exit::BUSY, format!("account {id}: {error}"));
    let operator = &tool.operator;
    let account = AccountId::new(id).map_err(|error| Failure::new(exit::DATA, error))?;
    match operator.claim(&account).await {
        Ok(term) => {
            let outcome = term.rewrap().await;
            let given = operator.give_back(term).await;
            outcome.map_err(|error| Failure::new(exit::BUSY, error))?;
            given.map_err(|error| busy(error.to_string()))?;
            wrapped.accounts += 1;
            Ok(Step::Done)
        }
        Err(OperatorError::Held) => Ok(Step::Owned),
        // A head without an account is nobody's; what is being erased goes.
        Err(OperatorError::Missing | OperatorError::NeedsImport | OperatorError::Purging) => {
            Ok(Step::PassedOver)
        }
        Err(error) => Err(Failure::new(exit::DATA, format!("account {id}: {error}"))),
    }
}

async fn webhook(
    tool: &Tool,
    ring: &KeyRing,
    id: &str,
    wrapped: &mut Wrapped,
) -> Result<Step, Failure> {
    let parts = tool.operator.parts();
    let outcome = rewrap(&parts.store, ring, parts.rng.as_ref(), id).await;
    match outcome.map_err(|error| Failure::new(exit::BUSY, format!("webhook {id}: {error}")))? {
        WebhookRewrap::Done => {
            wrapped.webhooks += 1;
            Ok(Step::Done)
        }
        WebhookRewrap::NotDue => Ok(Step::Done),
        WebhookRewrap::Unreadable => {
            println!("webhook {id}: no key of the ring opens its secret; give it a new one");
            Ok(Step::PassedOver)
        }
    }
}
