//! Sessions that Baileys wrote (`tests/baileys/fixture.mjs`), in and out.

use coordinator_lib::rng::{Rng as _, SeededRng};
use serde_json::{Value, json};
use session::Kind;
use wacore::libsignal::protocol::{SenderKeyRecord, SessionRecord};

use super::value::parse;
use super::*;

const NOW: i64 = 1_800_000_000;

/// What one Baileys wrote.
fn files(name: &str) -> Files {
    let fixture: Value = serde_json::from_str(include_str!("fixture.json")).unwrap();
    let records = fixture[name].as_object().unwrap();
    records
        .iter()
        .map(|(name, content)| (name.clone(), content.to_string().into_bytes()))
        .collect()
}

fn read(files: &Files) -> Imported {
    import(files, ImportOptions::at(NOW)).unwrap()
}

fn changed(files: &Files, name: &str, change: impl FnOnce(&mut Value)) -> Files {
    let mut files = files.clone();
    let mut value = parse(&files[name]).unwrap();
    change(&mut value);
    files.insert(name.to_owned(), value.to_string().into_bytes());
    files
}

fn part(imported: &Imported, part: Part) -> PartReport {
    imported
        .report
        .parts
        .get(&part)
        .cloned()
        .unwrap_or_default()
}

#[test]
fn a_session_of_baileys_7_is_taken_whole() {
    let imported = read(&files("baileys7"));
    assert_eq!(imported.own.jid, "999000000001:7@s.whatsapp.net");
    assert_eq!(imported.own.lid.as_deref(), Some("100000000000001:7@lid"));
    assert_eq!(imported.own.push_name.as_deref(), Some("Fixture"));
    for (kind, taken) in [
        (Part::Creds, 1),
        (Part::PreKeys, 5),
        (Part::Sessions, 2),
        (Part::SenderKeys, 2),
        (Part::AppStateKeys, 1),
        (Part::LidMappings, 2),
        (Part::TcTokens, 1),
    ] {
        let report = part(&imported, kind);
        assert_eq!((report.found, report.taken), (taken, taken), "{kind:?}");
    }
    assert_eq!(part(&imported, Part::AppStateVersions).left_out, 1);
    assert_eq!(imported.report.dropped(), 0, "{:?}", imported.report);
    assert!(imported.report.notes.is_empty());
    let keys = |kind: Kind| -> Vec<String> {
        let of_kind = imported.records.keys().filter(|(of, _)| *of == kind);
        of_kind
            .map(|(_, key)| String::from_utf8_lossy(key).into_owned())
            .collect()
    };
    assert_eq!(
        keys(Kind::Sessions),
        ["100000000000002:3@lid.0", "100000000000002@lid.0"]
    );
    assert_eq!(
        keys(Kind::SenderKeys),
        [
            "120363000000000001-1500@g.us:100000000000001@lid.0",
            "120363000000000001-1500@g.us:100000000000002@lid.0"
        ]
    );
    assert!(keys(Kind::Identities).contains(&"100000000000001@lid.0".to_owned()));
}

#[test]
fn a_session_of_baileys_6_is_taken_by_number() {
    let imported = read(&files("baileys6"));
    assert_eq!(part(&imported, Part::Sessions).taken, 2);
    let key = (Kind::Sessions, b"999000000002:3@c.us.0".to_vec());
    assert!(imported.records.contains_key(&key));
    assert_eq!(imported.report.dropped(), 0, "{:?}", imported.report);
}

