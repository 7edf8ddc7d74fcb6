//! Hearing that a file may have changed.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::upkeep::inotify;

/// What is listened to.
pub struct Watch {
    inotify: Inotify,
    files: BTreeSet<PathBuf>,
}

impl Watch {
    /// Listens to nothing yet.
    ///
    /// # Errors
    /// What the system said.
    pub fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .map_err(|errno| inotify::explain(errno.into()))?;
        Ok(Self { inotify, files: BTreeSet::new() })
    }

    /// Listens to the folders of these files: an editor or a configuration manager renames a new file
    /// over the old one, and a mounted ConfigMap changes a link beside it. A folder that is not there yet
    /// is waited for.
    ///
    /// # Errors
    /// What the system said; for a folder, its name too.
    pub fn listen_to(&mut self, files: BTreeSet<PathBuf>) -> io::Result<()> {
        self.files = files;
        self.listen()
    }

    /// Whether something has happened since. Folders that have come are listened to from now on.
    ///
    /// # Errors
    /// As [`Watch::listen_to`].
    pub fn heard(&self) -> io::Result<bool> {
        let mut heard = false;
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {
            heard = true;
        }
        if heard {
            self.listen()?;
        }
        Ok(heard)
    }

    /// What is listened to already stays so.
    fn listen(&self) -> io::Result<()> {
        let folders: BTreeSet<&Path> = self.files.iter().filter_map(|file| folder(file)).collect();
        folders.into_iter().try_for_each(|folder| watch(&self.inotify, folder))
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// The folder that a file lies in; a bare name lies in the current one.
fn folder(file: &Path) -> Option<&Path> {
    file.parent().map(|folder| match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    })
}

/// Watches a folder; as long as it is not there, the one that it will appear in.
fn watch(inotify: &Inotify, folder: &Path) -> io::Result<()> {
    let change = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    let add = || inotify.add_watch(folder, change);
    let added = match (add(), folder.parent()) {
        (Err(Errno::ENOENT), Some(parent)) => {
            watch(inotify, parent)?;
            // It may have come before the other was watched.
            match add() {
                Err(Errno::ENOENT) => return Ok(()),
                added => added,
            }
        }
        (added, _) => added,
    };
    added.map(drop).map_err(|errno| {
        let error = inotify::explain(errno.into());
        io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn listening_to(file: &Path) -> io::Result<Watch> {
        let mut watch = Watch::new()?;
        watch.listen_to(BTreeSet::from([file.to_owned()]))?;
        Ok(watch)
    }

    fn hears(watch: &Watch) -> bool {
        let timeout = PollTimeout::try_from(Duration::from_secs(5)).unwrap();
        poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], timeout).unwrap();
        watch.heard().unwrap()
    }

    #[test]
    fn a_file_renamed_into_the_folder_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pods.json");
        let watch = listening_to(&file).unwrap();
        fs::write(folder.path().join("new"), "").unwrap();
        assert!(hears(&watch));
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert!(hears(&watch));
        assert!(!watch.heard().unwrap(), "it is heard once");
    }

    #[test]
    fn a_folder_that_comes_and_one_that_goes_and_comes_again_are_heard() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("etc/flatnet/pods.json");
        let watch = listening_to(&file).unwrap();
        for _ in 0..2 {
            for missing in ["etc", "etc/flatnet"] {
                fs::create_dir(folder.path().join(missing)).unwrap();
                assert!(hears(&watch), "{missing}");
            }
            fs::write(&file, "").unwrap();
            assert!(hears(&watch));
            fs::remove_dir_all(folder.path().join("etc")).unwrap();
            assert!(hears(&watch));
        }
    }

    #[test]
    fn a_bare_name_lies_in_the_current_folder() {
        let of = |file: &'static str| folder(Path::new(file)).unwrap();
        assert_eq!(of("pods.json"), Path::new("."));
        assert_eq!(of("./pods.json"), Path::new("."));
        assert_eq!(of("/etc/flatnet/pods.json"), Path::new("/etc/flatnet"));
    }

    #[test]
    fn what_is_no_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("etc");
        fs::write(&file, "").unwrap();
        let error = listening_to(&file.join("flatnet/pods.json")).err().unwrap();
        assert!(error.to_string().contains("/etc/flatnet: "), "{error}");
    }
}
