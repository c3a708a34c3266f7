#![allow(
    clippy::disallowed_methods,
    reason = "tests own their tasks by joining them"
)]

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::gate::CloseReason;
use futures::future::join_all;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::Device;
use wacore::store::traits::{
    AppStateSyncKey, AppSyncStore, DeviceInfo, DeviceListRecord, DeviceStore, LidPnMappingEntry,
    MsgSecretEntry, MsgSecretStore, PendingInboundKey, PendingInboundRow, ProtocolStore,
    SignalStore, TcTokenEntry,
};

use super::*;
use crate::testing::Bench;

const JID: &str = "491701234567@s.whatsapp.net";

#[tokio::test]
async fn signal_state_is_durable_when_the_write_returns() {
    let bench = Bench::new();
    let backend = bench.claim(1).await.backend;
    let address: Arc<str> = "491701234567:3@c.us".into();
    backend
        .put_sessions_batch(&[(address.clone(), Bytes::from_static(b"session"))])
        .await
        .unwrap();
    backend
        .put_sender_key("group::sender", b"sender key")
        .await
        .unwrap();
    backend
        .store_prekeys_batch(&[(7, Bytes::from_static(b"prekey"))], false)
        .await
        .unwrap();
    backend.store_signed_prekey(1, b"signed").await.unwrap();

    // Whoever comes next reads what was stored, and nothing else.
    let next = bench.claim(2).await.backend;
    assert_eq!(
        next.get_session(&address).await.unwrap().unwrap(),
        "session"
    );
    assert_eq!(
        next.get_sender_key("group::sender").await.unwrap().unwrap(),
        b"sender key"
    );
    assert_eq!(next.load_prekey(7).await.unwrap().unwrap(), "prekey");
    assert_eq!(
        next.load_signed_prekey(1).await.unwrap().unwrap(),
        b"signed"
    );
    assert_eq!(
        next.load_all_signed_prekeys().await.unwrap(),
        [(1, b"signed".to_vec())]
    );
    assert_eq!(next.get_max_prekey_id().await.unwrap(), 7);
}

