//! Archived sessions over the API: each account's own, and gone when erased.

use coordinator_lib::store::Stamp;

use super::*;
use crate::model::{SessionArchiveDoc, Stored};

/// What a logout of this account left, in this epoch.
async fn archived(api: &Fixture, account: &str, epoch: i64) {
    let files: Vec<String> = vec![format!("{epoch}-device"), format!("{epoch}-peers")];
    let folder = collections::archived_files(account).expect("an id");
    let archive = SessionArchiveDoc {
        account_id: account.to_owned(),
        epoch,
        archived_at: Stamp::Commit,
        phone: Some("+999000000001".to_owned()),
        files: files.clone(),
    };
    let set = |path, fields| Write::Set {
        path,
        fields,
        precondition: Precondition::Absent,
    };
    let record = collections::session_archive(account, epoch).expect("an id");
    let mut writes = vec![set(record, archive.to_document().expect("a document"))];
    let paths = files.iter().map(|name| folder.doc(name).expect("a name"));
    writes.extend(paths.map(|path| set(path, Fields::new())));
    let outcome = api.store.commit(writes).await.expect("the store works");
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
}

#[tokio::test]
async fn archives_are_listed_and_erased_one_by_one() {
    let api = Fixture::new();
    let [one, other] = [api.account("one").await, api.account("other").await];
    for (account, epoch) in [(&one, 2), (&one, 11), (&other, 2)] {
        archived(&api, account, epoch).await;
    }
    let path = format!("/v1/accounts/{one}/archives");
    let list = api.get(&path).await.json();
    let listed = list["archives"].as_array().expect("a list");
    let epochs: Vec<&Value> = listed.iter().map(|archive| &archive["epoch"]).collect();
    assert_eq!(epochs, [2, 11], "{list}");
    assert_eq!(listed[0]["files"], 2);
    assert_eq!(listed[0]["phone"], "+999000000001");
    assert!(listed[0]["archivedAt"].is_string(), "{list}");

    let erase = |path: String| api.send(Request::delete(path).body(Body::empty()).expect("one"));
    let erased = erase(format!("{path}/2")).await;
    assert_eq!(
        (erased.status, &erased.json()["epoch"]),
        (StatusCode::OK, &json!(2))
    );
    for gone in ["2", "3", "x"] {
        let again = erase(format!("{path}/{gone}")).await;
        again.problem(404, "unknown_archive");
    }
    erase("/v1/accounts/nobody/archives/2".to_owned())
        .await
        .problem(404, "unknown_account");

    // What the other one and the later one have is there still.
    for (account, epochs) in [(&one, json!([11])), (&other, json!([2]))] {
        let list = api
            .get(&format!("/v1/accounts/{account}/archives"))
            .await
            .json();
        let left: Vec<&Value> = list["archives"].as_array().into_iter().flatten().collect();
        let left: Vec<&Value> = left.iter().map(|archive| &archive["epoch"]).collect();
        assert_eq!(json!(left), epochs);
        let files = collections::archived_files(account).expect("an id");
        let query = coordinator_lib::store::Query::new(files);
        assert_eq!(api.store.count(&query).await.expect("it works"), 2);
    }
}
