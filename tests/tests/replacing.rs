//! Build before you destroy: a range file that cannot be applied leaves what stood, to the last rule;
//! one that can be, whatever it changes, works at the first try.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::frame::{ethernet, udp};
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe::{self, Flow};
use flatnet_tests::raw::{Port, Sink, Token, stay_on_one_processor};
use flatnet_tests::{kernel, program, sync};
use serde_json::{Value, json};

#[path = "replacing/obstacles.rs"]
mod obstacles;

use obstacles::cases;

/// Where forged packets go.
const PORT: u16 = 4444;

/// Two nodes, on the first a pod that would forge and its neighbour, on the second their peer.
struct Scene {
    cluster: Cluster,
    forger: Pod,
    neighbour: Pod,
    peer: Pod,
}

impl Scene {
    fn new(v6_underlay: bool) -> Self {
        let cluster = Cluster::with(Settings { nodes: 2, mtu: 1500, v6_underlay });
        // One is taken for free.
        cluster.nodes[0].begin_with_the_first("pods");
        // What a link-local address of a device that is in the way makes would come late.
        kernel::set_sysctl(&cluster.nodes[0].netns, "ipv6/conf/default/addr_gen_mode", "1");
        let (forger, neighbour) = (cluster.nodes[0].add("forger"), cluster.nodes[0].add("pod"));
        let peer = cluster.nodes[1].add("peer");
        Self { cluster, forger, neighbour, peer }
    }

    fn node(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    /// The range file with other values at its top.
    fn write(&self, changes: &Value) {
        let nodes: Vec<Value> = self.cluster.nodes.iter().map(Node::entry).collect();
        let mut file = json!({
            "version": 1,
            "clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/56"],
            "nodes": nodes,
        });
        for (key, value) in changes.as_object().expect("an object") {
            file[key] = value.clone();
        }
        self.cluster.write_range_file(&file);
        self.cluster.settle();
    }

    /// What of the pods is not as it should be: each reaches each, and forges nothing.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (from, to) in [
            (&self.forger, &self.neighbour),
            (&self.forger, &self.peer),
            (&self.peer, &self.neighbour),
        ] {
            for to in to.addresses() {
                if !probe::reaches(&from.netns, to) {
                    wrong.push(format!("{} does not reach {to}", from.netns.name()));
                }
            }
        }
        for ipv4 in [true, false] {
            let through = self.forged(ipv4);
            wrong.extend(through.iter().map(|source| format!("{source} gets through forged")));
        }
        wrong
    }

    /// The false sources under which the forger's packets come to its neighbour.
    fn forged(&self, ipv4: bool) -> Vec<IpAddr> {
        let of = |pod: &Pod| if ipv4 { pod.v4() } else { pod.v6() };
        let (own, to) = (of(&self.forger), of(&self.neighbour));
        let port = Port::open(&self.forger.netns, "eth0");
        let gateway = kernel::mac(&self.node().netns, self.forger.veth());
        let sink = Sink::frames(&self.neighbour.netns);
        let send = |from: IpAddr| {
            let token = Token::new();
            let at = |ip| SocketAddr::new(ip, PORT);
            port.send(&ethernet(gateway, port.mac, &udp(at(from), at(to), &token.payload())));
            token
        };
        let free = if ipv4 { [10, 244, 1, 250].into() } else { free_v6() };
        let tried: Vec<(IpAddr, Token)> =
            [of(&self.peer), free, own_vtep(self.node(), ipv4)].map(|ip| (ip, send(ip))).into();
        let arrived = sink.until(send(own));
        let through = tried.into_iter().filter(|(_, token)| arrived.contains(token));
        through.map(|(source, _)| source).collect()
    }
}

fn free_v6() -> IpAddr {
    "fd00:10:244:1::fa".parse().expect("an address")
}

fn own_vtep(node: &Node, ipv4: bool) -> IpAddr {
    let mut all = node.vtep_addresses().into_iter();
    all.find(|address| address.is_ipv4() == ipv4).expect("both families")
}

/// All that stands of ours on a node: devices, routes, entries, rules.
fn standing(node: &Netns) -> BTreeSet<String> {
    let views = [
        "ip -d link show type vxlan",
        "ip -d link show type veth",
        "ip addr show",
        "ip route show table main",
        "ip -6 route show table main",
        "ip neigh show nud permanent",
        "bridge fdb show",
        "nft list ruleset",
    ];
    let lines = views.map(|view| (view, node.exec(view)));
    let all =
        lines.iter().flat_map(|(view, text)| text.lines().map(move |l| format!("{view}: {l}")));
    // Counted by the kernel, not by us.
    all.filter(|line| !line.contains("valid_lft") && !line.contains("fe80:")).collect()
}

