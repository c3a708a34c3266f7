//! A roll-out and the loss of two pods, in short: on the embedded store, with the
//! manifest's numbers; each pod in a network of its own where that is permitted.

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
        assert_eq!(act["told"], 0, "440 reached an owner: {shown}");
    }
    assert_eq!(acts[0]["replaced"], 0, "440 in a roll-out: {shown}");
    // A network that is gone closes no connection; a killed process's kernel does.
    let silent = acts[1]["silent"].as_u64().unwrap();
    assert_eq!(silent > 0, report["namespaces"] == true, "{shown}");
    assert!(acts[1]["replaced"].as_u64() <= Some(silent), "{shown}");
    let ended = acts[0]["endings"].as_array().unwrap();
    assert_eq!(ended.len(), 3, "every pod was replaced: {shown}");
    assert!(report["sent"].as_u64() > Some(20), "{shown}");
}
