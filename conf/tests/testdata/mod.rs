//! The files in `testdata`.

#![allow(clippy::unwrap_used, reason = "in a test, also outside its functions")]

use std::path::PathBuf;

fn folder(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(kind)
}

/// The bytes of a file, named without its ending.
pub fn read(kind: &str, name: &str) -> Vec<u8> {
    std::fs::read(folder(kind).join(format!("{name}.json"))).unwrap()
}

/// The names, without their ending, of all files that begin with `prefix`, sorted by name.
#[allow(dead_code, reason = "not every test lists")]
pub fn names(kind: &str, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder(kind)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> =
        names.map(|name| name.strip_suffix(".json").unwrap().to_owned()).collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names
}
