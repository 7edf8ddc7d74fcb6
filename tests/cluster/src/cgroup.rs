//! The cgroups of a node: a folder of its name in every hierarchy of the machine, of version 1 or 2, in which
//! its kubelet keeps its pods.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

const ROOT: &str = "/sys/fs/cgroup";

/// The cgroups of one node, removed when dropped. Their processes have to be ended before.
#[derive(Debug)]
pub struct Cgroup {
    name: String,
    folders: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes them.
    pub fn new(name: &str) -> Self {
        let folders = hierarchies().iter().map(|root| make(root, name)).collect();
        Self { name: name.to_owned(), folders }
    }

    /// Its path below each hierarchy, as a kubelet has it.
    pub fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// The processes in it and in all below.
    pub fn processes(&self) -> BTreeSet<Pid> {
        let folders = self.folders.iter().flat_map(|folder| innermost_first(folder));
        let lists = folders.map(|folder| fs::read_to_string(folder.join("cgroup.procs")));
        let text: String = lists.map(Result::unwrap_or_default).collect();
        text.split_whitespace().filter_map(|word| word.parse().ok()).map(Pid::from_raw).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in self.folders.iter().flat_map(|folder| innermost_first(folder)) {
            drop(fs::remove_dir(folder));
        }
    }
}

/// The cgroups that a killed process left, by their names. Those of a living one must not become a [`Cgroup`] here:
/// dropped, it would remove them as long as nothing runs in them.
pub fn remains(is_left: impl Fn(&str) -> bool) -> impl Iterator<Item = Cgroup> {
    let roots = hierarchies();
    let entries = roots.iter().flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten());
    let names: BTreeSet<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| is_left(name))
        .collect();
    let folders = move |name: &str| roots.iter().map(|root| root.join(name)).collect();
    names.into_iter().map(move |name| Cgroup { folders: folders(&name), name })
}

/// The hierarchies of version 1, or the one of version 2.
fn hierarchies() -> BTreeSet<PathBuf> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return [root.to_owned()].into();
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    // `cpu` and `cpuacct` may be two names of one.
    let folders = entries.filter_map(|entry| entry.path().canonicalize().ok());
    folders.filter(|folder| folder.join("cgroup.procs").exists()).collect()
}

fn make(root: &Path, name: &str) -> PathBuf {
    // Version 2 gives to a child what its parent passes on.
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        // What the machine does not pass on, the kubelet says if it needs it.
        drop(fs::write(root.join("cgroup.subtree_control"), format!("+{controller}")));
    }
    let folder = root.join(name);
    fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    // In version 1 a new cpuset has no processor, and takes no process.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(all) = fs::read(root.join(file)) {
            fs::write(folder.join(file), all).expect("fill a cpuset");
        }
    }
    folder
}

/// A folder and all below it.
fn innermost_first(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let below = below.flat_map(|entry| innermost_first(&entry.path()));
    below.chain([folder.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use flatnet_tests::netns::PREFIX;
    use flatnet_tests::program::require_root;

    use super::*;

    #[test]
    fn what_is_left_goes_and_what_lives_stays() {
        require_root();
        let [living, left] = ["living", "left"]
            .map(|label| Cgroup::new(&format!("{PREFIX}{}-{label}", std::process::id())));
        remains(|name| name == left.name).for_each(drop);
        let stands = |cgroup: &Cgroup| -> Vec<bool> {
            cgroup.folders.iter().map(|folder| folder.exists()).collect()
        };
        assert!(!stands(&living).is_empty());
        assert!(!stands(&living).contains(&false), "{living:?}");
        assert!(!stands(&left).contains(&true), "{left:?}");
    }
}
