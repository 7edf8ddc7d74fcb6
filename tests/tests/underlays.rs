//! Underlays of other devices than a cable's end, and such devices beside one. Kernels that were built
//! for a single purpose lack them: `make test-vm` runs these tests on one that has them.

use std::net::{IpAddr, UdpSocket};

use flatnet_tests::carrier::Carrier;
use flatnet_tests::cli::{document, flatnet};
use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::frame::{ethernet, udp, vxlan};
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe::{self, Counter};
use flatnet_tests::program::bin_dir;
use flatnet_tests::wait::wait_for;
use flatnet_tests::{kernel, sync};
use serde_json::json;

/// What every underlay must carry, of both families, with the MTU of the pods on each.
fn carries(carrier: Carrier, mtus: [u32; 2]) {
    for (v6_underlay, mtu) in [false, true].into_iter().zip(mtus) {
        let cluster = Cluster::on(carrier, Settings { nodes: 2, mtu: 1500, v6_underlay });
        cluster.begin_with_the_first();
        let pods: Vec<Pod> = cluster.nodes.iter().map(|node| node.add("pod")).collect();
        for node in &cluster.nodes {
            let link = kernel::link(&node.netns, &node.overlay()).expect("an overlay device");
            assert_eq!(link["mtu"], mtu, "{carrier:?}: {link}");
        }
        all_sizes_pass(&pods[0], &pods[1], mtu);
        all_sizes_pass(&pods[1], &pods[0], mtu);
        // Before the attack: that ends with the node's rules gone.
        for node in &cluster.nodes {
            assert_sound(node);
        }
        an_outsider_is_not_heard(&cluster, &pods);
        cluster.nodes[0].del(&pods[0]).silent();
        cluster.nodes[0].assert_no_attachment();
    }
}

/// Asserts that `from` reaches `to`, with a packet of the MTU and with a stream.
fn all_sizes_pass(from: &Pod, to: &Pod, mtu: u32) {
    for address in to.addresses() {
        let fits = probe::ping_of_size(&from.netns, address, mtu);
        assert!(fits.status.success(), "{mtu} bytes to {address}: {fits:?}");
        let over = probe::ping_of_size(&from.netns, address, mtu + 1);
        let said = String::from_utf8_lossy(&over.stderr).into_owned();
        assert!(!over.status.success() && said.contains("message too long"), "{said}");
        probe::transfer(&from.netns, &to.netns, address, 100_000);
    }
}

/// Asserts that nothing is to be mended on a node, and nothing to be applied.
fn assert_sound(node: &Node) {
    let bin = bin_dir().display().to_string();
    let found = document(&flatnet(node, "doctor", &["--json", "--cni-bin-dir", &bin]), 0);
    assert_eq!((&found["findings"], &found["failures"]), (&json!([]), &json!([])), "{found:#}");
    assert_eq!(sync::plan(node), [""; 0]);
}

/// Asserts that a node hears VXLAN of its peer and none of another host of the underlay, and that
/// nothing but the node's rules makes the difference.
fn an_outsider_is_not_heard(cluster: &Cluster, pods: &[Pod]) {
    let (node, pod, peer) = (&cluster.nodes[0], &pods[0], &pods[1]);
    let address: IpAddr = match node.vtep {
        IpAddr::V4(_) => [192, 168, 50, 200].into(),
        IpAddr::V6(_) => [0xfd00, 0x50, 0, 0, 0, 0, 0, 200].into(),
    };
    let outsider = cluster.host(address);
    probe::ping(&outsider, node.vtep);
    let heard = |source: IpAddr| {
        let family = if source.is_ipv4() { "ip" } else { "ip6" };
        Counter::new(&pod.netns, "input", &format!("{family} saddr {source}"))
    };
    for (inner, honest) in pod.addresses().into_iter().zip(peer.addresses()) {
        let free = free(inner);
        let (forged, true_ones) = (heard(free), heard(honest));
        forge(&outsider, node, free, inner);
        // The node has had it before this is answered, and the pod would have before the next.
        probe::ping(&outsider, node.vtep);
        probe::ping(&peer.netns, inner);
        assert_eq!((forged.packets(), true_ones.packets()), (0, 1), "{free} to {inner}");
    }
    node.netns.exec("nft delete table inet flatnet");
    for inner in pod.addresses() {
        let free = free(inner);
        let forged = heard(free);
        forge(&outsider, node, free, inner);
        wait_for("the forged datagram", || (forged.packets() == 1).then_some(()));
    }
}

/// A source that no pod has, of the peer's range: what is routed nowhere is not heard anyway.
fn free(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => [10, 244, 2, 66].into(),
        IpAddr::V6(_) => [0xfd00, 0x10, 0x244, 2, 0, 0, 0, 0x66].into(),
    }
}

