//! What is fed, and what must hold of it. A round panics if something does not.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use coordinator_lib::clock::{SharedClock, SystemClock};
use coordinator_lib::identity::AccountId;
use coordinator_lib::lease::LeaseConfig;
use coordinator_lib::rng::SystemRng;
use coordinator_lib::store::{
    CommitOutcome, Document, Fields, MemoryStore, Path, Precondition, Query, Store, StoreTime,
    Value, Write, fields_from_bytes, fields_to_bytes, query_all,
};
use session::KeyRing;
use whatsapp::baileys::{Files, Generation, ImportOptions, Records, export, import};
use worker::backup::archive::{Reader, Writer};
use worker::backup::contents::{Contents, Part};
use worker::baileys::archive::{self, Entry};
use worker::baileys::intake::{Intake, IntakeOutcome};
use worker::baileys::outlet::records;
use worker::baileys::source;
use worker::operator::{Operator, OperatorError, OperatorParts};

use crate::mutate::Mutator;

/// What Baileys wrote.
const FIXTURE: &str = include_str!("../../../worker/whatsapp/src/baileys/fixture.json");
/// Of the imports.
const NOW: i64 = 1_800_000_000;
/// Documents of one account's session in the tests.
const DOCUMENTS_MAX: usize = 1_000;

/// The sessions of the fixture.
pub fn fixtures() -> Vec<Files> {
    let found = source::from_bytes(FIXTURE.as_bytes(), "fixture").expect("the fixture is read");
    let files = found
        .iter()
        .map(|found| found.files().map(|files| files.into_owned()));
    files.collect::<Result<_, _>>().expect("it is in memory")
}

/// Records of Baileys: whatever is taken can be written out again.
pub fn baileys(mutator: &mut Mutator, fixtures: &[Files]) {
    let mut files = fixtures[mutator.below(fixtures.len())].clone();
    mutator.files(&mut files);
    let Ok(imported) = import(&files, ImportOptions::at(NOW)) else {
        return;
    };
    let counted = &imported.report.parts;
    let found: usize = counted.values().map(|part| part.found).sum();
    assert_eq!(found, files.len(), "every file is in the report");
    for generation in [Generation::Six, Generation::Seven] {
        export(&imported.records, generation).expect("what was taken can be written");
    }
}

/// Archives and documents, as bytes.
pub fn sources(mutator: &mut Mutator, fixtures: &[Files]) {
    let entries: Vec<Entry> = fixtures[mutator.below(fixtures.len())]
        .iter()
        .map(|(name, bytes)| Entry {
            path: format!("eu/{name}.json"),
            bytes: bytes.clone(),
        })
        .collect();
    let mut bytes = match mutator.below(3) {
        0 => archive::write_zip(&entries).expect("it is in memory"),
        1 => archive::write_tar_gz(&entries).expect("it is in memory"),
        _ => FIXTURE.as_bytes().to_vec(),
    };
    mutator.bytes(&mut bytes);
    let Ok(found) = source::from_bytes(&bytes, "x") else {
        return;
    };
    for found in &found {
        let files = found.files().expect("it is in memory");
        assert!(files.contains_key("creds"), "a session has credentials");
        let _ = import(&files, ImportOptions::at(NOW));
    }
}

