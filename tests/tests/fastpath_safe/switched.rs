//! The fast path comes, goes and is replaced under flows that run: nothing of them is lost.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatnet_tests::cli::{self, conf_dir};
use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::fast_path::{Reach, counts, counts_received, filters, state};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::{executable, ours, said};
use flatnet_tests::stream::Stream;
use flatnet_tests::{kernel, sync};
use serde_json::{Value, json};

use crate::REACH;
use crate::scene::Scene;

/// Streams of TCP of each kind, on the fast path.
fn connections(scene: &Scene) -> Vec<Stream> {
    let connect = |(pod, to, nodes): (&Pod, IpAddr, Vec<&Node>)| {
        let stream = Stream::tcp(&scene.near.netns, &pod.netns, to);
        stream.warm(&nodes);
        stream
    };
    scene.flows().into_iter().map(connect).collect()
}

/// Streams of both protocols.
fn streams(scene: &Scene) -> Vec<Stream> {
    connections(scene).into_iter().chain(scene.warm_streams()).collect()
}

/// Ends the streams, of which nothing was lost.
fn nothing_lost(streams: Vec<Stream>) {
    for stream in streams {
        let name = format!("{} to {}", stream.client, stream.server);
        assert_eq!(stream.lost(), 0, "{name}");
    }
}

fn switched(scene: &mut Scene, streams: Vec<Stream>) {
    for on in [false, true, false, true] {
        let fast = if on { REACH.value() } else { json!(false) };
        scene.cluster.configure("fastPath", fast);
        for node in scene.nodes() {
            sync::apply(node);
            streams.iter().for_each(Stream::goes_on);
            assert_eq!(filters(&node.netns, &node.overlay()).len(), if on { 2 } else { 0 });
        }
        match on {
            true => streams.iter().for_each(|stream| stream.warm(&scene.nodes()[..1])),
            false => assert_eq!(state(scene.nodes()[0])["stands"], false),
        }
    }
    nothing_lost(streams);
}

/// Where the kernel need not make the place for filters, which stops a device for some milliseconds.
#[test]
fn it_is_switched_off_and_on_under_flows() {
    let mut scene = Scene::new();
    for node in scene.nodes() {
        devices(node).iter().for_each(|dev| add_foreign_filter(node, dev));
    }
    let streams = streams(&scene);
    switched(&mut scene, streams);
}

/// Another program's filter, which lets all pass: so the place for filters is not taken away.
fn add_foreign_filter(node: &Node, dev: &str) {
    let mut add = Command::new("tc");
    add.args(["filter", "add", "dev", dev, "ingress", "pref", "7", "protocol", "all", "bpf"]);
    let output = node.netns.finish(add.args(["bytecode", "1,6 0 0 0"]), b"");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn connections_outlive_all_of_it() {
    let mut scene = Scene::new();
    let streams = connections(&scene);
    switched(&mut scene, streams);
}

/// The devices of a node on which programs hang.
fn devices(node: &Node) -> Vec<String> {
    let names = kernel::link_names(&node.netns).into_iter();
    let is_one = |name: &String| {
        name.starts_with("veth")
            || *name == node.overlay()
            || (REACH == Reach::Uplink && *name == UNDERLAY)
    };
    names.filter(is_one).collect()
}

/// How many different programs there are.
fn kinds() -> usize {
    if REACH == Reach::Uplink { 3 } else { 2 }
}

/// The programs on all devices of a node, as their filters are called and numbered.
fn programs(node: &Node) -> BTreeSet<String> {
    let words = |line: String| {
        let words = line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let name = words.iter().find(|word| word.starts_with("flatnet-")).expect("a name").clone();
        let id = words.iter().position(|word| word == "id").map(|place| words[place + 1].clone());
        format!("{name} {}", id.unwrap_or_default())
    };
    let lines = devices(node).into_iter().flat_map(|dev| filters(&node.netns, &dev));
    lines.map(words).collect()
}

/// The digest in the names of a node's filters.
fn digest(node: &Node) -> String {
    let programs = programs(node);
    let name = programs.first().expect("a filter").split(' ').next().expect("a name").to_owned();
    // Behind all else.
    let digest = name.rsplit('-').next().expect("a digest");
    digest.chars().take_while(char::is_ascii_hexdigit).collect()
}

/// An executable whose programs have another digest: of another release, as far as anyone can see.
fn other_release(digest: &str, folder: &Path) -> PathBuf {
    let mut bytes = fs::read(ours("flatnet")).expect("the executable");
    let mut other: Vec<u8> = digest.bytes().collect();
    other.reverse();
    assert_ne!(other, digest.as_bytes(), "a digest that reads the same backwards");
    let places: Vec<usize> = bytes
        .windows(digest.len())
        .enumerate()
        .filter(|(_, window)| *window == digest.as_bytes())
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty(), "no {digest} in the executable");
    for place in places {
        bytes[place..place + other.len()].copy_from_slice(&other);
    }
    let path = folder.join("flatnet");
    executable(&path, bytes);
    path
}

