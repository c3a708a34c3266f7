//! One key, many requests, several workers: one message.

use anyhow::Result;
use harness::api::{Api, Method};
use harness::scene::{DELIVERY_LIMIT, play};
use serde_json::{Value, json};

use crate::cluster::{Cluster, StoreKind};

/// Requests at the same time.
const REQUESTS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_posts_with_one_key_over_three_workers_are_one_message() -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        let workers = cluster.start(["alice", "bob", "carol"]).await?;
        let peer = scene.contact("Peer")?;
        let account = scene.link(workers[0].api(), "sales").await?;
        let text = scene.text("once");
        let body = json!({ "to": peer.number(), "text": text }).to_string();

        let posts = (0..REQUESTS).map(|n| {
            let api = workers[n % workers.len()].api().clone();
            tokio::spawn(post(api, account.id.clone(), body.clone()))
        });
        let posts: Vec<_> = posts.collect();
        let mut ids = std::collections::BTreeSet::new();
        for answer in posts {
            let (status, id) = answer.await??;
            assert_eq!(status, 202);
            ids.insert(id);
        }
        assert_eq!(ids.len(), 1);
        println!("{REQUESTS} requests, {} message", ids.len());
        scene.note_accepted(&account.id, &peer, &text);

        let other = json!({ "to": peer.number(), "text": "another" }).to_string();
        for worker in &workers {
            let (status, _) = post(worker.api().clone(), account.id.clone(), other.clone()).await?;
            assert_eq!(status, 422, "{}", worker.setup().name);
        }
        let counts = scene.settle(workers[1].api(), DELIVERY_LIMIT).await?;
        assert_eq!((counts.sent, counts.delivered, counts.resent), (1, 1, 0));
        Ok(())
    })
    .await
}

/// Status and message id.
async fn post(api: Api, account: String, body: String) -> Result<(u16, String)> {
    let path = format!("/v1/accounts/{account}/messages");
    let headers = [("Idempotency-Key", "order-4711")];
    let answer = api
        .request(Method::Post, &path, &headers, Some(body))
        .await?;
    let view: Value = answer.json()?;
    let id = view["messageId"].as_str().unwrap_or_default().to_owned();
    Ok((answer.status, id))
}
