//! The real store: `<stateDir>/<network>/<node>/` with `lock`, `leases/` and `addresses/`.
//!
//! An address is taken because `addresses/<ip>` exists: link(2) makes it a second name of the
//! lease file, or fails with EEXIST, so that two can never hold one address. Nothing here calls
//! fsync(2): the state lies on tmpfs (`/run`), and no lease outlives the boot that gave it.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

use crate::allocator::Cursor;
use crate::error::{Error, Result};
use crate::key::{self, Key};
use crate::lease::Record;
use crate::lock::{self, Attempt, Inode, LeaseFile};
use crate::regular::open_regular;
use crate::store::Store;

/// The end of the name under which a lease is written before it takes its place.
const UNFINISHED: &str = ".new";

/// The cursor's room in `lock`: two addresses at their longest, filled up with spaces, so that one
/// write in place replaces it whatever its length was.
const CURSOR_ROOM: usize = 96;

/// One node's folder.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
}

/// The folder while its lock is held.
pub(crate) struct Locked<'a> {
    disk: &'a Disk,
    lock: Flock<File>,
}

impl Disk {
    /// Opens the folder of a node, made with mode 0700 as far as it is missing.
    pub fn create(state_dir: &Path, network: &str, node: &str) -> Result<Disk> {
        create_network_folder(state_dir, network)?;
        let folder = key::node_folder(state_dir, network, node);
        ensure(&folder)?;
        Self::complete(folder)
    }

    /// Opens the folder of a node if there is one.
    pub fn existing(state_dir: &Path, network: &str, node: &str) -> Result<Option<Disk>> {
        let folder = key::node_folder(state_dir, network, node);
        if existing_network_folder(state_dir, network)?.is_none() || !is_ours(&folder)? {
            return Ok(None);
        }
        Self::complete(folder).map(Some)
    }

    fn complete(folder: PathBuf) -> Result<Disk> {
        let disk = Disk { folder };
        ensure(&disk.leases())?;
        ensure(&disk.addresses())?;
        Ok(disk)
    }

    /// The lock of a node's folder.
    pub fn lock_of(folder: &Path) -> PathBuf {
        folder.join("lock")
    }

    pub fn leases(&self) -> PathBuf {
        self.folder.join("leases")
    }

    pub fn addresses(&self) -> PathBuf {
        self.folder.join("addresses")
    }

    pub fn lease(&self, key: &Key) -> PathBuf {
        self.leases().join(key.as_str())
    }

    /// Where a lease is written before it takes its place.
    fn unfinished(&self, key: &Key) -> PathBuf {
        self.leases().join(format!("{key}{UNFINISHED}"))
    }

    /// IPv6 in the canonical form of RFC 5952; a colon is fine in a file name.
    pub fn address(&self, address: IpAddr) -> PathBuf {
        self.addresses().join(address.to_string())
    }

    /// The addresses that are taken, sorted.
    pub fn held(&self) -> Result<Vec<IpAddr>> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for name in names(&self.addresses())? {
            // Only the text we write ourselves: another one would lead to another file.
            addresses.extend(name.parse().ok().filter(|ip: &IpAddr| ip.to_string() == name));
        }
        addresses.sort();
        Ok(addresses)
    }

    /// Waits for the folder's lock.
    pub fn lock(&self) -> Result<Locked<'_>> {
        let path = Self::lock_of(&self.folder);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = open_regular(&path, &options).map_err(Error::io("open the lock", &path))?;
        let lock = lock::flock(file, FlockArg::LockExclusive);
        let lock = lock.map_err(|errno| Error::io("lock", &path)(errno.into()))?;
        Ok(Locked { disk: self, lock })
    }

    /// Locks an attachment's lease, if it has one. As long as it is locked no other takes its place.
    pub fn wait_for_lease(&self, key: &Key) -> Result<Option<LeaseFile>> {
        let path = self.lease(key);
        loop {
            let lease = LeaseFile::wait(&path)?;
            // It may have been replaced or removed while we waited: then from the start.
            if lease.is_none() || inode(&path)? == lease.as_ref().map(LeaseFile::inode) {
                return Ok(lease);
            }
        }
    }

    /// Locks an attachment's lease, if it has one, and then the folder. The lease may have been
    /// replaced or removed while we waited: then from the start. One that was made again lies under the
    /// head of the key, and under the key from now on.
    pub fn lock_with_lease(&self, key: &Key) -> Result<(Option<LeaseFile>, Locked<'_>)> {
        let (path, again) = (self.lease(key), self.lease(&key.less_tail()));
        loop {
            let lease = LeaseFile::wait(&path)?;
            let made_again = if lease.is_none() { LeaseFile::wait(&again)? } else { None };
            let locked = self.lock()?;
            let is_at = |path: &Path, lease: Option<&LeaseFile>| -> Result<bool> {
                Ok(inode(path)? == lease.map(LeaseFile::inode))
            };
            match made_again {
                _ if !is_at(&path, lease.as_ref())? => {}
                None => return Ok((lease, locked)),
                Some(ref lease) if !is_at(&again, Some(lease))? => {}
                Some(lease) => {
                    fs::rename(&again, &path).map_err(Error::io("rename the lease", &again))?;
                    return Ok((Some(lease.renamed(path)), locked));
                }
            }
        }
    }
}

