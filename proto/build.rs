//! Compiles every `protos/**/*.proto` to Rust, without `protoc`.
//!
//! One generated file a protobuf package; `src/lib.rs` says which module each
//! package becomes.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

const ROOT: &str = "protos";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    let mut files = Vec::new();
    collect(Path::new(ROOT), &mut files)?;
    files.sort();

    let descriptors = protox::compile(&files, [ROOT])?;
    prost_build::Config::new()
        // Keys and message texts travel in these messages: without `Debug`
        // they cannot reach a log or an error by accident.
        .skip_debug(["."])
        // A session's records are packed again and again, and shared, not copied.
        .bytes([".session.Record"])
        .compile_fds(descriptors)?;
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    Ok(())
}