#[test]
fn sending_chains_are_moved_ahead_and_no_others() {
    let files = files("baileys7");
    let at = |ahead| {
        let options = ImportOptions { ahead, now: NOW };
        import(&files, options).unwrap().records
    };
    let (still, moved) = (at(0), at(AHEAD_DEFAULT));
    for (kind, key) in still.keys().filter(|(kind, _)| *kind == Kind::Sessions) {
        let place = (*kind, key.clone());
        let session = |bytes: &[u8]| {
            let record = SessionRecord::deserialize(bytes).unwrap();
            record.into_components().unwrap().current_session.unwrap()
        };
        let (still, moved) = (session(&still[&place]), session(&moved[&place]));
        let index = |session: &wacore::libsignal::protocol::SessionComponents| {
            let chain = session.sender_chain.clone().unwrap();
            chain.chain_key.unwrap().index.unwrap()
        };
        assert_eq!(index(&moved), index(&still) + AHEAD_DEFAULT);
        assert_eq!(moved.receiver_chains, still.receiver_chains);
    }
    for (own, steps) in [("100000000000001", AHEAD_DEFAULT), ("100000000000002", 0)] {
        let key = format!("120363000000000001-1500@g.us:{own}@lid.0");
        let iteration = |records: &Records| {
            let record = &records[&(Kind::SenderKeys, key.clone().into_bytes())];
            let record = SenderKeyRecord::deserialize(record).unwrap();
            record.into_components().unwrap().states[0]
                .chain_key
                .iteration
        };
        assert_eq!(iteration(&moved), iteration(&still) + steps, "{own}");
    }
}

#[test]
fn what_is_exported_is_what_was_imported() {
    for (name, generation) in [
        ("baileys7", Generation::Seven),
        ("baileys6", Generation::Six),
    ] {
        let before = files(name);
        let options = ImportOptions { ahead: 0, now: NOW };
        let imported = import(&before, options).unwrap();
        let exported = export(&imported.records, generation).unwrap();
        assert_eq!(exported.report.dropped(), 0, "{:?}", exported.report);
        // A second import of it makes the same records.
        let again = import(&exported.files, options).unwrap();
        for ((kind, key), record) in &imported.records {
            if matches!(kind, Kind::Device | Kind::AppSyncKeys | Kind::PreKeys) {
                continue;
            }
            let place = (*kind, key.clone());
            if generation == Generation::Six && *kind == Kind::Identities {
                continue;
            }
            assert_eq!(again.records.get(&place), Some(record), "{name} {kind:?}");
        }
        // Of the credentials, what must be the same is.
        let (old, new) = (&before["creds"], &exported.files["creds"]);
        let (old, new) = (parse(old).unwrap(), parse(new).unwrap());
        for field in [
            "noiseKey",
            "signedIdentityKey",
            "signedPreKey",
            "registrationId",
            "advSecretKey",
            "account",
            "myAppStateKeyId",
            "routingInfo",
        ] {
            assert_eq!(old[field], new[field], "{name} {field}");
        }
        assert_eq!(old["me"], new["me"]);
        let prekey = "pre-key-3";
        let same = |files: &Files| parse(&files[prekey]).unwrap();
        assert_eq!(same(&before), same(&exported.files));
    }
}

#[test]
fn wrong_credentials_refuse_the_whole() {
    let files = files("baileys7");
    assert!(matches!(
        import(&Files::new(), ImportOptions::at(NOW)),
        Err(ImportError::NoCreds)
    ));
    let other = json!({ "type": "Buffer", "data": base64_of(&[9; 32]) });
    let long = json!({ "type": "Buffer", "data": base64_of(&[9; 64]) });
    for (change, told) in [
        (json!({ "me": null }), "not linked"),
        (json!({ "registrationId": "x" }), "registrationId"),
        (json!({ "noiseKey": { "public": other } }), "noiseKey"),
        (
            json!({ "signedIdentityKey": { "public": other } }),
            "signedIdentityKey",
        ),
        (
            json!({ "signedPreKey": { "signature": long } }),
            "signedPreKey",
        ),
        (
            json!({ "account": { "deviceSignature": base64_of(&[9; 64]) } }),
            "account",
        ),
        (
            json!({ "account": { "details": base64_of(&[9; 4]) } }),
            "account",
        ),
        (json!({ "advSecretKey": "AAAA" }), "advSecretKey"),
        (json!({ "me": { "id": "nobody@g.us" } }), "me.id"),
    ] {
        let wrong = changed(&files, "creds", |creds| merge(creds, &change));
        let error = import(&wrong, ImportOptions::at(NOW)).unwrap_err();
        assert!(matches!(error, ImportError::Creds(_)), "{error}");
        assert!(error.to_string().contains(told), "{told}: {error}");
    }
}

