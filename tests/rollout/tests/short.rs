//! A roll-out and the loss of two pods, in short: on the embedded store, with the
//! manifest's numbers.

use std::process::Command;

use harness::binary::{self, BINARY_VARIABLE};

#[test]
fn a_roll_out_and_two_lost_pods_lose_nothing_and_double_nothing() {
    let worker = binary::worker_sim().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_rollout"))
        .args(["--acts", "roll,node-loss", "--accounts", "6", "--json"])
        .env(BINARY_VARIABLE, worker)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let shown = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}");
    let report: serde_json::Value =
        serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap();
    for count in ["lost", "duplicated", "violations", "overlaps"] {
        assert_eq!(report[count], 0, "{count}: {shown}");
    }
    let acts = report["acts"].as_array().unwrap();
    assert_eq!(acts.len(), 2, "{shown}");
    for act in acts {
        assert_eq!(act["replaced"], 0, "440: {shown}");
    }
    let ended = acts[0]["endings"].as_array().unwrap();
    assert_eq!(ended.len(), 3, "every pod was replaced: {shown}");
    assert!(report["sent"].as_u64() > Some(20), "{shown}");
}
