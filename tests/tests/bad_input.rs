//! Every kind of bad input gets its code and a message that says where and what, and changes
//! nothing: neither the node, nor the container, nor the state folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::{Call, CniError};
use flatnet_tests::node::Pod;
use flatnet_tests::{kernel, snapshot};
use serde_json::{Value, json};

/// Views of the namespaces, and files of the state folder.
struct Look(BTreeMap<&'static str, Vec<String>>, BTreeMap<PathBuf, (u32, Vec<u8>)>);

/// A cluster with a pod that lives, a container that waits, and how all of it looked.
struct Scene {
    cluster: Cluster,
    living: Pod,
    waiting: Pod,
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::new(2);
        cluster.settle();
        cluster.nodes[0].begin_with_the_first("pods");
        let living = cluster.nodes[0].add("living");
        kernel::wait_until_up(&cluster.nodes[0].netns, living.veth());
        Self { cluster, living, waiting: Pod::new("waiting") }
    }

    /// The ADD that would succeed if nothing were wrong.
    fn add(&self) -> Call<'_> {
        self.cluster.nodes[0].call_for("ADD", &self.waiting)
    }

    /// Everything that must stay as it is: both namespaces and the state folder.
    fn look(&self) -> Look {
        let mut state = snapshot::namespace(&self.cluster.nodes[0].netns);
        for (view, lines) in snapshot::namespace(&self.waiting.netns) {
            state.entry(view).or_default().extend(lines);
        }
        Look(state, snapshot::folder(&self.cluster.network.state_dir))
    }

    /// Asserts that a call fails with this code, that the message has all these parts, and that
    /// nothing changed.
    fn refuses(&self, call: &Call<'_>, code: u64, parts: &[&str]) -> CniError {
        let before = self.look();
        let error = call.run().error();
        assert_eq!(error.code, code, "{parts:?}: {error:?}");
        for part in parts {
            assert!(error.msg.contains(part), "no {part:?} in {error:?}");
        }
        let after = self.look();
        let changed =
            [snapshot::difference(&before.0, &after.0), snapshot::difference(&before.1, &after.1)];
        assert!(changed.iter().all(Vec::is_empty), "{error:?} changed something: {changed:#?}");
        error
    }

    /// The configuration with one key set; null takes it away.
    fn with(&self, key: &str, value: Value) -> Vec<u8> {
        let mut configuration = self.cluster.network.configuration.clone();
        let object = configuration.as_object_mut().unwrap();
        if value.is_null() {
            object.remove(key);
        } else {
            object.insert(key.to_owned(), value);
        }
        configuration.to_string().into_bytes()
    }
}

#[test]
fn environment() {
    let scene = Scene::new();
    let own = scene.cluster.nodes[0].netns.path().display().to_string();
    let cases: [(&str, &str, u64, &[&str]); 20] = [
        ("CNI_COMMAND", "FROB", 4, &["CNI_COMMAND", "FROB", "ADD"]),
        ("CNI_COMMAND", "add", 4, &["CNI_COMMAND", "add"]),
        ("CNI_CONTAINERID", "", 4, &["CNI_CONTAINERID"]),
        ("CNI_CONTAINERID", "../../etc", 4, &["CNI_CONTAINERID", "../../etc"]),
        ("CNI_CONTAINERID", "-x", 4, &["CNI_CONTAINERID", "-x"]),
        ("CNI_NETNS", "", 4, &["CNI_NETNS"]),
        ("CNI_NETNS", "/proc/version", 8, &["CNI_NETNS", "/proc/version"]),
        ("CNI_NETNS", "/run/netns/ftest-none", 8, &["CNI_NETNS", "/run/netns/ftest-none"]),
        ("CNI_NETNS", &own, 8, &["CNI_NETNS", &own]),
        ("CNI_IFNAME", "", 4, &["CNI_IFNAME"]),
        ("CNI_IFNAME", "sixteen-bytes-16", 4, &["CNI_IFNAME", "sixteen-bytes-16"]),
        ("CNI_IFNAME", "..", 4, &["CNI_IFNAME"]),
        ("CNI_IFNAME", "a/b", 4, &["CNI_IFNAME", "a/b"]),
        ("CNI_IFNAME", "a:b", 4, &["CNI_IFNAME", "a:b"]),
        ("CNI_IFNAME", "eth%d", 4, &["CNI_IFNAME", "eth%d"]),
        ("CNI_IFNAME", "a b", 4, &["CNI_IFNAME", "a b"]),
        ("CNI_PATH", "", 4, &["CNI_PATH"]),
        ("CNI_ARGS", "COLOUR=blue", 4, &["CNI_ARGS", "COLOUR", "IgnoreUnknown"]),
        ("CNI_ARGS", "IP=10.244.1.300", 4, &["CNI_ARGS", "IP", "10.244.1.300"]),
        ("CNI_ARGS", "MAC=01:00:5e:00:00:01", 4, &["CNI_ARGS", "MAC", "01:00:5e:00:00:01"]),
    ];
    for (key, value, code, parts) in cases {
        scene.refuses(&scene.add().env(key, value), code, parts);
    }
    let all = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];
    let bare = all.iter().fold(scene.add(), |call, key| call.without(key));
    scene.refuses(&bare, 4, &all);
    scene.refuses(
        &bare.env("CNI_COMMAND", "DEL"),
        4,
        &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
    );
}

