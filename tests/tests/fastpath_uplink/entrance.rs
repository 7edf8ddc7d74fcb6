//! The filter at the uplink: it comes and goes with the configuration and the device, beside others'.

use std::process::Command;

use flatnet_tests::cli::{self, document, flatnet, text};
use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::fast_path::{filters, state};
use flatnet_tests::node::Node;
use flatnet_tests::program::said;
use flatnet_tests::stream::Stream;
use flatnet_tests::sync;
use flatnet_tests::wait::wait_for;
use flatnet_tests::watcher::Watcher;
use serde_json::{Value, json};

use crate::scene::Scene;

fn stands(node: &Node, device: &str) -> bool {
    let found = filters(&node.netns, device);
    assert!(found.len() < 2, "{found:?}");
    found.iter().any(|line| line.contains("flatnet-receive-"))
}

/// What another program has at the uplink: a filter that says nothing of any packet.
fn foreign_filter(node: &Node) {
    node.netns.exec(&format!("tc qdisc add dev {UNDERLAY} clsact"));
    let mut add = Command::new("tc");
    add.args(["filter", "add", "dev", UNDERLAY, "ingress", "pref", "7", "protocol", "all", "bpf"]);
    let output = node.netns.finish(add.args(["bytecode", "1,6 0 0 0xffffffff"]), b"");
    assert!(output.status.success(), "{}", said(&output));
}

fn shown(node: &Node) -> [String; 2] {
    let filters = node.netns.exec(&format!("tc filter show dev {UNDERLAY} ingress pref 7"));
    [node.netns.exec(&format!("tc qdisc show dev {UNDERLAY}")), filters]
}

#[test]
fn it_comes_and_goes_with_the_configuration() {
    let mut scene = Scene::new();
    let streams = scene.warm_streams();
    for fast in [json!(true), json!("uplink"), json!(false), json!("uplink"), json!(true)] {
        scene.cluster.configure("fastPath", fast.clone());
        for node in scene.nodes() {
            sync::apply(node);
            assert_eq!(stands(node, UNDERLAY), fast == "uplink", "{fast}");
            assert_eq!(shown(node)[0].contains("clsact"), fast == "uplink", "{fast}");
            assert_eq!(sync::plan(node), [""; 0], "{fast}");
        }
        streams.iter().for_each(Stream::goes_on);
    }
}

#[test]
fn what_another_program_has_there_stays() {
    let mut scene = Scene::new();
    scene.cluster.configure("fastPath", json!(true));
    sync::apply(scene.nodes()[1]);
    foreign_filter(scene.nodes()[1]);
    scene.nodes()[1].netns.exec(&format!("tc qdisc replace dev {UNDERLAY} root pfifo limit 900"));
    let before = shown(scene.nodes()[1]);
    for on in [true, false] {
        scene.cluster.configure("fastPath", if on { json!("uplink") } else { json!(false) });
        let node = scene.nodes()[1];
        sync::apply(node);
        assert_eq!(stands(node, UNDERLAY), on);
        assert_eq!(shown(node), before);
        if on {
            scene.warm_streams();
        }
    }
}

#[test]
fn what_was_removed_by_hand_comes_back() {
    let scene = Scene::new();
    let node = scene.nodes()[1];
    for spoil in [
        format!("tc filter del dev {UNDERLAY} ingress pref 65535"),
        format!("tc qdisc del dev {UNDERLAY} clsact"),
    ] {
        node.netns.exec(&spoil);
        assert_ne!(sync::plan(node), [""; 0], "{spoil}");
        sync::apply(node);
        assert!(stands(node, UNDERLAY), "{spoil}");
        assert_eq!(sync::plan(node), [""; 0], "{spoil}");
    }
}

#[test]
fn a_network_that_is_removed_takes_it_along() {
    let scene = Scene::new();
    let [a, b] = scene.nodes();
    b.del(&scene.far).silent();
    scene.cluster.list(&[0]);
    let state_dir = b.network.state_dir.display().to_string();
    // Whatever has become of the overlay.
    b.netns.exec(&format!("ip link del {}", b.overlay()));
    let removed = cli::run(b, "remove", &["pods", "--state-dir", &state_dir]);
    assert!(removed.status.success(), "{}", said(&removed));
    assert!(!stands(b, UNDERLAY) && !shown(b)[0].contains("clsact"), "{:?}", shown(b));
    sync::apply(a);
    assert!(stands(a, UNDERLAY));
}

#[test]
fn it_goes_though_the_overlay_was_deleted_by_hand() {
    let mut scene = Scene::new();
    scene.cluster.configure("fastPath", json!(false));
    for node in scene.nodes() {
        node.netns.exec(&format!("ip link del {}", node.overlay()));
        assert!(stands(node, UNDERLAY));
        sync::apply(node);
        assert!(!stands(node, UNDERLAY) && !shown(node)[0].contains("clsact"), "{:?}", shown(node));
    }
}

/// The node's address moves to a bridge, with the uplink for a port.
fn behind_a_bridge(node: &Node) {
    let vtep = node.vtep;
    for line in [
        "ip link add ubr0 type bridge stp_state 0 forward_delay 0".to_owned(),
        "ip link set ubr0 up".to_owned(),
        format!("ip addr del {vtep}/24 dev {UNDERLAY}"),
        format!("ip link set {UNDERLAY} master ubr0"),
        format!("ip addr add {vtep}/24 dev ubr0"),
    ] {
        node.netns.exec(&line);
    }
}

#[test]
fn a_watch_follows_the_address_to_a_device_that_is_left_out() {
    let scene = Scene::new();
    let [a, b] = scene.nodes();
    let start = |to| Stream::udp(&scene.near.netns, &scene.far.netns, to);
    let streams: Vec<Stream> = scene.far.addresses().into_iter().map(start).collect();
    streams.iter().for_each(|stream| stream.warm(&[a, b]));
    let watcher = Watcher::start(b);
    behind_a_bridge(b);
    wait_for("that it leaves the port", || (!stands(b, UNDERLAY)).then_some(()));
    wait_for("that the bridge is known", || (state(b)["uplinks"] == json!(["ubr0"])).then_some(()));
    drop(watcher);
    sync::apply(b);
    assert!(!stands(b, "ubr0"));
    streams.iter().for_each(Stream::goes_on);
    let why = "it is of the kind bridge";
    let told = &state(b)["unwrappedAt"][0];
    assert_eq!(told, &json!({ "dev": "ubr0", "open": false, "why": why }));
    let status = text(&flatnet(b, "status", &[]), 0);
    assert!(status.contains(&format!("not unwrapped at ubr0: {why}")), "{status}");
    let doctor = flatnet(b, "doctor", &["--json"]);
    let document: Value = document(&doctor, doctor.status.code().unwrap_or_default());
    let findings = document["findings"].as_array().expect("a list");
    let what = format!("packets of the fast path are not unwrapped at ubr0: {why}");
    assert!(findings.iter().any(|finding| finding["what"] == *what), "{findings:#?}");
}
