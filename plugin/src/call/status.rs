//! STATUS: would an ADD work now?
//!
//! Asked every few seconds, and a "no" takes a Kubernetes node out of service. So it asks what the
//! next ADD needs, and makes it: a node that is called ready has its overlay, its rules and its
//! forwarding, also one that never had a pod, for the other nodes send to it and trust its VTEP.
//! Where all of it stands, that is a glance.

use std::collections::BTreeSet;
use std::iter;

use flatnet_conf::Range;
use flatnet_ipam::check_leases;

use super::request::Call;
use crate::attachment::ready;
use crate::attachment::unleased;
use crate::error::Error;
use crate::kernel::{Link, LinkKind, Netlink, Observe, Vxlan};
use crate::overlay::agent;
use crate::overlay::network_lock::NetworkLock;
use crate::overlay::retire::devices;

/// Succeeds if an ADD can be expected to; the overlay stands then.
///
/// # Errors
/// Code 50 with the reason; 51 if pods that are attached are cut off as well, and no ADD can bring the
/// overlay back. A delegate's own as it came.
pub fn run(call: &Call) -> Result<(), Error> {
    let mut node = Netlink::open()?;
    prepare(&mut node, call).map_err(|e| match e {
        Error::Delegate { .. } => e,
        _ => Error::Unavailable {
            // What the agent waits for may be why.
            reason: iter::once(format!("pods cannot be attached: {e}"))
                .chain(agent::waits(&call.conf))
                .collect::<Vec<_>>()
                .join("; "),
            // In doubt they are not known to be.
            pods_affected: are_cut_off(&mut node, &call.conf.name).unwrap_or(false),
        },
    })
}

fn prepare(node: &mut Netlink, call: &Call) -> Result<(), Error> {
    let own = node.netns().inode()?;
    let delegate = call.delegate()?;
    let _lock = NetworkLock::enter(&call.conf, own)?;
    let this = ready::ensure(node, &call.conf, own)?;
    if let Some(family) = closed(&this.ranges) {
        let reason = format!(
            "all {family} ranges of node {} are held for the pods that live in them, and it has got no other yet",
            this.node
        );
        return Err(Error::Configuration { reason });
    }
    match delegate {
        Some(delegate) => delegate.run("STATUS"),
        None => Ok(check_leases(&call.conf.state_dir, &call.conf.name, &this.node)?),
    }
}

/// The family of which a pod gets an address, and no range gives one.
fn closed(ranges: &[Range]) -> Option<&'static str> {
    [(true, "IPv4"), (false, "IPv6")].into_iter().find_map(|(ipv4, family)| {
        let mut of = ranges.iter().filter(|range| range.subnet().is_ipv4() == ipv4).peekable();
        (of.peek().is_some() && of.all(Range::is_retiring)).then_some(family)
    })
}

/// Whether the node has pods of the network, and no overlay that carries anything. The kernel knows also
/// where the state folder is what is wrong.
fn are_cut_off(node: &mut dyn Observe, network: &str) -> Result<bool, Error> {
    if unleased::node_ends(node, network)?.is_empty() {
        return Ok(false);
    }
    let own: BTreeSet<_> = node.addresses()?.iter().map(|(_, network)| network.ip()).collect();
    let carries = |link: &Link| {
        let vtep = match link.kind {
            LinkKind::Vxlan(Vxlan { local, .. }) => local,
            _ => None,
        };
        link.up && vtep.is_none_or(|vtep| own.contains(&vtep))
    };
    Ok(!devices(node, network)?.values().any(carries))
}
