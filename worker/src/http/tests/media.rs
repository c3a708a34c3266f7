//! Files that clients give: what is kept of them, and what is not.

use std::io::Cursor;

use coordinator_lib::store::Fault;
use image::{ImageFormat, RgbImage};

use super::*;
use crate::media::tests::{in_folder, names};
use crate::model::{MediaDoc, Read, Stored};

async fn give(api: &Fixture, mime_type: &str, content: impl Into<Body>) -> Answer {
    let request = Request::post("/v1/media").header(header::CONTENT_TYPE, mime_type);
    api.send(request.body(content.into()).unwrap()).await
}

async fn document(api: &Fixture, id: &str) -> MediaDoc {
    let path = collections::media(id).unwrap();
    let document = api.store.get(&[path]).await.unwrap().documents.remove(0);
    match MediaDoc::read(&document.unwrap()).unwrap() {
        Read::Known(record) => record.value,
        Read::Newer(version) => panic!("version {version}"),
    }
}

#[tokio::test]
async fn a_picture_is_kept_with_its_size_and_a_thumbnail() {
    let (_folder, media) = in_folder();
    let api = Fixture::with(&HttpConfig::default(), media.clone());
    let mut png = Cursor::new(Vec::new());
    let image = RgbImage::new(300, 150);
    image.write_to(&mut png, ImageFormat::Png).unwrap();
    let png = png.into_inner();
    let answer = give(&api, "image/png", png.clone()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
    assert_eq!(answer.json()["bytes"], png.len());
    let id = answer.json()["mediaId"].as_str().unwrap().to_owned();
    let document = document(&api, &id).await;
    assert_eq!((document.width, document.height), (Some(300), Some(150)));
    assert!(document.thumbnail.unwrap().starts_with(&[0xff, 0xd8]));
    assert_eq!(names(&media).await, [id]);
}

#[tokio::test]
async fn what_is_refused_leaves_nothing() {
    let (_folder, media) = in_folder();
    let api = Fixture::with(&HttpConfig::default(), media.clone());
    give(&api, "text/plain", "")
        .await
        .problem(422, "invalid_body");
    give(&api, "nonsense", "x")
        .await
        .problem(400, "invalid_header");
    give(&api, "text/plain", vec![0; 1_000_001])
        .await
        .problem(413, "media_too_large");
    let broken = futures::stream::iter([Ok("begun"), Err(std::io::Error::other("gone"))]);
    give(&api, "text/plain", Body::from_stream(broken))
        .await
        .problem(422, "invalid_body");
    api.memory.fail_next_commit(Fault::Unavailable);
    give(&api, "text/plain", "x")
        .await
        .problem(503, "store_unavailable");
    assert_eq!(names(&media).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_file_stays_while_it_is_not_known_whether_its_document_is_there() {
    let (_folder, media) = in_folder();
    let api = Fixture::with(&HttpConfig::default(), media.clone());
    api.memory.fail_next_commit(Fault::AmbiguousApplied);
    give(&api, "text/plain", "x")
        .await
        .problem(503, "outcome_unknown");
    assert_eq!(names(&media).await.len(), 1);
}

#[tokio::test]
async fn a_place_that_is_gone_is_told() {
    let (folder, media) = in_folder();
    let api = Fixture::with(&HttpConfig::default(), media);
    // A file stands where the folder was.
    std::fs::remove_dir(folder.path().join("media")).unwrap();
    std::fs::write(folder.path().join("media"), "").unwrap();
    give(&api, "text/plain", "x")
        .await
        .problem(503, "media_store_unavailable");
}

#[tokio::test]
async fn a_message_keeps_its_file_where_it_would_go_soon() {
    let (_folder, media) = in_folder();
    let api = Fixture::with(&HttpConfig::default(), media.clone());
    let account = api.account("eu").await;
    let answer = give(&api, "text/plain", "x").await;
    let id = answer.json()["mediaId"].as_str().unwrap().to_owned();
    let given = document(&api, &id).await;
    let send = async || {
        let body = json!({
            "to": "+49 170 1234567",
            "media": { "mediaId": id, "kind": "document" },
        });
        let path = format!("/v1/accounts/{account}/messages");
        let answer = api.post(&path, body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json());
        document(&api, &id).await.keep_until
    };
    // Many messages with one file do not hinder one another.
    assert_eq!(send().await, given.keep_until);
    api.clock.advance(media.limits.retention / 4 * 3);
    let kept = send().await;
    assert_eq!(kept.since(given.keep_until), media.limits.retention / 4 * 3);
    assert_eq!(send().await, kept);
}
