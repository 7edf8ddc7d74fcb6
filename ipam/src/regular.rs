//! Opening a file of ours in whose place something else may have been put: a FIFO would be waited for,
//! a device may do something, and a link leads to another program's file.

use std::fs::{self, File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;

/// Opens a regular file, or makes it where the options say so. Never waits.
///
/// # Errors
/// What the system says, or what is there instead of a file.
pub fn open_regular(path: &Path, options: &OpenOptions) -> io::Result<File> {
    // Looked at before it is opened, and after it, should it have changed meanwhile.
    refuse_other(path)?;
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = options.clone().custom_flags(flags.bits()).open(path)?;
    refuse(file.metadata()?.file_type())?;
    Ok(file)
}

/// Refuses what is there, if it is no regular file.
///
/// # Errors
/// What it is, or that it cannot be looked at.
pub fn refuse_other(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) => refuse(found.file_type()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn refuse(found: FileType) -> io::Result<()> {
    match other(found) {
        None => Ok(()),
        Some(what) => {
            Err(io::Error::other(format!("it is {what} and not a regular file; remove it")))
        }
    }
}

/// What something is, if it is no regular file.
pub fn other(found: FileType) -> Option<&'static str> {
    let what = match found {
        found if found.is_file() => return None,
        found if found.is_dir() => "a folder",
        found if found.is_symlink() => "a symbolic link",
        found if found.is_fifo() => "a FIFO",
        found if found.is_socket() => "a socket",
        _ => "a device",
    };
    Some(what)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn what_is_no_file_is_named_and_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let open = |name: &str| open_regular(&at(name), &options).map(drop);
        open("file").unwrap();
        open("file").unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink("/dev/null", at("device link")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (name, what) in [
            ("folder", "a folder"),
            ("link", "a symbolic link"),
            ("device link", "a symbolic link"),
            ("fifo", "a FIFO"),
            ("socket", "a socket"),
        ] {
            let told = open(name).unwrap_err().to_string();
            assert_eq!(told, format!("it is {what} and not a regular file; remove it"));
        }
        let device = open_regular(Path::new("/dev/null"), &options).unwrap_err();
        assert!(device.to_string().starts_with("it is a device"), "{device}");
        let none = open_regular(&at("none"), OpenOptions::new().read(true));
        assert_eq!(none.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
