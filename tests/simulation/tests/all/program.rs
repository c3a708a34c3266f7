//! Runs the program: a planted mutation holds for a whole process.

use std::process::Command;

use serde_json::Value;

/// Runs it with these arguments; returns its JSON.
pub(crate) fn simulate(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_simulation"))
        .arg("--json")
        .args(arguments)
        .output()
        .expect("cargo has built it");
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("no report: {output:?}"));
    let is_clean = report["violations"] == 0;
    assert_eq!(output.status.code(), Some(i32::from(!is_clean)));
    report
}
