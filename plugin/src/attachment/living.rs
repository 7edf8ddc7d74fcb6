//! Whether a pod lives on a lease, as far as the kernel tells.

use flatnet_ipam::Candidate;
use ipnetwork::IpNetwork;

use crate::identity::veth_name;
use crate::kernel::Observe;

/// Whether the lease's veth is in this namespace, or a host route to one of its addresses. The
/// kernel removes both with the pod's namespace.
///
/// In doubt the pod lives: an address given twice is worse than one kept too long. The kernel is
/// asked again for each lease: one look at all of them could be older than an ADD that has just
/// succeeded.
pub fn lives(node: &mut dyn Observe, candidate: &Candidate) -> bool {
    let veth = candidate.key.as_ref().map(veth_name);
    if veth.is_some_and(|veth| !matches!(node.link(&veth), Ok(None))) {
        return true;
    }
    let mut addresses = candidate.addresses.iter();
    addresses.any(|address| match node.our_route(*address) {
        Ok(Some((_, route))) => route.dst == IpNetwork::from(*address),
        Ok(None) => false,
        Err(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use flatnet_ipam::Key;

    use super::*;
    use crate::kernel::fake::Fake;
    use crate::kernel::{Change, Kernel as _, LinkKind, Route};

    #[test]
    fn a_veth_or_a_route_is_a_life() {
        let key = Key::new("pods", "c1", "eth0");
        let address = "10.1.1.7".parse().unwrap();
        let candidate = |key: Option<&Key>| Candidate {
            key: key.cloned(),
            record: None,
            addresses: vec![address],
        };
        let mut node = Fake::default();
        assert!(!lives(&mut node, &candidate(Some(&key))));

        node.add(&veth_name(&key), 1450, &[], LinkKind::Veth);
        assert!(lives(&mut node, &candidate(Some(&key))));
        assert!(!lives(&mut node, &candidate(None)), "a damaged lease names no veth");

        let dst = IpNetwork::from(address);
        let route = Route { dst, gateway: None, onlink: false, source: None, metric: None };
        let dev = node.links[&veth_name(&key)].link.dev.clone();
        node.apply(&dev, &[Change::AddRoute(route)]).unwrap();
        assert!(lives(&mut node, &candidate(None)), "but its address is routed");
    }
}
