//! `/run/netns`, where ip(8) looks for named network namespaces.
//!
//! `ip netns` mounts the folder on itself and shares that mount, so that a namespace which is added
//! or deleted is seen in every mount namespace; a mount that another one keeps would hold the
//! network namespace alive and its file undeletable. A lab does the same where that is not done yet, and
//! the last lab to go undoes what was done, unless others have come to use the folder.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::folder::Root;
use crate::cli::error::CommandError;

const FOLDER: &str = "/run/netns";
const NONE: Option<&str> = None;
/// The two notes: the folder was made and mounted, or mounted only.
const MADE: &str = "made";
const MOUNTED: &str = "mounted";

/// The file of a named namespace.
pub fn file(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Makes the folder what `ip netns add` would make it, and notes what that took.
pub fn prepare() -> Result<(), CommandError> {
    let folder = Path::new(FOLDER);
    // Asking the kernel to share the mount is the one way to learn whether there is one: the
    // mount table also lists those that later mounts hide.
    let done = match share() {
        Ok(()) => return Ok(()),
        Err(Errno::ENOENT) => MADE,
        Err(Errno::EINVAL) => MOUNTED,
        Err(e) => return Err(CommandError::call("share the mount of", folder)(e)),
    };
    // The note comes first: a lab that dies in between leaves something that the last lab undoes.
    let note = Root::note();
    fs::write(&note, done).map_err(CommandError::file("write", &note))?;
    let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(CommandError::file("create", folder))?;
    mount(Some(FOLDER), FOLDER, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .map_err(CommandError::call("mount", folder))?;
    share().map_err(CommandError::call("share the mount of", folder))
}

fn share() -> nix::Result<()> {
    mount(NONE, FOLDER, NONE, MsFlags::MS_SHARED | MsFlags::MS_REC, NONE)
}

/// Undoes what was done to the folder, if no namespace is left in it.
pub fn release() -> Result<(), CommandError> {
    let note = Root::note();
    let done = match fs::read_to_string(&note) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        done => done.map_err(CommandError::file("read", &note))?,
    };
    let folder = Path::new(FOLDER);
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) {
        // Not MNT_DETACH: what another puts there at this moment makes it busy, and it stays.
        match umount2(folder, MntFlags::UMOUNT_NOFOLLOW) {
            // EINVAL: `up` died before it came to mount it.
            Ok(()) | Err(Errno::EINVAL) if done == MADE => {
                // Fails only where another program was quicker and uses it.
                let _ = fs::remove_dir(folder);
            }
            Ok(()) | Err(Errno::EINVAL | Errno::EBUSY) => {}
            Err(e) => return Err(CommandError::call("unmount", folder)(e)),
        }
    }
    fs::remove_file(&note).map_err(CommandError::file("remove", &note))
}