/// `flatnet COMMAND` of an executable on a node.
fn run(executable: &Path, node: &Node, words: &[&str]) -> String {
    let mut command = Command::new(executable);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.args(words).arg("--conf-dir").arg(conf_dir(node, &[]));
    let output = node.netns.finish(&mut command, b"");
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn another_release_and_the_first_one_again_under_flows() {
    let scene = Scene::new();
    let nodes = scene.nodes();
    let folder = scene.cluster.folder().join("other");
    fs::create_dir(&folder).expect("a folder");
    let other = other_release(&digest(nodes[0]), &folder);
    let streams = streams(&scene);
    let first = nodes.map(programs);
    // As this release's status tells.
    let received = counts_received(nodes[0], scene.far.v4());
    for executable in [&other, &ours("flatnet"), &other, &ours("flatnet")] {
        for node in nodes {
            let before = programs(node);
            run(executable, node, &["sync"]);
            let after = programs(node);
            assert!(before.is_disjoint(&after), "{before:?} and {after:?}");
            assert_eq!(after.len(), kinds(), "one of each kind, on all devices: {after:?}");
            streams.iter().for_each(Stream::goes_on);
            // The programs of the other release say what they do.
            let fast = || {
                let status: Value =
                    serde_json::from_str(&run(executable, node, &["status", "--json"]))
                        .expect("JSON");
                status["networks"][0]["fastPath"]["counts"][received].as_u64().expect("a number")
            };
            let begin = fast();
            flatnet_tests::wait::wait_for("packets on the fast path", || {
                (fast() > begin + 100).then_some(())
            });
        }
    }
    streams.iter().for_each(|stream| stream.warm(&nodes[..1]));
    assert_ne!(nodes.map(programs), first);
    nothing_lost(streams);
}

#[test]
fn a_pod_of_the_next_release_beside_those_of_the_last() {
    let scene = Scene::new();
    let nodes = scene.nodes();
    let folder = scene.cluster.folder().join("other");
    fs::create_dir(&folder).expect("a folder");
    let other = other_release(&digest(nodes[0]), &folder);
    let streams = streams(&scene);
    // Nobody calls `sync`: an ADD finds what is not its own.
    let mut newer = Pod::new("newer");
    let call = nodes[0].call_for("ADD", &newer).program(other.clone());
    newer.result = call.run().result();
    streams.iter().for_each(Stream::goes_on);
    for to in newer.addresses() {
        Stream::udp(&scene.far.netns, &newer.netns, to).goes_on();
        Stream::udp(&scene.near.netns, &newer.netns, to).goes_on();
    }
    run(&other, nodes[0], &["sync"]);
    assert_eq!(programs(nodes[0]).len(), kinds(), "{:?}", programs(nodes[0]));
    nothing_lost(streams);
}

/// `flatnet remove pods` on a node.
fn remove(node: &Node, more: &[&str]) {
    let state_dir = node.network.state_dir.display().to_string();
    let removed = cli::run(node, "remove", &[&["pods", "--state-dir", &state_dir], more].concat());
    assert!(removed.status.success(), "{}", said(&removed));
}

#[test]
fn a_network_that_is_removed_leaves_nothing_of_it() {
    let scene = Scene::new();
    let [a, b] = scene.nodes();
    drop(scene.warm_streams());
    for pod in [&scene.near, &scene.beside] {
        a.del(pod).silent();
    }
    scene.cluster.list(&[1]);
    remove(a, &[]);
    assert_eq!(programs(a), BTreeSet::new());
    assert!(!a.netns.exec("nft list ruleset").contains("fast-path"));
    assert!(!a.netns.exec("tc qdisc show").contains("clsact"));
    sync::apply(b);
    assert_eq!(programs(b).len(), kinds());
}

#[test]
fn after_a_reboot_the_next_pod_has_it_again() {
    let scene = Scene::new();
    let [a, b] = scene.nodes();
    drop(scene.warm_streams());
    // What a reboot takes: pods, devices, rules and settings. The state folder stays, and is older.
    for pod in [&scene.near, &scene.beside] {
        a.netns.exec(&format!("ip link del {}", pod.veth()));
    }
    a.netns.exec(&format!("ip link del {}", a.overlay()));
    a.netns.exec("nft flush ruleset");
    kernel::set_sysctl(&a.netns, "netfilter/nf_conntrack_tcp_be_liberal", "0");
    let pod = a.add("after");
    for to in pod.addresses() {
        Stream::udp(&scene.far.netns, &pod.netns, to).warm(&[a, b]);
    }
    assert_eq!(kernel::sysctl(&a.netns, "netfilter/nf_conntrack_tcp_be_liberal"), "1");
    assert!(counts(a)[counts_received(a, pod.v4())] > 0);
}
