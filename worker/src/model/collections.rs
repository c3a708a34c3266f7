//! The names of the collections, and the path of each document.
//!
//! Paths are made from ids; an id that came from outside (an URL) may hold
//! anything, so these return an error instead of panicking.

use coordinator_lib::store::{Collection, Path, StoreError};

/// Account metadata, status and lease.
pub const ACCOUNTS: &str = "accounts";
/// Session heads, with the files below them; written by the crate `session`.
pub const WA_SESSIONS: &str = "wa_sessions";
/// Conversations.
pub const THREADS: &str = "threads";
/// Messages, below a thread.
pub const MESSAGES: &str = "messages";
/// Groups that accounts are in.
pub const GROUPS: &str = "groups";
/// Who has got and read messages to groups.
pub const RECEIPTS: &str = "receipts";
/// Where threads went that are one with another.
pub const MERGED_THREADS: &str = "merged_threads";
/// When messages disappear.
pub const EXPIRIES: &str = "expiries";
/// What clients asked to send.
pub const OUTBOX: &str = "outbox";
/// The WhatsApp side of what is sent.
pub const WA_OUTBOX: &str = "wa_outbox";
/// Idempotency keys of the last 24 h.
pub const IDEMPOTENCY_KEYS: &str = "idempotency_keys";
/// The event log of all accounts.
pub const EVENTS: &str = "events";

/// What the cluster agrees on: connect budgets, the WhatsApp version.
pub const CONFIG: &str = "config";

/// Files that clients gave to be sent.
pub const MEDIA: &str = "media";

/// Files that came with messages, to be kept.
pub const RECEIVED_MEDIA: &str = "received_media";

/// People who are not written to.
pub const DO_NOT_CONTACT: &str = "do_not_contact";

/// Keys of the API.
pub const API_KEYS: &str = "api_keys";

/// What was done with them.
pub const AUDIT: &str = "audit";

/// Where events go.
pub const WEBHOOKS: &str = "webhooks";

/// How far each webhook came with each account.
pub const WEBHOOK_LANES: &str = "webhook_lanes";

/// What became of events on their way to webhooks.
pub const WEBHOOK_DELIVERIES: &str = "webhook_deliveries";

/// Requests to the owner of an account.
pub const COMMANDS: &str = "commands";

/// Who is who, for an account.
pub const CONTACTS: &str = "contacts";

/// Pieces of history that phones gave, with their parts below them.
pub const HISTORY_PIECES: &str = "history_pieces";

/// How much history an account has.
pub const HISTORY_TOTALS: &str = "history_totals";

/// Sessions of links that are gone.
pub const SESSION_ARCHIVES: &str = "session_archives";

/// Parts, below a piece of history.
const PARTS: &str = "parts";

/// `accounts/{account}`.
///
/// # Errors
/// [`StoreError::Invalid`] when the id cannot be a document id; so for all here.
pub fn account(account: &str) -> Result<Path, StoreError> {
    Collection::new(ACCOUNTS)?.doc(account)
}

/// `wa_sessions/{account}`, the head.
pub fn head(account: &str) -> Result<Path, StoreError> {
    Collection::new(WA_SESSIONS)?.doc(account)
}

/// `session_archives/{account}-{epoch}`, the number padded so that ids sort as
/// numbers do.
pub fn session_archive(account: &str, epoch: i64) -> Result<Path, StoreError> {
    Collection::new(SESSION_ARCHIVES)?.doc(&format!("{account}-{epoch:012}"))
}

/// `wa_sessions/{account}/archive`: the files of all of its archives.
pub fn archived_files(account: &str) -> Result<Collection, StoreError> {
    head(account)?.collection_below("archive")
}

/// `threads/{thread}`.
pub fn thread(thread: &str) -> Result<Path, StoreError> {
    Collection::new(THREADS)?.doc(thread)
}

/// `threads/{thread}/messages`.
pub fn messages(thread: &str) -> Result<Collection, StoreError> {
    // Goes through the path, so that the id is checked.
    let thread = self::thread(thread)?;
    Collection::new(&format!("{thread}/{MESSAGES}"))
}

/// `threads/{thread}/messages/{message}`.
pub fn message(thread: &str, message: &str) -> Result<Path, StoreError> {
    messages(thread)?.doc(message)
}

/// `groups/{thread}`.
pub fn group(thread: &str) -> Result<Path, StoreError> {
    Collection::new(GROUPS)?.doc(thread)
}

/// `receipts/{message}`.
pub fn receipts(message: &str) -> Result<Path, StoreError> {
    Collection::new(RECEIPTS)?.doc(message)
}

