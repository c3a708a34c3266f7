//! `worker apikeys`: the keys that requests to the API need. Works on the store
//! itself: the first key has to come from somewhere.

use std::fs::File;
use std::io::{IsTerminal, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use coordinator_lib::clock::{Clock, SystemClock};
use coordinator_lib::lease::LeaseConfig;
use coordinator_lib::rng::SystemRng;
use coordinator_lib::store::{StoreError, StoreTime, query_all};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::output::{self, Table};
use crate::app::backend::Backend;
use crate::app::{data_dir, key_ring};
use crate::auth::book::{Import, NewKey};
use crate::auth::{ApiKey, KeyBook, KeyBookParts, Scope};
use crate::config::{StoreConfig, StoreKind};
use crate::exit::{self, Failure};
use crate::model::{ApiKeyDoc, Stored, queries};

/// Keys that are shown; far more than anybody has.
const KEYS_MAX: usize = 10_000;

/// Many times the length of a key.
const KEY_BYTES_MAX: u64 = 1_024;

/// `worker apikeys …`
#[derive(Debug, Args)]
pub(super) struct ApiKeysCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it: nothing shows it again
    Create {
        /// What to call it
        #[arg(long)]
        name: String,
        /// A right, several times for several: admin has them all
        #[arg(long = "scope", value_enum, required = true)]
        scopes: Vec<Scope>,
        /// An account that it is limited to, several times for several
        #[arg(long = "account", value_name = "ID")]
        accounts: Vec<String>,
        #[command(flatten)]
        store: StoreConfig,
    },
    /// Make a key up and print it, for a secret that `import` reads: no store knows it yet
    Generate,
    /// Make a key good that `generate` made up; done again it changes nothing
    Import {
        /// The file that the key is in
        file: PathBuf,
        /// What to call it
        #[arg(long)]
        name: String,
        /// A right, several times for several: admin has them all
        #[arg(long = "scope", value_enum, required = true)]
        scopes: Vec<Scope>,
        /// An account that it is limited to, several times for several
        #[arg(long = "account", value_name = "ID")]
        accounts: Vec<String>,
        #[command(flatten)]
        store: StoreConfig,
    },
    /// Show all keys, without their secrets
    List {
        /// Print JSON for programs instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreConfig,
    },
    /// Make a key good for nothing, within seconds
    Revoke {
        /// Its id: what stands between the two `_` of the key
        id: String,
        #[command(flatten)]
        store: StoreConfig,
    },
}

impl Action {
    /// Where it acts, if it needs a store.
    fn store(&self) -> Option<&StoreConfig> {
        match self {
            Action::Create { store, .. }
            | Action::Import { store, .. }
            | Action::List { store, .. }
            | Action::Revoke { store, .. } => Some(store),
            Action::Generate => None,
        }
    }
}

impl ApiKeysCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(1, format!("no runtime: {error}")))?;
        runtime.block_on(self.act())
    }

    async fn act(self) -> Result<ExitCode, Failure> {
        let Some(store) = self.action.store() else {
            return generate().map(|()| ExitCode::SUCCESS);
        };
        data_dir::prepare(&store.data_dir)?;
        let (clock, rng) = (SystemClock::shared(), SystemRng::shared());
        if store.store == StoreKind::Sqlite {
            // This may make the database, which a worker takes with its ring only.
            key_ring::load_or_generate(store, rng.as_ref())?;
        }
        let backend = Backend::open(store, &LeaseConfig::default(), &clock, &rng).await?;
        let done = match self.action {
            Action::Create {
                name,
                scopes,
                accounts,
                ..
            } => create(&backend, new_key(name, scopes, accounts)).await,
            Action::Import {
                file,
                name,
                scopes,
                accounts,
                ..
            } => import(&backend, &file, new_key(name, scopes, accounts)).await,
            Action::Generate => Ok(()),
            Action::List { json, .. } => list(&backend, json).await,
            Action::Revoke { id, .. } => revoke(&backend, &id).await,
        };
        backend.close().await;
        done.map(|()| ExitCode::SUCCESS)
    }
}

fn new_key(name: String, scopes: Vec<Scope>, accounts: Vec<String>) -> NewKey {
    NewKey {
        name,
        scopes,
        accounts: Some(accounts).filter(|accounts| !accounts.is_empty()),
    }
}

