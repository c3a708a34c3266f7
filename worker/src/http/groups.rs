//! Groups: read from the store, changed by the owner of their account.
//!
//! A change is asked of the owner with a deadline and answered with what
//! WhatsApp said. If nobody answers, it may have been made all the same: look at
//! the group.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use whatsapp::groups::{
    GROUP_DESCRIPTION_CHARS_MAX, GROUP_MEMBERS_MAX, GROUP_SUBJECT_CHARS_MAX, GroupAnswer,
    GroupError, GroupRequest, MemberChange, PersonOutcome,
};

use super::accounts;
use super::extract::{Body, Id, Parameters};
use super::page::{PageParameters, next_page};
use super::problem::{Problem, ProblemKind};
use super::sealed::data_key;
use super::state::Api;
use crate::commands::{AskError, ask};
use crate::groups::answers::GroupReply;
use crate::messages::identity::bare;
use crate::model::command::CommandKind;
use crate::model::group::MemberDoc;
use crate::model::stored::Record;
use crate::model::{GroupDoc, Read, Status, Stored, ThreadKind, collections, ids, queries};
use crate::supervisor::answers::seal_argument;

/// WhatsApp has as long as for a message, and the owner the rest.
const REPLY_LIMIT: Duration = Duration::from_secs(25);

/// People that one request may name.
pub(super) const PEOPLE_MAX: usize = GROUP_MEMBERS_MAX - 1;

/// After a refusal for asking too often.
const RATE_RETRY_SECONDS: u32 = 60;

/// WhatsApp's code for that.
const ASKED_TOO_OFTEN: u16 = 429;

/// Bytes of a link that lets people in.
pub(super) const INVITATION_BYTES_MAX: usize = 256;

/// Longest time after which messages disappear: 90 days, as WhatsApp's clients offer.
pub(super) const TIMER_SECONDS_MAX: u32 = 90 * 24 * 60 * 60;

/// A group as clients see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Group)]
pub(super) struct GroupView {
    id: String,
    account_id: String,
    jid: String,
    subject: String,
    description: Option<String>,
    owner: Option<String>,
    created_at: Option<StoreTime>,
    announcement: bool,
    locked: bool,
    timer_seconds: Option<i64>,
    community: bool,
    joined: bool,
    size: i64,
    /// Left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<MemberDoc>>,
}

impl GroupView {
    fn new(id: &str, group: GroupDoc) -> Self {
        Self {
            id: id.to_owned(),
            account_id: group.account_id,
            jid: group.jid,
            subject: group.subject,
            description: group.description,
            owner: group.owner,
            created_at: group.created_at,
            announcement: group.announcement,
            locked: group.locked,
            timer_seconds: group.timer_seconds,
            community: group.community,
            joined: group.joined,
            size: group.size,
            members: Some(group.members),
        }
    }
}

/// A page of groups.
#[derive(Serialize, ToSchema)]
pub(super) struct GroupPage {
    groups: Vec<GroupView>,
    /// The `after` of the next page.
    next: Option<String>,
}

/// What became of each person.
#[derive(Serialize, ToSchema)]
#[schema(as = GroupMembersChanged)]
pub(super) struct PeopleView {
    people: Vec<PersonOutcome>,
}

/// A link that lets people into a group.
#[derive(Serialize, ToSchema)]
#[schema(as = GroupInvitation)]
pub(super) struct InvitationView {
    link: String,
}

/// A group that the account is in now, or waits for.
#[derive(Serialize, ToSchema)]
#[schema(as = JoinedGroup)]
pub(super) struct JoinedView {
    id: String,
    jid: String,
    /// An admin has to agree first.
    waiting: bool,
}

