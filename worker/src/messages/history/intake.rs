//! Makes a piece of history durable, as it came.
//!
//! The piece is announced first and opened for reading last; its parts, sealed
//! with the data key, are written between. A piece that its owner did not
//! finish is seen by the next one, and called lost.

use std::sync::Arc;

use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::StoreTime;
use session::DataKey;
use tokio::sync::Notify;
use whatsapp::history::HistoryPiece;

use crate::events::{Journal, JournalError, Need};
use crate::model::{HistoryCounts, HistoryPartDoc, HistoryPieceDoc, PieceState, collections, ids};

/// Bytes of a part: half of what a document may hold.
const PART_BYTES: usize = 512 * 1024;

/// The purpose under which a part is sealed.
pub fn part_purpose(piece: &str, number: i64) -> String {
    format!("history_pieces.part/{piece}/{number}")
}

/// Takes pieces in for one account.
pub struct Intake {
    /// Whose.
    pub account_id: String,
    /// The owner's epoch.
    pub epoch: i64,
    /// Through which it writes.
    pub journal: Journal,
    /// Seals the parts.
    pub data_key: Arc<DataKey>,
    /// Nonces.
    pub rng: SharedRng,
    /// Tells that a piece has come.
    pub news: Arc<Notify>,
}

impl Intake {
    /// Returns once the piece is durable. One that is known changes nothing.
    ///
    /// # Errors
    /// [`JournalError`]; to be repeated.
    pub async fn keep(&self, piece: &HistoryPiece) -> Result<(), JournalError> {
        let id = ids::history_piece(&self.account_id, &piece.compressed);
        let path = collections::history_piece(&id).map_err(JournalError::Store)?;
        let chunks = piece.compressed.chunks(PART_BYTES);
        let announced = HistoryPieceDoc {
            account_id: self.account_id.clone(),
            kind: piece.kind,
            progress: piece.progress.map(i64::from),
            bytes: i64::try_from(piece.compressed.len()).unwrap_or(i64::MAX),
            parts: i64::try_from(chunks.len()).unwrap_or(i64::MAX),
            state: PieceState::Coming,
            open: true,
            epoch: self.epoch,
            came_at: StoreTime::from_micros(0),
            done_at: None,
            counts: HistoryCounts::default(),
        };
        let begun = self.journal.apply(vec![Need::Read(path.clone())], {
            let path = path.clone();
            move |draft| {
                let known = draft.get::<HistoryPieceDoc>(&path)?;
                let is_there = known.is_some_and(|known| match known.state {
                    PieceState::Whole | PieceState::Stored => true,
                    PieceState::Coming | PieceState::Lost => false,
                });
                if !is_there {
                    let came_at = draft.now();
                    draft.put(
                        path.clone(),
                        &HistoryPieceDoc {
                            came_at,
                            ..announced.clone()
                        },
                    )?;
                }
                Ok(!is_there)
            }
        });
        if !begun.await? {
            return Ok(());
        }
        for (number, chunk) in (0_i64..).zip(chunks) {
            let part = collections::history_part(&id, number).map_err(JournalError::Store)?;
            let purpose = part_purpose(&id, number);
            let rng = self.rng.as_ref();
            let sealed = self
                .data_key
                .seal_secret(rng, &self.account_id, &purpose, chunk);
            let document = HistoryPartDoc {
                sealed: sealed.into(),
            };
            let written = self
                .journal
                .apply(vec![Need::New(part.clone())], move |draft| {
                    draft.put(part.clone(), &document)
                });
            written.await?;
        }
        let opened = self
            .journal
            .apply(vec![Need::Read(path.clone())], move |draft| {
                if let Some(mut piece) = draft.get::<HistoryPieceDoc>(&path)?
                    && piece.state == PieceState::Coming
                {
                    piece.state = PieceState::Whole;
                    draft.put(path.clone(), &piece)?;
                }
                Ok(())
            });
        opened.await?;
        self.news.notify_one();
        Ok(())
    }
}
