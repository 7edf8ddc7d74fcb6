//! The network namespaces of this machine, as far as a file or a process shows them.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::kernel::netns::Netns;
use crate::kernel::{Link, Netlink};

/// Where programs bind namespaces to: ip(8) and runtimes, Docker.
const FOLDERS: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// VXLAN devices that were made in the calling thread's namespace and are in others, each with the file
/// of that. Namespaces that are gone or closed to us are passed by.
///
/// # Errors
/// The thread's own namespace cannot be opened.
pub fn astray() -> Result<Vec<(PathBuf, Link)>, Error> {
    let home = Netns::own()?;
    let mut seen = HashSet::from([home.inode()?]);
    let mut found = Vec::new();
    for path in files() {
        let Ok(Some(netns)) = Netns::open(&path) else { continue };
        if !netns.inode().is_ok_and(|inode| seen.insert(inode)) {
            continue;
        }
        let links = Netlink::open_in(netns).and_then(|mut there| there.vxlans_made_in(&home));
        found.extend(links.unwrap_or_default().into_iter().map(|link| (path.clone(), link)));
    }
    Ok(found)
}

/// Files that may stand for namespaces; those that have a name of their own first.
fn files() -> impl Iterator<Item = PathBuf> {
    let bound = FOLDERS.into_iter().flat_map(|folder| entries(Path::new(folder)));
    let processes = entries(Path::new("/proc")).map(|process| process.join("ns/net"));
    bound.chain(processes)
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}