/// `GET /v1/accounts/{id}/groups`: the groups that the account is in, without
/// their members.
///
/// # Errors
/// `unknown_account`; `invalid_query`.
pub(super) async fn list(
    State(api): State<Api>,
    Id(account_id): Id,
    Parameters(page): Parameters<PageParameters>,
) -> Result<Json<GroupPage>, Problem> {
    accounts::find(&api, &account_id).await?;
    let query = queries::groups(&account_id)?;
    let page = page.read(api.store().as_ref(), query).await?;
    let groups: Vec<GroupView> = page
        .documents
        .iter()
        .filter_map(GroupDoc::read_or_skip)
        .map(|record| GroupView {
            members: None,
            ..GroupView::new(record.path.id(), record.value)
        })
        .collect();
    let next = next_page(&page);
    Ok(Json(GroupPage { groups, next }))
}

/// `GET /v1/groups/{id}`: one group, with its members.
///
/// # Errors
/// `unknown_group`.
pub(super) async fn read(State(api): State<Api>, Id(id): Id) -> Result<Json<GroupView>, Problem> {
    let group = find(&api, &id).await?;
    Ok(Json(GroupView::new(&id, group.value)))
}

/// Body of `POST /v1/accounts/{id}/groups`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGroup {
    subject: String,
    /// By number or address.
    people: Vec<String>,
}

/// `POST /v1/accounts/{id}/groups`: makes a group. Whoever may not be added is
/// left out by WhatsApp: compare `members`.
///
/// # Errors
/// `unknown_account`; `invalid_body`; `account_state`; `refused_by_whatsapp`;
/// `owner_silent`.
pub(super) async fn create(
    State(api): State<Api>,
    Id(account_id): Id,
    Body(body): Body<NewGroup>,
) -> Result<Response, Problem> {
    let request = GroupRequest::Create {
        subject: subject(body.subject)?,
        people: people(&body.people)?,
    };
    let GroupAnswer::Group { group } = asked(&api, &account_id, &request).await? else {
        return Err(unexpected());
    };
    let id = ids::thread(&account_id, &bare(&group.jid));
    let group = crate::groups::shelf::document(&account_id, &group);
    let view = GroupView::new(&id, group);
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Body of `PATCH /v1/groups/{id}`: one of these.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = GroupChange)]
pub(super) struct GroupPatch {
    subject: Option<String>,
    /// Empty takes it away.
    description: Option<String>,
    announcement: Option<bool>,
    locked: Option<bool>,
    /// 0 for never.
    timer_seconds: Option<u32>,
}

/// `PATCH /v1/groups/{id}`: changes one thing of a group. One, because WhatsApp
/// takes them one by one, and each may fail.
///
/// # Errors
/// `unknown_group`; `invalid_body`; `account_state`; `refused_by_whatsapp`;
/// `owner_silent`.
pub(super) async fn change(
    State(api): State<Api>,
    Id(id): Id,
    Body(body): Body<GroupPatch>,
) -> Result<StatusCode, Problem> {
    let (account_id, group) = place(&api, &id).await?;
    let mut requests = Vec::new();
    if let Some(text) = body.subject {
        let subject = subject(text)?;
        requests.push(GroupRequest::Subject {
            group: group.clone(),
            subject,
        });
    }
    if let Some(text) = body.description {
        if text.chars().count() > GROUP_DESCRIPTION_CHARS_MAX {
            return Err(invalid(format!(
                "`description` has {GROUP_DESCRIPTION_CHARS_MAX} characters at most"
            )));
        }
        requests.push(GroupRequest::Description {
            group: group.clone(),
            text: Some(text).filter(|text| !text.is_empty()),
        });
    }
    if let Some(on) = body.announcement {
        let group = group.clone();
        requests.push(GroupRequest::Announcement { group, on });
    }
    if let Some(on) = body.locked {
        let group = group.clone();
        requests.push(GroupRequest::Locked { group, on });
    }
    if let Some(seconds) = body.timer_seconds {
        if seconds > TIMER_SECONDS_MAX {
            return Err(invalid(format!(
                "`timerSeconds` is {TIMER_SECONDS_MAX} at most, or 0"
            )));
        }
        let group = group.clone();
        requests.push(GroupRequest::Timer { group, seconds });
    }
    let [request] = &requests[..] else {
        return Err(invalid(
            "give one of `subject`, `description`, `announcement`, `locked`, `timerSeconds`",
        ));
    };
    let GroupAnswer::Done = asked(&api, &account_id, request).await? else {
        return Err(unexpected());
    };
    Ok(StatusCode::NO_CONTENT)
}

