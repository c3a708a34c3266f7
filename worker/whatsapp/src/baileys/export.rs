//! From records of session files back to Baileys' files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value, json};
use session::Kind;
use wacore::libsignal::protocol::KeyPair;
use wacore::store::Device;

use super::address::Address;
use super::creds::{self, file_id};
use super::entry::checked_group;
use super::fault::Fault;
use super::import::Records;
use super::report::{Part, Report};
use super::value::buffer;
use super::{Files, others, sender_keys, sessions};

/// Which Baileys is to read the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Generation {
    /// 6.x: addresses do not say whether they are LIDs.
    Six,
    /// 7.x.
    #[default]
    Seven,
}

/// A session as files.
pub struct Exported {
    /// By name, without `.json`.
    pub files: Files,
    /// What became of each part.
    pub report: Report,
}

/// The files hold keys, so they are only counted.
impl fmt::Debug for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exported")
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

/// Why a session cannot be exported at all.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no device: the account was never linked.
    #[error("the account was never linked, so there is no session to export")]
    NoDevice,
    /// The device cannot be written.
    #[error("the account's own keys: {0}")]
    Device(#[source] Fault),
}

/// Writes a session as Baileys' files.
///
/// # Errors
/// [`ExportError`]; a record that has no form there is no error but in the
/// report.
pub fn export(records: &Records, generation: Generation) -> Result<Exported, ExportError> {
    let device = records
        .get(&(Kind::Device, Vec::new()))
        .ok_or(ExportError::NoDevice)?;
    let device: Device =
        serde_json::from_slice(device).map_err(|error| ExportError::Device(error.into()))?;
    let mut exporter = Exporter {
        generation,
        own: device
            .pn
            .iter()
            .chain(&device.lid)
            .map(|own| (own.user.to_string(), own.device))
            .collect(),
        devices: devices(records),
        files: BTreeMap::new(),
        report: Report::default(),
        app_state_key: None,
    };
    for ((kind, key), record) in records {
        exporter.record(*kind, key, record);
    }
    let ephemeral = KeyPair::generate(&mut rand::make_rng::<rand::rngs::StdRng>());
    let used = exporter.app_state_key.take().map(|(_, id)| id);
    let creds = creds::write(&device, used.as_deref(), &ephemeral).map_err(ExportError::Device)?;
    exporter.put("creds".to_owned(), &creds);
    exporter.report.took(Part::Creds);
    Ok(Exported {
        files: exporter.files,
        report: exporter.report,
    })
}

struct Exporter {
    generation: Generation,
    /// Our own users, with our device.
    own: BTreeMap<String, u16>,
    /// Devices that others are known to have.
    devices: BTreeMap<String, BTreeSet<u16>>,
    files: Files,
    report: Report,
    /// The latest, with its sequence.
    app_state_key: Option<(u64, Vec<u8>)>,
}

impl Exporter {
    fn record(&mut self, kind: Kind, key: &[u8], record: &[u8]) {
        let (part, written) = match kind {
            Kind::Sessions => (Part::Sessions, self.session(key, record)),
            Kind::Identities => (Part::Identities, self.identity(key, record)),
            Kind::PreKeys => (Part::PreKeys, self.prekey(key, record)),
            Kind::SenderKeys => (Part::SenderKeys, self.sender_key(key, record)),
            Kind::AppSyncKeys => (Part::AppStateKeys, self.app_state_key(key, record)),
            Kind::LidMappings => (Part::LidMappings, self.mapping(record)),
            Kind::TcTokens => (Part::TcTokens, self.token(key, record)),
            Kind::HashStates => return self.report.left_out(Part::AppStateVersions),
            Kind::DeviceLists => return self.report.left_out(Part::DeviceLists),
            Kind::SenderKeyDevices => return self.report.left_out(Part::SenderKeyMemory),
            // Of the engine's own; Baileys has nothing like them.
            Kind::Device
            | Kind::BaseKeys
            | Kind::Pending
            | Kind::SignedPreKeys
            | Kind::GroupMetadata
            | Kind::MutationMacs
            | Kind::PnMappings
            | Kind::SentMessages
            | Kind::MsgSecrets => return,
        };
        match written {
            Ok(()) => self.report.took(part),
            Err(fault) => {
                let name = String::from_utf8_lossy(key).into_owned();
                self.report.dropped_one(part, &name, &fault);
            }
        }
    }

