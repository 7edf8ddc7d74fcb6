//! A node that the range file lists and that has no pod: the others send to it and trust its VTEP, so
//! its overlay, its rules and its forwarding stand as soon as anything of flatnet runs there, and go
//! only when it is listed no more.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use flatnet_tests::cli::{conf_dir, run, text};
use flatnet_tests::cluster::{Cluster, Settings};
use flatnet_tests::frame::{ethernet, udp, vxlan};
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::said;
use flatnet_tests::raw::{Sink, Token, stay_on_one_processor};
use flatnet_tests::wait::wait_for;
use flatnet_tests::{kernel, probe, snapshot, sync};
use serde_json::json;

/// A way in which something of flatnet runs on a node without a pod.
type Way = (&'static str, fn(&Node));

const WAYS: [Way; 3] = [
    ("install", install),
    ("STATUS", |node| node.call("STATUS").run().silent()),
    ("sync", |node| assert!(sync::apply(node).contains("changes made"))),
];

fn install(node: &Node) {
    let root = node.network.state_dir.with_file_name(format!("{}.root", node.name));
    let place = |name: &str| root.join(name).display().to_string();
    let conf = conf_dir(node, &[]).join("10-pods.conflist").display().to_string();
    let (bin, net) = (place("bin"), place("net.d"));
    let told = run(node, "install", &["--conf", &conf, "--cni-bin-dir", &bin, "--conf-dir", &net]);
    let words = text(&told, 0);
    let overlay = words.find(&format!("pods on {}: ", node.name)).expect("the overlay");
    let configuration = words.find("10-pods.conflist: installed").expect("the configuration");
    assert!(overlay < configuration, "{words}");
}

#[test]
fn a_listed_node_is_reached_before_its_first_pod() {
    for (way, bring_up) in WAYS {
        let cluster = Cluster::new(2);
        let [a, b] = &cluster.nodes[..] else { unreachable!() };
        let pod = a.add("pod");
        // Its own address too, where a control plane's API server listens: the way back is the overlay.
        let own: Vec<IpAddr> = b.vtep_addresses().into_iter().chain([b.vtep]).collect();
        assert_eq!(own.len(), 3);
        let answers = |to: &IpAddr| probe::reaches(&pod.netns, *to);
        assert!(!own.iter().any(answers), "{way}: nothing stands yet");
        bring_up(b);
        let link =
            kernel::link(&b.netns, "flat.4096").unwrap_or_else(|| panic!("{way}: no overlay"));
        assert!(link["flags"].as_array().unwrap().contains(&json!("UP")), "{way}: {link}");
        b.netns.exec("nft list set inet flatnet vteps-4096");
        for forwarding in ["ipv4/conf/under0/forwarding", "ipv6/conf/all/forwarding"] {
            assert_eq!(kernel::sysctl(&b.netns, forwarding), "1", "{way}: {forwarding}");
        }
        own.iter().for_each(|to| probe::ping(&pod.netns, *to));
        pod.addresses().iter().for_each(|to| probe::ping(&b.netns, *to));
        b.assert_no_attachment();
        assert_eq!(sync::plan(b), Vec::<String>::new(), "{way}");
    }
}

/// A container of another program on a node, whose packets the node masquerades, in both families.
fn masqueraded(node: &Node) -> Netns {
    let container = Netns::new("theirs");
    let inside = container.name();
    let host = &node.netns;
    host.exec(&format!("ip link add their0 type veth peer name eth0 netns {inside}"));
    host.exec("ip addr add 172.17.0.1/16 dev their0");
    host.exec("ip addr add fd17::1/64 dev their0 nodad");
    host.exec("ip link set their0 up");
    container.exec("ip addr add 172.17.0.2/16 dev eth0");
    container.exec("ip addr add fd17::2/64 dev eth0 nodad");
    container.exec("ip link set eth0 up");
    container.exec("ip route add default via 172.17.0.1");
    container.exec("ip route add default via fd17::1");
    kernel::wait_until_up(host, "their0");
    kernel::wait_until_up(&container, "eth0");
    kernel::set_sysctl(host, "ipv4/ip_forward", "1");
    kernel::set_sysctl(host, "ipv6/conf/all/forwarding", "1");
    host.exec("nft add table inet theirs");
    host.exec("nft add chain inet theirs nat { type nat hook postrouting priority 100 ; }");
    host.exec("nft add rule inet theirs nat iifname their0 masquerade");
    container
}

/// Sends from a socket that any user may open, at a port from which overlays are heard.
fn post(from: &Netns, to: IpAddr, port: u16, payload: &[u8]) {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let sent = from.bound(|| UdpSocket::bind((any, 50_000))).send_to(payload, (to, port));
    assert_eq!(sent.unwrap_or_else(|e| panic!("to {to}: {e}")), payload.len());
}

/// Datagrams to a node's VXLAN port whose inner packets, one of each family, are for its pod.
fn forged(node: &Node, pod: &Pod) -> Vec<(Token, Vec<u8>)> {
    let to = kernel::mac(&node.netns, "flat.4096");
    let sources: [IpAddr; 2] =
        ["10.244.2.77".parse().unwrap(), "fd00:10:244:2::77".parse().unwrap()];
    let pairs = sources.into_iter().zip([pod.v4(), pod.v6()]);
    pairs
        .map(|(source, target)| {
            let token = Token::new();
            let packet = udp((source, 7).into(), (target, 5353).into(), &token.payload());
            let inner = ethernet(to, [2, 0, 0, 0, 0, 7], &packet);
            (token, vxlan(node.network.vni, &inner))
        })
        .collect()
}

#[test]
fn a_listed_node_is_no_door_before_its_first_pod() {
    stay_on_one_processor();
    for (v6_underlay, (way, bring_up)) in
        [false, true].into_iter().flat_map(|v6| WAYS.map(|w| (v6, w)))
    {
        let cluster = Cluster::with(Settings { nodes: 2, mtu: 1500, v6_underlay });
        let [a, b] = &cluster.nodes[..] else { unreachable!() };
        let pod = a.add("pod");
        let container = masqueraded(b);
        let inside = Sink::frames(&pod.netns);
        bring_up(b);

        let attempts = forged(a, &pod);
        attempts.iter().for_each(|(_, datagram)| post(&container, a.vtep, 4789, datagram));
        // What the container may send does arrive, masqueraded, and what the node sends does too.
        let (ordinary, honest) = (Token::new(), Token::new());
        let host = Sink::udp(&a.netns, a.vtep.is_ipv4(), 5354);
        post(&container, a.vtep, 5354, &ordinary.payload());
        host.until(ordinary);
        post(&b.netns, pod.v4(), 5353, &honest.payload());
        let seen = inside.until(honest);
        for (token, _) in attempts {
            assert!(!seen.contains(&token), "{way}, IPv6 underlay {v6_underlay}: it got in");
        }

        // It is the node's rules that keep it out.
        b.netns.exec("nft delete table inet flatnet");
        for (token, datagram) in forged(a, &pod) {
            post(&container, a.vtep, 4789, &datagram);
            inside.until(token);
        }
    }
}

/// `flatnet remove pods`: its exit code, and what it said.
fn remove(node: &Node, more: &[&str]) -> (Option<i32>, String) {
    let state_dir = node.network.state_dir.display().to_string();
    let output = run(node, "remove", &[&["pods", "--state-dir", &state_dir], more].concat());
    (output.status.code(), said(&output))
}

#[test]
fn a_network_stays_while_the_range_file_lists_the_node() {
    for v6_underlay in [false, true] {
        let cluster = Cluster::with(Settings { nodes: 2, mtu: 1500, v6_underlay });
        let [a, b] = &cluster.nodes[..] else { unreachable!() };
        let path = &cluster.network.range_file;
        let seen = || (snapshot::namespace(&a.netns), snapshot::folder(&cluster.network.state_dir));
        let stands = || kernel::link(&a.netns, "flat.4096").is_some();
        let refused = |words: &[&str]| {
            let before = seen();
            let (code, said) = remove(a, &[]);
            assert_eq!(code, Some(2), "{said}");
            words.iter().for_each(|word| assert!(said.contains(word), "{word:?}: {said}"));
            assert_eq!(seen(), before);
        };
        let file = path.display().to_string();
        let vtep = a.vtep.to_string();

        // Just written, so that the stamp does not trust its times yet.
        cluster.list(&[0, 1]);
        sync::apply(a);
        refused(&[&file, "lists this node as node-a", &vtep, "--force"]);
        cluster.settle();
        sync::apply(a);
        refused(&["lists this node as node-a"]);
        // Under another name it is trusted all the same.
        let renamed = json!({ "name": "other", "vtep": a.vtep, "ranges": a.ranges });
        let nodes = json!({ "version": 1, "vni": 4096, "nodes": [renamed, b.entry()] });
        cluster.write_range_file(&nodes);
        refused(&["lists this node as other", &vtep]);
        fs::write(path, "{").unwrap();
        refused(&[&file, "not valid JSON", "--force"]);

        // Told, listed no more, and without a file.
        cluster.list(&[0, 1]);
        sync::apply(a);
        assert_eq!(remove(a, &["--force"]).0, Some(0));
        assert!(!stands());
        sync::apply(a);
        cluster.list(&[1]);
        assert_eq!(remove(a, &[]).0, Some(0));
        assert!(!stands());
        cluster.list(&[0, 1]);
        sync::apply(a);
        fs::remove_file(path).unwrap();
        assert_eq!(remove(a, &[]).0, Some(0));
        assert!(!stands());
        assert_eq!(remove(a, &[]).0, Some(1), "there is nothing any more");
    }
}

#[test]
fn status_is_quick_and_hinders_no_call() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    // All of them find nothing there, and each of them brings it up.
    let pods = thread::scope(|scope| {
        let asked: Vec<_> =
            (0..4).map(|_| scope.spawn(|| node.call("STATUS").run().silent())).collect();
        let added: Vec<_> = (0..2).map(|_| scope.spawn(|| node.add("pod"))).collect();
        asked.into_iter().for_each(|thread| thread.join().unwrap());
        added.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(sync::plan(node), Vec::<String>::new());
    probe::ping(&pods[0].netns, pods[1].v4());
    probe::ping(&pods[0].netns, pods[1].v6());

    cluster.settle();
    node.call("STATUS").run().silent();
    let before = snapshot::folder(&cluster.network.state_dir);
    // Whatever else keeps the machine busy.
    wait_for("an answer at once", || {
        let begun = Instant::now();
        node.call("STATUS").run().silent();
        (begun.elapsed() < Duration::from_millis(100)).then_some(())
    });
    assert_eq!(snapshot::folder(&cluster.network.state_dir), before, "nothing is written");
}
