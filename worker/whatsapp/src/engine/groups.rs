//! Groups, asked for and changed: [`GroupRequest`] carried out by the engine.

use std::sync::Arc;

use chrono::DateTime;
use wacore::iq::groups::ParticipantType;
use wacore_binary::Jid;
use whatsapp_rust::features::{
    GroupCreateOptions, GroupDescription, GroupError as EngineGroupError, GroupMetadata,
    GroupParticipant, GroupParticipantOptions, GroupSubject, JoinGroupResult,
    ParticipantChangeResponse, PreviousDescription,
};
use whatsapp_rust::{Client, IqError};

use super::Engine;
use crate::groups::{
    GROUP_MEMBERS_MAX, GROUPS_MAX, GroupAnswer, GroupError, GroupInfo, GroupMember, GroupRank,
    GroupRequest, MemberChange, PersonOutcome,
};
use crate::send_error::SendError;

impl Engine {
    /// Carries a request out. WhatsApp has as long as for a message.
    ///
    /// # Errors
    /// [`GroupError`].
    ///
    /// # Cancel safety
    /// Dropped half-way, it may or may not have been done.
    pub async fn group(&self, request: &GroupRequest) -> Result<GroupAnswer, GroupError> {
        let client = self.connected_client().map_err(unsent)?;
        let work = async { Ok(carry_out(&client, request).await) };
        self.limited(work).await.map_err(unsent)?
    }
}

async fn carry_out(
    client: &Arc<Client>,
    request: &GroupRequest,
) -> Result<GroupAnswer, GroupError> {
    let groups = client.groups();
    match request {
        GroupRequest::Create { subject, people } => {
            let participants = addresses(people)?;
            let options = GroupCreateOptions::builder()
                .subject(subject.clone())
                .participants(
                    participants
                        .into_iter()
                        .map(GroupParticipantOptions::new)
                        .collect(),
                )
                .build();
            let created = groups.create_group(options).await.map_err(refusal)?;
            Ok(GroupAnswer::Group {
                group: Box::new(info(created.metadata)),
            })
        }
        GroupRequest::List => {
            let all = groups.get_participating().await.map_err(refusal)?;
            let more = all.len() > GROUPS_MAX;
            let groups = all.into_values().take(GROUPS_MAX).map(info).collect();
            Ok(GroupAnswer::Groups { groups, more })
        }
        GroupRequest::Read { group } => {
            let found = groups.get_metadata(&address(group)?).await;
            Ok(GroupAnswer::Group {
                group: Box::new(info(found.map_err(refusal)?)),
            })
        }
        GroupRequest::Members {
            group,
            change,
            people,
        } => {
            let (group, people) = (address(group)?, addresses(people)?);
            let outcomes = match change {
                MemberChange::Add => groups.add_participants(group, &people).await,
                MemberChange::Remove => groups.remove_participants(group, &people).await,
                MemberChange::Promote => groups.promote_participants(group, &people).await,
                MemberChange::Demote => groups.demote_participants(group, &people).await,
            };
            let outcomes = outcomes.map_err(refusal)?;
            Ok(GroupAnswer::People {
                people: outcomes.into_iter().map(outcome).collect(),
            })
        }
        GroupRequest::Subject { group, subject } => {
            let subject = GroupSubject::new(subject.clone()).map_err(|_| GroupError::Invalid)?;
            let set = groups.set_subject(address(group)?, subject).await;
            set.map(|()| GroupAnswer::Done).map_err(refusal)
        }
        GroupRequest::Description { group, text } => {
            let text = text.clone().map(GroupDescription::new).transpose();
            let text = text.map_err(|_| GroupError::Invalid)?;
            let before = PreviousDescription::Resolve;
            let set = groups.set_description(address(group)?, text, before).await;
            set.map(|()| GroupAnswer::Done).map_err(refusal)
        }
        GroupRequest::Announcement { group, on } => {
            let set = groups.set_announce(address(group)?, *on).await;
            set.map(|()| GroupAnswer::Done).map_err(refusal)
        }
        GroupRequest::Locked { group, on } => {
            let set = groups.set_locked(address(group)?, *on).await;
            set.map(|()| GroupAnswer::Done).map_err(refusal)
        }
        GroupRequest::Timer { group, seconds } => {
            let set = groups.set_ephemeral(address(group)?, *seconds).await;
            set.map(|()| GroupAnswer::Done).map_err(refusal)
        }
        GroupRequest::Invitation { group, renew } => {
            let link = groups.get_invite_link(address(group)?, *renew).await;
            let link = link.map_err(refusal)?;
            Ok(GroupAnswer::Invitation { link })
        }
        GroupRequest::Join { invitation } => {
            let joined = groups.join_with_invite_code(invitation).await;
            Ok(match joined.map_err(refusal)? {
                JoinGroupResult::Joined(group) => GroupAnswer::Joined {
                    group: group.to_string(),
                    waiting: false,
                },
                JoinGroupResult::PendingApproval(group) => GroupAnswer::Joined {
                    group: group.to_string(),
                    waiting: true,
                },
            })
        }
        GroupRequest::Leave { group } => {
            let left = groups.leave(address(group)?).await;
            left.map(|()| GroupAnswer::Done).map_err(refusal)
        }
    }
}

