//! What others have on a node: it stays as it is, whatever flatnet does beside it; and where it is in
//! the way, the error names it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;

use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::cni::CniError;
use flatnet_tests::kernel;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::wait::PATIENCE;
use flatnet_tests::{probe, snapshot};
use serde_json::{Value, json};

/// One of every kind, some of them very like ours.
const FOREIGN: [&str; 42] = [
    "ip link add foreign0 type veth peer name foreign1",
    "ip link set foreign1 up",
    "ip link set foreign0 alias another up",
    "ip addr add 10.99.0.1/24 dev foreign0",
    "ip addr add fd99::1/64 dev foreign0 nodad",
    // A veth that looks like a pod's, and one of another network of this plugin's.
    "ip link add vethf0123456789 type veth peer name inside0",
    "ip link set vethf0123456789 alias flatnet:podsx/pod/eth0 group 1711280129 up",
    "ip link set inside0 up",
    "ip link add bridge0 type bridge",
    "ip link add port0 type veth peer name port1",
    "ip link set port1 up",
    "ip link set port0 master bridge0 up",
    "bridge fdb add 02:00:00:00:00:77 dev port0 master static",
    // VXLAN devices that share the port, or the VNI, but not both.
    "ip link add vx0 type vxlan id 99 local 192.168.50.1 dstport 4789 nolearning",
    "ip link set vx0 up",
    "bridge fdb add 02:00:00:00:00:78 dev vx0 dst 192.168.50.99 self permanent",
    "ip link add vx1 type vxlan id 4096 local 192.168.50.1 dstport 8472 nolearning",
    "ip link set vx1 up",
    "ip route add 10.88.0.0/16 via 10.99.0.2 dev foreign0",
    "ip route add 10.87.0.0/16 dev foreign0 proto 102",
    "ip route add 10.244.2.77/32 dev foreign0 proto static",
    "ip route add blackhole 10.86.0.0/16 proto 102",
    "ip route add default via 10.99.0.2 dev foreign0 table 77",
    "ip -6 route add fd88::/64 via fd99::2 dev foreign0",
    "ip -6 route add fd87::/64 dev foreign0 proto 102",
    "ip -6 route add fd00:10:244:2::77/128 dev foreign0",
    "ip rule add from 10.99.0.0/24 table 77 priority 500",
    "ip -6 rule add from fd99::/64 table 77 priority 500",
    "ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 dev foreign0 nud permanent",
    "ip neigh add 10.99.0.3 lladdr 02:00:00:00:00:03 dev foreign0 nud permanent protocol 102",
    "ip neigh add fd99::2 lladdr 02:00:00:00:00:02 dev foreign0 nud permanent",
    "nft add table inet other",
    "nft add chain inet other forward { type filter hook forward priority 5 ; }",
    "nft add rule inet other forward counter comment \"theirs\"",
    "nft add set inet other vteps-4096 { type ipv4_addr ; }",
    "nft add element inet other vteps-4096 { 192.0.2.1 }",
    "nft add table ip flatnet",
    "nft add chain ip flatnet prerouting-4096 { type filter hook prerouting priority raw ; }",
    // In our own table, too.
    "nft add table inet flatnet",
    "nft add chain inet flatnet theirs",
    "nft add rule inet flatnet theirs counter accept",
    "nft add set inet flatnet theirs { type ipv4_addr ; }",
];

/// What ours is known by, among lines of the views of a namespace; and what the kernel makes for a
/// router, which a node becomes: anycast addresses and multicast MACs.
fn is_ours(line: &str) -> bool {
    let of_pod = line.contains("dev veth") && !line.contains("dev vethf0123456789");
    // The last begins the metric of routes that end what no node has: 0xfe000000 and the VNI.
    let marks = ["dev flat.", "anycast ", "33:33:", "metric 42614"];
    of_pod || marks.iter().any(|mark| line.contains(mark))
}

