//! What a failed run leaves to be read: the logs of all programs, and what the API server knew.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;

use flatnet_tests::program::{command, finish, workspace};

use crate::cluster::Cluster;
use crate::patience::interrupted;

/// What is asked of the API server, with the file that gets the answer.
const QUESTIONS: [(&str, &[&str]); 3] = [
    ("objects", &["get", "nodes,pods,services,endpointslices", "-A", "-o", "wide"]),
    ("pods.yaml", &["get", "nodes,pods", "-A", "-o", "yaml"]),
    ("events", &["get", "events", "-A", "--sort-by=.lastTimestamp"]),
];

/// What of a node's folder is kept besides the logs of its programs: those of its pods, and what flatnet was told.
const FOLDERS: [&str; 4] = ["log", "etc/cni", "etc/flatnet", "lib/flatnet"];

/// Keeps the files of a cluster that did not come up, when dropped in a panic.
#[derive(Debug)]
pub struct Starting<'a> {
    /// The cluster's folder.
    pub folder: &'a Path,
    /// The cluster's name.
    pub name: &'a str,
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        if thread::panicking() && !interrupted() {
            eprintln!("logs: {}", keep_files(self.folder, self.name).display());
        }
    }
}

/// Copies all of a cluster that is known into `target/cluster/NAME`, which is emptied before.
pub fn keep(cluster: &Cluster, name: &str) -> PathBuf {
    let kept = keep_files(cluster.folder(), name);
    for (file, question) in QUESTIONS {
        // A second panic, in a drop, would end the process.
        let ask = || cluster.kubectl().run(question);
        let answer = catch_unwind(AssertUnwindSafe(ask));
        let text = answer.unwrap_or_else(|_| Err("interrupted".to_owned())).unwrap_or_else(|e| e);
        drop(fs::write(kept.join(file), text));
    }
    kept
}

/// Copies the files of each part of a cluster: its control plane, its nodes.
fn keep_files(folder: &Path, name: &str) -> PathBuf {
    let kept = workspace().join("target/cluster").join(name);
    drop(fs::remove_dir_all(&kept));
    for part in entries(folder).filter(|path| path.is_dir()) {
        let logs = entries(&part).filter(|path| path.extension().is_some_and(|end| end == "log"));
        let folders = FOLDERS.iter().map(|name| part.join(name)).filter(|path| path.is_dir());
        let sources: Vec<PathBuf> = logs.chain(folders).collect();
        let target = kept.join(part.file_name().unwrap_or_default());
        if !sources.is_empty() && fs::create_dir_all(&target).is_ok() {
            finish(command("cp", ["-r"]).args(sources).arg(&target), b"");
        }
    }
    kept.canonicalize().unwrap_or(kept)
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}