    fn put(&mut self, name: String, json: &Value) {
        self.files.insert(name, json.to_string().into_bytes());
    }

    fn session(&mut self, key: &[u8], record: &[u8]) -> Result<(), Fault> {
        let address = address(key)?;
        let json = sessions::write(record)?;
        self.put(format!("session-{}", self.dotted(&address)), &json);
        Ok(())
    }

    fn identity(&mut self, key: &[u8], record: &[u8]) -> Result<(), Fault> {
        let address = address(key)?;
        if self.generation == Generation::Seven {
            let json = buffer(&[&[5][..], record].concat());
            self.put(format!("identity-key-{}", self.dotted(&address)), &json);
        }
        Ok(())
    }

    fn prekey(&mut self, key: &[u8], record: &[u8]) -> Result<(), Fault> {
        let id = u32::from_be_bytes(key.try_into().map_err(|_| Fault::Stored)?);
        let json = others::write_prekey(record)?;
        self.put(format!("pre-key-{id}"), &json);
        Ok(())
    }

    fn sender_key(&mut self, key: &[u8], record: &[u8]) -> Result<(), Fault> {
        let key = std::str::from_utf8(key).map_err(|_| Fault::Stored)?;
        let (group, sender) = key.split_once(':').ok_or(Fault::Stored)?;
        let group = checked_group(group).ok_or(Fault::Stored)?;
        let sender = Address::from_engine(sender).ok_or(Fault::Stored)?;
        let json = sender_keys::write(record)?;
        let user = sender.baileys_user(self.generation);
        // Which device a key is of is not kept, so each has them all: a state is
        // found by its number.
        let devices = match self.own.get(&sender.user) {
            Some(own) => BTreeSet::from([*own]),
            None => {
                let known = self.devices.get(&sender.user).into_iter().flatten();
                known.copied().chain([0]).collect()
            }
        };
        for device in devices {
            self.put(format!("sender-key-{group}--{user}--{device}"), &json);
        }
        Ok(())
    }

    fn app_state_key(&mut self, id: &[u8], record: &[u8]) -> Result<(), Fault> {
        let (sequence, json) = others::write_app_state_key(record)?;
        self.put(format!("app-state-sync-key-{}", file_id(id)), &json);
        let is_later = self
            .app_state_key
            .as_ref()
            .is_none_or(|(latest, _)| *latest < sequence);
        if is_later {
            self.app_state_key = Some((sequence, id.to_vec()));
        }
        Ok(())
    }

    fn mapping(&mut self, record: &[u8]) -> Result<(), Fault> {
        let (lid, number) = others::write_mapping(record)?;
        if self.generation == Generation::Seven {
            self.put(format!("lid-mapping-{number}"), &json!(lid));
            self.put(format!("lid-mapping-{lid}_reverse"), &json!(number));
        }
        Ok(())
    }

    fn token(&mut self, key: &[u8], record: &[u8]) -> Result<(), Fault> {
        let user = std::str::from_utf8(key).map_err(|_| Fault::Stored)?;
        let user = super::address::checked_user(user).ok_or(Fault::Stored)?;
        if self.generation == Generation::Seven {
            self.put(format!("tctoken-{user}@lid"), &others::write_token(record)?);
        }
        Ok(())
    }

    fn dotted(&self, address: &Address) -> String {
        format!(
            "{}.{}",
            address.baileys_user(self.generation),
            address.device
        )
    }
}

/// Which devices people have, by number and by LID, as far as sessions tell.
fn devices(records: &Records) -> BTreeMap<String, BTreeSet<u16>> {
    let mut devices: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for (_, key) in records.keys().filter(|(kind, _)| *kind == Kind::Sessions) {
        if let Ok(address) = address(key) {
            let known = devices.entry(address.user).or_default();
            known.insert(address.device);
        }
    }
    for ((kind, _), record) in records {
        if *kind == Kind::LidMappings
            && let Ok((lid, number)) = others::write_mapping(record)
        {
            let of = |user: &String| devices.get(user).cloned().unwrap_or_default();
            let both: BTreeSet<u16> = of(&lid).union(&of(&number)).copied().collect();
            devices.insert(lid, both.clone());
            devices.insert(number, both);
        }
    }
    devices
}

fn address(key: &[u8]) -> Result<Address, Fault> {
    std::str::from_utf8(key)
        .ok()
        .and_then(Address::from_engine)
        .ok_or(Fault::Stored)
}