#[test]
fn what_cannot_be_applied_leaves_what_stood() {
    stay_on_one_processor();
    let (mut tried, mut bad) = (0, 0);
    for v6_underlay in [false, true] {
        let scene = Scene::new(v6_underlay);
        let node = scene.node();
        assert_eq!(scene.wrong(), [""; 0]);
        let flows = scene.peer.addresses().into_iter();
        let start = |to| Flow::start(&scene.forger.netns, &scene.peer.netns, to);
        let flows: Vec<Flow> = flows.map(start).collect();
        for (title, obstacle, changes, code, said) in cases() {
            scene.write(&json!({}));
            sync::apply(node);
            let obstacle = obstacle(node);
            let before = standing(&node.netns);
            scene.write(&changes);
            let mut wrong = Vec::new();
            let error = node.call_for("ADD", &Pod::new("refused")).run().error();
            let told = format!("{} {}", error.msg, error.details);
            if error.code != code || !told.contains(said) {
                wrong.push(format!("ADD: {error:?}"));
            }
            let synced = sync::sync(node, &[]);
            if synced.status.success() || !program::said(&synced).contains(said) {
                wrong.push(format!("sync: {}", program::said(&synced)));
            }
            let after = standing(&node.netns);
            wrong
                .extend(before.symmetric_difference(&after).map(|line| format!("differs: {line}")));
            if !title.contains("MTU") {
                wrong.extend(scene.wrong());
            }
            obstacle.clear(&node.netns);
            node.netns.exec(&format!("ip link set {UNDERLAY} mtu 1500"));
            tried += 1;
            bad += usize::from(!wrong.is_empty());
            wrong.iter().for_each(|wrong| eprintln!("{title}, IPv6 {v6_underlay}: {wrong}"));
        }
        for flow in flows {
            let tally = flow.finish(Duration::ZERO);
            assert!(tally.sent > 0 && tally.answered == tally.sent, "{tally:?}");
        }
        // Nothing was in the way but what was: the last file works without it.
        scene.write(&json!({}));
        assert_eq!(sync::plan(node), [""; 0]);
    }
    println!("range files that cannot be applied: {tried} tried, {bad} left something behind");
    assert_eq!(bad, 0);
}

/// Both nodes take the file; then all is as in a cluster that never knew another.
#[test]
fn what_can_be_applied_replaces_what_stood() {
    stay_on_one_processor();
    let (mut tried, mut bad) = (0, 0);
    for v6_underlay in [false, true] {
        let mut scene = Scene::new(v6_underlay);
        for (title, changes) in [
            ("another VNI", json!({ "vni": 5000 })),
            ("another port", json!({ "vni": 5000, "port": 4999 })),
            ("both", json!({ "vni": 5001, "port": 4998 })),
            ("the first ones", json!({})),
            ("direct routing", json!({ "directRouting": true })),
            ("another VNI and no direct routing", json!({ "vni": 5002 })),
            ("another VNI and direct routing", json!({ "vni": 5003, "directRouting": true })),
            ("the first ones again", json!({})),
        ] {
            scene.write(&changes);
            let vni = changes["vni"].as_u64().unwrap_or(4096);
            let mut wrong = Vec::new();
            for node in &mut scene.cluster.nodes {
                node.network.vni = u32::try_from(vni).expect("a VNI");
                let plan = sync::plan(node);
                let applied = sync::sync(node, &[]);
                if plan.is_empty() || !applied.status.success() {
                    wrong.push(format!("{}: {plan:?} {}", node.name, program::said(&applied)));
                }
            }
            for node in &scene.cluster.nodes {
                wrong.extend(sync::plan(node).into_iter().map(|change| format!("again: {change}")));
                wrong.extend(of_other_vnis(node));
            }
            wrong.extend(scene.wrong());
            // And the next pod is as good as those before.
            let late = scene.node().add("late");
            for to in late.addresses() {
                if !probe::reaches(&scene.peer.netns, to) {
                    wrong.push(format!("{to} is not reached"));
                }
            }
            scene.node().del(&late).silent();
            tried += 1;
            bad += usize::from(!wrong.is_empty());
            wrong.iter().for_each(|wrong| eprintln!("{title}, IPv6 {v6_underlay}: {wrong}"));
        }
    }
    println!("range files that replace the overlay: {tried} tried, {bad} left something behind");
    assert_eq!(bad, 0);
}

/// What stands of a VNI that the network has no more.
fn of_other_vnis(node: &Node) -> Vec<String> {
    let vni = node.network.vni;
    let links = kernel::link_names(&node.netns).into_iter();
    let links = links.filter(|name| name.starts_with("flat.") && *name != node.overlay());
    let rules = node.netns.exec("nft list table inet flatnet");
    let chains = rules.lines().map(str::trim).filter(|line| line.starts_with("chain "));
    let chains = chains.filter(|line| !line.contains(&format!("-{vni} "))).map(str::to_owned);
    let metric = 0xfe00_0000 | u64::from(vni);
    let routes = kernel::unreachable(&node.netns).into_iter();
    let routes = routes.filter(|(_, of)| *of != metric).map(|route| format!("{route:?}"));
    links.chain(chains.collect::<Vec<_>>()).chain(routes).collect()
}

