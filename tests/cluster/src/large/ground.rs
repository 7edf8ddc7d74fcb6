//! What every part of the benchmark stands on: a network below, and a folder for all files.

use std::path::Path;

use flatnet_cluster::remains;
use flatnet_cluster::underlay::Underlay;
use flatnet_tests::program::require_root;
use tempfile::TempDir;

/// An underlay and a folder.
pub struct Ground {
    /// The network below.
    pub underlay: Underlay,
    folder: TempDir,
}

impl Ground {
    /// Makes it.
    pub fn new() -> Self {
        require_root();
        remains::sweep();
        let folder = tempfile::Builder::new().prefix(&remains::prefix()).tempdir();
        Self { underlay: Underlay::new(), folder: folder.expect("a folder") }
    }

    /// The folder of all its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
