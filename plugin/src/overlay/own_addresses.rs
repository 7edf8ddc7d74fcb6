//! Addresses of the node itself among those of pods: what another plugin has left behind, `cni0` with
//! the gateway of a range. No pod can have such an address, for the node takes its packets itself, and
//! the network that comes with it draws off what goes to addresses that no pod has.

use ipnetwork::IpNetwork;

use crate::kernel::{KernelError, Observe};

/// The addresses of other programs' devices in these networks, each with its device's name.
///
/// # Errors
/// The kernel cannot be asked.
pub fn within(
    kernel: &mut dyn Observe,
    networks: &[IpNetwork],
) -> Result<Vec<(IpNetwork, String)>, KernelError> {
    let mut found = Vec::new();
    for (index, address) in kernel.addresses()? {
        if !networks.iter().any(|network| network.contains(address.ip())) {
            continue;
        }
        let Some(link) = kernel.link_by_index(index)? else { continue };
        if !link.alias.is_some_and(|alias| alias.starts_with("flatnet:")) {
            found.push((address, link.dev.name));
        }
    }
    Ok(found)
}
