//! Accounts, their links and their owners.

use axum::http::StatusCode;

use super::super::operation::{Operation, boolean, integer, operation, text};
use crate::http::problem::ProblemKind as P;
use crate::http::{account_qr, accounts, archives, debug, history, linking, purge, sessions};
use crate::model::Status;

pub(super) const TAG: &str = "Accounts";

pub(super) fn operations() -> Vec<Operation> {
    let op = |method, path, id, summary| operation(TAG, method, path, id, summary);
    let asked = |path, id, summary| {
        op("POST", path, id, summary)
            .answers::<accounts::AccountView>(StatusCode::ACCEPTED, "Asked for: its owner obeys")
    };
    vec![
        op(
            "GET",
            "/v1/accounts",
            "listAccounts",
            "All accounts, or those of one status",
        )
        .query_of::<Status>("status", "Only those")
        .paged()
        .answers::<accounts::AccountPage>(StatusCode::OK, "A page, by id"),
        op(
            "POST",
            "/v1/accounts",
            "createAccount",
            "Creates an account that is to run at once",
        )
        .takes::<accounts::NewAccount>()
        .answers::<accounts::MadeAccount>(StatusCode::CREATED, "It is there"),
        op("GET", "/v1/accounts/{id}", "readAccount", "One account")
            .answers::<accounts::AccountView>(StatusCode::OK, "As it is now"),
        op(
            "PATCH",
            "/v1/accounts/{id}",
            "changeAccount",
            "Renames, sets proxy, presence or group",
        )
        .about(
            "A proxy is used from the next connection on. `available` shows the account as \
                 online while it is connected. Accounts with the same `spread` are kept on different \
                 workers where there is a choice; naming it moves nothing by itself.",
        )
        .takes::<accounts::AccountChange>()
        .answers::<accounts::AccountView>(StatusCode::OK, "As it is now"),
        op(
            "DELETE",
            "/v1/accounts/{id}",
            "purgeAccount",
            "Erases everything of an account, for good",
        )
        .about(
            "Session, conversations, files, events, deliveries: what is left is the id, marked as \
             purged. Whoever owns it stops first; its phone still lists it as linked unless it was \
             logged out before. 202 means that there is more to do: the same request goes on.",
        )
        .query("confirm", "The account's id once more", text())
        .answers::<purge::PurgeView>(StatusCode::OK, "Nothing is left")
        .answers::<purge::PurgeView>(StatusCode::ACCEPTED, "There is more: ask again")
        .fails(&[P::AccountState, P::MediaStoreUnavailable]),
        asked("/v1/accounts/{id}/start", "startAccount", "Wants it to run")
            .about("One whose QR codes ran out gets new ones."),
        asked(
            "/v1/accounts/{id}/stop",
            "stopAccount",
            "Wants it off, with its session kept",
        ),
        asked(
            "/v1/accounts/{id}/logout",
            "logOutAccount",
            "Wants it unlinked from its phone",
        )
        .about("Threads are kept. Its old session is archived once it is linked anew."),
        asked(
            "/v1/accounts/{id}/restart",
            "restartAccount",
            "Wants it to begin anew",
        ),
        asked(
            "/v1/accounts/{id}/release",
            "releaseAccount",
            "Asks its owner to hand it off",
        )
        .fails(&[P::AccountState]),
        op(
            "GET",
            "/v1/accounts/{id}/history",
            "readAccountHistory",
            "Who owned it, or how it was",
        )
        .query_of::<history::Of>("of", "What is told: `ownership` unless given")
        .paged()
        .answers::<history::HistoryPage>(StatusCode::OK, "A page, the latest first"),
        op(
            "GET",
            "/v1/accounts/{id}/archives",
            "listArchives",
            "Sessions that ended with a logout",
        )
        .about("They are kept for `--archive-retention`, and erased with the account.")
        .paged()
        .answers::<archives::ArchivePage>(StatusCode::OK, "A page, the oldest first"),
        op(
            "DELETE",
            "/v1/accounts/{id}/archives/{epoch}",
            "eraseArchive",
            "Erases an archived session before its time",
        )
        .answers::<archives::ArchiveView>(StatusCode::OK, "What was erased")
        .fails(&[P::UnknownArchive]),
        op(
            "GET",
            "/v1/accounts/{id}/qr",
            "readQrCode",
            "The code that the phone scans",
        )
        .query_of::<account_qr::Format>("format", "Its form; otherwise `Accept` decides")
        .query(
            "seq",
            "Not looked at: gives each code an address of its own",
            integer(),
        )
        .answers::<account_qr::CodeView>(StatusCode::OK, "The present code")
        .also_as(
            StatusCode::OK,
            &["image/png", "image/svg+xml", "text/plain"],
        )
        .fails(&[P::NothingToScan, P::NotAcceptable]),
        op(
            "POST",
            "/v1/accounts/{id}/pairing-code",
            "makePairingCode",
            "A code to type into the phone",
        )
        .about("A second one replaces the first.")
        .takes::<linking::CodeRequest>()
        .answers::<linking::CodeView>(StatusCode::OK, "The code")
        .fails(&[P::AccountState, P::RefusedByWhatsapp, P::OwnerSilent]),
        op(
            "GET",
            "/v1/accounts/{id}/passkey",
            "readPasskeyStep",
            "What WhatsApp wants of a passkey",
        )
        .answers_object(StatusCode::OK, "The step: `assertion` or `confirmation`")
        .fails(&[P::AccountState]),
        op(
            "POST",
            "/v1/accounts/{id}/passkey",
            "answerPasskeyStep",
            "Answers what WhatsApp wants",
        )
        .takes::<linking::PasskeyStep>()
        .answers_nothing(StatusCode::ACCEPTED, "Passed on")
        .fails(&[P::AccountState, P::RefusedByWhatsapp, P::OwnerSilent]),
        op(
            "PUT",
            "/v1/accounts/{id}/session",
            "importSession",
            "Takes a session of Baileys, or says what it would take",
        )
        .about(
            "A zip, tar or tar.gz of a `useMultiFileAuthState` folder, or documents as JSON, for an \
             account that is new or not linked. Without `write` only a report is made.",
        )
        .query("write", "Import it", boolean())
        .query("stopped", "Keep the account stopped", boolean())
        .query("ahead", "Counters that sending chains are moved ahead by", integer())
        .takes_file()
        .answers::<sessions::ImportView>(StatusCode::OK, "What it holds, and what was done")
        .fails(&[P::BodyTooLarge, P::AccountState]),
        op(
            "POST",
            "/v1/accounts/{id}/session/export",
            "exportSession",
            "The session of a stopped account as Baileys' files",
        )
        .about("The account is `needs_import` afterwards.")
        .query("baileys", "6 or 7; 7 unless given", integer())
        .answers_as(StatusCode::OK, "A zip", &["application/zip"])
        .fails(&[P::UnknownAccount, P::AccountState]),
        op(
            "GET",
            "/debug/accounts/{id}",
            "inspectAccount",
            "What its owner knows and does not store",
        )
        .answers::<debug::DebugView>(StatusCode::OK, "For people; its shape may change")
        .fails(&[P::OwnerSilent]),
    ]
}
