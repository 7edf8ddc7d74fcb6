//! Every input of the corpus through its target: what a fuzzer once found stays mended.

use std::fs;
use std::path::{Path, PathBuf};

use flatnet_fuzz::TARGETS;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The folders with the seeds of a target; see `make fuzz`.
fn folders(target: &str) -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![here.join("corpus").join(target)];
    if ["network", "range_file"].contains(&target) {
        let files = here.join("../../conf/testdata");
        folders.extend(["good", "bad"].map(|kind| files.join(kind)));
    }
    folders
}

#[test]
fn the_corpus_finds_nothing() {
    for (name, target) in TARGETS {
        let inputs: Vec<PathBuf> = folders(name).iter().flat_map(|folder| files(folder)).collect();
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            let data = fs::read(&input).unwrap();
            let found = std::panic::catch_unwind(|| target(&data));
            assert!(found.is_ok(), "a finding of {name}: {}", input.display());
        }
    }
}
