//! What is installed, and where; a file put in its place whole or not at all, seen by every watch of the folder.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use crate::cli::error::CommandError;

/// Where runtimes look for plugins if they are not told otherwise.
pub const BIN_DIR: &str = "/opt/cni/bin";
/// The plugin, and the IPAM plugin that lies beside it.
pub const EXECUTABLES: [&str; 2] = ["flatnet", "flatnet-ipam"];

/// What became of a file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was not there.
    Installed,
    /// It was another.
    Replaced,
    /// It was the same already.
    Unchanged,
}

impl Done {
    /// For people and scripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Makes the file `name` in `folder` have these bytes and at least this mode.
///
/// The new file is written in the same folder and renamed: a plugin that runs keeps its old file,
/// one that is started gets the old or the new one. A new name alone would not do, nor a file moved
/// in from elsewhere: containerd ignores files that appear in its folder of configurations, and
/// reads it again when one of it is renamed.
pub fn put(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<Done, CommandError> {
    fs::create_dir_all(folder).map_err(CommandError::file("create", folder))?;
    let opened = File::open(folder).map_err(CommandError::file("open", folder))?;
    // One at a time, so that the unfinished file can have one name and a dead one's is overwritten.
    let folder_lock = Flock::lock(opened, FlockArg::LockExclusive)
        .map_err(|(_, errno)| CommandError::call("lock", folder)(errno))?;
    let path = folder.join(name);
    let before = match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(CommandError::file("read", &path)(e)),
    };
    if before.as_deref() == Some(bytes) && has_mode(&path, mode)? {
        return Ok(Done::Unchanged);
    }
    let unfinished = folder.join(format!(".{name}.new"));
    let written = write(&unfinished, bytes, mode).and_then(|()| {
        fs::rename(&unfinished, &path).map_err(CommandError::file("put in place", &path))
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&unfinished);
    }
    written?;
    folder_lock.sync_all().map_err(CommandError::file("sync", folder))?;
    Ok(if before.is_some() { Done::Replaced } else { Done::Installed })
}

/// Makes `name` in `folder` a link to this file, at once.
pub fn link(folder: &Path, name: &str, to: &Path) -> Result<Done, CommandError> {
    fs::create_dir_all(folder).map_err(CommandError::file("create", folder))?;
    let path = folder.join(name);
    let is_there = path.symlink_metadata().is_ok();
    if fs::read_link(&path).is_ok_and(|now| now == to) {
        return Ok(Done::Unchanged);
    }
    let unfinished = folder.join(format!(".{name}.new"));
    // One that an earlier call left.
    let _ = fs::remove_file(&unfinished);
    symlink(to, &unfinished).map_err(CommandError::file("make the link", &unfinished))?;
    fs::rename(&unfinished, &path).map_err(CommandError::file("put in place", &path))?;
    Ok(if is_there { Done::Replaced } else { Done::Installed })
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CommandError> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            // Whatever the umask took away.
            file.set_permissions(Permissions::from_mode(mode))?;
            file.sync_all()
        })
        .map_err(CommandError::file("write", path))
}

fn has_mode(path: &Path, mode: u32) -> Result<bool, CommandError> {
    let found =
        fs::metadata(path).map_err(CommandError::file("look at", path))?.permissions().mode();
    Ok(found & mode == mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_replaced_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("opt/cni/bin");
        let path = bin.join("flatnet");
        for (bytes, done) in [("one", Done::Installed), ("two", Done::Replaced)] {
            assert_eq!(put(&bin, "flatnet", bytes.as_bytes(), 0o755).unwrap(), done);
            assert_eq!(fs::read_to_string(&path).unwrap(), bytes);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
            assert_eq!(put(&bin, "flatnet", bytes.as_bytes(), 0o755).unwrap(), Done::Unchanged);
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(put(&bin, "flatnet", b"two", 0o755).unwrap(), Done::Replaced);
        assert_eq!(fs::read_dir(&bin).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_replaced_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("flatnet")).unwrap();
        let error = put(folder.path(), "flatnet", b"x", 0o755).unwrap_err().to_string();
        assert!(error.starts_with("cannot read "), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
