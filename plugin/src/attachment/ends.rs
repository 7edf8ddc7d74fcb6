//! One attachment: the veth pair between a pod and its node, and what makes packets go through it.
//!
//! Routed, no bridge: the pod sends everything to a gateway that is the node's end of its veth, and
//! the node has one host route for each of the pod's addresses.

use std::net::IpAddr;
use std::os::fd::AsFd;

use flatnet_conf::Mac;
use flatnet_ipam::Holder;
use ipnetwork::IpNetwork;
use nix::errno::Errno;

use crate::attachment::finished::{self, Wanted};
use crate::attachment::guards::Guards;
use crate::error::Error;
use crate::identity::{LONGEST_ALIAS, VethIdentity};
use crate::kernel::netns::Netns;
use crate::kernel::{
    Change, Dev, FastPath, Filters, Kernel, Neighbour, ReversePath, Route, Veth, VethPair,
};
use crate::overlay::fast_path;
use crate::overlay::gateway::gateway;

/// What an attachment is to be.
#[derive(Clone, Debug)]
pub struct Attachment<'a> {
    /// Names and MACs of the pair.
    pub veth: VethIdentity,
    /// `IFLA_GROUP` of the node's end.
    pub group: u32,
    /// Alias of the node's end.
    pub alias: String,
    /// `CNI_IFNAME`.
    pub ifname: &'a str,
    /// `CNI_NETNS`, for messages.
    pub netns: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// The pod's addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// What the pod reaches through the gateway.
    pub routes: Vec<IpNetwork>,
    /// The programs by which its packets take the fast path, if they do.
    pub fast_path: Option<FastPath>,
}

/// `flatnet:<network>/<namespace>/<pod or container ID>/<ifname>`, as `ip link` prints it: what a
/// caller could have put in that a terminal would obey is left out.
pub fn alias(network: &str, holder: &Holder) -> String {
    let namespace = holder.pod.namespace.as_deref().unwrap_or("-");
    let pod = holder.pod.name.as_deref().unwrap_or(&holder.container_id);
    let ifname = &holder.ifname;
    // The interface's name is worth more than a long ID's end.
    let room = LONGEST_ALIAS.saturating_sub(ifname.len() + 1);
    let mut alias: String = format!("flatnet:{network}/{namespace}/{pod}")
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '?' })
        .take(room)
        .collect();
    alias.push('/');
    alias.push_str(ifname);
    alias
}

