//! The leases of one node in one network: what the verbs call.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use flatnet_conf::Range;

use crate::allocator::Refusal;
use crate::decision;
use crate::disk::{self, Disk, Locked};
use crate::error::{Error, Result};
use crate::key::{self, Key};
use crate::lease::{Holder, Record};
use crate::lock::{self, Attempt, LeaseFile};
use crate::reclaim::{self, Candidate, Listing, Reclaimed};

/// The leases of one node in one network, in `<stateDir>/<network>/<node>/`.
#[derive(Clone, Debug)]
pub struct Leases {
    pub(crate) disk: Disk,
    node: String,
}

/// What an ADD asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who will hold the addresses.
    pub attachment: &'a Holder,
    /// The node's ranges, in the order of the range file: one address of each family among them.
    pub ranges: &'a [Range],
    /// The addresses the runtime asks for, at most one of each family.
    pub requested: &'a [IpAddr],
}

/// The addresses of one attachment, while its ADD is under way.
///
/// As long as this lives, the lease's file is locked: `reclaim` passes it by, and a DEL of the same
/// attachment waits. Dropped without [`Lease::commit`], it gives back what the ADD took, unless
/// the attachment had a lease before (a repeated ADD): a pod may be living on that one. A verb that
/// knows better, because it saw no interface in the pod, calls [`Lease::release`]. A process that
/// is killed frees the lock and leaves the lease to the next ADD, DEL or GC.
///
/// Do not call [`Leases::release`] for the same attachment while this lives: it would wait for
/// ever. Use [`Lease::release`].
#[derive(Debug)]
pub struct Lease {
    disk: Disk,
    key: Key,
    file: LeaseFile,
    record: Record,
    stays: bool,
}

/// The lease of an attachment that a DEL is about to give back, locked; see [`Leases::hold`].
#[derive(Debug)]
pub struct HeldLease {
    disk: Disk,
    key: Key,
    file: Option<LeaseFile>,
    record: Option<Record>,
}

impl Leases {
    /// The leases of a node, for ADD: makes the folders that are missing, readable by their owner
    /// alone. `network` and `node` are validated names; a network's may be of any length.
    pub fn create(state_dir: &Path, network: &str, node: &str) -> Result<Leases> {
        let disk = Disk::create(state_dir, network, node)?;
        Ok(Leases { disk, node: node.to_owned() })
    }

    /// The leases of a node, for every other verb: `None` if the node never had any.
    pub fn existing(state_dir: &Path, network: &str, node: &str) -> Result<Option<Leases>> {
        let disk = Disk::existing(state_dir, network, node)?;
        Ok(disk.map(|disk| Leases { disk, node: node.to_owned() }))
    }

