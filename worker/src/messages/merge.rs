//! Two threads of one person become one.
//!
//! A thread that was begun under a LID and one that was begun under a phone
//! number may turn out to be one person's, by a message that names both. Then
//! the first one's messages move into the other, which is the number's:
//!
//! 1. The source is marked ([`ThreadDoc::merging_into`]); from then on whoever
//!    looks for either address finds the target.
//! 2. Its messages are moved, some at a time: one fenced commit removes them
//!    there, writes them here, and counts them in both threads. What both have
//!    is kept once.
//! 3. Once it is empty it is removed, and leaves behind where it went
//!    ([`MergedThreadDoc`]), in one commit.
//!
//! Each commit leaves both threads whole, so a crash loses nothing: the next
//! owner looks for marked threads and goes on. Repeated, it finds less to do.
//!
//! A message that is still to be sent stays where it is until it is, since its
//! attempts know their places; the rest waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::gate::Gate;
use coordinator_lib::store::{Path, Store, StoreError};

use super::arrival::UNDECRYPTABLE;
use super::identity::{ME, PEER};
use super::receipts::{SentIndex, Target};
use super::threads::ThreadBook;
use crate::events::{Draft, DraftError, Journal, JournalError, Need};
use crate::model::expiry::ExpiryDoc;
use crate::model::stored::Record;
use crate::model::thread::MergedThreadDoc;
use crate::model::{
    Direction, EventKind, MessageDoc, MessageState, OutboxDoc, Read, ReceivedMediaDoc, Stored,
    ThreadDoc, WaOutboxDoc, collections, ids, queries,
};

/// Messages that one commit moves: each is some writes.
const TOGETHER_MAX: u32 = 25;

/// Between two looks at what could not be moved yet.
const WAIT: Duration = Duration::from_secs(5);

/// Threads of one account that are being merged, at most.
const MERGING_MAX: usize = 1_000;

/// Open messages of an account that are looked through.
const OPEN_MAX: usize = 10_000;

/// Merges threads as long as a claim lasts.
pub struct Merger {
    /// Whose threads.
    pub account_id: String,
    /// Where they are read.
    pub store: Store,
    /// Through which they are written.
    pub journal: Journal,
    /// Who has found out that two are one.
    pub threads: Arc<ThreadBook>,
    /// Where messages that were sent lately are.
    pub sent: Arc<SentIndex>,
    /// Time.
    pub clock: SharedClock,
}

/// How far one merge has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is one thread.
    Done,
    /// Something was moved; there may be more.
    Moved,
    /// What is left waits to be sent.
    Waits,
}

/// One message on its way.
struct Move {
    from: Path,
    to: Path,
    expiry: (Path, Path),
    /// That its file is kept, or to be kept, if it is one.
    file: Option<Path>,
    /// As it was asked for, and its WhatsApp side, if it was sent from here.
    sent: Option<(Path, Path)>,
}

/// The two threads.
#[derive(Clone)]
struct Pair {
    source: Path,
    target: Path,
}

impl Merger {
    /// Merges until the claim's gate closes.
    pub async fn run(self, gate: Gate) {
        tokio::select! {
            biased;
            _ = gate.closed() => {}
            () = self.merge_on() => {}
        }
    }

    async fn merge_on(&self) {
        let mut waiting = match self.marked().await {
            Ok(marked) => marked,
            Err(error) => {
                tracing::warn!(account.id = %self.account_id, %error, "threads that are being merged were not looked for");
                BTreeMap::new()
            }
        };
        loop {
            waiting.extend(self.threads.take_splits());
            let mut again = BTreeMap::new();
            for (source, target) in std::mem::take(&mut waiting) {
                match self.merge(&source, &target).await {
                    Ok(Progress::Done) => {}
                    Ok(Progress::Moved | Progress::Waits) => {
                        again.insert(source, target);
                    }
                    Err(error) if error.is_over() => {
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(account.id = %self.account_id, %error, "threads were not merged");
                        again.insert(source, target);
                    }
                }
            }
            waiting = again;
            let has_more = !waiting.is_empty();
            tokio::select! {
                biased;
                () = self.threads.split_found() => {}
                () = self.clock.sleep(WAIT), if has_more => {}
            }
        }
    }

