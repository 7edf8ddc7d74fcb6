//! Routes, rules, addresses and settings of the node that take what is the pods'.

use flatnet_tests::cli::document;
use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::{kernel, probe};
use serde_json::json;

use super::scene::{BOTH, Family, Scene};

#[test]
fn a_better_route_of_others() {
    let scene = Scene::new();
    scene.spoil(&[&format!("ip route add 10.244.2.0/25 dev {UNDERLAY}")]);
    scene.cut_off_until(
        &[Family::V4],
        &format!(
            "packets to 10.244.2.0/25 of node-b take another program's route: 10.244.2.0/25 dev {UNDERLAY}"
        ),
        "ip route del 10.244.2.0/25",
    );
}

/// As a router's daemon has where a peer is to get nothing.
#[test]
fn a_dead_end_of_others() {
    let scene = Scene::new();
    scene.spoil(&["ip route add blackhole 10.244.2.0/24"]);
    scene.cut_off_until(
        &[Family::V4],
        "packets to 10.244.2.0/24 of node-b take another program's route: blackhole 10.244.2.0/24",
        "ip route del blackhole 10.244.2.0/24",
    );
}

/// A VPN to a network that has the cluster's addresses, too.
#[test]
fn a_route_as_wide_as_the_cluster() {
    let scene = Scene::new();
    scene.spoil(&[
        "ip link add vpn0 type bridge",
        "ip link set vpn0 up",
        "ip route add 10.244.2.0/24 dev vpn0",
    ]);
    scene.cut_off_until(
        &[Family::V4],
        "packets to 10.244.2.0/24 of node-b take another program's route: 10.244.2.0/24 dev vpn0",
        "ip route del 10.244.2.0/24 dev vpn0",
    );
}

/// As the exit node of a VPN does: a table of its own, asked before the main one.
#[test]
fn rules_of_a_vpn() {
    let scene = Scene::new();
    scene.assert_healthy();
    scene.spoil(&[
        "ip link add exit type bridge",
        "ip link set exit up",
        "ip route add default dev exit table 52",
        "ip route add throw 192.168.50.0/24 table 52",
        "ip rule add pref 5270 lookup 52",
    ]);
    scene.cut_off_until(
        &[Family::V4],
        "packets to the pods of node-b leave by exit: a rule leads them to another table before the main \
         one (`ip rule`)",
        "ip rule add pref 1 to 10.244.0.0/16 lookup main",
    );
}

/// As clouds and machines with several uplinks have it: what leaves under an address leaves by its uplink.
#[test]
fn routing_by_source() {
    let scene = Scene::new();
    let pod = &scene.pods[0];
    let (source, vtep) = (pod.v4(), "192.168.50.1");
    let reaches = || probe::reaches(&pod.netns, vtep.parse().expect("an address"));
    assert!(reaches());
    scene.assert_healthy();
    scene.spoil(&[
        &format!("ip route add 192.168.50.0/24 dev {UNDERLAY} table 101"),
        &format!("ip route add default via 192.168.50.254 dev {UNDERLAY} table 101"),
        "ip rule add pref 101 from 192.168.50.1 lookup 101",
    ]);
    assert!(!reaches());
    scene.assert_together();
    let trace = scene.flatnet("trace", &[&source.to_string(), vtep, "--json"]);
    let end = &document(&trace, 1)["end"];
    let mend = "ip rule add pref 1 to 10.244.0.0/16 lookup main";
    let what = format!(
        "packets from {vtep} to {source} leave by {UNDERLAY}, so this one is taken for forged: a rule leads them \
         to another table before the main one (`ip rule`)"
    );
    assert_eq!(end, &json!({"arrives": false, "at": "route", "what": what, "mend": mend}));
    let words = format!(
        "packets from {vtep}, which is this node, to its pods {source} do not take flatnet's routes"
    );
    scene.mended_by_command(&words, mend);
    assert!(reaches());
}

#[test]
fn no_route_to_a_peer() {
    let scene = Scene::new();
    scene.spoil(&[&format!("ip route del 192.168.50.0/24 dev {UNDERLAY}")]);
    BOTH.iter().for_each(|family| scene.assert_apart(*family));
    let words = "there is no route to the VTEP of node-b (192.168.50.2)";
    scene.advised(words, "give this node a route there");
    scene.run(&format!("ip route add 192.168.50.0/24 dev {UNDERLAY} src 192.168.50.1"));
    scene.assert_healthy();
    scene.assert_together();
}

/// Left from another network plugin.
#[test]
fn own_addresses_in_the_cluster() {
    let scene = Scene::new();
    scene.spoil(&[
        "ip link add cni0 type bridge",
        "ip addr add 10.244.2.1/24 dev cni0",
        "ip link set cni0 up",
    ]);
    // The machine itself answers in the place of the pod there.
    let before = own_answers(&scene);
    probe::ping(&scene.pods[0].netns, scene.pods[1].v4());
    assert!(own_answers(&scene) > before);
    let findings = scene.findings();
    let what = "cni0 has 10.244.2.1/24, which is in the cluster's ranges";
    let found = findings.iter().find(|finding| finding["what"] == what);
    let advice =
        found.unwrap_or_else(|| panic!("{findings:#?}"))["advice"].as_str().expect("advice");
    let command = "ip addr del 10.244.2.1/24 dev cni0";
    assert!(advice.contains(&format!("left from another network plugin: {command};")), "{advice}");
    scene.run(command);
    scene.assert_healthy();
    let before = own_answers(&scene);
    scene.assert_together();
    assert_eq!(own_answers(&scene), before);
}

/// How many echo requests the node has answered.
fn own_answers(scene: &Scene) -> u64 {
    let table = scene.node().netns.exec("nstat -asz IcmpOutEchoReps");
    let line = table.lines().find(|line| line.starts_with("IcmpOutEchoReps"));
    let words = line.map(|line| line.split_whitespace().nth(1));
    words.flatten().and_then(|number| number.parse().ok()).expect("a counter")
}

#[test]
fn forwarding_off_where_answers_come_in() {
    let mut scene = Scene::new();
    scene.set("ipMasq", json!(true));
    scene.run(&format!("flatnet sync --conf-dir {}", scene.net_d().display()));
    let (outside, address) = scene.cluster.outsider(200);
    scene.spoil(&[&format!("ip route add default via {address}")]);
    scene.assert_healthy();
    let pod = &scene.pods[0].netns;
    probe::ping(pod, address);
    kernel::set_sysctl(&scene.node().netns, &format!("ipv4/conf/{UNDERLAY}/forwarding"), "0");
    assert!(!probe::reaches(pod, address));
    let words = "packet filter or settings are not as they should be: ";
    let setting = format!("net/ipv4/conf/{UNDERLAY}/forwarding");
    let mend = scene.finding(&[words, &setting]);
    assert!(mend.starts_with("flatnet sync"), "{mend}");
    scene.run(&mend);
    scene.assert_healthy();
    probe::ping(pod, address);
    drop(outside);
}

#[test]
fn ipv6_forwarding_off() {
    let scene = Scene::new();
    kernel::set_sysctl(&scene.node().netns, "ipv6/conf/all/forwarding", "0");
    scene.cut_off_until(&[Family::V6], "net/ipv6/conf/all/forwarding", "flatnet sync");
}
