//! What a network has in the kernel under a VNI that it has no more.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::apply::{change_device, unreachable_of};
use crate::desired;
use crate::error::Error;
use crate::identity::{overlay_name, route_metric, vtep_mac};
use crate::kernel::{Change, Dev, Kernel, Link, LinkKind, OurRoutes, Route, Vxlan};
use crate::receiver;

/// The overlay devices that bear a network's alias, by VNI; more than one while it changes.
///
/// # Errors
/// The kernel cannot be asked.
pub fn devices(kernel: &mut dyn Kernel, network: &str) -> Result<BTreeMap<u32, Link>, Error> {
    let ours = desired::alias(network, "");
    let is_ours = |link: &Link| link.alias.as_ref().is_some_and(|a| a.starts_with(&ours));
    let links = kernel.vxlans()?.into_iter().filter(is_ours);
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
pub fn nameless(kernel: &mut dyn Kernel, vtep: IpAddr) -> Result<BTreeMap<u32, u32>, Error> {
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

/// Removes what a network has in the kernel under a VNI: routes, device and rules.
///
/// # Errors
/// The kernel refuses.
pub fn retire(kernel: &mut dyn Kernel, network: &str, vni: u32) -> Result<(), Error> {
    let name = overlay_name(vni);
    let ours = desired::alias(network, "");
    receiver::end_trial(kernel, vni)?;
    if let Some(link) = kernel.link(&name)? {
        if !link.alias.as_ref().is_some_and(|alias| alias.starts_with(&ours)) {
            return Ok(());
        }
        kernel.delete_link(&name)?;
    }
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
