//! What is known before a message is accepted: who sends, to whom, and whether the
//! same was asked before. Nearly all of it in one reading of the store.

use coordinator_lib::store::{Document, DocumentStore, Path, Precondition, StoreError, StoreTime};
use session::{DataKey, HeadDoc, KeyRing};

use super::{AcceptError, AcceptParts, AcceptRequest, Accepted, body_hash};
use crate::messages::{identity, refusals};
use crate::model::stored::Record;
use crate::model::{
    AccountDoc, Desired, GroupDoc, IdempotencyDoc, Read, Status, Stored, ThreadDoc, ThreadKind,
    WaOutboxDoc, collections, ids, queries,
};

/// What was found.
pub(super) enum Looked {
    /// The request was accepted before.
    Repeated(Accepted),
    /// It can be accepted.
    Ready(Box<Known>),
}

/// What a new message is made with.
pub(super) struct Known {
    pub(super) data_key: DataKey,
    /// The account's own addresses.
    pub(super) own: Vec<String>,
    pub(super) key: KeyState,
    pub(super) place: Place,
}

/// Where a message belongs, as far as there is something of it yet.
pub(super) struct Place {
    pub(super) thread: Option<Record<ThreadDoc>>,
    pub(super) group: Option<GroupDoc>,
}

/// What the idempotency key says.
pub(super) enum KeyState {
    /// There is no key.
    None,
    /// It is not in use; the write that takes it is on this condition.
    Free(Precondition),
}

/// Looks at everything that a message to this address depends on.
///
/// # Errors
/// Why it cannot be accepted.
pub(super) async fn look(
    parts: AcceptParts<'_>,
    request: &AcceptRequest,
    to: &str,
) -> Result<Looked, AcceptError> {
    let id = &request.account_id;
    let (Ok(account), Ok(head)) = (collections::account(id), collections::head(id)) else {
        return Err(AcceptError::UnknownAccount);
    };
    let thread_id = ids::thread(id, to);
    let thread = collections::thread(&thread_id)?;
    let refusal = refusals::path(to)?;
    let group = match ThreadKind::of(to) {
        ThreadKind::Group => Some(collections::group(&thread_id)?),
        ThreadKind::Direct | ThreadKind::Status | ThreadKind::Other => None,
    };
    let key = request.idempotency_key.as_ref();
    let key = key.map(|key| collections::idempotency_key(&ids::idempotency(id, key)));
    let key = key.transpose()?;

    let mut paths = vec![
        account.clone(),
        head.clone(),
        thread.clone(),
        refusal.clone(),
    ];
    paths.extend(group.clone());
    paths.extend(key.clone());
    let snapshot = parts.store.get(&paths).await?;
    let found = |path: &Path| {
        let mut documents = snapshot.documents.iter().flatten();
        documents.find(|document| document.path == *path)
    };

    let (data_key, own) = sender(parts.keys, id, found(&account), found(&head))?;
    let key = match key {
        None => KeyState::None,
        Some(path) => match found(&path) {
            None => KeyState::Free(Precondition::Absent),
            Some(document) => {
                match before(parts.store, request, to, document, snapshot.read_time).await? {
                    Before::Expired(precondition) => KeyState::Free(precondition),
                    Before::Accepted(accepted) => return Ok(Looked::Repeated(accepted)),
                }
            }
        },
    };
    let thread = find_thread(parts.store, id, to, found(&thread)).await?;
    let is_refused = found(&refusal).is_some();
    if is_refused || is_refused_elsewhere(parts.store, to, thread.as_ref()).await? {
        return Err(AcceptError::Refused);
    }
    let group = match group.as_ref().and_then(found).map(GroupDoc::read) {
        Some(group) => match group? {
            Read::Known(record) => Some(record.value),
            Read::Newer(_) => return Err(AcceptError::Newer),
        },
        None => None,
    };
    if group.as_ref().is_some_and(|group| !group.joined) {
        return Err(AcceptError::NotInGroup);
    }
    Ok(Looked::Ready(Box::new(Known {
        data_key,
        own,
        key,
        place: Place { thread, group },
    })))
}

