//! Leases as the reference plugin host-local keeps them, so that `flatnet-ipam` can take its place,
//! and give it back, on a node whose pods run.
//!
//! An attachment gets one address of each range set. The folder is `<dataDir>/<network>/`; see
//! `store` for what is in it.

mod choice;
mod store;

use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::{AttachmentId, RangeSet};
use ipnetwork::IpNetwork;

use crate::error::{Error, Result};
use choice::Choice;
use store::{Folder, Locked};

/// The leases of one network on this machine.
#[derive(Clone, Debug)]
pub struct HostLocal {
    folder: Folder,
}

/// An address given, as a result has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Given {
    /// The address with its subnet's prefix length.
    pub address: IpNetwork,
    /// The gateway of its range.
    pub gateway: IpAddr,
}

impl HostLocal {
    /// The leases of a network, for ADD: makes the folders that are missing.
    pub fn create(data_dir: &Path, network: &str) -> Result<HostLocal> {
        Ok(HostLocal { folder: Folder::create(data_dir, network)? })
    }

    /// The leases of a network, for every other verb: `None` if it never had any.
    pub fn existing(data_dir: &Path, network: &str) -> Result<Option<HostLocal>> {
        Ok(Folder::existing(data_dir, network)?.map(|folder| HostLocal { folder }))
    }

    /// Takes one address of each set, in the order of the sets. The same attachment gets the same
    /// addresses again, as far as sets and request allow; what it held beside them is freed.
    ///
    /// Requested addresses must each be of another set. Code 7 if that cannot be, 101 if one is
    /// taken, 100 if a set has no address left, 5 if the folder cannot be read or written.
    pub fn allocate(
        &self,
        owner: &AttachmentId,
        sets: &[RangeSet],
        requested: &[IpAddr],
    ) -> Result<Vec<Given>> {
        let mut locked = self.folder.lock()?;
        let held = locked.held_by(owner)?;
        let last: Vec<_> = (0..sets.len()).map(|index| locked.last_given(index)).collect();
        let chosen =
            choice::choose(sets, Choice { requested, held: &held, last: &last }, &mut |ip| {
                locked.is_held(ip)
            });
        let chosen = chosen.map_err(|error| match error {
            Error::Taken { address, .. } => locked.taken(address),
            error => error,
        })?;
        take(&mut locked, owner, &chosen, &held)?;
        let given = chosen.iter().map(|(address, range)| Given {
            // A prefix length that is a subnet's already.
            address: IpNetwork::new(*address, range.subnet().prefix()).unwrap_or((*address).into()),
            gateway: range.gateway(),
        });
        Ok(given.collect())
    }

    /// The addresses that an attachment holds.
    pub fn held_by(&self, owner: &AttachmentId) -> Result<Vec<IpAddr>> {
        self.folder.lock()?.held_by(owner)
    }

    /// Frees what an attachment holds, and returns it. Nothing is fine.
    pub fn release(&self, owner: &AttachmentId) -> Result<Vec<IpAddr>> {
        let mut locked = self.folder.lock()?;
        let held = locked.held_by(owner)?;
        held.iter().try_for_each(|address| locked.free(*address))?;
        Ok(held)
    }

    /// Frees every address whose holder is none of these, and those without any: a crash of the
    /// machine leaves empty files. Goes on past failures.
    pub fn retain(&self, valid: &[AttachmentId]) -> Result<(Vec<IpAddr>, Vec<Error>)> {
        let mut locked = self.folder.lock()?;
        let (mut freed, mut errors) = (Vec::new(), Vec::new());
        for address in locked.addresses()? {
            let outcome = match locked.is_held_by_any(address, valid) {
                Ok(true) => continue,
                Ok(false) => locked.free(address),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => freed.push(address),
                Err(error) => errors.push(error),
            }
        }
        Ok((freed, errors))
    }
}

/// Makes the attachment hold these and no others. A failure takes back what was done.
fn take(
    locked: &mut Locked<'_>,
    owner: &AttachmentId,
    chosen: &[(IpAddr, &flatnet_conf::SetRange)],
    held: &[IpAddr],
) -> Result<()> {
    let kept = |address: &&IpAddr| chosen.iter().any(|(kept, _)| kept == *address);
    held.iter().filter(kept).try_for_each(|address| locked.renew(owner, *address))?;
    let mut taken = Vec::new();
    for (index, (address, _)) in chosen.iter().enumerate() {
        if held.contains(address) {
            continue;
        }
        let claimed = locked.claim(owner, *address).and_then(|()| {
            taken.push(*address);
            locked.set_last_given(index, *address)
        });
        if let Err(error) = claimed {
            for address in taken {
                // The first failure is the one to report; DEL finds the rest.
                let _ = locked.free(address);
            }
            return Err(error);
        }
    }
    held.iter().filter(|address| !kept(address)).try_for_each(|address| locked.free(*address))
}

#[cfg(test)]
mod tests;
