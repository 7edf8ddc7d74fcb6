//! The objects of an overlay in the kernel: observe, plan, apply; and remove.

use ipnetwork::IpNetwork;
use nix::errno::Errno;

use crate::desired::{self, Overlay, Via};
use crate::error::Error;
use crate::identity::overlay_name;
use crate::kernel::{Change, Dev, Kernel, KernelError, Link, LinkKind, Route, RuleSet};
use crate::reconcile::{DevicePlan, Observed, plan_device, plan_objects};

/// Makes what stands in the kernel into what should stand, with the difference only.
///
/// # Errors
/// Something foreign is in the way (104), or the kernel refuses (103). A device that this call made
/// does not outlive its failure.
pub fn apply(kernel: &mut dyn Kernel, want: &Overlay, rules: &RuleSet) -> Result<(), Error> {
    let name = &want.link.name;
    let found = kernel.link(name)?;
    let plan = plan_device(want, found.as_ref());
    if let DevicePlan::Foreign(reason) = plan {
        return Err(Error::Foreign { reason });
    }
    // Before the device: there is no moment in which strangers could inject.
    kernel.put_rules(rules)?;
    if let DevicePlan::Recreate(reason) = &plan {
        log::warn!("{reason}: made anew");
        kernel.delete_link(name)?;
    }
    let (have, made) = match (plan, found) {
        (DevicePlan::Keep, Some(link)) => {
            (observe(kernel, want, link, &rules.cluster_cidrs)?, false)
        }
        _ => {
            let direct = routes_of(kernel, 0, &want.addresses, &rules.cluster_cidrs)?;
            (Observed::bare(want, create(kernel, want)?, direct), true)
        }
    };
    let outcome = change(kernel, want, &have, made).map_err(|e| explain(kernel, e, want));
    if outcome.is_err() && made {
        if let Err(e) = kernel.delete_link(name) {
            log::warn!("cannot remove {name} again: {e}");
        }
    }
    outcome
}

fn change(
    kernel: &mut dyn Kernel,
    want: &Overlay,
    have: &Observed,
    made: bool,
) -> Result<(), Error> {
    // The underlay's device has put together already what belongs together, and looks into VXLAN
    // for that. Trying again costs each packet a detour through another queue.
    if made || kernel.gro(&have.link.dev)? == Some(true) {
        kernel.switch_off_gro(&have.link.dev)?;
    }
    for (via, changes) in plan_objects(want, have) {
        match via {
            Via::Overlay => kernel.apply(&have.link.dev, &changes)?,
            Via::Uplink(index) => change_device(kernel, index, &changes)?,
        }
    }
    Ok(())
}

fn change_device(kernel: &mut dyn Kernel, index: u32, changes: &[Change]) -> Result<(), Error> {
    match kernel.link_by_index(index)? {
        Some(link) => Ok(kernel.apply(&link.dev, changes)?),
        // Its routes went with it.
        None => Ok(()),
    }
}

fn observe(
    kernel: &mut dyn Kernel,
    want: &Overlay,
    link: Link,
    clusters: &[IpNetwork],
) -> Result<Observed, Error> {
    let dev = link.dev.index;
    let addresses = addresses_of(kernel, dev)?;
    let own: Vec<_> = addresses.iter().chain(&want.addresses).copied().collect();
    let mut is = |setting: &str, wanted: &str| -> Result<bool, Error> {
        let value = kernel.sysctl(&format!("net/ipv4/conf/{}/{setting}", link.dev.name))?;
        Ok(value.is_none_or(|value| value == wanted))
    };
    Ok(Observed {
        forwards: is("forwarding", "1")? && is("rp_filter", "2")?,
        routes: routes_of(kernel, dev, &own, clusters)?,
        neighbours: kernel.neighbours(dev)?,
        fdb: kernel.fdb(dev)?,
        addresses,
        link,
    })
}

fn addresses_of(kernel: &mut dyn Kernel, dev: u32) -> Result<Vec<IpNetwork>, Error> {
    let all = kernel.addresses()?.into_iter();
    Ok(all.filter(|(on, _)| *on == dev).map(|(_, address)| address).collect())
}

