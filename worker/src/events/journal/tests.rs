use coordinator_lib::gate::CloseReason;
use coordinator_lib::store::{Fault, Precondition, Value};
use futures::future::join_all;
use opentelemetry_sdk::trace::Sampler;
use tracing::info_span;

use super::*;
use crate::model::{EventKind, ThreadDoc, collections};
use crate::telemetry::spans::Exported;
use crate::testing::{ANNA, Bench, at};

fn event(draft: &mut Draft<'_>, text: &str) -> i64 {
    draft.event(EventKind::AccountStatus, [("text", text.to_owned())])
}

fn thread(unread: i64) -> ThreadDoc {
    ThreadDoc {
        unread,
        ..crate::messages::identity::new_thread("a1", ANNA, at(1))
    }
}

fn path() -> Path {
    collections::thread("t1").unwrap()
}

/// Adds one to the thread's unread messages.
async fn count_one(journal: &Journal) -> Result<i64, JournalError> {
    journal
        .apply(vec![Need::Read(path())], |draft| {
            let unread = draft
                .get::<ThreadDoc>(&path())?
                .map_or(0, |thread| thread.unread)
                + 1;
            draft.put(path(), &thread(unread))?;
            event(draft, "counted");
            Ok(unread)
        })
        .await
}

#[tokio::test]
async fn changes_that_come_together_share_commits_and_keep_their_order() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let before = bench.memory.commits();
    let mut submitted = Vec::new();
    for n in 0..100 {
        let change = move |draft: &mut Draft<'_>| Ok(event(draft, &format!("{n:03}")));
        submitted.push(term.journal.submit(Vec::new(), change).await.unwrap());
    }
    let mut seqs = Vec::new();
    for change in submitted {
        seqs.push(change.settled().await.unwrap());
    }
    assert!(seqs.is_sorted() && seqs.len() == 100, "{seqs:?}");
    assert!(
        bench.memory.commits() - before < 20,
        "{} commits",
        bench.memory.commits() - before
    );
    let texts: Vec<String> = bench
        .events(&account)
        .await
        .into_iter()
        .map(|event| event.data["text"].clone())
        .collect();
    let expected: Vec<String> = (0..100).map(|n| format!("{n:03}")).collect();
    assert_eq!(texts, expected);
    assert_eq!(term.journal.seq(), 100);
}

#[tokio::test]
async fn changes_that_share_a_commit_keep_their_own_traces() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let before = bench.memory.commits();
    let _exported = Exported::by(Sampler::AlwaysOn);
    let spans = [info_span!("one"), Span::none(), info_span!("two")];
    let mut submitted = Vec::new();
    for span in &spans {
        let change = |draft: &mut Draft<'_>| Ok(event(draft, "it"));
        let change = term.journal.submit(Vec::new(), change);
        submitted.push(change.instrument(span.clone()).await.unwrap());
    }
    for change in submitted {
        change.settled().await.unwrap();
    }
    assert_eq!(bench.memory.commits() - before, 1);
    let events = bench.events(&account).await;
    let traces: Vec<_> = events.into_iter().map(|event| event.trace).collect();
    let [one, none, two] = spans.map(|span| propagation::of(&span));
    assert!(one.is_some() && none.is_none() && one != two);
    assert_eq!(traces, [one, none, two]);
}

#[tokio::test]
async fn what_is_erased_is_gone_whatever_else_the_commit_does_with_it() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    count_one(&term.journal).await.unwrap();
    let both = term.journal.apply(vec![Need::Read(path())], |draft| {
        draft.put(path(), &thread(7))?;
        draft.erase(path());
        event(draft, "erased");
        Ok(())
    });
    both.await.unwrap();
    assert!(bench.document(path()).await.is_none());
    // What is known of it is forgotten, too.
    assert_eq!(count_one(&term.journal).await.unwrap(), 1);
}

