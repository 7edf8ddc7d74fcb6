//! DEL: a pod leaves the network, whatever is left of it.
//!
//! It needs neither the pod's namespace nor the range file: the veth's name follows from the
//! attachment, and its lease says in which node's namespace it was made. Every step is tried, and
//! what is missing already is what was wanted.
//!
//! An ADD of the same attachment that is under way is waited for, as its lease's lock shows, or the
//! attachment's own where another IPAM plugin gives the addresses: what it makes is what this DEL removes.

use std::net::IpAddr;

use flatnet_conf::NetworkConf;
use flatnet_ipam::{HeldLease, Key, Leases};

use super::request::Call;
use crate::error::Error;
use crate::identity::veth_name;
use crate::kernel::{Kernel, Link, Netlink, Observe, removal};
use crate::overlay::network_lock::NetworkLock;
use crate::overlay::stamp::Stamp;

/// Removes the attachment's veth, lease and delegated addresses. Tells which addresses its lease held.
///
/// # Errors
/// All that failed, after everything was tried.
pub fn run(call: &Call) -> Result<Vec<IpAddr>, Error> {
    let Call { conf, invocation, .. } = call;
    let key = Key::new(&conf.name, &invocation.container_id, &invocation.ifname);
    let mut node = Netlink::open()?;
    let _lock = lock(conf, node.netns().inode()?, &key);
    let (held, mut errors) = take_out(&mut node, conf, &key)?;
    let mut addresses = Vec::new();
    // Addresses are given back only when no pod can use them any more.
    for held in held {
        match held.release() {
            Ok(record) => addresses.extend(record.into_iter().flat_map(|r| r.addresses)),
            Err(e) => errors.push(e.into()),
        }
    }
    let delegated = call.delegate().and_then(|delegate| match delegate {
        Some(delegate) => delegate.run("DEL"),
        None => Ok(()),
    });
    errors.extend(delegated.err());
    Error::collect(errors).map(|()| addresses)
}

/// Keeps the network where it is, and an attachment with addresses of another plugin, which has no lease
/// to be locked, to itself. Whatever cannot be locked keeps no DEL from its work.
fn lock(conf: &NetworkConf, netns: u64, key: &Key) -> Option<NetworkLock> {
    if conf.ipam.is_none() {
        return NetworkLock::join(conf, netns);
    }
    // The first ADD of the network may be about to begin.
    let lock = NetworkLock::enter(conf, netns).and_then(|lock| lock.hold(key).map(|()| lock));
    lock.inspect_err(|e| log::warn!("{e}; going on without")).ok()
}

/// Removes the veth pair while the attachment's leases are locked.
fn take_out(
    node: &mut Netlink,
    conf: &NetworkConf,
    key: &Key,
) -> Result<(Vec<HeldLease>, Vec<Error>), Error> {
    let (name, netns) = (veth_name(key), node.netns().inode()?);
    let (mut held, mut errors) = hold(conf, key, netns);
    let mut link = node.link(&name)?;
    if link.is_some() && !held.iter().any(HeldLease::is_lease) {
        // An ADD takes its lease before it makes its veth: one has begun since we looked.
        (held, errors) = hold(conf, key, netns);
        link = node.link(&name)?;
    }
    if let Some(link) = link {
        remove(node, &link)?;
        if !held.iter().any(HeldLease::is_lease) {
            // A `sync` may have made its lease again while it stood.
            (held, errors) = hold(conf, key, netns);
        }
    }
    Ok((held, errors))
}

/// Removes the pair, routes and neighbour entries with it.
fn remove(node: &mut Netlink, link: &Link) -> Result<(), Error> {
    match removal::see_off(link.dev.index) {
        true => log::debug!("ip link delete {}", link.dev.name),
        false => drop(node.delete_link(&link.dev.name)?),
    }
    Ok(())
}

/// Locks the attachment's leases, in whatever node's folder, and under its key's head if they were made
/// again.
fn hold(conf: &NetworkConf, key: &Key, netns: u64) -> (Vec<HeldLease>, Vec<Error>) {
    let this = Stamp::find(conf, netns).map(|stamp| stamp.node);
    let (mut held, mut errors) = (Vec::new(), Vec::new());
    // A lease elsewhere is ours only if it says so; one of this node also if it is illegible.
    let made_in = |leases: &Leases| (this.as_deref() != Some(leases.node())).then_some(netns);
    for leases in Leases::everywhere(&conf.state_dir, &conf.name) {
        let locked = leases.and_then(|leases| {
            let made_in = made_in(&leases);
            Ok((leases.hold(key, made_in)?, leases.hold(&key.less_tail(), made_in)?))
        });
        match locked {
            Ok((lease, again)) => {
                held.push(lease);
                held.extend(Some(again).filter(HeldLease::is_lease));
            }
            Err(e) => errors.push(e.into()),
        }
    }
    (held, errors)
}
