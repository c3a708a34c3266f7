//! Files both ways between a worker and unmodified Baileys 7, through the
//! simulator's media host; and what happens when that host is down.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use baileys::{Peer, Version};
use harness::api::{Api, Method};
use harness::scene::{DELIVERY_LIMIT, Linked, Scene, play};
use harness::wait::{self, Look};
use harness::worker::Worker;
use serde_json::{Value, json};
use wa_sim::phone::Phone;

use crate::cluster::{Cluster, StoreKind};

/// The largest file of a test.
const LARGE_BYTES: usize = 64 * 1024 * 1024;

/// A JPEG's beginning and end, with nothing in between: enough for its type.
const JPEG: [u8; 22] = [
    0xff, 0xd8, 0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0xff, 0xd9,
];

/// A picture of one colour, 64 by 32 pixels.
const PNG: &[u8] = b"\
    \x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x40\
    \x00\x00\x00\x20\x08\x02\x00\x00\x00\x2d\xff\xe9\xd3\x00\x00\x00\x37\x49\x44\x41\
    \x54\x78\xda\xed\xcf\x41\x09\x00\x00\x08\x04\xb0\x8b\x63\x26\x13\x1b\xcb\x0c\x3e\
    \x85\xc1\x0a\x2c\x53\xfd\x5a\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\
    \x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\xae\x16\xd2\xa1\x50\x97\xff\x6d\x84\xd6\
    \x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82\
    ";

struct Talk {
    worker: Worker,
    account: Linked,
    phone: Phone,
    peer: Peer,
}

async fn talk(scene: &Scene, folder: &Path) -> Result<Talk> {
    let worker = scene
        .worker("alice")?
        .with(&["--whatsapp-media-url", &scene.sim().media_url()])
        .start()
        .await?;
    talk_with(scene, worker, folder).await
}

async fn talk_with(scene: &Scene, worker: Worker, folder: &Path) -> Result<Talk> {
    let phone = scene.account_phone("Peer")?;
    let mut peer = Peer::spawn(Version::Seven, folder).await?;
    peer.use_media_host(&scene.sim().media_url()).await?;
    let scanning = phone.clone();
    peer.pair(&scene.sim().url(), async |code: String| {
        scanning
            .scan(&code)
            .await
            .expect("Baileys' own code is scanned");
    })
    .await?;
    let account = scene.link(worker.api(), "sales").await?;
    Ok(Talk {
        worker,
        account,
        phone,
        peer,
    })
}

impl Talk {
    fn api(&self) -> &Api {
        self.worker.api()
    }

    async fn upload(&self, file: &Path, mime_type: &str) -> Result<Value> {
        upload(self.api(), file, mime_type).await
    }

    async fn curl(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        curl(arguments).await
    }

    async fn send(&self, media: Value) -> Result<Value> {
        let path = format!("/v1/accounts/{}/messages", self.account.id);
        let body = json!({ "to": self.phone.number(), "media": media });
        self.api().post(&path, body).await?.expect(202)?.json()
    }

    /// Waits for a message from Baileys: it, and where its file is.
    async fn stored(&self, wa_id: &str) -> Result<(Value, String)> {
        wait::until("a message is stored", DELIVERY_LIMIT, async || {
            let Some(thread) = self
                .api()
                .threads(&self.account.id)
                .await?
                .into_iter()
                .next()
            else {
                return Ok(Look::NotYet("no thread".to_owned()));
            };
            let path = format!("/v1/threads/{}/messages", thread.id);
            let page: Value = self.api().get(&path).await?.expect(200)?.json()?;
            let all = page["messages"].as_array().cloned().unwrap_or_default();
            let found = all
                .into_iter()
                .find(|message| message["waMessageId"] == wa_id);
            let found = found.map(|message| {
                let id = message["id"].as_str().unwrap_or_default().to_owned();
                (message, format!("{path}/{id}/media"))
            });
            Ok(Look::some(found, "other messages".to_owned()))
        })
        .await
    }

