//! Beside what else writes packet filter rules on a node: the reference portmap, firewalld and
//! kube-proxy. Their translations and ours do not undo each other.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cnitool::Tool;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::wait::wait_for;
use flatnet_tests::{kernel, probe};
use serde_json::json;

/// How long a connection may take; far more than it ever does.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the pods' servers listen.
const PORT: u16 = 80;

/// Two nodes that masquerade, and a host outside.
fn scene() -> (Cluster, Netns, IpAddr) {
    let mut cluster = Cluster::new(2);
    cluster.configure("ipMasq", json!(true));
    let (outside, address) = cluster.outsider(200);
    for node in &cluster.nodes {
        node.netns.exec(&format!("ip route add default via {address}"));
    }
    (cluster, outside, address)
}

/// Connects from `client` to `target`, behind which `server` listens at its own address and port
/// 80; a word goes each way. Returns the client's address as the server sees it.
fn talk(client: &Netns, target: SocketAddr, server: &Pod) -> IpAddr {
    let own = if target.is_ipv4() { server.v4() } else { server.v6() };
    // A program that another test starts at this moment may still hold the last one open.
    let listen = || server.netns.run(|| TcpListener::bind((own, PORT))).ok();
    let listener = wait_for("a free TCP port", listen);
    let answer = || {
        let (mut stream, from) = listener.accept()?;
        let mut word = [0; 4];
        stream.read_exact(&mut word)?;
        stream.write_all(&word)?;
        Ok::<_, std::io::Error>(from.ip())
    };
    thread::scope(|scope| {
        let answering = scope.spawn(answer);
        let heard = client.run(|| {
            let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"word")?;
            let mut word = [0; 4];
            stream.read_exact(&mut word).map(|()| word)
        });
        if heard.is_err() {
            // Lets the server end.
            drop(server.netns.run(|| TcpStream::connect((own, PORT))));
        }
        let heard = heard.unwrap_or_else(|e| panic!("{} to {target}: {e}", client.name()));
        assert_eq!(&heard, b"word");
        answering.join().expect("the server").expect("a conversation")
    })
}

/// Asserts what every setup must leave as it is: pods see each other's own addresses, on both
/// nodes and both families, and what leaves has the node's address.
fn assert_flat_and_masqueraded(nodes: [(&Node, &Pod); 2], outside: &Netns, address: IpAddr) {
    let [(_, left), (_, right)] = nodes;
    for (from, to) in [(left, right), (right, left)] {
        for (own, target) in from.addresses().into_iter().zip(to.addresses()) {
            assert_eq!(talk(&from.netns, (target, PORT).into(), to), own);
            probe::transfer(&from.netns, &to.netns, target, 1 << 20);
        }
    }
    let listener = outside.run(|| TcpListener::bind((address, 0))).expect("listen");
    let target = listener.local_addr().expect("its address");
    for (node, pod) in nodes {
        let connect = || TcpStream::connect_timeout(&target, PATIENCE);
        let _stream = pod.netns.run(connect).expect("connect to the outside");
        assert_eq!(listener.accept().expect("accept").1.ip(), node.vtep);
        assert!(probe::ping_of_size(&pod.netns, address, 1450).status.success());
    }
}

#[test]
fn ports_are_mapped_beside_masquerading() {
    let (cluster, outside, address) = scene();
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let plugin = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let tool = Tool::behind(&cluster, &[plugin]);
    let mapping = json!({ "hostPort": 18_080, "containerPort": PORT, "protocol": "tcp" });
    let capabilities = json!({ "portMappings": [mapping] });
    let served = tool.add(a, "served", &capabilities);
    let (near, far) = (tool.add(a, "near", &json!({})), tool.add(b, "far", &json!({})));
    let mapped = SocketAddr::from((a.vtep, 18_080));
    // A client is seen under its own address, a pod that asks another node under that of its node; the
    // answer finds its way back through the mapping.
    assert_eq!(talk(&outside, mapped, &served), address);
    assert_eq!(talk(&far.netns, mapped, &served), b.vtep);
    assert_eq!(talk(&near.netns, mapped, &served), near.v4());
    // And from the node's loopback, whose address the pod's answers are for when they arrive there.
    let local = SocketAddr::from(([127, 0, 0, 1], 18_080));
    assert!(!talk(&a.netns, local, &served).is_loopback());
    assert_flat_and_masqueraded([(a, &near), (b, &far)], &outside, address);
    for (node, pod) in [(a, &served), (a, &near), (b, &far)] {
        tool.call(node, "del", pod).capabilities(&capabilities).succeed();
    }
    let rules = a.netns.exec("nft list ruleset");
    assert!(!rules.contains("18080"), "{rules}");
}

/// What firewalld sets up, as far as it decides over forwarded packets: established ones and those of
/// its zones pass, invalid ones do not; it masquerades for its zones.
const FIREWALLD: &str = "
table inet firewalld {
    chain filter_PREROUTING {
        type filter hook prerouting priority -140; policy accept;
        meta nfproto ipv6 fib saddr . mark . iif oif missing drop
    }
    chain filter_INPUT {
        type filter hook input priority 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname \"lo\" accept
        ct state invalid drop
    }
    chain filter_FORWARD {
        type filter hook forward priority 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname \"lo\" accept
        ct state invalid drop
    }
    chain nat_POSTROUTING {
        type nat hook postrouting priority 110; policy accept;
        oifname \"docker0\" masquerade
    }
}";