    /// The leases of each node that has a folder in this state folder, in the order of their names: where
    /// a verb looks that cannot tell which node it is on, or what that was called before. What cannot be
    /// opened does not keep the others from being looked at.
    pub fn everywhere(state_dir: &Path, network: &str) -> impl Iterator<Item = Result<Leases>> {
        let (nodes, refused) = match nodes_of(state_dir, network) {
            Ok(nodes) => (nodes, None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        let open = |node: String| Leases::existing(state_dir, network, &node).transpose();
        refused.into_iter().chain(nodes.into_iter().filter_map(open))
    }

    /// The name of the node whose they are, when they were made.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Takes one address of each family that the ranges have, IPv4 first. The same attachment gets
    /// the same addresses again, as far as ranges and request allow; where they do not, it loses the
    /// old ones, so look first that the pod has no such interface yet.
    ///
    /// An address that the machine itself has is passed by: `own` names what has it.
    ///
    /// If no address is left, or the requested one is taken, whatever `alive` disowns is reclaimed
    /// first; see [`Leases::reclaim`]. Then code 100 or 101; code 7 for a request that the ranges
    /// cannot meet; code 5 if the state cannot be read or written.
    pub fn allocate(
        &self,
        key: &Key,
        request: &Request<'_>,
        alive: &mut dyn FnMut(&Candidate) -> bool,
        own: &mut dyn FnMut(IpAddr) -> Option<String>,
    ) -> Result<Lease> {
        let (earlier, mut locked) = self.disk.lock_with_lease(key)?;
        let Request { attachment, ranges, requested } = *request;
        let mut choice = decision::choose(&locked, ranges, requested, earlier.as_ref(), own);
        if let Err(Refusal::Taken(_) | Refusal::Exhausted { .. }) = choice {
            reclaim::run(&mut locked, &mut |candidate| {
                candidate.is_delegated() || alive(candidate)
            })?;
            choice = decision::choose(&locked, ranges, requested, earlier.as_ref(), own);
        }
        let choice = choice.map_err(|refusal| self.explain(refusal, ranges, own))?;
        let stays = earlier.is_some();
        let (file, record) = decision::take(&mut locked, key, attachment, choice, earlier)?;
        Ok(Lease { disk: self.disk.clone(), key: key.clone(), file, record, stays })
    }

    /// Gives back what an attachment holds, and returns its lease if it was legible. None there is
    /// fine. Waits for an ADD of the same attachment that is under way.
    ///
    /// With `netns`, only a lease made in the node's network namespace of that inode: for a DEL
    /// that cannot tell which node it is on.
    pub fn release(&self, key: &Key, netns: Option<u64>) -> Result<Option<Record>> {
        self.hold(key, netns)?.release()
    }

    /// Keeps every ADD of an attachment from beginning as long as it has a lease, and that lives: for
    /// a DEL, which removes the attachment and then gives back its addresses. Waits for an ADD that is
    /// under way.
    ///
    /// `netns` as in [`Leases::release`]. A lease that was made again has a key of its own; see
    /// [`Leases::restore`].
    pub fn hold(&self, key: &Key, netns: Option<u64>) -> Result<HeldLease> {
        let lease = self.disk.wait_for_lease(key)?;
        let record = match lease.as_ref().map(LeaseFile::record) {
            Some(Err(error @ Error::Io { .. })) => return Err(error),
            record => record.and_then(Result::ok),
        };
        let made_in = record.as_ref().map(|record| record.attachment.netns);
        let ours = netns.is_none() || made_in == netns;
        let (file, record) = if ours { (lease, record) } else { (None, None) };
        Ok(HeldLease { disk: self.disk.clone(), key: key.clone(), file, record })
    }

    /// Removes every lease, and every address without one, that `alive` says no pod lives on.
    /// Those of an ADD or DEL under way are passed by without asking, and a file that fails is
    /// reported and does not keep the others from being reclaimed. Leases that were made for another
    /// main plugin are passed by too; see [`Leases::collect`].
    ///
    /// `alive` is asked once for each and must look at the kernel: does the veth exist, does a host
    /// route to an address? It runs with the folder locked, so it must not call these leases.
    pub fn reclaim(&self, alive: &mut dyn FnMut(&Candidate) -> bool) -> Result<Reclaimed> {
        reclaim::run(&mut self.disk.lock()?, &mut |candidate| {
            candidate.is_delegated() || alive(candidate)
        })
    }

    /// Removes the leases that were made for another main plugin and that `alive` disowns; no
    /// others. As [`Leases::reclaim`] otherwise.
    pub fn collect(&self, alive: &mut dyn FnMut(&Record) -> bool) -> Result<Reclaimed> {
        reclaim::run(&mut self.disk.lock()?, &mut |candidate| match &candidate.record {
            Some(record) if record.attachment.is_delegated() => alive(record),
            _ => true,
        })
    }

    /// The lease of an attachment; `None` if there is none.
    pub fn get(&self, key: &Key) -> Result<Option<Record>> {
        match lock::read(&self.disk.lease(key))? {
            None => lock::read(&self.disk.lease(&key.less_tail())),
            lease => Ok(lease),
        }
    }

    /// The addresses that are taken, sorted. Asked without the lock, so that no ADD waits for it: one that is
    /// under way shows, or not.
    pub fn held(&self) -> Result<Vec<IpAddr>> {
        self.disk.held()
    }

    /// When an address was taken or given back last; `None` if that cannot be told.
    pub fn changed(&self) -> Option<SystemTime> {
        fs::metadata(self.disk.addresses()).and_then(|found| found.modified()).ok()
    }

    /// The keys under which leases are filed.
    pub fn keys(&self) -> Result<Vec<Key>> {
        self.disk.lock()?.keys()
    }

    /// When the lease of an attachment was written; `None` if there is none.
    pub fn since(&self, key: &Key) -> Result<Option<SystemTime>> {
        let path = self.disk.lease(key);
        match fs::symlink_metadata(&path).and_then(|found| found.modified()) {
            Ok(time) => Ok(Some(time)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("examine", &path)(error)),
        }
    }

    /// All leases, and what is wrong with the files that are none.
    pub fn list(&self) -> Result<Listing> {
        reclaim::list(&self.disk.lock()?)
    }

    /// Shows every legible lease whose key is wanted and whose ADD or DEL is not under way, and returns
    /// what is wrong with the other files. Neither can begin for a lease while it is shown: both lock it
    /// first.
    pub fn visit(
        &self,
        wanted: &dyn Fn(&Key) -> bool,
        visitor: &mut dyn FnMut(&Record),
    ) -> Result<Vec<Error>> {
        let keys = self.disk.lock()?.keys()?;
        let mut broken = Vec::new();
        for key in keys.into_iter().filter(|key| wanted(key)) {
            match LeaseFile::attempt(&self.disk.lease(&key)) {
                Ok(Attempt::Locked(lease)) => match lease.record() {
                    Ok(record) => visitor(&record),
                    Err(error) => broken.push(error),
                },
                Ok(Attempt::UnderWay | Attempt::Gone) => {}
                Err(error) => broken.push(error),
            }
        }
        Ok(broken)
    }

    fn explain(
        &self,
        refusal: Refusal,
        ranges: &[Range],
        own: &mut dyn FnMut(IpAddr) -> Option<String>,
    ) -> Error {
        let node = self.node.clone();
        match refusal {
            Refusal::SeveralOfFamily(first, second) => Error::SeveralOfFamily { first, second },
            Refusal::OutOfRanges(address) => {
                Error::OutOfRanges { address, node, ranges: describe(ranges.iter()) }
            }
            Refusal::Taken(address) => {
                let holder = own(address).unwrap_or_else(|| self.holder(address));
                Error::Taken { address, holder }
            }
            Refusal::Exhausted { v4 } => {
                let full = ranges.iter().filter(|range| range.subnet().is_ipv4() == v4);
                Error::Exhausted { node, ranges: describe(full) }
            }
            Refusal::Unknown(error) => error,
        }
    }

    fn holder(&self, address: IpAddr) -> String {
        let path = self.disk.address(address);
        match lock::read(&path) {
            Ok(Some(record)) => record.attachment.to_string(),
            _ => format!("{}, which is no legible lease", path.display()),
        }
    }
}

impl HeldLease {
    /// Whether there is a lease.
    pub fn is_lease(&self) -> bool {
        self.file.is_some()
    }

    /// Gives back what the attachment holds, and returns its lease if it was legible.
    pub fn release(self) -> Result<Option<Record>> {
        let Self { disk, key, file, record } = self;
        let mut locked = disk.lock()?;
        // An ADD that was killed before its lease had its name is no lease, but it is a file.
        locked.clear_unfinished_of(&key)?;
        if let Some(file) = file {
            decision::give_back(&mut locked, &key, &file)?;
        }
        Ok(record)
    }
}

impl Lease {
    /// The addresses taken, IPv4 first.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.record.addresses
    }

    /// Keeps the lease: the attachment stands.
    pub fn commit(mut self) {
        self.stays = true;
    }

    /// Gives the addresses back, even those of a lease that stood before.
    pub fn release(mut self) -> Result<()> {
        self.stays = true;
        self.give_back()
    }

    fn give_back(&self) -> Result<()> {
        let mut locked: Locked<'_> = self.disk.lock()?;
        if disk::inode(&self.disk.lease(&self.key))? == Some(self.file.inode()) {
            decision::give_back(&mut locked, &self.key, &self.file)?;
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.stays {
            // An error has no receiver here; what could not be removed is reclaimed later.
            let _ = self.give_back();
        }
    }
}

/// The nodes of a network that have a folder in this state folder, sorted.
fn nodes_of(state_dir: &Path, network: &str) -> Result<Vec<String>> {
    let folder = key::network_folder(state_dir, network);
    let mut nodes = disk::names(&folder)?;
    // What cannot be looked at is kept: opening it says why.
    nodes.retain(|name| {
        fs::symlink_metadata(folder.join(name))
            .map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |found| found.is_dir())
    });
    Ok(nodes)
}

fn describe<'a>(ranges: impl Iterator<Item = &'a Range>) -> String {
    let text = |range: &Range| match range.bounds() {
        Some((first, last)) => format!("{} ({first} to {last})", range.subnet()),
        None => range.subnet().to_string(),
    };
    let all: Vec<String> = ranges.map(text).collect();
    if all.is_empty() { "no range at all".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod beside;
#[cfg(test)]
mod tests;
