//! Pods reach the world by every device that leads there, also by one that came later; what leads to
//! other programs' containers stays closed.

use std::net::IpAddr;

use flatnet_tests::advertisement::{advertise, learned_routers};
use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Node;
use flatnet_tests::wait::wait_for;
use flatnet_tests::watcher::Watcher;
use flatnet_tests::{cli, kernel, probe};
use serde_json::json;

/// One node whose pods are masqueraded, so that no host needs a route to them.
fn masquerading() -> Cluster {
    let mut cluster = Cluster::new(1);
    cluster.configure("ipMasq", json!(true));
    cluster
}

fn addresses<const N: usize>(texts: [&str; N]) -> [IpAddr; N] {
    texts.map(|text| text.parse().expect("an address"))
}

/// A host at the other end of a new device of a node. Each side is given as CIDRs.
fn host_behind(node: &Netns, device: &str, own: [&str; 2], theirs: [&str; 2]) -> Netns {
    let host = Netns::new("host");
    let inside = host.name();
    node.exec(&format!("ip link add {device} type veth peer name eth0 netns {inside}"));
    for (netns, device, cidrs) in [(node, device, own), (&host, "eth0", theirs)] {
        netns.exec(&format!("ip addr add {} dev {device}", cidrs[0]));
        netns.exec(&format!("ip addr add {} dev {device} nodad", cidrs[1]));
        netns.exec(&format!("ip link set {device} addrgenmode none up"));
    }
    // Until the kernel has reported an end as up, what it sends is dropped.
    kernel::wait_until_up(node, device);
    kernel::wait_until_up(&host, "eth0");
    host
}

fn forwards(netns: &Netns, device: &str) -> bool {
    kernel::sysctl(netns, &format!("ipv4/conf/{device}/forwarding")) == "1"
}

#[test]
fn a_host_behind_a_second_card_answers_pods() {
    let cluster = masquerading();
    let node = &cluster.nodes[0];
    let storage = host_behind(
        &node.netns,
        "storage",
        ["10.9.0.1/24", "fd00:9::1/64"],
        ["10.9.0.5/24", "fd00:9::5/64"],
    );
    let hosts = addresses(["10.9.0.5", "fd00:9::5"]);
    let pod = node.add("pod");
    hosts.iter().for_each(|host| probe::ping(&pod.netns, *host));

    // Only because the device forwards; and where it does not, this is told.
    kernel::set_sysctl(&node.netns, "ipv4/conf/storage/forwarding", "0");
    assert!(!probe::reaches(&pod.netns, hosts[0]));
    let from = pod.addresses()[0].to_string();
    let (at, end) = cli::trace(node, &from, "10.9.0.5", 1);
    assert_eq!(at.last().map(String::as_str), Some("route"), "{end}");
    let said = end.to_string();
    assert!(said.contains("answers that come in by storage are not forwarded"), "{said}");
    assert!(said.contains("flatnet sync"), "{said}");
    let done = cli::text(&cli::flatnet(node, "sync", &[]), 0);
    assert!(done.contains("sysctl -w net/ipv4/conf/storage/forwarding=1"), "{done}");
    hosts.iter().for_each(|host| probe::ping(&pod.netns, *host));
    drop(storage);
}

#[test]
fn every_next_hop_of_an_equal_cost_route_answers_pods() {
    for objects in [false, true] {
        let cluster = masquerading();
        let node = &cluster.nodes[0];
        let routers = [1, 2].map(|n| {
            let router = host_behind(
                &node.netns,
                &format!("wan{n}"),
                [&format!("10.9.{n}.1/24"), &format!("fd00:9:{n}::1/64")],
                [&format!("10.9.{n}.5/24"), &format!("fd00:9:{n}::5/64")],
            );
            for k in 1..=16 {
                router.exec(&format!("ip addr add 198.51.100.{k}/32 dev lo"));
                router.exec(&format!("ip addr add 2001:db8::{k}/128 dev lo nodad"));
            }
            router.exec("ip link set lo up");
            router
        });
        for (ip, [one, two]) in
            [("ip", ["10.9.1.5", "10.9.2.5"]), ("ip -6", ["fd00:9:1::5", "fd00:9:2::5"])]
        {
            let exec = |line: String| node.netns.exec(&format!("{ip} {line}"));
            if objects {
                let id = if ip == "ip" { 10 } else { 20 };
                exec(format!("nexthop add id {} via {one} dev wan1", id + 1));
                exec(format!("nexthop add id {} via {two} dev wan2", id + 2));
                node.netns.exec(&format!("ip nexthop add id {id} group {}/{}", id + 1, id + 2));
                exec(format!("route add default nhid {id}"));
            } else {
                let hops = format!("nexthop via {one} dev wan1 nexthop via {two} dev wan2");
                exec(format!("route add default {hops}"));
            }
        }
        let pod = node.add("pod");
        let answering = |world: &str| {
            let hosts = (1..=16).map(|k| format!("{world}{k}").parse().expect("an address"));
            hosts.filter(|host| probe::reaches(&pod.netns, *host)).count()
        };
        for world in ["198.51.100.", "2001:db8::"] {
            assert_eq!(answering(world), 16, "nexthop objects: {objects}");
        }
        // Both ways were taken: with one closed, some do not answer.
        kernel::set_sysctl(&node.netns, "ipv4/conf/wan2/forwarding", "0");
        let left = answering("198.51.100.");
        assert!((1..16).contains(&left), "{left}");
        drop(routers);
    }
}