    /// Threads whose merge an earlier owner has begun.
    async fn marked(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let query = queries::threads_merging(&self.account_id)?;
        let found =
            coordinator_lib::store::query_all(self.store.as_ref(), &query, MERGING_MAX).await?;
        let marked = found.iter().filter_map(ThreadDoc::read_or_skip);
        Ok(marked
            .filter_map(|thread| {
                let target = thread.value.merging_into?;
                Some((thread.path.id().to_owned(), target))
            })
            .collect())
    }

    /// Merges one thread into another, as far as it goes now.
    ///
    /// # Errors
    /// [`JournalError`]; what was moved stays moved.
    pub async fn merge(&self, source: &str, target: &str) -> Result<Progress, JournalError> {
        let pair = Pair {
            source: collections::thread(source).map_err(JournalError::Store)?,
            target: collections::thread(target).map_err(JournalError::Store)?,
        };
        if source == target || !self.mark(&pair).await? {
            return Ok(Progress::Done);
        }
        loop {
            match self.step(&pair).await? {
                Progress::Moved => {}
                progress @ (Progress::Done | Progress::Waits) => return Ok(progress),
            }
        }
    }

    /// Marks the source. False if there are not two threads.
    async fn mark(&self, pair: &Pair) -> Result<bool, JournalError> {
        let places = pair.clone();
        let needs = vec![
            Need::Read(pair.source.clone()),
            Need::Read(pair.target.clone()),
        ];
        let marked = self.journal.apply(needs, move |draft| {
            let Some(mut source) = draft.get::<ThreadDoc>(&places.source)? else {
                return Ok(false);
            };
            let Some(mut target) = draft.get::<ThreadDoc>(&places.target)? else {
                return Ok(false);
            };
            if source.merging_into.is_none() {
                source.merging = true;
                source.merging_into = Some(places.target.id().to_owned());
                // Whoever looks for either address finds the target.
                target.pn = target.pn.take().or(source.pn.take());
                target.lid = target.lid.take().or(source.lid.take());
                source.pn = None;
                source.lid = None;
                draft.put(places.source.clone(), &source)?;
                draft.put(places.target.clone(), &target)?;
            }
            Ok(true)
        });
        marked.await
    }

    /// Moves some messages, or ends the merge.
    async fn step(&self, pair: &Pair) -> Result<Progress, JournalError> {
        let Some(source) = self.source(pair).await.map_err(JournalError::Store)? else {
            return Ok(Progress::Done);
        };
        let (moves, kept) = self.moves(pair).await.map_err(JournalError::Store)?;
        if !moves.is_empty() {
            self.move_messages(pair, moves).await?;
            return Ok(Progress::Moved);
        }
        if kept || self.sends_there(pair).await.map_err(JournalError::Store)? {
            return Ok(Progress::Waits);
        }
        self.end(pair, source.value).await
    }

    async fn source(&self, pair: &Pair) -> Result<Option<Record<ThreadDoc>>, StoreError> {
        let snapshot = self.store.get(std::slice::from_ref(&pair.source)).await?;
        let found = snapshot.documents.iter().flatten().next();
        Ok(match found.map(ThreadDoc::read).transpose()? {
            Some(Read::Known(record)) => Some(record),
            Some(Read::Newer(_)) | None => None,
        })
    }

