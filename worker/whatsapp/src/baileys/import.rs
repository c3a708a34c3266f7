//! From Baileys' files to records of session files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use serde_json::Value;
use session::{ACCOUNT_BYTES_MAX, KEY_BYTES_MAX, Kind, VALUE_BYTES_MAX};
use wacore::types::jid::JidExt as _;

use super::address::{Address, Space};
use super::creds::{self, Creds};
use super::entry::{self, Entry};
use super::fault::Fault;
use super::report::{Part, Report};
use super::sender_keys::States;
use super::value::parse;
use super::{AHEAD_DEFAULT, AHEAD_MAX, FILES_MAX, Files, TOTAL_BYTES_MAX};
use super::{others, sender_keys, sessions};

/// How a session is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// Counters that each sending chain is moved ahead by, at most [`AHEAD_MAX`].
    /// Larger than what was sent after the files were written.
    pub ahead: u32,
    /// Unix seconds.
    pub now: i64,
}

impl ImportOptions {
    /// The usual ones.
    pub fn at(now: i64) -> Self {
        Self {
            ahead: AHEAD_DEFAULT,
            now,
        }
    }
}

/// A session that was read.
pub struct Imported {
    /// Who it belongs to.
    pub own: OwnAddresses,
    /// All of it.
    pub records: Records,
    /// What became of each part.
    pub report: Report,
}

/// The records hold keys, so they are only counted.
impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imported")
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}

/// Records by kind and key.
pub type Records = BTreeMap<(Kind, Vec<u8>), Bytes>;

/// Who a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAddresses {
    /// By number.
    pub jid: String,
    /// By LID.
    pub lid: Option<String>,
    /// The number's digits.
    pub number: String,
    /// The name that it shows.
    pub push_name: Option<String>,
}

/// Why a session cannot be imported at all.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The files are no session.
    #[error("there is no creds.json: this is not a folder of useMultiFileAuthState")]
    NoCreds,
    /// The credentials are wrong.
    #[error(
        "creds.json: {0}; without right credentials the link would be lost, so nothing is imported"
    )]
    Creds(#[source] Fault),
    /// More files than a session can have.
    #[error("{found} files are more than a session has ({FILES_MAX} at most)")]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// More bytes than a session can have.
    #[error("the records take more than a session may ({ACCOUNT_BYTES_MAX} bytes)")]
    TooLarge,
    /// The option is out of its range.
    #[error("sending chains can be moved ahead by 0 to {AHEAD_MAX} counters")]
    Ahead,
}

/// Reads a session.
///
/// # Errors
/// [`ImportError`]; a record that is wrong, other than the credentials, is no
/// error but in the report.
pub fn import(files: &Files, options: ImportOptions) -> Result<Imported, ImportError> {
    if options.ahead > AHEAD_MAX {
        return Err(ImportError::Ahead);
    }
    if files.len() > FILES_MAX {
        return Err(ImportError::TooMany { found: files.len() });
    }
    if files.values().map(Vec::len).sum::<usize>() > TOTAL_BYTES_MAX {
        return Err(ImportError::TooLarge);
    }
    let creds = files.get("creds").ok_or(ImportError::NoCreds)?;
    let creds = parse(creds)
        .and_then(|creds| creds::read(&creds))
        .map_err(ImportError::Creds)?;
    let mut importer = Importer {
        lids: known_lids(&creds, files),
        says_spaces: says_spaces(files),
        creds,
        options,
        records: BTreeMap::new(),
        report: Report::default(),
        sender_keys: BTreeMap::new(),
        unsure: 0,
    };
    importer.device()?;
    for (name, bytes) in files.iter().filter(|(name, _)| *name != "creds") {
        importer.file(name, bytes);
    }
    importer.end()
}

/// Digits of a phone number. The standard allows for 15, but hardly any country
/// gives more than 13, and LIDs have 14 or 15.
const NUMBER_LENGTH_MAX: usize = 13;

