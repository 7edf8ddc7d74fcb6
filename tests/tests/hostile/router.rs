//! Pods that play the router: advertisements, redirects and path MTUs, to their node and to other pods.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flatnet_tests::frame::{ethernet, icmp, icmp6};
use flatnet_tests::kernel;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Node;
use flatnet_tests::probe;
use flatnet_tests::raw::Port;
use flatnet_tests::wait::wait_for;
use serde_json::json;

use crate::scene::{ALL_NODES, Scene, cluster};
use crate::tally::Tally;

/// Types of ICMPv6 messages (RFC 4861).
const ADVERTISE_ROUTER: u8 = 134;
const REDIRECT_V6: u8 = 137;
/// Type and code of an ICMP redirect for a host (RFC 792).
const REDIRECT_V4: [u8; 2] = [5, 1];

/// An advertisement of a default router and of the prefix 2001:db8:bad::/64 for addresses.
fn advertisement(from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    const LIFETIME: [u8; 4] = [64, 0, 7, 8]; // hop limit, no flags, 1800 seconds
    let mut prefix = vec![3, 4, 64, 0xc0];
    prefix.extend([[0, 0, 0x0e, 0x10]; 2].concat()); // valid and preferred for an hour
    prefix.extend([0; 4]);
    prefix.extend(Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0).octets());
    icmp6(from, to, ADVERTISE_ROUTER, LIFETIME, &[vec![0; 8], prefix].concat())
}

/// What an advertisement or a redirect would change.
fn routes(netns: &Netns) -> Vec<String> {
    let views = ["ip -6 route show table all", "ip -6 addr", "ip route show table all"];
    views
        .iter()
        .flat_map(|view| netns.exec(view).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The same once duplicate address detection has ended: that adds the routes of a link-local address.
fn settled_routes(netns: &Netns) -> Vec<String> {
    let detecting = || netns.exec("ip -6 addr show tentative");
    wait_for("its end", || detecting().is_empty().then_some(()));
    routes(netns)
}

/// Whether the advertisement was believed.
fn believed(netns: &Netns) -> bool {
    routes(netns).iter().any(|line| line.contains("proto ra") || line.contains("2001:db8:bad:"))
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => panic!("{address}"),
    }
}

#[test]
fn no_node_believes_a_pods_router_advertisement() {
    let mut tally = Tally::new("router advertisements from a pod");
    let scene = Scene::new(false);
    let (node, veth) = (&scene.node().netns, scene.attacker.veth());
    let all = [node, &scene.neighbour.netns, &scene.target.netns, &scene.cluster.nodes[1].netns];
    let before = all.map(settled_routes);
    let link_local = [1, 0xbad].map(|n| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n));
    let own = v6(scene.attacker.v6());
    let to = scene.node().vtep_addresses()[1];
    let to = [to, scene.neighbour.v6(), scene.target.v6()].map(v6).into_iter().chain([ALL_NODES.0]);
    for to in to {
        for from in link_local.into_iter().chain([own]) {
            let mac = if to.is_multicast() { ALL_NODES.1 } else { scene.gateway };
            scene.send_all(&[ethernet(mac, scene.port.mac, &advertisement(from, to))]);
            tally.count(&format!("{from} to {to}"), all.map(routes) != before);
        }
    }
    tally.finish();
    // The same frame where a node is told to listen and has no rules.
    let frame = ethernet(ALL_NODES.1, scene.port.mac, &advertisement(link_local[1], ALL_NODES.0));
    kernel::set_sysctl(node, &format!("ipv6/conf/{veth}/accept_ra"), "2");
    scene.send_all(std::slice::from_ref(&frame));
    assert!(!believed(node), "the rules alone do not stop it");
    node.exec("nft delete table inet flatnet");
    kernel::set_sysctl(node, &format!("ipv6/conf/{veth}/accept_ra"), "0");
    scene.send_all(std::slice::from_ref(&frame));
    assert!(!believed(node), "the setting alone does not stop it");
    kernel::set_sysctl(node, &format!("ipv6/conf/{veth}/accept_ra"), "2");
    scene.send_all(&[frame]);
    assert!(believed(node), "the advertisement is ill-formed");
}