#[test]
fn a_default_route_that_comes_later_is_followed() {
    let cluster = masquerading();
    let node = &cluster.nodes[0];
    cluster.settle();
    let early = node.add("early");
    let router = host_behind(
        &node.netns,
        "wan",
        ["203.0.113.2/24", "2001:db8::2/64"],
        ["203.0.113.1/24", "2001:db8::1/64"],
    );
    let world = addresses(["203.0.113.1", "2001:db8::1"]);
    // Nothing on the way to the world tells of it yet.
    node.add("between");
    assert!(!forwards(&node.netns, "wan"));

    // The next ADD sees that the world is reached by another device now.
    node.netns.exec("ip route add default via 203.0.113.1");
    let late = node.add("late");
    assert!(forwards(&node.netns, "wan"));
    for pod in [&early, &late] {
        world.iter().for_each(|address| probe::ping(&pod.netns, *address));
    }
    drop(router);
}

#[test]
fn one_who_watches_needs_no_add() {
    let cluster = masquerading();
    let node = &cluster.nodes[0];
    let watcher = Watcher::start(node);
    watcher.says(" changes made\n");
    let pod = node.add("pod");
    let router = host_behind(
        &node.netns,
        "wan",
        ["203.0.113.2/24", "2001:db8::2/64"],
        ["203.0.113.1/24", "2001:db8::1/64"],
    );
    wait_for("forwarding on the new device", || forwards(&node.netns, "wan").then_some(()));
    let world = addresses(["203.0.113.1", "2001:db8::1"]);
    world.iter().for_each(|address| probe::ping(&pod.netns, *address));

    // A bridge with a way to containers becomes an uplink with a route to a router.
    node.netns.exec("ip link add lan type bridge");
    node.netns.exec("ip link set lan up");
    node.netns.exec("ip addr add 10.11.0.1/24 dev lan");
    node.netns.exec("ip route add 10.12.0.0/16 via 10.11.0.9");
    wait_for("forwarding on the bridge", || forwards(&node.netns, "lan").then_some(()));
    drop(router);
}

#[test]
fn devices_of_containers_and_virtual_machines_stay_closed() {
    let cluster = masquerading();
    let node = &cluster.nodes[0].netns;
    // Where a container of another program wants to go: a host that knows the way back.
    let storage = host_behind(
        node,
        "storage",
        ["10.9.0.1/24", "fd00:9::1/64"],
        ["10.9.0.5/24", "fd00:9::5/64"],
    );
    storage.exec("ip route add 172.17.0.0/16 via 10.9.0.1");

    let container = Netns::new("container");
    let inside = container.name();
    for line in [
        "ip link add docker0 type bridge",
        "ip addr add 172.17.0.1/16 dev docker0",
        "ip tuntap add tap0 mode tap",
        "ip link set tap0 master docker0",
        &format!("ip link add vc type veth peer name eth0 netns {inside}"),
        "ip link set vc master docker0 up",
        "ip link set docker0 up",
        // Another plugin's pod: routed, without a bridge.
        "ip link add cali1 type veth peer name cali1-pod",
        "ip link set cali1 up",
        "ip route add 10.88.0.7/32 dev cali1",
        // An uplink for virtual machines: a bridge with a card in it.
        "ip link add lan type bridge",
        "ip link add card type ifb",
        "ip link set card master lan up",
        "ip link set lan up",
        "ip addr add 10.10.0.1/24 dev lan",
        // A bridge behind which a router is known.
        "ip link add routed type bridge",
        "ip link set routed up",
        "ip addr add 10.11.0.1/24 dev routed",
        "ip route add 10.12.0.0/16 via 10.11.0.9",
    ] {
        node.exec(line);
    }
    container.exec("ip addr add 172.17.0.2/16 dev eth0");
    container.exec("ip link set eth0 up");
    container.exec("ip route add default via 172.17.0.1");
    kernel::wait_until_up(node, "vc");
    kernel::wait_until_up(&container, "eth0");

    let pod = cluster.nodes[0].add("pod");
    for (device, open) in [
        ("docker0", false),
        ("cali1", false),
        ("storage", true),
        (UNDERLAY, true),
        ("lan", true),
        ("routed", true),
    ] {
        assert_eq!(forwards(node, device), open, "{device}");
    }
    let [host] = addresses(["10.9.0.5"]);
    probe::ping(&pod.netns, host);
    assert!(!probe::reaches(&container, host), "the node routes for a container");
    let from = pod.addresses()[0].to_string();
    let (_, end) = cli::trace(&cluster.nodes[0], &from, "172.17.0.2", 1);
    let said = end.to_string();
    assert!(said.contains("answers that come in by docker0 are not forwarded"), "{said}");
    assert!(said.contains("sysctl -w net/ipv4/conf/docker0/forwarding=1"), "{said}");
    // What would let it.
    kernel::set_sysctl(node, "ipv4/conf/docker0/forwarding", "1");
    probe::ping(&container, host);
}

