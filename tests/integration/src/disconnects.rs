//! What the server says when it ends a connection or refuses one, and what
//! becomes of the account.

use anyhow::Result;
use harness::api::{Account, Api};
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, Linked, Scene, play};
use harness::wait::{self, Look};
use harness::worker::Worker;
use wa_sim::fault::{Disconnect, Fault, FaultKind};

/// The log line that calls for a person, with the account and what to do.
const CALL: &str = "a person must look at an account";

/// The worker calls for a person here, in one ERROR line and on the account.
async fn expect_call(scene: &Scene, worker: &Worker, account: &Account) -> Result<()> {
    scene.allow_error(CALL);
    assert!(account.action_required.is_some());
    let log = worker.log();
    let call = log.until_line(&[CALL, &account.id], DELIVERY_LIMIT).await?;
    assert!(call.contains("\"action\""), "{call}");
    Ok(())
}

fn failure(reason: u16) -> FaultKind {
    FaultKind::Failure {
        reason,
        code: None,
        expire: None,
    }
}

/// Waits until the reason was noted.
async fn until_reason(api: &Api, id: &str, code: i64) -> Result<Account> {
    wait::until(&format!("reason {code}"), LINK_LIMIT, async || {
        let account = api.account(id).await?;
        let reason = account.last_disconnect_reason.clone();
        let noted = reason.as_ref().is_some_and(|reason| reason.code == code);
        Ok(Look::some(
            noted.then_some(account.clone()),
            (account.status, reason),
        ))
    })
    .await
}

/// The account is connected and messages flow both ways.
async fn works(scene: &Scene, api: &Api, account: &Linked) -> Result<()> {
    scene::until_connected(scene, api, account, LINK_LIMIT).await?;
    let peer = scene.contact("Peer")?;
    scene.write(&peer, account, "in")?;
    scene.send(api, account, &peer, "out").await?;
    scene.settle(api, DELIVERY_LIMIT).await?;
    Ok(())
}

/// The account does not log in again, while another one is linked, dropped and
/// back again: time enough for a reconnect loop to show itself.
async fn stays_away(scene: &Scene, api: &Api, account: &Linked) -> Result<()> {
    let logins = |account: &Linked| scene.sim().oracle().accounts[account.phone.number()].logins;
    let before = logins(account);
    let other = scene.link(api, "other").await?;
    scene
        .sim()
        .disconnect(other.number(), None, Disconnect::Close);
    until_reason(api, &other.id, 428).await?;
    works(scene, api, &other).await?;
    assert_eq!(logins(account), before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_required_515_reconnects_at_once_and_is_no_error() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let account = scene.link(worker.api(), "sales").await?;
        let before = scene.sim().oracle().counts.logins;
        let how = Disconnect::StreamError { code: 515 };
        assert_eq!(scene.sim().disconnect(account.number(), None, how), 1);
        scene
            .sim()
            .wait("it logs in again", LINK_LIMIT, || {
                scene.sim().oracle().counts.logins > before
            })
            .await?;
        works(scene, worker.api(), &account).await?;
        assert!(
            worker
                .api()
                .account(&account.id)
                .await?
                .last_error
                .is_none()
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn service_unavailable_503_is_tried_again() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let account = scene.link(api, "sales").await?;
        // Once on the open connection, then twice at login.
        scene.sim().inject(Fault::new(failure(503)).times(2))?;
        let how = Disconnect::StreamError { code: 503 };
        scene.sim().disconnect(account.number(), None, how);
        let seen = until_reason(api, &account.id, 503).await?;
        assert_eq!(
            seen.last_disconnect_reason.unwrap().name,
            "unavailableService"
        );
        works(scene, api, &account).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_connection_428_comes_back() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let account = scene.link(api, "sales").await?;
        scene
            .sim()
            .disconnect(account.number(), None, Disconnect::Close);
        let seen = until_reason(api, &account.id, 428).await?;
        assert_eq!(
            seen.last_disconnect_reason.unwrap().name,
            "connectionClosed"
        );
        works(scene, api, &account).await?;
        let health = api.health().await?;
        assert_eq!(
            health["lastDisconnectReasons"]["428 connectionClosed"], 1,
            "{health}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_connection_440_waits_and_comes_back() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let account = scene.link(api, "sales").await?;
        scene
            .sim()
            .disconnect(account.number(), None, Disconnect::Replaced);
        let seen = until_reason(api, &account.id, 440).await?;
        assert_eq!(
            seen.last_disconnect_reason.unwrap().name,
            "connectionReplaced"
        );
        assert_eq!(seen.status, "disconnected", "{:?}", seen.last_error);
        works(scene, api, &account).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_device_401_is_logged_out_for_good() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let account = scene.link(api, "sales").await?;
        scene
            .sim()
            .disconnect(account.number(), None, Disconnect::DeviceRemoved);
        let ended = api
            .until_status(&account.id, &["logged_out"], LINK_LIMIT)
            .await?;
        assert_eq!(ended.last_disconnect_reason.unwrap().code, 401);
        stays_away(scene, api, &account).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_login_401_is_logged_out_and_harms_no_other_account() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let account = scene.link(api, "refused").await?;
        let other = scene.link(api, "fine").await?;
        scene
            .sim()
            .inject(Fault::new(failure(401)).for_account(account.number()))?;
        scene
            .sim()
            .disconnect(account.number(), None, Disconnect::Close);
        let ended = api
            .until_status(&account.id, &["logged_out"], LINK_LIMIT)
            .await?;
        assert_eq!(ended.last_disconnect_reason.unwrap().name, "loggedOut");
        works(scene, api, &other).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_account_403_keeps_its_keys_and_waits() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let account = scene.link(api, "sales").await?;
        scene.sim().inject(
            Fault::new(failure(403))
                .for_account(account.number())
                .times(1),
        )?;
        scene
            .sim()
            .disconnect(account.number(), None, Disconnect::Close);
        let locked = api
            .until_status(&account.id, &["locked"], LINK_LIMIT)
            .await?;
        assert!(locked.retry_at.is_some());
        expect_call(scene, &worker, &locked).await?;
        // A person knows better: the session is still good.
        api.act(&account.id, "restart").await?;
        works(scene, api, &account).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_ban_402_is_waited_out() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let account = scene.link(api, "sales").await?;
        let ban = FaultKind::Failure {
            reason: 402,
            code: Some(101),
            expire: Some(3_600),
        };
        scene
            .sim()
            .inject(Fault::new(ban).for_account(account.number()))?;
        scene
            .sim()
            .disconnect(account.number(), None, Disconnect::Close);
        let banned = api
            .until_status(&account.id, &["banned"], LINK_LIMIT)
            .await?;
        assert!(banned.retry_at.is_some());
        expect_call(scene, &worker, &banned).await?;
        stays_away(scene, api, &account).await
    })
    .await
}
