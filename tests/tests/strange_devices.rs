//! Devices, addresses, routes and rules of whatever kind neither fail an ADD nor hide what is ours.

use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::{cli, kernel, probe};
use serde_json::json;

/// What `ip link add` makes, of which a kernel knows some.
const KINDS: [&str; 32] = [
    "bond mode 802.3ad",
    "team",
    "dummy",
    "bridge vlan_filtering 1 stp_state 1",
    "vrf table 500",
    "gre local 192.168.50.1 remote 192.168.50.9",
    "gretap local 192.168.50.1 remote 192.168.50.9",
    "erspan local 192.168.50.1 remote 192.168.50.9 seq key 1 erspan_ver 1 erspan 1",
    "ip6gre local fd00::1 remote fd00::2",
    "ip6tnl mode any local fd00::1 remote fd00::2",
    "sit local 192.168.50.1 remote 192.168.50.9",
    "ipip local 192.168.50.1 remote 192.168.50.9",
    "vti local 192.168.50.1 remote 192.168.50.9 key 3",
    "xfrm dev under0 if_id 42",
    "wireguard",
    "geneve id 77 remote 192.168.50.9",
    "vxlan id 88 group 239.1.1.1 dev under0 dstport 8472",
    "vxlan external dstport 9999",
    "ifb",
    "nlmon",
    "bareudp dstport 6635 ethertype mpls_uc",
    "vcan",
    "vxcan",
    "netkit",
    "gtp role ggsn",
    "batadv",
    "ovpn",
    "macsec encrypt on",
    "macvlan mode bridge",
    "macvtap",
    "ipvlan mode l3",
    "vlan id 7 ingress-qos-map 1:2 egress-qos-map 3:4",
];

#[test]
fn devices_of_every_kind_stand_beside() {
    let cluster = Cluster::new(2);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let mut made = 0;
    for (n, kind) in KINDS.iter().enumerate() {
        let on = if n >= 27 { "link under0 " } else { "" };
        let add = a.netns.attempt(&format!("ip link add name strange{n} {on}type {kind}"));
        if add.status.success() {
            made += 1;
            a.netns.attempt(&format!("ip link set strange{n} up"));
        }
    }
    assert!(made >= 5, "{made} kinds of device");
    a.netns.exec("ip tuntap add tun7 mode tun");
    a.netns.exec("ip tuntap add tap7 mode tap multi_queue");
    a.netns.exec("ip addr add 10.99.0.1 peer 10.99.0.2 dev tun7");
    let names: Vec<_> =
        (100..250).map(|n| format!("a-name-{}-{n}", "very-long-".repeat(10))).collect();
    for some in names.chunks(30) {
        let altnames = some.iter().map(|name| format!("altname {name}")).collect::<Vec<_>>();
        a.netns.exec(&format!("ip link property add dev {UNDERLAY} {}", altnames.join(" ")));
    }
    // A name need not be text.
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let mut add = Command::new("ip");
    add.args(["link", "add"]).arg(name).args(["type", "bridge"]);
    assert!(a.netns.finish(&mut add, b"").status.success());

    let pods = [a.add("pod"), b.add("pod")];
    pods[1].addresses().iter().for_each(|to| probe::ping(&pods[0].netns, *to));
    let done = cli::text(&cli::flatnet(a, "sync", &[]), 0);
    assert!(done.contains("in sync"), "{done}");
    let doctor = cli::document(&cli::flatnet(a, "doctor", &["--json"]), 1);
    assert_eq!(doctor["failures"], json!([]));
    a.del(&pods[0]).silent();
    // iproute2 prints no JSON with it.
    let mut delete = Command::new("ip");
    delete.args(["link", "del"]).arg(name);
    assert!(a.netns.finish(&mut delete, b"").status.success());
    a.assert_no_attachment();
}

