//! Files that something may be reading at any time.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::Builder;

/// Puts a file in place as a whole: who reads meanwhile has the old one or the new one.
pub fn replace(file: &Path, text: &str) {
    let folder = file.parent().expect("a file in a folder");
    let new = Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(folder);
    let mut new = new.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    new.write_all(text.as_bytes()).expect("write a file");
    new.persist(file).expect("put a file in place");
}
