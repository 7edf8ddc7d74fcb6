//! A folder for files that go with it.

use std::path::Path;

use tempfile::TempDir;

/// A new folder, removed when dropped.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes it where all temporary files go.
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("fbench-").tempdir().expect("a folder"))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Puts all temporary files, those of the tests' harness too, into memory where there is such a
/// place: state folders are in memory on a real node, and no disk shall be measured.
pub fn use_memory() {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        // Fails if set before, which is then what was asked for.
        let _ = tempfile::env::override_temp_dir(memory);
    }
}
