//! What the programs are told of their network.

use crate::firewall::Policy;
use crate::identity::SOURCE_PORTS;
use crate::kernel::{Dev, KernelError, Observe, PathSettings};
use crate::overlay::desired::Overlay;

/// Puts it together.
///
/// # Errors
/// The kernel cannot be asked.
pub fn settings(
    kernel: &mut dyn Observe,
    want: &Overlay,
    policy: &Policy,
    dev: &Dev,
) -> Result<PathSettings, KernelError> {
    let vxlan = &want.link.vxlan;
    Ok(PathSettings {
        on: true,
        overlay: dev.index,
        judged: policy.overlay_group,
        vni: vxlan.vni,
        port: vxlan.port,
        source_ports: SOURCE_PORTS,
        mtu: want.link.mtu,
        vtep: policy.vtep,
        uplinks: uplinks(kernel, want, policy)?,
    })
}

/// The devices by which encapsulated packets may leave and come in.
///
/// # Errors
/// The kernel cannot be asked.
pub fn uplinks(
    kernel: &mut dyn Observe,
    want: &Overlay,
    policy: &Policy,
) -> Result<Vec<u32>, KernelError> {
    let mut found = Vec::new();
    // In a VRF the way to a peer is not that of the pods' table.
    if want.link.vxlan.vrf.is_none() {
        for name in &policy.underlay {
            let link = kernel.link(name)?;
            let ethernet = link.filter(|link| link.mac.is_some() && !link.is("vrf"));
            found.extend(ethernet.map(|link| link.dev.index));
        }
    }
    Ok(found)
}
