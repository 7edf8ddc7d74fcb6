//! What should stand in the kernel for the overlay: a pure function of the range file.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use flatnet_conf::{NetworkConf, Node, Range, RangeFile};
use ipnetwork::IpNetwork;

use crate::firewall::{Masquerade, Policy};
use crate::identity::{
    LONGEST_ALIAS, SOURCE_PORTS, overlay_group, overlay_name, route_metric, unreachable_metric,
    veth_group, vtep_mac,
};
use crate::kernel::{FdbEntry, Link, Neighbour, Route, Unreachable, Vxlan, VxlanLink};
use crate::overlay::gateway::GATEWAY_V4;

/// The overlay of one network on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The VXLAN device.
    pub link: VxlanLink,
    /// Its alias, which tells whose it is.
    pub alias: String,
    /// Its addresses: the node's VTEP address of each family, /32 or /128.
    pub addresses: Vec<IpNetwork>,
    /// One route to each range of each peer, and which way it goes.
    pub routes: Vec<(Via, Route)>,
    /// What ends here because no node has it.
    pub unreachable: Vec<Unreachable>,
    /// The MAC of each peer's VTEP addresses.
    pub neighbours: Vec<Neighbour>,
    /// The underlay address behind each peer's MAC.
    pub fdb: Vec<FdbEntry>,
}

/// Which way packets to a peer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Via {
    /// Encapsulated, over the VXLAN device.
    Overlay,
    /// As they are, over the uplink of this index.
    Uplink(u32),
}

/// Computes the overlay that `network` wants on `node`.
///
/// `mtu` is the overlay's MTU in bytes; `adjacent` tells by which uplink each peer is reached with
/// no router between, for those that are. Peers' ranges of a family that this node has no range of
/// are left out: none of its pods could answer.
pub fn overlay(
    network: &str,
    file: &RangeFile,
    node: &Node,
    mtu: u32,
    adjacent: &HashMap<IpAddr, u32>,
) -> Overlay {
    let own = node.vtep_addresses();
    let mut overlay = Overlay {
        link: device(file, node, mtu, None),
        alias: alias(network, &node.name),
        addresses: own.iter().map(|ip| IpNetwork::from(*ip)).collect(),
        routes: Vec::with_capacity(file.nodes.len()),
        unreachable: unreachable(file, node),
        neighbours: Vec::with_capacity(file.nodes.len()),
        fdb: Vec::with_capacity(file.nodes.len()),
    };
    for peer in file.nodes.iter().filter(|peer| peer.name != node.name) {
        let uplink = adjacent.get(&peer.vtep).filter(|_| file.direct_routing);
        add_peer(&mut overlay, file.vni, &own, peer, uplink.copied());
    }
    overlay
}

/// The VXLAN device of a node, with an MTU in bytes, whose underlay may be in a VRF (by index).
pub fn device(file: &RangeFile, node: &Node, mtu: u32, vrf: Option<u32>) -> VxlanLink {
    VxlanLink {
        name: overlay_name(file.vni),
        mac: vtep_mac(file.vni, node.vtep),
        group: overlay_group(file.vni),
        mtu,
        vxlan: Vxlan { vrf, ..vxlan(file.vni, file.port, node.vtep) },
    }
}

/// Parameters of the VXLAN device of a node with this VTEP, if that is in no VRF.
pub fn vxlan(vni: u32, port: u16, vtep: IpAddr) -> Vxlan {
    let (local, source_ports) = (Some(vtep), SOURCE_PORTS);
    Vxlan { vni, local, port, source_ports, learning: false, special: false, vrf: None }
}

/// Routes that end what goes to an address of the network that no pod has, a pod that is gone for
/// one. By the default route it would go to a router, which knows the way to the cluster's ranges,
/// and come back, until its hops are used up.
///
/// The node's own ranges, and `clusterCIDRs`: a better route leads to each pod and each peer. A
/// peer's range that is listed there by itself has no rest. Families that the node has no range of
/// are left out, as for peers.
pub fn unreachable(file: &RangeFile, node: &Node) -> Vec<Unreachable> {
    let own: BTreeSet<IpNetwork> = node.ranges.iter().map(Range::subnet).collect();
    let mut all = own.clone();
    // Where the file lists none they are all ranges: ten thousand need not be compared.
    if !file.subnets().eq(file.cluster_cidrs.iter().copied()) {
        let listed = file.cluster_cidrs.iter().copied();
        all.extend(listed.filter(|dst| own.iter().any(|own| own.is_ipv4() == dst.is_ipv4())));
        for subnet in file.subnets().filter(|subnet| !own.contains(subnet)) {
            all.remove(&subnet);
        }
    }
    let metric = unreachable_metric(file.vni);
    all.into_iter().map(|dst| Unreachable { dst, metric }).collect()
}

