//! Keys and the audit log.

use axum::http::StatusCode;

use super::super::operation::{Operation, operation};
use crate::http::keys;
use crate::http::problem::ProblemKind as P;
use crate::http::sign_in;

pub(super) const TAG: &str = "Keys";

pub(super) fn operations() -> Vec<Operation> {
    let op = |method, path, id, summary| operation(TAG, method, path, id, summary);
    vec![
        op("GET", "/v1/sign-in", "readSignIn", "Who is signed in")
            .about("In this browser, by the cookie that `signIn` has set.")
            .answers::<sign_in::SignInView>(StatusCode::OK, "Somebody, or nobody")
            .fails(&[P::RateLimited, P::StoreUnavailable, P::StoredDataUnreadable]),
        op(
            "POST",
            "/v1/sign-in",
            "signIn",
            "Signs a browser in, for the dashboard",
        )
        .about(
            "Sets a cookie that stands for the key; it ends with the key, or after \
                 --sign-in-time. Programs send their key with each request and need no cookie.",
        )
        .takes::<sign_in::SignInBody>()
        .answers::<sign_in::SignInView>(StatusCode::OK, "Signed in")
        .fails(&[
            P::Unauthorized,
            P::RateLimited,
            P::StoreUnavailable,
            P::StoredDataUnreadable,
        ]),
        op("DELETE", "/v1/sign-in", "signOut", "Takes the cookie away")
            .answers_nothing(StatusCode::NO_CONTENT, "Nobody is signed in"),
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
