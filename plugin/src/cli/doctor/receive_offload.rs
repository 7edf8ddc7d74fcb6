//! Whether the underlay's devices put received packets together (generic receive offload). Ours
//! leave it to them.

use std::collections::BTreeSet;

use super::scene::Scene;
use crate::cli::finding::Finding;
use crate::error::Error;
use crate::kernel::{Kernel, KernelError, LinkKind};

/// Kinds of devices that stand on another and pass on what that was given.
const STACKED: [&str; 3] = ["ipvlan", "macvlan", "vlan"];

/// Looks at the devices by which peers are reached.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let paths = scene.underlay.peers.iter().filter_map(|(_, path)| *path);
    let devices: BTreeSet<u32> = paths.map(|path| path.dev).collect();
    Ok(look(&mut scene.look.kernel, &devices)?)
}

fn look(kernel: &mut dyn Kernel, devices: &BTreeSet<u32>) -> Result<Vec<Finding>, KernelError> {
    let mut findings = Vec::new();
    for index in devices {
        let Some(link) = kernel.link_by_index(*index)? else { continue };
        if !passes_on(&link.kind) && kernel.gro(&link.dev)? == Some(false) {
            findings.push(judge(&link.dev.name));
        }
    }
    Ok(findings)
}

/// Whether such a device is given packets as large as they were put together elsewhere: a veth by its
/// other end.
fn passes_on(kind: &LinkKind) -> bool {
    match kind {
        LinkKind::Veth => true,
        LinkKind::Other(kind) => STACKED.contains(&kind.as_str()),
        LinkKind::Vxlan(_) => false,
    }
}

fn judge(dev: &str) -> Finding {
    Finding::run(
        format!("generic receive offload is off on {dev}, by which peers are reached"),
        "each packet from other nodes goes its way to the pod alone: TCP is slower, and takes more \
         CPU time",
        format!("ethtool -K {dev} gro on"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fake::Fake;

    #[test]
    fn a_device_that_passes_packets_on_one_by_one_is_named() {
        let mut fake = Fake::default();
        let hardware = || LinkKind::Other(String::new());
        let devices = [
            fake.add("eth0", 1500, &[], hardware()),
            fake.add("eth1", 1500, &[], hardware()),
            fake.add("veth0", 1500, &[], LinkKind::Veth),
            fake.add("ipvl0", 1500, &[], LinkKind::Other("ipvlan".to_owned())),
        ];
        for dev in ["eth1", "veth0", "ipvl0"] {
            fake.links.get_mut(dev).unwrap().gro = false;
        }
        let found = look(&mut fake, &devices.into()).unwrap();
        assert_eq!(found, [judge("eth1")]);
    }
}
