//! Tells the program which commit it is built from, for `/health`: the variable
//! `LEASEHOLD_COMMIT`, else what `.git` says, else `unknown`. Runs no program.

use std::fs;
use std::path::{Path, PathBuf};

/// As many characters as the predecessor showed.
const COMMIT_LENGTH: usize = 8;

fn main() {
    println!("cargo::rerun-if-env-changed=LEASEHOLD_COMMIT");
    let commit = std::env::var("LEASEHOLD_COMMIT")
        .ok()
        .or_else(|| head(&repository()?))
        .map(|commit| {
            commit
                .trim()
                .chars()
                .take(COMMIT_LENGTH)
                .collect::<String>()
        })
        .filter(|commit| !commit.is_empty() && commit.bytes().all(|c| c.is_ascii_alphanumeric()))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=LEASEHOLD_COMMIT={commit}");
}

fn repository() -> Option<PathBuf> {
    let crate_dir = std::env::var_os("CARGO_MANIFEST_DIR")?;
    let git = Path::new(&crate_dir).parent()?.join(".git");
    git.is_dir().then_some(git)
}

/// The commit that `HEAD` names, directly or through a branch.
fn head(git: &Path) -> Option<String> {
    let head_file = git.join("HEAD");
    println!("cargo::rerun-if-changed={}", head_file.display());
    let head = fs::read_to_string(head_file).ok()?;
    let Some(branch) = head.trim().strip_prefix("ref: ") else {
        return Some(head);
    };
    let branch_file = git.join(branch);
    if let Ok(commit) = fs::read_to_string(&branch_file) {
        println!("cargo::rerun-if-changed={}", branch_file.display());
        return Some(commit);
    }
    let packed = fs::read_to_string(git.join("packed-refs")).ok()?;
    let line = packed.lines().find(|line| line.ends_with(branch))?;
    line.split_whitespace().next().map(ToOwned::to_owned)
}
