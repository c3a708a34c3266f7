use coordinator_lib::history::ReleaseReason;
use coordinator_lib::store::{Precondition, Write};

use std::time::Duration;

use opentelemetry_sdk::trace::Sampler;
use whatsapp::content::{Poll, votes};

use super::*;
use crate::account::term::Term;
use crate::messages::identity::ME;
use crate::messages::undecryptable::{self, Undecryptable};
use crate::model::{Direction, EventKind, MessageDoc, MessageState, ThreadDoc};
use crate::telemetry::spans::Exported;
use crate::testing::{ANNA, ANNA_LID, BEN, Bench, account_inbox, inbound};

fn inbox(term: &Term) -> AccountInbox {
    inbox_with(term, InboxConfig::default())
}

fn inbox_with(term: &Term, config: InboxConfig) -> AccountInbox {
    account_inbox(term, config)
}

async fn messages(bench: &Bench, thread: &str) -> Vec<MessageDoc> {
    let mut messages: Vec<MessageDoc> = bench.list(&format!("threads/{thread}/messages")).await;
    messages.sort_by_key(|message| message.sort_at);
    messages
}

fn bodies(messages: &[MessageDoc]) -> Vec<&str> {
    messages
        .iter()
        .filter_map(|message| message.body.as_deref())
        .collect()
}

#[tokio::test]
async fn a_message_is_stored_with_its_thread_and_its_event() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    inbox(&term)
        .commit(vec![inbound("ID1", ANNA, "hello")])
        .await
        .unwrap();
    let thread_id = ids::thread("a1", ANNA);
    let thread: ThreadDoc = bench
        .read(collections::thread(&thread_id).unwrap())
        .await
        .unwrap();
    assert_eq!(
        (thread.unread, thread.title.as_deref()),
        (1, Some("Somebody"))
    );
    assert_eq!(thread.last_message_preview.as_deref(), Some("hello"));
    let stored = messages(&bench, &thread_id).await;
    assert_eq!(bodies(&stored), ["hello"]);
    assert_eq!(
        (stored[0].state, stored[0].direction),
        (MessageState::Received, Direction::In)
    );
    let events = bench.events(&account).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, EventKind::MessageReceived);
    assert_eq!(events[0].data["threadId"], thread_id);
}

#[tokio::test]
async fn what_is_delivered_again_is_stored_once() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let first = bench.term(&account).await;
    inbox(&first)
        .commit(vec![
            inbound("ID1", ANNA, "one"),
            inbound("ID2", ANNA, "two"),
        ])
        .await
        .unwrap();
    let _ = first
        .release(ReleaseReason::Drain, Duration::from_secs(5))
        .await
        .unwrap();
    // A new owner, which remembers nothing; half of the batch is new.
    let second = bench.term(&account).await;
    let inbox = inbox(&second);
    let batch = vec![
        inbound("ID2", ANNA, "two"),
        inbound("ID3", ANNA, "three"),
        inbound("ID3", ANNA, "three"),
    ];
    inbox.commit(batch).await.unwrap();
    let thread_id = ids::thread("a1", ANNA);
    assert_eq!(messages(&bench, &thread_id).await.len(), 3);
    let thread: ThreadDoc = bench
        .read(collections::thread(&thread_id).unwrap())
        .await
        .unwrap();
    assert_eq!(thread.unread, 3);
    assert_eq!(bench.events(&account).await.len(), 3);
    assert_eq!(inbox.parts.counters.repeated.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_large_batch_is_stored_in_order_and_in_few_commits() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let before = bench.memory.commits();
    let batch = (0..400).map(|n| Inbound {
        offline: true,
        ..inbound(&format!("ID{n}"), ANNA, &format!("{n:03}"))
    });
    inbox(&term).commit(batch.collect()).await.unwrap();
    let stored = messages(&bench, &ids::thread("a1", ANNA)).await;
    let expected: Vec<String> = (0..400).map(|n| format!("{n:03}")).collect();
    assert_eq!(bodies(&stored), expected);
    assert!(
        bench.memory.commits() - before <= 8,
        "{} commits",
        bench.memory.commits() - before
    );
}

