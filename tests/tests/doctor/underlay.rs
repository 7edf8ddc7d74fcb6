//! What is wrong between the nodes, and with who else is there.

use std::process::Command;

use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::netns::Netns;
use flatnet_tests::nic::Nic;
use flatnet_tests::node::Node;
use flatnet_tests::program::said;
use flatnet_tests::{kernel, sync};
use serde_json::{Value, json};

use super::scene::Scene;

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
    scene.set("mtu", json!(1350));
    scene.cluster.nodes.iter().for_each(|node| drop(sync::apply(node)));
    scene.assert_healthy();
}

#[test]
fn a_way_too_narrow_for_the_pods() {
    let mut scene = Scene::new();
    let way = format!("192.168.50.2/32 dev {UNDERLAY} src 192.168.50.1 mtu 1400");
    let route = |scene: &Scene, what: &str, mtu: &str| {
        scene.node().netns.exec(&format!("ip route {what} {way}").replace("1400", mtu));
        sync::apply(scene.node());
    };
    route(&scene, "add", "1400");
    scene.assert_healthy();
    route(&scene, "replace", "1300");
    let by = format!("too narrow: the way by {UNDERLAY} to node-b (192.168.50.2) carries");
    scene.advised(
        &format!("{by} 1300 bytes and not the 1330 bytes (1280 for IPv6 and 50 of outer headers)"),
        &format!("let {UNDERLAY}, and the route there, carry 1330 bytes; or correct vtep in "),
    );
    scene.set("mtu", json!(1400));
    route(&scene, "replace", "1440");
    scene.advised(
        &format!("{by} 1440 bytes and not the 1450 bytes (mtu: 1400 and 50 of outer headers)"),
        "; or set \"mtu\": 1390 in the configuration of network pods on every node",
    );
    route(&scene, "del", "1440");
    scene.assert_healthy();
}