struct Importer {
    creds: Creds,
    options: ImportOptions,
    records: Records,
    report: Report,
    /// Users that are LIDs, also where their file does not say so.
    lids: BTreeSet<String>,
    /// Baileys 7: a file says whether it is about a number or a LID.
    says_spaces: bool,
    /// By group and person, of each of their devices.
    sender_keys: BTreeMap<String, Vec<States>>,
    /// Sessions of which it is not known whether they are with a LID.
    unsure: usize,
}

impl Importer {
    fn device(&mut self) -> Result<(), ImportError> {
        let device = serde_json::to_vec(&self.creds.device)
            .map_err(|error| ImportError::Creds(error.into()))?;
        self.records
            .insert((Kind::Device, Vec::new()), device.into());
        for (jid, key) in &self.creds.identities {
            let address = jid.to_protocol_address_string();
            self.records.insert(
                (Kind::Identities, address.into_bytes()),
                key.to_vec().into(),
            );
        }
        self.report.took(Part::Creds);
        Ok(())
    }

    fn file(&mut self, name: &str, bytes: &[u8]) {
        let part = entry::part(name);
        match self.read(name, bytes) {
            Ok(true) => self.report.took(part),
            Ok(false) => self.report.left_out(part),
            Err(fault) => self.report.dropped_one(part, name, &fault),
        }
    }

    /// False if the file is not taken along.
    fn read(&mut self, name: &str, bytes: &[u8]) -> Result<bool, Fault> {
        let entry = entry::read(name)?;
        if entry == Entry::LeftOut {
            return Ok(false);
        }
        let value = parse(bytes)?;
        // What Baileys removed it may have left as null.
        if value.is_null() {
            return Ok(false);
        }
        match entry {
            Entry::Creds | Entry::LeftOut => return Ok(false),
            Entry::PreKey(id) => {
                let uploaded = id < self.creds.unuploaded;
                let record = others::read_prekey(id, &value, uploaded)?;
                self.put(Kind::PreKeys, id.to_be_bytes(), record)?;
            }
            Entry::Session(address) => self.session(address, &value)?,
            Entry::SenderKey { group, sender } => {
                let sender = self.placed(sender);
                if self.is_another_of_ours(&sender) {
                    return Ok(false);
                }
                let states = sender_keys::read(&value, self.options.ahead)?;
                // The engine's name for it is without the device.
                let person = Address {
                    device: 0,
                    ..sender
                };
                let key = format!("{group}:{person}");
                self.sender_keys.entry(key).or_default().push(states);
            }
            Entry::Identity(address) => {
                let key = others::read_identity(&value)?;
                self.put(
                    Kind::Identities,
                    self.placed(address).to_string(),
                    key.to_vec(),
                )?;
            }
            Entry::AppStateKey(id) => {
                // The one in use counts as the latest.
                let is_used = self.creds.app_state_key.as_ref() == Some(&id);
                let sequence = if is_used { u64::from(u32::MAX) } else { 1 };
                let record = others::read_app_state_key(&value, sequence)?;
                self.put(Kind::AppSyncKeys, id, record)?;
            }
            Entry::LidMapping(number) => self.mapping(&others::read_mapping(&value)?, &number)?,
            Entry::ReverseMapping(lid) => self.mapping(&lid, &others::read_mapping(&value)?)?,
            Entry::TcToken(user) => {
                let record = others::read_token(&value)?;
                self.put(Kind::TcTokens, user, record)?;
            }
        }
        Ok(true)
    }

    fn session(&mut self, address: Address, value: &Value) -> Result<(), Fault> {
        let session = sessions::read(value, &self.creds.device, self.options.ahead)?;
        if self.looks_like_lid(&address) {
            self.unsure += 1;
        }
        let address = self.placed(address).to_string();
        if let Some(identity) = session.identity {
            let key = (Kind::Identities, address.clone().into_bytes());
            // What stands in a file of its own is newer.
            self.records
                .entry(key)
                .or_insert_with(|| identity.to_vec().into());
        }
        self.put(Kind::Sessions, address, session.record)
    }

