//! Whether leases could be written now: tried, by a file that has no name and so leaves nothing behind,
//! whatever happens to the call. Permissions alone do not tell: root has them all, and a full disk or a
//! file in the place of a folder refuses root, too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::{AccessFlags, access};

use crate::disk::{Disk, is_ours};
use crate::error::{Error, Result};
use crate::key::{network_folder, node_folder};
use crate::regular::open_regular;

/// What a lease takes at most, but for names of extraordinary length.
const LEASE: [u8; 1024] = [b' '; 1024];

/// Whether a lease of a node could be written, where [`crate::Leases::allocate`] would write it.
/// Nothing is made or changed.
///
/// # Errors
/// Code 5 with the file or folder that keeps it from being written.
pub fn check_leases(state_dir: &Path, network: &str, node: &str) -> Result<()> {
    let folder = node_folder(state_dir, network, node);
    for part in [state_dir, &network_folder(state_dir, network), &folder] {
        if !is_ours(part)? {
            return check_writable(part);
        }
    }
    for part in ["leases", "addresses"].map(|name| folder.join(name)) {
        is_ours(&part)?;
        check_writable(&part)?;
    }
    check_lock(&Disk::lock_of(&folder))
}

/// Whether files could be written into a folder, or into the nearest above it that there is.
///
/// # Errors
/// Code 5 with the folder that keeps them from being written.
pub fn check_writable(folder: &Path) -> Result<()> {
    let found = |folder: &&Path| fs::symlink_metadata(folder).is_ok();
    let there = folder.ancestors().find(found).unwrap_or(folder);
    let failed = |action, error| Error::io(action, there)(error);
    if !there.is_dir() {
        return Err(Error::Folder { path: there.to_owned(), why: "it is not a folder" });
    }
    access(there, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|errno| failed("write to", errno.into()))?;
    match write_nameless(there) {
        // An old kernel, or a file system that cannot do without a name.
        Err(error) if unknown(&error) => Ok(()),
        written => written.map_err(|error| failed("write a lease into", error)),
    }
}

fn write_nameless(folder: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(OFlag::O_TMPFILE.bits());
    options.open(folder)?.write_all(&LEASE)
}

fn unknown(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOSYS | Errno::EINVAL))
}

/// A lock that another verb holds is as good as a free one: it is held for a decision.
fn check_lock(path: &Path) -> Result<()> {
    let failed = |action, error| Error::io(action, path)(error);
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file: File = match open_regular(path, &options) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|error| failed("open the lock", error))?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_) | Err((_, Errno::EWOULDBLOCK)) => Ok(()),
        Err((_, errno)) => Err(failed("lock", errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Leases;

    fn told(state: &Path) -> Option<String> {
        let error = check_leases(state, "pods", "node-a").err()?;
        assert_eq!(error.code(), 5, "{error}");
        Some(error.to_string())
    }

    #[test]
    fn a_folder_to_come_is_writable_as_what_it_will_be_in() {
        let state = tempfile::tempdir().unwrap();
        assert!(check_writable(&state.path().join("a/b")).is_ok());
        assert_eq!(told(&state.path().join("state")), None);
        let file = state.path().join("file");
        fs::write(&file, "").unwrap();
        let error = check_writable(&file.join("a/b")).unwrap_err();
        assert_eq!(error.code(), 5);
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("will not keep leases in {}: ", file.display())),
            "{text}"
        );
        // One that leads nowhere is no folder, and none can be made in its place.
        let link = state.path().join("link");
        symlink("/nonexistent", &link).unwrap();
        assert!(check_writable(&link.join("a")).is_err());
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 2, "nothing is made");
    }

    #[test]
    fn whatever_is_in_the_place_of_a_folder_or_of_the_lock_is_named() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        Leases::create(state, "pods", "node-a").unwrap();
        assert_eq!(told(state), None);
        let node = state.join("pods/node-a");
        let held = Disk::existing(state, "pods", "node-a").unwrap().unwrap();
        let lock = held.lock().unwrap();
        assert_eq!(told(state), None, "locked by another");
        drop(lock);
        for name in ["leases", "addresses"] {
            fs::remove_dir(node.join(name)).unwrap();
            assert_eq!(told(state), None, "{name} will be made");
            fs::write(node.join(name), "").unwrap();
            let text = told(state).unwrap();
            assert!(text.contains(&format!("node-a/{name}: it is not a folder")), "{text}");
            fs::remove_file(node.join(name)).unwrap();
        }
        fs::remove_file(node.join("lock")).unwrap();
        fs::create_dir(node.join("lock")).unwrap();
        assert!(told(state).unwrap().contains("node-a/lock: "));
        fs::remove_dir(node.join("lock")).unwrap();
        assert_eq!(told(state), None);
        fs::remove_dir(&node).unwrap();
        fs::write(&node, "").unwrap();
        assert!(told(state).unwrap().contains("pods/node-a: it is not a folder"));
    }
}
