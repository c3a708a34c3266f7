//! What became of a session's records, part by part. Holds no key material; it
//! does hold file names, and so phone numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fault::Fault;

/// Problems that are told one by one; the rest is only counted.
const PROBLEMS_MAX: usize = 20;

/// A part of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// Who the device is.
    Creds,
    /// Keys for those who write first.
    PreKeys,
    /// One-to-one sessions.
    Sessions,
    /// Identity keys of others.
    Identities,
    /// Keys of groups.
    SenderKeys,
    /// Who has ours.
    SenderKeyMemory,
    /// Keys of the app state.
    AppStateKeys,
    /// How far the app state had come.
    AppStateVersions,
    /// Which number has which LID.
    LidMappings,
    /// Which devices people have.
    DeviceLists,
    /// Tokens of trusted contacts.
    TcTokens,
    /// What nobody here knows.
    Unknown,
}

impl Part {
    /// What people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Creds => "credentials",
            Part::PreKeys => "prekeys",
            Part::Sessions => "sessions",
            Part::Identities => "identities",
            Part::SenderKeys => "sender keys",
            Part::SenderKeyMemory => "sender key lists",
            Part::AppStateKeys => "app state keys",
            Part::AppStateVersions => "app state versions",
            Part::LidMappings => "LID mappings",
            Part::DeviceLists => "device lists",
            Part::TcTokens => "contact tokens",
            Part::Unknown => "unknown files",
        }
    }
}

/// What became of one part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartReport {
    /// Records that there were.
    pub found: usize,
    /// Those that were taken.
    pub taken: usize,
    /// Those that are not taken along by design.
    pub left_out: usize,
    /// Those that are wrong, and left out for that.
    pub dropped: usize,
}

/// A record that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Its file, without `.json`.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// What became of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// By part.
    pub parts: BTreeMap<Part, PartReport>,
    /// The first that were dropped.
    pub problems: Vec<Problem>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Report {
    /// How many records were dropped.
    pub fn dropped(&self) -> usize {
        self.parts.values().map(|part| part.dropped).sum()
    }

    fn part(&mut self, part: Part) -> &mut PartReport {
        let report = self.parts.entry(part).or_default();
        report.found += 1;
        report
    }

    pub(super) fn took(&mut self, part: Part) {
        self.part(part).taken += 1;
    }

    pub(super) fn left_out(&mut self, part: Part) {
        self.part(part).left_out += 1;
    }

    pub(super) fn dropped_one(&mut self, part: Part, file: &str, fault: &Fault) {
        self.part(part).dropped += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem {
                file: file.chars().take(128).collect(),
                reason: fault.to_string(),
            });
        }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}
