//! What a network has in the kernel under a VNI that it has no more.

use std::collections::BTreeMap;

use crate::apply::{addresses_of, change_device, routes_of, unreachable_of};
use crate::desired::{self, Via};
use crate::error::Error;
use crate::identity::overlay_name;
use crate::kernel::{Change, Dev, Kernel, Link, LinkKind, OurRoutes};
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

/// Removes what a network has in the kernel under a VNI: routes, device and rules.
///
/// # Errors
/// The kernel refuses.
pub fn retire(kernel: &mut dyn Kernel, network: &str, vni: u32) -> Result<(), Error> {
    let name = overlay_name(vni);
    let ours = desired::alias(network, "");
    receiver::end_trial(kernel, vni)?;
    let OurRoutes { routes, unreachable } = kernel.our_routes()?;
    if let Some(link) = kernel.link(&name)? {
        if !link.alias.as_ref().is_some_and(|alias| alias.starts_with(&ours)) {
            return Ok(());
        }
        let own = addresses_of(kernel, link.dev.index)?;
        for (via, route) in routes_of(routes, link.dev.index, &own, &[]) {
            if let Via::Uplink(index) = via {
                change_device(kernel, index, &[Change::DelRoute(route)])?;
            }
        }
        kernel.delete_link(&name)?;
    }
    // Also without a device: an ADD that was killed in between has left the rest alone.
    let ends = unreachable_of(unreachable, vni).into_iter().map(Change::DelUnreachable);
    kernel.apply(&Dev::none(), &ends.collect::<Vec<_>>())?;
    kernel.remove_rules(vni)?;
    Ok(())
}