#[test]
fn standard_input() {
    let scene = Scene::new();
    let cases: [(&[u8], u64, &[&str]); 6] = [
        (b"", 6, &["JSON"]),
        (b"{\"name\": ", 6, &["JSON", "line 1"]),
        (b"not JSON", 6, &["JSON"]),
        (b"{} {}", 6, &["JSON"]),
        (b"[]", 7, &["configuration"]),
        (b"{\"cniVersion\":\"1.1.0\"}", 7, &["name"]),
    ];
    for (stdin, code, parts) in cases {
        scene.refuses(&scene.add().stdin(stdin), code, parts);
    }
    let broken = [b"{\"name\": \"".as_slice(), &[0xff, 0xfe], b"\"}"].concat();
    scene.refuses(&scene.add().stdin(&broken), 6, &["JSON"]);
    // Deep nesting must not end in a stack overflow.
    let deep = [b"{\"name\": \"pods\", \"deep\": ".as_slice(), &[b'['; 100_000]].concat();
    scene.refuses(&scene.add().stdin(&deep), 6, &["JSON"]);
}

#[test]
fn configuration() {
    let scene = Scene::new();
    let folder = scene.cluster.folder().display().to_string();
    let missing = format!("{folder}/none.json");
    let cases: [(&str, Value, u64, &[&str]); 21] = [
        ("cniVersion", json!("9.9.9"), 1, &["9.9.9", "1.1.0"]),
        ("cniVersion", json!(1), 7, &["cniVersion"]),
        ("name", json!(null), 7, &["name"]),
        ("name", json!("a/b"), 7, &["name", "a/b"]),
        ("rangeFile", json!(null), 7, &["rangeFile"]),
        ("rangeFile", json!("pods.json"), 7, &["rangeFile", "pods.json", "absolute"]),
        ("rangeFile", json!(7), 7, &["rangeFile", "7"]),
        ("rangeFile", json!(missing), 5, &[&missing]),
        ("rangeFile", json!(folder), 5, &[&folder]),
        ("node", json!("node-z"), 7, &["node-z", "node-a", "node-b"]),
        ("mtu", json!("big"), 7, &["mtu", "big"]),
        ("mtu", json!(10), 7, &["mtu", "10"]),
        ("mtu", json!(9000), 7, &["mtu", "9000", "1450"]),
        ("stateDir", json!("state"), 7, &["stateDir", "state", "absolute"]),
        ("logLevel", json!("loud"), 7, &["logLevel", "loud"]),
        ("ipMasq", json!("yes"), 7, &["ipMasq", "yes"]),
        ("routes", json!([{ "dst": "10.0.0.0/33" }]), 7, &["routes[0].dst", "10.0.0.0/33"]),
        ("ipam", json!({ "type": "host-local" }), 7, &["ipam.type", "host-local"]),
        ("prevResult", json!({ "ips": 7 }), 7, &["prevResult"]),
        ("runtimeConfig", json!({ "ips": ["10.244.2.9"] }), 7, &["10.244.2.9"]),
        ("runtimeConfig", json!({ "mac": "zz" }), 7, &["mac", "zz"]),
    ];
    for (key, value, code, parts) in cases {
        scene.refuses(&scene.add().stdin(&scene.with(key, value)), code, parts);
    }
}