fn address(text: &str) -> Result<Jid, GroupError> {
    text.parse().map_err(|_| GroupError::Invalid)
}

fn addresses(people: &[String]) -> Result<Vec<Jid>, GroupError> {
    people.iter().map(|person| address(person)).collect()
}

fn info(group: GroupMetadata) -> GroupInfo {
    let seconds = group
        .creation_time
        .and_then(|time| i64::try_from(time).ok());
    let timer = group.ephemeral.and_then(|timer| timer.expiration);
    let owner = group.creator_pn.or(group.creator);
    let count = u32::try_from(group.participants.len()).unwrap_or(u32::MAX);
    GroupInfo {
        jid: group.id.to_string(),
        subject: group.subject,
        description: group.description.filter(|text| !text.is_empty()),
        owner: owner.map(|jid| jid.to_non_ad().to_string()),
        created_at: seconds.and_then(|at| DateTime::from_timestamp(at, 0)),
        announcement: group.is_announcement,
        locked: group.is_locked,
        timer_seconds: timer.filter(|seconds| *seconds > 0),
        community: group.is_parent_group,
        size: group.size.unwrap_or(count).max(count),
        members: group
            .participants
            .into_iter()
            .take(GROUP_MEMBERS_MAX)
            .map(member)
            .collect(),
    }
}

fn member(person: GroupParticipant) -> GroupMember {
    let mut all = [Some(person.jid), person.phone_number, person.lid];
    let mut find = |is_it: fn(&Jid) -> bool| {
        let found = all.iter_mut().find(|jid| jid.as_ref().is_some_and(is_it));
        found
            .and_then(Option::take)
            .map(|jid| jid.to_non_ad().to_string())
    };
    GroupMember {
        pn: find(|jid| jid.is_pn()),
        lid: find(|jid| jid.is_lid()),
        rank: match person.participant_type {
            ParticipantType::Member => GroupRank::Member,
            ParticipantType::Admin => GroupRank::Admin,
            ParticipantType::SuperAdmin => GroupRank::Owner,
        },
    }
}

fn outcome(person: ParticipantChangeResponse) -> PersonOutcome {
    let address = person.phone_number.unwrap_or(person.jid);
    PersonOutcome {
        address: address.to_non_ad().to_string(),
        error: person.error,
    }
}

/// The engine was not even asked, or did not come back in time.
fn unsent(error: SendError) -> GroupError {
    match error {
        SendError::NotConnected | SendError::Gate => GroupError::NotConnected,
        SendError::TimedOut => GroupError::TimedOut,
        SendError::Rejected(_) => GroupError::Invalid,
        SendError::Media
        | SendError::Disk
        | SendError::Storage
        | SendError::Query
        | SendError::Internal => GroupError::Internal,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the engine's enums, which grow"
)]
fn refusal(error: EngineGroupError) -> GroupError {
    match error {
        EngineGroupError::Iq(IqError::ServerError { code, .. }) => GroupError::Refused { code },
        EngineGroupError::Iq(IqError::Timeout) => GroupError::TimedOut,
        EngineGroupError::Iq(
            IqError::NotConnected | IqError::Disconnected(_) | IqError::InternalChannelClosed,
        ) => GroupError::NotConnected,
        EngineGroupError::InvalidRequest(_) => GroupError::Invalid,
        EngineGroupError::DescriptionConflict => GroupError::Refused { code: 409 },
        _ => GroupError::Internal,
    }
}