/// What a network's configuration asks to be masqueraded.
pub fn masquerade(conf: &NetworkConf) -> Masquerade {
    match (conf.ip_masq, conf.ip_masq_nodes) {
        (false, _) => Masquerade::Off,
        (true, true) => Masquerade::On,
        (true, false) => Masquerade::SparesNodes,
    }
}

/// What `network` wants of the packet filter on `node`, where peers' packets come in by the devices of
/// these names.
pub fn policy(
    network: &str,
    file: &RangeFile,
    node: &Node,
    underlay: &BTreeSet<String>,
    masquerade: Masquerade,
) -> Policy {
    Policy {
        network: network.to_owned(),
        vni: file.vni,
        port: file.port,
        group: veth_group(file.vni),
        overlay_group: overlay_group(file.vni),
        vtep: node.vtep,
        vteps: file.nodes.iter().map(|node| node.vtep).collect(),
        underlay: underlay.iter().cloned().collect(),
        gateway: GATEWAY_V4,
        cluster_cidrs: file.cluster_cidrs.clone(),
        masquerade,
        fast_path: false,
    }
}

/// Whether a device bears an alias of a network, on whatever node.
pub fn is_of(network: &str) -> impl Fn(&Link) -> bool + use<> {
    let ours = alias(network, "");
    move |link| link.alias.as_ref().is_some_and(|alias| alias.starts_with(&ours))
}

/// The alias of a network's overlay device on a node.
pub fn alias(network: &str, node: &str) -> String {
    // Both names are ASCII.
    let mut alias = format!("flatnet:{network}/{node}");
    alias.truncate(LONGEST_ALIAS);
    alias
}

