//! History that a phone gave: pieces on their way into threads.

use bytes::Bytes;
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use whatsapp::history::HistoryKind;

use super::stored::Stored;

/// `history_pieces/{id}`: one piece. Its content is in parts below it until it
/// is settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPieceDoc {
    /// Whose history.
    pub account_id: String,
    /// What it is about.
    pub kind: HistoryKind,
    /// How much of all there is with it, in per cent.
    #[serde(default)]
    pub progress: Option<i64>,
    /// Its size as it came.
    pub bytes: i64,
    /// How many parts it has.
    pub parts: i64,
    /// How far it is.
    pub state: PieceState,
    /// It is not settled: what the owner watches.
    pub open: bool,
    /// The epoch that took it.
    pub epoch: i64,
    /// When it came.
    pub came_at: StoreTime,
    /// When it was settled.
    #[serde(default)]
    pub done_at: Option<StoreTime>,
    /// What was in it.
    #[serde(default)]
    pub counts: HistoryCounts,
}

impl Stored for HistoryPieceDoc {}

/// How far a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PieceState {
    /// Its parts are being written, by the epoch that took it.
    Coming,
    /// All its parts are there.
    Whole,
    /// Its messages are in their threads, and its parts are gone.
    Stored,
    /// It could not be read, or its owner ended before it was whole.
    Lost,
}

impl PieceState {
    /// The name in the store and in events.
    pub fn as_str(self) -> &'static str {
        match self {
            PieceState::Coming => "coming",
            PieceState::Whole => "whole",
            PieceState::Stored => "stored",
            PieceState::Lost => "lost",
        }
    }
}

/// What was in a piece.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryCounts {
    /// Conversations with messages that were kept or known.
    pub chats: i64,
    /// Messages that were stored.
    pub messages: i64,
    /// Messages that were there already.
    pub known: i64,
    /// People of whom something was learnt.
    pub contacts: i64,
    /// Messages that were left out, for a limit or for what they are.
    pub left_out: i64,
}

/// `history_pieces/{id}/parts/{number}`: some of a piece's bytes.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPartDoc {
    /// The bytes, sealed with the data key.
    pub sealed: Bytes,
}

impl Stored for HistoryPartDoc {}

/// `history_totals/{account}`: how much history an account has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryTotalsDoc {
    /// Messages in all threads.
    pub messages: i64,
}

impl Stored for HistoryTotalsDoc {}
