//! Forwarding is switched on where pods need it, and only there; what a host takes from router
//! advertisements, it still takes as a router.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;

use flatnet_tests::advertisement::{advertise, learned_routers};
use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::netns::Netns;
use flatnet_tests::{kernel, probe, wait};
use serde_json::json;

/// One setting of every device of a family, by device.
fn settings(netns: &Netns, family: &str, name: &str) -> BTreeMap<String, String> {
    let folder = format!("/proc/sys/net/{family}/conf");
    let devices: Vec<String> = netns.run(|| {
        let entries = fs::read_dir(&folder).expect("the devices").flatten();
        entries.map(|entry| entry.file_name().into_string().expect("a name")).collect()
    });
    let value = |device: &String| kernel::sysctl(netns, &format!("{family}/conf/{device}/{name}"));
    devices.into_iter().map(|device| (device.clone(), value(&device))).collect()
}

/// The devices on which a setting has this value.
fn with(netns: &Netns, family: &str, name: &str, value: &str) -> BTreeSet<String> {
    let all = settings(netns, family, name).into_iter();
    all.filter(|(_, now)| now == value).map(|(device, _)| device).collect()
}

/// A set of names.
fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn ipv4_is_forwarded_by_our_devices_and_the_uplinks_only() {
    let mut cluster = Cluster::new(1);
    cluster.set_ranges(|n| vec![format!("10.244.{n}.0/24")]);
    let node = &cluster.nodes[0];
    for line in [
        // The way to the world is by another device than that to the peers; two have no part in it.
        "ip link add world type veth peer name world-peer",
        "ip addr add 198.51.100.2/24 dev world",
        "ip link set world up",
        "ip route add default via 198.51.100.1",
        "ip link add docker0 type bridge",
        "ip addr add 172.17.0.1/16 dev docker0",
        "ip link set docker0 up",
    ] {
        node.netns.exec(line);
    }
    let before = [
        settings(&node.netns, "ipv4", "forwarding"),
        settings(&node.netns, "ipv6", "forwarding"),
        settings(&node.netns, "ipv6", "accept_ra"),
    ];
    let pod = node.add("pod");
    let forwarding = with(&node.netns, "ipv4", "forwarding", "1");
    assert_eq!(forwarding, names(&["flat.4096", UNDERLAY, "world", pod.veth()]));
    let after = [
        settings(&node.netns, "ipv4", "forwarding"),
        settings(&node.netns, "ipv6", "forwarding"),
        settings(&node.netns, "ipv6", "accept_ra"),
    ];
    for (before, after) in before.iter().zip(&after) {
        let ours: BTreeSet<&str> =
            ["flat.4096", pod.veth(), UNDERLAY, "world"].into_iter().collect();
        for (device, value) in before.iter().filter(|(name, _)| !ours.contains(name.as_str())) {
            assert_eq!(after.get(device), Some(value), "{device}");
        }
    }
    // No IPv6 range, no IPv6 forwarding.
    assert_eq!(with(&node.netns, "ipv6", "forwarding", "1"), names(&[]));
    assert_eq!(with(&node.netns, "ipv6", "accept_ra", "2"), names(&[]));
}

#[test]
fn ipv6_pods_leave_ipv4_forwarding_alone() {
    let mut cluster = Cluster::new(1);
    cluster.set_ranges(|n| vec![format!("fd00:10:244:{n}::/64")]);
    let node = &cluster.nodes[0];
    node.netns.exec("ip link add docker0 type bridge");
    let pod = node.add("pod");
    let forwarding = with(&node.netns, "ipv4", "forwarding", "1");
    // Our own devices only, whose settings are made together with their other attributes.
    assert_eq!(forwarding, names(&["flat.4096", pod.veth()]));
    assert_eq!(kernel::sysctl(&node.netns, "ipv6/conf/all/forwarding"), "1");
}

#[test]
fn a_default_route_from_router_advertisements_stays() {
    let mut cluster = Cluster::new(1);
    cluster.configure("ipMasq", json!(true));
    let node = &cluster.nodes[0].netns;
    node.exec(&format!("ip addr add fd00:50::1/64 dev {UNDERLAY} nodad"));
    node.exec(&format!("ip addr add fe80::1:1/64 dev {UNDERLAY} nodad"));
    // An administrator who wants no advertisements on a device still gets none.
    node.exec("ip link add lan type veth peer name lan-peer");
    kernel::set_sysctl(node, "ipv6/conf/lan/accept_ra", "0");

    let (router, _) = cluster.outsider(200);
    for address in ["fe80::aa/64", "fe80::bb/64", "fe80::cc/64", "2001:db8:99::1/64"] {
        router.exec(&format!("ip addr add {address} dev {UNDERLAY} nodad"));
    }
    router.exec(&format!("ip route add fd00:50::/64 dev {UNDERLAY}"));
    let world: IpAddr = "2001:db8:99::1".parse().unwrap();
    let known = |last: &str| -> IpAddr { format!("fe80::{last}").parse().unwrap() };
    let announce = |last: &str| {
        // The source of an advertisement is the device's first link-local address.
        for other in ["aa", "bb", "cc"] {
            router.attempt(&format!("ip addr del fe80::{other}/64 dev {UNDERLAY}"));
        }
        router.exec(&format!("ip addr add fe80::{last}/64 dev {UNDERLAY} nodad"));
        advertise(&router, UNDERLAY, "fd00:51::".parse().unwrap());
    };
    let learned = |last: &str| {
        let router = known(last);
        wait::wait_for("the router", || learned_routers(node).contains(&router).then_some(()));
    };
    announce("aa");
    learned("aa");
    assert_eq!(kernel::sysctl(node, "ipv6/conf/all/forwarding"), "0");

    let pod = cluster.nodes[0].add("pod");
    assert_eq!(kernel::sysctl(node, "ipv6/conf/all/forwarding"), "1");
    assert_eq!(learned_routers(node), [known("aa")].into(), "the ADD took the default route");
    probe::ping(&pod.netns, world);
    announce("bb");
    learned("bb");
    assert_eq!(kernel::sysctl(node, "ipv6/conf/lan/accept_ra"), "0");

    // Without what ADD set, a node that forwards would hear no more of routers.
    kernel::set_sysctl(node, &format!("ipv6/conf/{UNDERLAY}/accept_ra"), "1");
    announce("cc");
    // It has been handled when what was sent after it has been answered.
    router.exec(&format!("ping -n -c 1 -W 5 fe80::1:1%{UNDERLAY}"));
    assert!(!learned_routers(node).contains(&known("cc")));
}
