//! All of a namespace and all of a folder as values, to show that a call changed nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::netns::Netns;

/// What is compared of a namespace: everything but counters and what ages by itself.
const VIEWS: [&str; 8] = [
    "ip -d link",
    "ip addr",
    "ip -N -4 route show table all",
    "ip -N -6 route show table all",
    "ip rule",
    "ip neigh show nud permanent",
    "bridge fdb",
    "nft list ruleset",
];

/// What the kernel keeps in hash tables: the order of their entries changes as a table grows.
const UNORDERED: [&str; 2] = ["ip neigh show nud permanent", "bridge fdb"];

/// The state of a namespace, by the command that shows it.
pub fn namespace(netns: &Netns) -> BTreeMap<&'static str, Vec<String>> {
    let lines = |view| {
        let mut lines: Vec<String> = netns.exec(view).lines().map(str::to_owned).collect();
        if UNORDERED.contains(&view) {
            lines.sort();
        }
        lines
    };
    VIEWS.into_iter().map(|view| (view, lines(view))).collect()
}

/// What differs between two states, and only that, so that a failure can be read. Empty if they
/// are the same.
pub fn difference<K: Ord + Debug, V: PartialEq + Debug>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> Vec<String> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    let changed = keys.into_iter().filter(|key| before.get(key) != after.get(key));
    changed
        .map(|key| format!("{key:?}: {:#?} became {:#?}", before.get(key), after.get(key)))
        .collect()
}

/// A folder's files and subfolders with mode and content; empty where there is no such folder.
pub fn folder(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten() {
            let path = entry.expect("a folder entry").path();
            let meta = fs::symlink_metadata(&path).expect("an entry's metadata");
            let content =
                if meta.is_file() { fs::read(&path).expect("a file") } else { Vec::new() };
            found.insert(path.clone(), (meta.permissions().mode(), content));
            if meta.is_dir() {
                pending.push(path);
            }
        }
    }
    found
}
