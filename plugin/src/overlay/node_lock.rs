//! One process at a time changes what networks claim on this machine: that no other network has the
//! same addresses, VNI or port is true only as long as none can claim them beside.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg, OFlag};

/// The folder whose lock it is, wherever a network's own state is. None but root reads it, so none else
/// can hold it.
const FOLDER: &str = "/run/flatnet";

/// Waits for the lock, which the kernel frees when its holder ends. `None` where there can be no such
/// folder: then each network has its own lock only.
pub fn wait() -> Option<Flock<File>> {
    let lock = wait_at(Path::new(FOLDER));
    lock.inspect_err(|e| {
        log::warn!("cannot lock {FOLDER}: {e}; networks that are begun at once are not told apart");
    })
    .ok()
}

fn wait_at(folder: &Path) -> io::Result<Flock<File>> {
    // Two may make it at once; then the second finds it.
    DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = OpenOptions::new().read(true).custom_flags(flags.bits()).open(folder)?;
    Flock::lock(open, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_folder_is_made_and_held_by_one() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("run/flatnet");
        let held = wait_at(&folder).unwrap();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let again = || Flock::lock(File::open(&folder).unwrap(), FlockArg::LockExclusiveNonblock);
        assert!(again().is_err());
        drop(held);
        // A program that another test starts at this moment may still hold it.
        assert!(wait_at(&folder).is_ok());
        assert!(wait_at(Path::new("/proc/flatnet")).is_err());
    }
}