/// Key rings: whatever is read works.
pub fn key_rings(mutator: &mut Mutator) {
    let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let mut text =
        format!(r#"{{"schemaVersion":2,"keys":[{{"id":"x","secret":"{key}"}}],"active":"x"}}"#)
            .into_bytes();
    mutator.bytes(&mut text);
    let Ok(text) = String::from_utf8(text) else {
        return;
    };
    if let Err(error) = KeyRing::from_json(&text) {
        assert!(!error.to_string().contains("AQEB"), "{error}");
    }
}

/// Backups: what is whole is read whole, and anything else is an error. What is
/// inside is sealed, so its documents are altered before it is.
pub fn backups(mutator: &mut Mutator) -> Result<()> {
    let ring = KeyRing::generate(&SystemRng);
    let mut out = Writer::begin(Vec::new(), &ring, &SystemRng, StoreTime::from_micros(1))?;
    let paths = [
        "accounts/eu",
        "wa_sessions/eu",
        "wa_sessions/eu/files/device",
        "threads/t1",
    ];
    let mut is_altered = false;
    for path in paths {
        let fields = Fields::from([
            ("accountId".to_owned(), Value::from("eu")),
            ("sealed".to_owned(), Value::Bytes(vec![7; 300].into())),
        ]);
        let mut bytes = fields_to_bytes(&fields);
        if mutator.below(3) == 0 {
            mutator.bytes(&mut bytes);
        }
        // What is no document never gets into a store, nor out of one.
        let Ok(fields) = fields_from_bytes(&bytes.into()) else {
            continue;
        };
        out.add(&Path::new(path)?, &fields)?;
    }
    let (count, mut archive) = out.end()?;
    if mutator.below(2) == 0 {
        let whole = archive.clone();
        mutator.bytes(&mut archive);
        is_altered = archive != whole;
    }
    let outcome = Reader::open(&archive[..], &ring).and_then(|mut reader| {
        while reader.frame()?.is_some() {}
        Ok(reader.count())
    });
    match outcome {
        Ok(read) => ensure!(
            !is_altered && read == count,
            "it was altered, and not noticed"
        ),
        Err(error) => ensure!(is_altered, "it is whole: {error}"),
    }
    if let Ok(reader) = Reader::open(&archive[..], &ring) {
        let mut contents = Contents::new(reader);
        while let Ok(Some(part)) = contents.part() {
            if let Part::Session(saved) = part {
                ensure!(saved.open(&ring).is_err(), "it has no session that opens");
            }
        }
    }
    Ok(())
}

/// Two accounts in a store, with sessions in encrypted files.
pub struct Stored {
    store: Store,
    operator: Operator,
    accounts: Vec<AccountId>,
    sessions: Vec<Records>,
    /// All their files as they should be.
    documents: Vec<Document>,
    /// The same, of before the last change.
    older: Vec<Document>,
}

impl Stored {
    /// Imports both fixtures.
    ///
    /// # Errors
    /// The import failed.
    pub async fn new() -> Result<Self> {
        let clock: SharedClock = SystemClock::shared();
        let store: Store = Arc::new(MemoryStore::new(Arc::clone(&clock)));
        let own = Arc::clone(&store);
        let parts = OperatorParts {
            store: Arc::clone(&store),
            heartbeat: Arc::new(move || {
                let store = Arc::clone(&own);
                Box::pin(async move { Ok(store) })
            }),
            presence: None,
            keys: Arc::new(KeyRing::generate(&SystemRng)),
            clock,
            rng: SystemRng::shared(),
            lease: LeaseConfig::default(),
        };
        let operator = Operator::begin(parts, "fuzz").await?;
        let mut stored = Self {
            store,
            operator,
            accounts: Vec::new(),
            sessions: Vec::new(),
            documents: Vec::new(),
            older: Vec::new(),
        };
        for (index, files) in fixtures().iter().enumerate() {
            let account = AccountId::new(format!("account_{index}"))?;
            let session = import(files, ImportOptions::at(NOW))?;
            let intake = Intake {
                account: account.clone(),
                name: "fuzz".to_owned(),
                session: &session,
                files,
                start: false,
            };
            let outcome = intake.run(&stored.operator).await?;
            ensure!(outcome == IntakeOutcome::Imported, "{outcome:?}");
            stored.accounts.push(account);
        }
        stored.older = stored.read_documents().await?;
        for account in &stored.accounts {
            let term = stored.operator.claim(account).await?;
            // Each family changes, so that each older file is an old one.
            for (kind, key) in records(&term.files).into_keys() {
                term.files.update(kind, &key, |record| {
                    let mut record = record?;
                    record.expires_at = i64::MAX;
                    Some(record)
                })?;
            }
            term.files.flush().await?;
            stored.sessions.push(records(&term.files));
            stored.operator.give_back(term).await?;
        }
        stored.documents = stored.read_documents().await?;
        Ok(stored)
    }

    /// Alters the stored files of the first account, in one of the ways in which
    /// somebody with the database could, and claims it: it must be refused, or
    /// be what it was.
    ///
    /// # Errors
    /// The store failed.
    pub async fn round(&self, mutator: &mut Mutator) -> Result<()> {
        let account = &self.accounts[0];
        let own: Vec<&Document> = self.of(account, &self.documents);
        let document = own[mutator.below(own.len())];
        let mut fields = document.fields.clone();
        match mutator.below(4) {
            0 => {
                let Some(Value::Bytes(sealed)) = fields.get("sealed") else {
                    return Ok(());
                };
                let mut bytes = sealed.to_vec();
                mutator.bytes(&mut bytes);
                fields.insert("sealed".to_owned(), Value::Bytes(bytes.into()));
            }
            // Another of its own files.
            1 => fields = own[mutator.below(own.len())].fields.clone(),
            // The other account's file.
            2 => {
                let others = self.of(&self.accounts[1], &self.documents);
                fields = others[mutator.below(others.len())].fields.clone();
            }
            // An older version of the same file.
            _ => {
                let older = self.of(account, &self.older);
                let Some(old) = older.iter().find(|old| old.path == document.path) else {
                    return Ok(());
                };
                fields = old.fields.clone();
            }
        }
        let is_altered = fields != document.fields;
        self.put(document, fields).await?;
        match self.operator.claim(account).await {
            Ok(term) => {
                ensure!(!is_altered, "{} was altered and not noticed", document.path);
                ensure!(records(&term.files) == self.sessions[0], "another session");
                self.operator.give_back(term).await?;
            }
            Err(OperatorError::Term(error)) => {
                ensure!(is_altered, "{} is as it was: {error}", document.path);
            }
            Err(error) => return Err(error.into()),
        }
        self.put(document, document.fields.clone()).await
    }

    /// Ends the worker session.
    pub async fn close(self) {
        self.operator.close().await;
    }

    fn of<'a>(&self, account: &AccountId, documents: &'a [Document]) -> Vec<&'a Document> {
        let below = format!("{}/", account.head_path());
        documents
            .iter()
            .filter(|document| document.path.to_string().starts_with(&below))
            .collect()
    }

    async fn read_documents(&self) -> Result<Vec<Document>> {
        let mut all = Vec::new();
        for account in &self.accounts {
            let query = Query::new(session::files_collection(account));
            all.extend(query_all(self.store.as_ref(), &query, DOCUMENTS_MAX).await?);
        }
        Ok(all)
    }

    async fn put(&self, document: &Document, fields: Fields) -> Result<()> {
        let write = Write::Set {
            path: document.path.clone(),
            fields,
            precondition: Precondition::None,
        };
        let outcome = self.store.commit(vec![write]).await?;
        ensure!(matches!(outcome, CommitOutcome::Committed(_)));
        Ok(())
    }
}

/// A target by its name.
///
/// # Errors
/// It does not hold, or the name is none.
pub async fn run(target: &str, seeds: impl Iterator<Item = u64>) -> Result<u64> {
    let fixtures = fixtures();
    let stored = match target {
        "sessions" => Some(Stored::new().await?),
        _ => None,
    };
    let mut rounds = 0;
    for seed in seeds {
        let mut mutator = Mutator::new(seed);
        match (target, &stored) {
            ("baileys", _) => baileys(&mut mutator, &fixtures),
            ("sources", _) => sources(&mut mutator, &fixtures),
            ("keyrings", _) => key_rings(&mut mutator),
            ("backups", _) => {
                backups(&mut mutator).with_context(|| format!("seed {seed}"))?;
            }
            (_, Some(stored)) => stored
                .round(&mut mutator)
                .await
                .with_context(|| format!("seed {seed}"))?,
            _ => anyhow::bail!("targets: baileys, sources, keyrings, backups, sessions"),
        }
        rounds += 1;
    }
    if let Some(stored) = stored {
        stored.close().await;
    }
    Ok(rounds)
}
