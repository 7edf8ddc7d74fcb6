//! Where the network namespaces of pods are, found without any record.
//!
//! The node's end of a veth pair bears the number of its peer's namespace; which namespace has it is asked
//! of all that the machine's mounts and processes lead to. `ip netns list-id`

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::kernel::netns::Netns;
use crate::kernel::{Link, Numbers};

const PROC: &str = "/proc";
const MOUNTS: &str = "/proc/self/mountinfo";

/// The namespaces that anything leads to, by the number that this one has for them: where each is mounted,
/// if it is.
#[derive(Debug)]
pub struct Sandboxes {
    mounted: HashMap<u32, Option<String>>,
    /// Whether all that are mounted could be looked at.
    complete: bool,
}

impl Sandboxes {
    /// Looks at all mounts and processes that the calling process sees.
    ///
    /// # Errors
    /// They cannot be read, or the kernel cannot be asked.
    pub fn look() -> Result<Self, Error> {
        let mut numbers = Numbers::open()?;
        let mut processes = Vec::new();
        for entry in fs::read_dir(PROC).map_err(unreadable(PROC))? {
            let name = entry.map_err(unreadable(PROC))?.file_name();
            processes.extend(name.to_string_lossy().parse::<u32>());
        }
        let of_processes = numbers.of_processes(&processes)?;
        let mounted = of_processes.into_iter().map(|id| (id, None)).collect();
        let mut found = Self { mounted, complete: true };
        let mut closed = Vec::new();
        for mount in mounts(&table()?) {
            match mount.open() {
                Some(netns) => {
                    if let Some(id) = numbers.of(&netns)? {
                        found.mounted.entry(id).or_default().get_or_insert(mount.path);
                    }
                }
                None => closed.push(mount),
            }
        }
        if !closed.is_empty() {
            // One that was taken away meanwhile is no doubt.
            let now = mounts(&table()?);
            found.complete = !closed.iter().any(|mount| now.contains(mount));
        }
        Ok(found)
    }

    /// Where the namespace of a pair's other end is mounted. `None` also if only processes lead to it: the
    /// path of one of them goes with that one, and may be another pod's later.
    pub fn path_of(&self, node_end: &Link) -> Option<&str> {
        self.mounted.get(&node_end.peer_netns?)?.as_deref()
    }

    /// Whether nothing leads to the namespace of a pair's other end: no pod lives in it, and something
    /// else, as an open file, still holds it. In doubt one lives.
    pub fn is_gone(&self, node_end: &Link) -> bool {
        self.complete && node_end.peer_netns.is_some_and(|id| !self.mounted.contains_key(&id))
    }
}

fn unreadable(path: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::File { action: "read", path: path.into(), source }
}

fn table() -> Result<String, Error> {
    let table = fs::read(MOUNTS).map_err(unreadable(MOUNTS))?;
    Ok(String::from_utf8_lossy(&table).into_owned())
}

/// A mount of a network namespace.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    inode: u64,
    path: String,
}

impl Mount {
    /// `None` if the path leads elsewhere, because something else is mounted above, say.
    fn open(&self) -> Option<Netns> {
        let netns = Netns::open(Path::new(&self.path)).inspect_err(|e| log::debug!("{e}"));
        netns.ok()?.filter(|netns| netns.inode().is_ok_and(|inode| inode == self.inode))
    }
}

/// The network namespaces in a table as `/proc/PID/mountinfo`.
fn mounts(table: &str) -> Vec<Mount> {
    let namespace = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let inode = root.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()?;
        line.contains(" - nsfs ").then(|| Mount { inode, path: unescaped(place) })
    };
    table.lines().filter_map(namespace).collect()
}

/// Blanks and backslashes are three octal digits there.
fn unescaped(place: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(place.to_owned(), |text, (octal, is)| text.replace(octal, is))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::LinkKind;
    use crate::kernel::fake::Fake;

    #[test]
    fn namespaces_are_among_the_mounts() {
        let table = "22 1 0:21 / /proc rw,nosuid - proc proc rw\n\
            90 60 0:4 net:[4026532281] /run/netns/cni-1 rw shared:9 - nsfs nsfs rw\n\
            91 60 0:4 mnt:[4026532282] /run/snapd/ns/x.mnt rw - nsfs nsfs rw\n\
            92 60 8:1 /net:[1] /srv/net rw - ext4 /dev/sda1 rw\n\
            93 60 0:4 net:[4026532283] /run/my\\040pods/a\\134b rw - nsfs nsfs rw\n\
            94 60\n";
        let mount = |inode, path: &str| Mount { inode, path: path.into() };
        let found = [(4_026_532_281, "/run/netns/cni-1"), (4_026_532_283, "/run/my pods/a\\b")];
        assert_eq!(mounts(table), found.map(|(inode, path)| mount(inode, path)));
        assert!(mount(1, "/proc/self/ns/net").open().is_none(), "another is there");
    }

    #[test]
    fn what_nothing_leads_to_is_gone_unless_something_is_hidden() {
        let mut fake = Fake::default();
        fake.add("v", 1450, &[], LinkKind::Veth);
        let end = |peer_netns| Link { peer_netns, ..fake.links["v"].link.clone() };
        let mounted = HashMap::from([(1, Some("/run/netns/a".to_owned())), (2, None)]);
        let all = Sandboxes { mounted: mounted.clone(), complete: true };
        let told = |end: &Link| (all.path_of(end), all.is_gone(end));
        assert_eq!(told(&end(Some(1))), (Some("/run/netns/a"), false));
        assert_eq!(told(&end(Some(2))), (None, false), "processes live there");
        assert_eq!(told(&end(Some(3))), (None, true));
        assert_eq!(told(&end(None)), (None, false), "its peer is in this namespace");
        assert!(!Sandboxes { mounted, complete: false }.is_gone(&end(Some(3))));
    }
}
