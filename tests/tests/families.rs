//! Pods of IPv4, IPv6 or both on an underlay of IPv4 or IPv6, each with several ranges: every
//! combination is one flat network, from the first packet, up to the last byte.

use std::net::IpAddr;

use flatnet_tests::advertisement::{advertise, learned_routers};
use flatnet_tests::capture::Capture;
use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe::{self, Inbox};
use flatnet_tests::{kernel, sync, wait};
use serde_json::json;

/// Which families the pods have.
#[derive(Copy, Clone, Debug)]
struct Pods {
    v4: bool,
    v6: bool,
}

const V4: Pods = Pods { v4: true, v6: false };
const V6: Pods = Pods { v4: false, v6: true };
const DUAL: Pods = Pods { v4: true, v6: true };

impl Pods {
    /// Two ranges of each family for node `n`, the first with room for two pods of IPv4 and three
    /// of IPv6.
    fn ranges(self, n: u8) -> Vec<String> {
        let v4 = [format!("10.244.{n}.0/30"), format!("10.244.{}.0/24", 100 + n)];
        let v6 = [format!("fd00:10:244:{n}::/126"), format!("fd00:10:244:{}::/64", 90 + n)];
        let wanted = [(self.v4, v4), (self.v6, v6)];
        wanted.into_iter().filter(|(wanted, _)| *wanted).flat_map(|(_, ranges)| ranges).collect()
    }

    /// What the fourth pod of node `n` must have, in the order of a result.
    fn fourth(self, n: u8) -> Vec<String> {
        let v4 = format!("10.244.{}.2", 100 + n);
        let v6 = format!("fd00:10:244:{}::1", 90 + n);
        [(self.v4, v4), (self.v6, v6)].into_iter().filter(|(w, _)| *w).map(|(_, a)| a).collect()
    }
}

/// Two nodes of this kind with nothing on them, and the MTU that their pods must have.
fn cluster(pods: Pods, v6_underlay: bool) -> (Cluster, u32) {
    let mut cluster = Cluster::with(Settings { nodes: 2, mtu: 1500, v6_underlay });
    cluster.set_ranges(|n| pods.ranges(n));
    cluster.begin_with_the_first();
    (cluster, if v6_underlay { 1430 } else { 1450 })
}

/// Attaches a pod and has its first packet, and the first one to it, sent the moment ADD returns.
fn first_packets(node: &Node, far: &Pod) -> Pod {
    let mut pod = Pod::new("pod");
    let (own, other) = (Inbox::open(&pod.netns), Inbox::open(&far.netns));
    node.attach(&mut pod);
    for (address, peer) in pod.addresses().into_iter().zip(far.addresses()) {
        assert_eq!(other.post(&pod.netns, peer), address);
        assert_eq!(own.post(&far.netns, address), peer);
    }
    pod
}

/// The whole story of a result: one address, gateway and default route for each family.
fn assert_result(pod: &Pod) {
    let expected: Vec<_> = pod
        .addresses()
        .iter()
        .map(|address| match address.is_ipv4() {
            true => (format!("{address}/32"), "169.254.1.1", "0.0.0.0/0"),
            false => (format!("{address}/128"), "fe80::1", "::/0"),
        })
        .collect();
    let ips: Vec<_> = expected
        .iter()
        .map(
            |(address, gateway, _)| json!({"address": address, "gateway": gateway, "interface": 1}),
        )
        .collect();
    let routes: Vec<_> =
        expected.iter().map(|(_, gateway, dst)| json!({ "dst": dst, "gw": gateway })).collect();
    assert_eq!(pod.result["ips"], json!(ips));
    assert_eq!(pod.result["routes"], json!(routes));
}

/// Asserts that `from` sends packets up to the MTU and none larger, and how large packets look on
/// the wire.
fn assert_sizes(cluster: &Cluster, from: &Pod, to: &Pod, mtu: u32) {
    let wire = Capture::start(&cluster.underlay, "node-a");
    for (own, address) in from.addresses().into_iter().zip(to.addresses()) {
        let fits = probe::ping_of_size(&from.netns, address, mtu);
        assert!(fits.status.success(), "{mtu} bytes to {address}: {fits:?}");
        let full = wire.overlay(cluster.network.vni);
        let sent =
            full.iter().find(|(_, inner)| (inner.source, inner.destination) == (own, address));
        let (outer, inner) = sent.unwrap_or_else(|| panic!("{own} to {address}: {full:?}"));
        assert_eq!((inner.length, outer.length), (mtu as usize, 1500), "{outer:?}");
        let vteps = (cluster.nodes[0].vtep, cluster.nodes[1].vtep);
        assert_eq!((outer.source, outer.destination), vteps);
        let over = probe::ping_of_size(&from.netns, address, mtu + 1);
        let said = String::from_utf8_lossy(&over.stderr).into_owned();
        assert!(!over.status.success() && said.contains("message too long"), "{said}");
        assert!(said.contains(&mtu.to_string()), "the MTU is told: {said}");
        assert_eq!(wire.overlay(cluster.network.vni), [], "one byte more to {address}");
    }
}

/// Asserts that who sends larger packets from outside is told the MTU by the node.
fn assert_told(cluster: &Cluster, pod: &Pod, mtu: u32) {
    let host = outsider_of_both_families(cluster);
    for address in pod.addresses() {
        let gateway = if address.is_ipv4() { "192.168.50.1" } else { "fd00:50::1" };
        host.exec(&format!("ip route add {address} via {gateway}"));
        assert!(probe::ping_of_size(&host, address, mtu).status.success(), "{address}");
        let over = probe::ping_of_size(&host, address, mtu + 1);
        let said = String::from_utf8_lossy(&over.stdout).into_owned();
        let told = match address.is_ipv4() {
            true => format!("From {gateway} icmp_seq=1 Frag needed and DF set (mtu = {mtu})"),
            false => format!("From {gateway} icmp_seq=1 Packet too big: mtu={mtu}"),
        };
        assert!(!over.status.success() && said.contains(&told), "{told}: {said}");
    }
}