    /// What can be moved now, and whether something has to stay for a while.
    async fn moves(&self, pair: &Pair) -> Result<(Vec<Move>, bool), StoreError> {
        let target = pair.target.id();
        // What waits to be sent comes with the others: there may be no more of it
        // than one look takes.
        let query = queries::messages_of(pair.source.id())?.limit(4 * TOGETHER_MAX);
        let page = self.store.query(&query).await?;
        let messages = page.documents.iter().filter_map(MessageDoc::read_or_skip);
        let (mut moves, mut kept) = (Vec::new(), false);
        for Record {
            path,
            value: message,
            ..
        } in messages
        {
            let sent = match &message.outbox_id {
                Some(id) => Some((collections::outbox(id)?, collections::wa_outbox(id)?)),
                None => None,
            };
            if let Some((_, record)) = &sent
                && self.is_open(record).await?
            {
                kept = true;
                continue;
            }
            let sender = if message.from_me { ME } else { PEER };
            let id = ids::message(target, sender, &message.wa_message_id);
            moves.push(Move {
                to: collections::message(target, &id)?,
                expiry: (collections::expiry(path.id())?, collections::expiry(&id)?),
                file: match &message.received {
                    Some(file) => Some(collections::received_media(&file.id)?),
                    None => None,
                },
                sent,
                from: path,
            });
            if moves.len() >= TOGETHER_MAX as usize {
                break;
            }
        }
        Ok((moves, kept))
    }

    async fn is_open(&self, record: &Path) -> Result<bool, StoreError> {
        let snapshot = self.store.get(std::slice::from_ref(record)).await?;
        let found = snapshot.documents.iter().flatten().next();
        let record = found.and_then(WaOutboxDoc::read_or_skip);
        Ok(record.is_some_and(|record| record.value.open))
    }

    /// Whether something is still to be sent from the source that is no message
    /// of its own.
    async fn sends_there(&self, pair: &Pair) -> Result<bool, StoreError> {
        let query = queries::wa_outbox_open(&self.account_id)?;
        let open = coordinator_lib::store::query_all(self.store.as_ref(), &query, OPEN_MAX).await?;
        let mut open = open.iter().filter_map(WaOutboxDoc::read_or_skip);
        Ok(open.any(|record| record.value.thread_id == pair.source.id()))
    }

    async fn move_messages(&self, pair: &Pair, moves: Vec<Move>) -> Result<(), JournalError> {
        let mut needs = vec![
            Need::Read(pair.source.clone()),
            Need::Read(pair.target.clone()),
        ];
        for one in &moves {
            let sent = one.sent.iter().flat_map(|(one, other)| [one, other]);
            let all = [&one.from, &one.to, &one.expiry.0, &one.expiry.1];
            let all = all.into_iter().chain(sent).chain(&one.file);
            needs.extend(all.cloned().map(Need::Read));
        }
        let places = pair.clone();
        let moved = self.journal.apply(needs, move |draft| {
            let mut moved = Vec::new();
            for one in &moves {
                moved.extend(move_message(draft, &places, one)?);
            }
            Ok(moved)
        });
        for (wa_message_id, target) in moved.await? {
            self.sent.learn(wa_message_id, target);
        }
        Ok(())
    }

    /// Removes the source, if nothing has come into it since it was read.
    async fn end(&self, pair: &Pair, seen: ThreadDoc) -> Result<Progress, JournalError> {
        let places = pair.clone();
        let left = collections::merged_thread(pair.source.id()).map_err(JournalError::Store)?;
        let needs = vec![
            Need::Read(pair.source.clone()),
            Need::Read(pair.target.clone()),
            Need::Read(left.clone()),
        ];
        let ended = self.journal.apply(needs, move |draft| {
            let Some(source) = draft.get::<ThreadDoc>(&places.source)? else {
                return Ok(Progress::Done);
            };
            let Some(mut target) = draft.get::<ThreadDoc>(&places.target)? else {
                return Ok(Progress::Waits);
            };
            if source.last_message_id != seen.last_message_id
                || source.last_message_at != seen.last_message_at
            {
                // What is known here may be older than what came: it is written,
                // so that the write's condition finds that out.
                draft.put(places.source.clone(), &source)?;
                return Ok(Progress::Moved);
            }
            take_over(&mut target, &source);
            draft.put(places.target.clone(), &target)?;
            draft.remove(places.source.clone())?;
            let pointer = MergedThreadDoc {
                account_id: source.account_id.clone(),
                into: places.target.id().to_owned(),
            };
            draft.put(left.clone(), &pointer)?;
            draft.event(
                EventKind::ThreadMerged,
                [
                    ("threadId", places.target.id().to_owned()),
                    ("mergedThreadId", places.source.id().to_owned()),
                ],
            );
            Ok(Progress::Done)
        });
        ended.await
    }
}

