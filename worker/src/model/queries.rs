//! Every query of the worker, by name and in one place: each shape here that
//! has more than one field needs a composite index in Firestore.

use coordinator_lib::store::{Collection, Direction, Op, Query, StoreError, StoreTime, Value};

use super::collections::{
    ACCOUNTS, API_KEYS, AUDIT, COMMANDS, CONTACTS, DO_NOT_CONTACT, EVENTS, EXPIRIES, GROUPS,
    HISTORY_PIECES, IDEMPOTENCY_KEYS, MEDIA, OUTBOX, RECEIVED_MEDIA, SESSION_ARCHIVES, THREADS,
    WA_OUTBOX, WEBHOOK_DELIVERIES, WEBHOOK_LANES, WEBHOOKS, messages,
};
use super::{DeliveryState, Desired, EventKind, OutboxState, Status};

/// All accounts, by id.
///
/// # Errors
/// [`StoreError::Invalid`] when an id that came from outside cannot be one; so
/// for all here.
pub fn accounts() -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(ACCOUNTS)?))
}

/// Documents of a collection that name this account as theirs, by id.
pub fn of_account(collection: &str, account: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(collection)?).filter("accountId", Op::Eq, text(account)))
}

/// Accounts that clients want in a state.
pub fn accounts_desired(desired: Desired) -> Result<Query, StoreError> {
    Ok(accounts()?.filter("desired", Op::Eq, text(desired.as_str())))
}

/// Tombstones whose purge has not looked a second time yet.
pub fn accounts_half_purged() -> Result<Query, StoreError> {
    Ok(accounts()?.filter("secondLook", Op::Eq, Value::Bool(true)))
}

/// Accounts that clients want in a state and that nobody owns.
pub fn accounts_unowned(desired: Desired) -> Result<Query, StoreError> {
    Ok(accounts_desired(desired)?.filter("leaseSession", Op::Eq, Value::Null))
}

/// Accounts of this name.
pub fn accounts_named(name: &str) -> Result<Query, StoreError> {
    Ok(accounts()?.filter("name", Op::Eq, text(name)))
}

/// Accounts of one status, by id.
pub fn accounts_with_status(status: Status) -> Result<Query, StoreError> {
    Ok(accounts()?.filter("status", Op::Eq, text(status.as_str())))
}

/// Accounts that a worker of this name owns, by id.
pub fn accounts_of_owner(worker: &str) -> Result<Query, StoreError> {
    Ok(accounts()?.filter("claimedBy", Op::Eq, text(worker)))
}

/// Threads of an account, the latest first.
pub fn threads(account: &str) -> Result<Query, StoreError> {
    Ok(threads_of(account)?.order("lastMessageAt", Direction::Descending))
}

/// Threads of an account that were put away, or were not, the latest first.
pub fn threads_archived(account: &str, archived: bool) -> Result<Query, StoreError> {
    Ok(threads_of(account)?
        .filter("archived", Op::Eq, Value::Bool(archived))
        .order("lastMessageAt", Direction::Descending))
}

/// Threads of an account whose name begins so, by name.
pub fn threads_by_title(account: &str, prefix: &str) -> Result<Query, StoreError> {
    beginning(threads_of(account)?, "titleKey", prefix)
}

/// Threads of an account with peers whose number begins so, by number.
pub fn threads_by_number(account: &str, digits: &str) -> Result<Query, StoreError> {
    beginning(threads_of(account)?, "pn", digits)
}

/// Threads of an account in which a client asks something of the owner. To be
/// watched.
pub fn threads_pending(account: &str) -> Result<Query, StoreError> {
    Ok(threads_of(account)?.filter("pending", Op::Eq, Value::Bool(true)))
}

/// The thread of an account with the peer of this phone-number address.
pub fn thread_by_pn(account: &str, pn: &str) -> Result<Query, StoreError> {
    Ok(threads_of(account)?.filter("pn", Op::Eq, text(pn)).limit(1))
}

/// The thread of an account with the peer of this LID.
pub fn thread_by_lid(account: &str, lid: &str) -> Result<Query, StoreError> {
    Ok(threads_of(account)?
        .filter("lid", Op::Eq, text(lid))
        .limit(1))
}

/// Threads of an account whose messages are moving into another one.
pub fn threads_merging(account: &str) -> Result<Query, StoreError> {
    Ok(threads_of(account)?.filter("merging", Op::Eq, Value::Bool(true)))
}

/// Groups that an account is in, by id.
pub fn groups(account: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(GROUPS)?)
        .filter("accountId", Op::Eq, text(account))
        .filter("joined", Op::Eq, Value::Bool(true)))
}

/// Contacts of an account, by name.
pub fn contacts(account: &str) -> Result<Query, StoreError> {
    Ok(contacts_of(account)?.order("nameKey", Direction::Ascending))
}

