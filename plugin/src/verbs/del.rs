//! DEL: a pod leaves the network, whatever is left of it.
//!
//! It needs neither the pod's namespace nor the range file: the veth's name follows from the
//! attachment, and its lease says in which node's namespace it was made. Every step is tried, and
//! what is missing already is what was wanted.

use std::net::IpAddr;

use flatnet_conf::NetworkConf;
use flatnet_ipam::{Key, Leases, nodes_of};

use crate::dispatch::Call;
use crate::error::Error;
use crate::identity::veth_name;
use crate::kernel::{Kernel, Netlink, removal};
use crate::stamp::Stamp;

/// Removes the attachment's veth, lease and delegated addresses. Tells which addresses its lease held.
///
/// # Errors
/// All that failed, after everything was tried.
pub fn run(call: &Call) -> Result<Vec<IpAddr>, Error> {
    let Call { conf, invocation, .. } = call;
    let key = Key::new(&conf.name, &invocation.container_id, &invocation.ifname);
    // Addresses are given back only when no pod can use them any more.
    let netns = remove_veth(&veth_name(&key))?;
    let mut errors = Vec::new();
    let mut addresses = Vec::new();
    errors.extend(release(conf, &key, netns, &mut addresses).err());
    let delegated = call.delegate().and_then(|delegate| match delegate {
        Some(delegate) => delegate.run("DEL"),
        None => Ok(()),
    });
    errors.extend(delegated.err());
    Error::collect(errors).map(|()| addresses)
}

/// Removes the pair, routes and neighbour entries with it. Tells the inode of this namespace.
fn remove_veth(name: &str) -> Result<u64, Error> {
    let mut node = Netlink::open()?;
    if let Some(link) = node.link(name)? {
        match removal::see_off(link.dev.index) {
            true => log::debug!("ip link delete {name}"),
            false => drop(node.delete_link(name)?),
        }
    }
    Ok(node.netns().inode()?)
}

fn release(
    conf: &NetworkConf,
    key: &Key,
    netns: u64,
    addresses: &mut Vec<IpAddr>,
) -> Result<(), Error> {
    let this = Stamp::find(conf, netns).map(|stamp| stamp.node);
    let mut errors = Vec::new();
    for node in nodes_of(&conf.state_dir, &conf.name)? {
        // A lease elsewhere is ours only if it says so; one of this node also if it is illegible.
        let made_in = (this.as_ref() != Some(&node)).then_some(netns);
        let released = Leases::existing(&conf.state_dir, &conf.name, &node)
            .and_then(|leases| leases.map(|leases| leases.release(key, made_in)).transpose());
        match released {
            Ok(record) => addresses.extend(record.flatten().into_iter().flat_map(|r| r.addresses)),
            Err(e) => errors.push(e.into()),
        }
    }
    Error::collect(errors)
}