#[test]
fn verbs_that_the_version_does_not_allow() {
    let scene = Scene::new();
    for (verb, version) in [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")] {
        let stdin = scene.with("cniVersion", json!(version));
        let call = scene.add().env("CNI_COMMAND", verb).stdin(&stdin);
        let error = scene.refuses(&call, 1, &[verb]);
        assert_eq!(error.version, version);
        if verb == "CHECK" {
            assert_eq!(error.msg, "config version does not allow CHECK");
        }
    }
}

#[test]
fn requested_addresses_that_cannot_be_given() {
    let scene = Scene::new();
    let living = scene.living.v4().to_string();
    let cases: [(&str, u64, &[&str]); 6] = [
        ("10.244.2.9", 7, &["10.244.2.9"]),
        ("10.244.1.0", 7, &["10.244.1.0"]),
        ("10.244.1.255", 7, &["10.244.1.255"]),
        ("10.244.1.8,10.244.1.9", 7, &["10.244.1.9"]),
        (&living, 101, &[&living, "living"]),
        ("fd00:10:244:2::9", 7, &["fd00:10:244:2::9"]),
    ];
    for (address, code, parts) in cases {
        let call = scene.add().env("CNI_ARGS", &format!("IP={address}"));
        scene.refuses(&call, code, parts);
    }
}

#[test]
fn no_address_left() {
    let mut cluster = Cluster::new(2);
    cluster.nodes[0].ranges = vec![json!({
        "subnet": "10.244.1.0/24", "rangeStart": "10.244.1.10", "rangeEnd": "10.244.1.11",
    })];
    cluster.list(&[0, 1]);
    cluster.settle();
    let living = [cluster.nodes[0].add("living"), cluster.nodes[0].add("living")];
    living.iter().for_each(|pod| kernel::wait_until_up(&cluster.nodes[0].netns, pod.veth()));
    let scene = Scene { cluster, living: Pod::new("unused"), waiting: Pod::new("waiting") };
    scene.refuses(&scene.add(), 100, &["node-a", "10.244.1.10", "10.244.1.11"]);
    // A pod whose namespace died without a DEL gives its address back.
    let [first, second] = living;
    let freed = first.v4();
    let veth = first.veth().to_owned();
    drop(first);
    let node = &scene.cluster.nodes[0];
    kernel::wait_until_gone(&node.netns, &veth);
    assert_eq!(node.add("successor").v4(), freed);
    drop(second);
}

/// A valid range file for node-a and node-b, to be broken in one place.
fn range_file() -> Value {
    json!({
        "version": 1,
        "vni": 4096,
        "port": 4789,
        "clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/56"],
        "nodes": [
            { "name": "node-a", "vtep": "192.168.50.1", "ranges": ["10.244.1.0/24"] },
            { "name": "node-b", "vtep": "192.168.50.2", "ranges": ["10.244.2.0/24"] },
        ],
    })
}