/// Contacts of an account whose name begins so, by name.
pub fn contacts_by_name(account: &str, prefix: &str) -> Result<Query, StoreError> {
    beginning(contacts_of(account)?, "nameKey", prefix)
}

/// Contacts of an account whose number begins so, by number.
pub fn contacts_by_number(account: &str, digits: &str) -> Result<Query, StoreError> {
    beginning(contacts_of(account)?, "pn", digits)
}

/// The contact of an account that has this LID.
pub fn contact_by_lid(account: &str, lid: &str) -> Result<Query, StoreError> {
    Ok(contacts_of(account)?
        .filter("lid", Op::Eq, text(lid))
        .limit(1))
}

/// Pieces of an account's history that are not settled. To be watched.
pub fn history_open(account: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(HISTORY_PIECES)?)
        .filter("accountId", Op::Eq, text(account))
        .filter("open", Op::Eq, Value::Bool(true)))
}

/// Messages of a thread, the latest first.
pub fn messages_of(thread: &str) -> Result<Query, StoreError> {
    Ok(Query::new(messages(thread)?).order("sortAt", Direction::Descending))
}

/// Messages of a thread that came in and are not marked as read.
pub fn messages_unread(thread: &str) -> Result<Query, StoreError> {
    Ok(Query::new(messages(thread)?).filter("state", Op::Eq, text("received")))
}

/// Messages of an account that disappear, the first to go first.
pub fn expiries(account: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(EXPIRIES)?)
        .filter("accountId", Op::Eq, text(account))
        .order("expiresAt", Direction::Ascending))
}

/// Outgoing messages of an account that its owner still has to do something
/// for. To be watched, so without an order: it is `acceptedAt`.
pub fn wa_outbox_open(account: &str) -> Result<Query, StoreError> {
    Ok(wa_outbox_of(account)?.filter("open", Op::Eq, Value::Bool(true)))
}

/// The outgoing message of an account with this WhatsApp id.
pub fn wa_outbox_by_wa_id(account: &str, wa_message_id: &str) -> Result<Query, StoreError> {
    Ok(wa_outbox_of(account)?
        .filter("waMessageId", Op::Eq, text(wa_message_id))
        .limit(1))
}

/// One message that waits to be sent with this file.
pub fn wa_outbox_needing(media: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(WA_OUTBOX)?)
        .filter("mediaId", Op::Eq, text(media))
        .filter("open", Op::Eq, Value::Bool(true))
        .limit(1))
}

/// Outgoing messages with this file, whosesoever.
pub fn wa_outbox_with(media: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(WA_OUTBOX)?).filter("mediaId", Op::Eq, text(media)))
}

/// Outgoing messages of all accounts that have come so far, the oldest first.
pub fn wa_outbox_oldest(state: OutboxState) -> Result<Query, StoreError> {
    Ok(wa_outbox_in(state)?.order("acceptedAt", Direction::Ascending))
}

/// The same, the latest first.
pub fn wa_outbox_latest(state: OutboxState) -> Result<Query, StoreError> {
    Ok(wa_outbox_in(state)?.order("acceptedAt", Direction::Descending))
}

/// Files that are not kept for longer than until a time, the oldest first.
pub fn media_kept_until(at: StoreTime) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(MEDIA)?)
        .filter("keepUntil", Op::Lt, Value::Time(at))
        .order("keepUntil", Direction::Ascending))
}

/// Files of an account that are still to be kept, the next one first.
pub fn received_media_open(account: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(RECEIVED_MEDIA)?)
        .filter("accountId", Op::Eq, text(account))
        .filter("open", Op::Eq, Value::Bool(true))
        .order("nextAt", Direction::Ascending))
}

/// Requests to send of an account, the latest first.
pub fn outbox(account: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(OUTBOX)?)
        .filter("accountId", Op::Eq, text(account))
        .order("acceptedAt", Direction::Descending))
}

/// The newest event of an account.
pub fn event_last(account: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(EVENTS)?)
        .filter("accountId", Op::Eq, text(account))
        .order("seq", Direction::Descending)
        .limit(1))
}

/// Events of an account after a number, in order.
pub fn events_after(account: &str, seq: i64) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(EVENTS)?)
        .filter("accountId", Op::Eq, text(account))
        .filter("seq", Op::Gt, Value::Int(seq))
        .order("seq", Direction::Ascending))
}

/// The status changes of an account, the latest first.
pub fn status_changes(account: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(EVENTS)?)
        .filter("accountId", Op::Eq, text(account))
        .filter("type", Op::Eq, text(EventKind::AccountStatus.as_str()))
        .order("seq", Direction::Descending))
}

/// Events of all accounts that were stored after a time, in that order.
pub fn events_stored_after(at: StoreTime) -> Result<Query, StoreError> {
    Ok(events_watched(at)?.order("storedAt", Direction::Ascending))
}

