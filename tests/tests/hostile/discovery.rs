//! Forged answers to questions that were not asked: ARP and neighbour discovery. Pods and nodes know each
//! other's MAC for good, so neither may learn one from a frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flatnet_tests::frame::{BROADCAST, Mac, arp, ethernet, icmp6};
use flatnet_tests::kernel;

use crate::scene::{ALL_NODES, Scene, acquaintances};
use crate::tally::Tally;

/// A MAC that no device has.
const FALSE_MAC: Mac = [2, 0, 0, 0, 0xba, 0xd0];
/// Types of ICMPv6 messages (RFC 4861).
const SOLICIT_ROUTER: u8 = 133;
const SOLICIT: u8 = 135;
const ADVERTISE: u8 = 136;

/// Everyone whose MAC the attacker might want to be taken for.
fn victims(scene: &Scene) -> Vec<IpAddr> {
    let pods = [&scene.neighbour, &scene.target, &scene.attacker];
    let nodes = scene.cluster.nodes.iter();
    let nodes = nodes.flat_map(|node| node.vtep_addresses().into_iter().chain([node.vtep]));
    let gateways = ["169.254.1.1", "fe80::1", "192.168.50.77", "fe80::77", "fd00:50::77"];
    let gateways = gateways.map(|text| text.parse().expect("an address"));
    pods.iter().flat_map(|pod| pod.addresses()).chain(nodes).chain(gateways).collect()
}

/// ARP that claims an address for the false MAC: gratuitous, both as question and as answer, asked of
/// everyone the node is, to the node and to all.
fn forged_arp(scene: &Scene, claimed: Ipv4Addr) -> Vec<Vec<u8>> {
    let asked = [scene.node().vtep, scene.node().vtep_addresses()[0]];
    let asked = asked.into_iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let targets: Vec<Ipv4Addr> = asked.chain([claimed, Ipv4Addr::new(169, 254, 1, 1)]).collect();
    let mut frames = Vec::new();
    for to in [scene.gateway, BROADCAST] {
        for operation in [1, 2] {
            for target in &targets {
                let (sender, target) = ((FALSE_MAC, claimed), (scene.gateway, *target));
                frames.push(arp((to, scene.port.mac), operation, sender, target));
            }
        }
    }
    frames
}

/// A neighbour discovery message with the false MAC as the option of this kind (1 source, 2 target).
fn discovery(
    scene: &Scene,
    (from, to): (Ipv6Addr, Ipv6Addr),
    kind: u8,
    word: [u8; 4],
    subject: &[u8],
    option: u8,
) -> Vec<u8> {
    let rest = [subject, &[option, 1], &FALSE_MAC].concat();
    let mac = if to.is_multicast() { ALL_NODES.1 } else { scene.gateway };
    ethernet(mac, scene.port.mac, &icmp6(from, to, kind, word, &rest))
}

/// Neighbour and router discovery that claims an address for the false MAC.
fn forged_discovery(scene: &Scene, claimed: Ipv6Addr) -> Vec<Vec<u8>> {
    const OVERRIDE: [u8; 4] = [0xe0, 0, 0, 0]; // router, solicited, override
    let IpAddr::V6(own) = scene.attacker.v6() else { unreachable!() };
    let IpAddr::V6(node) = scene.node().vtep_addresses()[1] else { unreachable!() };
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xbad);
    let gateway = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let mut frames = Vec::new();
    for from in [own, link_local, claimed] {
        for to in [node, ALL_NODES.0] {
            let message = |kind, word, subject: &[u8], option| {
                discovery(scene, (from, to), kind, word, subject, option)
            };
            frames.push(message(ADVERTISE, OVERRIDE, &claimed.octets(), 2));
            frames.push(message(SOLICIT, [0; 4], &node.octets(), 1));
            frames.push(message(SOLICIT, [0; 4], &gateway.octets(), 1));
            frames.push(message(SOLICIT_ROUTER, [0; 4], &[], 1));
        }
    }
    frames
}

#[test]
fn no_node_or_pod_learns_a_mac_from_a_pod() {
    let mut tally = Tally::new("forged ARP and neighbour discovery");
    // With 2, as distributions set it, the strict filter of the pod's device is a loose one.
    for (v6_underlay, rp_filter) in [(false, "0"), (false, "2"), (true, "0")] {
        let scene = Scene::new(v6_underlay);
        kernel::set_sysctl(&scene.node().netns, "ipv4/conf/all/rp_filter", rp_filter);
        for victim in victims(&scene) {
            let frames = match victim {
                IpAddr::V4(address) => forged_arp(&scene, address),
                IpAddr::V6(address) => forged_discovery(&scene, address),
            };
            scene.send_all(&frames);
            // Whether new or in the place of a true one.
            let learnt: Vec<String> =
                scene.acquaintances().into_iter().filter(|entry| is_false(entry)).collect();
            for n in 1..=frames.len() {
                let what = format!("{victim}, frame {n}, all.rp_filter={rp_filter}: {learnt:?}");
                tally.count(&what, !learnt.is_empty());
            }
        }
        scene.count_eavesdropping(&mut tally);
        believed_where_nothing_guards(&scene);
    }
    tally.finish();
}

/// Whether an entry has the false MAC.
fn is_false(entry: &str) -> bool {
    entry.contains("02:00:00:00:ba:d0")
}

/// The same frames, once each guard is taken away.
fn believed_where_nothing_guards(scene: &Scene) {
    let (node, veth) = (&scene.node().netns, scene.attacker.veth());
    node.exec("nft delete table inet flatnet");
    node.exec(&format!("ip addr add fe80::1/64 dev {veth} nodad"));
    kernel::set_sysctl(node, &format!("ipv4/conf/{veth}/arp_accept"), "1");
    scene.send_all(&forged_arp(scene, Ipv4Addr::new(192, 168, 50, 77)));
    scene.send_all(&forged_discovery(scene, "fe80::77".parse().expect("an address")));
    let known = acquaintances(node);
    for claimed in ["192.168.50.77", "fe80::77", "fe80::bad"] {
        let entry = format!("\"{claimed}\" dev \"{veth}\" 02:00:00:00:ba:d0");
        assert!(known.iter().any(|known| known.ends_with(&entry)), "{entry}: {known:#?}");
    }
}