    /// Waits until the file of a message from Baileys is kept: where it is.
    async fn kept(&self, wa_id: &str) -> Result<String> {
        wait::until("a file is kept", 2 * DELIVERY_LIMIT, async || {
            let (message, place) = self.stored(wa_id).await?;
            let kept = message["media"]["kept"].clone();
            Ok(Look::some((kept == "kept").then_some(place), kept))
        })
        .await
    }

    /// The most memory that the worker has had, in MiB.
    fn memory_peak(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.worker.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.context("VmHWM")?.parse::<u64>()? / 1024)
    }
}

/// Gives a worker a file; with curl, which does not hold it in memory.
pub(crate) async fn upload(api: &Api, file: &Path, mime_type: &str) -> Result<Value> {
    let answer = curl(&[
        "-X",
        "POST",
        "-H",
        &format!("content-type: {mime_type}"),
        "-T",
        &file.display().to_string(),
        &format!("{}/v1/media", api.base()),
    ])
    .await?;
    Ok(serde_json::from_slice(&answer)?)
}

pub(crate) async fn curl(arguments: &[&str]) -> Result<Vec<u8>> {
    let output = tokio::process::Command::new("curl")
        .arg("-sS")
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("curl is needed: apt-get install curl")?;
    if !output.status.success() {
        bail!("curl: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// The names of the files that a worker keeps in a folder.
pub(crate) fn kept(folder: &Path) -> Result<Vec<String>> {
    let names = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<_> = names.collect::<Result<_>>()?;
    let names = names.iter().map(|name| name.to_string_lossy().into_owned());
    Ok(names.filter(|name| name != "leasehold-cluster").collect())
}

/// A file that does not compress, of so many bytes.
pub(crate) fn file(folder: &Path, name: &str, bytes: usize) -> Result<std::path::PathBuf> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        content.extend(state.to_be_bytes());
    }
    content.truncate(bytes);
    let path = folder.join(name);
    std::fs::write(&path, content)?;
    Ok(path)
}

async fn sha256(path: &Path) -> Result<String> {
    let output = tokio::process::Command::new("sha256sum")
        .arg(path)
        .output()
        .await?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_both_ways_and_are_the_same() -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let mut talk = talk(scene, &folder.path().join("peer")).await?;
        let to_worker = format!("{}@s.whatsapp.net", talk.account.number());
        let image = folder.path().join("image.jpg");
        std::fs::write(&image, JPEG)?;
        let picture = folder.path().join("picture.png");
        std::fs::write(&picture, PNG)?;
        let document = file(folder.path(), "report.pdf", 300_000)?;
        let sound = file(folder.path(), "sound.ogg", 20_000)?;

        let rows = [
            (&image, "image/jpeg", "image", "imageMessage"),
            (&picture, "image/png", "image", "imageMessage"),
            (&document, "application/pdf", "document", "documentMessage"),
            (&sound, "audio/ogg", "voice", "audioMessage"),
            (&document, "video/mp4", "video", "videoMessage"),
            (&document, "image/webp", "sticker", "stickerMessage"),
        ];
        for (path, mime_type, kind, field) in rows {
            let uploaded = talk.upload(path, mime_type).await?;
            let mark = talk.peer.mark();
            let caption = scene.text(kind);
            let accepted = talk
                .send(json!({
                    "mediaId": uploaded["mediaId"], "kind": kind,
                    "caption": caption, "fileName": "report.pdf",
                }))
                .await?;
            let id = accepted["waMessageId"].as_str().unwrap_or_default();
            let seen = talk.peer.content(mark, id).await?;
            let message = &seen[field];
            assert_eq!(message["mimetype"], mime_type, "{kind}: {seen}");
            if matches!(kind, "image" | "document" | "video") {
                assert_eq!(message["caption"], caption.as_str(), "{kind}");
            }
            if path == &picture {
                // The beginning of a JPEG, in base 64.
                let thumbnail = message["jpegThumbnail"].as_str().unwrap_or_default();
                assert!(thumbnail.starts_with("/9j/"), "{message}");
                assert_eq!((&message["width"], &message["height"]), (&json!(64), &json!(32)));
            }
            let (hash, bytes) = talk.peer.download(id).await?;
            assert_eq!(hash, sha256(path).await?, "{kind}");
            assert_eq!(Some(bytes), uploaded["bytes"].as_u64(), "{kind}");
        }

        for (path, kind, expected, options) in [
            (&document, "document", "document", json!({ "mimetype": "application/pdf", "fileName": "report.pdf", "caption": "see" })),
            (&sound, "audio", "voice", json!({ "mimetype": "audio/ogg", "ptt": true, "seconds": 3, "waveform": null })),
        ] {
            let id = talk.peer.send_file(&to_worker, path, kind, options).await?;
            let (message, place) = talk.stored(&id).await?;
            assert_eq!(message["kind"], expected);
            let copy = folder.path().join("copy");
            let url = format!("{}{place}", talk.api().base());
            talk.curl(&["-f", "-o", &copy.display().to_string(), &url]).await?;
            assert_eq!(sha256(&copy).await?, sha256(path).await?, "{kind}");
            if expected == "document" {
                let media = &message["media"];
                assert_eq!((&media["fileName"], &media["caption"]), (&json!("report.pdf"), &json!("see")));
                // The host goes down: said so, and nothing is lost.
                scene.sim().set_media_down(true);
                let answer = talk.api().get(&place).await?;
                assert_eq!((answer.status, answer.code().as_str()), (503, "media_host_unavailable"));
                scene.sim().set_media_down(false);
                talk.api().get(&place).await?.expect(200)?;
            }
        }
        talk.peer.quit().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_waits_until_the_media_host_is_back() -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let talk = talk(scene, &folder.path().join("peer")).await?;
        let document = file(folder.path(), "report.pdf", 10_000)?;
        scene.sim().set_media_down(true);
        let uploaded = talk.upload(&document, "application/pdf").await?;
        let mark = talk.peer.mark();
        let accepted = talk
            .send(json!({ "mediaId": uploaded["mediaId"], "kind": "document" }))
            .await?;
        let message_id = accepted["messageId"].as_str().unwrap_or_default();
        until_error(talk.api(), message_id, "media_host_down").await?;
        scene.sim().set_media_down(false);
        let id = accepted["waMessageId"].as_str().unwrap_or_default();
        talk.peer.content(mark, id).await?;
        talk.api()
            .until_state(message_id, &["sent", "delivered"], DELIVERY_LIMIT)
            .await?;
        talk.peer.quit().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_document_goes_through_with_little_memory() -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let mut talk = talk(scene, &folder.path().join("peer")).await?;
        let document = file(folder.path(), "large.bin", LARGE_BYTES)?;
        let before = talk.memory_peak()?;
        let uploaded = talk.upload(&document, "application/octet-stream").await?;
        let mark = talk.peer.mark();
        let accepted = talk
            .send(json!({ "mediaId": uploaded["mediaId"], "kind": "document", "fileName": "large.bin" }))
            .await?;
        let id = accepted["waMessageId"].as_str().unwrap_or_default().to_owned();
        let message_id = accepted["messageId"].as_str().unwrap_or_default();
        talk.api()
            .until_state(message_id, &["sent", "delivered"], 4 * DELIVERY_LIMIT)
            .await?;
        talk.peer.content(mark, &id).await?;
        let (hash, bytes) = talk.peer.download(&id).await?;
        assert_eq!((hash, bytes), (sha256(&document).await?, LARGE_BYTES as u64));
        let after = talk.memory_peak()?;
        println!("{LARGE_BYTES} bytes sent: most memory {before} MiB before, {after} MiB after");
        assert!(after < before + 32, "{before} MiB before, {after} MiB after");

        let to_worker = format!("{}@s.whatsapp.net", talk.account.number());
        let options = json!({ "mimetype": "application/octet-stream", "fileName": "large.bin" });
        let id = talk.peer.send_file(&to_worker, &document, "document", options).await?;
        let (_, place) = talk.stored(&id).await?;
        let copy = folder.path().join("copy");
        let url = format!("{}{place}", talk.api().base());
        talk.curl(&["-f", "-o", &copy.display().to_string(), &url]).await?;
        assert_eq!(sha256(&copy).await?, sha256(&document).await?);
        let after = talk.memory_peak()?;
        println!("and received: {after} MiB after");
        assert!(after < before + 32, "{before} MiB before, {after} MiB after");

        let larger = file(folder.path(), "larger.bin", LARGE_BYTES + 1)?;
        let refused = talk.upload(&larger, "application/octet-stream").await?;
        assert_eq!(refused["code"], "media_too_large");
        talk.peer.quit().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_from_baileys_is_kept_and_is_the_same() -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let host = scene.sim().media_url();
        let setup = scene
            .worker("alice")?
            .with(&["--keep-media", "--whatsapp-media-url", &host]);
        let worker = setup.start().await?;
        let mut talk = talk_with(scene, worker, &folder.path().join("peer")).await?;
        let to_worker = format!("{}@s.whatsapp.net", talk.account.number());
        let large = file(folder.path(), "large.bin", LARGE_BYTES)?;
        let sound = file(folder.path(), "sound.ogg", 20_000)?;
        let before = talk.memory_peak()?;
        let mut sent = Vec::new();
        for (path, kind, options) in [
            (
                &large,
                "document",
                json!({ "mimetype": "application/octet-stream", "fileName": "large.bin" }),
            ),
            (
                &sound,
                "audio",
                json!({ "mimetype": "audio/ogg", "ptt": true, "seconds": 3, "waveform": null }),
            ),
        ] {
            let id = talk.peer.send_file(&to_worker, path, kind, options).await?;
            sent.push((path, talk.kept(&id).await?));
        }
        scene.sim().forget_media();
        for (path, place) in sent {
            let copy = folder.path().join("copy");
            let url = format!("{}{place}", talk.api().base());
            talk.curl(&["-f", "-o", &copy.display().to_string(), &url])
                .await?;
            assert_eq!(sha256(&copy).await?, sha256(path).await?);
        }
        let after = talk.memory_peak()?;
        println!(
            "{LARGE_BYTES} bytes kept and given: most memory {before} MiB before, {after} MiB after"
        );
        assert!(
            after < before + 32,
            "{before} MiB before, {after} MiB after"
        );
        talk.peer.quit().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_by_another_worker_than_took_it() -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let shared = folder.path().join("shared");
        std::fs::create_dir(&shared)?;
        let place = format!("file://{}", shared.display());
        let host = scene.sim().media_url();
        let options = ["--media-store", &place, "--whatsapp-media-url", &host];
        let cluster = Cluster::new(scene, StoreKind::Firestore).await?;
        let alice = cluster.worker("alice")?.with(&options).start().await?;
        let mut talk = talk_with(scene, alice, &folder.path().join("peer")).await?;
        let bob = cluster.worker("bob")?.with(&options).start().await?;

        // bob takes it and is no more; alice, who has the account, sends it.
        let document = file(folder.path(), "report.pdf", 3_000_000)?;
        let uploaded = upload(bob.api(), &document, "application/pdf").await?;
        assert_eq!(kept(&shared)?.len(), 1, "{uploaded}");
        bob.kill().await?;
        let mark = talk.peer.mark();
        let accepted = talk
            .send(json!({ "mediaId": uploaded["mediaId"], "kind": "document" }))
            .await?;
        let id = accepted["waMessageId"].as_str().unwrap_or_default();
        talk.peer.content(mark, id).await?;
        let (hash, _) = talk.peer.download(id).await?;
        assert_eq!(hash, sha256(&document).await?);

        // Without a place that all see, files are refused.
        let carol = cluster.worker("carol")?.start().await?;
        let refused = upload(carol.api(), &document, "application/pdf").await?;
        assert_eq!(refused["code"], "no_media_store");
        talk.peer.quit().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_waits_until_the_media_store_is_back() -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let talk = talk(scene, &folder.path().join("peer")).await?;
        let document = file(folder.path(), "report.pdf", 10_000)?;
        let uploaded = talk.upload(&document, "application/pdf").await?;
        let place = talk.worker.setup().data_folder().join("media");
        let away = folder.path().join("away");
        std::fs::rename(&place, &away)?;
        // Something else is where the folder was.
        std::fs::write(&place, "")?;
        let refused = talk.upload(&document, "application/pdf").await?;
        assert_eq!(refused["code"], "media_store_unavailable", "{refused}");
        let mark = talk.peer.mark();
        let accepted = talk
            .send(json!({ "mediaId": uploaded["mediaId"], "kind": "document" }))
            .await?;
        let message_id = accepted["messageId"].as_str().unwrap_or_default();
        until_error(talk.api(), message_id, "media_store_down").await?;
        std::fs::remove_file(&place)?;
        std::fs::rename(&away, &place)?;
        let id = accepted["waMessageId"].as_str().unwrap_or_default();
        talk.peer.content(mark, id).await?;
        talk.api()
            .until_state(message_id, &["sent", "delivered"], DELIVERY_LIMIT)
            .await?;
        talk.peer.quit().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_nobody_needs_are_removed_also_after_a_kill() -> Result<()> {
    play(async |scene| {
        let setup = scene.worker("alice")?.with(&["--media-retention", "10s"]);
        let worker = setup.start().await?;
        let folder = worker.setup().data_folder().join("media");
        let content = file(scene.folder(), "content", 1_000)?;
        let unused = upload(worker.api(), &content, "text/plain").await?;
        let needed = upload(worker.api(), &content, "text/plain").await?;
        assert_eq!(kept(&folder)?.len(), 2, "{unused}");
        // It waits, since the account is not linked.
        let account = worker.api().create_account("sales").await?.id;
        let body = json!({
            "to": "4915500000001",
            "media": { "mediaId": needed["mediaId"], "kind": "document" },
        });
        let path = format!("/v1/accounts/{account}/messages");
        let accepted: Value = worker.api().post(&path, body).await?.expect(202)?.json()?;
        let setup = worker.kill().await?;
        // A worker that was killed while it took a file leaves such.
        std::fs::write(folder.join("med_STRAY"), "stray")?;
        std::fs::write(folder.join("med_HALF#1"), "half")?;

        let worker = setup.start().await?;
        let id = needed["mediaId"].as_str().unwrap_or_default();
        until_kept(&folder, &[id]).await?;
        let message = accepted["messageId"].as_str().unwrap_or_default();
        let path = format!("/v1/messages/{message}");
        let cancelled = worker.api().request(Method::Delete, &path, &[], None);
        assert!(cancelled.await?.status < 300);
        until_kept(&folder, &[]).await?;
        Ok(())
    })
    .await
}

async fn until_kept(folder: &Path, expected: &[&str]) -> Result<()> {
    wait::until("files are removed", DELIVERY_LIMIT, async || {
        let kept = kept(folder)?;
        Ok(Look::some(
            (kept == expected).then_some(()),
            format!("{kept:?}"),
        ))
    })
    .await
}

async fn until_error(api: &Api, message: &str, code: &str) -> Result<()> {
    wait::until("a reason", DELIVERY_LIMIT, async || {
        let error = api.outgoing(message).await?.error;
        let is_so = error.as_ref().is_some_and(|error| error["code"] == code);
        Ok(Look::some(is_so.then_some(()), format!("{error:?}")))
    })
    .await
}
