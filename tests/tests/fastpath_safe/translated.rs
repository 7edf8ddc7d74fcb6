//! Flows that a node translates go the usual way there, all of their packets, and those beside them that it does not
//! translate are not mixed up with them. To the other node they are like any other.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cnitool::Tool;
use flatnet_tests::fast_path::counts;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::stream::Stream;
use flatnet_tests::wait::{PATIENCE, again};
use serde_json::json;

use crate::scene::{Scene, cluster, with};

/// The port of all Services.
const PORT: u16 = 80;
const NODE_PORT: u16 = 30_080;

fn service(v6: bool) -> IpAddr {
    if v6 { "fd00:96::7".parse().expect("an address") } else { [10, 96, 0, 7].into() }
}

fn of(pod: &Pod, v6: bool) -> IpAddr {
    if v6 { pod.v6() } else { pod.v4() }
}

/// What kube-proxy in its nftables mode makes of a Service with one endpoint: a cluster IP and a node port, from
/// whose clients those are masqueraded that are outside or the endpoint itself. With `affinity` a client's
/// choice is kept.
fn publish(node: &Node, endpoint: SocketAddr, affinity: bool) {
    let v6 = endpoint.is_ipv6();
    let (ip, kind) = if v6 { ("ip6", "ipv6_addr") } else { ("ip", "ipv4_addr") };
    let own = endpoint.ip();
    let shown = endpoint.to_string();
    let keep = if affinity {
        format!("update @chosen {{ {ip} saddr timeout 3h }}")
    } else {
        String::new()
    };
    let mut lines = vec![format!("add table {ip} kube-proxy")];
    lines.extend([
        format!("add set {ip} kube-proxy chosen {{ type {kind} ; flags dynamic,timeout ; }}"),
        format!("add chain {ip} kube-proxy endpoint"),
        format!("add rule {ip} kube-proxy endpoint {ip} saddr {own} meta mark set 0x4000"),
    ]);
    for protocol in ["tcp", "udp"] {
        lines.push(format!(
            "add rule {ip} kube-proxy endpoint meta l4proto {protocol} {keep} dnat to {shown}"
        ));
    }
    for (chain, hook, priority) in [("pre", "prerouting", -100), ("out", "output", -100)] {
        lines.push(format!(
            "add chain {ip} kube-proxy {chain} {{ type nat hook {hook} priority {priority} ; }}"
        ));
        for protocol in ["tcp", "udp"] {
            lines.push(format!(
                "add rule {ip} kube-proxy {chain} {ip} daddr {} {protocol} dport {PORT} goto endpoint",
                service(v6)
            ));
            lines.push(format!(
                "add rule {ip} kube-proxy {chain} fib daddr type local {protocol} dport {NODE_PORT} meta mark set 0x4000 goto endpoint"
            ));
        }
    }
    lines.push(format!(
        "add chain {ip} kube-proxy post {{ type nat hook postrouting priority 100 ; }}"
    ));
    lines.push(format!("add rule {ip} kube-proxy post meta mark & 0x4000 == 0x4000 masquerade"));
    lines.iter().for_each(|line| drop(node.netns.exec(&format!("nft {line}"))));
}

fn retract(node: &Node, v6: bool) {
    node.netns.exec(&format!("nft delete table {} kube-proxy", if v6 { "ip6" } else { "ip" }));
}

/// Streams of both protocols from a client to a published address that lead to a program of a pod, in turn: each is
/// answered by the published address, and the node that translates learns nothing of it.
fn served(client: &Netns, pod: &Pod, to: SocketAddr, node: &Node, publish: impl Fn(SocketAddr)) {
    let own = of(pod, to.is_ipv6());
    let learned = || counts(node)["learned"];
    let before = learned();
    let answering = pod.netns.run(|| UdpSocket::bind((own, 0))).expect("bind");
    publish(answering.local_addr().expect("an address"));
    let listener = pod
        .netns
        .run(|| TcpListener::bind(answering.local_addr().expect("an address")))
        .expect("listen");
    let tcp = Stream::connected(client, &listener, to);
    tcp.goes_on();
    tcp.is_slow(&[node]);
    drop(tcp);
    let udp = Stream::between(client, answering, to);
    udp.goes_on();
    udp.is_slow(&[node]);
    assert_eq!(learned(), before, "{to}");
    drop(udp);
}

