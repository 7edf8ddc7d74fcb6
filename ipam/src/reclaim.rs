//! Going over all leases of a node: to list them, and to take back those that no pod needs.
//!
//! Leases outlive their attachments when a runtime forgets a DEL, when an ADD is killed, when a
//! file is damaged. Each of these once filled up a range somewhere until no pod could start.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::disk::{self, Locked};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::Record;
use crate::lock::Inode;
use crate::lock::{self, Attempt, LeaseFile};
use crate::store::Store;

/// A lease, or what is left of one, that may be reclaimed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The key it is filed under; `None` for an address that no lease is behind any more.
    pub key: Option<Key>,
    /// What it says; `None` if that is damaged.
    pub record: Option<Record>,
    /// The addresses it keeps from others; fewer than the record names, or none, after a crash.
    pub addresses: Vec<IpAddr>,
    /// When it was written; `None` if that cannot be told.
    pub written: Option<SystemTime>,
}

impl Candidate {
    /// Whether it was made for another main plugin than flatnet.
    pub(crate) fn is_delegated(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.attachment.is_delegated())
    }
}

/// What a reclaim did.
#[derive(Debug, Default)]
pub struct Reclaimed {
    /// What was removed.
    pub removed: Vec<Candidate>,
    /// What could not be looked at or removed.
    pub errors: Vec<Error>,
}

/// What there is.
#[derive(Debug, Default)]
pub struct Listing {
    /// The legible leases, in the order of their keys.
    pub leases: Vec<Record>,
    /// What is wrong with the other files.
    pub broken: Vec<Error>,
}

/// A file of the folder with all its names.
struct Found {
    key: Option<Key>,
    path: PathBuf,
    record: Result<Record>,
    addresses: Vec<IpAddr>,
}

pub(crate) fn run(
    locked: &mut Locked<'_>,
    alive: &mut dyn FnMut(&Candidate) -> bool,
) -> Result<Reclaimed> {
    let mut done = Reclaimed::default();
    if let Err(error) = locked.clear_unfinished() {
        done.errors.push(error);
    }
    for (inode, found) in survey(locked, &mut done.errors)? {
        match reclaim(locked, inode, found, alive) {
            Ok(removed) => done.removed.extend(removed),
            Err(error) => done.errors.push(error),
        }
    }
    Ok(done)
}

pub(crate) fn list(locked: &Locked<'_>) -> Result<Listing> {
    let mut broken = Vec::new();
    let mut leases = Vec::new();
    for found in survey(locked, &mut broken)?.into_values() {
        match (found.key, found.record) {
            (Some(key), Ok(record)) => leases.push((key, record)),
            (None, Ok(_)) => {
                let why = "the lease of this address is gone".to_owned();
                broken.push(Error::Broken { path: found.path, why });
            }
            (_, Err(error)) => broken.push(error),
        }
    }
    leases.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Listing { leases: leases.into_iter().map(|(_, record)| record).collect(), broken })
}

/// Every file once: a lease with the addresses that are names of it, an address on its own if
/// there is no such lease.
fn survey(locked: &Locked<'_>, errors: &mut Vec<Error>) -> Result<BTreeMap<Inode, Found>> {
    let mut all = BTreeMap::new();
    for key in locked.keys()? {
        let path = locked.disk().lease(&key);
        match disk::inode(&path) {
            Ok(Some(inode)) => add(&mut all, inode, Some(key), path),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    for address in locked.held()? {
        let path = locked.disk().address(address);
        match disk::inode(&path) {
            Ok(Some(inode)) => {
                if !all.contains_key(&inode) {
                    add(&mut all, inode, None, path);
                }
                if let Some(found) = all.get_mut(&inode) {
                    found.addresses.push(address);
                }
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    Ok(all)
}

fn add(all: &mut BTreeMap<Inode, Found>, inode: Inode, key: Option<Key>, path: PathBuf) {
    let gone = || Error::Broken { path: path.clone(), why: "it vanished".to_owned() };
    let record = lock::read(&path).and_then(|record| record.ok_or_else(gone));
    all.insert(inode, Found { key, path, record, addresses: Vec::new() });
}

fn reclaim(
    locked: &mut Locked<'_>,
    inode: Inode,
    found: Found,
    alive: &mut dyn FnMut(&Candidate) -> bool,
) -> Result<Option<Candidate>> {
    // Held until the end of this function: no ADD of this attachment takes it up meanwhile.
    let lease = match LeaseFile::attempt(&found.path)? {
        Attempt::Locked(lease) if lease.inode() == inode => lease,
        Attempt::Locked(_) | Attempt::UnderWay | Attempt::Gone => return Ok(None),
    };
    let record = found.record.ok();
    let Found { key, addresses, .. } = found;
    let candidate = Candidate { key, record, addresses, written: lease.written() };
    if alive(&candidate) {
        return Ok(None);
    }
    for &address in &candidate.addresses {
        locked.free(address)?;
    }
    if let Some(key) = &candidate.key {
        locked.remove(key)?;
    }
    Ok(Some(candidate))
}

#[cfg(test)]
mod tests;