/// Each of these carries the VTEP once.
#[test]
fn an_uplink_may_be_of_any_kind() {
    for kind in ["macvlan mode bridge", "macvtap mode bridge", "ipvlan mode l2", "bridge", "bond"] {
        let cluster = Cluster::new(2);
        let [a, b] = &cluster.nodes[..] else { unreachable!() };
        let [underlay, vtep] = [UNDERLAY, &format!("{}/24", a.vtep)];
        let stacked = kind.contains("mode");
        let on = if stacked { format!("link {underlay} ") } else { String::new() };
        let add = a.netns.attempt(&format!("ip link add name up7 {on}type {kind}"));
        if !add.status.success() {
            assert!(!kind.contains("macvlan") && kind != "bridge", "this kernel has {kind}");
            continue;
        }
        a.netns.exec(&format!("ip addr flush dev {underlay}"));
        if !stacked {
            a.netns.exec(&format!("ip link set {underlay} down"));
            a.netns.exec(&format!("ip link set {underlay} master up7"));
        }
        a.netns.exec(&format!("ip link set {underlay} up"));
        a.netns.exec("ip link set up7 mtu 1400 up");
        a.netns.exec(&format!("ip addr add {vtep} dev up7"));
        kernel::wait_until_up(&a.netns, "up7");
        let pods = [a.add("pod"), b.add("pod")];
        assert_eq!(pods[0].result["interfaces"][1]["mtu"], 1350, "{kind}");
        pods[1].addresses().iter().for_each(|to| probe::ping(&pods[0].netns, *to));
        assert_eq!(kernel::sysctl(&a.netns, "ipv4/conf/up7/forwarding"), "1", "{kind}");
    }
}

#[test]
fn an_uplinks_name_need_not_be_text() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let vtep = format!("{}/24", node.vtep);
    node.netns.exec(&format!("ip addr flush dev {UNDERLAY}"));
    for args in [
        &["link", "add", "NAME", "type", "bridge"][..],
        // The bridge follows its port.
        &["link", "set", UNDERLAY, "mtu", "1400", "master", "NAME"],
        &["link", "set", "NAME", "up"],
        &["addr", "add", &vtep, "dev", "NAME"],
    ] {
        let args = args.iter().map(|arg| match *arg {
            "NAME" => name,
            arg => arg.as_ref(),
        });
        let done = node.netns.finish(Command::new("ip").args(args), b"");
        assert!(done.status.success(), "{done:?}");
    }
    let pod = node.add("pod");
    assert_eq!(pod.result["interfaces"][1]["mtu"], 1350);
}

/// The peer is reached by routes with attributes that say nothing about where packets go.
#[test]
fn a_way_may_have_any_attribute() {
    let next_hop = "ip nexthop add id 7 dev under0";
    for (prepare, route) in [
        ("true", "192.168.50.2 dev under0 realm 7 congctl reno mtu 1400"),
        ("true", "192.168.50.2 encap ip id 9 dst 192.168.50.2 dev under0 mtu 1400"),
        ("true", "192.168.50.2 via inet6 fe80::2 dev under0 mtu 1400"),
        (next_hop, "192.168.50.2 nhid 7 mtu 1400"),
        ("true", "192.168.50.2 encap seg6 mode encap segs fc00::1 dev under0 mtu 1400"),
        ("true", "192.168.50.2 encap mpls 100 dev under0 mtu 1400"),
    ] {
        let cluster = Cluster::new(2);
        let [a, b] = &cluster.nodes[..] else { unreachable!() };
        a.netns.exec(prepare);
        for rule in
            ["add fwmark 7/0xff lookup 7", "add tun_id 5 lookup 7", "add uidrange 5-9 goto 32766"]
        {
            a.netns.attempt(&format!("ip rule {rule}"));
        }
        if !a.netns.attempt(&format!("ip route add {route}")).status.success() {
            assert!(route.contains("seg6") || route.contains("mpls"), "this kernel has {route}");
            continue;
        }
        assert!(!a.netns.exec("ip rule show").contains("unreachable"));
        let pod = a.add("pod");
        assert_eq!(pod.result["interfaces"][1]["mtu"], 1350, "{route}");
        // Behind the strange route nothing else is hidden.
        a.netns.exec("ip route del 192.168.50.2");
        cli::text(&cli::flatnet(a, "sync", &[]), 0);
        let far = b.add("far");
        far.addresses().iter().for_each(|to| probe::ping(&pod.netns, *to));
    }
}
