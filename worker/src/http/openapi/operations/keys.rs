//! Keys and the audit log.

use axum::http::StatusCode;

use super::super::operation::{Operation, operation};
use crate::http::keys;
use crate::http::problem::ProblemKind as P;

pub(super) const TAG: &str = "Keys";

pub(super) fn operations() -> Vec<Operation> {
    let op = |method, path, id, summary| operation(TAG, method, path, id, summary);
    vec![
        op("GET", "/v1/keys", "listKeys", "Every key, revoked ones too")
            .paged()
            .answers::<keys::KeyPage>(StatusCode::OK, "A page, by id"),
        op(
            "POST",
            "/v1/keys",
            "createKey",
            "Makes a key, and shows it once",
        )
        .about("The first key must be an admin's.")
        .takes::<keys::KeyBody>()
        .answers::<keys::MadeKey>(StatusCode::CREATED, "The key"),
        op(
            "GET",
            "/v1/keys/{id}",
            "readKey",
            "One key, without its secret",
        )
        .answers::<keys::KeyView>(StatusCode::OK, "As it is now")
        .fails(&[P::UnknownKey]),
        op(
            "DELETE",
            "/v1/keys/{id}",
            "revokeKey",
            "A key is good for nothing any more",
        )
        .about("On all workers within seconds. It stays in the list.")
        .answers_nothing(StatusCode::NO_CONTENT, "It is revoked")
        .fails(&[P::UnknownKey]),
        op(
            "GET",
            "/v1/audit",
            "listAudit",
            "What was changed with which key",
        )
        .paged()
        .answers::<keys::AuditPage>(StatusCode::OK, "A page, the latest first"),
    ]
}