#[tokio::test]
async fn one_peer_is_one_thread_under_both_addresses() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let inbox = inbox(&term);
    // First under the LID alone, then under it with the number, then the number.
    inbox
        .commit(vec![inbound("ID1", ANNA_LID, "one")])
        .await
        .unwrap();
    let with_number = Inbound {
        sender_alt: Some(ANNA.to_owned()),
        ..inbound("ID2", ANNA_LID, "two")
    };
    inbox.commit(vec![with_number]).await.unwrap();
    inbox
        .commit(vec![inbound("ID3", ANNA, "three")])
        .await
        .unwrap();
    let threads: Vec<ThreadDoc> = bench.list(collections::THREADS).await;
    assert_eq!(threads.len(), 1);
    assert_eq!(
        (threads[0].pn.as_deref(), threads[0].lid.as_deref()),
        (Some(ANNA), Some(ANNA_LID))
    );
    // Also for who has just come, and for who answers.
    let _ = term
        .release(ReleaseReason::Drain, Duration::from_secs(5))
        .await
        .unwrap();
    let next = bench.term(&account).await;
    self::inbox(&next)
        .commit(vec![
            inbound("ID3", ANNA, "three"),
            inbound("ID4", ANNA, "four"),
        ])
        .await
        .unwrap();
    bench.accept(&account, ANNA, "an answer").await;
    assert_eq!(bench.list::<ThreadDoc>(collections::THREADS).await.len(), 1);
    let thread_id = ids::thread("a1", ANNA_LID);
    assert_eq!(bodies(&messages(&bench, &thread_id).await).len(), 5);
}

#[tokio::test]
async fn the_same_id_from_different_people_is_two_messages() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let own = Inbound {
        from_me: true,
        ..inbound("ID1", ANNA, "from my phone")
    };
    inbox(&term)
        .commit(vec![
            inbound("ID1", ANNA, "from Anna"),
            own,
            inbound("ID1", BEN, "from Ben"),
        ])
        .await
        .unwrap();
    let with_anna = messages(&bench, &ids::thread("a1", ANNA)).await;
    assert_eq!(with_anna.len(), 2);
    let own = with_anna.iter().find(|message| message.from_me).unwrap();
    assert_eq!(
        (own.sender.as_str(), own.state, own.direction),
        (ME, MessageState::Sent, Direction::Out)
    );
    assert_eq!(messages(&bench, &ids::thread("a1", BEN)).await.len(), 1);
    let thread: ThreadDoc = bench
        .read(collections::thread(&ids::thread("a1", ANNA)).unwrap())
        .await
        .unwrap();
    assert_eq!(thread.unread, 1, "what we wrote ourselves is not unread");
}

#[tokio::test]
async fn an_old_message_does_not_become_the_latest() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let now = Inbound {
        timestamp: bench.clock.wall(),
        ..inbound("ID1", ANNA, "new")
    };
    let old = Inbound {
        offline: true,
        ..inbound("ID2", ANNA, "old")
    };
    inbox(&term).commit(vec![now, old]).await.unwrap();
    let thread: ThreadDoc = bench
        .read(collections::thread(&ids::thread("a1", ANNA)).unwrap())
        .await
        .unwrap();
    assert_eq!(thread.last_message_preview.as_deref(), Some("new"));
}

#[tokio::test]
async fn a_lost_account_acknowledges_nothing() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    term.gates
        .freeze(coordinator_lib::gate::CloseReason::LeaseLost);
    let mut exported = Exported::by(Sampler::AlwaysOff);
    let refused = inbox(&term)
        .commit(vec![inbound("ID1", ANNA, "hello")])
        .await;
    assert!(matches!(refused, Err(InboxError::NotOwner)));
    // That the claim is over is no failure.
    assert!(exported.names().is_empty());
}

#[tokio::test]
async fn of_a_batch_what_cannot_be_stored_fails_and_the_rest_is_stored() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let thread = collections::thread(&ids::thread("a1", ANNA)).unwrap();
    bench.make_newer(thread).await;
    let inbox = inbox(&term);
    let mut exported = Exported::by(Sampler::AlwaysOff);
    let refused = inbox
        .commit(vec![
            inbound("ID1", ANNA, "no"),
            inbound("ID2", BEN, "yes"),
            inbound("ID3", ANNA, "no"),
        ])
        .await;
    assert!(matches!(refused, Err(InboxError::Store(_))), "{refused:?}");
    assert_eq!(exported.names(), ["message.receive!", "message.receive!"]);
    let stored = messages(&bench, &ids::thread("a1", BEN)).await;
    assert_eq!(bodies(&stored), ["yes"]);
    assert_eq!(inbox.parts.counters.stored.load(Ordering::Relaxed), 1);
}

fn target(id: &str, from_me: bool) -> Target {
    Target {
        id: id.to_owned(),
        from_me,
        participant: None,
    }
}

