//! `directRouting`: packets to an adjacent peer go as they are, those to any other peer through
//! VXLAN, and changing it breaks no connection.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe::{self, Counter, Flow};
use flatnet_tests::{kernel, sync};
use serde_json::{Value, json};

/// Writes the range file with `directRouting` and applies it on every node.
fn switch(cluster: &Cluster, direct: bool) {
    let nodes: Vec<Value> = cluster.nodes.iter().map(Node::entry).collect();
    cluster.write_range_file(&json!({
        "version": 1,
        "vni": cluster.network.vni,
        "clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/56"],
        "directRouting": direct,
        "nodes": nodes,
    }));
    cluster.nodes.iter().for_each(|node| drop(sync::apply(node)));
}

/// A cluster whose hosts filter by the way back, strictly, as RFC 3704 says.
fn strict(settings: Settings) -> Cluster {
    let cluster = Cluster::with(settings);
    for node in &cluster.nodes {
        kernel::set_sysctl(&node.netns, "ipv4/conf/all/rp_filter", "1");
    }
    cluster
}

/// How an echo request from one pod to an address of another's comes to the other's node: as it
/// is, and in an outer packet.
fn arrives(from: &Pod, to: (&Node, IpAddr)) -> (u64, u64) {
    let (node, address) = to;
    let (family, echo) = match address {
        IpAddr::V4(_) => ("ip", "icmp type echo-request"),
        IpAddr::V6(_) => ("ip6", "icmpv6 type echo-request"),
    };
    let by = format!("iifname {UNDERLAY}");
    let plain =
        Counter::new(&node.netns, "prerouting", &format!("{by} {family} daddr {address} {echo}"));
    let outer = Counter::new(&node.netns, "prerouting", &format!("{by} udp dport 4789"));
    probe::ping(&from.netns, address);
    (plain.packets(), outer.packets())
}

#[test]
fn an_adjacent_peer_gets_packets_as_they_are() {
    let cluster = strict(Settings { nodes: 2, mtu: 1500, v6_underlay: false });
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    switch(&cluster, true);
    let (left, right) = (a.add("left"), b.add("right"));
    assert_eq!(arrives(&left, (b, right.v4())), (1, 0));
    // The other family has no next hop on this underlay.
    assert_eq!(arrives(&left, (b, right.v6())), (0, 1));
    assert_eq!(arrives(&right, (a, left.v4())), (1, 0));
    let route = kernel::routes(&a.netns).into_iter().find(|route| route.dst == "10.244.2.0/24");
    let route = route.expect("a route to the peer's range");
    assert_eq!((route.via.as_deref(), route.dev.as_str()), (Some("192.168.50.2"), UNDERLAY));
    assert_eq!((route.src.as_deref(), route.onlink), (Some("10.244.1.0"), false));
    // The pod is seen by its own address, and the node by its own in the overlay.
    probe::transfer(&left.netns, &right.netns, right.v4(), 3_000_000);
    probe::ping(&a.netns, right.v4());

    switch(&cluster, false);
    assert_eq!(arrives(&left, (b, right.v4())), (0, 1));
    assert!(kernel::routes(&a.netns).iter().all(|route| route.dev != UNDERLAY));
}

#[test]
fn an_ipv6_underlay_carries_ipv6_pods_directly() {
    let cluster = strict(Settings { nodes: 2, mtu: 1500, v6_underlay: true });
    for (n, node) in (1..).zip(&cluster.nodes) {
        // As every host has one: a router asks for its neighbours by it.
        node.netns.exec(&format!("ip addr add fe80::{n}/64 dev {UNDERLAY} nodad"));
    }
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    switch(&cluster, true);
    let (left, right) = (a.add("left"), b.add("right"));
    assert_eq!(arrives(&left, (b, right.v6())), (1, 0));
    assert_eq!(arrives(&left, (b, right.v4())), (0, 1));
    switch(&cluster, false);
    assert_eq!(arrives(&left, (b, right.v6())), (0, 1));
}