    fn mapping(&mut self, lid: &str, number: &str) -> Result<(), Fault> {
        let record = others::mapping_record(lid, number, self.options.now);
        self.put(Kind::LidMappings, lid, record)?;
        self.put(Kind::PnMappings, number, lid.as_bytes().to_vec())
    }

    /// Where Baileys 6 does not say so: somebody who is known to be a LID.
    fn placed(&self, address: Address) -> Address {
        let is_known = address.space == Space::Number && self.lids.contains(&address.user);
        let is_lid = is_known || self.looks_like_lid(&address);
        Address {
            space: if is_lid { Space::Lid } else { address.space },
            ..address
        }
    }

    /// Nobody says what it is, and it is longer than phone numbers are.
    fn looks_like_lid(&self, address: &Address) -> bool {
        !self.says_spaces
            && address.space == Space::Number
            && !self.lids.contains(&address.user)
            && address.user.len() > NUMBER_LENGTH_MAX
    }

    /// Whether it is a device of our own, but not this one: its keys would be in
    /// the way of ours, which the engine keeps under the same name.
    fn is_another_of_ours(&self, address: &Address) -> bool {
        let device = &self.creds.device;
        let mut own = device.pn.iter().chain(&device.lid);
        own.any(|own| own.user.as_str() == address.user && own.device != address.device)
    }

    fn put(&mut self, kind: Kind, key: impl AsRef<[u8]>, record: Vec<u8>) -> Result<(), Fault> {
        let key = key.as_ref().to_vec();
        if record.len() > VALUE_BYTES_MAX || key.len() > KEY_BYTES_MAX {
            return Err(Fault::TooLarge {
                bytes: record.len(),
            });
        }
        self.records.insert((kind, key), record.into());
        Ok(())
    }

    fn end(mut self) -> Result<Imported, ImportError> {
        for (key, devices) in std::mem::take(&mut self.sender_keys) {
            let merged = sender_keys::record(&devices);
            if let Err(fault) = merged.and_then(|record| self.put(Kind::SenderKeys, key, record)) {
                self.report.note(format!(
                    "a sender key was left out, and is given out anew: {fault}"
                ));
            }
        }
        let bytes: usize = self
            .records
            .iter()
            .map(|((_, key), record)| key.len() + record.len() + 64)
            .sum();
        if bytes > ACCOUNT_BYTES_MAX {
            return Err(ImportError::TooLarge);
        }
        if self.unsure > 0 {
            self.report.note(format!(
                "{} session(s) are taken for ones with LIDs by the length of their names, since \
                 Baileys 6 does not say so; where that is wrong, the first message of each comes a \
                 second time before it can be read",
                self.unsure
            ));
        }
        let device = &self.creds.device;
        let own = OwnAddresses {
            jid: device
                .pn
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            lid: device.lid.as_ref().map(ToString::to_string),
            number: device
                .pn
                .as_ref()
                .map(|pn| pn.user.to_string())
                .unwrap_or_default(),
            push_name: Some(device.push_name.clone()).filter(|name| !name.is_empty()),
        };
        Ok(Imported {
            own,
            records: self.records,
            report: self.report,
        })
    }
}

/// Whether files say of an address in which space it is.
fn says_spaces(files: &Files) -> bool {
    files.keys().any(|name| {
        matches!(entry::read(name), Ok(Entry::Session(address)) if address.space != Space::Number)
            || matches!(entry::read(name), Ok(Entry::Identity(_)))
    })
}

/// Users who are LIDs for certain: our own, and those in mappings.
fn known_lids(creds: &Creds, files: &Files) -> BTreeSet<String> {
    let own = creds.device.lid.iter().map(|lid| lid.user.to_string());
    let mapped = files.keys().filter_map(|name| match entry::read(name) {
        Ok(Entry::ReverseMapping(lid)) => Some(lid),
        Ok(_) | Err(_) => None,
    });
    own.chain(mapped).collect()
}