/// Sends VXLAN from a host to a node: around a datagram, with the right VNI and inner MAC.
fn forge(host: &Netns, node: &Node, source: IpAddr, target: IpAddr) {
    let to = kernel::mac(&node.netns, &node.overlay());
    let inner = udp((source, 4444).into(), (target, 4444).into(), b"forged");
    let payload = vxlan(node.network.vni, &ethernet(to, [2, 0, 0, 0, 0, 9], &inner));
    let any: IpAddr = if node.vtep.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = host.bound(|| UdpSocket::bind((any, 50_000)));
    socket.send_to(&payload, (node.vtep, 4789)).expect("send");
}

#[test]
#[ignore = "needs bonding and VLAN: make test-vm runs it"]
fn a_vlan_of_a_bond_carries_the_overlay() {
    carries(Carrier::VlanOfBond, [1450, 1430]);
}

#[test]
#[ignore = "needs WireGuard: make test-vm runs it"]
fn wireguard_carries_the_overlay() {
    carries(Carrier::WireGuard, [1370, 1350]);
}

#[test]
#[ignore = "needs VRF: make test-vm runs it"]
fn a_vrf_carries_the_overlay() {
    carries(Carrier::Vrf, [1450, 1430]);
}

#[test]
#[ignore = "needs MACsec: make test-vm runs it"]
fn macsec_carries_the_overlay() {
    carries(Carrier::Macsec, [1418, 1398]);
}

#[test]
#[ignore = "needs ipvlan: make test-vm runs it"]
fn ipvlan_carries_the_overlay() {
    carries(Carrier::Ipvlan, [1450, 1430]);
}

/// How each device is made: of all kinds that libraries know least.
const STRANGE: [&str; 19] = [
    "ip link add strange0 type team",
    "ip link add link under0 strange0 type macsec",
    "ip link add link under0 strange0 type ipvlan mode l3s",
    "ip link add link under0 strange0 type ipvtap",
    "ip link add link under0 strange0 type macvlan mode private",
    "ip link add link under0 strange0 type macvtap",
    "ip link add link under0 strange0 type vlan id 7 protocol 802.1ad",
    "ip tuntap add strange0 mode tun",
    "ip tuntap add strange0 mode tap",
    "ip link add strange0 type bond",
    "ip link add strange0 type wireguard",
    "ip link add strange0 type dummy",
    "ip link add strange0 type ifb",
    "ip link add strange0 type nlmon",
    "ip link add strange0 type gre local 192.168.50.1 remote 192.168.50.9",
    "ip link add strange0 type vti local 192.168.50.1 remote 192.168.50.9 key 7",
    "ip link add strange0 type sit local 192.168.50.1 remote 192.168.50.9",
    "ip link add strange0 type geneve id 7 remote 192.168.50.9",
    "ip link add strange0 type xfrm dev under0 if_id 7",
];

/// Pods come and go, and reach the other node's, beside a device that has the default routes, and the
/// commands for people understand such a node.
#[test]
#[ignore = "needs devices of many kinds: make test-vm runs it"]
fn no_device_beside_the_underlay_fails_an_add() {
    let cluster = Cluster::new(2);
    let [node, peer] = &cluster.nodes[..] else { unreachable!() };
    let far = peer.add("far");
    node.del(&node.add("first")).silent();
    for made in STRANGE {
        node.netns.exec(made);
        node.netns.exec("ip link set strange0 up");
        node.netns.exec("ip addr add 198.51.100.2/24 dev strange0");
        for family in ["-4", "-6"] {
            // A device that only listens has no IPv6.
            node.netns.attempt(&format!("ip {family} route add default dev strange0"));
        }
        node.forget_overlay();
        let pod = node.add("pod");
        for address in far.addresses() {
            probe::ping(&pod.netns, address);
        }
        assert_eq!(sync::plan(node), [""; 0], "{made}");
        document(&flatnet(node, "status", &["--json"]), 0);
        node.del(&pod).silent();
        node.assert_no_attachment();
        node.netns.exec("ip link del strange0");
    }
}

/// A team without a program that sets its mode carries nothing, and so has the VTEP in vain; pods of the
/// node have each other all the same.
#[test]
#[ignore = "needs team: make test-vm runs it"]
fn an_uplink_that_carries_nothing_fails_no_add() {
    for made in [STRANGE[0], "ip tuntap add strange0 mode tun"] {
        let cluster = Cluster::new(2);
        let node = &cluster.nodes[0];
        node.netns.exec(&format!("ip addr del {}/24 dev {UNDERLAY}", node.vtep));
        node.netns.exec(made);
        node.netns.exec(&format!("ip addr add {}/24 dev strange0", node.vtep));
        node.netns.exec("ip link set strange0 up");
        let (one, other) = (node.add("one"), node.add("other"));
        for address in other.addresses() {
            probe::ping(&one.netns, address);
        }
        node.del(&one).silent();
        node.del(&other).silent();
        node.assert_no_attachment();
    }
}
