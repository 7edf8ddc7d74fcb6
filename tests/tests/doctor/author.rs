//! What is advised where the range file has to be another, by who writes it: what an operator changes in the file, the
//! file of an agent has from elsewhere.

use std::fs;
use std::net::UdpSocket;

use flatnet_tests::cli::{run, trace};
use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Pod;
use flatnet_tests::program::said;
use flatnet_tests::sync;
use serde_json::json;

use super::agent;
use super::scene::Scene;

/// What Kubernetes' network is changed in, and that of an etcd's nodes.
const CONFIG_MAP: &str = "network.json, of which flatnet-agent's ConfigMap is made";
const NETWORK: &str =
    "the --network file of flatnet-agent (/etc/flatnet/network.json) on every node";

/// With the file of an operator, of an agent of Kubernetes, and of one of etcd; an operator's again then.
fn by_each(scene: &Scene, look: impl Fn(usize)) {
    look(0);
    for (place, engine) in ["kubernetes", "etcd"].into_iter().enumerate() {
        let matters = json!({ "node": "node-a", "engine": engine, "trouble": null, "rejected": [], "waits": [] });
        agent::write(scene, matters);
        look(place + 1);
    }
    fs::remove_file(agent::file(scene)).unwrap();
}

/// What mends it is this, by who writes the file.
fn advised(scene: &Scene, words: &str, mends: [&str; 3]) {
    by_each(scene, |place| scene.advised(words, mends[place]));
}

/// What is said of a setting, by who writes the file; the words end before where it is.
fn settings(words: &str) -> [String; 3] {
    ["the range file", CONFIG_MAP, NETWORK].map(|place| format!("{words} {place}"))
}

#[test]
fn a_file_that_is_spoiled_or_gone() {
    let mut scene = Scene::new();
    let path = scene.cluster.network.range_file.clone();
    let whole = fs::read(&path).unwrap();
    let again = |log: &str| {
        format!(
            "flatnet-agent writes {} by itself: see whether it runs here, and what it says ({log}",
            path.display()
        )
    };
    let [kubernetes, etcd] = ["`kubectl logs`", "`journalctl -u flatnet-agent`"].map(again);
    fs::write(&path, "{").unwrap();
    let check = format!("; `flatnet ranges check {}`", path.display());
    advised(&scene, "pods.json: not valid JSON", [&check, &kubernetes, &etcd]);
    fs::remove_file(&path).unwrap();
    let put = "put the cluster's range file there, the same on every node";
    advised(&scene, "cannot read ", [put, &kubernetes, &etcd]);
    fs::write(&path, whole).unwrap();
    scene.assert_healthy();
    scene.set("node", json!("node-x"));
    let waits = "see what flatnet-agent waits for, or, if for nothing, start it again";
    let operator = "set node in the configuration of network pods to this node's name";
    advised(&scene, "no node is named \"node-x\"", [operator, waits, waits]);
}

#[test]
fn peers_that_do_not_answer() {
    let scene = Scene::new();
    let peer = scene.peer();
    peer.exec("nft add table inet wall");
    peer.exec("nft add chain inet wall input { type filter hook input priority 0 ; }");
    peer.exec("nft add rule inet wall input udp dport 4789 drop");
    let there = "; if they do, see whether flatnet-agent runs there and hears of the cluster";
    advised(&scene, "UDP port 4789 is blocked", ["; if they do, put the same ", there, there]);
    peer.exec("nft flush chain inet wall input");
    peer.exec("nft add rule inet wall input udp dport 4789 reject");
    let there = "see whether flatnet-agent runs there, where no overlay stands yet; or let";
    let operator = "run `flatnet sync` there, where no overlay stands yet; or let";
    advised(&scene, "UDP port 4789 is refused by node-b", [operator, there, there]);
    peer.exec("nft delete table inet wall");
    peer.exec(&format!("ip link set {UNDERLAY} down"));
    advised(
        &scene,
        "dead or cut off: no answer at the VTEP nor over the overlay from node-b",
        [
            "or take it out of ",
            "`kubectl delete node node-b`",
            "`flatnet-agent etcd forget node-b`",
        ],
    );
}

#[test]
fn vteps_that_are_wrong() {
    let mut scene = Scene::new();
    let right = scene.cluster.nodes[1].vtep;
    scene.cluster.nodes[1].vtep = [203, 0, 113, 2].into();
    scene.cluster.list(&[0, 1]);
    sync::apply(scene.node());
    let node = "correct the InternalIP of that Node (the kubelet's --node-ip)";
    let option = "correct --vtep of that node's flatnet-agent";
    let route = "there is no route to the VTEP of node-b (203.0.113.2)";
    advised(&scene, route, ["or correct vtep in ", node, option]);
    scene.cluster.nodes[1].vtep = right;
    scene.cluster.nodes[0].vtep = [203, 0, 113, 1].into();
    scene.set("node", json!("node-a"));
    scene.cluster.list(&[0, 1]);
    sync::apply(scene.node());
    let place = "203.0.113.1, the VTEP of node-a, is on no device here";
    let operator = "correct node in the network configuration or vtep in ";
    advised(&scene, place, [operator, node, option]);
}

