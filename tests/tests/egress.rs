//! What leaves the pod network, as those see it who receive it: masqueraded when asked, both
//! families, and nothing else.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

use flatnet_tests::capture::{Capture, Packet};
use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::kernel;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe;
use flatnet_tests::sync;
use flatnet_tests::wait::{PATIENCE, again, wait_for};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use serde_json::{Value, json};

/// Two nodes and a host outside with addresses of both families on the underlay.
fn scene(masquerade: bool) -> (Cluster, Netns, [IpAddr; 2]) {
    let mut cluster = Cluster::new(2);
    cluster.configure("ipMasq", json!(masquerade));
    for (node, n) in cluster.nodes.iter().zip(1..) {
        node.netns.exec(&format!("ip addr add fd00:50::{n}/64 dev {UNDERLAY} nodad"));
        discovers(node, n);
    }
    let (outside, v4) = cluster.outsider(200);
    outside.exec(&format!("ip addr add fd00:50::c8/64 dev {UNDERLAY} nodad"));
    (cluster, outside, [v4, "fd00:50::c8".parse().unwrap()])
}

/// Gives the uplink a link-local address, as every real one has: without one the kernel does not
/// ask for the neighbours of packets that it forwards.
fn discovers(node: &Node, n: u16) {
    node.netns.exec(&format!("ip addr add fe80::50:{n}/64 dev {UNDERLAY} nodad"));
}

/// The addresses that node `n` (from 1) has on the underlay.
fn uplink(n: u16) -> [IpAddr; 2] {
    [[192, 168, 50, n as u8].into(), [0xfd00, 0x50, 0, 0, 0, 0, 0, n].into()]
}

/// Sends one echo request and tells the source under which it crosses a device of the receiver.
/// Whether it is answered is not asked.
fn seen_source(from: &Netns, to: IpAddr, receiver: &Netns, device: &str) -> IpAddr {
    let wire = Capture::start(receiver, device);
    from.attempt(&format!("ping -n -c 1 -W 1 {to}"));
    let mut packets = Vec::new();
    // It may wait for a neighbour longer than for the answer. Neighbour discovery goes to the address itself, too,
    // when the entry is to be confirmed.
    let requests: Vec<IpAddr> = wait_for("the request", || {
        packets.extend(wire.packets());
        let is_request =
            |packet: &&Packet| packet.destination == to && packet.length == 84 + 20 * header(to);
        let sources: Vec<_> = packets.iter().filter(is_request).map(|it| it.source).collect();
        (!sources.is_empty()).then_some(sources)
    });
    assert_eq!(requests.len(), 1, "one request to {to}: {packets:?}");
    requests[0]
}

