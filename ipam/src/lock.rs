//! The two locks, and why they cannot deadlock.
//!
//! - The folder's lock, on `lock`, is held for one decision.
//! - A lease's lock, on its file, is held by an ADD from before the lease has its name until the
//!   attachment stands, and by a DEL while it takes the lease back. A process that finds it taken
//!   knows that the lease's pod is in the making, though the kernel shows no trace of it yet.
//!
//! Order: one waits for a lease's lock only while holding nothing, and for the folder's lock with
//! at most one lease's; with the folder's lock held, a lease's is only ever tried. So the
//! holder of the folder's lock never waits, and no two processes wait for each other.
//!
//! Both are flock(2): bound to the open file, so they exclude threads as well as processes, and
//! the kernel frees them when the holder is killed. A process forked meanwhile shares them; they
//! end all the same when the holder drops them, because that unlocks explicitly.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::error::{Error, Result};
use crate::lease::Record;
use crate::regular;

/// No lease is longer; what is longer is not read to its end.
const LONGEST_LEASE: u64 = 64 * 1024;
/// Room for an ordinary lease, so that it is read at once.
const ORDINARY_LEASE: usize = 1024;

/// Device and inode number of a lease file: `leases/<key>` and `addresses/<ip>` belong together
/// if they have the same.
pub(crate) type Inode = (u64, u64);

/// An open and locked lease file, with or without a name. Dropping it unlocks.
#[derive(Debug)]
pub(crate) struct LeaseFile {
    file: Flock<File>,
    path: PathBuf,
    inode: Inode,
    written: Option<SystemTime>,
}

/// What came of trying to lock a lease without waiting.
pub(crate) enum Attempt {
    /// The lease is gone.
    Gone,
    /// An ADD or DEL of its attachment is under way.
    UnderWay,
    /// It is ours.
    Locked(LeaseFile),
}

impl LeaseFile {
    /// Locks the lease at `path`, waiting for the ADD or DEL that is under way; `None` if there is
    /// no lease. Not to be called with the folder's lock held.
    pub fn wait(path: &Path) -> Result<Option<LeaseFile>> {
        match open(path)? {
            None => Ok(None),
            Some(file) => match Self::lock(file, path, FlockArg::LockExclusive)? {
                Attempt::Locked(lease) => Ok(Some(lease)),
                Attempt::Gone | Attempt::UnderWay => Ok(None),
            },
        }
    }

    /// Locks the lease at `path` unless another process has.
    pub fn attempt(path: &Path) -> Result<Attempt> {
        match open(path)? {
            None => Ok(Attempt::Gone),
            Some(file) => Self::lock(file, path, FlockArg::LockExclusiveNonblock),
        }
    }

    fn lock(file: File, path: &Path, how: FlockArg) -> Result<Attempt> {
        let metadata = file.metadata().map_err(Error::io("look at the lease", path))?;
        let inode = (metadata.dev(), metadata.ino());
        match flock(file, how) {
            Ok(file) => {
                let (path, written) = (path.to_owned(), metadata.modified().ok());
                Ok(Attempt::Locked(LeaseFile { file, path, inode, written }))
            }
            Err(Errno::EWOULDBLOCK) => Ok(Attempt::UnderWay),
            Err(errno) => Err(Error::io("lock the lease", path)(errno.into())),
        }
    }

    /// The same lease after it was renamed.
    pub fn renamed(self, path: PathBuf) -> LeaseFile {
        LeaseFile { path, ..self }
    }

    /// Which file it is.
    pub fn inode(&self) -> Inode {
        self.inode
    }

    /// When it was written, as far as can be told.
    pub fn written(&self) -> Option<SystemTime> {
        self.written
    }

    /// How many names the file has: one as a lease, one for each address.
    pub fn names(&self) -> Result<u64> {
        let metadata = self.file.metadata().map_err(Error::io("look at the lease", &self.path))?;
        Ok(metadata.nlink())
    }

    /// What the lease says.
    pub fn record(&self) -> Result<Record> {
        parse(&self.file, &self.path)
    }
}

/// Locks the file, trying again when a signal interrupts.
pub(crate) fn flock(mut file: File, how: FlockArg) -> nix::Result<Flock<File>> {
    loop {
        match Flock::lock(file, how) {
            Ok(locked) => return Ok(locked),
            Err((again, Errno::EINTR)) => file = again,
            Err((_, errno)) => return Err(errno),
        }
    }
}

/// What the lease at `path` says, without its lock; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Record>> {
    open(path)?.map(|file| parse(&file, path)).transpose()
}

fn parse(mut file: &File, path: &Path) -> Result<Record> {
    let mut content = Vec::with_capacity(ORDINARY_LEASE);
    let broken = |why| Error::Broken { path: path.to_owned(), why };
    let found = file.metadata().map_err(Error::io("look at the lease", path))?;
    if let Some(what) = regular::other(found.file_type()) {
        return Err(broken(format!("it is {what}")));
    }
    let read = file.rewind().and_then(|()| file.take(LONGEST_LEASE).read_to_end(&mut content));
    read.map_err(Error::io("read the lease", path))?;
    if content.is_empty() {
        return Err(broken("it is empty".to_owned()));
    }
    serde_json::from_slice(&content).map_err(|error| broken(error.to_string()))
}

/// Whatever is there: what can be locked can be taken back. O_NONBLOCK: a FIFO in the folder must not
/// stop every verb.
fn open(path: &Path) -> Result<Option<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            // Of a socket the system says no more than "No such device or address".
            let found = regular::refuse_other(path).err().unwrap_or(error);
            Err(Error::io("open the lease", path)(found))
        }
    }
}
