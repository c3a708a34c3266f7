use std::time::Duration;

use coordinator_lib::gate::CloseReason;
use whatsapp_rust::store::commands::DeviceCommand;
use whatsapp_rust::store::traits::DeviceStore;

use super::*;
use crate::testing::Bench;

async fn link(manager: &PersistenceManager) {
    let jid = "491701234567:3@s.whatsapp.net".parse().unwrap();
    manager
        .process_command(DeviceCommand::SetId(Some(jid)))
        .await;
}

#[tokio::test]
async fn a_new_identity_is_durable_before_the_next_frame() {
    let bench = Bench::new();
    let claim = bench.claim(1).await;
    let manager = Arc::new(
        PersistenceManager::new(Arc::new(claim.backend.clone()))
            .await
            .unwrap(),
    );
    let barrier = IdentityBarrier::new(manager.clone(), claim.backend);
    let commits = bench.store.commits();
    barrier.pass().await.unwrap();
    assert_eq!(
        bench.store.commits(),
        commits,
        "there is nothing to store yet"
    );

    link(&manager).await;
    barrier.pass().await.unwrap();
    let stored = bench.claim(2).await.backend.load().await.unwrap().unwrap();
    assert!(stored.pn.is_some());
}

#[tokio::test]
async fn what_the_identity_gains_later_is_durable_too() {
    let bench = Bench::new();
    let claim = bench.claim(1).await;
    let manager = Arc::new(
        PersistenceManager::new(Arc::new(claim.backend.clone()))
            .await
            .unwrap(),
    );
    let barrier = IdentityBarrier::new(manager.clone(), claim.backend);
    link(&manager).await;
    barrier.pass().await.unwrap();
    manager
        .process_command(DeviceCommand::SetAccount(Some(Default::default())))
        .await;
    barrier.settle().await.unwrap();
    let stored = bench.claim(2).await.backend.load().await.unwrap().unwrap();
    assert!(stored.account.is_some());
    let commits = bench.store.commits();
    manager
        .process_command(DeviceCommand::SetPushName("Ada".to_owned()))
        .await;
    barrier.pass().await.unwrap();
    assert_eq!(
        bench.store.commits(),
        commits,
        "once settled it costs nothing"
    );
}

#[tokio::test]
async fn no_frame_passes_while_the_identity_cannot_be_stored() {
    let bench = Bench::new();
    let claim = bench.claim(1).await;
    let manager = Arc::new(
        PersistenceManager::new(Arc::new(claim.backend.clone()))
            .await
            .unwrap(),
    );
    let barrier = IdentityBarrier::new(manager.clone(), claim.backend);
    link(&manager).await;
    claim.gates.store.suspend().unwrap();
    let mut pass = Box::pin(barrier.pass());
    assert!(futures::poll!(&mut pass).is_pending());
    claim.gates.store.close(CloseReason::Fenced);
    let refused = tokio::time::timeout(Duration::from_secs(5), pass)
        .await
        .expect("it ends");
    assert!(refused.is_err());
}