/// 1 for IPv6, whose header is 20 bytes longer than that of IPv4.
fn header(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

#[test]
fn what_leaves_has_the_uplinks_address() {
    for masquerade in [false, true] {
        let (cluster, outside, addresses) = scene(masquerade);
        let pod = cluster.nodes[0].add("pod");
        for ((to, own), uplink) in addresses.into_iter().zip(pod.addresses()).zip(uplink(1)) {
            let source = seen_source(&pod.netns, to, &outside, UNDERLAY);
            assert_eq!(source, if masquerade { uplink } else { own });
            if masquerade {
                assert_eq!(tcp_source(&pod.netns, &outside, to), uplink);
            }
        }
    }
}

/// The address under which a TCP server sees its client, which hears an answer.
fn tcp_source(client: &Netns, server: &Netns, to: IpAddr) -> IpAddr {
    let listener = server.run(|| TcpListener::bind((to, 0))).unwrap();
    let target = listener.local_addr().unwrap();
    let _stream = client.run(|| TcpStream::connect(target)).unwrap();
    listener.accept().unwrap().1.ip()
}

#[test]
fn pods_and_their_own_node_see_the_pods_address() {
    let (cluster, _outside, _) = scene(true);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let (pod, near, far) = (a.add("pod"), a.add("near"), b.add("far"));
    for (n, own) in pod.addresses().into_iter().enumerate() {
        let receivers: Vec<(IpAddr, &Netns, &str)> = vec![
            (near.addresses()[n], &near.netns, "eth0"),
            (far.addresses()[n], &far.netns, "eth0"),
            // Its own node, on the underlay and the overlay; the other one on the overlay.
            (uplink(1)[n], &a.netns, pod.veth()),
            (a.vtep_addresses()[n], &a.netns, pod.veth()),
            (b.vtep_addresses()[n], &b.netns, "flat.4096"),
        ];
        for (to, netns, device) in receivers {
            assert_eq!(seen_source(&pod.netns, to, netns, device), own, "to {to}");
            probe::ping(&pod.netns, to);
        }
    }
}

/// A cluster with `ipMasq`, a pod of `node-a`, and the address by which the underlay knows that node and
/// `node-b`, of the underlay's family.
fn to_another_node(v6_underlay: bool, nodes: Value) -> (Cluster, Pod, [IpAddr; 2]) {
    let mut cluster = Cluster::with(Settings { nodes: 2, mtu: 1500, v6_underlay });
    cluster.configure("ipMasq", json!(true));
    cluster.configure("ipMasqNodes", nodes);
    (1..).zip(&cluster.nodes).for_each(|(n, node)| discovers(node, n));
    let pod = cluster.nodes[0].add("pod");
    let addresses = [cluster.nodes[0].vtep, cluster.nodes[1].vtep];
    (cluster, pod, addresses)
}

#[test]
fn another_node_sees_the_node_of_a_pod() {
    for v6_underlay in [false, true] {
        let (cluster, pod, [own, other]) = to_another_node(v6_underlay, Value::Null);
        let b = &cluster.nodes[1];
        assert_eq!(seen_source(&pod.netns, other, &b.netns, UNDERLAY), own);
        // Also where nothing of ours stands there: no route leads back to a pod.
        assert_eq!(tcp_source(&pod.netns, &b.netns, other), own);
        let _there = b.add("there");
        for filter in ["0", "1", "2"] {
            for of in ["all", UNDERLAY] {
                kernel::set_sysctl(&b.netns, &format!("ipv4/conf/{of}/rp_filter"), filter);
            }
            assert_eq!(tcp_source(&pod.netns, &b.netns, other), own, "rp_filter {filter}");
        }
    }
}

#[test]
fn another_node_sees_the_pod_where_that_is_asked_for() {
    for v6_underlay in [false, true] {
        let (cluster, pod, [_, other]) = to_another_node(v6_underlay, json!(false));
        let b = &cluster.nodes[1];
        let _there = b.add("there");
        let own = pod.like(other);
        assert_eq!(seen_source(&pod.netns, other, &b.netns, UNDERLAY), own);
        assert_eq!(tcp_source(&pod.netns, &b.netns, other), own);
        if !v6_underlay {
            // What it needs, as its documentation says: the packets come by the underlay, the way
            // back is the overlay.
            kernel::set_sysctl(&b.netns, &format!("ipv4/conf/{UNDERLAY}/rp_filter"), "1");
            assert!(!probe::reaches(&pod.netns, other), "a strict filter lets it in");
        }
    }
}

/// The source ports under which another node sees datagrams that a pod sends from some ports, each answered.
fn ports_seen(pod: &Netns, node: &Netns, to: IpAddr, first: u16) -> Vec<u16> {
    const MANY: u16 = 60;
    let server = node.run(|| UdpSocket::bind((to, 0))).expect("bind");
    server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let target = server.local_addr().expect("an address");
    let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
    let seen = (0..MANY).map(|n| {
        let client = pod.run(|| UdpSocket::bind((any, first + n))).expect("bind");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        client.send_to(b"question", target).expect("a route");
        let mut room = [0; 16];
        let (length, from) = again(|| server.recv_from(&mut room)).expect("the question");
        server.send_to(&room[..length], from).expect("a route back");
        assert_eq!(again(|| client.recv(&mut room)).expect("the answer"), length);
        from.port()
    });
    seen.collect()
}

/// Whatever becomes of its destination port on the way, it is no packet of the overlay then.
#[test]
fn a_pod_reaches_another_node_from_no_port_of_overlays() {
    const FIRST: u16 = 49_152;
    for v6_underlay in [false, true] {
        let (cluster, pod, [_, other]) = to_another_node(v6_underlay, Value::Null);
        let node = &cluster.nodes[1].netns;
        let ports = ports_seen(&pod.netns, node, other, 50_000);
        assert!(ports.iter().all(|port| *port < FIRST), "{ports:?}");
        // Who tells by that that root has sent it, as servers of NFS do.
        let ports = ports_seen(&pod.netns, node, other, 700);
        assert!(ports.iter().all(|port| *port < 1024), "{ports:?}");
        // Another program that masquerades all that leaves keeps ports: it comes too late.
        let a = &cluster.nodes[0];
        for line in [
            "delete table inet flatnet".to_owned(),
            "add table inet other".to_owned(),
            "add chain inet other post { type nat hook postrouting priority 100 ; }".to_owned(),
            format!("add rule inet other post oifname {UNDERLAY} masquerade"),
        ] {
            a.netns.exec(&format!("nft {line}"));
        }
        sync::apply(a);
        let ports = ports_seen(&pod.netns, node, other, 51_000);
        assert!(ports.iter().all(|port| *port < FIRST), "{ports:?}");
        // Where nothing is translated they are as they were sent.
        let (cluster, pod, [_, other]) = to_another_node(v6_underlay, json!(false));
        let _there = cluster.nodes[1].add("there");
        let ports = ports_seen(&pod.netns, &cluster.nodes[1].netns, other, 50_000);
        assert!(ports.iter().all(|port| *port >= FIRST), "{ports:?}");
    }
}

/// What a node sends to a pod of another node from its address on the underlay goes by the overlay; the
/// answer must, too.
#[test]
fn a_program_bound_to_the_vtep_reaches_pods_of_other_nodes() {
    for v6_underlay in [false, true] {
        let (cluster, _pod, [own, _]) = to_another_node(v6_underlay, Value::Null);
        let [a, b] = &cluster.nodes[..] else { unreachable!() };
        let far = b.add("far");
        let to = far.like(own);
        for filter in ["0", "1", "2"] {
            for node in [a, b] {
                for of in ["all", UNDERLAY] {
                    kernel::set_sysctl(&node.netns, &format!("ipv4/conf/{of}/rp_filter"), filter);
                }
            }
            probe::ping_as(&a.netns, own, to);
            let seen = a.vtep_addresses().into_iter().find(|seen| seen.is_ipv4() == to.is_ipv4());
            let listener = far.netns.run(|| TcpListener::bind((to, 0))).unwrap();
            let target = listener.local_addr().unwrap();
            let _stream = a.netns.run(|| connect_as(own, target));
            assert_eq!(Some(listener.accept().unwrap().1.ip()), seen, "rp_filter {filter}");
        }
    }
}

/// A TCP connection from one of the namespace's own addresses.
fn connect_as(own: IpAddr, to: SocketAddr) -> OwnedFd {
    let family = if own.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let stream = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(stream.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((own, 0)))).unwrap();
    connect(stream.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
    stream
}

#[test]
fn multicast_is_never_masqueraded() {
    let (cluster, outside, addresses) = scene(true);
    let node = &cluster.nodes[0];
    let _pod = node.add("pod");
    node.netns.exec(&format!("ip route add 239.0.0.0/8 dev {UNDERLAY}"));
    // The node's own address in the pod network leaves by the uplink: nothing else would send
    // multicast there without a multicast router.
    for ((group, outside_address), own) in
        ["239.1.1.1", "ff0e::101"].into_iter().zip(addresses).zip(node.vtep_addresses())
    {
        let group: IpAddr = group.parse().unwrap();
        for (to, expected) in [(group, own), (outside_address, uplink(1)[header(group)])] {
            let wire = Capture::start(&outside, UNDERLAY);
            node.netns.attempt(&format!("ping -n -c 1 -W 1 -I {own} -I {UNDERLAY} {to}"));
            let sources: Vec<IpAddr> = wire
                .packets()
                .iter()
                .filter(|packet| packet.destination == to && packet.length > 80)
                .map(|packet| packet.source)
                .collect();
            assert_eq!(sources, [expected], "{own} to {to}");
        }
    }
}

/// The names of the chains of our table that translate addresses.
fn nat_chains(node: &Node) -> Vec<String> {
    let rules = node.netns.attempt("nft list table inet flatnet");
    let text = String::from_utf8(rules.stdout).unwrap();
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("chain "));
    lines.filter(|name| name.starts_with("postrouting")).map(str::to_owned).collect()
}

