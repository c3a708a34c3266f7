use super::*;
use crate::model::collections::{OUTBOX, WA_OUTBOX};
use crate::testing::{ANNA, Bench, request, until};
use session::HeadDoc;
use std::collections::HashSet;

fn accepted(outcome: AcceptOutcome) -> Accepted {
    match outcome {
        AcceptOutcome::Accepted(accepted) => accepted,
        AcceptOutcome::Repeated(accepted) => panic!("repeated: {accepted:?}"),
    }
}

#[tokio::test]
async fn a_request_becomes_all_its_documents_in_one_commit() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let before = bench.memory.commits();
    let accepted = accepted(bench.accept(&account, "+49 170 0000001", "hello").await);
    assert_eq!(bench.memory.commits() - before, 1);
    let sent: WaOutboxDoc = bench
        .read(collections::wa_outbox(&accepted.message_id).unwrap())
        .await
        .unwrap();
    assert_eq!(
        (sent.chat.as_str(), sent.state, sent.open),
        (ANNA, MessageState::Queued, true)
    );
    assert_eq!(sent.wa_message_id, accepted.wa_message_id);
    let asked: OutboxDoc = bench
        .read(collections::outbox(&accepted.message_id).unwrap())
        .await
        .unwrap();
    assert_eq!(asked.accepted_at, sent.accepted_at);
    assert_eq!(asked.body, "hello");
    let path = collections::message(&accepted.thread_id, &accepted.stored_message_id).unwrap();
    let shown: MessageDoc = bench.read(path).await.unwrap();
    assert_eq!(
        (shown.state, shown.outbox_id),
        (MessageState::Queued, Some(accepted.message_id.clone()))
    );
    let thread: ThreadDoc = bench
        .read(collections::thread(&accepted.thread_id).unwrap())
        .await
        .unwrap();
    assert_eq!(thread.last_message_preview.as_deref(), Some("hello"));
    assert_eq!(thread.unread, 0);
}

#[tokio::test]
async fn the_stored_payload_opens_in_its_own_place_only_and_keeps_its_secret() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let one = accepted(bench.accept(&account, ANNA, "a canary sings").await);
    let two = accepted(bench.accept(&account, ANNA, "another").await);
    let document: WaOutboxDoc = bench
        .read(collections::wa_outbox(&one.message_id).unwrap())
        .await
        .unwrap();
    assert!(
        !document
            .payload
            .windows(6)
            .any(|window| window == b"canary")
    );
    let head: HeadDoc = bench
        .document(account.head_path())
        .await
        .unwrap()
        .decode()
        .unwrap();
    let key = bench.keys.unwrap(&head.wrapped_keys, "a1").unwrap();
    let opened = key
        .open_secret("a1", &payload_purpose(&one.message_id), &document.payload)
        .unwrap();
    assert!(opened.windows(6).any(|window| window == b"canary"));
    assert!(
        key.open_secret("a1", &payload_purpose(&two.message_id), &document.payload)
            .is_err()
    );
}

#[tokio::test]
async fn the_same_key_and_body_are_the_same_message() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let request = AcceptRequest {
        idempotency_key: Some("k1".into()),
        ..request(&account, ANNA, "hello")
    };
    let parts = bench.accept_parts();
    let first = accepted(accept(parts, &request).await.unwrap());
    // The same recipient in another spelling is the same request.
    let again = AcceptRequest {
        to: "+49 170 0000001".into(),
        ..request.clone()
    };
    assert_eq!(
        accept(parts, &again).await.unwrap(),
        AcceptOutcome::Repeated(first)
    );
    let other = AcceptRequest {
        fingerprint: "something else".into(),
        ..request
    };
    assert!(matches!(
        accept(parts, &other).await,
        Err(AcceptError::KeyReused)
    ));
    assert_eq!(bench.list::<OutboxDoc>(OUTBOX).await.len(), 1);
}

#[tokio::test]
async fn repetitions_at_the_same_moment_make_one_message() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let request = AcceptRequest {
        idempotency_key: Some("k1".into()),
        ..request(&account, ANNA, "hello")
    };
    let all =
        futures::future::join_all((0..5).map(|_| accept(bench.accept_parts(), &request))).await;
    let ids: HashSet<String> = all
        .into_iter()
        .map(|outcome| match outcome.unwrap() {
            AcceptOutcome::Accepted(accepted) | AcceptOutcome::Repeated(accepted) => {
                accepted.message_id
            }
        })
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(bench.list::<WaOutboxDoc>(WA_OUTBOX).await.len(), 1);
}

