//! Linking an account by QR code.

use std::time::Duration;

use anyhow::Result;
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, Linked, play};
use harness::wait::{self, Look};

/// The first of a pairing's codes is valid for 60 s, the others for 20 s each.
const CODES_LIMIT: Duration = Duration::from_secs(60 + 5 * 20 + 30);

#[tokio::test(flavor = "multi_thread")]
async fn account_pairs_by_qr_and_stores_its_first_message() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let peer = scene.contact("Peer")?;
        let account = scene.link(worker.api(), "sales").await?;

        let view = worker.api().account(&account.id).await?;
        assert_eq!(view.name, "sales");
        assert!(view.jid.unwrap().contains(account.number()));
        assert_eq!(view.owner.unwrap().worker, "alice");
        assert!(view.last_error.is_none());

        let first = scene.write(&peer, &account, "first")?;
        let stored =
            scene::until_stored(worker.api(), &account, &first.text, DELIVERY_LIMIT).await?;
        assert_eq!(stored.wa_message_id, first.message_id);
        assert!(!stored.offline);
        scene.settle(worker.api(), DELIVERY_LIMIT).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn code_is_served_as_text_picture_and_drawing() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let phone = scene.account_phone("owner")?;
        let linked = Linked {
            id: api.create_account("shown").await?.id,
            phone,
        };
        api.until_status(&linked.id, &["qr_ready"], LINK_LIMIT)
            .await?;

        let path = format!("/v1/accounts/{}/qr", linked.id);
        for (accept, content_type, begins) in [
            ("application/json", "application/json", &b"{"[..]),
            ("image/png", "image/png", b"\x89PNG"),
            ("image/svg+xml", "image/svg+xml", b"<"),
        ] {
            let headers = [("Accept", accept)];
            let answer = api
                .request(harness::api::Method::Get, &path, &headers, None)
                .await?;
            let answer = answer.expect(200)?;
            assert!(
                answer.content_type.starts_with(content_type),
                "{}",
                answer.content_type
            );
            assert!(answer.body.starts_with(begins), "{accept}");
        }

        scene.scan(api, &linked).await?;
        api.until_status(&linked.id, &["connected"], LINK_LIMIT)
            .await?;
        let answer = api.get(&path).await?;
        assert_eq!(answer.code(), "nothing_to_scan", "{}", answer.text());
        Ok(())
    })
    .await
}

/// 408 of an unpaired account: it stops and waits to be asked, it does not loop.
#[tokio::test(flavor = "multi_thread")]
async fn codes_that_nobody_scans_run_out_and_a_new_one_comes_on_request() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let phone = scene.account_phone("owner")?;
        let linked = Linked {
            id: api.create_account("slow").await?.id,
            phone,
        };
        api.until_status(&linked.id, &["qr_ready"], LINK_LIMIT)
            .await?;
        let first = api.qr(&linked.id).await?.unwrap();

        let next = wait::until("the next code", CODES_LIMIT, async || {
            let code = api.qr(&linked.id).await?;
            Ok(Look::some(
                code.filter(|code| code.qr != first.qr),
                "the first code",
            ))
        })
        .await?;
        assert!(next.seq > first.seq);

        let given_up = api
            .until_status(&linked.id, &["needs_qr"], CODES_LIMIT)
            .await?;
        assert_eq!(given_up.last_disconnect_reason.unwrap().code, 408);
        let answer = api.get(&format!("/v1/accounts/{}/qr", linked.id)).await?;
        assert_eq!(answer.code(), "nothing_to_scan", "{}", answer.text());

        api.act(&linked.id, "start").await?;
        scene.scan(api, &linked).await?;
        api.until_status(&linked.id, &["connected"], LINK_LIMIT)
            .await?;
        Ok(())
    })
    .await
}
