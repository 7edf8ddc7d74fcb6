//! How large packets may be: over several uplinks, routes with an MTU of their own, jumbo frames,
//! a VTEP on the loopback, and a hop in the middle that carries less than the nodes think.

use std::net::IpAddr;

use flatnet_tests::capture::Capture;
use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::watcher::Watcher;
use flatnet_tests::{cli, kernel, probe, sync};
use serde_json::json;

/// The MTU of a device.
fn mtu(netns: &Netns, device: &str) -> u64 {
    kernel::link(netns, device).expect("the device")["mtu"].as_u64().expect("an MTU")
}

/// Asserts the MTU of a node's overlay and of a pod on it.
fn assert_mtu(node: &Node, pod: &Pod, expected: u64) {
    let found = [
        mtu(&node.netns, &node.overlay()),
        mtu(&node.netns, pod.veth()),
        mtu(&pod.netns, &pod.ifname),
    ];
    assert_eq!(found, [expected; 3], "{}", node.name);
}

/// Asserts that packets of this size, and some megabytes of TCP, pass between two pods both ways.
fn assert_carries(left: &Pod, right: &Pod, size: u32) {
    for (from, to) in [(left, right), (right, left)] {
        for address in to.addresses() {
            let full = probe::ping_of_size(&from.netns, address, size);
            assert!(full.status.success(), "{size} bytes to {address}: {full:?}");
            probe::transfer(&from.netns, &to.netns, address, 2 << 20);
        }
    }
}

#[test]
fn the_narrowest_of_several_uplinks_decides() {
    let cluster = Cluster::new(3);
    let [a, b, c] = &cluster.nodes[..] else { unreachable!() };
    // node-a and node-c have a second, narrower link, by which they reach each other.
    let peer = c.netns.name();
    a.netns
        .exec(&format!("ip link add up1 mtu 1400 type veth peer name up1 mtu 1400 netns {peer}"));
    for (node, own, other) in [(a, 1, 3), (c, 3, 1)] {
        node.netns.exec("ip link set up1 up");
        let way = format!("192.168.50.{other}/32 dev up1 src 192.168.50.{own}");
        node.netns.exec(&format!("ip route add {way}"));
    }
    let [pod_a, pod_b, pod_c] = [a, b, c].map(|node| node.add("pod"));
    assert_mtu(a, &pod_a, 1350);
    assert_mtu(b, &pod_b, 1450);
    assert_mtu(c, &pod_c, 1350);
    let wire = Capture::start(&a.netns, "up1");
    assert_carries(&pod_a, &pod_c, 1350);
    assert!(!wire.overlay(4096).is_empty(), "the pods of node-c are reached by the second uplink");
    assert_carries(&pod_a, &pod_b, 1350);
    assert_carries(&pod_b, &pod_c, 1350);
}