/// Body of `POST /v1/groups/{id}/members`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GroupMembersChange)]
pub(super) struct MembersBody {
    /// `add`, `remove`, `promote` or `demote`.
    change: MemberChange,
    /// By number or address.
    people: Vec<String>,
}

/// `POST /v1/groups/{id}/members`: changes who is in a group, or an admin of it.
/// Answers with what became of each person.
///
/// # Errors
/// As [`change`].
pub(super) async fn members(
    State(api): State<Api>,
    Id(id): Id,
    Body(body): Body<MembersBody>,
) -> Result<Json<PeopleView>, Problem> {
    let (account_id, group) = place(&api, &id).await?;
    let people = people(&body.people)?;
    if people.is_empty() {
        return Err(invalid("`people` names somebody"));
    }
    let request = GroupRequest::Members {
        group,
        change: body.change,
        people,
    };
    let GroupAnswer::People { people } = asked(&api, &account_id, &request).await? else {
        return Err(unexpected());
    };
    Ok(Json(PeopleView { people }))
}

/// `GET /v1/groups/{id}/invitation`: the link that lets people in.
///
/// # Errors
/// As [`change`].
pub(super) async fn invitation(
    State(api): State<Api>,
    Id(id): Id,
) -> Result<Json<InvitationView>, Problem> {
    link(&api, &id, false).await
}

/// `POST /v1/groups/{id}/invitation`: another link; the one before is of no use
/// any more.
///
/// # Errors
/// As [`change`].
pub(super) async fn renew_invitation(
    State(api): State<Api>,
    Id(id): Id,
) -> Result<Json<InvitationView>, Problem> {
    link(&api, &id, true).await
}

async fn link(api: &Api, id: &str, renew: bool) -> Result<Json<InvitationView>, Problem> {
    let (account_id, group) = place(api, id).await?;
    let request = GroupRequest::Invitation { group, renew };
    let GroupAnswer::Invitation { link } = asked(api, &account_id, &request).await? else {
        return Err(unexpected());
    };
    Ok(Json(InvitationView { link }))
}

/// Body of `POST /v1/accounts/{id}/groups/join`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GroupJoin)]
pub(super) struct JoinBody {
    /// The link, or its code.
    invitation: String,
}

/// `POST /v1/accounts/{id}/groups/join`: goes into a group by its link. Where
/// an admin has to agree first, `waiting` says so.
///
/// # Errors
/// As [`create`].
pub(super) async fn join(
    State(api): State<Api>,
    Id(account_id): Id,
    Body(body): Body<JoinBody>,
) -> Result<Json<JoinedView>, Problem> {
    let invitation = body.invitation.trim().to_owned();
    if invitation.is_empty() || invitation.len() > INVITATION_BYTES_MAX {
        return Err(invalid("`invitation` is a group's link, or its code"));
    }
    let request = GroupRequest::Join { invitation };
    let GroupAnswer::Joined { group, waiting } = asked(&api, &account_id, &request).await? else {
        return Err(unexpected());
    };
    Ok(Json(JoinedView {
        id: ids::thread(&account_id, &bare(&group)),
        jid: group,
        waiting,
    }))
}

/// `POST /v1/groups/{id}/leave`: goes out of a group. Its thread stays.
///
/// # Errors
/// As [`change`].
pub(super) async fn leave(State(api): State<Api>, Id(id): Id) -> Result<StatusCode, Problem> {
    let (account_id, group) = place(&api, &id).await?;
    let request = GroupRequest::Leave { group };
    let GroupAnswer::Done = asked(&api, &account_id, &request).await? else {
        return Err(unexpected());
    };
    Ok(StatusCode::NO_CONTENT)
}

/// The account and the address of a group.
async fn place(api: &Api, id: &str) -> Result<(String, String), Problem> {
    let group = find(api, id).await?.value;
    match group.joined {
        true => Ok((group.account_id, group.jid)),
        false => Err(Problem::new(
            ProblemKind::NotInGroup,
            "the account has left this group, or was taken out of it",
        )),
    }
}