#[test]
fn a_peer_behind_a_router_is_reached_through_the_overlay() {
    let cluster = strict(Settings { nodes: 3, mtu: 1500, v6_underlay: false });
    let [a, b, c] = &cluster.nodes[..] else { unreachable!() };
    let (router, hop) = cluster.outsider(254);
    kernel::set_sysctl(&router, "ipv4/conf/all/forwarding", "1");
    for dev in ["all", UNDERLAY] {
        kernel::set_sysctl(&router, &format!("ipv4/conf/{dev}/send_redirects"), "0");
    }
    // Both ways through the router, on one wire: as two subnets would be.
    for (node, far) in [(a, c), (b, c), (c, a), (c, b)] {
        node.netns.exec(&format!("ip route add {}/32 via {hop}", far.vtep));
    }
    switch(&cluster, true);
    let pods = [a.add("a"), b.add("b"), c.add("c")];
    assert_eq!(arrives(&pods[0], (b, pods[1].v4())), (1, 0), "adjacent");
    assert_eq!(arrives(&pods[0], (c, pods[2].v4())), (0, 1), "routed");
    assert_eq!(arrives(&pods[2], (b, pods[1].v4())), (0, 1), "routed");
    for from in &pods {
        for to in &pods {
            to.addresses().iter().for_each(|address| probe::ping(&from.netns, *address));
        }
    }
}

#[test]
fn switching_loses_no_packet() {
    let cluster = Cluster::new(2);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let (left, right) = (a.add("left"), b.add("right"));
    probe::ping(&left.netns, right.v4());
    for direct in [true, false, true] {
        let flow = Flow::start(&left.netns, &right.netns, right.v4());
        // One node after the other: meanwhile each sends in its own way.
        switch(&cluster, direct);
        let tally = flow.finish(Duration::from_millis(100));
        assert_eq!(tally.sent, tally.answered, "directRouting: {direct}");
        let (plain, outer) = arrives(&left, (b, right.v4()));
        assert_eq!((plain, outer), if direct { (1, 0) } else { (0, 1) });
    }
}

/// Also over IPv6, where a route that leaves the uplink is gone for a moment.
#[test]
fn switching_breaks_no_connection() {
    for v6_underlay in [false, true] {
        let cluster = strict(Settings { nodes: 2, mtu: 1500, v6_underlay });
        for (n, node) in (1..).zip(&cluster.nodes) {
            node.netns.exec(&format!("ip addr add fe80::{n}/64 dev {UNDERLAY} nodad"));
        }
        let (left, right) = (cluster.nodes[0].add("left"), cluster.nodes[1].add("right"));
        let address = if v6_underlay { right.v6() } else { right.v4() };
        let listener = right.netns.run(|| TcpListener::bind((address, 0))).expect("listen");
        let target = listener.local_addr().expect("an address");
        let client = left.netns.run(|| TcpStream::connect(target)).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        for (direct, word) in
            [(false, *b"as it was"), (true, *b"direct..."), (false, *b"and back.")]
        {
            switch(&cluster, direct);
            for (mut from, mut to) in [(&client, &server), (&server, &client)] {
                // Lost segments are sent again until the other node has switched, too.
                to.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
                from.write_all(&word).expect("a connection that stands");
                let mut heard = [0; 9];
                to.read_exact(&mut heard).expect("a connection that stands");
                assert_eq!(heard, word);
            }
        }
    }
}

#[test]
fn direct_routes_are_put_right_and_go_with_their_network() {
    let cluster = Cluster::new(2);
    let a = &cluster.nodes[0];
    switch(&cluster, true);
    assert_eq!(sync::plan(a), Vec::<String>::new());
    a.netns.exec("ip route del 10.244.2.0/24");
    let planned = sync::plan(a);
    assert_eq!(planned.len(), 1, "{planned:?}");
    let expected = format!(
        "ip route replace 10.244.2.0/24 via 192.168.50.2 dev {UNDERLAY} proto 102 src 10.244.1.0 metric "
    );
    assert!(planned[0].starts_with(&expected), "{planned:?}");
    sync::apply(a);
    // Another program's route by the same device is none of ours.
    a.netns.exec(&format!("ip route add 10.99.0.0/16 via 192.168.50.2 dev {UNDERLAY} proto 102"));
    assert_eq!(sync::plan(a), Vec::<String>::new());
    let mut nodes: Vec<Value> = cluster.nodes.iter().map(Node::entry).collect();
    cluster.write_range_file(&json!({
        "version": 1, "vni": 77, "directRouting": true, "nodes": nodes,
    }));
    sync::apply(a);
    let direct = |dst: &str| {
        let routes = kernel::routes(&a.netns).into_iter();
        routes.filter(|route| route.dst == dst).map(|route| route.dev).collect::<Vec<_>>()
    };
    assert_eq!(direct("10.244.2.0/24"), [UNDERLAY], "under the new VNI, once");
    nodes.truncate(1);
    cluster.write_range_file(&json!({ "version": 1, "vni": 77, "nodes": nodes }));
    sync::apply(a);
    assert_eq!(direct("10.244.2.0/24"), [""; 0]);
    assert_eq!(direct("10.99.0.0/16"), [UNDERLAY]);
}