/// Our routes to peers: those over the overlay's device, and those over an uplink that prefer one of
/// the node's own addresses in this network as their source, or lead into the network: no other
/// network has either. (An IPv6 route may lose its source: the kernel clears it with the address.)
fn routes_of(
    kernel: &mut dyn Kernel,
    overlay: u32,
    own: &[IpNetwork],
    clusters: &[IpNetwork],
) -> Result<Vec<(Via, Route)>, Error> {
    let via = |dev: u32, route: &Route| {
        let preferred = route.source.is_some_and(|ip| own.iter().any(|own| own.ip() == ip));
        let within = clusters.iter().any(|cluster| cluster.contains(route.dst.network()));
        match dev {
            dev if dev == overlay => Some(Via::Overlay),
            // A pod's route has no gateway.
            dev => (route.gateway.is_some() && (preferred || within)).then_some(Via::Uplink(dev)),
        }
    };
    let routes = kernel.our_routes()?.into_iter();
    Ok(routes.filter_map(|(dev, route)| Some((via(dev, &route)?, route))).collect())
}

fn create(kernel: &mut dyn Kernel, want: &Overlay) -> Result<Dev, Error> {
    match kernel.create_vxlan(&want.link) {
        Ok(dev) => Ok(dev),
        Err(e) if e.errno() == Some(Errno::EEXIST) => match rival(kernel, want)? {
            Some(reason) => Err(Error::Foreign { reason }),
            None => Err(e.into()),
        },
        Err(e) => Err(e.into()),
    }
}

/// The kernel has one VXLAN device for each VNI and port: who has ours?
fn rival(kernel: &mut dyn Kernel, want: &Overlay) -> Result<Option<String>, KernelError> {
    let ours = &want.link.vxlan;
    let links = kernel.links()?;
    Ok(links.iter().find_map(|link| match &link.kind {
        LinkKind::Vxlan(theirs) if (theirs.vni, theirs.port) == (ours.vni, ours.port) => Some(format!(
            "the VXLAN device {} already has VNI {} (UDP port {}); give this network another vni \
             in the range file, or remove that device",
            link.dev.name, theirs.vni, theirs.port
        )),
        _ => None,
    }))
}

fn explain(kernel: &mut dyn Kernel, error: Error, want: &Overlay) -> Error {
    match &error {
        // Switching the device on binds the UDP port.
        Error::Kernel(e) if e.errno() == Some(Errno::EADDRINUSE) => {
            let links = kernel.links().unwrap_or_default();
            Error::Foreign { reason: port_taken(&links, want) }
        }
        _ => error,
    }
}

/// VXLAN devices share a port if all their options are the same; else the first one up has it.
fn port_taken(links: &[Link], want: &Overlay) -> String {
    let port = want.link.vxlan.port;
    let rival = links.iter().find(|link| {
        let same = matches!(&link.kind, LinkKind::Vxlan(theirs) if theirs.port == port);
        same && link.up && link.dev.name != want.link.name
    });
    let holder = match rival {
        Some(Link { dev: Dev { name, .. }, .. }) => {
            format!("the VXLAN device {name}, with other options (ip -d link show {name}); remove")
        }
        None => format!("another program (ss -ulpn sport = :{port}); stop"),
    };
    format!("UDP port {port} is taken by {holder} it or set another port in the range file")
}

/// Removes what a network has in the kernel under a VNI: routes, device and rules.
///
/// # Errors
/// The kernel refuses.
pub fn retire(kernel: &mut dyn Kernel, network: &str, vni: u32) -> Result<(), Error> {
    let name = overlay_name(vni);
    let ours = desired::alias(network, "");
    if let Some(link) = kernel.link(&name)? {
        if !link.alias.as_ref().is_some_and(|alias| alias.starts_with(&ours)) {
            return Ok(());
        }
        let own = addresses_of(kernel, link.dev.index)?;
        for (via, route) in routes_of(kernel, link.dev.index, &own, &[])? {
            if let Via::Uplink(index) = via {
                change_device(kernel, index, &[Change::DelRoute(route)])?;
            }
        }
        kernel.delete_link(&name)?;
    }
    // Also without a device: an ADD that was killed in between has left the rules alone.
    kernel.remove_rules(vni)?;
    Ok(())
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
