//! Twelve faults that keep pods from talking, set one at a time: `flatnet doctor` finds nothing
//! before, names each in plain words with what mends it, and finds nothing once that is done.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use flatnet_tests::cli::{conf_dir, findings_in};
use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::nic::Nic;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::{bin_dir, reference_plugins, said};
use flatnet_tests::{kernel, sync};
use serde_json::{Value, json};

/// Two nodes with a pod each; the doctor is at the first.
struct Scene {
    cluster: Cluster,
    pods: Vec<Pod>,
}

impl Scene {
    fn new() -> Self {
        Self::with(Cluster::new(2))
    }

    fn with(cluster: Cluster) -> Self {
        let pods = cluster.nodes.iter().map(|node| node.add("pod")).collect();
        let scene = Self { cluster, pods };
        let bin = scene.bin();
        fs::create_dir(&bin).expect("a plugin folder");
        symlink(bin_dir().join("flatnet"), bin.join("flatnet")).expect("a link");
        symlink(reference_plugins().join("portmap"), bin.join("portmap")).expect("a link");
        scene
    }

    fn node(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    fn bin(&self) -> PathBuf {
        self.cluster.folder().join("cni-bin")
    }

    /// What the doctor finds at the first node.
    fn findings(&self) -> Vec<Value> {
        let folder = conf_dir(self.node(), &[json!({ "type": "portmap" })]);
        findings_in(self.node(), &folder, &self.bin())
    }

    fn assert_healthy(&self) {
        assert_eq!(self.findings(), Vec::<Value>::new());
    }

    /// The one thing that the doctor finds, which has these words.
    fn finding(&self, words: &str) -> Value {
        let findings = self.findings();
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let what = text(&findings[0], "what");
        assert!(what.contains(words), "{words:?} in {what:?}");
        assert!(!text(&findings[0], "why").is_empty());
        findings[0].clone()
    }

    /// Finds a fault and runs the command that mends it.
    fn mended_by_command(&self, words: &str, command: &str) {
        let finding = self.finding(words);
        let run = text(&finding, "command");
        assert!(run.starts_with(command), "{command:?} is not {run:?}");
        let mut shell = Command::new("sh");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin_dir().display());
        shell.env_clear().env("PATH", path).args(["-c", run]);
        let output = self.node().netns.finish(&mut shell, b"");
        assert!(output.status.success(), "{run}: {}", said(&output));
        self.assert_healthy();
    }

    /// Finds a fault whose mend is a person's, with these words.
    fn advised(&self, words: &str, advice: &str) {
        let finding = self.finding(words);
        let told = text(&finding, "advice");
        assert!(told.contains(advice), "{advice:?} in {told:?}");
    }
}

fn text<'a>(finding: &'a Value, key: &str) -> &'a str {
    finding[key].as_str().unwrap_or_else(|| panic!("no {key} in {finding:#}"))
}

#[test]
fn an_ipv6_underlay_has_the_same_faults() {
    let settings = Settings { nodes: 2, mtu: 1500, v6_underlay: true };
    let scene = Scene::with(Cluster::with(settings));
    scene.assert_healthy();
    let peer = &scene.cluster.nodes[1].netns;
    scene.cluster.underlay.exec("ip link set node-b mtu 1396");
    // 1326 or, where bridges do not filter what they pass on, 1330.
    scene.advised("wrong MTU: packets of 1430 bytes", "set \"mtu\": 13");
    scene.cluster.underlay.exec("ip link set node-b mtu 1500");
    peer.exec("nft add table inet wall");
    peer.exec("nft add chain inet wall input { type filter hook input priority 0 ; }");
    peer.exec("nft add rule inet wall input udp dport 4789 reject");
    scene.advised("UDP port 4789 is refused by node-b (fd00:50::2)", "run `flatnet sync` there");
}