/// Moves one message. Gives where it is now, if its receipts are looked for.
fn move_message(
    draft: &mut Draft<'_>,
    pair: &Pair,
    one: &Move,
) -> Result<Option<(String, Target)>, DraftError> {
    let Some(mut message) = draft.get::<MessageDoc>(&one.from)? else {
        return Ok(None);
    };
    let (Some(mut source), Some(mut target)) = (
        draft.get::<ThreadDoc>(&pair.source)?,
        draft.get::<ThreadDoc>(&pair.target)?,
    ) else {
        return Ok(None);
    };
    let known = draft.get::<MessageDoc>(&one.to)?;
    let is_unread = |message: &MessageDoc| {
        message.direction == Direction::In && message.state == MessageState::Received
    };
    if is_unread(&message) {
        source.unread = (source.unread - 1).max(0);
    }
    // The same message came under both addresses: what could be read stays.
    let takes_place = match &known {
        None => true,
        Some(known) => known.kind == UNDECRYPTABLE && message.kind != UNDECRYPTABLE,
    };
    if takes_place {
        if known.is_none() && is_unread(&message) {
            target.unread += 1;
        }
        message.thread_id = pair.target.id().to_owned();
        if target.last_message_id.is_none() || message.sort_at >= target.last_message_at {
            target.last_message_at = message.sort_at;
            target.last_message_id = Some(one.to.id().to_owned());
            let preview = super::threads::preview(&message);
            target.last_message_preview = Some(preview.into());
        }
        draft.put(one.to.clone(), &message)?;
        if let Some(mut expiry) = draft.get::<ExpiryDoc>(&one.expiry.0)? {
            expiry.thread_id = pair.target.id().to_owned();
            draft.put(one.expiry.1.clone(), &expiry)?;
        }
    }
    if let Some(path) = &one.file {
        match draft.get::<ReceivedMediaDoc>(path)? {
            Some(mut file) if takes_place => {
                file.thread_id = pair.target.id().to_owned();
                file.message_id = one.to.id().to_owned();
                draft.put(path.clone(), &file)?;
            }
            Some(_) => draft.remove(path.clone())?,
            None => {}
        }
    }
    draft.remove(one.expiry.0.clone())?;
    draft.remove(one.from.clone())?;
    draft.put(pair.source.clone(), &source)?;
    draft.put(pair.target.clone(), &target)?;
    let mut place = Target {
        thread_id: pair.target.id().to_owned(),
        stored_message_id: one.to.id().to_owned(),
        outbox_id: message.outbox_id.clone(),
        traceparent: None,
    };
    if let Some((asked, sent)) = &one.sent {
        if let Some(mut record) = draft.get::<OutboxDoc>(asked)? {
            record.thread_id.clone_from(&place.thread_id);
            place.traceparent.clone_from(&record.traceparent);
            record
                .stored_message_id
                .clone_from(&place.stored_message_id);
            draft.put(asked.clone(), &record)?;
        }
        if let Some(mut record) = draft.get::<WaOutboxDoc>(sent)? {
            record.thread_id.clone_from(&place.thread_id);
            record
                .stored_message_id
                .clone_from(&place.stored_message_id);
            draft.put(sent.clone(), &record)?;
        }
    }
    Ok(message.from_me.then_some((message.wa_message_id, place)))
}

/// What is left of the source, beside its messages.
fn take_over(target: &mut ThreadDoc, source: &ThreadDoc) {
    target.answered |= source.answered;
    target.archived &= source.archived;
    target.title = target.title.take().or_else(|| source.title.clone());
    target.title_key = target.title_key.take().or_else(|| source.title_key.clone());
    target.timer_seconds = target.timer_seconds.or(source.timer_seconds);
    target.created_at = target.created_at.min(source.created_at);
    target.read_pending |= source.read_pending;
    target.pending |= source.read_pending;
}

#[cfg(test)]
mod tests;