#[test]
fn services_are_served_the_usual_way() {
    for masquerade in [false, true] {
        let scene = Scene::of(with(2, false, &[("ipMasq", json!(masquerade))]));
        let a = scene.nodes()[0];
        for v6 in [false, true] {
            let to = SocketAddr::from((service(v6), PORT));
            // On the other node, on the same, and the client itself.
            for pod in [&scene.far, &scene.beside, &scene.near] {
                for affinity in [false, true] {
                    served(&scene.near.netns, pod, to, a, |endpoint| {
                        publish(a, endpoint, affinity)
                    });
                    retract(a, v6);
                }
            }
        }
        // The same pods, without NAT.
        for (pod, to, nodes) in scene.flows() {
            Stream::udp(&scene.near.netns, &pod.netns, to).warm(&nodes);
        }
    }
}

#[test]
fn node_ports_are_served_the_usual_way() {
    let scene = Scene::of(with(2, false, &[("ipMasq", json!(true))]));
    let [a, b] = scene.nodes();
    let (outside, _) = scene.cluster.outsider(200);
    let to = SocketAddr::from((a.vtep, NODE_PORT));
    // From outside, from the other node, from a pod of it and from one of its own.
    let far_too = b.add("far-too");
    let clients = [&outside, &b.netns, &far_too.netns, &scene.beside.netns];
    for client in clients {
        for pod in [&scene.far, &scene.near] {
            served(client, pod, to, a, |endpoint| publish(a, endpoint, false));
            retract(a, false);
        }
    }
}

/// A client that uses one port for a Service and for its endpoint itself, in this order or in the other.
#[test]
fn a_service_and_its_endpoint_at_the_same_time() {
    for service_first in [true, false] {
        let scene = Scene::new();
        let [a, b] = scene.nodes();
        for (pod, nodes) in [(&scene.far, &[a, b][..]), (&scene.beside, &[a])] {
            let answering = pod.netns.run(|| UdpSocket::bind((pod.v4(), 0))).expect("bind");
            let endpoint = answering.local_addr().expect("an address");
            publish(a, endpoint, false);
            let asking =
                scene.near.netns.run(|| UdpSocket::bind((scene.near.v4(), 0))).expect("bind");
            let mut ways = [SocketAddr::from((service(false), PORT)), endpoint];
            if !service_first {
                ways.reverse();
            }
            asking.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            answering.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let begin = Instant::now();
            let mut n = 0_u64;
            while begin.elapsed() < Duration::from_secs(5) {
                for to in ways {
                    n += 1;
                    asking.send_to(&n.to_be_bytes(), to).expect("send");
                    let mut packet = [0; 8];
                    let (_, from) = again(|| answering.recv_from(&mut packet)).expect("a question");
                    assert_eq!(packet, n.to_be_bytes());
                    answering.send_to(&packet, from).expect("send");
                    let (_, from) = again(|| asking.recv_from(&mut packet)).expect("an answer");
                    assert_eq!((from, packet), (to, n.to_be_bytes()));
                }
            }
            assert!(n > 100, "{n}");
            retract(a, false);
            Stream::udp(&scene.near.netns, &pod.netns, pod.v4()).warm(nodes);
        }
    }
}

#[test]
fn published_ports_are_served_the_usual_way() {
    let cluster: Cluster = cluster(2);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let tool = Tool::behind(
        &cluster,
        &[json!({ "type": "portmap", "capabilities": { "portMappings": true } })],
    );
    let mapping = |host: u16, protocol: &str| json!({ "hostPort": host, "containerPort": 8080, "protocol": protocol });
    let ports = json!({ "portMappings": [mapping(18_090, "tcp"), mapping(18_090, "udp")] });
    let pod = tool.add(a, "published", &ports);
    let client = b.add("client");
    let beside = a.add("beside");
    let (outside, _) = cluster.outsider(200);
    let nodes = [a, b];
    for netns in [&outside, &*client.netns, &*beside.netns] {
        let to = SocketAddr::from((a.vtep, 18_090));
        let answering = pod.netns.bound(|| UdpSocket::bind((pod.v4(), 8080)));
        let listener = pod.netns.bound(|| TcpListener::bind((pod.v4(), 8080)));
        for stream in
            [Stream::connected(netns, &listener, to), Stream::between(netns, answering, to)]
        {
            stream.goes_on();
            stream.is_slow(&nodes[..1]);
        }
    }
    // Without the port of the host.
    Stream::udp(&client.netns, &pod.netns, pod.v4()).warm(&nodes);
    tool.call(a, "del", &pod).capabilities(&ports).succeed();
}