#[test]
fn direct_routes_have_faults_of_their_own() {
    let scene = Scene::new();
    let nodes: Vec<Value> = scene.cluster.nodes.iter().map(Node::entry).collect();
    let vni = scene.cluster.network.vni;
    scene.cluster.write_range_file(&json!({
        "version": 1, "vni": vni, "directRouting": true, "nodes": nodes,
    }));
    scene.cluster.nodes.iter().for_each(|node| drop(sync::apply(node)));
    scene.assert_healthy();
    let peer = &scene.cluster.nodes[1].netns;
    peer.exec("nft add table inet wall");
    peer.exec("nft add chain inet wall input { type filter hook input priority 0 ; }");
    peer.exec("nft add rule inet wall input ip daddr 10.244.2.0 drop");
    peer.exec("nft add rule inet wall input udp dport 4789 drop");
    scene.advised("no answer by the direct route, but at the VTEP, from node-b", "directRouting");
}

#[test]
fn wrong_mtu() {
    let mut scene = Scene::new();
    scene.assert_healthy();
    // The wire to node-b carries less than the nodes' own devices say: 1400 bytes, because a veth
    // lets packets through that are four bytes (a VLAN tag) above its MTU.
    scene.cluster.underlay.exec("ip link set node-b mtu 1396");
    scene.advised(
        "wrong MTU: packets of 1450 bytes do not make the way to node-b and back, those of 1350 do",
        "set \"mtu\": 1350 in the configuration of network pods on every node",
    );
    scene.cluster.configure("mtu", json!(1350));
    scene.cluster.nodes.iter().for_each(|node| drop(sync::apply(node)));
    scene.assert_healthy();
}

#[test]
fn overlay_with_another_mtu() {
    let scene = Scene::new();
    scene.node().netns.exec("ip link set flat.4096 mtu 1300");
    scene.mended_by_command("flat.4096 has MTU 1300 and should have 1450", "flatnet sync");
}

#[test]
fn blocked_udp_port() {
    let scene = Scene::new();
    scene.assert_healthy();
    let peer = &scene.cluster.nodes[1].netns;
    peer.exec("nft add table inet wall");
    peer.exec("nft add chain inet wall input { type filter hook input priority 0 ; }");
    peer.exec("nft add rule inet wall input udp dport 4789 drop");
    scene.advised(
        "UDP port 4789 is blocked, or the range files differ: no answer over the overlay, but at the \
         VTEP, from node-b (192.168.50.2)",
        "; if they do, put the same ",
    );
    peer.exec("nft flush chain inet wall input");
    peer.exec("nft add rule inet wall input udp dport 4789 reject");
    scene.advised("UDP port 4789 is refused by node-b (192.168.50.2)", "run `flatnet sync` there");
    peer.exec("nft delete table inet wall");
    scene.assert_healthy();
}

#[test]
fn checksums_left_to_a_card_that_is_wrong_about_them() {
    let scene = Scene::new();
    scene.assert_healthy();
    // A firewall that drops what the doctor sends makes no difference between checksums.
    let peer = &scene.cluster.nodes[1].netns;
    peer.exec("nft add table inet wall");
    peer.exec("nft add chain inet wall input { type filter hook input priority 0 ; }");
    peer.exec("nft add rule inet wall input udp dport 9 drop");
    scene.assert_healthy();
    peer.exec("nft delete table inet wall");
    let card = Nic::plug(&scene.cluster, "node-a");
    scene.mended_by_command(
        "wrong checksums: UDP packets by flat.4096 reach node-b if the kernel fills in",
        "ethtool -K flat.4096 tx off",
    );
    drop(card);
}

#[test]
fn missing_route() {
    let scene = Scene::new();
    scene.assert_healthy();
    scene.node().netns.exec("ip route del 10.244.2.0/24");
    scene.mended_by_command(
        "missing or wrong: the route to 10.244.2.0/24 of node-b",
        "flatnet sync",
    );
}

