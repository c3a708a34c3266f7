//! An event as it leaves the cluster: in streams, in pages, in webhooks.

use coordinator_lib::store::{Document, StoreTime};
use serde::Serialize;

use super::position::Position;
use crate::model::{EventDoc, EventKind, Stored};

/// An event with its place in the order of all.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// Its document's id, the same wherever it is shown.
    pub id: String,
    /// Its place.
    pub position: Position,
    /// What happened.
    pub event: EventDoc,
}

/// The event as clients see it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub struct EventView<'a> {
    /// Stable: whoever has seen it has seen the event.
    pub id: &'a str,
    /// Whose event.
    pub account_id: &'a str,
    /// Its number within the account; there is no gap.
    pub seq: i64,
    /// What kind of thing happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When.
    pub at: StoreTime,
    /// References and facts.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub data: &'a std::collections::BTreeMap<String, String>,
}

impl Logged {
    /// An event as it was read; none for one that this program cannot read.
    pub fn read(document: &Document) -> Option<Self> {
        let record = EventDoc::read_or_skip(document)?;
        Some(Self {
            id: document.path.id().to_owned(),
            position: Position::of(document),
            event: record.value,
        })
    }

    /// When it was stored, or shortly before.
    pub fn stored_at(&self) -> StoreTime {
        self.event
            .stored_at
            .time()
            .unwrap_or_else(|| self.position.time())
    }

    /// As clients see it.
    pub fn view(&self) -> EventView<'_> {
        EventView {
            id: &self.id,
            account_id: &self.event.account_id,
            seq: self.event.seq,
            kind: self.event.kind,
            at: self.event.at,
            data: &self.event.data,
        }
    }
}

/// Which events somebody wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of these accounts; of all if there are none named.
    pub accounts: Option<Vec<String>>,
    /// Of these kinds; of all if there are none named.
    pub kinds: Option<Vec<EventKind>>,
}

impl Filter {
    /// Whether it is one of them.
    pub fn takes(&self, account: &str, kind: EventKind) -> bool {
        let is_named = self
            .accounts
            .as_ref()
            .is_none_or(|accounts| accounts.iter().any(|named| named == account));
        is_named
            && self
                .kinds
                .as_ref()
                .is_none_or(|kinds| kinds.contains(&kind))
    }
}
