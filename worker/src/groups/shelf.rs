//! Writes what WhatsApp says of a group into its documents: the group's own,
//! and name and timer of its thread.
//!
//! A document that would not change is not written, and then there is no event.

use coordinator_lib::store::{Path, Store, StoreError, StoreTime};
use whatsapp::groups::{
    GROUP_DESCRIPTION_CHARS_MAX, GROUP_SUBJECT_CHARS_MAX, GROUPS_MAX, GroupInfo, GroupMember,
    GroupNews,
};

use crate::events::{Draft, DraftError, Journal, JournalError, Need, Submitted};
use crate::messages::identity::bare;
use crate::model::group::MemberDoc;
use crate::model::thread::title_key;
use crate::model::{EventKind, GroupDoc, Stored, ThreadDoc, collections, ids, queries};

/// Groups that are kept in one go.
const TOGETHER_MAX: usize = 32;

/// Bytes of an address: a number has 15 digits, a LID a few more.
const ADDRESS_BYTES_MAX: usize = 64;

/// Where the groups of one account are kept.
#[derive(Clone)]
pub struct Shelf {
    /// Whose groups.
    pub account_id: String,
    /// Where they are read.
    pub store: Store,
    /// Through which they are written.
    pub journal: Journal,
}

/// Where one group is kept.
struct Places {
    group: Path,
    thread: Path,
}

impl Shelf {
    /// Keeps a group as it is now. `news` is what is said of it if it changed.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn keep(&self, info: &GroupInfo, news: GroupNews) -> Result<(), JournalError> {
        self.submit(info, news).await?.settled().await
    }

    /// Queues the change that keeps a group.
    async fn submit(
        &self,
        info: &GroupInfo,
        news: GroupNews,
    ) -> Result<Submitted<()>, JournalError> {
        let places = self.places(&info.jid).map_err(JournalError::Store)?;
        let document = document(&self.account_id, info);
        let change = move |draft: &mut Draft<'_>| keep(draft, &places, &document, news);
        let places = self.places(&info.jid).map_err(JournalError::Store)?;
        let needs = vec![Need::Read(places.group), Need::Read(places.thread)];
        self.journal.submit(needs, change).await
    }

    /// The account is not in a group any more.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn left(&self, jid: &str) -> Result<(), JournalError> {
        let places = self.places(jid).map_err(JournalError::Store)?;
        let needs = vec![Need::Read(places.group.clone())];
        let change = move |draft: &mut Draft<'_>| {
            let Some(mut group) = draft.get::<GroupDoc>(&places.group)? else {
                return Ok(());
            };
            if !group.joined {
                return Ok(());
            }
            group.joined = false;
            group.members = Vec::new();
            group.size = 0;
            draft.put(places.group.clone(), &group)?;
            tell(draft, &places, "left");
            Ok(())
        };
        self.journal.apply(needs, change).await
    }

    /// Keeps every group that the account is in, and that it has left the
    /// others. `is_all` is false where WhatsApp told more than is kept.
    ///
    /// # Errors
    /// [`JournalError`]; some may be kept.
    pub async fn keep_all(&self, groups: &[GroupInfo], is_all: bool) -> Result<(), JournalError> {
        for some in groups.chunks(TOGETHER_MAX) {
            let mut kept = Vec::with_capacity(some.len());
            for group in some {
                kept.push(self.submit(group, GroupNews::Settings).await?);
            }
            for change in kept {
                change.settled().await?;
            }
        }
        if !is_all {
            return Ok(());
        }
        for known in self.joined().await.map_err(JournalError::Store)? {
            if !groups.iter().any(|group| bare(&group.jid) == known) {
                self.left(&known).await?;
            }
        }
        Ok(())
    }

    /// The addresses of the groups that are kept as joined.
    async fn joined(&self) -> Result<Vec<String>, StoreError> {
        let query = queries::groups(&self.account_id)?;
        let found =
            coordinator_lib::store::query_all(self.store.as_ref(), &query, GROUPS_MAX).await?;
        let known = found.iter().filter_map(GroupDoc::read_or_skip);
        Ok(known.map(|group| group.value.jid).collect())
    }

    fn places(&self, jid: &str) -> Result<Places, StoreError> {
        let id = ids::thread(&self.account_id, &bare(jid));
        Ok(Places {
            group: collections::group(&id)?,
            thread: collections::thread(&id)?,
        })
    }
}

fn keep(
    draft: &mut Draft<'_>,
    places: &Places,
    group: &GroupDoc,
    news: GroupNews,
) -> Result<(), DraftError> {
    let known = draft.get::<GroupDoc>(&places.group)?;
    if let Some(mut thread) = draft.get::<ThreadDoc>(&places.thread)? {
        let is_named = thread.title.as_ref() == Some(&group.subject);
        if !is_named || thread.timer_seconds != group.timer_seconds {
            name(&mut thread, group);
            draft.put(places.thread.clone(), &thread)?;
        }
    }
    if known.as_ref() == Some(group) {
        return Ok(());
    }
    draft.put(places.group.clone(), group)?;
    let what = match known {
        Some(known) if known.joined => news.as_str(),
        Some(_) | None => "joined",
    };
    tell(draft, places, what);
    Ok(())
}

fn tell(draft: &mut Draft<'_>, places: &Places, what: &str) {
    draft.event(
        EventKind::GroupChanged,
        [
            ("groupId", places.group.id().to_owned()),
            ("change", what.to_owned()),
        ],
    );
}

/// Gives a group's thread its name and timer.
pub fn name(thread: &mut ThreadDoc, group: &GroupDoc) {
    thread.title = Some(group.subject.clone());
    thread.title_key = Some(title_key(&group.subject));
    thread.timer_seconds = group.timer_seconds;
}

/// The document of a group. Members in one order, whatever WhatsApp's is.
pub fn document(account_id: &str, info: &GroupInfo) -> GroupDoc {
    let mut members: Vec<MemberDoc> = info.members.iter().cloned().map(member).collect();
    members.sort_by(|one, other| (&one.pn, &one.lid).cmp(&(&other.pn, &other.lid)));
    GroupDoc {
        account_id: account_id.to_owned(),
        jid: bare(&info.jid),
        subject: cut(&info.subject, GROUP_SUBJECT_CHARS_MAX),
        description: info
            .description
            .as_deref()
            .map(|text| cut(text, GROUP_DESCRIPTION_CHARS_MAX)),
        owner: info.owner.clone().filter(|address| is_short(address)),
        created_at: info.created_at.map(StoreTime::from_datetime),
        announcement: info.announcement,
        locked: info.locked,
        timer_seconds: info.timer_seconds.map(i64::from),
        community: info.community,
        joined: true,
        size: i64::from(info.size),
        members,
    }
}

fn member(person: GroupMember) -> MemberDoc {
    MemberDoc {
        pn: person.pn.filter(|address| is_short(address)),
        lid: person.lid.filter(|address| is_short(address)),
        rank: person.rank,
    }
}

/// What comes from outside has a limit.
fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

/// Whether an address can be one.
fn is_short(address: &str) -> bool {
    address.len() <= ADDRESS_BYTES_MAX
}

#[cfg(test)]
mod tests;
