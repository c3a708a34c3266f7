//! The example is run, not only built.

use std::path::PathBuf;
use std::process::Command;

/// Cargo builds examples beside the tests' folder.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let target = test.ancestors().nth(2).expect("target/<profile>/deps/test");
    target.join("examples").join(name)
}

#[test]
fn two_workers_share_and_take_over() {
    let output = Command::new(example("two_workers"))
        .output()
        .expect("cargo builds the examples of a package with its tests");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("alice ended in order: true"), "{said}");
    // Each of them speaks for itself: which line comes last is anyone's guess.
    assert!(said.contains("bob does all six"), "{said}");
}