fn with(id: &str, content: Content) -> Inbound {
    Inbound {
        content,
        ..inbound(id, ANNA, "")
    }
}

#[tokio::test]
async fn reactions_edits_and_revocations_change_their_message_once() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let inbox = inbox(&term);
    inbox
        .commit(vec![inbound("ID1", ANNA, "hello")])
        .await
        .unwrap();
    let edit = with(
        "ID2",
        Content::Edit {
            target: target("ID1", true),
            text: "hello!".to_owned(),
        },
    );
    let reaction = with(
        "ID3",
        Content::Reaction {
            target: target("ID1", true),
            emoji: "👍".to_owned(),
        },
    );
    // Each comes twice.
    for message in [&edit, &edit, &reaction, &reaction] {
        inbox.commit(vec![message.clone()]).await.unwrap();
    }
    let thread_id = ids::thread("a1", ANNA);
    let stored = messages(&bench, &thread_id).await;
    assert_eq!(bodies(&stored), ["hello!"]);
    assert_eq!(stored[0].reactions.len(), 1);
    assert_eq!(stored[0].reactions[0].sender, ANNA);
    let thread: ThreadDoc = bench
        .read(collections::thread(&thread_id).unwrap())
        .await
        .unwrap();
    assert_eq!(thread.last_message_preview.as_deref(), Some("hello!"));
    assert_eq!(thread.unread, 1);

    let revoke = with(
        "ID4",
        Content::Revoke {
            target: target("ID1", true),
        },
    );
    inbox.commit(vec![revoke]).await.unwrap();
    let stored = messages(&bench, &thread_id).await;
    assert_eq!((stored.len(), stored[0].body.as_deref()), (1, None));
    let kinds: Vec<EventKind> = bench
        .events(&account)
        .await
        .iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            EventKind::MessageReceived,
            EventKind::MessageChanged,
            EventKind::MessageChanged,
            EventKind::MessageChanged
        ]
    );
}

#[tokio::test]
async fn nobody_changes_what_somebody_else_wrote() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let inbox = inbox(&term);
    let mine = Inbound {
        from_me: true,
        ..inbound("ID1", ANNA, "mine")
    };
    inbox.commit(vec![mine]).await.unwrap();
    for (id, content) in [
        (
            "ID2",
            Content::Edit {
                target: target("ID1", false),
                text: "not mine".to_owned(),
            },
        ),
        (
            "ID3",
            Content::Revoke {
                target: target("ID1", false),
            },
        ),
    ] {
        inbox.commit(vec![with(id, content)]).await.unwrap();
    }
    let stored = messages(&bench, &ids::thread("a1", ANNA)).await;
    let kept: Vec<_> = stored
        .iter()
        .map(|message| (message.kind.as_str(), message.body.as_deref()))
        .collect();
    assert!(kept.contains(&("text", Some("mine"))), "{kept:?}");
    assert_eq!(kept.len(), 3, "stored for itself, so that nothing is lost");
}

#[tokio::test]
async fn a_vote_is_read_and_the_last_one_counts() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let inbox = inbox(&term);
    let secret = [5; 32];
    let options = ["now", "later"].map(str::to_owned);
    let poll = Inbound {
        secret: Some(bytes::Bytes::copy_from_slice(&secret)),
        ..with(
            "POLL",
            Content::Poll(Poll {
                question: "When?".to_owned(),
                options: options.to_vec(),
                selectable: 1,
            }),
        )
    };
    inbox.commit(vec![poll]).await.unwrap();
    let vote = |id: &str, chosen: &[String], seconds: i64| {
        let ballot = votes::Ballot {
            secret: &secret,
            poll: "POLL",
            creator: ANNA,
            voter: ANNA,
        };
        let mut vote = with(
            id,
            Content::Vote {
                target: target("POLL", true),
                vote: votes::seal(ballot, chosen).unwrap(),
            },
        );
        vote.timestamp += chrono::TimeDelta::seconds(seconds);
        vote
    };
    inbox
        .commit(vec![vote("V1", &options[..1], 1)])
        .await
        .unwrap();
    inbox
        .commit(vec![vote("V2", &options[1..], 2)])
        .await
        .unwrap();
    inbox
        .commit(vec![vote("V1", &options[..1], 1)])
        .await
        .unwrap();
    let stored = messages(&bench, &ids::thread("a1", ANNA)).await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].votes.len(), 1);
    assert_eq!(stored[0].votes[0].options, ["later"]);
    let sealed = stored[0].poll_secret.as_ref().unwrap();
    assert!(!sealed.windows(4).any(|window| window == [5; 4]));
}

