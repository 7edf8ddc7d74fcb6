//! Who is at work on a network of this node: calls of a runtime side by side, `remove` alone.
//!
//! One file for each network, locked byte by byte (open file description locks, which the kernel frees
//! when their holder ends): which byte says what is locked. So there is no file for each node or
//! attachment that would have to be taken away.
//!
//! A process that needs several locks takes this one first, then [`crate::overlay::node_lock`], then those in a node's folder.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use flatnet_conf::NetworkConf;
use flatnet_ipam::{Key, create_network_folder, existing_network_folder, open_regular};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::error::Error;
use crate::overlay::agent::author_of;

/// No node has this name, so it is in no folder's way.
const FILE: &str = ".lock";
/// How long a watch may take to notice that a network's configuration is gone.
const LETS_GO: Duration = Duration::from_secs(5);
/// How often that is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Some bytes of a network's file, locked until this is dropped.
#[derive(Debug)]
pub struct NetworkLock {
    file: File,
    path: PathBuf,
}

/// What a byte stands for. Several nodes of one machine may share a state folder, each in its namespace.
enum Byte<'a> {
    /// Calls of a runtime on the node with this namespace.
    Calls(u64),
    /// Those who keep the network there, and bring back what goes.
    Keepers(u64),
    /// One attachment.
    Attachment(&'a Key),
}

enum How {
    Shared,
    Alone,
}

impl NetworkLock {
    /// For a call that makes something of the network. Waits for a `remove`.
    ///
    /// # Errors
    /// Code 5 if the file cannot be made or locked.
    pub fn enter(conf: &NetworkConf, netns: u64) -> Result<Self, Error> {
        let folder = create_network_folder(&conf.state_dir, &conf.name)?;
        Self::shared(&folder, &Byte::Calls(netns))
    }

    /// For a call that must go on whatever is missing. `None` if the network has no folder, and so nothing
    /// is under way.
    pub fn join(conf: &NetworkConf, netns: u64) -> Option<Self> {
        let folder = existing_network_folder(&conf.state_dir, &conf.name).ok()??;
        let joined = Self::shared(&folder, &Byte::Calls(netns));
        joined.inspect_err(|e| log::warn!("{e}; going on without")).ok()
    }

    /// For who brings back what goes of the network. Waits for a `remove`.
    ///
    /// # Errors
    /// Code 5 if the file cannot be made or locked.
    pub fn keep(conf: &NetworkConf, netns: u64) -> Result<Self, Error> {
        let folder = create_network_folder(&conf.state_dir, &conf.name)?;
        Self::shared(&folder, &Byte::Keepers(netns))
    }

    /// One at a time has an attachment. Waits.
    ///
    /// # Errors
    /// Code 5 if it cannot be locked.
    pub fn hold(&self, key: &Key) -> Result<(), Error> {
        self.wait(&Byte::Attachment(key), &How::Alone)
    }

    /// For who takes the network off the node: waits until no call is under way, and keeps others from
    /// beginning. `None` if the network has no folder.
    ///
    /// # Errors
    /// Code 7 if a watch keeps the network and does not let go; 5 if the file cannot be locked.
    pub fn alone(state_dir: &Path, network: &str, netns: u64) -> Result<Option<Self>, Error> {
        let Some(folder) = existing_network_folder(state_dir, network)? else { return Ok(None) };
        let lock = Self::open(&folder)?;
        let deadline = Instant::now() + LETS_GO;
        while !lock.attempt(&Byte::Keepers(netns))? {
            if Instant::now() >= deadline {
                let author = author_of(state_dir, network);
                return Err(Error::Configuration { reason: author.kept(network) });
            }
            thread::sleep(PAUSE);
        }
        lock.wait(&Byte::Calls(netns), &How::Alone)?;
        Ok(Some(lock))
    }

    fn shared(folder: &Path, byte: &Byte<'_>) -> Result<Self, Error> {
        let lock = Self::open(folder)?;
        lock.wait(byte, &How::Shared)?;
        Ok(lock)
    }

    fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        match open_regular(&path, &options) {
            Ok(file) => Ok(Self { file, path }),
            Err(e) => Err(failed("open", &path, e)),
        }
    }

    fn wait(&self, byte: &Byte<'_>, how: &How) -> Result<(), Error> {
        let range = byte.range(how);
        loop {
            match fcntl(&self.file, FcntlArg::F_OFD_SETLKW(&range)) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("lock", &self.path, errno.into())),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Locks a byte alone; `false` if another process has it.
    fn attempt(&self, byte: &Byte<'_>) -> Result<bool, Error> {
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&byte.range(&How::Alone))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(errno) => Err(failed("lock", &self.path, errno.into())),
        }
    }
}

impl Byte<'_> {
    /// Where it is. Inodes of namespaces have 32 bits.
    fn offset(&self) -> i64 {
        let of = |netns: u64| i64::from(netns as u32);
        match self {
            Self::Calls(netns) => of(*netns),
            Self::Keepers(netns) => 1 << 32 | of(*netns),
            // Two that share a byte wait for each other, and no harm is done.
            Self::Attachment(key) => {
                let digits = key.as_str().get(..15).unwrap_or_default();
                1 << 61 | i64::from_str_radix(digits, 16).unwrap_or_default()
            }
        }
    }

    fn range(&self, how: &How) -> libc::flock {
        let kind = match how {
            How::Shared => libc::F_RDLCK,
            How::Alone => libc::F_WRLCK,
        };
        libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: self.offset(),
            l_len: 1,
            l_pid: 0,
        }
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { action, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, impl Fn() -> NetworkLock) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        (folder, move || NetworkLock::open(&path).unwrap())
    }

    #[test]
    fn calls_go_side_by_side_and_remove_alone() {
        let (_folder, open) = file();
        let calls = Byte::Calls(4_026_531_840);
        let (one, other, remover) = (open(), open(), open());
        one.wait(&calls, &How::Shared).unwrap();
        other.wait(&calls, &How::Shared).unwrap();
        assert!(!remover.attempt(&calls).unwrap());
        drop(one);
        assert!(!remover.attempt(&calls).unwrap());
        assert!(remover.attempt(&Byte::Calls(4_026_531_841)).unwrap(), "of another node");
        assert!(remover.attempt(&Byte::Keepers(4_026_531_840)).unwrap(), "no watch keeps it");
        drop(other);
        // A program that another test starts at this moment may still hold it.
        remover.wait(&calls, &How::Alone).unwrap();
    }

    #[test]
    fn an_attachment_is_held_by_one() {
        let (_folder, open) = file();
        let (mine, another) = (Key::new("pods", "c1", "eth0"), Key::new("pods", "c1", "eth1"));
        let (one, other) = (open(), open());
        one.hold(&mine).unwrap();
        assert!(!other.attempt(&Byte::Attachment(&mine)).unwrap());
        other.hold(&another).unwrap();
        drop(one);
        other.hold(&mine).unwrap();
    }
}
