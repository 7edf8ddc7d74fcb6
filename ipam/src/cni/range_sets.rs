//! Addresses from range sets, as the reference plugin host-local gives them.

use std::net::IpAddr;

use flatnet_conf::{AttachmentId, Invocation, IpamConf, RangeSet};
use flatnet_ipam::{Error, Given, HostLocal, Result, check_writable, network_folder};

/// Takes one address of each set.
pub fn add(sets: &[RangeSet], conf: &IpamConf, invocation: &Invocation) -> Result<Vec<Given>> {
    let leases = HostLocal::create(&conf.data_dir, &conf.name)?;
    leases.allocate(&owner(invocation), sets, &conf.requested_ips)
}

/// The addresses that the attachment holds.
pub fn leased(conf: &IpamConf, invocation: &Invocation) -> Result<Vec<IpAddr>> {
    match HostLocal::existing(&conf.data_dir, &conf.name)? {
        Some(leases) => leases.held_by(&owner(invocation)),
        None => Ok(Vec::new()),
    }
}

/// Whether an ADD can be expected to succeed.
pub fn look(conf: &IpamConf) -> Result<()> {
    HostLocal::existing(&conf.data_dir, &conf.name)?;
    check_writable(&network_folder(&conf.data_dir, &conf.name))
}

/// Frees what the attachment holds.
pub fn del(conf: &IpamConf, invocation: &Invocation) -> Result<()> {
    if let Some(leases) = HostLocal::existing(&conf.data_dir, &conf.name)? {
        leases.release(&owner(invocation))?;
    }
    Ok(())
}

/// Frees what the runtime does not know. Nothing if it does not say what it knows: a lease does
/// not tell where its pod lives.
pub fn gc(conf: &IpamConf) -> Result<()> {
    let Some(valid) = &conf.valid_attachments else { return Ok(()) };
    match HostLocal::existing(&conf.data_dir, &conf.name)? {
        Some(leases) => leases.retain(valid).and_then(|(_, errors)| Error::collect(errors)),
        None => Ok(()),
    }
}

fn owner(invocation: &Invocation) -> AttachmentId {
    AttachmentId {
        container_id: invocation.container_id.clone(),
        ifname: invocation.ifname.clone(),
    }
}
