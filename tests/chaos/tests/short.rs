//! The chaos itself, in short: on the embedded store, with everything that it
//! can suffer in this time.

use std::process::Command;

use harness::binary::{self, BINARY_VARIABLE};

fn chaos(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.args(arguments);
    command
}

#[test]
fn ninety_seconds_of_chaos_lose_nothing_and_double_nothing() {
    let worker = binary::worker_sim().unwrap();
    let arguments = ["--minutes", "1.5", "--accounts", "6", "--json"];
    let output = chaos(&arguments)
        .env(BINARY_VARIABLE, worker)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let shown = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}");
    let report = text.lines().last().unwrap_or_default();
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    for count in ["lost", "duplicated", "violations", "overlaps"] {
        assert_eq!(report[count], 0, "{count}: {shown}");
    }
    for fault in ["kill", "stop", "terminate"] {
        assert!(report["faults"][fault].as_u64() > Some(0), "{shown}");
    }
    assert!(report["sent"].as_u64() > Some(50), "{shown}");
}

#[test]
fn a_seed_is_a_schedule() {
    for seed in ["1", "2", "3"] {
        let plan = || chaos(&["--plan", "--seed", seed]).output().unwrap().stdout;
        let first = plan();
        assert!(!first.is_empty());
        assert_eq!(first, plan(), "seed {seed}");
    }
}
