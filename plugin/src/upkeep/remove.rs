//! `flatnet remove`: a network leaves this node, with all that it has here.
//!
//! The protocol has no verb for it: DEL is about one pod, and the last pod's DEL leaves the overlay
//! for the next. It needs neither range file nor configuration, which may be gone already. But where
//! the range file still lists the node, the others send to it and trust its VTEP, and without our
//! rules any program here that is masqueraded speaks to their pods under that address.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::{Error as Input, Node, RangeFile};
use flatnet_ipam::{Leases, node_folder};

use crate::attachment::living::lives;
use crate::attachment::unleased;
use crate::error::Error;
use crate::kernel::{Netlink, Observe};
use crate::overlay::agent::author_of;
use crate::overlay::network_lock::NetworkLock;
use crate::overlay::node_lock;
use crate::overlay::retire::{devices, retire};
use crate::overlay::stamp::Stamp;

/// What a network had here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The VNIs whose device and rules are gone; more than one if a change was cut short.
    pub vnis: Vec<u32>,
    /// The nodes whose state folders are gone.
    pub nodes: Vec<String>,
}

/// Removes a network's device, routes, rules and state folder of the node that this namespace
/// plays. Settings of the kernel stay: others may rely on them by now. `force` does it also where
/// the range file lists the node.
///
/// No call of a runtime for the network runs beside it: an ADD that comes later finds that the network
/// is to be brought about.
///
/// # Errors
/// Code 7 if pods are attached, with their names, if the range file lists the node or cannot be
/// understood, or if a watch keeps the network; no overlay is changed then. Otherwise what the kernel or
/// the file system refuses.
pub fn run(state_dir: &Path, network: &str, force: bool) -> Result<Removed, Error> {
    let mut node = Netlink::open()?;
    let own = node.netns().inode()?;
    // Who is refused need not wait for others first.
    removable(&mut node, state_dir, network, force)?;
    let _alone = NetworkLock::alone(state_dir, network, own)?;
    let _all = node_lock::wait();
    let stamps = removable(&mut node, state_dir, network, force)?;
    let mut vnis: BTreeSet<u32> = stamps.iter().map(|stamp| stamp.vni).collect();
    vnis.extend(devices(&mut node, network)?.into_keys());
    for vni in &vnis {
        retire(&mut node, network, *vni)?;
    }
    for stamp in &stamps {
        let folder = node_folder(state_dir, network, &stamp.node);
        fs::remove_dir_all(&folder).map_err(|source| Error::File {
            action: "remove",
            path: folder.display().to_string(),
            source,
        })?;
    }
    Ok(Removed {
        vnis: vnis.into_iter().collect(),
        nodes: stamps.into_iter().map(|stamp| stamp.node).collect(),
    })
}

/// What was applied of the network here, if all of it may go.
fn removable(
    node: &mut Netlink,
    state_dir: &Path,
    network: &str,
    force: bool,
) -> Result<Vec<Stamp>, Error> {
    let own = node.netns().inode()?;
    let mut stamps = Stamp::all(state_dir);
    stamps.retain(|stamp| stamp.network == network && stamp.netns == own);
    for stamp in &stamps {
        refuse_living(node, state_dir, stamp)?;
    }
    refuse_unleased(node, network)?;
    for stamp in stamps.iter().filter(|_| !force) {
        refuse_listed(node, state_dir, stamp)?;
    }
    Ok(stamps)
}

/// A range file that is gone, or that cannot be read, lists no node.
fn refuse_listed(node: &mut dyn Observe, state_dir: &Path, stamp: &Stamp) -> Result<(), Error> {
    let (network, path) = (&stamp.network, stamp.range_file.display().to_string());
    let reason = match RangeFile::load(&stamp.range_file) {
        Err(Input::Read { .. }) => return Ok(()),
        Err(error) => format!(
            "{error}; so it is not known whether it still lists this node, whose VTEP the other \
             nodes trust then; mend the file, or take network {network} off with --force"
        ),
        Ok(file) => match listed(node, &file, stamp)? {
            None => return Ok(()),
            Some((name, vtep)) => format!(
                "{path} lists this node as {name}: the other nodes send pods' packets to {vtep} and \
                 trust what comes from there, which without rules is any program's here; {}",
                author_of(state_dir, network).leave(network, &name, &path)
            ),
        },
    };
    Err(Error::Configuration { reason })
}

/// The node of the file that this one is: by the name that it had, or by a VTEP that is one of its
/// addresses, for it is the VTEP that the others trust.
fn listed(
    kernel: &mut dyn Observe,
    file: &RangeFile,
    stamp: &Stamp,
) -> Result<Option<(String, IpAddr)>, Error> {
    let own: BTreeSet<_> = kernel.addresses()?.iter().map(|(_, network)| network.ip()).collect();
    let is_this = |node: &&Node| node.name == stamp.node || own.contains(&node.vtep);
    Ok(file.nodes.iter().find(is_this).map(|node| (node.name.clone(), node.vtep)))
}

fn refuse_living(node: &mut dyn Observe, state_dir: &Path, stamp: &Stamp) -> Result<(), Error> {
    let leases = Leases::existing(state_dir, &stamp.network, &stamp.node)?;
    let Some(leases) = leases else { return Ok(()) };
    leases.reclaim(&mut |candidate| lives(node, candidate))?;
    // Those of an ADD under way are among them, though the kernel knows nothing of them yet.
    let listing = leases.list()?;
    let attached = listing.leases.iter().map(|lease| lease.attachment.to_string());
    let attached = attached.chain(listing.broken.iter().map(ToString::to_string));
    refuse(&stamp.network, attached.collect())
}

/// Pods whose addresses another IPAM plugin gave.
fn refuse_unleased(node: &mut dyn Observe, network: &str) -> Result<(), Error> {
    let ends = unleased::node_ends(node, network)?;
    let attached = unleased::attachments(node, network, ends, &[])?;
    refuse(network, attached.iter().map(|record| record.attachment.to_string()).collect())
}

fn refuse(network: &str, attached: Vec<String>) -> Result<(), Error> {
    match attached.is_empty() {
        true => Ok(()),
        false => Err(Error::Configuration {
            reason: format!(
                "network {network} has pods on this node, remove them first: {}",
                attached.join(", ")
            ),
        }),
    }
}