/// Events of all accounts that were stored after a time. To be watched.
pub fn events_watched(after: StoreTime) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(EVENTS)?).filter("storedAt", Op::Gt, Value::Time(after)))
}

/// The first event of an account that was stored after a time.
pub fn event_stored_after(account: &str, at: StoreTime) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(EVENTS)?)
        .filter("accountId", Op::Eq, text(account))
        .filter("storedAt", Op::Gt, Value::Time(at))
        .order("storedAt", Direction::Ascending)
        .limit(1))
}

/// Events that were stored before a time: what a sweep looks through.
pub fn events_before(at: StoreTime) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(EVENTS)?)
        .filter("storedAt", Op::Lt, Value::Time(at))
        .order("storedAt", Direction::Ascending))
}

/// Everybody who is not written to, by id.
pub fn do_not_contact() -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(DO_NOT_CONTACT)?))
}

/// Every key of the API, revoked ones too, by id.
pub fn api_keys() -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(API_KEYS)?))
}

/// What was done with them, the latest first.
pub fn audit() -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(AUDIT)?).order("at", Direction::Descending))
}

/// Entries of the audit log from before a time: what a sweep looks through.
pub fn audit_before(at: StoreTime) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(AUDIT)?)
        .filter("at", Op::Lt, Value::Time(at))
        .order("at", Direction::Ascending))
}

/// Idempotency keys that are not remembered any more: what a sweep looks
/// through.
pub fn idempotency_ended(at: StoreTime) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(IDEMPOTENCY_KEYS)?)
        .filter("expiresAt", Op::Lt, Value::Time(at))
        .order("expiresAt", Direction::Ascending))
}

/// Sessions that were put away before a time: what a sweep looks through.
pub fn session_archives_before(at: StoreTime) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(SESSION_ARCHIVES)?)
        .filter("archivedAt", Op::Lt, Value::Time(at))
        .order("archivedAt", Direction::Ascending))
}

/// All webhooks, by id.
pub fn webhooks() -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(WEBHOOKS)?))
}

/// How far a webhook came with each account.
pub fn webhook_lanes(webhook: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(WEBHOOK_LANES)?).filter("webhookId", Op::Eq, text(webhook)))
}

/// What became of events on their way to a webhook, the latest first.
pub fn webhook_deliveries(webhook: &str) -> Result<Query, StoreError> {
    Ok(webhook_deliveries_of(webhook)?.order("at", Direction::Descending))
}

/// Those of them that stand so, the latest first.
pub fn webhook_deliveries_so(webhook: &str, state: DeliveryState) -> Result<Query, StoreError> {
    Ok(webhook_deliveries_of(webhook)?
        .filter("state", Op::Eq, text(state.as_str()))
        .order("at", Direction::Descending))
}

/// Deliveries of an account's events that clients want once more. To be
/// watched.
pub fn webhook_replays(account: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(WEBHOOK_DELIVERIES)?)
        .filter("accountId", Op::Eq, text(account))
        .filter("replay", Op::Eq, Value::Bool(true)))
}

/// Deliveries from before a time: what a sweep looks through.
pub fn webhook_deliveries_before(at: StoreTime) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(WEBHOOK_DELIVERIES)?)
        .filter("at", Op::Lt, Value::Time(at))
        .order("at", Direction::Ascending))
}

fn webhook_deliveries_of(webhook: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(WEBHOOK_DELIVERIES)?).filter("webhookId", Op::Eq, text(webhook)))
}

/// Texts that begin with a prefix: from it to the last text that still does.
fn beginning(query: Query, field: &str, prefix: &str) -> Result<Query, StoreError> {
    Ok(query
        .filter(field, Op::Ge, text(prefix))
        .filter(field, Op::Lt, text(&format!("{prefix}\u{10ffff}")))
        .order(field, Direction::Ascending))
}

fn threads_of(account: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(THREADS)?).filter("accountId", Op::Eq, text(account)))
}

fn contacts_of(account: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(CONTACTS)?).filter("accountId", Op::Eq, text(account)))
}

fn wa_outbox_of(account: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(WA_OUTBOX)?).filter("accountId", Op::Eq, text(account)))
}

fn wa_outbox_in(state: OutboxState) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(WA_OUTBOX)?).filter("state", Op::Eq, text(state.as_str())))
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// The command with this id. To be watched.
pub fn command_by_id(id: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(COMMANDS)?).filter("id", Op::Eq, text(id)))
}

/// Commands for a worker session that nobody has answered. To be watched.
pub fn commands_for(session: &str) -> Result<Query, StoreError> {
    Ok(Query::new(Collection::new(COMMANDS)?)
        .filter("session", Op::Eq, text(session))
        .filter("state", Op::Eq, text("queued")))
}