/// The same is said to the runtime that wants another pod.
#[test]
fn ranges_that_are_full() {
    let mut cluster = Cluster::new(2);
    cluster.set_ranges(|n| vec![format!("10.244.{n}.0/30"), format!("fd00:10:244:{n:x}::/64")]);
    let mut scene = Scene::with(cluster);
    let last = scene.node().add("last");
    scene.pods.push(last);
    let claims = "flatnet-agent claims another block by itself, as long as clusterCIDRs have one that is free";
    let [kubernetes, etcd] = ["(`kubectl get flatnetblocks`)", "(`flatnet-agent etcd list`)"]
        .map(|list| format!("{claims} {list}"));
    let operator = "add another range to node-a in ";
    advised(&scene, "no address is left in 10.244.1.0/30", [operator, &kubernetes, &etcd]);
    let pod = Pod::new("next");
    by_each(&scene, |place| {
        let error = scene.node().call_for("ADD", &pod).run().error();
        let words = ["add a range to this node", &kubernetes, &etcd][place];
        assert_eq!(error.code, 100, "{error:?}");
        let begin = "no address left for a pod on node node-a in 10.244.1.0/30";
        assert!(error.msg.contains(begin) && error.msg.contains(words), "{error:?}");
    });
}

#[test]
fn pods_whose_range_is_anothers_now() {
    let mut scene = Scene::new();
    let old = scene.cluster.nodes[0].ranges.clone();
    scene.cluster.nodes[0].ranges = vec![json!("10.244.7.0/24"), json!("fd00:10:244:7::/64")];
    scene.cluster.nodes[1].ranges.extend(old);
    scene.cluster.list(&[0, 1]);
    scene.cluster.nodes.iter().for_each(|node| drop(sync::apply(node)));
    let again = "let the runtime make these pods again, unless flatnet-agent gets the range back";
    let operator = "give node-a the range back in ";
    advised(&scene, "of pods on node-a in ranges of node-b", [operator, again, again]);
}

#[test]
fn an_address_that_no_node_has() {
    let scene = Scene::new();
    let from = scene.pods[0].v4().to_string();
    by_each(&scene, |place| {
        let (_, end) = trace(scene.node(), &from, "10.244.99.1", 1);
        let claimed = "no pod can have it until a node's flatnet-agent claims its range";
        let mend = [
            "give the range to a node in the range file".to_owned(),
            format!("{claimed} (`kubectl get flatnetblocks`)"),
            format!("{claimed} (`flatnet-agent etcd list`)"),
        ];
        assert_eq!(end["mend"], json!(mend[place]), "{end}");
    });
}

#[test]
fn packets_that_are_too_large() {
    let scene = Scene::new();
    scene.cluster.underlay.exec("ip link set node-b mtu 1396");
    let operator =
        "set \"mtu\": 1350 in the configuration of network pods on every node".to_owned();
    let [_, kubernetes, etcd] = settings("set \"mtu\": 1350 for the plugin flatnet in conflist of");
    advised(&scene, "wrong MTU: packets of 1450 bytes", [&operator, &kubernetes, &etcd]);
}

/// The same is said by `sync`, and to the runtime.
#[test]
fn others_that_have_the_vni_or_the_port() {
    let scene = Scene::new();
    scene.spoil(&[
        "ip link del flat.4096",
        "ip link add flannel.1 type vxlan id 4096 dstport 4789 nolearning",
        "ip link set flannel.1 up",
    ]);
    let other_vni = settings("give this network another vni in");
    by_each(&scene, |place| {
        let mend = &other_vni[place];
        let found = scene.finding(&["the VXLAN device flannel.1 already has VNI 4096"]);
        let sync = scene.flatnet("sync", &[]);
        let status = scene.node().call("STATUS").run().error();
        for told in [found, said(&sync), status.msg] {
            assert!(told.contains(mend), "{mend:?} in {told:?}");
            assert!(told.contains(", or remove that device (ip link del flannel.1)"), "{told}");
        }
    });
    scene.spoil(&["ip link del flannel.1"]);

    let program = scene.node().netns.run(|| UdpSocket::bind("0.0.0.0:4789")).expect("bind");
    let port = settings("stop it, or set another port in");
    advised(
        &scene,
        "UDP port 4789 is taken by another program",
        port.each_ref().map(String::as_str),
    );
    drop(program);
    scene.node().netns.until_udp_is_free(4789);

    scene.spoil(&["ip link add vx0 type vxlan id 4096 dstport 4789 nolearning"]);
    let elsewhere = Netns::new("elsewhere");
    scene.spoil(&[&format!("ip link set vx0 netns {}", elsewhere.name())]);
    elsewhere.exec("ip link set vx0 up");
    advised(&scene, "already has VNI 4096", other_vni.each_ref().map(String::as_str));
}

#[test]
fn a_network_that_is_to_leave_the_node() {
    let scene = Scene::new();
    scene.node().del(&scene.pods[0]).silent();
    let path = scene.cluster.network.range_file.display().to_string();
    let state = scene.cluster.network.state_dir.display().to_string();
    by_each(&scene, |place| {
        let output = run(scene.node(), "remove", &["pods", "--state-dir", &state]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let own = format!("then take away the configuration of network pods and {path}");
        let words = [
            "then the node's entry in the range file on every node".to_owned(),
            format!("`kubectl delete node node-a`, {own}"),
            format!("`flatnet-agent etcd forget node-a`, {own}"),
        ];
        assert!(said(&output).contains(&words[place]), "{}", said(&output));
    });
}
