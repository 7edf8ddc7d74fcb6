//! Taking addresses for an attachment and giving them back, as steps of a [`Store`].
//!
//! The order of the steps is what survives a crash. Taking: cursor, lease, addresses. A killed ADD
//! leaves at most a lease that holds fewer addresses than it names, which keeps no address
//! from others, and which the next ADD, DEL or GC finds by its key. Giving back: addresses, lease, so
//! that what is left of a killed DEL looks the same.
//!
//! An address is freed only if it is the very file of the lease. What a lease merely names may
//! belong to another attachment by now.

use std::net::IpAddr;

use flatnet_conf::Range;

use crate::allocator::{self, Cursor, Refusal, Wish};
use crate::error::Result;
use crate::key::Key;
use crate::lease::{Holder, Record};
use crate::lock::LeaseFile;
use crate::store::Store;

/// The addresses chosen for an attachment, and the cursor afterwards.
pub(crate) type Choice = (Vec<IpAddr>, Cursor);

/// Chooses addresses, none that the machine has of its `own`. An attachment that has a lease keeps
/// what it has, if that is still to be had.
pub(crate) fn choose(
    store: &dyn Store,
    ranges: &[Range],
    requested: &[IpAddr],
    earlier: Option<&LeaseFile>,
    own: &mut dyn FnMut(IpAddr) -> Option<String>,
) -> std::result::Result<Choice, Refusal> {
    let its = earlier.map(LeaseFile::inode);
    let preferred = earlier.and_then(|lease| lease.record().ok()).map(|record| record.addresses);
    let wish = Wish { requested, preferred: preferred.as_deref().unwrap_or_default() };
    allocator::choose(ranges, wish, store.cursor(), store.seed(), &mut |address| {
        let holder = store.holder(address)?;
        Ok(holder.is_some() && holder != its || own(address).is_some())
    })
}

/// Makes the attachment hold the addresses chosen, and returns its lease, locked. A failure takes
/// back what was done.
pub(crate) fn take(
    store: &mut dyn Store,
    key: &Key,
    attachment: &Holder,
    (addresses, cursor): Choice,
    earlier: Option<LeaseFile>,
) -> Result<(LeaseFile, Record)> {
    let record = Record { attachment: attachment.clone(), addresses };
    if let Some(earlier) = earlier {
        if stands(store, &earlier, &record)? {
            return Ok((earlier, record));
        }
        let held = earlier.record().map(|record| record.addresses).unwrap_or_default();
        let replaced = free_all(store, &earlier).and_then(|()| place(store, key, &record, &cursor));
        let lease = replaced.inspect_err(|_| {
            // A pod may live on the earlier lease, which is still in its place: it gets back what
            // was freed. What it still has fails, and so it should.
            for address in held {
                let _ = store.claim(key, address);
            }
        })?;
        return claim_all(store, key, lease, record);
    }
    let lease = place(store, key, &record, &cursor)?;
    claim_all(store, key, lease, record)
}

/// Writes down the cursor, then the lease.
fn place(store: &mut dyn Store, key: &Key, record: &Record, cursor: &Cursor) -> Result<LeaseFile> {
    if store.cursor() != *cursor {
        store.set_cursor(cursor)?;
    }
    store.put(key, record)
}

/// Makes the lease hold every address it names, or nothing.
pub(crate) fn claim_all(
    store: &mut dyn Store,
    key: &Key,
    lease: LeaseFile,
    record: Record,
) -> Result<(LeaseFile, Record)> {
    for &address in &record.addresses {
        if let Err(error) = store.claim(key, address) {
            // The first failure is the one to report; the rest is put right by DEL or GC.
            let _ = give_back(store, key, &lease);
            return Err(error);
        }
    }
    Ok((lease, record))
}

/// Frees what the attachment holds, and removes its lease.
pub(crate) fn give_back(store: &mut dyn Store, key: &Key, lease: &LeaseFile) -> Result<()> {
    free_all(store, lease)?;
    store.remove(key)
}

/// Whether the lease says this and holds every address it names.
fn stands(store: &dyn Store, lease: &LeaseFile, record: &Record) -> Result<bool> {
    if lease.record().ok().as_ref() != Some(record) {
        return Ok(false);
    }
    for &address in &record.addresses {
        if store.holder(address)? != Some(lease.inode()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Frees every address the lease holds: those it names, and, if the file has still more names than
/// its own (its content is damaged), those found by looking at all.
fn free_all(store: &mut dyn Store, lease: &LeaseFile) -> Result<()> {
    let named = lease.record().map(|record| record.addresses).unwrap_or_default();
    free_held(store, lease, named)?;
    if lease.names()? > 1 {
        let all = store.held()?;
        free_held(store, lease, all)?;
    }
    Ok(())
}

fn free_held(store: &mut dyn Store, lease: &LeaseFile, among: Vec<IpAddr>) -> Result<()> {
    for address in among {
        if store.holder(address)? == Some(lease.inode()) {
            store.free(address)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
