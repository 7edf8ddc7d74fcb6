//! Network namespaces: telling them apart, entering them, and always coming back.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::KernelError;

/// The calling thread's own namespace. Threads may differ, so it is the thread's, not the process's.
const OWN: &str = "/proc/thread-self/ns/net";

/// An open network namespace. It lives at least as long as this does.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
}

impl Netns {
    /// The calling thread's namespace.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn own() -> Result<Self, KernelError> {
        Self::open_any(Path::new(OWN))
    }

    /// Opens the namespace that a file stands for; `None` if there is no such file or it is no
    /// namespace of a network (a runtime's bind mount that is gone leaves an empty file behind).
    ///
    /// # Errors
    /// The file is there and cannot be opened.
    pub fn open(path: &Path) -> Result<Option<Self>, KernelError> {
        // Looked at before it is opened: to open a FIFO waits for a writer, and to open a device may
        // do something.
        let found = match statfs(path) {
            Ok(found) if found.filesystem_type() == NSFS_MAGIC => Self::open_any(path),
            Ok(_) => return Ok(None),
            Err(errno) => Err(netns_error("open", path, errno.into())),
        };
        match found {
            Err(KernelError::Netns { source, .. }) if absent(&source) => Ok(None),
            found => Ok(Some(found?).filter(Self::is_of_a_network)),
        }
    }

    /// Mounts, users and the rest have namespaces of the same file system. Before Linux 4.11 they do not tell.
    fn is_of_a_network(&self) -> bool {
        // SAFETY: the file is open, and this ioctl takes no argument. No library that is used here has a name for it.
        let kind = unsafe { nix::libc::ioctl(self.file.as_raw_fd(), nix::libc::NS_GET_NSTYPE) };
        kind == -1 || kind == nix::libc::CLONE_NEWNET
    }

    fn open_any(path: &Path) -> Result<Self, KernelError> {
        // Should a FIFO take its place meanwhile.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(nix::libc::O_NONBLOCK);
        let file = options.open(path).map_err(|source| netns_error("open", path, source))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The same namespace once more.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn try_clone(&self) -> Result<Self, KernelError> {
        let file = self.file.try_clone();
        let file = file.map_err(|source| netns_error("duplicate", &self.path, source))?;
        Ok(Self { file, path: self.path.clone() })
    }

    /// The inode number, which no other living namespace has: `ls -iL`, `lsns -t net`.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn inode(&self) -> Result<u64, KernelError> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(|source| netns_error("examine", &self.path, source))?.ino())
    }

    /// Runs `inside` in this namespace and comes back, whatever happens in between.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn run<T>(&self, inside: impl FnOnce() -> T) -> Result<T, KernelError> {
        let _back = Entered::enter(self)?;
        Ok(inside())
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// While this lives the thread is in another namespace. Bound to its thread, as namespaces are.
struct Entered {
    home: Netns,
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Entered {
    fn enter(target: &Netns) -> Result<Self, KernelError> {
        let home = Netns::own()?;
        setns(&target.file, CloneFlags::CLONE_NEWNET)
            .map_err(|e| netns_error("enter", &target.path, e.into()))?;
        Ok(Self { home, _not_send: std::marker::PhantomData })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Err(e) = setns(&self.home.file, CloneFlags::CLONE_NEWNET) {
            // Going on in a pod's namespace would change the wrong machine.
            log::error!("cannot return to fd {}: {e}; giving up", self.home.file.as_raw_fd());
            std::process::abort();
        }
    }
}

fn absent(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ENOTDIR))
}

fn netns_error(action: &'static str, path: &Path, source: std::io::Error) -> KernelError {
    KernelError::Netns { action, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_counts_as_gone() {
        assert!(Netns::open(Path::new("/nonexistent/netns")).unwrap().is_none());
        assert!(Netns::open(Path::new("/proc/self/status")).unwrap().is_none());
        assert!(Netns::open(Path::new("/proc/self/ns/net")).unwrap().is_some());
        for other in ["mnt", "user", "pid"] {
            let path = Path::new("/proc/self/ns").join(other);
            assert!(Netns::open(&path).unwrap().is_none(), "{other}");
        }
    }

    #[test]
    fn own_namespace_is_the_one_proc_names() {
        let own = Netns::own().unwrap().inode().unwrap();
        let link = std::fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(link.to_str().unwrap(), format!("net:[{own}]"));
    }
}
