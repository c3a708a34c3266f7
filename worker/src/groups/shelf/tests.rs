use std::sync::Arc;

use whatsapp::groups::GroupRank;

use super::*;
use crate::account::term::Term;
use crate::model::EventDoc;
use crate::testing::{ANNA, ANNA_LID, BEN, Bench};

const GROUP: &str = "120363000000000001@g.us";

fn info(subject: &str, members: &[(&str, Option<&str>)]) -> GroupInfo {
    GroupInfo {
        jid: GROUP.to_owned(),
        subject: subject.to_owned(),
        description: None,
        owner: Some(ANNA.to_owned()),
        created_at: None,
        announcement: false,
        locked: false,
        timer_seconds: Some(86_400),
        community: false,
        size: u32::try_from(members.len()).unwrap(),
        members: members
            .iter()
            .map(|(pn, lid)| GroupMember {
                pn: Some((*pn).to_owned()),
                lid: lid.map(str::to_owned),
                rank: GroupRank::Member,
            })
            .collect(),
    }
}

fn shelf(term: &Term) -> Shelf {
    Shelf {
        account_id: term.account.to_string(),
        store: Arc::clone(term.store()),
        journal: term.journal.clone(),
    }
}

async fn kept(bench: &Bench) -> GroupDoc {
    let id = ids::thread("a1", GROUP);
    bench.read(collections::group(&id).unwrap()).await.unwrap()
}

fn changes(events: &[EventDoc]) -> Vec<&str> {
    let of_groups = events
        .iter()
        .filter(|event| event.kind == EventKind::GroupChanged);
    of_groups
        .map(|event| event.data["change"].as_str())
        .collect()
}

#[tokio::test]
async fn only_what_has_changed_is_written_and_told() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let shelf = shelf(&term);
    let team = info("Team", &[(BEN, None), (ANNA, Some(ANNA_LID))]);
    shelf.keep(&team, GroupNews::Created).await.unwrap();
    // The same in another order is no change.
    let same = info("Team", &[(ANNA, Some(ANNA_LID)), (BEN, None)]);
    let commits = bench.memory.commits();
    shelf.keep(&same, GroupNews::Settings).await.unwrap();
    assert_eq!(bench.memory.commits(), commits, "nothing to write");
    let fewer = info("Team", &[(ANNA, Some(ANNA_LID))]);
    shelf.keep(&fewer, GroupNews::Removed).await.unwrap();
    let group = kept(&bench).await;
    assert_eq!((group.size, group.joined), (1, true));
    assert_eq!(group.number_of(ANNA_LID), Some(ANNA));
    assert_eq!(group.lid_of(ANNA), Some(ANNA_LID));
    assert_eq!(group.lid_of(BEN), None);
    let events = bench.events(&account).await;
    assert_eq!(changes(&events), ["joined", "removed"]);
}

#[tokio::test]
async fn the_thread_of_a_group_has_its_name_and_timer() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let thread = crate::messages::identity::new_thread("a1", GROUP, crate::testing::at(1));
    let path = collections::thread(&ids::thread("a1", GROUP)).unwrap();
    let create = coordinator_lib::store::Write::Set {
        path: path.clone(),
        fields: thread.to_document().unwrap(),
        precondition: coordinator_lib::store::Precondition::Absent,
    };
    let _ = bench.store.commit(vec![create]).await.unwrap();
    let shelf = shelf(&term);
    let team = info("Großes Team", &[(ANNA, None)]);
    shelf.keep(&team, GroupNews::Subject).await.unwrap();
    let thread: ThreadDoc = bench.read(path).await.unwrap();
    assert_eq!(thread.title.as_deref(), Some("Großes Team"));
    assert_eq!(thread.title_key.as_deref(), Some("großes team"));
    assert_eq!(thread.timer_seconds, Some(86_400));
}

#[tokio::test]
async fn a_group_that_is_not_told_of_any_more_was_left() {
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let term = bench.term(&account).await;
    let shelf = shelf(&term);
    let team = info("Team", &[(ANNA, None)]);
    shelf
        .keep_all(std::slice::from_ref(&team), true)
        .await
        .unwrap();
    // Where there are more than are kept, a missing one says nothing.
    shelf.keep_all(&[], false).await.unwrap();
    assert!(kept(&bench).await.joined);
    shelf.keep_all(&[], true).await.unwrap();
    let group = kept(&bench).await;
    assert!(!group.joined && group.members.is_empty());
    // Left once, told once; and in it again.
    shelf.left(GROUP).await.unwrap();
    shelf.keep(&team, GroupNews::Added).await.unwrap();
    assert!(kept(&bench).await.joined);
    let events = bench.events(&account).await;
    assert_eq!(changes(&events), ["joined", "left", "joined"]);
}