#[test]
fn a_pod_takes_no_router_advertisement() {
    let mut tally = Tally::new("router advertisements on a pod's own link");
    let scene = Scene::new(false);
    let pod = &scene.neighbour;
    let before = settled_routes(&pod.netns);
    // Only the node itself can send there: it plays the attacker here.
    let port = Port::open(&scene.node().netns, pod.veth());
    let inside = Port::open(&pod.netns, "eth0").mac;
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);
    for (mac, to) in [(ALL_NODES.1, ALL_NODES.0), (inside, v6(pod.v6()))] {
        port.send(&ethernet(mac, port.mac, &advertisement(router, to)));
        probe::ping(&pod.netns, scene.node().vtep);
        tally.count(&format!("to {to}"), routes(&pod.netns) != before);
    }
    kernel::set_sysctl(&pod.netns, "ipv6/conf/eth0/accept_ra", "2");
    port.send(&ethernet(ALL_NODES.1, port.mac, &advertisement(router, ALL_NODES.0)));
    probe::ping(&pod.netns, scene.node().vtep);
    assert!(believed(&pod.netns), "the advertisement is ill-formed");
    tally.finish();
}

/// A redirect that says: for the target behind `gateway`, go by `better`.
fn redirect(scene: &Scene, from: Ipv4Addr, better: Ipv4Addr) -> Vec<u8> {
    let (IpAddr::V4(own), IpAddr::V4(target)) =
        (scene.node().vtep_addresses()[0], scene.target.v4())
    else {
        unreachable!()
    };
    // An echo reply of the node's own: the kernel asks no socket about it.
    let cause = icmp(own, target, [0, 0], [0; 4], &[]);
    scene.frame(&icmp(from, own, REDIRECT_V4, better.octets(), &cause))
}

#[test]
fn a_node_takes_no_redirect_from_a_pod() {
    let mut tally = Tally::new("redirects from a pod");
    let scene = Scene::of(cluster(3, false));
    let node = &scene.node().netns;
    let way = || node.exec(&format!("ip route get {}", scene.target.v4()));
    let before = way();
    assert!(before.contains("via 10.244.2.0"), "{before}");
    // The third node's VTEP address is a neighbour of the overlay device: a redirect to it is taken
    // at once, if it comes from the present gateway.
    let [gateway, better] = [2, 3].map(|n| Ipv4Addr::new(10, 244, n, 0));
    let IpAddr::V4(own) = scene.attacker.v4() else { unreachable!() };
    for (from, better) in [(gateway, better), (own, better), (gateway, own), (own, own)] {
        scene.send_all(&[redirect(&scene, from, better)]);
        tally.count(&format!("{from} says by {better}"), way() != before);
    }
    tally.finish();
    node.exec("nft delete table inet flatnet");
    let veth = scene.attacker.veth();
    kernel::set_sysctl(node, &format!("ipv4/conf/{veth}/rp_filter"), "0");
    scene.port.send(&redirect(&scene, gateway, better));
    probe::ping(&scene.attacker.netns, scene.neighbour.v4());
    assert!(way().contains("via 10.244.3.0"), "the redirect is ill-formed: {}", way());
}

#[test]
fn a_node_takes_no_ipv6_redirect_from_a_pod() {
    let mut tally = Tally::new("IPv6 redirects from a pod");
    let scene = Scene::new(false);
    let (node, veth) = (&scene.node().netns, scene.attacker.veth());
    let [router, false_router, gone] =
        ["fe80::5", "fe80::bad", "2001:db8:5::1"].map(|text| text.parse::<Ipv6Addr>().expect("v6"));
    // What would be redirected: something that an administrator has put behind the pod.
    node.exec(&format!("ip -6 route add 2001:db8:5::/64 via {router} dev {veth} onlink"));
    let way = || node.exec(&format!("ip -6 route get {gone}"));
    let before = way();
    let to = v6(scene.node().vtep_addresses()[1]);
    let subject = [false_router.octets(), gone.octets()].concat();
    let option = [&[2, 1][..], &scene.port.mac].concat();
    let frame = scene.frame(&icmp6(router, to, REDIRECT_V6, [0; 4], &[subject, option].concat()));
    scene.send_all(std::slice::from_ref(&frame));
    tally.count("the gateway says by another", way() != before);
    tally.finish();
    node.exec("nft delete table inet flatnet");
    kernel::set_sysctl(node, &format!("ipv6/conf/{veth}/forwarding"), "0");
    scene.send_all(&[frame]);
    assert!(way().contains("via fe80::bad"), "the redirect is ill-formed: {}", way());
}