/// Also a peer that is routed to directly has its entries on the VXLAN device: its pods of the other
/// family need them, and packets find their way while nodes switch one by one.
fn add_peer(overlay: &mut Overlay, vni: u32, own: &[IpAddr], peer: &Node, uplink: Option<u32>) {
    let mac = vtep_mac(vni, peer.vtep);
    let metric = route_metric(vni, peer.vtep);
    overlay.fdb.push(FdbEntry { mac, vtep: peer.vtep });
    for gateway in peer.vtep_addresses() {
        let Some(source) = own.iter().find(|own| own.is_ipv4() == gateway.is_ipv4()) else {
            continue;
        };
        overlay.neighbours.push(Neighbour { address: gateway, mac });
        let direct = uplink.filter(|_| peer.vtep.is_ipv4() == gateway.is_ipv4());
        let (via, gateway, onlink) = match direct {
            Some(uplink) => (Via::Uplink(uplink), peer.vtep, false),
            None => (Via::Overlay, gateway, true),
        };
        let ranges = peer.ranges.iter().map(Range::subnet);
        for dst in ranges.filter(|subnet| subnet.is_ipv4() == gateway.is_ipv4()) {
            let (gateway, source, metric) = (Some(gateway), Some(*source), Some(metric));
            overlay.routes.push((via, Route { dst, gateway, onlink, source, metric }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn file() -> RangeFile {
        let text = r#"{"version":1,"vni":7,"nodes":[
            {"name":"a","vtep":"192.0.2.1","ranges":["10.1.1.0/24","fd00:1::/64"]},
            {"name":"b","vtep":"192.0.2.2","ranges":["10.1.2.0/24","10.1.9.0/25"]},
            {"name":"c","vtep":"192.0.2.3","ranges":["fd00:3::/64"]}]}"#;
        RangeFile::parse(Path::new("t.json"), text.as_bytes()).unwrap()
    }

    fn of(node: &str) -> Overlay {
        let file = file();
        overlay("pods", &file, file.node(node).unwrap(), 1450, &HashMap::new())
    }

    #[test]
    fn an_adjacent_peer_is_routed_to_directly_where_that_is_asked_for() {
        let mut file = file();
        let adjacent = HashMap::from([(IpAddr::from([192, 0, 2, 2]), 3)]);
        let node = file.node("a").unwrap().clone();
        let plain = overlay("pods", &file, &node, 1450, &adjacent);
        assert_eq!(plain, of("a"), "not asked for");

        file.direct_routing = true;
        let direct = overlay("pods", &file, &node, 1450, &adjacent);
        let ways: Vec<_> = direct
            .routes
            .iter()
            .map(|(via, r)| (*via, r.dst.to_string(), r.gateway.unwrap().to_string(), r.onlink))
            .collect();
        let way = |via, dst: &str, gateway: &str| {
            (via, dst.to_owned(), gateway.to_owned(), via == Via::Overlay)
        };
        assert_eq!(
            ways,
            [
                way(Via::Uplink(3), "10.1.2.0/24", "192.0.2.2"),
                way(Via::Uplink(3), "10.1.9.0/25", "192.0.2.2"),
                way(Via::Overlay, "fd00:3::/64", "fd00:3::"),
            ]
        );
        // What marks a route as this network's stays: its source and its metric.
        for ((_, direct), (_, plain)) in direct.routes.iter().zip(&plain.routes) {
            assert_eq!((direct.source, direct.metric), (plain.source, plain.metric));
        }
        assert_eq!((direct.fdb, direct.neighbours), (plain.fdb, plain.neighbours));
    }

    #[test]
    fn what_no_node_has_ends_here() {
        let of = |cidrs: &str, node: &str| -> Vec<String> {
            let text = format!(
                r#"{{"version":1,"vni":7,{cidrs}"nodes":[
                {{"name":"a","vtep":"192.0.2.1","ranges":["10.1.1.0/24","fd00:1::/64"]}},
                {{"name":"b","vtep":"192.0.2.2","ranges":["10.1.2.0/24","10.1.9.0/25"]}},
                {{"name":"c","vtep":"192.0.2.3","ranges":["fd00:3::/64"]}}]}}"#
            );
            let file = RangeFile::parse(Path::new("t.json"), text.as_bytes()).unwrap();
            let of = unreachable(&file, file.node(node).unwrap());
            assert!(of.iter().all(|route| route.metric == 0xfe00_0007), "{of:?}");
            of.iter().map(|route| route.dst.to_string()).collect()
        };
        // The union of all ranges has no rest.
        assert_eq!(of("", "a"), ["10.1.1.0/24", "fd00:1::/64"]);
        assert_eq!(of("", "b"), ["10.1.2.0/24", "10.1.9.0/25"]);
        let wide = r#""clusterCIDRs":["10.1.0.0/16","fd00::/16"],"#;
        assert_eq!(of(wide, "a"), ["10.1.0.0/16", "10.1.1.0/24", "fd00::/16", "fd00:1::/64"]);
        assert_eq!(of(wide, "c"), ["fd00::/16", "fd00:3::/64"], "no IPv4 range of its own");
        // One is a peer's, one this node's, one has a rest.
        let mixed = r#""clusterCIDRs":["10.1.2.0/24","10.1.9.0/24","10.1.1.0/24","fd00::/16"],"#;
        let expected = ["10.1.1.0/24", "10.1.9.0/24", "fd00::/16", "fd00:1::/64"];
        assert_eq!(of(mixed, "a"), expected);
    }

    #[test]
    fn every_peer_has_route_neighbour_and_fdb_entry() {
        let overlay = of("a");
        let routes: Vec<_> = overlay
            .routes
            .iter()
            .map(|(via, r)| {
                assert_eq!(*via, Via::Overlay);
                (r.dst.to_string(), r.gateway.unwrap().to_string(), r.source.unwrap().to_string())
            })
            .collect();
        let expected = [
            ("10.1.2.0/24", "10.1.2.0", "10.1.1.0"),
            ("10.1.9.0/25", "10.1.2.0", "10.1.1.0"),
            ("fd00:3::/64", "fd00:3::", "fd00:1::"),
        ];
        assert_eq!(routes, expected.map(|(d, g, s)| (d.into(), g.into(), s.into())));
        let mac = |last| vtep_mac(7, IpAddr::from([192, 0, 2, last]));
        let fdb = [2, 3].map(|last| FdbEntry { mac: mac(last), vtep: [192, 0, 2, last].into() });
        assert_eq!(overlay.fdb, fdb);
        assert_eq!(
            overlay.neighbours,
            [
                Neighbour { address: "10.1.2.0".parse().unwrap(), mac: mac(2) },
                Neighbour { address: "fd00:3::".parse().unwrap(), mac: mac(3) },
            ]
        );
    }

    #[test]
    fn a_family_without_own_range_is_left_out() {
        let overlay = of("b");
        assert_eq!(overlay.addresses, ["10.1.2.0/32".parse().unwrap()]);
        assert_eq!(overlay.routes.len(), 1, "a's IPv4 range only: {:?}", overlay.routes);
        assert_eq!(overlay.fdb.len(), 2);
    }

    #[test]
    fn the_device_is_fixed_by_vni_and_vtep() {
        let overlay = of("c");
        assert_eq!(overlay.link.name, "flat.7");
        assert_eq!(overlay.link.mac, vtep_mac(7, [192, 0, 2, 3].into()));
        assert_eq!(overlay.alias, "flatnet:pods/c");
        assert_eq!(overlay.link.vxlan.local, Some([192, 0, 2, 3].into()));
        assert_eq!((overlay.link.vxlan.port, overlay.link.vxlan.learning), (4789, false));
    }
}
