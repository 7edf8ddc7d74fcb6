//! Attachments of which no lease tells, as the node's end of their veth pairs shows them: those whose
//! addresses another IPAM plugin gave, which keeps its own books, and those whose lease was lost.
//!
//! The alias names network, pod and interface, and host routes lead to the addresses. The container's ID
//! is mostly written nowhere.

use std::collections::BTreeSet;

use flatnet_ipam::{Holder, Pod, Record};
use ipnetwork::IpNetwork;

use crate::error::Error;
use crate::identity::{key_of_veth, veth_group};
use crate::kernel::{Link, LinkKind, Observe, Route};
use crate::overlay::desired;

/// The node's ends of a network's veth pairs.
#[derive(Debug, Default)]
pub struct Ends {
    /// Those of attachments that stand finished: they bear the network's alias.
    pub finished: Vec<Link>,
    /// Those that an ADD has made whose end was not seen: they bear a name and a group of ours, and no
    /// alias. The ADD may be at it.
    pub unfinished: Vec<Link>,
}

impl Ends {
    /// Looks at all devices.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn look(kernel: &mut dyn Observe, network: &str) -> Result<Self, Error> {
        let links = kernel.links()?;
        let bears_alias = desired::is_of(network);
        let groups: BTreeSet<u32> = links
            .iter()
            .filter(|link| bears_alias(link))
            .filter_map(|link| match &link.kind {
                LinkKind::Vxlan(vxlan) => Some(veth_group(vxlan.vni)),
                _ => None,
            })
            .collect();
        let mut ends = Self::default();
        for link in links.into_iter().filter(|link| link.kind == LinkKind::Veth) {
            if holder(network, &link).is_some() {
                ends.finished.push(link);
            } else if link.alias.is_none()
                && groups.contains(&link.group)
                && key_of_veth(&link.dev.name).is_some()
            {
                ends.unfinished.push(link);
            }
        }
        Ok(ends)
    }
}

/// The node's ends of a network's attachments.
///
/// # Errors
/// The kernel cannot be asked.
pub fn node_ends(kernel: &mut dyn Observe, network: &str) -> Result<Vec<Link>, Error> {
    Ok(Ends::look(kernel, network)?.finished)
}

/// Those of the ends that are still there as they were and whose names none of the leases has, which were
/// read after the ends: an ADD writes its lease before it makes its veth, a DEL removes them in the other
/// order.
///
/// # Errors
/// The kernel cannot be asked.
pub fn without_lease(
    kernel: &mut dyn Observe,
    ends: Vec<Link>,
    leased: &BTreeSet<String>,
) -> Result<Vec<Link>, Error> {
    let mut unleased = Vec::new();
    for link in ends.into_iter().filter(|link| !leased.contains(&link.dev.name)) {
        if still_stands(kernel, &link)? {
            unleased.push(link);
        }
    }
    Ok(unleased)
}

/// Whether a pair is still there as it was.
///
/// # Errors
/// The kernel cannot be asked.
pub fn still_stands(kernel: &mut dyn Observe, node_end: &Link) -> Result<bool, Error> {
    let now = kernel.link(&node_end.dev.name)?;
    Ok(now.is_some_and(|now| now.dev == node_end.dev && now.alias == node_end.alias))
}

/// The attachments that none of the leases has, which were read after the ends.
///
/// # Errors
/// The kernel cannot be asked.
pub fn attachments(
    kernel: &mut dyn Observe,
    network: &str,
    ends: Vec<Link>,
    leases: &[Record],
) -> Result<Vec<Record>, Error> {
    let leased = leases.iter().map(|lease| lease.attachment.veth.clone()).collect();
    let unleased = without_lease(kernel, ends, &leased)?;
    records(kernel, network, &unleased)
}

/// What the ends tell of their attachments, and the routes that lead to them.
///
/// # Errors
/// The kernel cannot be asked.
pub fn records(
    kernel: &mut dyn Observe,
    network: &str,
    ends: &[Link],
) -> Result<Vec<Record>, Error> {
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    let routes = kernel.our_routes()?.routes;
    let record = |link: &Link| {
        let attachment = holder(network, link)?;
        let to_it = routes.iter().filter(|(dev, _)| *dev == link.dev.index);
        let addresses = to_it.filter_map(|(_, Route { dst, .. })| {
            (IpNetwork::from(dst.ip()) == *dst).then_some(dst.ip())
        });
        let mut addresses: Vec<_> = addresses.collect();
        addresses.sort();
        Some(Record { attachment, addresses })
    };
    Ok(ends.iter().filter_map(record).collect())
}

/// Whether a record is what the kernel tells, and no lease: that knows where it was made.
pub fn is_unleased(holder: &Holder) -> bool {
    holder.netns == 0
}

