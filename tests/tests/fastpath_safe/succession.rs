//! Addresses and ways that are another's now.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use flatnet_tests::capture::Capture;
use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::stream::{Stream, now};
use flatnet_tests::sync;
use flatnet_tests::wait::wait_for;
use flatnet_tests::watcher::Watcher;

use crate::scene::{Scene, cluster};

/// How many datagrams a namespace has got since it was made.
fn datagrams(netns: &Netns) -> u64 {
    let read = |name: &str| {
        let path = format!("/proc/thread-self/net/{name}");
        netns.run(|| std::fs::read_to_string(&path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    };
    // Four lines of IPv4, the names of the numbers first; of IPv6 one line for each number.
    let v4 = read("snmp");
    let v4: Vec<Vec<&str>> = v4
        .lines()
        .filter_map(|line| line.strip_prefix("Udp: "))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let v4 = v4[0].iter().zip(&v4[1]).map(|(name, number)| ((*name).to_owned(), *number));
    let v6 = read("snmp6");
    let v6 = v6.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.strip_prefix("Udp6")?.to_owned(), words.next()?))
    });
    let counted = v4.chain(v6).filter(|(name, _)| name == "InDatagrams" || name == "NoPorts");
    counted.map(|(_, number)| number.parse::<u64>().expect("a number")).sum()
}

/// A pod that gets the address of one that goes at this moment.
fn replace(node: &Node, pod: &Pod) -> Pod {
    node.del(pod).silent();
    node.begin_with_the_first("pods");
    let next = node.add("next");
    assert_eq!(next.addresses(), pod.addresses());
    next
}

/// The pod at the other end goes, and another gets its address.
fn succeeded(on_same_node: bool, forbidden: bool) {
    let cluster = cluster(2);
    cluster.begin_with_the_first();
    let scene = Scene::of(cluster);
    let [a, b] = scene.nodes();
    let (node, pod) = if on_same_node { (a, &scene.beside) } else { (b, &scene.far) };
    let nodes = if on_same_node { vec![a] } else { vec![a, b] };
    let streams = scene.warm_streams_to(pod, &nodes);
    // What engines of network policies do before a pod begins.
    node.netns.exec("nft add table inet operator");
    node.netns
        .exec("nft add chain inet operator forward { type filter hook forward priority 0 ; }");
    if forbidden {
        for (family, address) in ["ip", "ip6"].iter().zip(pod.addresses()) {
            for direction in ["saddr", "daddr"] {
                node.netns.exec(&format!(
                    "nft add rule inet operator forward {family} {direction} {address} drop"
                ));
            }
        }
    }
    let next = replace(node, pod);
    let since = now();
    // The next one answers, of the same ports.
    for stream in &streams {
        let socket = next.netns.run(|| UdpSocket::bind(stream.server)).expect("bind");
        socket.connect(stream.client).expect("connect");
        for _ in 0..50 {
            socket.send(&now().to_be_bytes()).expect("send");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    for stream in &streams {
        stream.sends_until(since, Duration::from_secs(4));
        assert!(stream.arrived() < since, "the one that is gone hears");
        assert_eq!(stream.answered() > since, !forbidden, "{} is answered", stream.client);
    }
    if forbidden {
        assert_eq!(datagrams(&next.netns), 0, "the next one hears");
    } else {
        // It has the address.
        wait_for("datagrams", || (datagrams(&next.netns) > 0).then_some(()));
    }
    drop(streams);
    if !forbidden {
        for to in next.addresses() {
            Stream::udp(&scene.near.netns, &next.netns, to).warm(&nodes);
        }
    }
}

#[test]
fn who_gets_the_address_of_a_pod_has_nothing_of_its_flows() {
    for on_same_node in [true, false] {
        succeeded(on_same_node, true);
    }
}

/// That the packets of the other test would be heard.
#[test]
fn who_gets_the_address_of_a_pod_is_reached() {
    for on_same_node in [true, false] {
        succeeded(on_same_node, false);
    }
}

/// Outer packets to an address that leave by the uplink of a node, until a moment later.
fn seen_to(wire: &Capture, to: IpAddr) -> usize {
    wire.overlay(4096).iter().filter(|(outer, _)| outer.destination == to).count()
}

#[test]
fn a_peer_that_is_gone_gets_nothing() {
    let scene = Scene::new();
    let [a, b] = scene.nodes();
    let streams = scene.warm_streams_to(&scene.far, &[a, b]);
    let wire = Capture::start(&a.netns, UNDERLAY);
    streams.iter().for_each(Stream::goes_on);
    assert!(seen_to(&wire, b.vtep) > 0);
    scene.cluster.list(&[0]);
    sync::apply(a);
    let since = now();
    drop(wire.packets());
    streams.iter().for_each(|stream| stream.sends_until(since, Duration::from_secs(1)));
    // What was under way has left.
    assert_eq!(seen_to(&wire, b.vtep), 0, "packets to a peer that is gone");
    scene.cluster.list(&[0, 1]);
    sync::apply(a);
    streams.iter().for_each(Stream::goes_on);
    streams.iter().for_each(|stream| stream.warm(&[a, b]));
}

/// A peer gets another address, and all are told, by `sync` or by a watch that runs.
fn moved(watched: bool) {
    let mut scene = Scene::of(cluster(2));
    let (old, new): (IpAddr, IpAddr) = (scene.cluster.nodes[1].vtep, [192, 168, 50, 22].into());
    scene.nodes()[1].netns.exec(&format!("ip addr add {new}/24 dev {UNDERLAY}"));
    let watchers: Vec<Watcher> = match watched {
        true => scene.nodes().map(Watcher::start).into(),
        false => Vec::new(),
    };
    let start = |scene: &Scene, to| {
        let stream = Stream::udp(&scene.near.netns, &scene.far.netns, to);
        stream.warm(&scene.nodes());
        stream
    };
    let far = scene.far.addresses();
    let streams: Vec<Stream> = far.into_iter().map(|to| start(&scene, to)).collect();
    let wire = Capture::start(&scene.nodes()[0].netns, UNDERLAY);
    scene.cluster.nodes[1].vtep = new;
    scene.cluster.list(&[0, 1]);
    if watched {
        wait_for("packets to the new address", || (seen_to(&wire, new) > 0).then_some(()));
        // It tells the network stack and the fast path one after the other.
        let node = scene.nodes()[0];
        wait_for("all of it", || sync::plan(node).is_empty().then_some(()));
        wait_for("no packets to the old address", || {
            drop(wire.packets());
            streams.iter().for_each(Stream::goes_on);
            (seen_to(&wire, old) == 0).then_some(())
        });
    } else {
        scene.nodes().into_iter().for_each(|node| drop(sync::apply(node)));
    }
    drop(wire.packets());
    streams.iter().for_each(Stream::goes_on);
    let since = now();
    streams.iter().for_each(|stream| stream.sends_until(since, Duration::from_secs(1)));
    let packets = wire.overlay(4096);
    let to = |address| packets.iter().filter(|(outer, _)| outer.destination == address).count();
    assert!(to(old) == 0 && to(new) > 100, "{} to {old}, {} to {new}", to(old), to(new));
    streams.iter().for_each(|stream| stream.warm(&scene.nodes()));
    drop(watchers);
}

#[test]
fn a_peer_that_has_moved_is_followed_at_once() {
    moved(false);
}

#[test]
fn a_watch_follows_a_peer_that_has_moved() {
    moved(true);
}