#[test]
fn masquerading_ends_when_it_is_no_longer_asked_for() {
    let (mut cluster, outside, [to, _]) = scene(true);
    let pod = cluster.nodes[0].add("pod");
    assert_eq!(seen_source(&pod.netns, to, &outside, UNDERLAY), uplink(1)[0]);
    assert_eq!(nat_chains(&cluster.nodes[0]), ["postrouting-4096 {"]);
    for absent in [json!(false), Value::Null] {
        cluster.configure("ipMasq", absent);
        let node = &cluster.nodes[0];
        let _next = node.add("next");
        assert_eq!(nat_chains(node), [""; 0]);
        assert_eq!(seen_source(&pod.netns, to, &outside, UNDERLAY), pod.v4());
        cluster.configure("ipMasq", json!(true));
        let _next = cluster.nodes[0].add("next");
        assert_eq!(seen_source(&pod.netns, to, &outside, UNDERLAY), uplink(1)[0]);
    }
}

#[test]
fn masquerading_follows_the_network_to_another_vni() {
    let (cluster, outside, [to, _]) = scene(true);
    let node = &cluster.nodes[0];
    let before = node.add("before");
    let entries: Vec<Value> = cluster.nodes.iter().map(Node::entry).collect();
    cluster.write_range_file(&json!({
        "version": 1, "vni": 77, "nodes": entries,
        "clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/56"],
    }));
    let after = node.add("after");
    assert_eq!(nat_chains(node), ["postrouting-77 {"]);
    for pod in [&before, &after] {
        assert_eq!(seen_source(&pod.netns, to, &outside, UNDERLAY), uplink(1)[0]);
    }
    inside_stays(&before, &after);
}

/// Two pods of one network that were attached under different VNIs are still in one network.
fn inside_stays(one: &Pod, other: &Pod) {
    for (own, to) in one.addresses().into_iter().zip(other.addresses()) {
        assert_eq!(seen_source(&one.netns, to, &other.netns, "eth0"), own);
        probe::ping(&one.netns, to);
    }
}
