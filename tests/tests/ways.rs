//! The way to a peer is the one that the outer packets take, whatever way other packets take there.

use std::net::IpAddr;

use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::node::Node;
use flatnet_tests::{cli, kernel, probe};
use serde_json::{Value, json};

/// A second device of a node on the underlay, with no address, and by it a way to a peer in a table
/// that no rule leads to yet. Jumbo frames do not fit it.
fn narrow_way(cluster: &Cluster, node: &Node, to: IpAddr) {
    let inside = node.netns.name();
    let device = "mtu 1400 type veth peer name narrow mtu 1400 netns";
    cluster.underlay.exec(&format!("ip link add port {device} {inside}"));
    cluster.underlay.exec("ip link set port master br0 up");
    node.netns.exec("ip link set narrow addrgenmode none up");
    node.netns.exec("ip addr add fe80::7/64 dev narrow nodad");
    kernel::wait_until_up(&cluster.underlay, "port");
    kernel::wait_until_up(&node.netns, "narrow");
    let ip = if to.is_ipv4() { "ip" } else { "ip -6" };
    node.netns.exec(&format!("{ip} route add {to} dev narrow table 100"));
}

/// What status and trace tell of the way: MTU of the overlay, and the device.
fn told(node: &Node, from: IpAddr, to: IpAddr) -> (Value, Value, String) {
    let status = cli::document(&cli::flatnet(node, "status", &["--json"]), 0);
    let mtu = &status["networks"][0]["mtu"];
    let args = [&from.to_string()[..], &to.to_string(), "--json"];
    let trace = cli::document(&cli::flatnet(node, "trace", &args), 0);
    let hops = trace["hops"].as_array().expect("a list").iter();
    let underlay = hops.filter(|hop| hop["at"] == "underlay");
    let words = underlay.map(|hop| hop["what"].as_str().expect("words").to_owned());
    (mtu["stands"].clone(), mtu["underlay"]["device"].clone(), words.collect())
}

#[test]
fn a_rule_for_the_outer_packets_decides() {
    for v6_underlay in [false, true] {
        let cluster = Cluster::with(Settings { nodes: 2, mtu: 9000, v6_underlay });
        let [a, b] = &cluster.nodes[..] else { unreachable!() };
        narrow_way(&cluster, a, b.vtep);
        // Both devices are on one link; each is to answer for its own addresses only.
        kernel::set_sysctl(&a.netns, "ipv4/conf/all/arp_ignore", "1");
        let (ip, overhead) = if v6_underlay { ("ip -6", 70) } else { ("ip", 50) };
        let pods = [a.add("pod"), b.add("pod")];
        let [from, to] = [0, 1].map(|n| pods[n].addresses()[0]);
        let check = |mtu: u32, device: &str| {
            let (stands, by, underlay) = told(a, from, to);
            assert_eq!((stands, by), (json!(mtu), json!(device)));
            assert!(underlay.contains(&format!(" dev {device}, MTU ")), "{underlay}");
            for address in pods[1].addresses() {
                let sent = probe::ping_of_size(&pods[0].netns, address, mtu);
                assert!(sent.status.success(), "{address} {mtu}");
            }
        };
        check(9000 - overhead, UNDERLAY);

        // By source, as hosts with two cards route; and by what the packets are.
        let rules = [
            format!("from {} lookup 100 pref 50", a.vtep),
            "ipproto udp dport 4789 lookup 100 pref 50".to_owned(),
        ];
        for rule in rules {
            a.netns.exec(&format!("{ip} rule add {rule}"));
            cli::text(&cli::flatnet(a, "sync", &[]), 0);
            check(1400 - overhead, "narrow");
            a.netns.exec(&format!("{ip} rule del {rule}"));
            // What was sent by the narrow device has told the peer that the VTEP is there.
            b.netns.exec(&format!("ip neigh flush dev {UNDERLAY}"));
            cli::text(&cli::flatnet(a, "sync", &[]), 0);
            check(9000 - overhead, UNDERLAY);
        }
        // One for other packets does not.
        a.netns.exec(&format!("{ip} rule add ipproto tcp dport 4789 lookup 100 pref 50"));
        cli::text(&cli::flatnet(a, "sync", &[]), 0);
        check(9000 - overhead, UNDERLAY);
    }
}

