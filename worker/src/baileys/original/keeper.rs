//! Removes the files that an import kept, once the session has proved itself.
//!
//! The account's owner does it: after the account was connected for a time
//! (a day, unless set otherwise), without a message in it that could not be
//! decrypted. Times without a connection do not count; what could not be
//! decrypted begins the time anew. How far it came is noted in the account now
//! and then, and the next owner goes on from there.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::fence::{FencedError, FencedOutcome, FencedWriter};
use coordinator_lib::gate::Gate;
use coordinator_lib::identity::AccountId;
use coordinator_lib::store::{Path, Precondition, Store, StoreError, Value, Write, to_fields};

use super::documents;
use crate::account::observed::Observed;
use crate::model::Status;
use crate::model::account::OriginalDoc;

/// Looks in the time that it takes, and the shortest and longest wait.
const LOOKS: u32 = 100;
const LOOK_MIN: Duration = Duration::from_millis(200);
const LOOK_MAX: Duration = Duration::from_secs(60);
/// Notes in the time that it takes: so much of it is lost with an owner.
const NOTES: u32 = 24;
/// Documents that are removed at a time.
const BATCH: usize = 100;
/// Attempts at an account that others' changes keep getting ahead of.
const ATTEMPTS_MAX: usize = 8;
/// The engine's event of a message that it cannot decrypt.
const UNDECRYPTABLE: &str = "undecryptable";
/// The account's field.
const ORIGINAL: &str = "original";

/// See the module.
pub struct Keeper {
    /// Whose files.
    pub account: AccountId,
    /// Where they are.
    pub store: Store,
    /// Through which they are removed.
    pub writer: FencedWriter,
    /// How the account is.
    pub observed: Arc<Observed>,
    /// Time.
    pub clock: SharedClock,
    /// How long the account must be well.
    pub healthy_time: Duration,
    /// How far its last owner was.
    pub noted: OriginalDoc,
}

/// What is known of an imported session's health. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Health {
    /// How long it has been well.
    healthy: Duration,
    /// The part of it that is noted.
    noted: Duration,
    /// Messages that could not be decrypted, in this claim.
    undecryptable: u64,
}

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing.
    Wait,
    /// How far it is, is worth a write.
    Note,
    /// It is well.
    Remove,
}

impl Health {
    /// What is seen `passed` after the last look.
    fn look(
        &mut self,
        is_connected: bool,
        undecryptable: u64,
        passed: Duration,
        enough: Duration,
    ) -> Next {
        if undecryptable > self.undecryptable {
            self.undecryptable = undecryptable;
            self.healthy = Duration::ZERO;
            return match self.noted.is_zero() {
                true => Next::Wait,
                false => Next::Note,
            };
        }
        if !is_connected {
            return Next::Wait;
        }
        self.healthy += passed;
        if self.healthy >= enough {
            return Next::Remove;
        }
        match self.healthy.saturating_sub(self.noted) >= enough / NOTES {
            true => Next::Note,
            false => Next::Wait,
        }
    }
}

