//! What a network has in the kernel under a VNI that it has no more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nix::errno::Errno;

use crate::error::Error;
use crate::identity::{overlay_name, route_metric, veth_group, vtep_mac};
use crate::kernel::{Change, Dev, Kernel, Link, LinkKind, Observe, OurRoutes, Route, Vxlan};
use crate::overlay::apply::{change_device, unreachable_of};
use crate::overlay::desired;
use crate::overlay::fast_path;
use crate::overlay::receiver;

/// The overlay devices that bear a network's alias, by VNI; more than one while it changes.
///
/// # Errors
/// The kernel cannot be asked.
pub fn devices(kernel: &mut dyn Observe, network: &str) -> Result<BTreeMap<u32, Link>, Error> {
    let links = kernel.vxlans()?.into_iter().filter(desired::is_of(network));
    let by_vni = links.filter_map(|link| match &link.kind {
        LinkKind::Vxlan(vxlan) => Some((vxlan.vni, link)),
        _ => None,
    });
    Ok(by_vni.filter(|(vni, link)| link.dev.name == overlay_name(*vni)).collect())
}

/// The indices and VNIs of devices that were made for a node with this VTEP, and no more than made:
/// whose they are is not written on them. Their maker may be at it, or was killed.
///
/// # Errors
/// The kernel cannot be asked.
pub fn nameless(kernel: &mut dyn Observe, vtep: IpAddr) -> Result<BTreeMap<u32, u32>, Error> {
    let links = kernel.vxlans()?.into_iter().filter(|link| link.alias.is_none() && !link.up);
    let by_index = links.filter_map(|link| match &link.kind {
        LinkKind::Vxlan(Vxlan { vni, .. })
            if link.dev.name == overlay_name(*vni) && link.mac == Some(vtep_mac(*vni, vtep)) =>
        {
            Some((link.dev.index, *vni))
        }
        _ => None,
    });
    Ok(by_index.collect())
}

/// Puts the pods that were attached under earlier VNIs into the group that the rules of the new one know.
/// They are known by their alias, or by their group: one whose ADD is under way has no alias yet.
///
/// # Errors
/// The kernel refuses.
pub fn regroup(
    kernel: &mut dyn Kernel,
    network: &str,
    earlier: &BTreeSet<u32>,
    vni: u32,
) -> Result<(), Error> {
    let bears_alias = desired::is_of(network);
    let mut groups = BTreeSet::new();
    for earlier in earlier {
        if !is_of_another(kernel.observing(), network, *earlier)? {
            groups.insert(veth_group(*earlier));
        }
    }
    let is_ours =
        |link: &Link| bears_alias(link) || link.alias.is_none() && groups.contains(&link.group);
    for link in kernel.links()?.iter().filter(|link| link.kind == LinkKind::Veth) {
        if is_ours(link) {
            match kernel.apply(&link.dev, &[Change::Group(veth_group(vni))]) {
                // The pod has gone meanwhile.
                Err(e) if e.errno() == Some(Errno::ENODEV) => {}
                outcome => outcome?,
            }
        }
    }
    Ok(())
}

/// Whether a VNI's overlay device stands and is another network's.
fn is_of_another(kernel: &mut dyn Observe, network: &str, vni: u32) -> Result<bool, Error> {
    let link = kernel.link(&overlay_name(vni))?;
    Ok(link.is_some_and(|link| !desired::is_of(network)(&link)))
}

/// Removes what a network has in the kernel under a VNI: routes, device and rules.
///
/// # Errors
/// The kernel refuses.
pub fn retire(kernel: &mut dyn Kernel, network: &str, vni: u32) -> Result<(), Error> {
    receiver::end_trial(kernel, vni)?;
    if is_of_another(kernel.observing(), network, vni)? {
        return Ok(());
    }
    fast_path::clear_uplinks(kernel, vni)?;
    kernel.delete_link(&overlay_name(vni))?;
    // Also without a device: an ADD that was killed in between has left the rest alone.
    let OurRoutes { routes, unreachable } = kernel.our_routes()?;
    // Those over the device went with it; those over an uplink go by way of a peer's VTEP, and their
    // metric says for which VNI.
    let is_of = |route: &Route| {
        route.gateway.is_some_and(|vtep| route.metric == Some(route_metric(vni, vtep)))
    };
    for (index, route) in routes.into_iter().filter(|(_, route)| is_of(route)) {
        change_device(kernel, index, &[Change::DelRoute(route)])?;
    }
    let ends = unreachable_of(unreachable, vni).into_iter().map(Change::DelUnreachable);
    kernel.apply(&Dev::none(), &ends.collect::<Vec<_>>())?;
    kernel.remove_rules(vni)?;
    Ok(())
}