#[cfg(test)]
mod tests {
    use coordinator_lib::store::indexes::DeclaredIndexes;

    use super::*;

    const DECLARED: &str = include_str!("../../../k8s/firestore/firestore.indexes.json");

    /// Every query of this module, by the name of its function. Whoever has
    /// queries elsewhere adds their shapes in the test below.
    fn all() -> Vec<(&'static str, Result<Query, StoreError>)> {
        vec![
            ("accounts", accounts()),
            ("of_account", of_account(THREADS, "a")),
            ("accounts_desired", accounts_desired(Desired::Running)),
            ("accounts_half_purged", accounts_half_purged()),
            ("accounts_unowned", accounts_unowned(Desired::Running)),
            ("accounts_named", accounts_named("n")),
            (
                "accounts_with_status",
                accounts_with_status(Status::Connected),
            ),
            ("accounts_of_owner", accounts_of_owner("w")),
            ("threads", threads("a")),
            ("threads_archived", threads_archived("a", true)),
            ("threads_by_title", threads_by_title("a", "an")),
            ("threads_by_number", threads_by_number("a", "49")),
            ("threads_pending", threads_pending("a")),
            ("thread_by_pn", thread_by_pn("a", "p")),
            ("thread_by_lid", thread_by_lid("a", "l")),
            ("threads_merging", threads_merging("a")),
            ("groups", groups("a")),
            ("contacts", contacts("a")),
            ("contacts_by_name", contacts_by_name("a", "an")),
            ("contacts_by_number", contacts_by_number("a", "49")),
            ("contact_by_lid", contact_by_lid("a", "l")),
            ("history_open", history_open("a")),
            ("messages_of", messages_of("t")),
            ("messages_unread", messages_unread("t")),
            ("expiries", expiries("a")),
            ("wa_outbox_open", wa_outbox_open("a")),
            ("wa_outbox_by_wa_id", wa_outbox_by_wa_id("a", "m")),
            ("wa_outbox_needing", wa_outbox_needing("m")),
            ("wa_outbox_with", wa_outbox_with("m")),
            ("wa_outbox_oldest", wa_outbox_oldest(OutboxState::Queued)),
            ("wa_outbox_latest", wa_outbox_latest(OutboxState::Failed)),
            (
                "media_kept_until",
                media_kept_until(StoreTime::from_micros(0)),
            ),
            ("received_media_open", received_media_open("a")),
            ("outbox", outbox("a")),
            ("event_last", event_last("a")),
            ("events_after", events_after("a", 0)),
            ("status_changes", status_changes("a")),
            (
                "events_stored_after",
                events_stored_after(StoreTime::from_micros(0)),
            ),
            ("events_watched", events_watched(StoreTime::from_micros(0))),
            (
                "event_stored_after",
                event_stored_after("a", StoreTime::from_micros(0)),
            ),
            ("events_before", events_before(StoreTime::from_micros(0))),
            ("do_not_contact", do_not_contact()),
            ("api_keys", api_keys()),
            ("audit", audit()),
            ("audit_before", audit_before(StoreTime::from_micros(0))),
            (
                "idempotency_ended",
                idempotency_ended(StoreTime::from_micros(0)),
            ),
            (
                "session_archives_before",
                session_archives_before(StoreTime::from_micros(0)),
            ),
            ("webhooks", webhooks()),
            ("webhook_lanes", webhook_lanes("w")),
            ("webhook_deliveries", webhook_deliveries("w")),
            (
                "webhook_deliveries_so",
                webhook_deliveries_so("w", DeliveryState::Dead),
            ),
            ("webhook_replays", webhook_replays("a")),
            (
                "webhook_deliveries_before",
                webhook_deliveries_before(StoreTime::from_micros(0)),
            ),
            ("command_by_id", command_by_id("c")),
            ("commands_for", commands_for("s")),
        ]
    }

    #[test]
    fn every_query_is_listed() {
        let written: Vec<&str> = include_str!("queries.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("pub fn "))
            .filter_map(|rest| rest.split('(').next())
            .collect();
        let listed: Vec<&str> = all().into_iter().map(|(name, _)| name).collect();
        assert_eq!(written, listed);
    }

    #[test]
    fn every_query_has_its_index_in_firestore_and_every_index_its_query() {
        let declared = DeclaredIndexes::parse(DECLARED).unwrap();
        let shapes: Vec<_> = all()
            .into_iter()
            .map(|(_, query)| query.unwrap())
            .chain(coordinator_lib::coordinator::queries())
            .map(|query| query.shape())
            .collect();
        let missing = declared.missing(shapes.clone());
        assert!(missing.is_empty(), "{missing:#?}");
        let unused = declared.unused(shapes);
        assert!(unused.is_empty(), "{unused:#?}");
    }
}