/// Who an alias says it is: see [`crate::attachment::ends::alias`].
fn holder(network: &str, link: &Link) -> Option<Holder> {
    let alias = link.alias.as_deref()?.strip_prefix(&desired::alias(network, ""))?;
    let (pod, ifname) = alias.rsplit_once('/')?;
    let (namespace, name) = pod.split_once('/')?;
    let named = namespace != "-";
    Some(Holder {
        // Without a namespace it is the container's ID, or the name of a pod that has no namespace.
        container_id: if named { String::new() } else { name.into() },
        ifname: ifname.into(),
        veth: link.dev.name.clone(),
        netns: 0,
        pod: Pod {
            namespace: named.then(|| namespace.into()),
            name: named.then(|| name.into()),
            uid: None,
        },
        sandbox: None,
        is_shaped: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fake::Fake;
    use crate::kernel::{Change, Kernel as _};

    fn node() -> Fake {
        let mut node = Fake::default();
        for (name, alias, kind, addresses) in [
            (
                "veth1",
                "flatnet:pods/default/web/eth0",
                LinkKind::Veth,
                &["10.1.1.7", "fd00::7"][..],
            ),
            ("veth2", "flatnet:pods/-/c2/net1", LinkKind::Veth, &["10.1.1.8"]),
            ("veth3", "flatnet:others/-/c3/eth0", LinkKind::Veth, &["10.9.1.1"]),
            ("veth4", "flatnet:pods/-/c4/eth0", LinkKind::Veth, &["10.1.1.9"]),
            ("flat.7", "flatnet:pods/node-a", LinkKind::Other("vxlan".into()), &[]),
        ] {
            node.add(name, 1450, &[], kind);
            let dev = node.links[name].link.dev.clone();
            let route = |address: &&str| {
                let dst = IpNetwork::from(address.parse::<std::net::IpAddr>().unwrap());
                let (gateway, onlink, source, metric) = (None, false, None, None);
                Change::AddRoute(Route { dst, gateway, onlink, source, metric })
            };
            let alias = std::iter::once(Change::Alias(alias.into()));
            let changes: Vec<_> = alias.chain(addresses.iter().map(route)).collect();
            node.apply(&dev, &changes).unwrap();
        }
        node
    }

    #[test]
    fn what_no_lease_has_is_told_by_alias_and_routes() {
        let mut node = node();
        let attachment = Holder { veth: "veth4".into(), ..Holder::default() };
        let leases = [Record { attachment, addresses: Vec::new() }];
        let ends = node_ends(&mut node, "pods").unwrap();
        let found = attachments(&mut node, "pods", ends, &leases).unwrap();
        let told: Vec<String> = found
            .iter()
            .map(|record| format!("{} {:?}", record.attachment, record.addresses))
            .collect();
        assert_eq!(
            told,
            [
                "interface eth0 of pod default/web [10.1.1.7, fd00::7]",
                "interface net1 of container c2 [10.1.1.8]",
            ]
        );
    }

    #[test]
    fn what_did_not_come_to_its_end_is_known_by_name_and_group() {
        let mut node = Fake::default();
        let local = "192.0.2.1".parse().unwrap();
        let overlay = LinkKind::Vxlan(desired::vxlan(7, 4789, local));
        let others = LinkKind::Vxlan(desired::vxlan(8, 4789, local));
        for (name, alias, kind, group) in [
            ("flat.7", Some("flatnet:pods/node-a"), overlay, 0),
            ("flat.8", Some("flatnet:others/node-a"), others, 0),
            ("veth0123456789a", None, LinkKind::Veth, veth_group(7)),
            ("veth0123456789b", Some("flatnet:pods/-/c1/eth0"), LinkKind::Veth, veth_group(7)),
            ("veth0123456789c", None, LinkKind::Veth, veth_group(8)),
            ("veth0123456789d", None, LinkKind::Veth, 0),
            ("veth0123456789e", Some("another's"), LinkKind::Veth, veth_group(7)),
            ("veth0", None, LinkKind::Veth, veth_group(7)),
        ] {
            node.add(name, 1450, &[], kind);
            let link = &mut node.links.get_mut(name).unwrap().link;
            (link.alias, link.group) = (alias.map(str::to_owned), group);
        }
        let ends = Ends::look(&mut node, "pods").unwrap();
        let names = |ends: &[Link]| -> Vec<String> {
            ends.iter().map(|end| end.dev.name.clone()).collect()
        };
        assert_eq!(names(&ends.unfinished), ["veth0123456789a"]);
        assert_eq!(names(&ends.finished), ["veth0123456789b"]);
        // The ADD came to its end.
        let dev = node.links["veth0123456789a"].link.dev.clone();
        node.apply(&dev, &[Change::Alias("flatnet:pods/-/c2/eth0".into())]).unwrap();
        let left = without_lease(&mut node, ends.unfinished, &BTreeSet::new()).unwrap();
        assert_eq!(names(&left), [""; 0]);
    }

    #[test]
    fn what_goes_meanwhile_is_not_told() {
        let mut node = node();
        let ends = node_ends(&mut node, "pods").unwrap();
        for name in ["veth1", "veth2", "veth4"] {
            node.delete_link(name).unwrap();
        }
        assert_eq!(attachments(&mut node, "pods", ends, &[]).unwrap(), []);
    }
}