#[test]
fn firewalld_beside_us_drops_nothing_of_ours() {
    let (cluster, outside, address) = scene();
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let file = cluster.folder().join("firewalld.nft");
    std::fs::write(&file, FIREWALLD).expect("write its rules");
    let left = a.add("left");
    // On the one node it starts after us, on the other before.
    for node in [a, b] {
        node.netns.exec(&format!("nft -f {}", file.display()));
    }
    let right = b.add("right");
    assert_flat_and_masqueraded([(a, &left), (b, &right)], &outside, address);
    // A pod reaches the other node's own address: there and back on different devices.
    probe::ping(&left.netns, b.vtep);
    assert_eq!(talk(&b.netns, (left.v4(), PORT).into(), &left), b.vtep_addresses()[0]);
}

/// The rules of kube-proxy for one service, on a node: `10.96.0.10:80`, node port 30080, one pod.
fn kube_proxy(node: &Node, pod: IpAddr) {
    for rule in [
        "-t nat -N KUBE-MARK-MASQ",
        "-t nat -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
        "-t nat -N KUBE-POSTROUTING",
        "-t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-t nat -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
        "-t nat -A KUBE-POSTROUTING -j MASQUERADE --random-fully",
        "-t nat -A POSTROUTING -j KUBE-POSTROUTING",
        "-t nat -N KUBE-SEP",
        "-t nat -A KUBE-SEP -s POD/32 -j KUBE-MARK-MASQ",
        "-t nat -A KUBE-SEP -p tcp -j DNAT --to-destination POD:80",
        "-t nat -N KUBE-SERVICES",
        "-t nat -A KUBE-SERVICES ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p tcp -j KUBE-MARK-MASQ",
        "-t nat -A KUBE-SERVICES -d 10.96.0.10/32 -p tcp --dport 80 -j KUBE-SEP",
        "-t nat -A KUBE-SERVICES -p tcp --dport 30080 -j KUBE-MARK-MASQ",
        "-t nat -A KUBE-SERVICES -p tcp --dport 30080 -j KUBE-SEP",
        "-t nat -A PREROUTING -j KUBE-SERVICES",
        "-t nat -A OUTPUT -j KUBE-SERVICES",
        "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
        "-A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ] {
        node.netns.exec(&format!("iptables {}", rule.replace("POD", &pod.to_string())));
    }
}

#[test]
fn services_of_kube_proxy_work_beside_masquerading() {
    let (cluster, outside, address) = scene();
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let (client, server, neighbour) = (a.add("client"), b.add("server"), b.add("neighbour"));
    kube_proxy(a, server.v4());
    kube_proxy(b, server.v4());
    let service: SocketAddr = "10.96.0.10:80".parse().unwrap();
    // A pod that asks a service is seen under its own address, from this node and another.
    assert_eq!(talk(&client.netns, service, &server), client.v4());
    assert_eq!(talk(&neighbour.netns, service, &server), neighbour.v4());
    // Who is marked is masqueraded by kube-proxy, with the address of the device toward the pod: the
    // pod itself, a node, and the outside through a port of the node that does not have the pod.
    let node_itself = talk(&server.netns, service, &server);
    assert!(node_itself == b.vtep || b.vtep_addresses().contains(&node_itself), "{node_itself}");
    assert_eq!(talk(&a.netns, service, &server), a.vtep_addresses()[0]);
    assert_eq!(talk(&outside, (a.vtep, 30_080).into(), &server), a.vtep_addresses()[0]);
    assert_flat_and_masqueraded([(a, &client), (b, &server)], &outside, address);
}

/// flannel's, say, while a cluster moves away from it: its routes win as long as they stand, and when they go, ours
/// are there. Of IPv6 the kernel refuses ours beneath another device's (`ip6_route_check_nh_onlink`).
#[test]
fn routes_beneath_those_of_another_overlay_are_there_when_these_go() {
    let cluster = Cluster::new(2);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let other = [
        "ip link add flannel.1 type vxlan id 1 dstport 8472 nolearning",
        "ip link set flannel.1 up",
        "ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
        "ip route add fd00:10:244:2::/64 via fd00:10:244:2:: dev flannel.1 onlink",
    ];
    other.iter().for_each(|command| drop(a.netns.exec(command)));
    let (from, to) = (a.add("pod"), b.add("pod"));
    let routes = kernel::routes(&a.netns);
    let to_peer: Vec<&str> =
        routes.iter().filter(|route| route.via.is_some()).map(|route| &route.dst[..]).collect();
    assert_eq!(to_peer, ["10.244.2.0/24", "fd00:10:244:2::/64"], "{routes:?}");
    assert!(routes.iter().all(|route| route.dst != "fd00:10:244:2::"), "{routes:?}");
    for address in to.addresses() {
        assert!(!probe::reaches(&from.netns, address), "{address}: the other's route wins");
    }
    a.netns.exec("ip link delete flannel.1");
    for address in to.addresses() {
        probe::ping(&from.netns, address);
    }
}