/// Prints the key alone: it goes into a secret.
fn generate() -> Result<(), Failure> {
    let key = ApiKey::generate(&SystemRng).expose();
    writeln!(std::io::stdout().lock(), "{}", key.as_str())
        .map_err(|error| Failure::new(1, format!("the key could not be printed: {error}")))
}

async fn import(backend: &Backend, file: &Path, new: NewKey) -> Result<(), Failure> {
    let key = read_key(file)?;
    let now = StoreTime::from_datetime(SystemClock.wall());
    let imported = book(backend).import(&key, new, now).await;
    let id = key.id();
    let refusal = match imported.map_err(|error| Failure::new(exit::CONFIG, error))? {
        Import::Added => {
            println!("{id} is a key now");
            return Ok(());
        }
        Import::Known => {
            println!("{id} was a key already");
            return Ok(());
        }
        Import::Revoked => "was revoked, and stays so",
        Import::Another => "is the id of another key",
    };
    Err(Failure::new(
        exit::DATA,
        format!("{id} {refusal}: make a new one with `worker apikeys generate`"),
    ))
}

/// The key in a file. Failures never quote it.
fn read_key(file: &Path) -> Result<ApiKey, Failure> {
    let shown = file.display();
    let mut text = Zeroizing::new(String::new());
    File::open(file)
        .and_then(|file| file.take(KEY_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| Failure::new(exit::DATA, format!("{shown} cannot be read: {error}")))?;
    ApiKey::parse(text.trim()).ok_or_else(|| {
        Failure::new(
            exit::DATA,
            format!("{shown} holds no key of the API: `worker apikeys generate` makes one"),
        )
    })
}

async fn create(backend: &Backend, new: NewKey) -> Result<(), Failure> {
    let now = StoreTime::from_datetime(SystemClock.wall());
    let made = book(backend).create(new, now, &SystemRng).await;
    let (key, document) = made.map_err(|error| Failure::new(exit::CONFIG, error))?;
    let mut out = std::io::stdout().lock();
    let shown = key.expose();
    // A person is told more; a program gets the key alone.
    let written = if out.is_terminal() {
        writeln!(
            out,
            "{}\n\nThis is the only time that it is shown. Its name is {}, its id {}.\n\
             Send it as `Authorization: Bearer …`, or set LEASEHOLD_API_KEY for `worker accounts`.",
            shown.as_str(),
            document.name,
            key.id()
        )
    } else {
        writeln!(out, "{}", shown.as_str())
    };
    written.map_err(|error| Failure::new(1, format!("the key could not be printed: {error}")))
}

async fn list(backend: &Backend, as_json: bool) -> Result<(), Failure> {
    let query = queries::api_keys().map_err(failure)?;
    let documents = query_all(backend.store.as_ref(), &query, KEYS_MAX).await;
    let mut table = Table::new(&["ID", "STATE", "SCOPES", "ACCOUNTS", "NAME"]);
    let mut values = Vec::new();
    for document in documents.map_err(failure)? {
        let Some(record) = ApiKeyDoc::read_or_skip(&document) else {
            continue;
        };
        let key = record.value;
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let reach = match &key.accounts {
            None => "all accounts".to_owned(),
            Some(accounts) => accounts.join(","),
        };
        let state = if key.revoked_at.is_some() {
            "revoked"
        } else {
            "valid"
        };
        let id = record.path.id().to_owned();
        values.push(json!({
            "id": id,
            "state": state,
            "scopes": scopes,
            "accounts": key.accounts,
            "name": key.name,
            "createdAt": key.created_at,
        }));
        table.row([id, state.to_owned(), scopes.join(","), reach, key.name]);
    }
    match as_json {
        true => output::json(&Value::Array(values)),
        false => table.print(),
    }
}

async fn revoke(backend: &Backend, id: &str) -> Result<(), Failure> {
    let now = StoreTime::from_datetime(SystemClock.wall());
    if book(backend).revoke(id, now).await.map_err(failure)? {
        println!("revoked {id}");
        return Ok(());
    }
    Err(Failure::new(
        exit::DATA,
        format!("there is no key {id}: `worker apikeys list` shows which there are"),
    ))
}

fn book(backend: &Backend) -> KeyBook {
    KeyBook::new(KeyBookParts {
        store: backend.store.clone(),
        clock: SystemClock::shared(),
        rate: 0.0,
        burst: 1,
    })
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn failure(error: StoreError) -> Failure {
    Failure::new(exit::BUSY, error)
}