#[test]
fn blocked_udp_port() {
    let scene = Scene::new();
    scene.assert_healthy();
    let peer = scene.peer();
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
fn an_ipv6_underlay_has_the_same_faults() {
    let settings = Settings { nodes: 2, mtu: 1500, v6_underlay: true };
    let scene = Scene::with(Cluster::with(settings));
    scene.assert_healthy();
    let peer = scene.peer();
    scene.cluster.underlay.exec("ip link set node-b mtu 1396");
    // 1326 or, where bridges do not filter what they pass on, 1330.
    scene.advised("wrong MTU: packets of 1430 bytes", "set \"mtu\": 13");
    scene.cluster.underlay.exec("ip link set node-b mtu 1500");
    peer.exec("nft add table inet wall");
    peer.exec("nft add chain inet wall input { type filter hook input priority 0 ; }");
    peer.exec("nft add rule inet wall input udp dport 4789 reject");
    scene.advised("UDP port 4789 is refused by node-b (fd00:50::2)", "run `flatnet sync` there");
    peer.exec("nft delete table inet wall");
    assert_icmp_is_not_missed(&scene);
    peer.exec(&format!("ip link set {UNDERLAY} down"));
    scene.advised("dead or cut off: no answer at the VTEP", "bring it back, or take it out of ");
}

#[test]
fn a_firewall_that_drops_echo_requests() {
    let scene = Scene::new();
    scene.assert_healthy();
    assert_icmp_is_not_missed(&scene);
}

/// Without answers to echo requests pods reach each other, and so nothing is found; where this node hears nothing at all,
/// nothing is said of a peer that is there.
fn assert_icmp_is_not_missed(scene: &Scene) {
    let wall = |netns: &Netns, accept: &str| {
        let rules = format!(
            "table inet wall {{ chain input {{ type filter hook input priority 0; policy drop; \
             iifname lo accept; {accept}; udp dport 4789 accept; \
             icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept\n}}\n}}\n"
        );
        let output = netns.finish(Command::new("nft").args(["-f", "-"]), rules.as_bytes());
        assert!(output.status.success(), "{rules}: {}", said(&output));
    };
    let (node, peer) = (&scene.node().netns, scene.peer());
    wall(peer, "ct state established,related accept");
    scene.assert_healthy();
    scene.assert_together();
    wall(node, "tcp dport 22 accept");
    let vtep = scene.cluster.nodes[1].vtep;
    let mend = scene.finding(&[&format!("no answer to echo requests from node-b ({vtep})")]);
    assert!(mend.starts_with("let a pod here ask one there"), "{mend}");
    scene.assert_together();
    node.exec("nft delete table inet wall");
    peer.exec("nft delete table inet wall");
    scene.assert_healthy();
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
    let peer = scene.peer();
    peer.exec("nft add table inet wall");
    peer.exec("nft add chain inet wall input { type filter hook input priority 0 ; }");
    peer.exec("nft add rule inet wall input ip daddr 10.244.2.0 drop");
    scene.assert_healthy();
    peer.exec("nft add rule inet wall input udp dport 4789 drop");
    peer.exec("nft add chain inet wall between { type filter hook prerouting priority -300 ; }");
    peer.exec("nft add rule inet wall between ip daddr 10.244.2.0/24 drop");
    scene.advised("no answer by the direct route, but at the VTEP, from node-b", "directRouting");
}

#[test]
fn checksums_left_to_a_card_that_is_wrong_about_them() {
    let scene = Scene::new();
    scene.assert_healthy();
    // A firewall that drops what the doctor sends makes no difference between checksums.
    let peer = scene.peer();
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
fn dead_peer() {
    let scene = Scene::new();
    scene.assert_healthy();
    let peer = scene.peer();
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
    let other = scene.cluster.host(scene.node().vtep);
    let link = kernel::link(&other, UNDERLAY).expect("its device");
    let mac = link["address"].as_str().expect("a MAC").to_owned();
    let findings = scene.findings();
    let what = format!("duplicate VTEP: the host with MAC {mac} also has 192.168.50.1");
    let found =
        findings.iter().find(|found| found["what"].as_str().is_some_and(|w| w.starts_with(&what)));
    let advice = &found.unwrap_or_else(|| panic!("{findings:#?}"))["advice"];
    let advice = advice.as_str().expect("advice");
    assert!(
        advice.contains(&format!("take 192.168.50.1 away from the host with MAC {mac}")),
        "{advice}"
    );

    other.exec(&format!("ip addr flush dev {UNDERLAY}"));
    // Whom a peer has taken for this node it takes for it until its entry ages.
    scene.cluster.nodes[1].netns.exec(&format!("ip neigh flush dev {UNDERLAY}"));
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

/// A bridge is given packets one by one, as a card is; a veth as they were put together at its other end.
#[test]
fn receive_offload_off_on_the_uplink() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0].netns;
    for line in [
        "ip link add up7 type bridge".to_owned(),
        format!("ip addr flush dev {UNDERLAY}"),
        format!("ip link set {UNDERLAY} master up7"),
        "ip link set up7 up".to_owned(),
        "ip addr add 192.168.50.1/24 dev up7".to_owned(),
    ] {
        node.exec(&line);
    }
    kernel::wait_until_up(node, "up7");
    let scene = Scene::with(cluster);
    scene.assert_healthy();
    scene.spoil(&["ethtool -K up7 gro off"]);
    scene.mended_by_command(
        "generic receive offload is off on up7, by which peers are reached",
        "ethtool -K up7 gro on",
    );
}

/// As a node that was added and never applied the file.
#[test]
fn a_peer_without_an_overlay() {
    let scene = Scene::new();
    scene.peer().exec("ip link del flat.4096");
    scene.advised("UDP port 4789 is refused by node-b (192.168.50.2)", "run `flatnet sync` there");
    sync::apply(&scene.cluster.nodes[1]);
    scene.assert_healthy();
    scene.assert_together();
}

/// A node that lost one family: what the doctor there says, mends it.
#[test]
fn a_peer_that_answers_in_one_family() {
    let scene = Scene::new();
    scene.peer().exec("ip -6 addr del fd00:10:244:2::/128 dev flat.4096");
    scene.advised(
        "only one family answers over the overlay: not fd00:10:244:2:: of node-b (192.168.50.2)",
        "run `flatnet doctor` there",
    );
    let there = flatnet_tests::cli::findings(&scene.cluster.nodes[1]);
    assert_eq!(there.len(), 1, "{there:#?}");
    sync::apply(&scene.cluster.nodes[1]);
    scene.assert_healthy();
    scene.assert_together();
}