impl Locked<'_> {
    pub fn disk(&self) -> &Disk {
        self.disk
    }

    /// Removes what a killed ADD of this attachment left half written.
    pub fn clear_unfinished_of(&mut self, key: &Key) -> Result<()> {
        remove(&self.disk.unfinished(key))
    }

    /// Removes leases whose ADD was killed while writing them: no process writes while we hold
    /// the lock.
    pub fn clear_unfinished(&mut self) -> Result<()> {
        for name in names(&self.disk.leases())? {
            let key = name.strip_suffix(UNFINISHED).and_then(Key::from_file_name);
            if key.is_some() {
                remove(&self.disk.leases().join(name))?;
            }
        }
        Ok(())
    }

    /// Every attachment that has a lease, in the order of the keys.
    pub fn keys(&self) -> Result<Vec<Key>> {
        let names = names(&self.disk.leases())?;
        Ok(names.iter().filter_map(|name| Key::from_file_name(name)).collect())
    }
}

impl Store for Locked<'_> {
    fn cursor(&self) -> Cursor {
        let mut room = [0; CURSOR_ROOM];
        let length = self.lock.read_at(&mut room, 0).unwrap_or(0);
        let text = room.get(..length).unwrap_or_default();
        serde_json::from_slice(text).unwrap_or_default()
    }

    fn seed(&self) -> u64 {
        // What the standard library keeps hash tables apart by: random bits of the kernel's.
        RandomState::new().build_hasher().finish()
    }

    fn set_cursor(&mut self, cursor: &Cursor) -> Result<()> {
        let path = self.disk.folder.join("lock");
        let failed = |error| Error::io("write the last address given to", &path)(error);
        let json = serde_json::to_string(cursor).map_err(|error| failed(error.into()))?;
        let text = format!("{json:width$}\n", width = CURSOR_ROOM - 1);
        self.lock.write_all_at(text.as_bytes(), 0).map_err(failed)
    }

    fn holder(&self, address: IpAddr) -> Result<Option<Inode>> {
        inode(&self.disk.address(address))
    }

    fn held(&self) -> Result<Vec<IpAddr>> {
        self.disk.held()
    }

    fn put(&mut self, key: &Key, record: &Record) -> Result<LeaseFile> {
        let path = self.disk.lease(key);
        let unfinished = self.disk.unfinished(key);
        remove(&unfinished)?;
        let failed = |error| Error::io("write the lease", &unfinished)(error);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&unfinished).map_err(failed)?;
        let json = serde_json::to_string(record).map_err(|error| failed(error.into()))?;
        let written = file.write_all(format!("{json}\n").as_bytes());
        written
            .map_err(failed)
            .and_then(|()| {
                // Locked before it has its name: this lease is never seen without its ADD.
                let Attempt::Locked(lease) = LeaseFile::attempt(&unfinished)? else {
                    return Err(failed(io::Error::other("another process has locked it")));
                };
                fs::rename(&unfinished, &path)
                    .map_err(Error::io("put in place the lease", &path))?;
                Ok(lease.renamed(path))
            })
            .inspect_err(|_| {
                // What is left would be cleared later; a full disk is better off without it now.
                let _ = fs::remove_file(&unfinished);
            })
    }

    fn claim(&mut self, key: &Key, address: IpAddr) -> Result<()> {
        let path = self.disk.address(address);
        fs::hard_link(self.disk.lease(key), &path).map_err(Error::io("take the address", &path))
    }

    fn free(&mut self, address: IpAddr) -> Result<()> {
        remove(&self.disk.address(address))
    }

    fn remove(&mut self, key: &Key) -> Result<()> {
        remove(&self.disk.lease(key))
    }
}

/// The names in a folder, sorted; none if it is gone. Names that are not UTF-8 are not ours.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", folder))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The file at `path` itself, not what a symbolic link there points to: link(2) fails on both.
pub(crate) fn inode(path: &Path) -> Result<Option<Inode>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

/// Removes a file. A missing one is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Whether a folder exists. One that is not our own is an error: its owner, or a user who can point
/// the link elsewhere, decides what the plugin, as root, writes and deletes.
pub(crate) fn is_ours(path: &Path) -> Result<bool> {
    let refuse = |why| Err(Error::Folder { path: path.to_owned(), why });
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("look at the folder", path)(error)),
        Ok(metadata) if metadata.is_symlink() => refuse("it is a symbolic link"),
        Ok(metadata) if !metadata.is_dir() => refuse("it is not a folder"),
        Ok(metadata) if metadata.uid() != geteuid().as_raw() => refuse("another user owns it"),
        Ok(_) => Ok(true),
    }
}

/// The folder of a network, made with mode 0700 as far as it is missing.
///
/// # Errors
/// It cannot be made, or is not our own.
pub fn create_network_folder(state_dir: &Path, network: &str) -> Result<PathBuf> {
    let folder = key::network_folder(state_dir, network);
    [state_dir, &folder].into_iter().try_for_each(ensure)?;
    Ok(folder)
}

/// The folder of a network, if there is one.
///
/// # Errors
/// It is not our own.
pub fn existing_network_folder(state_dir: &Path, network: &str) -> Result<Option<PathBuf>> {
    let folder = key::network_folder(state_dir, network);
    Ok((is_ours(state_dir)? && is_ours(&folder)?).then_some(folder))
}

/// Looks first: on all but the first ADD everything is there.
fn ensure(path: &Path) -> Result<()> {
    if is_ours(path)? {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(Error::io("create the folder", path))?;
    is_ours(path).map(drop)
}

#[cfg(test)]
mod tests;