/// An ICMP error of a pod that says: a packet of the node's to `lost` was too large.
fn too_large(scene: &Scene, to: IpAddr, lost: IpAddr) -> Vec<u8> {
    match (scene.attacker.v4(), scene.attacker.v6(), to, lost) {
        (IpAddr::V4(own), _, IpAddr::V4(to), IpAddr::V4(lost)) => {
            let cause = icmp(to, lost, [0, 0], [0; 4], &[]);
            scene.frame(&icmp(own, to, [3, 4], [0, 0, 2, 0x58], &cause))
        }
        (_, IpAddr::V6(own), IpAddr::V6(to), IpAddr::V6(lost)) => {
            let cause = icmp6(to, lost, 129, [0; 4], &[]);
            scene.frame(&icmp6(own, to, 2, [0, 0, 5, 0], &cause))
        }
        _ => unreachable!(),
    }
}

/// To the node's addresses, about the ways to `lost`.
fn send_too_large(scene: &Scene, node: &Node, lost: &[IpAddr]) {
    for lost in lost {
        let own = node.vtep_addresses().into_iter().chain([node.vtep]);
        for own in own.filter(|own| own.is_ipv4() == lost.is_ipv4()) {
            scene.port.send(&too_large(scene, own, *lost));
        }
    }
}

/// Whether the node believes that the path to an address carries less than its devices.
fn lowered(node: &Node, to: IpAddr) -> bool {
    node.netns.exec(&format!("ip route get {to}")).contains(" mtu ")
}

#[test]
fn a_node_takes_no_path_mtu_from_a_pod() {
    let mut tally = Tally::new("path MTUs from a pod");
    for v6_underlay in [false, true] {
        let scene = Scene::new(v6_underlay);
        let node = scene.node();
        let peer = scene.cluster.nodes[1].vtep;
        let pods = [&scene.target, &scene.neighbour].into_iter().flat_map(|pod| pod.addresses());
        let lost: Vec<IpAddr> = pods.chain([peer]).collect();
        let send_all = || {
            send_too_large(&scene, node, &lost);
            // Comes after them, and is small enough for any path.
            probe::ping(&scene.attacker.netns, scene.neighbour.v4());
        };
        send_all();
        lost.iter().for_each(|lost| tally.count(&lost.to_string(), lowered(node, *lost)));
        node.netns.exec("nft delete table inet flatnet");
        send_all();
        assert!(lost.iter().all(|lost| lowered(node, *lost)), "the messages are ill-formed");
    }
    tally.finish();
}

/// Another node's VTEP is reached over the underlay, masqueraded or not, its address on the overlay
/// by the overlay. That node may hear of ways to pods, which routers on the way may know.
#[test]
fn another_node_takes_no_path_mtu_of_the_underlay_from_a_pod() {
    let mut tally = Tally::new("path MTUs from another node's pod");
    for (v6_underlay, masquerade) in [(false, false), (false, true), (true, false), (true, true)] {
        let scene = Scene::with(v6_underlay, json!(masquerade));
        let [a, b] = &scene.cluster.nodes[..] else { unreachable!() };
        for (n, node) in [a, b].into_iter().enumerate() {
            node.netns.exec(&format!("ip addr add fe80::50:{n}/64 dev under0 nodad"));
        }
        let beyond: IpAddr = if v6_underlay {
            "fd00:50::c8".parse().expect("v6")
        } else {
            [192, 168, 50, 200].into()
        };
        let lost = [a.vtep, beyond];
        let send_all = || {
            send_too_large(&scene, b, &lost);
            // Comes after them, by the underlay and by the overlay.
            probe::ping(&scene.attacker.netns, scene.target.v4());
            if masquerade {
                probe::ping(&scene.attacker.netns, b.vtep);
            }
        };
        send_all();
        lost.iter().for_each(|lost| tally.count(&lost.to_string(), lowered(b, *lost)));
        for node in [a, b] {
            node.netns.exec("nft delete table inet flatnet");
        }
        send_all();
        assert!(lost.iter().all(|lost| lowered(b, *lost)), "the messages are ill-formed");
    }
    tally.finish();
}