#[test]
fn other_wrong_records_are_left_out_and_named() {
    let files = files("baileys7");
    let session = "session-100000000000002_1.3";
    let mut wrong = changed(&files, "pre-key-2", |key| {
        key["public"] = json!({ "type": "Buffer", "data": base64_of(&[9; 32]) });
    });
    wrong.insert(session.to_owned(), b"{\"_sessions\": {".to_vec());
    wrong.insert("session-nobody.0".to_owned(), b"{}".to_vec());
    wrong.insert("lid-mapping-1".to_owned(), b"\"x\"".to_vec());
    wrong.insert("something".to_owned(), b"else".to_vec());
    let imported = read(&wrong);
    assert_eq!(imported.report.dropped(), 4, "{:?}", imported.report);
    assert_eq!(part(&imported, Part::Sessions).taken, 1);
    assert_eq!(part(&imported, Part::PreKeys).taken, 4);
    assert_eq!(part(&imported, Part::Unknown).left_out, 1);
    let named: Vec<&str> = imported
        .report
        .problems
        .iter()
        .map(|problem| problem.file.as_str())
        .collect();
    assert_eq!(
        named,
        ["lid-mapping-1", "pre-key-2", session, "session-nobody.0"]
    );
}

#[test]
fn no_report_and_no_error_holds_a_key() {
    let files = files("baileys7");
    let creds = parse(&files["creds"]).unwrap();
    let secret = creds["signedIdentityKey"]["private"]["data"]
        .as_str()
        .unwrap();
    let imported = read(&files);
    let shown = format!("{:?} {:?}", imported.report, imported.own);
    assert!(!shown.contains(secret));
    let wrong = changed(&files, "creds", |creds| {
        creds["noiseKey"] = creds["signedIdentityKey"].take()
    });
    let error = import(&wrong, ImportOptions::at(NOW)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret));
}

#[test]
fn mutilated_files_never_panic() {
    let rng = SeededRng::new(1);
    let number = |below: usize| {
        let mut bytes = [0; 8];
        rng.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % below as u64).unwrap()
    };
    for name in ["baileys7", "baileys6"] {
        let whole = files(name);
        let names: Vec<&String> = whole.keys().collect();
        for _ in 0..400 {
            let mut files = whole.clone();
            let one = files.get_mut(names[number(names.len())]).unwrap();
            match number(4) {
                0 => one.truncate(number(one.len())),
                1 => {
                    let place = number(one.len());
                    one[place] = u8::try_from(number(256)).unwrap();
                }
                2 => {
                    let place = number(one.len());
                    let digit = b'0' + u8::try_from(number(10)).unwrap();
                    one.insert(place, digit);
                }
                _ => {
                    let other = whole[names[number(names.len())]].clone();
                    *one = other;
                }
            }
            if let Ok(imported) = import(&files, ImportOptions::at(NOW)) {
                export(&imported.records, Generation::Seven).unwrap();
            }
        }
    }
}

fn base64_of(bytes: &[u8]) -> Value {
    super::value::base64(bytes)
}

fn merge(target: &mut Value, change: &Value) {
    let Some(fields) = change.as_object() else {
        *target = change.clone();
        return;
    };
    for (name, value) in fields {
        if value.is_object() && target[name].is_object() && value.get("type").is_none() {
            merge(&mut target[name], value);
        } else {
            target[name] = value.clone();
        }
    }
}