#[test]
fn a_better_route_of_others() {
    let scene = Scene::new();
    scene.node().netns.exec(&format!("ip route add 10.244.2.128/25 dev {UNDERLAY}"));
    scene.mended_by_command(
        &format!("packets to 10.244.2.128/25 of node-b take somebody's route: 10.244.2.128/25 dev {UNDERLAY}"),
        "ip route del 10.244.2.128/25",
    );
}

#[test]
fn full_range() {
    let mut cluster = Cluster::new(2);
    let ranges = |n: u8| vec![format!("10.244.{n}.0/30"), format!("fd00:10:244:{n:x}::/64")];
    cluster.set_ranges(ranges);
    let mut scene = Scene::with(cluster);
    scene.assert_healthy();
    let last = scene.node().add("last");
    scene.pods.push(last);
    scene.advised("no address is left in 10.244.1.0/30", "add another range to node-a in ");
    scene.cluster.set_ranges(|n| [ranges(n), vec![format!("10.244.{n}.128/25")]].concat());
    scene.cluster.nodes.iter().for_each(|node| drop(sync::apply(node)));
    scene.assert_healthy();
}

#[test]
fn wrong_node_name() {
    let mut scene = Scene::new();
    scene.assert_healthy();
    scene.cluster.configure("node", json!("node-x"));
    scene.advised(
        "no node is named \"node-x\", as node in the network configuration says; its nodes are \
         node-a (192.168.50.1), node-b (192.168.50.2)",
        "set node in the configuration of network pods to this node's name",
    );
    scene.cluster.configure("node", json!("node-a"));
    scene.assert_healthy();
}

#[test]
fn another_nodes_name() {
    let mut scene = Scene::new();
    scene.cluster.configure("node", json!("node-b"));
    let findings = scene.findings();
    let named =
        "this node is taken for node-b, but 192.168.50.2, the VTEP of node-b, is on no device";
    let found = findings.iter().find(|finding| text(finding, "what").starts_with(named));
    let advice = text(found.unwrap_or_else(|| panic!("{findings:#?}")), "advice");
    assert!(advice.starts_with("correct node in the network configuration"), "{advice}");
}

#[test]
fn forward_policy_of_drop() {
    let scene = Scene::new();
    scene.assert_healthy();
    scene.node().netns.exec("iptables-nft -P FORWARD DROP");
    scene.mended_by_command(
        "chain FORWARD of table ip filter (nftables) has policy drop",
        "iptables-nft -I FORWARD ",
    );
}

#[test]
fn stale_fdb_entry() {
    let scene = Scene::new();
    scene.assert_healthy();
    let fdb = kernel::fdb(&scene.node().netns, "flat.4096");
    let (mac, _) = fdb.into_iter().next().expect("an entry");
    let entry = format!("{mac} dev flat.4096 dst 192.168.50.66 self");
    scene.node().netns.exec(&format!("bridge fdb replace {entry}"));
    scene.mended_by_command(
        "stale: the FDB entry of node-b sends to 192.168.50.66 instead of 192.168.50.2",
        "flatnet sync",
    );
}

#[test]
fn dead_peer() {
    let scene = Scene::new();
    scene.assert_healthy();
    let peer = &scene.cluster.nodes[1].netns;
    peer.exec(&format!("ip link set {UNDERLAY} down"));
    scene.advised(
        "dead or cut off: no answer at the VTEP nor over the overlay from node-b (192.168.50.2)",
        "bring it back, or take it out of ",
    );
    peer.exec(&format!("ip link set {UNDERLAY} up"));
    kernel::wait_until_up(peer, UNDERLAY);
    scene.assert_healthy();
}