/// `merged_threads/{thread}`.
pub fn merged_thread(thread: &str) -> Result<Path, StoreError> {
    Collection::new(MERGED_THREADS)?.doc(thread)
}

/// `expiries/{message}`.
pub fn expiry(message: &str) -> Result<Path, StoreError> {
    Collection::new(EXPIRIES)?.doc(message)
}

/// `outbox/{message}`.
pub fn outbox(message: &str) -> Result<Path, StoreError> {
    Collection::new(OUTBOX)?.doc(message)
}

/// `wa_outbox/{message}`.
pub fn wa_outbox(message: &str) -> Result<Path, StoreError> {
    Collection::new(WA_OUTBOX)?.doc(message)
}

/// `idempotency_keys/{id}`.
pub fn idempotency_key(id: &str) -> Result<Path, StoreError> {
    Collection::new(IDEMPOTENCY_KEYS)?.doc(id)
}

/// `config/{id}`.
///
/// # Errors
/// As for [`account`].
pub fn config(id: &str) -> Result<Path, StoreError> {
    Collection::new(CONFIG)?.doc(id)
}

/// `media/{id}`.
pub fn media(id: &str) -> Result<Path, StoreError> {
    Collection::new(MEDIA)?.doc(id)
}

/// `received_media/{id}`.
pub fn received_media(id: &str) -> Result<Path, StoreError> {
    Collection::new(RECEIVED_MEDIA)?.doc(id)
}

/// `do_not_contact/{id}`.
pub fn do_not_contact(id: &str) -> Result<Path, StoreError> {
    Collection::new(DO_NOT_CONTACT)?.doc(id)
}

/// `api_keys/{id}`.
pub fn api_key(id: &str) -> Result<Path, StoreError> {
    Collection::new(API_KEYS)?.doc(id)
}

/// `audit/{id}`.
pub fn audit(id: &str) -> Result<Path, StoreError> {
    Collection::new(AUDIT)?.doc(id)
}

/// `commands/{id}`.
pub fn command(id: &str) -> Result<Path, StoreError> {
    Collection::new(COMMANDS)?.doc(id)
}

/// `events/{account}-{seq}`, the number padded so that ids sort as numbers do.
pub fn event(account: &str, seq: i64) -> Result<Path, StoreError> {
    Collection::new(EVENTS)?.doc(&event_id(account, seq))
}

/// The id of an event.
pub fn event_id(account: &str, seq: i64) -> String {
    format!("{account}-{seq:012}")
}

/// The account and the number in the id of an event.
pub fn event_number(id: &str) -> Option<(&str, i64)> {
    let (account, seq) = id.rsplit_once('-')?;
    Some((account, seq.parse().ok()?))
}

/// `webhooks/{id}`.
pub fn webhook(id: &str) -> Result<Path, StoreError> {
    Collection::new(WEBHOOKS)?.doc(id)
}

/// `webhook_lanes/{webhook}-{account}`.
pub fn webhook_lane(webhook: &str, account: &str) -> Result<Path, StoreError> {
    Collection::new(WEBHOOK_LANES)?.doc(&format!("{webhook}-{account}"))
}

/// `webhook_deliveries/{webhook}-{account}-{seq}`.
pub fn webhook_delivery(webhook: &str, account: &str, seq: i64) -> Result<Path, StoreError> {
    webhook_delivery_by_id(&format!("{webhook}-{}", event_id(account, seq)))
}

/// `webhook_deliveries/{id}`.
pub fn webhook_delivery_by_id(id: &str) -> Result<Path, StoreError> {
    Collection::new(WEBHOOK_DELIVERIES)?.doc(id)
}

/// `contacts/{id}`.
pub fn contact(id: &str) -> Result<Path, StoreError> {
    Collection::new(CONTACTS)?.doc(id)
}

/// `history_pieces/{id}`.
pub fn history_piece(id: &str) -> Result<Path, StoreError> {
    Collection::new(HISTORY_PIECES)?.doc(id)
}

/// `history_pieces/{id}/parts/{number}`.
pub fn history_part(id: &str, number: i64) -> Result<Path, StoreError> {
    let piece = history_piece(id)?;
    Collection::new(&format!("{piece}/{PARTS}"))?.doc(&format!("{number:04}"))
}

/// Whether a collection holds parts of a piece of history.
pub fn are_parts(collection: &str) -> bool {
    collection.starts_with(HISTORY_PIECES) && collection.ends_with(PARTS)
}

/// `history_totals/{account}`.
pub fn history_totals(account: &str) -> Result<Path, StoreError> {
    Collection::new(HISTORY_TOTALS)?.doc(account)
}