/// What a pod with these addresses reaches through its gateway: what was asked for, else everything.
pub fn routes(asked: Option<&[IpNetwork]>, addresses: &[IpAddr]) -> Vec<IpNetwork> {
    let everything = |ipv4| if ipv4 { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    asked.map(<[_]>::to_vec).unwrap_or_else(|| {
        let families = addresses.iter().map(IpAddr::is_ipv4);
        families.filter_map(|ipv4| IpNetwork::new(everything(ipv4), 0).ok()).collect()
    })
}

/// Makes the pair, one end in each namespace. What is left of an ADD of the same attachment that did not
/// come to its end (its veth has the same name) makes room; any other interface of the pod stays.
///
/// # Errors
/// Code 102 if the pod has an interface of that name that is not ours, or if the attachment stands
/// finished; 103 if the kernel refuses.
pub fn create(
    node: &mut dyn Kernel,
    netns: &Netns,
    attachment: &Attachment<'_>,
) -> Result<VethPair, Error> {
    let veth = Veth {
        name: &attachment.veth.name,
        mac: attachment.veth.node_mac,
        group: attachment.group,
        peer_name: attachment.ifname,
        peer_mac: attachment.veth.pod_mac,
        peer_netns: netns.as_fd(),
        mtu: attachment.mtu,
    };
    match node.create_veth(&veth) {
        Err(e) if e.errno() == Some(Errno::EEXIST) => {
            // Another ADD of the same attachment may have ended while this one waited for it.
            let wanted = Wanted { veth: veth.name, ifname: attachment.ifname, netns };
            finished::refuse(node.observing(), &wanted)?;
            // It may go by itself at this moment, as with the namespace of an earlier pod: only what
            // is in the way a second time is the pod's.
            if node.delete_link(veth.name)? {
                log::warn!(
                    "{} was left by an earlier ADD of this attachment: made again",
                    veth.name
                );
            }
            match node.create_veth(&veth) {
                Err(e) if e.errno() == Some(Errno::EEXIST) => Err(exists(attachment)),
                made => Ok(made?),
            }
        }
        made => Ok(made?),
    }
}

fn exists(attachment: &Attachment<'_>) -> Error {
    let Attachment { ifname, netns, .. } = attachment;
    Error::InterfaceExists { ifname: (*ifname).into(), netns: netns.clone() }
}

/// Wires the node's end.
///
/// # Errors
/// The kernel refuses.
pub fn wire_node(
    node: &mut dyn Kernel,
    dev: &Dev,
    attachment: &Attachment<'_>,
) -> Result<(), Error> {
    Guards::of_node(&attachment.addresses).set_new(node, &dev.name)?;
    node.apply(dev, &node_changes(attachment)).map_err(|e| match e.errno() {
        Some(Errno::EEXIST) => Error::Foreign {
            reason: format!(
                "{e}: another device has a route to this address, which none had when it was chosen; \
                 `ip route show proto 102` shows which, and the next ADD takes another address"
            ),
        },
        _ => e.into(),
    })
}

/// All that makes the node's end what it is, what it was created with included.
pub fn node_end(attachment: &Attachment<'_>) -> Vec<Change> {
    let mut changes = vec![
        Change::Group(attachment.group),
        Change::Mac(attachment.veth.node_mac),
        Change::Mtu(attachment.mtu),
    ];
    changes.extend(node_changes(attachment));
    changes
}

/// What is still to be done about the node's end after its creation. The alias comes before it is up: see
/// [`UNFINISHED`](crate::kernel::UNFINISHED).
fn node_changes(attachment: &Attachment<'_>) -> Vec<Change> {
    let mut changes = vec![
        Change::Forward(ReversePath::Strict),
        Change::NoLinkLocal,
        Change::Alias(attachment.alias.clone()),
    ];
    // Of a device that is up the kernel stops the queues for them, and waits until no CPU sends by it.
    changes.extend(filters(attachment));
    changes.push(Change::Up);
    for address in &attachment.addresses {
        changes.push(Change::AddRoute(on_link(*address)));
        // A permanent entry: no ARP for a pod, and none that a pod could forge.
        changes.push(put_neighbour(*address, attachment.veth.pod_mac));
    }
    changes
}

/// What makes the filters of a node's end that was just made those of its fast path, if it has one.
fn filters(attachment: &Attachment<'_>) -> Vec<Change> {
    let path = attachment.fast_path.as_ref();
    path.map(|path| fast_path::changes(&Filters::default(), Some(path))).unwrap_or_default()
}

/// Wires the pod's end. When this returns, every address is usable.
///
/// # Errors
/// The kernel refuses, or the interface is gone.
pub fn wire_pod(pod: &mut dyn Kernel, dev: &Dev, attachment: &Attachment<'_>) -> Result<(), Error> {
    Guards::of_pod(&attachment.addresses).set_new(pod, &dev.name)?;
    pod.apply(dev, &pod_changes(attachment, dev.index)).map_err(|e| match e.errno() {
        Some(Errno::ENODEV) => Error::Foreign {
            reason: format!(
                "{e}: {} vanished from {} while it was set up",
                dev.name, attachment.netns
            ),
        },
        Some(Errno::EEXIST) => Error::Configuration {
            reason: format!(
                "{e}: another interface of the pod has this already; set routes in the \
                 configuration of one of its networks, so that only one has a default route"
            ),
        },
        _ => e.into(),
    })
}

/// All that makes the pod's end of this index what it is, after its creation.
pub fn pod_changes(attachment: &Attachment<'_>, index: u32) -> Vec<Change> {
    let mut changes = vec![Change::Up];
    for address in &attachment.addresses {
        let gateway = gateway(address.is_ipv4());
        changes.push(Change::AddAddress(IpNetwork::from(*address)));
        changes.push(put_neighbour(gateway, attachment.veth.node_mac));
        if gateway.is_ipv4() {
            // fe80::1 is on the link by its nature; 169.254.1.1 is not. A metric of its own for
            // each interface, because a pod may have several with the same gateway.
            changes.push(Change::AddRoute(Route { metric: Some(index), ..on_link(gateway) }));
        }
        let family = attachment.routes.iter().filter(|dst| dst.is_ipv4() == address.is_ipv4());
        changes.extend(family.map(|dst| {
            let gateway = Some(gateway);
            let (onlink, source, metric) = (false, None, None);
            Change::AddRoute(Route { dst: *dst, gateway, onlink, source, metric })
        }));
    }
    changes
}

/// Ends an ADD: makes sure that the node's end can send, and shows that it is finished.
///
/// It was switched on before the pod's end, so it had no carrier, and the kernel gives it a queue only
/// when its link watch runs: up to a second later, and what is sent until then is dropped in silence.
/// Since Linux 6.8 asking for the device runs the watch at once (`rtnl_getlink` calls
/// `linkwatch_sync_dev`); older kernels keep the gap, as with any other plugin.
///
/// # Errors
/// The device is gone.
pub fn finish(node: &mut dyn Kernel, dev: &Dev, attachment: &Attachment<'_>) -> Result<(), Error> {
    match node.link(&attachment.veth.name)? {
        // By its index: no other device becomes finished, should this one be replaced.
        Some(_) => Ok(node.apply(dev, &[Change::Finish])?),
        None => {
            Err(Error::Foreign { reason: format!("{} vanished while it was set up", dev.name) })
        }
    }
}

fn on_link(address: IpAddr) -> Route {
    let dst = IpNetwork::from(address);
    Route { dst, gateway: None, onlink: false, source: None, metric: None }
}

fn put_neighbour(address: IpAddr, mac: Mac) -> Change {
    Change::PutNeighbour(Neighbour { address, mac })
}

#[cfg(test)]
mod tests;