#[test]
fn duplicate_vtep() {
    let scene = Scene::new();
    scene.assert_healthy();
    let stranger = scene.cluster.host(scene.node().vtep);
    let link = kernel::link(&stranger, UNDERLAY).expect("its device");
    let mac = link["address"].as_str().expect("a MAC").to_owned();
    let findings = scene.findings();
    let what = format!("duplicate VTEP: the host with MAC {mac} also has 192.168.50.1");
    let found = findings.iter().find(|finding| text(finding, "what").starts_with(&what));
    let advice = text(found.unwrap_or_else(|| panic!("{findings:#?}")), "advice");
    assert!(
        advice.contains(&format!("take 192.168.50.1 away from the host with MAC {mac}")),
        "{advice}"
    );

    stranger.exec(&format!("ip addr flush dev {UNDERLAY}"));
    // Whom a peer has taken for this node it takes for it until its entry ages.
    scene.cluster.nodes[1].netns.exec(&format!("ip neigh flush dev {UNDERLAY}"));
    scene.assert_healthy();
}

#[test]
fn missing_portmap() {
    let scene = Scene::new();
    scene.assert_healthy();
    fs::remove_file(scene.bin().join("portmap")).expect("remove portmap");
    scene.advised("the plugin \"portmap\" that ", "install it into ");
    let reference = reference_plugins().join("portmap");
    symlink(reference, scene.bin().join("portmap")).expect("a link");
    scene.assert_healthy();
}

#[test]
fn strict_reverse_path_filter() {
    let scene = Scene::new();
    let (node, peer) = (&scene.cluster.nodes[0], &scene.cluster.nodes[1]);
    // A second uplink by which packets to the peer go; the peer's own come by the first.
    let inside = node.netns.name();
    scene
        .cluster
        .underlay
        .exec(&format!("ip link add second type veth peer name under1 netns {inside}"));
    scene.cluster.underlay.exec("ip link set second master br0 up");
    node.netns.exec("ip link set under1 addrgenmode none up");
    let mac = |node: &Node| {
        let link = kernel::link(&node.netns, UNDERLAY).expect("an uplink");
        link["address"].as_str().expect("a MAC").to_owned()
    };
    let permanent = |node: &Node, to: &Node, dev| {
        let (address, mac) = (to.vtep, mac(to));
        node.netns
            .exec(&format!("ip neigh replace {address} lladdr {mac} dev {dev} nud permanent"));
    };
    permanent(node, peer, "under1");
    permanent(peer, node, UNDERLAY);
    node.netns.exec(&format!("ip route add {}/32 dev under1 src {}", peer.vtep, node.vtep));
    kernel::wait_until_up(&node.netns, "under1");
    for dev in ["all", "under1", UNDERLAY] {
        kernel::set_sysctl(&node.netns, &format!("ipv4/conf/{dev}/rp_filter"), "0");
    }
    sync::apply(node);
    scene.assert_healthy();

    kernel::set_sysctl(&node.netns, "ipv4/conf/under1/rp_filter", "1");
    scene.assert_healthy();
    kernel::set_sysctl(&node.netns, &format!("ipv4/conf/{UNDERLAY}/rp_filter"), "1");
    scene.mended_by_command(
        &format!("the strict reverse-path filter (rp_filter) of {UNDERLAY} dropped "),
        &format!("sysctl -w net.ipv4.conf.{UNDERLAY}.rp_filter=2"),
    );
}

#[test]
fn corrupt_range_file() {
    let scene = Scene::new();
    scene.assert_healthy();
    let path = &scene.cluster.network.range_file;
    let whole = fs::read(path).expect("the range file");
    fs::write(path, &whole[..whole.len() / 2]).expect("half a range file");
    let check = format!("`flatnet ranges check {}`", path.display());
    scene.advised("pods.json: not valid JSON", &check);
    fs::write(path, &whole).expect("the range file");
    scene.assert_healthy();
}

#[test]
fn gone_overlay() {
    let scene = Scene::new();
    scene.node().netns.exec("ip link del flat.4096");
    let findings = scene.findings();
    let missing = "the overlay device flat.4096 is missing";
    assert!(findings.iter().any(|finding| finding["what"] == missing), "{findings:#?}");
    sync::apply(scene.node());
    scene.assert_healthy();
}