/// The objects of others, by the command that shows them. What is ours stands between them.
fn foreign(netns: &Netns) -> BTreeMap<String, Vec<String>> {
    let views = ["ip route show table all", "ip -6 route show table all", "ip rule", "ip -6 rule"];
    let views = views.into_iter().chain(["ip neigh show nud permanent", "bridge fdb"]);
    let lines = |view: &str| {
        let text = netns.exec(view);
        text.lines().filter(|line| !is_ours(line)).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut found: BTreeMap<_, _> = views.map(|view| (view.to_owned(), lines(view))).collect();
    for link in
        ["foreign0", "vethf0123456789", "inside0", "bridge0", "port0", "vx0", "vx1", "under0"]
    {
        // A bridge's details and its ports' have timers.
        let details = if link == "bridge0" || link == "port0" { "" } else { "-d" };
        let view = format!("ip {details} addr show dev {link}");
        found.insert(view.clone(), netns.exec(&view).lines().map(str::to_owned).collect());
    }
    for nft in [
        "table inet other",
        "table ip flatnet",
        "chain inet flatnet theirs",
        "set inet flatnet theirs",
    ] {
        let view = format!("nft -a list {nft}");
        found.insert(view.clone(), netns.exec(&view).lines().map(str::to_owned).collect());
    }
    found
}

/// All settings of the network that are no device's of ours.
fn settings(netns: &Netns) -> BTreeMap<String, Vec<String>> {
    netns.run(|| {
        let mut found = BTreeMap::new();
        let mut pending = vec![Path::new("/proc/sys/net").to_owned()];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                let ours = name.starts_with("flat.")
                    || (name.starts_with("veth") && name != "vethf0123456789");
                // What connection tracking counts is no setting; nor is the whole machine's.
                if ours || name == "nf_conntrack_count" || path.starts_with("/proc/sys/net/core") {
                    continue;
                }
                if path.is_dir() {
                    pending.push(path);
                } else if let Ok(value) = fs::read_to_string(&path) {
                    found.insert(path.display().to_string(), vec![value]);
                }
            }
        }
        found
    })
}

/// The settings that are documented to change when the first pod comes.
fn may_change(difference: &str) -> bool {
    // By foreign0 routes lead to a router: packets of pods may leave there.
    difference.contains("/ipv4/conf/under0/forwarding")
        || difference.contains("/ipv4/conf/foreign0/forwarding")
        || (difference.contains("/ipv6/conf/") && difference.contains("/forwarding"))
}

/// GC with nothing alive.
fn gc(node: &Node) {
    let mut configuration = node.network.configuration.clone();
    configuration["cni.dev/valid-attachments"] = json!([]);
    node.call("GC").stdin(configuration.to_string().as_bytes()).run().silent();
}

