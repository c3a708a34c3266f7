//! What is on disk: no key and no secret in clear text.

use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::scene::{DELIVERY_LIMIT, LINK_LIMIT, Linked, play};
use serde_json::Value;

/// Every file of the data folder but the key ring, with its name.
fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "keyring.json" && entry.file_type()?.is_file() {
            files.push((name, std::fs::read(entry.path())?));
        }
    }
    Ok(files)
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// All texts of a JSON document that look like keys.
fn keys_of(document: &Value, keys: &mut Vec<String>) {
    match document {
        Value::Object(members) => members.values().for_each(|v| keys_of(v, keys)),
        Value::Array(items) => items.iter().for_each(|item| keys_of(item, keys)),
        Value::String(text) if text.len() >= 40 => keys.push(text.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn database_holds_no_secret_in_clear_text() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let peer = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;
        scene.send(api, &account, &peer, "hello").await?;
        scene.settle(api, DELIVERY_LIMIT).await?;

        // One account whose code nobody has scanned yet: its secret is in use.
        let phone = scene.account_phone("owner")?;
        let waiting = Linked {
            id: api.create_account("waiting").await?.id,
            phone,
        };
        api.until_status(&waiting.id, &["qr_ready"], LINK_LIMIT)
            .await?;
        let code = api.qr(&waiting.id).await?.expect("it is ready to scan").qr;
        let code = code.rsplit('#').next().unwrap_or_default();

        let data = worker.setup().data_folder();
        let ring = std::fs::read_to_string(data.join("keyring.json"))?;
        let mut secrets: Vec<(String, String)> = code
            .split(',')
            .skip(1)
            .filter(|part| part.len() >= 40)
            .map(|part| ("part of a QR code".to_owned(), part.to_owned()))
            .collect();
        assert!(secrets.len() >= 3, "a code has three keys");
        let mut ring_keys = Vec::new();
        let parsed: Value = serde_json::from_str(&ring)?;
        for key in parsed["keys"].as_array().expect("a ring has keys") {
            keys_of(&key["secret"], &mut ring_keys);
        }
        assert!(!ring_keys.is_empty(), "the ring has a secret");
        secrets.extend(
            ring_keys
                .into_iter()
                .map(|key| ("key of the ring".to_owned(), key)),
        );

        let files = files(&data)?;
        let all: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        // A control: what is no secret is found, so the right files are read.
        assert!(holds(&all, account.id.as_bytes()), "the database is there");
        for (what, secret) in &secrets {
            assert!(!holds(&all, secret.as_bytes()), "a {what}, as text");
            let raw = STANDARD.decode(secret).unwrap_or_default();
            assert!(raw.len() >= 16, "a {what} of {} bytes", raw.len());
            assert!(!holds(&all, &raw), "a {what}, as bytes");
        }
        scene.check_bytes(&all, &["secret of a QR code"])?;
        let log = worker.log().text()?;
        for (what, secret) in &secrets {
            assert!(!log.contains(secret), "a {what} is in the log");
        }
        Ok(())
    })
    .await
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn key_ring_and_database_are_for_their_owner_only() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let data = worker.setup().data_folder();
        let mode =
            |path: &Path| Ok::<_, std::io::Error>(path.metadata()?.permissions().mode() & 0o077);
        assert_eq!(mode(&data)?, 0, "the folder");
        assert_eq!(mode(&data.join("keyring.json"))?, 0, "the key ring");
        Ok(())
    })
    .await
}