/// A node's VTEP changes: the same VNI and port, so there is no beside.
#[test]
fn another_vtep_replaces_the_device() {
    let mut cluster = Cluster::new(2);
    let pods: Vec<Pod> = cluster.nodes.iter().map(|node| node.add("pod")).collect();
    let node = &cluster.nodes[0].netns;
    node.exec(&format!("ip addr add 192.168.50.77/24 dev {UNDERLAY}"));
    cluster.nodes[0].vtep = [192, 168, 50, 77].into();
    cluster.list(&[0, 1]);
    cluster.settle();
    cluster.configure("node", json!("node-a"));
    sync::apply(&cluster.nodes[0]);
    cluster.configure("node", Value::Null);
    sync::apply(&cluster.nodes[1]);
    for to in pods[1].addresses() {
        probe::ping(&pods[0].netns, to);
    }
    cluster.nodes.iter().for_each(|node| assert_eq!(sync::plan(node), [""; 0], "{}", node.name));
}

/// Ranges wander between nodes, some with a new VNI at the same time, with and without direct routing.
#[test]
fn ranges_that_move_between_nodes_work_at_the_first_try() {
    let (mut tried, mut bad) = (0, 0);
    for direct in [false, true] {
        let mut cluster = Cluster::new(3);
        // Whose range each node has, from one file to the next.
        for (owners, vni) in [
            ([1, 2, 3], 4096),
            ([2, 1, 3], 4096),
            ([3, 2, 1], 4096),
            ([1, 3, 2], 4097),
            ([2, 3, 1], 4097),
            ([3, 1, 2], 4096),
            ([4, 1, 2], 4096),
            ([1, 4, 2], 4096),
        ] {
            let range = |n: u8| vec![format!("10.244.{n}.0/24"), format!("fd00:10:244:{n:x}::/64")];
            for (node, owner) in cluster.nodes.iter_mut().zip(owners) {
                node.ranges = range(owner).into_iter().map(Value::from).collect();
                node.network.vni = vni;
            }
            let nodes: Vec<Value> = cluster.nodes.iter().map(Node::entry).collect();
            let cidrs = ["10.244.0.0/16", "fd00:10:244::/56"];
            cluster.write_range_file(&json!({
                "version": 1, "vni": vni, "directRouting": direct, "clusterCIDRs": cidrs,
                "nodes": nodes,
            }));
            cluster.settle();
            let mut wrong = Vec::new();
            let mut pods = Vec::new();
            for node in &cluster.nodes {
                let mut pod = Pod::new("pod");
                let outcome = node.call_for("ADD", &pod).run();
                if outcome.status().success() {
                    pod.result = outcome.result();
                    pods.push(pod);
                } else {
                    wrong.push(format!("{}: {:?}", node.name, outcome.error()));
                }
                wrong.extend(sync::plan(node).into_iter().map(|change| format!("again: {change}")));
                let unreachable = kernel::unreachable(&node.netns).into_iter().map(|(dst, _)| dst);
                let mut expected: BTreeSet<String> = cidrs.map(str::to_owned).into();
                expected.extend(node.ranges.iter().filter_map(Value::as_str).map(str::to_owned));
                if unreachable.collect::<BTreeSet<_>>() != expected {
                    wrong.push(format!("{:?}", kernel::unreachable(&node.netns)));
                }
            }
            for (from, to) in pods.iter().flat_map(|from| pods.iter().map(move |to| (from, to))) {
                for to in to.addresses() {
                    if !probe::reaches(&from.netns, to) {
                        wrong.push(format!("{} does not reach {to}", from.netns.name()));
                    }
                }
            }
            for (node, pod) in cluster.nodes.iter().zip(&pods) {
                node.del(pod).silent();
            }
            tried += 1;
            bad += usize::from(!wrong.is_empty());
            wrong.iter().for_each(|wrong| eprintln!("{owners:?} {vni}, direct {direct}: {wrong}"));
        }
    }
    println!("ranges that move: {tried} tried, {bad} left something behind");
    assert_eq!(bad, 0);
}

/// A change that was taken back before it was applied whole leaves nothing either.
#[test]
fn a_device_of_another_vni_goes_without_a_stamp() {
    let scene = Scene::new(false);
    let node = scene.node();
    scene.write(&json!({ "vni": 5000 }));
    sync::apply(node);
    // As if it had never been written that this is how it stands.
    node.forget_overlay();
    scene.write(&json!({}));
    sync::apply(node);
    sync::apply(&scene.cluster.nodes[1]);
    assert_eq!(of_other_vnis(node), [""; 0]);
    assert_eq!(scene.wrong(), [""; 0]);
}