#[tokio::test]
async fn a_forgotten_key_can_be_used_again() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let parts = AcceptParts {
        idempotency_ttl: Duration::from_millis(1),
        media_retention: Duration::from_secs(3600),
        ..bench.accept_parts()
    };
    let request = AcceptRequest {
        idempotency_key: Some("k1".into()),
        ..request(&account, ANNA, "hello")
    };
    let first = accepted(accept(parts, &request).await.unwrap());
    let other = AcceptRequest {
        fingerprint: "another".into(),
        ..request
    };
    let second = until("the key is forgotten", || async {
        match accept(parts, &other).await {
            Ok(outcome) => Some(accepted(outcome)),
            Err(AcceptError::KeyReused) => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    assert_ne!(first.message_id, second.message_id);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let parts = bench.accept_parts();
    let long = "x".repeat(whatsapp::TEXT_BYTES_MAX + 1);
    for (to, text) in [
        ("Anna", "hello"),
        ("0170 1", "hello"),
        (ANNA, ""),
        (ANNA, long.as_str()),
    ] {
        let refused = accept(parts, &request(&account, to, text)).await;
        assert!(
            matches!(
                refused,
                Err(AcceptError::Recipient(_) | AcceptError::Text { .. })
            ),
            "{refused:?}"
        );
    }
    let nobody = AcceptRequest {
        account_id: "a/../b".into(),
        ..request(&account, ANNA, "hello")
    };
    assert!(matches!(
        accept(parts, &nobody).await,
        Err(AcceptError::UnknownAccount)
    ));
    assert_eq!(bench.list::<OutboxDoc>(OUTBOX).await.len(), 0);
}

#[tokio::test]
async fn acceptance_times_are_in_the_order_of_the_answers() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let mut times = Vec::new();
    for n in 0..10 {
        let accepted = accepted(bench.accept(&account, ANNA, &n.to_string()).await);
        let path = collections::wa_outbox(&accepted.message_id).unwrap();
        times.push(bench.read::<WaOutboxDoc>(path).await.unwrap().accepted_at);
    }
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
}

const GROUP: &str = "120363000000000001@g.us";

/// A group as it is kept.
async fn with_group(bench: &Bench, joined: bool) {
    use crate::model::group::MemberDoc;
    let group = GroupDoc {
        account_id: "a1".to_owned(),
        jid: GROUP.to_owned(),
        subject: "Team".to_owned(),
        description: None,
        owner: None,
        created_at: None,
        announcement: false,
        locked: false,
        timer_seconds: Some(86_400),
        community: false,
        joined,
        size: 1,
        members: vec![MemberDoc {
            pn: Some(ANNA.to_owned()),
            lid: Some("88770000001@lid".to_owned()),
            rank: whatsapp::groups::GroupRank::Member,
        }],
    };
    let path = collections::group(&ids::thread("a1", GROUP)).unwrap();
    let write = create(path, group.to_document().unwrap());
    let _ = bench.store.commit(vec![write]).await.unwrap();
}

#[tokio::test]
async fn in_a_group_people_are_named_as_it_knows_them() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    with_group(&bench, true).await;
    let request = AcceptRequest {
        message: NewMessage::Text {
            text: "ask @491700000001 or @491700000002".to_owned(),
            mentions: vec![ANNA.to_owned(), crate::testing::BEN.to_owned()],
            preview: None,
            quote: None,
        },
        ..request(&account, GROUP, "")
    };
    let accepted = accepted(accept(bench.accept_parts(), &request).await.unwrap());
    let path = collections::message(&accepted.thread_id, &accepted.stored_message_id).unwrap();
    let stored: MessageDoc = bench.read(path).await.unwrap();
    assert_eq!(
        stored.body.as_deref(),
        Some("ask @88770000001 or @491700000002"),
        "who is not in it is named as before"
    );
    let extras = stored.extras.unwrap();
    assert_eq!(extras.mentions, ["88770000001@lid", crate::testing::BEN]);
    assert_eq!(
        extras.expires_after_seconds,
        Some(86_400),
        "the group's timer"
    );
    let thread: ThreadDoc = bench
        .read(collections::thread(&accepted.thread_id).unwrap())
        .await
        .unwrap();
    assert_eq!(thread.title.as_deref(), Some("Team"));
}

#[tokio::test]
async fn nothing_is_accepted_for_a_group_that_was_left() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    with_group(&bench, false).await;
    let refused = accept(bench.accept_parts(), &request(&account, GROUP, "hello")).await;
    assert!(matches!(refused, Err(AcceptError::NotInGroup)));
    let sent: Vec<WaOutboxDoc> = bench.list(WA_OUTBOX).await;
    assert!(sent.is_empty());
}