async fn find(api: &Api, id: &str) -> Result<Record<GroupDoc>, Problem> {
    let snapshot = api.store().get(&[collections::group(id)?]).await?;
    let document = snapshot.documents.into_iter().flatten().next();
    let unknown = || {
        Problem::new(
            ProblemKind::UnknownGroup,
            "GET /v1/accounts/{id}/groups lists the groups of an account",
        )
    };
    match GroupDoc::read(&document.ok_or_else(unknown)?)? {
        Read::Known(record) => Ok(record),
        Read::Newer(_) => Err(Problem::new(
            ProblemKind::StoredDataUnreadable,
            "the group was written by a newer worker; ask one, or update this worker",
        )),
    }
}

fn subject(text: String) -> Result<String, Problem> {
    match text.chars().count() {
        1..=GROUP_SUBJECT_CHARS_MAX => Ok(text),
        _ => Err(invalid(format!(
            "`subject` has 1 to {GROUP_SUBJECT_CHARS_MAX} characters"
        ))),
    }
}

fn people(names: &[String]) -> Result<Vec<String>, Problem> {
    if names.len() > PEOPLE_MAX {
        return Err(invalid(format!(
            "`people` has {PEOPLE_MAX} entries at most"
        )));
    }
    let addresses = names.iter().map(|name| {
        let address = whatsapp::normalise_recipient(name).ok();
        address.filter(|address| ThreadKind::of(address) == ThreadKind::Direct)
    });
    addresses
        .collect::<Option<Vec<String>>>()
        .ok_or_else(|| invalid("`people` are numbers with their country code, or addresses"))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::InvalidBody, detail)
}

/// Each request has its answer: another one is a fault.
fn unexpected() -> Problem {
    Problem::new(ProblemKind::Internal, "the owner answered something else")
}

/// Asks the owner of an account.
async fn asked(
    api: &Api,
    account_id: &str,
    request: &GroupRequest,
) -> Result<GroupAnswer, Problem> {
    let account = accounts::find(api, account_id).await?.value;
    let session = account
        .lease_session
        .as_deref()
        .filter(|_| account.status == Status::Connected);
    let Some(session) = session else {
        return Err(failed(GroupError::NotConnected).with("accountStatus", account.status.as_str()));
    };
    let data_key = data_key(api, account_id).await?;
    let (store, clock, rng) = (api.store(), api.clock(), api.rng().as_ref());
    let argument = seal_argument(&data_key, rng, account_id, request);
    let command = (CommandKind::Group, Some(argument));
    let whom = (account_id, session);
    match ask(store, clock, rng, whom, command, REPLY_LIMIT).await {
        Ok(reply) => GroupReply::read(reply, &data_key, account_id).map_err(failed),
        Err(AskError::Store(error)) => Err(error.into()),
        Err(error @ (AskError::Refused | AskError::NoReply(_))) => Err(Problem::new(
            ProblemKind::OwnerSilent,
            format!("{error}; it may have been done all the same: look at the group"),
        )),
    }
}

fn failed(error: GroupError) -> Problem {
    match error {
        GroupError::NotConnected => Problem::new(
            ProblemKind::AccountState,
            "groups can be changed while the account is connected",
        ),
        GroupError::TimedOut => Problem::new(
            ProblemKind::OwnerSilent,
            "WhatsApp did not answer in time; it may have been done all the same: look at the group",
        ),
        GroupError::Refused { code } => {
            let problem = Problem::new(ProblemKind::RefusedByWhatsapp, error.to_string())
                .with("waCode", code);
            match code {
                ASKED_TOO_OFTEN => problem.retry_after(RATE_RETRY_SECONDS),
                _ => problem,
            }
        }
        GroupError::Invalid => invalid("WhatsApp cannot take the request like this"),
        GroupError::Internal => Problem::new(
            ProblemKind::Internal,
            "the owner's WhatsApp engine failed; its log says why",
        ),
    }
}