/// A container of another program that plays the router: behind a bridge, or a veth with its address only.
struct Rogue<'a> {
    node: &'a Netns,
    container: Netns,
    /// The node's device that its advertisements come in by.
    device: &'static str,
}

impl<'a> Rogue<'a> {
    fn new(node: &'a Netns, bridge: bool) -> Self {
        let container = Netns::new("container");
        let inside = container.name();
        node.exec(&format!("ip link add vc type veth peer name eth0 netns {inside}"));
        let device = if bridge { "docker0" } else { "vc" };
        if bridge {
            node.exec("ip link add docker0 type bridge stp_state 0 forward_delay 0");
            node.exec("ip link set vc master docker0");
            node.exec("ip addr add 172.17.0.1/16 dev docker0");
        }
        for line in [
            "ip link set vc up".to_owned(),
            format!("ip link set {device} up"),
            format!("ip addr add fe80::1:1/64 dev {device} nodad"),
            format!("ip route add 10.88.0.7/32 dev {device}"),
        ] {
            node.exec(&line);
        }
        container.exec("ip link set eth0 addrgenmode none up");
        container.exec("ip addr add fe80::66/64 dev eth0 nodad");
        kernel::wait_until_up(node, "vc");
        kernel::wait_until_up(&container, "eth0");
        Self { node, container, device }
    }

    /// Sends an advertisement. It has been handled when what was sent after it has been answered.
    fn advertise(&self) {
        advertise(&self.container, "eth0", "fd00:66::".parse().expect("a prefix"));
        self.container.exec("ping -n -c 1 -W 5 fe80::1:1%eth0");
    }

    fn wait_until_believed(&self) {
        let [rogue] = addresses(["fe80::66"]);
        wait_for("the router", || learned_routers(self.node).contains(&rogue).then_some(()));
    }

    fn accept_ra(&self) -> String {
        kernel::sysctl(self.node, &format!("ipv6/conf/{}/accept_ra", self.device))
    }
}

#[test]
fn a_container_does_not_become_the_nodes_router() {
    for bridge in [true, false] {
        let cluster = masquerading();
        let node = &cluster.nodes[0].netns;
        let rogue = Rogue::new(node, bridge);
        cluster.nodes[0].add("pod");
        assert_eq!(kernel::sysctl(node, "ipv6/conf/all/forwarding"), "1");
        assert_eq!(rogue.accept_ra(), "1", "as it was");
        rogue.advertise();
        assert_eq!(learned_routers(node), [].into());
        // What would let it.
        kernel::set_sysctl(node, &format!("ipv6/conf/{}/accept_ra", rogue.device), "2");
        rogue.advertise();
        rogue.wait_until_believed();
    }
}

/// A machine that does not forward believes it, and that ends when it begins to, as without flatnet.
#[test]
fn a_container_does_not_stay_the_nodes_router() {
    for bridge in [true, false] {
        let cluster = masquerading();
        let node = &cluster.nodes[0].netns;
        let rogue = Rogue::new(node, bridge);
        rogue.advertise();
        rogue.wait_until_believed();
        cluster.nodes[0].add("pod");
        assert_eq!(learned_routers(node), [].into());
        assert_eq!(rogue.accept_ra(), "1", "as it was");
        rogue.advertise();
        assert_eq!(learned_routers(node), [].into());
    }
    // By a bridge with a card in it a router may come, and stays.
    let cluster = masquerading();
    let node = &cluster.nodes[0].netns;
    let router = Rogue::new(node, true);
    node.exec("ip link add card type ifb");
    node.exec("ip link set card master docker0 up");
    router.advertise();
    router.wait_until_believed();
    cluster.nodes[0].add("pod");
    assert_eq!(learned_routers(node), addresses(["fe80::66"]).into());
    assert_eq!(router.accept_ra(), "2");
}

/// Those that the plugin opens itself are closed before.
#[test]
fn nothing_forwards_before_there_is_a_pod() {
    let cluster = masquerading();
    let node: &Node = &cluster.nodes[0];
    assert!(!forwards(&node.netns, UNDERLAY));
    node.add("pod");
    assert!(forwards(&node.netns, UNDERLAY));
}
