//! Groups.

use axum::http::StatusCode;

use super::super::operation::{Operation, operation};
use crate::http::groups;
use crate::http::problem::ProblemKind as P;

pub(super) const TAG: &str = "Groups";

/// What can go wrong where the owner asks WhatsApp.
const CARRIED_OUT: &[P] = &[P::AccountState, P::RefusedByWhatsapp, P::OwnerSilent];

pub(super) fn operations() -> Vec<Operation> {
    let op = |method, path, id, summary| operation(TAG, method, path, id, summary);
    let of_group = |method, path, id, summary| {
        op(method, path, id, summary).fails(CARRIED_OUT).fails(&[
            P::UnknownGroup,
            P::UnknownAccount,
            P::NotInGroup,
        ])
    };
    vec![
        op(
            "GET",
            "/v1/accounts/{id}/groups",
            "listGroups",
            "The groups that it is in",
        )
        .paged()
        .answers::<groups::GroupPage>(StatusCode::OK, "A page, without members"),
        op(
            "POST",
            "/v1/accounts/{id}/groups",
            "createGroup",
            "Makes a group",
        )
        .about("Whom WhatsApp does not add is not in `members`.")
        .takes::<groups::NewGroup>()
        .answers::<groups::GroupView>(StatusCode::CREATED, "It is there")
        .fails(CARRIED_OUT),
        op(
            "POST",
            "/v1/accounts/{id}/groups/join",
            "joinGroup",
            "Goes into a group by its link",
        )
        .takes::<groups::JoinBody>()
        .answers::<groups::JoinedView>(StatusCode::OK, "It is in, or `waiting` for an admin")
        .fails(CARRIED_OUT),
        op(
            "GET",
            "/v1/groups/{id}",
            "readGroup",
            "One group, with its members",
        )
        .answers::<groups::GroupView>(StatusCode::OK, "As it is now")
        .fails(&[P::UnknownGroup]),
        of_group(
            "PATCH",
            "/v1/groups/{id}",
            "changeGroup",
            "Changes one thing of a group",
        )
        .about("One, because WhatsApp takes them one by one, and each may fail.")
        .takes::<groups::GroupPatch>()
        .answers_nothing(StatusCode::NO_CONTENT, "WhatsApp has taken it"),
        of_group(
            "POST",
            "/v1/groups/{id}/members",
            "changeMembers",
            "Changes who is in a group",
        )
        .takes::<groups::MembersBody>()
        .answers::<groups::PeopleView>(StatusCode::OK, "What became of each person"),
        of_group(
            "GET",
            "/v1/groups/{id}/invitation",
            "readInvitation",
            "The link that lets people in",
        )
        .answers::<groups::InvitationView>(StatusCode::OK, "The link"),
        of_group(
            "POST",
            "/v1/groups/{id}/invitation",
            "renewInvitation",
            "Another link",
        )
        .about("The one before is of no use any more.")
        .answers::<groups::InvitationView>(StatusCode::OK, "The link"),
        of_group(
            "POST",
            "/v1/groups/{id}/leave",
            "leaveGroup",
            "Goes out of a group",
        )
        .answers_nothing(StatusCode::NO_CONTENT, "It is out; the thread stays"),
    ]
}
