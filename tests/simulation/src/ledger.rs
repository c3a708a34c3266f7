//! Looks at every commit at the instant at which it lands.
//!
//! Checks what needs no clock: epochs only grow and each has one session (S0),
//! a flush belongs to the epoch of the head it lands on (S1), a session that
//! has ended never lives again (S4).

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator_lib::store::{Fields, StoreTime, Value, Write};
use parking_lot::Mutex;

use crate::history::Flush;
use crate::record::Record;

/// What was committed, as far as checks need to know.
pub struct Ledger {
    record: Arc<Record>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    accounts: BTreeMap<String, Account>,
    sessions: BTreeMap<String, Session>,
    moves: u64,
    taken: u64,
}

/// A worker session.
struct Session {
    /// The worker that began it.
    worker: String,
    ended: bool,
    /// By its own worker.
    ended_itself: bool,
}

#[derive(Default)]
struct Account {
    /// Who holds each epoch.
    claims: BTreeMap<i64, String>,
    released: i64,
    flushes: Vec<Flush>,
}

impl Ledger {
    pub(crate) fn new(record: Arc<Record>) -> Self {
        Self {
            record,
            state: Mutex::default(),
        }
    }

    /// A commit has landed.
    pub(crate) fn see(&self, who: &str, writes: &[Write], time: StoreTime) {
        for write in writes {
            let (Write::Set { path, fields, .. } | Write::Update { path, fields, .. }) = write
            else {
                continue;
            };
            let collection = path.collection().as_str();
            match collection {
                "accounts" => self.account(path.id(), fields),
                "wa_sessions" => self.head(who, path.id(), fields),
                "workers" => self.session(who, path.id(), fields),
                other => {
                    let mut parts = other.split('/');
                    match (parts.next(), parts.next(), parts.next()) {
                        (Some("accounts"), Some(account), Some("history")) => {
                            self.history(who, account, fields);
                        }
                        (Some("wa_sessions"), Some(account), Some("files")) => {
                            self.flush(who, account, fields, time);
                        }
                        (_, _, _) => {}
                    }
                }
            }
        }
    }

    fn account(&self, account: &str, fields: &Fields) {
        let Some(released) = int(fields, "releasedEpoch") else {
            return;
        };
        let mut state = self.state.lock();
        let known = state.accounts.entry(account.to_owned()).or_default();
        known.released = known.released.max(released);
    }

    fn head(&self, who: &str, account: &str, fields: &Fields) {
        let (Some(epoch), Some(session)) = (int(fields, "epoch"), text(fields, "workerSession"))
        else {
            return;
        };
        let mut state = self.state.lock();
        let known = state.accounts.entry(account.to_owned()).or_default();
        let last = known.claims.last_key_value().map_or(0, |(epoch, _)| *epoch);
        if epoch <= last {
            self.record.violation(
                "S0 epochs grow",
                format!("{who} began epoch {epoch} of {account} after epoch {last}"),
            );
        }
        known.claims.insert(epoch, session.to_owned());
        state.moves += 1;
    }

    fn session(&self, who: &str, session: &str, fields: &Fields) {
        let Some(name) = text(fields, "state") else {
            return;
        };
        let ends = name == "SEALED" || name == "CLOSED";
        let mut state = self.state.lock();
        let Some(known) = state.sessions.get_mut(session) else {
            let begun = Session {
                worker: who.to_owned(),
                ended: ends,
                ended_itself: ends,
            };
            state.sessions.insert(session.to_owned(), begun);
            self.record.reached("session began");
            self.record
                .note(who, format_args!("session {} begins", short(session)));
            return;
        };
        if known.ended && !ends {
            self.record.violation(
                "S4 the end is final",
                format!("{who} wrote {name} to {session}, which had ended"),
            );
        }
        if ends && !known.ended {
            known.ended_itself = known.worker == who;
            self.record.reached(&format!("session {name}"));
            self.record
                .note(who, format_args!("session {} is {name}", short(session)));
        }
        known.ended = ends;
    }

    fn history(&self, who: &str, account: &str, fields: &Fields) {
        let kind = text(fields, "kind").unwrap_or_default();
        let reason = text(fields, "reason").unwrap_or_default();
        let epoch = int(fields, "epoch").unwrap_or_default();
        self.record.reached(&format!("{kind} {reason}"));
        self.record.note(
            who,
            format_args!("{kind} {account} epoch {epoch}: {reason}"),
        );
        let mut state = self.state.lock();
        if kind == "released" {
            state.moves += 1;
        }
        let owner = state.accounts.get(account).and_then(|known| {
            let mut before = known.claims.range(..epoch);
            before.next_back().map(|(_, session)| session)
        });
        let owner = owner.and_then(|owner| state.sessions.get(owner));
        let has_ended_itself = owner.is_some_and(|owner| owner.ended_itself);
        if (reason == "expired" || reason == "owner_sealed") && !has_ended_itself {
            state.taken += 1;
        }
    }

    fn flush(&self, who: &str, account: &str, fields: &Fields, time: StoreTime) {
        let Some(epoch) = int(fields, "epoch") else {
            return;
        };
        let mut state = self.state.lock();
        let known = state.accounts.entry(account.to_owned()).or_default();
        let last = known.claims.last_key_value().map_or(0, |(epoch, _)| *epoch);
        if epoch != last {
            self.record.violation(
                "S1 flush belongs to its epoch",
                format!("{who} flushed {account} under epoch {epoch}, while {last} had begun"),
            );
        }
        known.flushes.push(Flush {
            epoch,
            at_us: time.as_micros(),
        });
    }

    /// The session that holds an epoch.
    pub fn holder(&self, account: &str, epoch: i64) -> Option<String> {
        let state = self.state.lock();
        state.accounts.get(account)?.claims.get(&epoch).cloned()
    }

    /// The last epoch, and whose it is.
    pub fn last(&self, account: &str) -> Option<(i64, String)> {
        let state = self.state.lock();
        let (epoch, session) = state.accounts.get(account)?.claims.last_key_value()?;
        Some((*epoch, session.clone()))
    }

    /// The last epoch that was released.
    pub fn released(&self, account: &str) -> i64 {
        let state = self.state.lock();
        state
            .accounts
            .get(account)
            .map_or(0, |known| known.released)
    }

    /// Claims and releases so far.
    pub fn moves(&self) -> u64 {
        self.state.lock().moves
    }

    /// Claims so far of what an owner had not given up.
    pub fn taken(&self) -> u64 {
        self.state.lock().taken
    }

    /// All flushes of an account.
    pub fn flushes(&self, account: &str) -> Vec<Flush> {
        let state = self.state.lock();
        let known = state.accounts.get(account);
        known.map_or_else(Vec::new, |known| known.flushes.clone())
    }
}

/// Enough of a session's id to tell it from others.
pub(crate) fn short(session: &str) -> &str {
    session.get(..8).unwrap_or(session)
}

fn int(fields: &Fields, name: &str) -> Option<i64> {
    match fields.get(name) {
        Some(Value::Int(number)) => Some(*number),
        Some(_) | None => None,
    }
}

fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_text)
}
