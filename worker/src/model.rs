//! What the worker keeps in the document store: one typed struct a collection.
//!
//! Every document carries `schemaVersion`. A document that is newer than this
//! program knows is left alone ([`Stored::read`] says [`Read::Newer`]): an
//! older worker in a rolling update never rewrites what it cannot understand.
//!
//! | Collection | Document | Id |
//! |---|---|---|
//! | `accounts` | [`AccountDoc`] | `account_…`, random |
//! | `threads` | [`ThreadDoc`] | `thr_…`, from account and peer |
//! | `threads/{id}/messages` | [`MessageDoc`] | `wam_…`, from thread, sender and WhatsApp id |
//! | `groups` | [`GroupDoc`] | the id of its thread |
//! | `receipts` | [`group::ReceiptsDoc`] | the id of its message |
//! | `merged_threads` | [`thread::MergedThreadDoc`] | the thread's id |
//! | `expiries` | [`expiry::ExpiryDoc`] | the id of its message |
//! | `contacts` | [`ContactDoc`] | `con_…`, from account and address |
//! | `history_pieces` | [`HistoryPieceDoc`] | `his_…`, from account and content |
//! | `history_pieces/{id}/parts` | [`HistoryPartDoc`] | its number |
//! | `history_totals` | [`HistoryTotalsDoc`] | the account |
//! | `outbox` | [`OutboxDoc`] | `msg_…`, random |
//! | `wa_outbox` | [`WaOutboxDoc`] | the id of its `outbox` document |
//! | `idempotency_keys` | [`IdempotencyDoc`] | from account and key |
//! | `do_not_contact` | [`DoNotContactDoc`] | from the address |
//! | `media` | [`MediaDoc`] | `med_…`, random |
//! | `received_media` | [`ReceivedMediaDoc`] | `rec_…`, random |
//! | `events` | [`EventDoc`] | account and sequence number |
//! | `api_keys` | [`ApiKeyDoc`] | the key's |
//! | `audit` | [`AuditDoc`] | `aud_…`, random |
//! | `session_archives` | [`SessionArchiveDoc`] | account and epoch |
//! | `webhooks` | [`WebhookDoc`] | `whk_…`, random |
//! | `webhook_lanes` | [`LaneDoc`] | webhook and account |
//! | `webhook_deliveries` | [`DeliveryDoc`] | webhook, account and sequence number |
//! | `commands` | [`command::CommandDoc`] | random |
//!
//! Lease fields of an account document are written by the coordinator alone;
//! everybody else writes named fields ([`AccountDoc::named`] leaves them out).
//! The session head and its files belong to the crate `session`.

pub mod account;
pub mod agreed;
pub mod api_key;
pub mod archive;
pub mod collections;
pub mod command;
pub mod contact;
pub mod event;
pub mod expiry;
pub mod group;
pub mod history;
pub mod ids;
pub mod media;
pub mod message;
pub mod outbox;
pub mod queries;
pub mod refusal;
pub mod stored;
pub mod thread;
pub mod webhook;

pub use account::{AccountDoc, Desired, DisconnectReasonDoc, LastError, SealedQr, Status};
pub use agreed::Agreed;
pub use api_key::{ApiKeyDoc, AuditDoc};
pub use archive::SessionArchiveDoc;
pub use contact::ContactDoc;
pub use event::{EventDoc, EventKind};
pub use group::{GroupDoc, ReceiptsDoc};
pub use history::{HistoryCounts, HistoryPartDoc, HistoryPieceDoc, HistoryTotalsDoc, PieceState};
pub use media::{KeptState, MediaDoc, ReceivedFile, ReceivedMediaDoc};
pub use message::{Change, Details, Direction, MessageDoc, MessageState};
pub use outbox::{AmendsDoc, IdempotencyDoc, OutboxDoc, OutboxState, WaOutboxDoc};
pub use refusal::DoNotContactDoc;
pub use stored::{Read, Stored};
pub use thread::{ThreadDoc, ThreadKind};
pub use webhook::{DeliveryDoc, DeliveryState, LaneDoc, WebhookDoc};