/// The only route to the peer is one for packets from the VTEP: that is enough.
#[test]
fn a_peer_that_only_the_vtep_has_a_way_to() {
    let cluster = Cluster::new(2);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    for line in [
        format!("ip route add 192.168.50.0/24 dev {UNDERLAY} table 100"),
        "ip rule add from 192.168.50.1 lookup 100".to_owned(),
        "ip route del 192.168.50.0/24".to_owned(),
    ] {
        a.netns.exec(&line);
    }
    assert!(!probe::reaches(&a.netns, b.vtep), "other packets have no way there");
    let pods = [a.add("pod"), b.add("pod")];
    pods[1].addresses().iter().for_each(|to| probe::ping(&pods[0].netns, *to));
    let doctor = cli::document(&cli::flatnet(a, "doctor", &["--json"]), 1).to_string();
    assert!(!doctor.contains("node-b"), "{doctor}");

    // The underlay is looked at as the outer packets see it also where a peer does not answer.
    b.netns.exec("ip link del flat.4096");
    let doctor = cli::document(&cli::flatnet(a, "doctor", &["--json"]), 1).to_string();
    assert!(doctor.contains("is refused by node-b"), "{doctor}");
    a.netns.exec("ip rule del from 192.168.50.1 lookup 100");
    let doctor = cli::document(&cli::flatnet(a, "doctor", &["--json"]), 1).to_string();
    assert!(doctor.contains("there is no route to the VTEP of node-b"), "{doctor}");
}

/// As the exit node of a VPN does: a table of its own, before the main one, with a default route.
#[test]
fn a_rule_that_takes_the_pods_packets_is_named() {
    let cluster = Cluster::new(2);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let pods = [a.add("pod"), b.add("pod")];
    for line in [
        "ip link add exit type veth peer name exit-peer",
        "ip link set exit up",
        "ip link set exit-peer up",
        "ip route add default dev exit table 52",
        "ip route add throw 192.168.50.0/24 table 52",
        "ip rule add pref 5270 lookup 52",
        "ip -6 route add default dev exit table 52",
        "ip -6 rule add pref 5270 lookup 52",
    ] {
        a.netns.exec(line);
    }
    let [from, to] = [0, 1].map(|n| pods[n].addresses());
    for (from, to) in from.iter().zip(&to) {
        assert!(!probe::reaches(&pods[0].netns, *to), "{to}");
        let args = [&from.to_string()[..], &to.to_string(), "--json"];
        let end = cli::document(&cli::flatnet(a, "trace", &args), 1)["end"].to_string();
        assert!(end.contains("rule add pref 1 to "), "{end}");
        assert!(!end.contains("flatnet sync"), "{end}");
    }
    let doctor = cli::document(&cli::flatnet(a, "doctor", &["--json"]), 1);
    let findings = doctor["findings"].as_array().expect("a list");
    let of_rules = findings.iter().filter(|finding| finding["check"] == "routes of others");
    let commands: Vec<&str> =
        of_rules.map(|finding| finding["command"].as_str().expect("a command")).collect();
    assert_eq!(
        commands,
        [
            "ip rule add pref 1 to 10.244.0.0/16 lookup main",
            "ip -6 rule add pref 1 to fd00:10:244::/56 lookup main",
        ]
    );
    assert!(!doctor.to_string().contains("is blocked"), "{doctor}");
    commands.iter().for_each(|command| drop(a.netns.exec(command)));
    to.iter().for_each(|to| probe::ping(&pods[0].netns, *to));
    let doctor = cli::document(&cli::flatnet(a, "doctor", &["--json"]), 1).to_string();
    assert!(!doctor.contains("routes of others"), "{doctor}");
}
