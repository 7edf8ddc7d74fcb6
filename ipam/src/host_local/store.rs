//! host-local's folder, as it is written by the reference plugins, version 0.9 to 1.9:
//!
//! ```text
//! <dataDir>/<network>/lock                 flock(2) for each decision
//!                     <ip>                 container ID, CR LF, ifname: who holds the address
//!                     last_reserved_ip.<n> the last address given of the set number n
//! ```
//!
//! An address comes into being with its content, by link(2); host-local itself creates it empty and
//! fills it, so an empty one is what a crash has left.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flatnet_conf::AttachmentId;
use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::disk::{inode, is_ours, names, remove};
use crate::error::{Error, Result};
use crate::{key, lock};

/// Where an address is written before it takes its place. No address reads like this.
const UNFINISHED: &str = "unfinished.new";

/// The folder of one network.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// The folder while its lock is held.
pub(super) struct Locked<'a> {
    folder: &'a Folder,
    _lock: Flock<File>,
}

impl Folder {
    /// With host-local's mode, 0755: programs of others look into it.
    pub fn create(data_dir: &Path, network: &str) -> Result<Folder> {
        let path = key::network_folder(data_dir, network);
        if !is_ours(&path)? {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(&path);
            made.map_err(Error::io("create the folder", &path))?;
            is_ours(&path)?;
        }
        Ok(Folder { path })
    }

    pub fn existing(data_dir: &Path, network: &str) -> Result<Option<Folder>> {
        let path = key::network_folder(data_dir, network);
        Ok(is_ours(&path)?.then_some(Folder { path }))
    }

    pub fn lock(&self) -> Result<Locked<'_>> {
        let path = self.path.join("lock");
        let file = open(OpenOptions::new().write(true).create(true).truncate(false), &path)
            .map_err(Error::io("open the lock", &path))?;
        let lock = lock::flock(file, FlockArg::LockExclusive);
        let lock = lock.map_err(|errno| Error::io("lock", &path)(errno.into()))?;
        Ok(Locked { folder: self, _lock: lock })
    }

    /// IPv6 in the canonical form of RFC 5952, as Go prints it.
    fn address(&self, address: IpAddr) -> PathBuf {
        self.path.join(address.to_string())
    }

    fn last(&self, set: usize) -> PathBuf {
        self.path.join(format!("last_reserved_ip.{set}"))
    }
}

impl Locked<'_> {
    /// Every address that is held, sorted.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let names = names(&self.folder.path)?;
        // Only the text we write ourselves: another one would lead to another file.
        let address =
            |name: &String| name.parse().ok().filter(|ip: &IpAddr| ip.to_string() == *name);
        let mut addresses: Vec<IpAddr> = names.iter().filter_map(address).collect();
        addresses.sort();
        Ok(addresses)
    }

    pub fn is_held(&self, address: IpAddr) -> Result<bool> {
        Ok(inode(&self.folder.address(address))?.is_some())
    }

    /// What an attachment holds. Before version 0.9 host-local left out the ifname: such a lease
    /// counts if there is no other.
    pub fn held_by(&self, owner: &AttachmentId) -> Result<Vec<IpAddr>> {
        let (mut held, mut old) = (Vec::new(), Vec::new());
        for address in self.addresses()? {
            match self.holder(address)?.trim() {
                holder if holder == text(owner) => held.push(address),
                holder if holder == owner.container_id => old.push(address),
                _ => {}
            }
        }
        Ok(if held.is_empty() { old } else { held })
    }

    pub fn is_held_by_any(&self, address: IpAddr, valid: &[AttachmentId]) -> Result<bool> {
        let holder = self.holder(address)?;
        let holder = holder.trim();
        Ok(valid.iter().any(|valid| holder == text(valid) || holder == valid.container_id))
    }

    /// Makes the attachment hold an address. That another holds it is an error.
    pub fn claim(&mut self, owner: &AttachmentId, address: IpAddr) -> Result<()> {
        self.put(owner, address, |from, to| fs::hard_link(from, to))
    }

    /// Gives an address that the attachment holds its ifname, if host-local before 0.9 has left it
    /// out: beside a new lease of the attachment an old one would not count.
    pub fn renew(&mut self, owner: &AttachmentId, address: IpAddr) -> Result<()> {
        if self.holder(address)?.trim() == text(owner) {
            return Ok(());
        }
        self.put(owner, address, |from, to| fs::rename(from, to))
    }

    /// Writes a lease and puts it in place.
    fn put(
        &mut self,
        owner: &AttachmentId,
        address: IpAddr,
        place: impl FnOnce(&Path, &Path) -> io::Result<()>,
    ) -> Result<()> {
        let unfinished = self.folder.path.join(UNFINISHED);
        remove(&unfinished)?;
        let path = self.folder.address(address);
        let written = open(OpenOptions::new().write(true).create_new(true), &unfinished)
            .and_then(|mut file| file.write_all(text(owner).as_bytes()));
        let placed = written
            .map_err(Error::io("write the lease", &unfinished))
            .and_then(|()| place(&unfinished, &path).map_err(Error::io("take the address", &path)));
        remove(&unfinished).and(placed)
    }

    /// Frees an address, whatever holds it. A free one is fine.
    pub fn free(&mut self, address: IpAddr) -> Result<()> {
        remove(&self.folder.address(address))
    }

    /// The last address given of a set; none if nothing legible is there.
    pub fn last_given(&self, set: usize) -> Option<IpAddr> {
        fs::read_to_string(self.folder.last(set)).ok()?.trim().parse().ok()
    }

    pub fn set_last_given(&mut self, set: usize, address: IpAddr) -> Result<()> {
        let path = self.folder.last(set);
        open(OpenOptions::new().write(true).create(true).truncate(true), &path)
            .and_then(|mut file| file.write_all(address.to_string().as_bytes()))
            .map_err(Error::io("write the last address given to", &path))
    }

    /// The error that an address is held, and by whom.
    pub fn taken(&self, address: IpAddr) -> Error {
        let holder = self.holder(address).unwrap_or_default();
        let holder = match holder.trim().split_once("\r\n") {
            Some((container, ifname)) => format!("interface {ifname} of container {container}"),
            None => {
                format!("{}, which is no legible lease", self.folder.address(address).display())
            }
        };
        Error::Taken { address, holder }
    }

    /// Who holds an address; empty if it vanished, or is no text.
    fn holder(&self, address: IpAddr) -> Result<String> {
        let path = self.folder.address(address);
        let read = open(OpenOptions::new().read(true), &path).and_then(io::read_to_string);
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(String::new()),
            read => read.map_err(Error::io("read the lease", &path)),
        }
    }
}

/// O_NONBLOCK: a FIFO in the folder must not stop every verb.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    options.mode(0o600).custom_flags(flags.bits()).open(path)
}

fn text(owner: &AttachmentId) -> String {
    format!("{}\r\n{}", owner.container_id, owner.ifname)
}
