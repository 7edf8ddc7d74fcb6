//! Two networks on the same nodes, both with the fast path: each has programs, flows and counts of its own. That they have
//! the same addresses is refused (`tests/tests/networks.rs`), with the fast path as without.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use flatnet_tests::cli;
use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::fast_path::{Status, counts, fast_during, filters, state};
use flatnet_tests::node::{Network, Node, Pod};
use flatnet_tests::program::said;
use flatnet_tests::stream::Stream;
use flatnet_tests::sync;
use serde_json::{Value, json};

use crate::scene::Scene;

/// Another network on a node: its configuration, in a folder of its own.
struct Second<'a> {
    node: &'a Node,
    network: Network,
    folder: PathBuf,
}

impl<'a> Second<'a> {
    /// `10.245.n.0/24` and `fd00:10:245:n::/64` on each of the nodes.
    fn on(scene: &'a Scene) -> [Self; 2] {
        let nodes = scene.nodes();
        let range_file = scene.cluster.folder().join("second.json");
        let entry = |(n, node): (usize, &Node)| {
            let ranges = [format!("10.245.{n}.0/24"), format!("fd00:10:245:{n}::/64")];
            json!({ "name": node.name, "vtep": node.vtep, "ranges": ranges })
        };
        let entries: Vec<Value> = (1..).zip(nodes).map(entry).collect();
        let content = json!({ "version": 1, "vni": 4097, "nodes": entries });
        fs::write(&range_file, content.to_string()).expect("write a range file");
        let mut network = Network { range_file, vni: 4097, ..scene.cluster.network.clone() };
        network.configuration["name"] = json!("second");
        network.configuration["rangeFile"] = json!(network.range_file);
        nodes.map(|node| {
            let folder = scene.cluster.folder().join(format!("{}.second.d", node.name));
            fs::create_dir_all(&folder).expect("a folder");
            let second = Self { node, network: network.clone(), folder };
            second.configure(json!(true));
            second
        })
    }

    fn configure(&self, fast_path: Value) {
        let mut plugin = self.network.configuration.clone();
        plugin["fastPath"] = fast_path;
        let list =
            json!({ "cniVersion": "1.0.0", "name": "second", "plugins": [plugin] }).to_string();
        fs::write(self.folder.join("10-second.conflist"), list).expect("write a configuration");
    }

    fn call(&self, verb: &str, pod: &Pod) -> flatnet_tests::cni::Outcome {
        let input = self.network.configuration.to_string();
        self.node.call_for(verb, pod).stdin(input.as_bytes()).run()
    }

    fn add(&self) -> Pod {
        let mut pod = Pod::new("second");
        pod.result = self.call("ADD", &pod).result();
        pod
    }

    fn flatnet(&self, command: &str, args: &[&str]) -> Output {
        let folder = self.folder.display().to_string();
        cli::run(self.node, command, &[&["--conf-dir", &folder], args].concat())
    }

    fn sync(&self) {
        let output = self.flatnet("sync", &[]);
        assert!(output.status.success(), "{}", said(&output));
    }
}

impl Status for Second<'_> {
    fn status(&self) -> Output {
        self.flatnet("status", &["--json"])
    }
}

#[test]
fn two_networks_have_each_its_own() {
    let scene = Scene::new();
    let [a, b] = scene.nodes();
    let [second_a, second_b] = &Second::on(&scene);
    let pods = [second_a, second_b].map(Second::add);
    let of_first = Stream::udp(&scene.near.netns, &scene.far.netns, scene.far.v4());
    let of_second = Stream::udp(&pods[0].netns, &pods[1].netns, pods[1].v4());
    of_first.warm(&[a, b]);
    of_second.warm(&[second_a, second_b]);
    // Each counts its own.
    let before = counts(second_a)["toUplink"];
    drop(of_first);
    let counted = fast_during(a, || of_second.warm(&[second_a, second_b]));
    assert_eq!((counted["toUplink"], counted["toPod"]), (0, 0), "{counted:?}");
    assert!(counts(second_a)["toUplink"] > before);
    // One is switched off, and the other stays.
    let of_first = Stream::udp(&scene.near.netns, &scene.far.netns, scene.far.v4());
    of_first.warm(&[a, b]);
    for second in [second_a, second_b] {
        second.configure(json!(false));
        second.sync();
        assert_eq!(state(second)["stands"], false);
    }
    of_second.goes_on();
    of_first.warm(&[a, b]);
    for second in [second_a, second_b] {
        second.configure(json!(true));
        second.sync();
    }
    of_second.warm(&[second_a, second_b]);
    // One leaves the nodes, and the other stays.
    for (second, pod) in [second_a, second_b].into_iter().zip(&pods) {
        second.call("DEL", pod).silent();
        let state_dir = second.network.state_dir.display().to_string();
        let removed =
            cli::run(second.node, "remove", &["second", "--state-dir", &state_dir, "--force"]);
        assert!(removed.status.success(), "{}", said(&removed));
    }
    of_first.warm(&[a, b]);
}

#[test]
fn the_last_network_at_an_uplink_takes_the_place_for_filters_along() {
    let mut scene = Scene::new();
    scene.cluster.configure("fastPath", json!("uplink"));
    sync::apply(scene.nodes()[0]);
    {
        let [second, _] = &Second::on(&scene);
        second.configure(json!("uplink"));
        second.sync();
        assert_eq!(filters(&second.node.netns, UNDERLAY).len(), 2);
    }
    scene.cluster.configure("fastPath", json!(false));
    let node = scene.nodes()[0];
    sync::apply(node);
    let place = || node.netns.exec(&format!("tc qdisc show dev {UNDERLAY}")).contains("clsact");
    assert!(place() && filters(&node.netns, UNDERLAY).len() == 1, "the other network stays");
    let [second, _] = &Second::on(&scene);
    second.configure(json!(false));
    second.sync();
    assert!(!place() && filters(&node.netns, UNDERLAY).is_empty());
}