#[tokio::test]
async fn changes_of_one_document_see_one_another() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let counts = join_all((0..20).map(|_| count_one(&term.journal))).await;
    let counts: Vec<i64> = counts.into_iter().map(Result::unwrap).collect();
    assert_eq!(counts, (1..=20).collect::<Vec<_>>());
    assert_eq!(bench.read::<ThreadDoc>(path()).await.unwrap().unread, 20);
}

#[tokio::test]
async fn a_change_of_somebody_else_is_seen_and_not_overwritten() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    count_one(&term.journal).await.unwrap();
    // Now the journal remembers the document; behind its back it changes.
    let write = Write::Update {
        path: path(),
        fields: [("unread".to_owned(), Value::Int(40))].into(),
        precondition: Precondition::Exists,
    };
    let _ = bench.store.commit(vec![write]).await.unwrap();
    assert_eq!(count_one(&term.journal).await.unwrap(), 41);
    assert_eq!(term.journal.counts().1, 1, "one race was lost");
    assert_eq!(bench.events(&account).await.len(), 2);
}

#[tokio::test]
async fn a_change_that_fails_leaves_nothing_and_the_others_are_made() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let (first, failed, last) = tokio::join!(
        count_one(&term.journal),
        term.journal.apply(vec![Need::Read(path())], |draft| {
            event(draft, "never");
            draft
                .get::<ThreadDoc>(&collections::thread("unannounced").unwrap())
                .map(drop)
        }),
        count_one(&term.journal),
    );
    assert_eq!((first.unwrap(), last.unwrap()), (1, 2));
    assert!(matches!(failed, Err(JournalError::Draft(_))));
    assert!(
        bench
            .events(&account)
            .await
            .iter()
            .all(|event| event.data["text"] == "counted")
    );
}

#[tokio::test]
async fn a_newer_document_is_left_alone() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    bench.make_newer(path()).await;
    let refused = count_one(&term.journal).await;
    assert!(
        matches!(refused, Err(JournalError::Draft(DraftError::Newer { .. }))),
        "{refused:?}"
    );
    assert_eq!(
        bench.document(path()).await.unwrap().fields["schemaVersion"],
        Value::Int(99)
    );
}

#[tokio::test]
async fn a_lost_acknowledgement_repeats_no_event() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    for fault in [
        Fault::AmbiguousApplied,
        Fault::AmbiguousNotApplied,
        Fault::Unavailable,
        Fault::Contended,
    ] {
        bench.memory.fail_next_commit(fault);
        count_one(&term.journal).await.unwrap();
    }
    assert_eq!(bench.read::<ThreadDoc>(path()).await.unwrap().unread, 4);
    assert_eq!(bench.events(&account).await.len(), 4);
}

#[tokio::test]
async fn nothing_is_written_once_the_gate_is_closed() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    term.gates.freeze(CloseReason::Fenced);
    assert!(matches!(
        count_one(&term.journal).await,
        Err(JournalError::Closed(_) | JournalError::Fenced)
    ));
    assert_eq!(bench.read::<ThreadDoc>(path()).await, None);
}

#[tokio::test]
async fn a_stale_epoch_is_fenced() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let alice = bench.term(&account).await;
    // Alice's session is sealed, which she has not seen yet, and bob claims.
    let bob = bench.term_of("bob", &account).await;
    assert!(bob.epoch() > alice.epoch());
    assert!(matches!(
        count_one(&alice.journal).await,
        Err(JournalError::Fenced)
    ));
    count_one(&bob.journal).await.unwrap();
    assert!(!alice.gates.store.is_open() && !alice.gates.wire.is_open());
}

#[tokio::test]
async fn the_next_owner_goes_on_with_the_numbers() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let alice = bench.term(&account).await;
    count_one(&alice.journal).await.unwrap();
    let _ = alice
        .release(
            coordinator_lib::history::ReleaseReason::Drain,
            std::time::Duration::from_secs(5),
        )
        .await
        .unwrap();
    let bob = bench.term_of("bob", &account).await;
    count_one(&bob.journal).await.unwrap();
    let epochs: Vec<i64> = bench
        .events(&account)
        .await
        .iter()
        .map(|event| event.epoch)
        .collect();
    assert_eq!(epochs, [1, 2]);
}