impl Keeper {
    /// Looks until the files are removed or the claim's gate closes.
    pub async fn run(self, gate: Gate) {
        tokio::select! {
            biased;
            _ = gate.closed() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&self) {
        let noted = Duration::from_secs(u64::try_from(self.noted.healthy_seconds).unwrap_or(0));
        let mut health = Health {
            healthy: noted,
            noted,
            undecryptable: self.observed.seen(UNDECRYPTABLE),
        };
        let wait = (self.healthy_time / LOOKS).clamp(LOOK_MIN, LOOK_MAX);
        loop {
            self.clock.sleep(wait).await;
            let is_connected = self.observed.status() == Status::Connected;
            let undecryptable = self.observed.seen(UNDECRYPTABLE);
            let done = match health.look(is_connected, undecryptable, wait, self.healthy_time) {
                Next::Wait => Ok(()),
                Next::Note => self.note(&mut health).await,
                Next::Remove => match self.remove().await {
                    Ok(()) => return,
                    Err(error) => Err(error),
                },
            };
            match done {
                Ok(()) => {}
                Err(FencedError::Fenced | FencedError::GateClosed(_)) => return,
                Err(error @ (FencedError::Invalid { .. } | FencedError::Unavailable(_))) => {
                    tracing::warn!(account.id = %self.account, %error, "what is kept of an import was not looked after; it is tried again");
                }
            }
        }
    }

    async fn note(&self, health: &mut Health) -> Result<(), FencedError> {
        let noted = OriginalDoc {
            healthy_seconds: i64::try_from(health.healthy.as_secs()).unwrap_or(i64::MAX),
        };
        let fields = to_fields(&noted).map_err(FencedError::Unavailable)?;
        self.write(Value::Map(fields), Vec::new()).await?;
        health.noted = health.healthy;
        Ok(())
    }

    /// The last pieces go with the note that there are any: interrupted anywhere,
    /// the rest is found again.
    async fn remove(&self) -> Result<(), FencedError> {
        let stored = documents(&self.store, &self.account).await;
        let paths = stored.map_err(FencedError::Unavailable)?;
        let mut paths: Vec<Path> = paths.into_iter().map(|document| document.path).collect();
        let still = to_fields(&self.noted).map_err(FencedError::Unavailable)?;
        while paths.len() > BATCH {
            let rest = paths.split_off(BATCH);
            self.write(Value::Map(still.clone()), paths).await?;
            paths = rest;
        }
        self.write(Value::Null, paths).await?;
        tracing::info!(account.id = %self.account, "the imported session is well: its original files are removed");
        Ok(())
    }

    /// Changes the account's field and removes documents, in one fenced commit.
    async fn write(&self, original: Value, removed: Vec<Path>) -> Result<(), FencedError> {
        for _ in 0..ATTEMPTS_MAX {
            let read = self.store.get(&[self.account.account_path()]).await;
            let read = read.map_err(FencedError::Unavailable)?;
            let Some(account) = read.documents.into_iter().flatten().next() else {
                return Ok(());
            };
            let field = (ORIGINAL.to_owned(), original.clone());
            let noted = Write::Update {
                path: account.path,
                fields: [field].into(),
                precondition: Precondition::Unchanged(account.update_time),
            };
            let removals = removed.iter().map(|path| Write::Delete {
                path: path.clone(),
                precondition: Precondition::None,
            });
            let writes = std::iter::once(noted).chain(removals).collect();
            match self.writer.commit(writes).await? {
                FencedOutcome::Committed(_) => return Ok(()),
                // Somebody else changed the account: look again.
                FencedOutcome::Lost => {}
            }
        }
        Err(FencedError::Unavailable(StoreError::Contended {
            reason: "the account's document kept changing".to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use coordinator_lib::store::{Fields, Precondition, Query, Write};

    use super::*;
    use crate::baileys::original::collection;
    use crate::testing::{Bench, until};

    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR: Duration = Duration::from_secs(3600);

    fn fresh() -> Health {
        Health {
            healthy: Duration::ZERO,
            noted: Duration::ZERO,
            undecryptable: 0,
        }
    }

    #[test]
    fn only_time_with_a_connection_counts() {
        let mut health = fresh();
        for _ in 0..48 {
            assert_eq!(health.look(false, 0, HOUR, DAY), Next::Wait);
        }
        for _ in 0..23 {
            assert_eq!(health.look(true, 0, HOUR, DAY), Next::Note);
            health.noted = health.healthy;
        }
        assert_eq!(health.look(true, 0, HOUR, DAY), Next::Remove);
    }

    #[test]
    fn a_message_that_cannot_be_decrypted_begins_the_day_anew() {
        let mut health = fresh();
        assert_eq!(health.look(true, 0, 23 * HOUR, DAY), Next::Note);
        health.noted = health.healthy;
        assert_eq!(health.look(true, 1, HOUR, DAY), Next::Note);
        assert!(health.healthy.is_zero());
        health.noted = health.healthy;
        assert_eq!(health.look(true, 2, HOUR, DAY), Next::Wait);
        assert_eq!(health.look(true, 2, 23 * HOUR, DAY), Next::Note);
        assert_eq!(health.look(true, 2, HOUR, DAY), Next::Remove);
    }

    #[test]
    fn notes_are_few() {
        let mut health = fresh();
        let mut notes = 0;
        let minute = Duration::from_secs(60);
        while let next @ (Next::Wait | Next::Note) = health.look(true, 0, minute, DAY) {
            if next == Next::Note {
                health.noted = health.healthy;
                notes += 1;
            }
        }
        assert_eq!(notes, 23);
    }

    #[tokio::test]
    async fn the_owner_removes_every_piece_and_the_note_once_it_is_well() {
        let bench = Bench::new();
        let account = bench.account("a1").await;
        for number in 0..BATCH + 20 {
            let write = Write::Set {
                path: collection(&account)
                    .unwrap()
                    .doc(&format!("{number:04}"))
                    .unwrap(),
                fields: Fields::new(),
                precondition: Precondition::Absent,
            };
            assert!(bench.store.commit(vec![write]).await.is_ok());
        }
        let term = bench.term(&account).await;
        let observed = Arc::new(Observed::default());
        observed.begins_with(Status::Connected, None);
        let keeper = Keeper {
            account: account.clone(),
            store: Arc::clone(&bench.store),
            writer: term.writer().clone(),
            observed: Arc::clone(&observed),
            clock: Arc::clone(&bench.clock),
            healthy_time: LOOK_MIN * 2,
            noted: OriginalDoc::default(),
        };
        let keeping = bench.tracker.spawn(keeper.run(term.gates.store.clone()));
        let pieces = Query::new(collection(&account).unwrap());
        until("every piece is gone", || async {
            let left = bench.store.count(&pieces).await.unwrap();
            (left == 0).then_some(())
        })
        .await;
        keeping.await.unwrap();
        assert_eq!(bench.read_account(&account).await.original, None);
    }
}