#[tokio::test]
async fn a_decrypted_message_is_durable_together_with_its_ratchet() {
    let bench = Bench::new();
    let claim = bench.claim(1).await;
    let row = PendingInboundRow {
        chat: JID,
        sender: JID,
        id: "M1",
        message: b"payload",
    };
    let commits = bench.store.commits();
    claim
        .backend
        .store_pending_inbound_batch(&[row])
        .await
        .unwrap();
    assert_eq!(
        bench.store.commits(),
        commits,
        "the message alone waits for nobody"
    );
    claim
        .backend
        .put_session("peer@c.us", b"advanced")
        .await
        .unwrap();
    assert_eq!(bench.store.commits(), commits + 1, "both in one commit");

    let next = bench.claim(2).await.backend;
    assert_eq!(
        next.get_pending_inbound(JID, JID, "M1")
            .await
            .unwrap()
            .unwrap(),
        b"payload"
    );
    assert!(
        next.get_pending_inbound(JID, JID, "M2")
            .await
            .unwrap()
            .is_none()
    );
    let key = PendingInboundKey {
        chat: JID,
        sender: JID,
        id: "M1",
    };
    next.delete_pending_inbound_batch(&[key]).await.unwrap();
    assert!(
        next.get_pending_inbound(JID, JID, "M1")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_sent_message_is_taken_once() {
    let backend = Bench::new().claim(1).await.backend;
    backend
        .store_sent_message(JID, "M1", b"payload")
        .await
        .unwrap();
    let takers = (0..32).map(|_| {
        let backend = backend.clone();
        tokio::task::spawn(async move { backend.take_sent_message(JID, "M1").await.unwrap() })
    });
    let taken = join_all(takers).await;
    let taken = taken.into_iter().filter_map(|taken| taken.unwrap()).count();
    assert_eq!(taken, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_halves_of_a_token_survive_concurrent_writers() {
    let backend = Bench::new().claim(1).await.backend;
    let writers = (1..=50).flat_map(|at: i64| {
        let (ours, theirs) = (backend.clone(), backend.clone());
        [
            tokio::task::spawn(async move {
                ours.touch_tc_token_sender_timestamp(JID, at).await.unwrap();
            }),
            tokio::task::spawn(async move {
                theirs
                    .store_received_tc_token(JID, &at.to_be_bytes(), at)
                    .await
                    .unwrap();
            }),
        ]
    });
    for written in join_all(writers).await {
        written.unwrap();
    }
    let token = backend.get_tc_token(JID).await.unwrap().unwrap();
    assert_eq!(token.sender_timestamp, Some(50));
    assert_eq!(
        (token.token_timestamp, token.token),
        (50, 50_i64.to_be_bytes().to_vec())
    );
}

#[tokio::test]
async fn a_token_is_swept_only_when_neither_half_counts() {
    let backend = Bench::new().claim(1).await.backend;
    backend
        .touch_tc_token_sender_timestamp("sender", 100)
        .await
        .unwrap();
    let placeholder = backend.get_tc_token("sender").await.unwrap().unwrap();
    assert_eq!(
        (placeholder.token.len(), placeholder.token_timestamp),
        (0, 100)
    );
    backend
        .store_received_tc_token("token", b"t", 100)
        .await
        .unwrap();
    backend
        .store_received_tc_token("token", b"stale", 99)
        .await
        .unwrap();
    assert_eq!(
        backend.get_tc_token("token").await.unwrap().unwrap().token,
        b"t"
    );
    let old = TcTokenEntry {
        token: vec![1],
        token_timestamp: 1,
        sender_timestamp: Some(1),
    };
    backend.put_tc_token("old", &old).await.unwrap();
    assert_eq!(backend.delete_expired_tc_tokens(50, 50).await.unwrap(), 1);
    let mut left = backend.get_all_tc_token_jids().await.unwrap();
    left.sort();
    assert_eq!(left, ["sender", "token"]);
}

#[tokio::test]
async fn a_used_prekey_is_never_brought_back() {
    let backend = Bench::new().claim(1).await.backend;
    let prekeys = [
        (1, Bytes::from_static(b"one")),
        (2, Bytes::from_static(b"two")),
    ];
    backend.store_prekeys_batch(&prekeys, false).await.unwrap();
    backend.remove_prekey(1).await.unwrap();
    backend.mark_prekeys_uploaded(&[1, 2]).await.unwrap();
    assert_eq!(
        backend.load_prekeys_batch(&[1, 2]).await.unwrap(),
        prekeys[1..]
    );
}

#[tokio::test]
async fn signal_state_belongs_to_a_user_by_whole_name() {
    let backend = Bench::new().claim(1).await.backend;
    backend.put_identity("491701:2@lid", [1; 32]).await.unwrap();
    backend.put_session("4917@c.us", b"s").await.unwrap();
    for (user, known) in [
        ("491701", true),
        ("4917", true),
        ("49170", false),
        ("1701", false),
    ] {
        assert_eq!(
            backend.has_signal_state_for_user(user).await.unwrap(),
            known,
            "{user}"
        );
    }
    assert_eq!(
        backend.load_identity("491701:2@lid").await.unwrap(),
        Some([1; 32])
    );
    assert!(backend.has_session("4917@c.us").await.unwrap());
    backend.delete_session("4917@c.us").await.unwrap();
    assert!(!backend.has_session("4917@c.us").await.unwrap());
}

#[tokio::test]
async fn a_number_has_one_alias_and_an_alias_one_number() {
    let backend = Bench::new().claim(1).await.backend;
    let entry = |lid: &str, number: &str| LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: number.to_owned(),
        created_at: 1,
        updated_at: 2,
        learning_source: "usync".to_owned(),
    };
    backend
        .put_lid_mapping(&entry("lid1", "49170"))
        .await
        .unwrap();
    backend
        .put_lid_mappings(&[entry("lid1", "49171"), entry("lid2", "49172")])
        .await
        .unwrap();
    assert!(
        backend.get_pn_mapping("49170").await.unwrap().is_none(),
        "the number has moved on"
    );
    assert_eq!(
        backend.get_pn_mapping("49171").await.unwrap().unwrap().lid,
        "lid1"
    );
    assert_eq!(
        backend
            .get_lid_mapping("lid2")
            .await
            .unwrap()
            .unwrap()
            .phone_number,
        "49172"
    );
    assert_eq!(backend.get_all_lid_mappings().await.unwrap().len(), 2);
}

#[tokio::test]
async fn secrets_keep_the_longer_term_and_the_known_time() {
    let backend = Bench::new().claim(1).await.backend;
    let entry = |id: &str, secret: u8, expires_at, message_ts| MsgSecretEntry {
        chat: JID.into(),
        sender: JID.into(),
        msg_id: id.into(),
        secret: [secret; 32],
        expires_at,
        message_ts,
    };
    let far = backend.now() + 1_000;
    let secrets = vec![
        entry("M1", 1, far, 50),
        entry("M1", 2, far - 500, 0),
        entry("M2", 3, far - 500, 0),
        entry("M3", 4, 0, 0),
    ];
    assert_eq!(backend.put_msg_secrets(secrets).await.unwrap(), 4);
    let first = backend
        .get_msg_secret_with_ts(JID, JID, "M1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first, (vec![2; 32], 50));
    assert_eq!(
        backend.delete_expired_msg_secrets(far - 400).await.unwrap(),
        1
    );
    assert!(
        backend
            .get_msg_secret(JID, JID, "M2")
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        backend
            .get_msg_secret(JID, JID, "M1")
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        backend
            .get_msg_secret(JID, JID, "M3")
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn app_state_is_read_back_as_it_was_written() {
    let backend = Bench::new().claim(1).await.backend;
    let key = |n: u8| AppStateSyncKey {
        key_data: vec![n],
        fingerprint: vec![n],
        timestamp: 5,
    };
    backend.set_sync_key(&[9], key(1)).await.unwrap();
    backend.set_sync_key(&[1], key(2)).await.unwrap();
    assert_eq!(
        backend.get_latest_sync_key_id().await.unwrap(),
        Some(vec![1])
    );
    assert_eq!(
        backend.get_sync_key(&[9]).await.unwrap().unwrap().key_data,
        [1]
    );

    assert_eq!(backend.get_version("regular").await.unwrap().version, 0);
    let mut state = backend.get_version("regular").await.unwrap();
    state.version = 7;
    state.hash[127] = 3;
    state.index_value_map.insert("b".to_owned(), vec![1]);
    backend.set_version("regular", state.clone()).await.unwrap();
    let stored = backend.get_version("regular").await.unwrap();
    assert_eq!(
        (stored.version, stored.hash, stored.index_value_map),
        (7, state.hash, state.index_value_map)
    );

    // A MAC may hold any byte, the separator of keys among them.
    let mac = |index: [u8; 32]| AppStateMutationMAC {
        index_mac: index.to_vec(),
        value_mac: vec![index[0]],
    };
    backend
        .put_mutation_macs("regular", 7, &[mac([0; 32]), mac([1; 32])])
        .await
        .unwrap();
    backend
        .put_mutation_macs("regular_low", 7, &[mac([2; 32])])
        .await
        .unwrap();
    backend
        .delete_mutation_macs("regular", &[vec![1; 32]])
        .await
        .unwrap();
    let found = backend
        .get_mutation_macs("regular", &[[0; 32], [1; 32]])
        .await
        .unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [([0; 32], vec![0])]);
    backend.clear_mutation_macs("regular").await.unwrap();
    assert!(
        backend
            .get_mutation_mac("regular", &[0; 32])
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        backend
            .get_mutation_mac("regular_low", &[2; 32])
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn groups_and_devices_are_read_back_as_they_were_written() {
    let backend = Bench::new().claim(1).await.backend;
    backend
        .set_sender_key_status("g1", &[("b:1", true), ("a:1", false)])
        .await
        .unwrap();
    backend
        .set_sender_key_status("g1", &[("a:1", true)])
        .await
        .unwrap();
    backend
        .set_sender_key_status("g2", &[("a:1", true)])
        .await
        .unwrap();
    let both = [("a:1".to_owned(), true), ("b:1".to_owned(), true)];
    assert_eq!(backend.get_sender_key_devices("g1").await.unwrap(), both);
    backend
        .delete_sender_key_device_rows(&["a:1"])
        .await
        .unwrap();
    assert_eq!(
        backend.get_sender_key_devices("g1").await.unwrap(),
        both[1..]
    );
    assert!(
        backend
            .get_sender_key_devices("g2")
            .await
            .unwrap()
            .is_empty()
    );
    backend.clear_all_sender_key_devices().await.unwrap();
    assert!(
        backend
            .get_sender_key_devices("g1")
            .await
            .unwrap()
            .is_empty()
    );

    let record = DeviceListRecord {
        user: "49170".to_owned(),
        devices: vec![
            DeviceInfo::new(0, None),
            DeviceInfo::new(3, Some(2)).with_hosting(true),
        ],
        timestamp: 4,
        phash: Some("2:abc".to_owned()),
        raw_id: Some(9),
    };
    backend.update_device_list(record.clone()).await.unwrap();
    let stored = backend.get_devices("49170").await.unwrap().unwrap();
    assert_eq!(
        serde_json::to_value(stored).unwrap(),
        serde_json::to_value(record).unwrap()
    );
    backend.delete_devices("49170").await.unwrap();
    assert!(backend.get_devices("49170").await.unwrap().is_none());

    backend.put_group_metadata("g1", b"blob").await.unwrap();
    assert_eq!(
        backend.get_group_metadata("g1").await.unwrap().unwrap(),
        b"blob"
    );
    backend.save_base_key("a", "M1", b"base").await.unwrap();
    assert!(backend.has_same_base_key("a", "M1", b"base").await.unwrap());
    assert!(
        !backend
            .has_same_base_key("a", "M1", b"other")
            .await
            .unwrap()
    );
    backend.delete_base_key("a", "M1").await.unwrap();
    assert!(!backend.has_same_base_key("a", "M1", b"base").await.unwrap());
}

#[tokio::test]
async fn old_messages_are_swept() {
    let backend = Bench::new().claim(1).await.backend;
    backend
        .store_sent_message(JID, "M1", b"payload")
        .await
        .unwrap();
    backend
        .store_pending_inbound(JID, JID, "M1", b"payload")
        .await
        .unwrap();
    let now = backend.now();
    assert_eq!(
        backend.delete_expired_sent_messages(now - 1).await.unwrap(),
        0
    );
    assert_eq!(
        backend
            .delete_expired_pending_inbound(now - 1)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        backend.delete_expired_sent_messages(now + 1).await.unwrap(),
        1
    );
    assert_eq!(
        backend
            .delete_expired_pending_inbound(now + 1)
            .await
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn the_device_is_durable_and_reads_back_whole() {
    let bench = Bench::new();
    let backend = bench.claim(1).await.backend;
    assert!(!backend.exists().await.unwrap());
    let device = linked_device();
    backend.save(&device).await.unwrap();

    let next = bench.claim(2).await.backend;
    assert!(next.exists().await.unwrap());
    let loaded = next.load().await.unwrap().unwrap();
    assert_eq!(
        serde_json::to_value(&loaded).unwrap(),
        serde_json::to_value(&device).unwrap()
    );
}

#[tokio::test]
async fn a_late_save_cannot_take_the_account_away() {
    let backend = Bench::new().claim(1).await.backend;
    let linked = linked_device();
    let mut before = linked.clone();
    before.account = None;
    backend.save(&linked).await.unwrap();
    backend.save(&before).await.unwrap();
    assert!(backend.load().await.unwrap().unwrap().account.is_some());
    let mut renamed = linked;
    renamed.push_name = "Ada".to_owned();
    backend.save(&renamed).await.unwrap();
    assert_eq!(backend.load().await.unwrap().unwrap().push_name, "Ada");
}

#[tokio::test]
async fn a_closed_store_gate_lets_no_write_through() {
    let bench = Bench::new();
    let claim = bench.claim(1).await;
    claim.gates.store.close(CloseReason::Fenced);
    let commits = bench.store.commits();
    assert!(claim.backend.put_session("peer@c.us", b"s").await.is_err());
    assert!(
        claim
            .backend
            .store_sent_message(JID, "M1", b"p")
            .await
            .is_err()
    );
    assert!(claim.backend.remove_prekey(1).await.is_err());
    assert!(claim.backend.save(&Device::new()).await.is_err());
    assert!(!claim.files.is_dirty(), "not even memory has changed");
    assert_eq!(bench.store.commits(), commits);
}

#[tokio::test]
async fn a_suspended_store_gate_makes_writes_wait() {
    let bench = Bench::new();
    let claim = bench.claim(1).await;
    claim.gates.store.suspend().unwrap();
    let mut write = Box::pin(claim.backend.put_session("peer@c.us", b"s"));
    assert!(futures::poll!(&mut write).is_pending());
    assert!(
        claim
            .backend
            .get_session("peer@c.us")
            .await
            .unwrap()
            .is_none()
    );
    claim.gates.store.open().unwrap();
    tokio::time::timeout(Duration::from_secs(5), write)
        .await
        .expect("it goes on")
        .unwrap();
    assert!(
        claim
            .backend
            .get_session("peer@c.us")
            .await
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_key_whose_part_holds_the_separator_is_refused() {
    assert!(key(Kind::Pending, &["a", "b\0c"]).is_err());
    assert_eq!(key(Kind::Pending, &["a", "b"]).unwrap(), b"a\0b");
}

fn linked_device() -> Device {
    let mut device = Device::new();
    device.pn = Some("491701234567:3@s.whatsapp.net".parse().unwrap());
    device.account = Some(Arc::default());
    device
}