/// A host on the underlay, and node-a, with underlay addresses of both families.
fn outsider_of_both_families(cluster: &Cluster) -> Netns {
    let host = cluster.host([192, 168, 50, 200].into());
    host.exec(&format!("ip addr add fd00:50::c8/64 dev {UNDERLAY} nodad"));
    let (node, prefix) = (
        &cluster.nodes[0].netns,
        if cluster.nodes[0].vtep.is_ipv4() { "fd00:50::1/64" } else { "192.168.50.1/24" },
    );
    node.exec(&format!("ip addr add {prefix} dev {UNDERLAY} nodad"));
    host
}

/// CHECK with the result of the pod's ADD succeeds, and fails when an address of it is gone.
fn assert_check(node: &Node, pod: &Pod) {
    node.check(pod).silent();
    for address in pod.addresses() {
        pod.netns.exec(&format!("ip addr del {address} dev eth0"));
    }
    let error = node.check(pod).error();
    for address in pod.addresses() {
        let problem = format!("eth0: lacks address {address}");
        assert!(error.msg.contains(&problem), "{problem}: {error:?}");
    }
}

/// All of it for one combination.
fn combination(pods: Pods, v6_underlay: bool) {
    let (cluster, mtu) = cluster(pods, v6_underlay);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let far = b.add("far");
    // The fourth pod has its addresses from the second range of each family.
    let near: Vec<Pod> = (0..4).map(|_| first_packets(a, &far)).collect();
    let last = &near[3];
    let addresses: Vec<String> = last.addresses().iter().map(IpAddr::to_string).collect();
    assert_eq!(addresses, pods.fourth(1));
    near.iter().for_each(assert_result);
    for pod in &near[1..] {
        pod.addresses().into_iter().for_each(|address| probe::ping(&near[0].netns, address));
    }
    for address in last.addresses() {
        probe::transfer(&far.netns, &last.netns, address, 1 << 20);
    }
    assert_sizes(&cluster, last, &far, mtu);
    assert_told(&cluster, last, mtu);
    assert_check(a, last);
}

#[test]
fn ipv4_pods_on_an_ipv4_underlay() {
    combination(V4, false);
}

#[test]
fn ipv4_pods_on_an_ipv6_underlay() {
    combination(V4, true);
}

#[test]
fn ipv6_pods_on_an_ipv4_underlay() {
    combination(V6, false);
}

#[test]
fn ipv6_pods_on_an_ipv6_underlay() {
    combination(V6, true);
}

#[test]
fn dual_stack_pods_on_an_ipv4_underlay() {
    combination(DUAL, false);
}

#[test]
fn dual_stack_pods_on_an_ipv6_underlay() {
    combination(DUAL, true);
}

#[test]
fn a_node_speaks_ipv6_with_pods_that_have_it() {
    for (pods, off) in [(V4, "1"), (DUAL, "0")] {
        let (cluster, _) = cluster(pods, false);
        let node = &cluster.nodes[0];
        let (pod, _other) = (node.add("pod"), node.add("other"));
        let setting = format!("ipv6/conf/{}/disable_ipv6", pod.veth());
        assert_eq!(kernel::sysctl(&node.netns, &setting), off, "{pods:?}");
        // The kernel's own, which it looks at for each device that comes.
        let of_devices = node.netns.exec("ip -6 route show table local ff00::/8");
        assert_eq!(of_devices.contains(pod.veth()), pods.v6, "{of_devices}");
        assert_eq!(sync::plan(node), [""; 0], "{pods:?}");
        // As an older version's ADD has left it, or an administrator.
        kernel::set_sysctl(&node.netns, &setting, if off == "1" { "0" } else { "1" });
        let mend = format!("sysctl -w net/ipv6/conf/{}/disable_ipv6={off}", pod.veth());
        assert_eq!(sync::plan(node)[0], mend);
        sync::apply(node);
        assert_eq!(sync::plan(node), [""; 0], "{pods:?}");
        pod.addresses().into_iter().for_each(|address| probe::ping(&node.netns, address));
        node.check(&pod).silent();
    }
}

#[test]
fn a_pod_takes_no_router_advertisement() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    // As a router on the same link would: it has the other end of the veth.
    node.netns.exec(&format!("ip addr add fe80::bad/64 dev {} nodad", pod.veth()));
    let prefix = "2001:db8:bad::".parse().unwrap();
    let addresses = || kernel::addresses(&pod.netns, "eth0");
    let before = addresses();
    advertise(&node.netns, pod.veth(), prefix);
    // It has been handled when what was sent after it has been answered.
    probe::ping(&node.netns, pod.v6());
    assert_eq!((learned_routers(&pod.netns), addresses()), ([].into(), before));
    // A pod that wants advertisements gets this one, so it was a good one.
    kernel::set_sysctl(&pod.netns, "ipv6/conf/eth0/accept_ra", "1");
    advertise(&node.netns, pod.veth(), prefix);
    let router = wait::wait_for("the router", || learned_routers(&pod.netns).pop_first());
    assert_eq!(router, "fe80::bad".parse::<IpAddr>().unwrap());
    let made = |address: &String| address.starts_with("2001:db8:bad:");
    wait::wait_for("an address of the prefix", || addresses().into_iter().find(made));
}