/// A node whose VTEP is behind a VPN's device is reached in pieces or not at all; the others go on.
#[test]
fn a_peer_behind_a_narrow_device_stops_nothing() {
    let mut cluster = Cluster::new(3);
    let a = &cluster.nodes[0].netns;
    a.exec("ip link add tun0 type veth peer name tun1");
    a.exec("ip link set tun1 up");
    a.exec("ip addr add 100.64.0.1/10 dev tun0");
    a.exec("ip link set tun0 up");
    cluster.nodes[2].vtep = [100, 64, 9, 9].into();
    cluster.list(&[0, 1, 2]);
    for (configured, narrow, needed, expected) in [
        (json!(null), 1280, "1330 bytes (1280 for IPv6 and 50 of outer headers)", 1450),
        (json!(1400), 1420, "1450 bytes (mtu: 1400 and 50 of outer headers)", 1400),
    ] {
        cluster.configure("mtu", configured);
        let [a, b, _] = &cluster.nodes[..] else { unreachable!() };
        a.netns.exec(&format!("ip link set tun0 mtu {narrow}"));
        let warning = format!(
            "the way by tun0 to node-c (100.64.9.9) carries {narrow} bytes and not the {needed} that are \
             needed: it does not count for the MTU; see `flatnet doctor`"
        );
        let mut pod = Pod::new("pod");
        let added = a.call_for("ADD", &pod).run();
        pod.result = added.result();
        assert!(added.stderr().contains(&warning), "{}", added.stderr());
        assert_mtu(a, &pod, expected);
        assert_carries(&pod, &b.add("pod"), expected as u32);

        let synced = sync::sync(a, &["--json"]);
        let told = String::from_utf8_lossy(&synced.stderr).into_owned();
        assert!(told.contains(&warning), "{told}");
        let warnings = json!([format!("network pods: {warning}")]);
        assert_eq!(cli::document(&synced, 0)["networks"][0]["warnings"], warnings);
        let watch = Watcher::ready(a, &format!("watch-{narrow}"));
        watch.says(&warning);

        // Its own device is a node's own matter.
        a.netns.exec(&format!("ip link set {UNDERLAY} mtu {narrow}"));
        let refused = sync::sync(a, &[]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{told}");
        assert!(
            told.contains(&format!("underlay's MTU of {narrow} leaves"))
                || told.contains(&format!("more than the underlay carries: {narrow} less")),
            "{told}"
        );
        a.netns.exec(&format!("ip link set {UNDERLAY} mtu 1500"));
    }
}

#[test]
fn a_route_may_have_an_mtu_of_its_own() {
    for (v6_underlay, prefix, overhead) in
        [(false, "192.168.50.0/24", 50), (true, "fd00:50::/64 metric 256", 70)]
    {
        let cluster = Cluster::with(Settings { nodes: 2, mtu: 1500, v6_underlay });
        let [a, b] = &cluster.nodes[..] else { unreachable!() };
        for node in [a, b] {
            node.netns
                .exec(&format!("ip route replace {prefix} dev {UNDERLAY} proto kernel mtu 1400"));
        }
        let pods = cluster.fill(1);
        for (node, pods) in cluster.nodes.iter().zip(&pods) {
            assert_mtu(node, &pods[0], 1400 - overhead);
        }
        assert_carries(&pods[0][0], &pods[1][0], 1400 - overhead as u32);
    }
}

#[test]
fn jumbo_frames_are_used_to_the_last_byte() {
    for (v6_underlay, expected) in [(false, 8950), (true, 8930)] {
        let cluster = Cluster::with(Settings { nodes: 2, mtu: 9000, v6_underlay });
        let pods = cluster.fill(1);
        let (left, right) = (&pods[0][0], &pods[1][0]);
        assert_mtu(&cluster.nodes[0], left, expected);
        let wire = Capture::start(&cluster.underlay, "node-a");
        assert_carries(left, right, expected as u32);
        let sizes = wire.overlay(4096).into_iter().map(|(outer, _)| outer);
        let full = sizes.filter(|outer| outer.length == 9000 && !outer.fragment).count();
        assert!(full >= 4, "one echo each way for each family: {full}");
        let over = probe::ping_of_size(&left.netns, right.v4(), expected as u32 + 1);
        assert!(!over.status.success(), "{over:?}");
    }
}

#[test]
fn a_vtep_may_be_on_the_loopback() {
    for device in ["lo", "vtep0"] {
        let mut cluster = Cluster::new(2);
        for (node, n) in cluster.nodes.iter_mut().zip(1_u8..) {
            node.vtep = [10, 99, 0, n].into();
            if device != "lo" {
                node.netns.exec(&format!("ip link add {device} type bridge"));
            }
            node.netns.exec(&format!("ip addr add 10.99.0.{n}/32 dev {device}"));
            node.netns.exec(&format!("ip link set {device} up"));
        }
        // Alone, a node cannot know what the way to the others will carry: not what a loopback does.
        cluster.list(&[0]);
        let [a, b] = &cluster.nodes[..] else { unreachable!() };
        let alone = a.add("alone");
        assert_mtu(a, &alone, 1450);

        for (node, own, other) in [(a, 1, 2), (b, 2, 1)] {
            let way = format!("10.99.0.{other}/32 via 192.168.50.{other} src 10.99.0.{own}");
            node.netns.exec(&format!("ip route add {way}"));
        }
        cluster.list(&[0, 1]);
        let pods = cluster.fill(1);
        assert_mtu(a, &pods[0][0], 1450);
        assert_mtu(b, &pods[1][0], 1450);
        let wire = Capture::start(&cluster.underlay, "node-a");
        assert_carries(&pods[0][0], &pods[1][0], 1450);
        assert_carries(&alone, &pods[1][0], 1450);
        let vteps: [IpAddr; 2] = [[10, 99, 0, 1].into(), [10, 99, 0, 2].into()];
        for (outer, _) in wire.overlay(4096) {
            assert!(vteps.contains(&outer.source) && vteps.contains(&outer.destination));
        }
    }
}

/// Two nodes with a link of 1500 bytes each, and between them two routers with one of fewer.
struct Narrow {
    cluster: Cluster,
    /// The router toward node-a.
    router: Netns,
    _far: Netns,
}

/// The device between the routers.
const MIDDLE: &str = "middle";

impl Narrow {
    fn new(v6_underlay: bool, middle: u32, masquerade: bool) -> Self {
        let mut cluster = Cluster::with(Settings { nodes: 2, mtu: 1500, v6_underlay });
        cluster.configure("ipMasq", json!(masquerade));
        let net = |n: u8, host: u8| match v6_underlay {
            true => format!("fd00:{n}::{host}"),
            false => format!("192.168.{n}.{host}"),
        };
        let (prefix, any, nodad) =
            if v6_underlay { (64, "::/0", "nodad") } else { (24, "0/0", "") };
        let router = cluster.host(net(50, 254).parse().expect("an address"));
        let far = Netns::new("far");
        let (near_name, far_name) = (router.name().to_owned(), far.name().to_owned());
        far.exec(&format!(
            "ip link add {MIDDLE} mtu {middle} type veth peer name {MIDDLE} mtu {middle} netns {near_name}"
        ));
        let b = &mut cluster.nodes[1];
        b.netns.exec(&format!("ip addr flush dev {UNDERLAY}"));
        b.netns.exec(&format!("ip link add far0 type veth peer name node-b netns {far_name}"));
        b.vtep = net(60, 2).parse().expect("an address");
        for (netns, device, address) in [
            (&router, MIDDLE, net(70, 1)),
            (&far, MIDDLE, net(70, 2)),
            (&far, "node-b", net(60, 254)),
            (&b.netns, "far0", net(60, 2)),
        ] {
            netns.exec(&format!("ip addr add {address}/{prefix} dev {device} {nodad}"));
            netns.exec(&format!("ip link set {device} up"));
        }
        for (netns, to, via) in [
            (&cluster.nodes[0].netns, any.to_owned(), net(50, 254)),
            (&cluster.nodes[1].netns, any.to_owned(), net(60, 254)),
            (&router, format!("{}/{prefix}", net(60, 0)), net(70, 2)),
            (&far, format!("{}/{prefix}", net(50, 0)), net(70, 1)),
        ] {
            netns.exec(&format!("ip route add {to} via {via}"));
        }
        for router in [&router, &far] {
            kernel::set_sysctl(router, "ipv4/ip_forward", "1");
            kernel::set_sysctl(router, "ipv6/conf/all/forwarding", "1");
            kernel::wait_until_up(router, MIDDLE);
        }
        cluster.list(&[0, 1]);
        Self { cluster, router, _far: far }
    }
}

/// The MTU that a pod has found out for the way to an address; none if it knows of none.
fn discovered(pod: &Pod, to: IpAddr) -> Option<u64> {
    let route = pod.netns.json(&format!("ip -j route get {to}"));
    route[0]["metrics"][0]["mtu"].as_u64()
}

#[test]
fn tcp_crosses_a_narrow_hop_of_an_ipv4_underlay() {
    // The outer packets are cut by the router and put together again by the other node; with
    // masquerading, connection tracking puts them together before the packet filter sees them.
    for masquerade in [false, true] {
        // So few bytes that IPv6 pods could not use less: the overlay carries their 1280 anyway.
        let narrow = Narrow::new(false, 1300, masquerade);
        let pods = narrow.cluster.fill(1);
        let (left, right) = (&pods[0][0], &pods[1][0]);
        assert_mtu(&narrow.cluster.nodes[0], left, 1450);
        let wire = Capture::start(&narrow.router, MIDDLE);
        assert_carries(left, right, 1450);
        let packets = wire.packets();
        let outer: Vec<_> = packets.iter().filter(|packet| packet.protocol == 17).collect();
        assert!(outer.iter().any(|packet| packet.fragment));
        assert!(outer.iter().all(|packet| !packet.unfragmentable));
        assert_eq!(discovered(left, right.v4()), None);
        let node = &narrow.cluster.nodes[0].netns;
        assert_eq!(kernel::sysctl(node, "ipv4/ip_forward_use_pmtu"), "0");
    }
}

#[test]
fn tcp_crosses_a_narrow_hop_of_an_ipv6_underlay() {
    // No router cuts IPv6: the pods are told, in both families, what the way carries.
    let narrow = Narrow::new(true, 1400, false);
    let pods = narrow.cluster.fill(1);
    let (left, right) = (&pods[0][0], &pods[1][0]);
    assert_mtu(&narrow.cluster.nodes[0], left, 1430);
    let wire = Capture::start(&narrow.router, MIDDLE);
    for address in right.addresses() {
        probe::transfer(&left.netns, &right.netns, address, 4 << 20);
        assert_eq!(discovered(left, address), Some(1330), "{address}");
    }
    for address in left.addresses() {
        probe::transfer(&right.netns, &left.netns, address, 4 << 20);
        // The first is lost to the router, which tells the node; the second to the node, which
        // tells the pod.
        right.netns.attempt(&format!("ping -n -c 3 -i 0.2 -W 1 -M do -s 1380 {address}"));
        assert_eq!(discovered(right, address), Some(1330), "{address}");
    }
    for (from, to) in [(left, right), (right, left)] {
        for address in to.addresses() {
            assert!(probe::ping_of_size(&from.netns, address, 1330).status.success());
            assert!(!probe::ping_of_size(&from.netns, address, 1331).status.success());
        }
    }
    assert!(wire.packets().iter().all(|packet| !packet.fragment));
}

#[test]
fn what_was_found_out_about_a_way_does_not_change_the_overlay() {
    for (v6_underlay, overhead) in [(false, 50), (true, 70)] {
        let narrow = Narrow::new(v6_underlay, 1300, false);
        let [a, b] = &narrow.cluster.nodes[..] else { unreachable!() };
        let first = a.add("first");
        let learn = || {
            probe::ping_of_size(&a.netns, b.vtep, 1480);
            let route = a.netns.json(&format!("ip -j route get {}", b.vtep));
            assert_eq!(route[0]["metrics"][0]["mtu"], 1300, "the node has found out: {route:?}");
        };
        learn();
        // It is forgotten again after some minutes; the overlay would shrink and grow, and pods of
        // IPv6 could not be attached meanwhile.
        a.forget_overlay();
        let second = a.add("second");
        assert_mtu(a, &first, 1500 - overhead);
        assert_mtu(a, &second, 1500 - overhead);
        // What an administrator says about a route counts, whatever was found out besides.
        let route = if v6_underlay { "::/0 via fd00:50::254" } else { "0/0 via 192.168.50.254" };
        a.netns.exec(&format!("ip route replace {route} mtu 1480"));
        learn();
        a.forget_overlay();
        assert_mtu(a, &a.add("third"), 1480 - overhead);
    }
}