#[tokio::test]
async fn status_updates_are_kept_only_where_that_is_wanted() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let status = Inbound {
        sender: ANNA.to_owned(),
        ..inbound("ID1", "status@broadcast", "look")
    };
    inbox(&term).commit(vec![status.clone()]).await.unwrap();
    assert_eq!(bench.list::<ThreadDoc>(collections::THREADS).await.len(), 0);
    let config = InboxConfig {
        status_updates: true,
        ..InboxConfig::default()
    };
    inbox_with(&term, config)
        .commit(vec![status])
        .await
        .unwrap();
    assert_eq!(bench.list::<ThreadDoc>(collections::THREADS).await.len(), 1);
}

#[tokio::test]
async fn what_could_not_be_read_is_shown_until_it_can() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let garbled = || Undecryptable {
        chat: ANNA.to_owned(),
        sender: ANNA.to_owned(),
        sender_alt: None,
        id: "ID1".to_owned(),
        at: inbound("ID1", ANNA, "").timestamp,
    };
    let thread_id = ids::thread("a1", ANNA);
    let note = async || {
        undecryptable::note("a1", &term.journal, &term.threads, garbled())
            .await
            .unwrap();
    };
    note().await;
    let stored = messages(&bench, &thread_id).await;
    assert_eq!(
        (stored.len(), stored[0].kind.as_str()),
        (1, "undecryptable")
    );

    inbox(&term)
        .commit(vec![inbound("ID1", ANNA, "hello")])
        .await
        .unwrap();
    note().await;
    let stored = messages(&bench, &thread_id).await;
    assert_eq!(bodies(&stored), ["hello"]);
    let thread: ThreadDoc = bench
        .read(collections::thread(&thread_id).unwrap())
        .await
        .unwrap();
    assert_eq!((stored.len(), thread.unread), (1, 1));
}

/// A group as it is kept, with Anna in it.
async fn with_group(bench: &Bench, jid: &str) -> String {
    use crate::model::group::MemberDoc;
    let thread_id = ids::thread("a1", jid);
    let group = GroupDoc {
        account_id: "a1".to_owned(),
        jid: jid.to_owned(),
        subject: "Team".to_owned(),
        description: None,
        owner: None,
        created_at: None,
        announcement: false,
        locked: false,
        timer_seconds: None,
        community: false,
        joined: true,
        size: 1,
        members: vec![MemberDoc {
            pn: Some(ANNA.to_owned()),
            lid: Some(ANNA_LID.to_owned()),
            rank: whatsapp::groups::GroupRank::Member,
        }],
    };
    let write = Write::Set {
        path: collections::group(&thread_id).unwrap(),
        fields: group.to_document().unwrap(),
        precondition: Precondition::Absent,
    };
    let _ = bench.store.commit(vec![write]).await.unwrap();
    thread_id
}

#[tokio::test]
async fn in_a_group_people_are_one_under_both_addresses() {
    const GROUP: &str = "120363000000000001@g.us";
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let thread_id = with_group(&bench, GROUP).await;
    let inbox = inbox(&term);
    let in_group = |message: Inbound| Inbound {
        chat: GROUP.to_owned(),
        wire_chat: GROUP.to_owned(),
        is_group: true,
        ..message
    };
    let message = in_group(Inbound {
        sender_alt: Some(ANNA_LID.to_owned()),
        wire_sender: ANNA_LID.to_owned(),
        ..inbound("ID1", ANNA, "hello")
    });
    inbox.commit(vec![message]).await.unwrap();
    // Ben's reaction names the author as the group knows her.
    let reaction = in_group(Inbound {
        content: Content::Reaction {
            target: Target {
                id: "ID1".to_owned(),
                from_me: false,
                participant: Some(ANNA_LID.to_owned()),
            },
            emoji: "👍".to_owned(),
        },
        ..inbound("ID2", BEN, "")
    });
    inbox.commit(vec![reaction]).await.unwrap();
    let stored = messages(&bench, &thread_id).await;
    assert_eq!(stored.len(), 1, "the reaction is none of its own");
    assert_eq!(stored[0].sender, ANNA);
    assert_eq!(stored[0].reactions[0].emoji, "👍");
    assert_eq!(stored[0].reactions[0].sender, BEN);
    let thread: ThreadDoc = bench
        .read(collections::thread(&thread_id).unwrap())
        .await
        .unwrap();
    assert_eq!(thread.title.as_deref(), Some("Team"), "the group's name");
}
