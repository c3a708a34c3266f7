//! The database's file, looked at from outside: every document, byte for byte.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags, params};

/// The documents, by path, as they lie there.
pub(crate) type Documents = BTreeMap<String, Vec<u8>>;

/// Where it is, in a worker's data folder.
pub(crate) fn file(data: &Path) -> PathBuf {
    data.join("leasehold.db")
}

fn open(data: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let connection = Connection::open_with_flags(file(data), flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    // The workers' indexes are over this function. Of what is written here none is
    // in an index.
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("doc_field", 2, flags, |_| Ok(None::<Vec<u8>>))?;
    Ok(connection)
}

/// Every document that there is.
pub(crate) fn documents(data: &Path) -> Result<Documents> {
    let connection = open(data)?;
    let mut query = connection.prepare("SELECT collection, id, fields FROM documents")?;
    let rows = query.query_map([], |row| {
        let (collection, id): (String, String) = (row.get(0)?, row.get(1)?);
        Ok((format!("{collection}/{id}"), row.get(2)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Puts a document's bytes in the place of what is there, as somebody with the
/// database could.
pub(crate) fn put(data: &Path, path: &str, fields: &[u8]) -> Result<()> {
    let (collection, id) = path.rsplit_once('/').context("a path")?;
    let changed = open(data)?.execute(
        "UPDATE documents SET fields = ?3 WHERE collection = ?1 AND id = ?2",
        params![collection, id, fields],
    )?;
    ensure!(changed == 1, "{path} is not there");
    Ok(())
}

/// The files of the database, with what is not written into the first yet.
pub(crate) fn bytes(data: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("leasehold.db")
        {
            bytes.extend(std::fs::read(entry.path())?);
        }
    }
    Ok(bytes)
}

/// The forms in which a secret could stand somewhere.
pub(crate) fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    vec![
        secret.to_vec(),
        hex::encode(secret).into_bytes(),
        hex::encode_upper(secret).into_bytes(),
        STANDARD.encode(secret).into_bytes(),
        STANDARD_NO_PAD.encode(secret).into_bytes(),
        URL_SAFE.encode(secret).into_bytes(),
        URL_SAFE_NO_PAD.encode(secret).into_bytes(),
    ]
}

/// What a secret's text stands for, in whatever base64 it is.
pub(crate) fn decoded(text: &str) -> Result<Vec<u8>> {
    let all = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    let found = all.iter().find_map(|base64| base64.decode(text).ok());
    found.with_context(|| format!("{} characters are base64", text.len()))
}

/// Whether these bytes are somewhere in those.
pub(crate) fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else {
        return true;
    };
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| byte == first) {
        from += at + 1;
        if haystack[from..].starts_with(rest) {
            return true;
        }
    }
    false
}
