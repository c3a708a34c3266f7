//! Requests that are wrong: each gets a clear problem, and nothing else changes.

use anyhow::Result;
use harness::api::Method;
use harness::scene::{DELIVERY_LIMIT, play};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_problems_that_say_what_to_do() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let account = api.create_account("sales").await?.id;
        let messages = format!("/v1/accounts/{account}/messages");
        let unknown = "/v1/accounts/account_00000000000000000000000000";

        use Method::{Get, Post};
        for (method, path, body, status, code) in [
            (Post, "/v1/accounts", Some("{"), 400, "invalid_json"),
            (
                Post,
                "/v1/accounts",
                Some("{\"nam\":\"x\"}"),
                422,
                "invalid_body",
            ),
            (
                Post,
                "/v1/accounts",
                Some("{\"name\":7}"),
                422,
                "invalid_body",
            ),
            (
                Post,
                "/v1/accounts",
                Some("{\"name\":\"\"}"),
                422,
                "invalid_body",
            ),
            (Post, &messages, Some("{\"to\":\"1\"}"), 422, "invalid_body"),
            (Get, unknown, None, 404, "unknown_account"),
            (Get, &format!("{unknown}/qr"), None, 404, "unknown_account"),
            (
                Get,
                &format!("{unknown}/threads"),
                None,
                404,
                "unknown_account",
            ),
            (
                Post,
                &format!("{unknown}/messages"),
                Some("{\"to\":\"4915500000001\",\"text\":\"x\"}"),
                404,
                "unknown_account",
            ),
            (Get, "/v1/messages/msg_0", None, 404, "unknown_message"),
            (
                Get,
                "/v1/threads/thread_0/messages",
                None,
                404,
                "unknown_thread",
            ),
            (Get, "/v1/accounts/a%2Fb", None, 400, "invalid_id"),
            (Get, "/v1/accounts?limit=many", None, 400, "invalid_query"),
            (Get, "/v1/nothing", None, 404, "unknown_route"),
            (
                Method::Delete,
                "/v1/accounts",
                None,
                405,
                "method_not_allowed",
            ),
        ] {
            let answer = api
                .request(method, path, &[], body.map(str::to_owned))
                .await?;
            let shown = format!("{method:?} {path}: {} {}", answer.status, answer.text());
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (status, code),
                "{shown}"
            );
            assert_eq!(answer.content_type, "application/problem+json", "{shown}");
            assert!(answer.detail().len() > 10, "{shown}");
        }
        assert_eq!(api.accounts().await?.len(), 1);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn recipient_that_is_none_is_refused() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let account = api.create_account("sales").await?.id;
        for to in [
            "",
            "hello",
            "12",
            "+49 170",
            "a@b@c",
            "1234567890123456789012",
        ] {
            let body = serde_json::json!({ "to": to, "text": "x" });
            let answer = api
                .post(&format!("/v1/accounts/{account}/messages"), body)
                .await?;
            assert_eq!(answer.status, 422, "{to:?}: {}", answer.text());
            assert!(!answer.detail().is_empty());
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_thirty_megabytes_is_refused_and_the_worker_goes_on() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let peer = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;
        let body = format!(
            "{{\"to\":\"{}\",\"text\":\"{}\"}}",
            peer.number(),
            "x".repeat(30_000_000)
        );
        let path = format!("/v1/accounts/{}/messages", account.id);
        let answer = api.request(Method::Post, &path, &[], Some(body)).await?;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (413, "body_too_large")
        );
        assert!(answer.detail().contains("1048576"), "{}", answer.detail());

        scene.send(api, &account, &peer, "small").await?;
        let counts = scene.settle(api, DELIVERY_LIMIT).await?;
        assert_eq!(counts.sent, 1);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn same_idempotency_key_sends_once_and_another_body_is_refused() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let peer = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;
        let text = scene.text("once");
        let path = format!("/v1/accounts/{}/messages", account.id);
        let headers = [("Idempotency-Key", "order-4711")];
        let body = serde_json::json!({ "to": &**peer.number(), "text": text }).to_string();
        let first = api
            .request(Method::Post, &path, &headers, Some(body.clone()))
            .await?;
        let again = api
            .request(Method::Post, &path, &headers, Some(body))
            .await?;
        let id = |answer: &harness::api::Answer| -> Result<String> {
            let body: serde_json::Value = answer.expect(202)?.json()?;
            Ok(body["messageId"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(id(&first)?, id(&again)?);
        scene.note_accepted(&account.id, &peer, &text);

        let other = serde_json::json!({ "to": &**peer.number(), "text": "other" }).to_string();
        let refused = api
            .request(Method::Post, &path, &headers, Some(other))
            .await?;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (422, "idempotency_key_reused")
        );
        let counts = scene.settle(api, DELIVERY_LIMIT).await?;
        assert_eq!((counts.sent, counts.resent), (1, 0));
        Ok(())
    })
    .await
}
