//! Whether a pod lives on a lease, as far as the kernel tells.

use std::time::{Duration, SystemTime};

use flatnet_ipam::Candidate;
use ipnetwork::IpNetwork;

use crate::attachment::dockers::is_reservation;
use crate::identity::veth_name;
use crate::kernel::Observe;

/// How long Docker has to make an endpoint for the addresses that it has asked for, which takes it some milliseconds.
const RESERVED: Duration = Duration::from_secs(60);

/// Whether the lease's veth is in this namespace, or a host route to one of its addresses. The
/// kernel removes both with the pod's namespace. Or Docker is about to make them.
///
/// In doubt the pod lives: an address given twice is worse than one kept too long. The kernel is
/// asked again for each lease: one look at all of them could be older than an ADD that has just
/// succeeded.
pub fn lives(node: &mut dyn Observe, candidate: &Candidate) -> bool {
    if is_awaited(candidate, SystemTime::now()) {
        return true;
    }
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

fn is_awaited(candidate: &Candidate, now: SystemTime) -> bool {
    let (Some(record), Some(written)) = (&candidate.record, candidate.written) else {
        return false;
    };
    // Also where the clock was set back.
    let age = now.duration_since(written).unwrap_or_else(|ahead| ahead.duration());
    is_reservation(&record.attachment) && age < RESERVED
}

#[cfg(test)]
mod tests {
    use flatnet_ipam::{Holder, Key, Pod, Record};

    use super::*;
    use crate::attachment::dockers::DOCKER;
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
            written: None,
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

    #[test]
    fn an_endpoint_that_is_to_come_is_waited_for_a_minute() {
        let now = SystemTime::now();
        let candidate = |namespace: &str, name: Option<&str>, written| Candidate {
            key: None,
            record: Some(Record {
                attachment: Holder {
                    pod: Pod {
                        namespace: Some(namespace.into()),
                        name: name.map(str::to_owned),
                        uid: None,
                    },
                    ..Holder::default()
                },
                addresses: Vec::new(),
            }),
            addresses: Vec::new(),
            written,
        };
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds));
        for (namespace, name, written, awaited) in [
            (DOCKER, None, ago(0), true),
            (DOCKER, None, ago(59), true),
            (DOCKER, None, ago(61), false),
            (DOCKER, None, now.checked_add(Duration::from_secs(59)), true),
            (DOCKER, None, now.checked_add(Duration::from_secs(61)), false),
            (DOCKER, None, None, false),
            (DOCKER, Some("3f3f3f3f3f3f3f3f"), ago(0), false),
            ("default", None, ago(0), false),
        ] {
            let candidate = candidate(namespace, name, written);
            assert_eq!(is_awaited(&candidate, now), awaited, "{candidate:?}");
        }
    }
}
