//! No `Debug` and no `Display` of a public type shows a secret.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use coordinator_lib::rng::{SeededRng, SystemRng};
use session::{Context, DataKey, FLUSH_DELAY, KeyRing, Kind, Record, RecordError};

use crate::bench::Bench;

const SECRET: [u8; 32] = *b"SecretOfATestThatMayNotBeShown!!";

fn assert_hidden(output: &str, secret: &[u8]) {
    let decimal: Vec<String> = secret.iter().map(u8::to_string).collect();
    let forms = [
        hex::encode(secret),
        hex::encode_upper(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        decimal.join(", "),
        decimal.join(",\n"),
        secret.escape_ascii().to_string(),
        String::from_utf8_lossy(secret).into_owned(),
    ];
    for form in forms {
        assert!(!output.contains(&form), "a secret shows in: {output}");
    }
}

#[tokio::test]
async fn no_public_type_shows_a_secret() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    let text = String::from_utf8(SECRET.to_vec()).unwrap();
    owner.put(Kind::Sessions, &text, SECRET.to_vec());
    let flusher = owner.files.spawn_flusher(&bench.tracker, FLUSH_DELAY);
    let record = owner.files.get_record(Kind::Sessions, &text).unwrap();
    let edit = owner.files.edit(|edit| format!("{edit:?} {edit:#?}"));
    let context = Context {
        account: "account_1",
        name: "peers",
        epoch: 1,
        version: 1,
    };
    let sealed = bench.data_key.seal(&SystemRng, &context, &SECRET);
    let too_large = owner
        .files
        .put(Kind::Sessions, &text, SECRET.repeat(100_000))
        .unwrap_err();
    let too_long = owner
        .files
        .put(Kind::Sessions, text.repeat(1_000), vec![])
        .unwrap_err();
    assert!(matches!(too_large, RecordError::ValueTooLarge { .. }));

    let mut outputs = vec![
        edit,
        format!("{:?} {:#?}", owner.files, owner.files),
        format!("{flusher:?} {flusher:#?}"),
        format!("{record:?} {record:#?} {:?}", Record::from(SECRET.to_vec())),
        format!("{:?} {:#?}", bench.data_key, bench.data_key),
        format!("{context:?} {:?}", owner.files.stats()),
        format!("{too_large} {too_large:?} {too_long} {too_long:?}"),
    ];
    let error = bench
        .data_key
        .open(
            &Context {
                epoch: 2,
                ..context
            },
            &sealed,
        )
        .unwrap_err();
    outputs.push(format!("{error} {error:?}"));
    let peers = {
        owner.files.flush().await.unwrap();
        bench.document("peers").await.fields
    };
    bench.overwrite("prekeys", peers).await;
    let Err(error) = bench.try_claim().await else {
        panic!("swapped files are refused")
    };
    outputs.push(format!("{error} {error:?} {error:#?}"));
    for output in outputs {
        assert_hidden(&output, &SECRET);
    }
}

#[test]
fn no_error_of_the_key_ring_shows_a_key() {
    // A seed gives the same key again, which shows what must not appear.
    let drawn = || {
        let mut key = [0; 32];
        coordinator_lib::rng::Rng::fill(&SeededRng::new(5), &mut key);
        key
    };
    let ring = KeyRing::generate(&SeededRng::new(5));
    let stranger = KeyRing::generate(&SystemRng);
    let data_key = DataKey::generate(&SeededRng::new(5));
    let wrapped = ring.wrap(&SystemRng, &data_key, "account_1");
    let missing = stranger.unwrap(&wrapped, "account_1").unwrap_err();
    let altered = ring.unwrap(&wrapped, "account_2").unwrap_err();
    let json = format!(
        r#"{{"schemaVersion":1,"active":"x","keys":[{{"id":"x","secret":"{}"}}]}}"#,
        base64::engine::general_purpose::STANDARD.encode(drawn())
    );
    let parse = KeyRing::from_json(&json).unwrap_err();
    let output = format!(
        "{ring:?} {ring:#?} {data_key:?} {wrapped:?} {missing} {missing:?} {altered} {altered:?} {parse} {parse:?}"
    );
    assert!(
        output.contains(ring.active().as_str()),
        "the missing key is named: {output}"
    );
    assert_hidden(&output, &drawn());
}