/// The data key of an account that may send, and its own addresses.
fn sender(
    keys: &KeyRing,
    id: &str,
    account: Option<&Document>,
    head: Option<&Document>,
) -> Result<(DataKey, Vec<String>), AcceptError> {
    let account = match AccountDoc::read(account.ok_or(AcceptError::UnknownAccount)?)? {
        Read::Known(record) => record.value,
        Read::Newer(_) => return Err(AcceptError::Newer),
    };
    match account.desired {
        Desired::Running | Desired::Stopped | Desired::LoggedOut => {}
        Desired::Purging | Desired::Purged => return Err(AcceptError::UnknownAccount),
    }
    match account.status {
        Status::LoggedOut | Status::NeedsImport => {
            return Err(AcceptError::NotSending(account.status));
        }
        Status::Idle
        | Status::Connecting
        | Status::QrReady
        | Status::NeedsQr
        | Status::Pairing
        | Status::Connected
        | Status::Disconnected
        | Status::Banned
        | Status::Locked
        | Status::Conflict
        | Status::Degraded
        | Status::Failed
        | Status::Stopped => {}
    }
    let head = head.ok_or(AcceptError::NotSending(Status::NeedsImport))?;
    let head: HeadDoc = head.decode()?;
    let data_key = keys.unwrap(&head.wrapped_keys, id).map_err(|error| {
        tracing::error!(account.id = id, %error, "data key does not open");
        AcceptError::Keys
    })?;
    let own = [account.jid, account.lid].into_iter().flatten();
    Ok((data_key, own.map(|own| identity::bare(&own)).collect()))
}

/// What an idempotency key was used for.
enum Before {
    /// That is too long ago; the write that takes it again is on this condition.
    Expired(Precondition),
    /// This request.
    Accepted(Accepted),
}

async fn before(
    store: &dyn DocumentStore,
    request: &AcceptRequest,
    to: &str,
    key: &Document,
    read_time: StoreTime,
) -> Result<Before, AcceptError> {
    let Read::Known(record) = IdempotencyDoc::read(key)? else {
        return Err(AcceptError::Newer);
    };
    if record.value.expires_at < read_time {
        return Ok(Before::Expired(Precondition::Unchanged(record.update_time)));
    }
    if record.value.body_hash != body_hash(request, to) {
        return Err(AcceptError::KeyReused);
    }
    let path = collections::wa_outbox(&record.value.message_id)?;
    let snapshot = store.get(&[path]).await?;
    let document = snapshot.documents.into_iter().flatten().next();
    // Both were created in one commit.
    let document =
        document.ok_or_else(|| StoreError::invalid("an idempotency key without its message"))?;
    let Read::Known(sent) = WaOutboxDoc::read(&document)? else {
        return Err(AcceptError::Newer);
    };
    Ok(Before::Accepted(Accepted {
        message_id: record.value.message_id,
        wa_message_id: sent.value.wa_message_id,
        thread_id: sent.value.thread_id,
        stored_message_id: sent.value.stored_message_id,
    }))
}

/// The thread with a recipient, under whichever of its addresses it was begun:
/// `here` is the one under this address.
async fn find_thread(
    store: &dyn DocumentStore,
    account_id: &str,
    to: &str,
    here: Option<&Document>,
) -> Result<Option<Record<ThreadDoc>>, AcceptError> {
    let mut found = here.cloned();
    if found.is_none() && ThreadKind::of(to) == ThreadKind::Direct {
        let query = if identity::is_lid(to) {
            queries::thread_by_lid(account_id, to)?
        } else {
            queries::thread_by_pn(account_id, to)?
        };
        found = store.query(&query).await?.documents.into_iter().next();
    }
    if let Some(into) = merging_into(found.as_ref())? {
        let snapshot = store.get(&[collections::thread(&into)?]).await?;
        found = snapshot.documents.into_iter().flatten().next();
    }
    match found.as_ref().map(ThreadDoc::read).transpose()? {
        Some(Read::Known(record)) => Ok(Some(record)),
        Some(Read::Newer(_)) => Err(AcceptError::Newer),
        None => Ok(None),
    }
}

/// The thread that a thread's messages move into, if they do.
fn merging_into(found: Option<&Document>) -> Result<Option<String>, StoreError> {
    let thread = found.map(ThreadDoc::read).transpose()?;
    let thread = thread.and_then(Read::known);
    Ok(thread.and_then(|thread| thread.value.merging_into))
}

/// Whether the recipient is on the do-not-contact list under another address.
async fn is_refused_elsewhere(
    store: &dyn DocumentStore,
    to: &str,
    thread: Option<&Record<ThreadDoc>>,
) -> Result<bool, StoreError> {
    let known = thread.map(|thread| [&thread.value.pn, &thread.value.lid]);
    let known = known.into_iter().flatten().filter_map(Option::as_deref);
    refusals::any(store, known.filter(|address| *address != to)).await
}