#[test]
fn range_files() {
    let scene = Scene::new();
    let range = |key: &str, value: &str| json!({ "subnet": "10.244.1.0/24", key: value });
    let origin = scene.cluster.network.range_file.display().to_string();
    // (where, what is put there, what the message must have beside the file's name)
    let cases: [(&str, Value, &[&str]); 32] = [
        ("/version", json!(null), &["version"]),
        ("/version", json!(2), &["version", "2"]),
        ("/vni", json!(0), &["vni", "0", "16777215"]),
        ("/vni", json!(16_777_216), &["vni", "16777216"]),
        ("/vni", json!(-1), &["vni", "-1"]),
        ("/vni", json!("x"), &["vni", "x"]),
        ("/port", json!(0), &["port", "0"]),
        ("/port", json!(65_536), &["port", "65536"]),
        ("/colour", json!("blue"), &["colour"]),
        (
            "/clusterCIDRs/0",
            json!("10.244.0.1/16"),
            &["clusterCIDRs[0]", "10.244.0.1/16", "10.244.0.0/16"],
        ),
        ("/clusterCIDRs/1", json!("10.244.3.0/24"), &["clusterCIDRs[1]", "10.244.3.0/24"]),
        ("/nodes", json!([]), &["nodes"]),
        ("/nodes/0/colour", json!("blue"), &["nodes[0]", "colour"]),
        ("/nodes/1/name", json!("node-a"), &["nodes[1].name", "node-a", "nodes[0]"]),
        ("/nodes/1/name", json!("Node_B"), &["nodes[1].name", "Node_B"]),
        ("/nodes/1/vtep", json!("192.168.50.1"), &["nodes[1].vtep", "192.168.50.1"]),
        ("/nodes/1/vtep", json!("fd00::2"), &["nodes[1].vtep", "fd00::2"]),
        ("/nodes/1/vtep", json!("127.0.0.1"), &["nodes[1].vtep", "127.0.0.1"]),
        ("/nodes/1/vtep", json!("224.0.0.1"), &["nodes[1].vtep", "224.0.0.1"]),
        ("/nodes/1/vtep", json!("10.244.9.9"), &["nodes[1].vtep", "10.244.9.9"]),
        ("/nodes/1/vtep", json!("nowhere"), &["nodes[1].vtep", "nowhere"]),
        (
            // Two addresses of which one MAC is computed: one node would have the other's packets.
            "/nodes",
            json!([
                range_file()["nodes"][0],
                { "name": "node-b", "vtep": "10.227.127.226", "ranges": ["10.244.2.0/24"] },
                { "name": "node-c", "vtep": "10.192.201.232", "ranges": ["10.244.3.0/24"] },
            ]),
            &[
                "nodes[2].vtep",
                "10.192.201.232",
                "1e:15:bc:e6:22:c5",
                "nodes[1].vtep",
                "10.227.127.226",
            ],
        ),
        ("/nodes/1/ranges", json!([]), &["nodes[1].ranges"]),
        (
            "/nodes/1/ranges/0",
            json!("10.244.1.128/25"),
            &["nodes[1].ranges[0]", "10.244.1.128/25", "nodes[0].ranges[0]"],
        ),
        ("/nodes/1/ranges/0", json!("10.9.0.0/24"), &["nodes[1].ranges[0]", "10.9.0.0/24"]),
        (
            "/nodes/1/ranges/0",
            json!("10.244.2.7/24"),
            &["nodes[1].ranges[0]", "10.244.2.7/24", "10.244.2.0/24"],
        ),
        ("/nodes/0/ranges/0", range("colour", "blue"), &["nodes[0].ranges[0]", "colour"]),
        (
            "/nodes/0/ranges/0",
            range("rangeStart", "10.244.2.1"),
            &["nodes[0].ranges[0].rangeStart", "10.244.2.1"],
        ),
        (
            "/nodes/0/ranges/0",
            range("rangeEnd", "fd00::1"),
            &["nodes[0].ranges[0].rangeEnd", "fd00::1"],
        ),
        (
            "/nodes/0/ranges/0",
            json!({ "subnet": "10.244.1.0/24", "exclude": ["10.244.2.0/28"] }),
            &["nodes[0].ranges[0].exclude[0]", "10.244.2.0/28"],
        ),
        (
            "/nodes/0/ranges/0",
            json!({ "subnet": "10.244.1.0/24", "exclude": ["10.244.1.0/24"] }),
            &["nodes[0].ranges[0]"],
        ),
        (
            "/nodes/0/ranges/0",
            json!({ "subnet": "10.244.1.0/24", "rangeStart": "10.244.1.9", "rangeEnd": "10.244.1.8" }),
            &["nodes[0].ranges[0]", "10.244.1.9"],
        ),
    ];
    for (place, value, parts) in cases {
        scene.cluster.write_range_file(&broken(place, value));
        let parts: Vec<&str> = parts.iter().copied().chain([origin.as_str()]).collect();
        scene.refuses(&scene.add(), 7, &parts);
    }
    for (text, code) in
        [("", 6), ("{", 6), ("{\"version\": 1, ", 6), ("{\"version\":1,\"version\":1}", 7)]
    {
        fs::write(&scene.cluster.network.range_file, text).unwrap();
        scene.refuses(&scene.add(), code, &[&origin]);
    }
    // With a good file again, the same call succeeds.
    scene.cluster.list(&[0, 1]);
    scene.add().run().result();
}

/// The valid range file with one value replaced, added, or (null) taken away.
fn broken(place: &str, value: Value) -> Value {
    let mut file = range_file();
    let (parent, key) = place.rsplit_once('/').unwrap();
    match file.pointer_mut(parent).unwrap() {
        Value::Object(object) if value.is_null() => drop(object.remove(key)),
        Value::Object(object) => drop(object.insert(key.to_owned(), value)),
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        other => panic!("{place} leads to {other}"),
    }
    file
}

#[test]
fn a_node_that_is_not_in_the_range_file() {
    let scene = Scene::new();
    scene.cluster.list(&[1]);
    scene.refuses(&scene.add(), 7, &["node-b"]);
}