#[test]
fn what_others_have_stays() {
    let cluster = Cluster::new(3);
    // What is routed elsewhere below is no pod's.
    cluster.begin_with_the_first();
    let node = &cluster.nodes[0];
    // Link-local addresses would come late.
    kernel::set_sysctl(&node.netns, "ipv6/conf/default/addr_gen_mode", "1");
    FOREIGN.iter().for_each(|line| drop(node.netns.exec(line)));
    for link in ["foreign0", "vethf0123456789", "inside0", "port0"] {
        kernel::wait_until_up(&node.netns, link);
    }
    let (before, settings_before) = (foreign(&node.netns), settings(&node.netns));
    assert!(settings_before.len() > 500, "{}", settings_before.len());
    let same = |step: &str| {
        let changed = snapshot::difference(&before, &foreign(&node.netns));
        assert!(changed.is_empty(), "{step}: {}", changed.join("\n"));
    };

    cluster.list(&[0, 1]);
    let (first, second) = (node.add("first"), node.add("second"));
    same("ADD");
    let changed = snapshot::difference(&settings_before, &settings(&node.netns));
    let unexpected: Vec<_> = changed.iter().filter(|line| !may_change(line)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let settings_with_pods = settings(&node.netns);

    // Beside ours on our own device.
    for line in [
        "ip route add 10.85.0.0/16 dev flat.4096 proto static",
        "ip neigh add 10.85.0.1 lladdr 02:00:00:00:00:85 dev flat.4096 nud permanent",
    ] {
        node.netns.exec(line);
    }
    let on_ours = || {
        let routes = node.netns.exec("ip route show dev flat.4096 proto static");
        routes + &node.netns.exec("ip neigh show 10.85.0.1 dev flat.4096")
    };
    let on_ours_before = on_ours();
    node.del(&first).silent();
    same("DEL");
    gc(node);
    same("GC");
    node.forget_overlay();
    let third = node.add("third");
    same("the overlay looked at again");
    cluster.list(&[0, 1, 2]);
    let fourth = node.add("fourth");
    same("a node that joins");
    cluster.list(&[0, 2]);
    let fifth = node.add("fifth");
    same("a node that leaves");
    assert_eq!(on_ours(), on_ours_before);

    let nodes: Vec<Value> = cluster.nodes.iter().map(Node::entry).collect();
    cluster.write_range_file(&json!({ "version": 1, "vni": 77, "nodes": nodes }));
    let sixth = node.add("sixth");
    same("another vni");
    for pod in [&second, &third, &fourth, &fifth, &sixth] {
        node.del(pod).silent();
    }
    same("the last DEL");
    let changed = snapshot::difference(&settings_with_pods, &settings(&node.netns));
    assert!(changed.is_empty(), "{changed:#?}");
}

/// Sends as many datagrams as there are flows over another VXLAN device of a node, and waits for each.
fn all_flows_arrive(from: &Netns, to: &Netns, address: IpAddr) {
    const FLOWS: usize = 32;
    let inbox = to.run(|| UdpSocket::bind((address, 0))).expect("a socket");
    inbox.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let to = inbox.local_addr().expect("its address");
    let send = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.send_to(&[7; 100], to);
    let sent = from.run(|| (0..FLOWS).try_for_each(|_| send().map(drop)));
    sent.expect("a datagram of each flow");
    for n in 0..FLOWS {
        inbox.recv_from(&mut [0; 128]).unwrap_or_else(|error| panic!("{n} of {FLOWS}: {error}"));
    }
}

/// Of another VNI, on the same port, with a checksum outside that the card is to compute inside: iproute2's default.
#[test]
fn a_node_s_own_flows_over_another_vxlan_device_stay_whole() {
    for v6_underlay in [false, true] {
        let cluster = Cluster::with(Settings { nodes: 2, mtu: 1500, v6_underlay });
        let [a, b] = &cluster.nodes[..] else { unreachable!() };
        for (n, (node, peer)) in (1..).zip([(a, b), (b, a)]) {
            let (own, other) = (node.vtep, peer.vtep);
            for line in [
                format!("ip link add vx0 type vxlan id 42 local {own} remote {other} dstport 4789"),
                "ip link set vx0 addrgenmode none up".to_owned(),
                format!("ip addr add 10.99.0.{n}/24 dev vx0"),
                format!("ethtool -K {UNDERLAY} tx off"),
            ] {
                node.netns.exec(&line);
            }
        }
        let there = [10, 99, 0, 2].into();
        all_flows_arrive(&a.netns, &b.netns, there);
        let (left, right) = (a.add("left"), b.add("right"));
        probe::ping(&left.netns, right.v4());
        all_flows_arrive(&a.netns, &b.netns, there);
    }
}

/// What ADD says where something is in its way; nothing of ours is left, and nothing of theirs gone.
fn refused(node: &Node) -> CniError {
    // The node is a router already, so that this adds nothing to what is compared.
    kernel::set_sysctl(&node.netns, "ipv6/conf/all/forwarding", "1");
    let before = snapshot::namespace(&node.netns);
    let error = node.call_for("ADD", &Pod::new("refused")).run().error();
    let mut after = snapshot::namespace(&node.netns);
    // The rules come before the device and wait for it.
    after.insert("nft list ruleset", before["nft list ruleset"].clone());
    assert_eq!(snapshot::difference(&before, &after), Vec::<String>::new());
    assert_eq!(node.leases(), Vec::<Value>::new());
    error
}

#[test]
fn a_vxlan_device_in_the_way_is_named() {
    // (how the other device is made, its name, what else the error says)
    let cases = [
        ("theirs type vxlan id 4096 local 192.168.50.1 dstport 4789", "theirs", "VNI 4096"),
        ("theirs type vxlan external dstport 4789", "theirs", "UDP port 4789"),
        ("theirs type vxlan id 99 gbp dstport 4789", "theirs", "UDP port 4789"),
        ("flat.4096 type vxlan id 5 dstport 8472", "flat.4096", "was not made by flatnet"),
        ("flat.4096 type veth peer name theirs", "flat.4096", "is no VXLAN device"),
    ];
    for (made, name, says) in cases {
        let cluster = Cluster::new(2);
        let node = &cluster.nodes[0];
        kernel::set_sysctl(&node.netns, "ipv6/conf/default/addr_gen_mode", "1");
        // A decoy: it has the VNI on another port.
        let decoy = "decoy0 type vxlan id 4096 local 192.168.50.1 dstport 8473";
        node.netns.exec(&format!("ip link add {decoy}"));
        node.netns.exec("ip link set decoy0 up");
        node.netns.exec(&format!("ip link add {made}"));
        node.netns.exec(&format!("ip link set {name} up"));
        let error = refused(node);
        assert_eq!(error.code, 104, "{made}: {error:?}");
        assert!(error.msg.contains(name) && error.msg.contains(says), "{made}: {error:?}");
        node.netns.exec(&format!("ip link delete {name}"));
        let (left, right) = (node.add("left"), cluster.nodes[1].add("right"));
        probe::ping(&left.netns, right.v4());
        assert!(kernel::link_names(&node.netns).contains("decoy0"));
    }
}

#[test]
fn a_program_that_has_the_port_is_told() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let socket = node.netns.run(|| std::net::UdpSocket::bind("0.0.0.0:4789")).unwrap();
    let error = refused(node);
    assert_eq!(error.code, 104, "{error:?}");
    assert!(error.msg.contains("another program (ss -ulpn sport = :4789)"), "{error:?}");
    drop(socket);
    node.netns.until_udp_is_free(4789);
    node.add("pod");
}
