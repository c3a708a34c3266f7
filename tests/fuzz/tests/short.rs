//! A few hundred rounds of each target.

#![allow(clippy::unwrap_used, reason = "tests")]

use fuzz::targets::run;

#[tokio::test]
async fn records_of_baileys_are_refused_or_taken_and_never_panic() {
    assert_eq!(run("baileys", 0..300).await.unwrap(), 300);
}

#[tokio::test]
async fn archives_and_documents_never_panic() {
    assert_eq!(run("sources", 0..300).await.unwrap(), 300);
}

#[tokio::test]
async fn key_rings_are_refused_without_a_quote() {
    assert_eq!(run("keyrings", 0..2_000).await.unwrap(), 2_000);
}

#[tokio::test]
async fn backups_are_read_whole_or_refused() {
    assert_eq!(run("backups", 0..300).await.unwrap(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_swapped_and_replayed_session_files_are_noticed() {
    assert_eq!(run("sessions", 0..100).await.unwrap(), 100);
}
