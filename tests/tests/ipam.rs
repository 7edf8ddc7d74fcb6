//! `flatnet-ipam` by itself: results, errors and what it leaves, as a main plugin that delegates
//! to it sees them. Under real main plugins: see `ipam_delegated.rs`.

use std::path::Path;
use std::thread;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::Call;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::ours;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Every version of the protocol.
const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// A namespace that the runtime has not made yet: no verb may open it.
const NO_NETNS: &str = "/nonexistent/netns";

/// A configuration of some main plugin with this section `ipam`.
fn configuration(version: &str, ipam: &Value) -> Value {
    json!({ "cniVersion": version, "name": "pods", "type": "bridge", "ipam": ipam })
}

/// The section that names the cluster's range file.
fn by_range_file(node: &Node) -> Value {
    let network = &node.network;
    json!({
        "type": "flatnet-ipam", "rangeFile": network.range_file, "stateDir": network.state_dir,
        "routes": [{ "dst": "0.0.0.0/0" }],
    })
}

/// A section with host-local's keys.
fn by_sets(data_dir: &Path) -> Value {
    json!({
        "type": "host-local", "dataDir": data_dir,
        "ranges": [[{ "subnet": "10.77.0.0/24", "rangeEnd": "10.77.0.9" }], [{ "subnet": "fd77::/64" }]],
        "routes": [{ "dst": "0.0.0.0/0" }],
    })
}

fn call<'a>(node: &'a Node, verb: &str, configuration: &Value, container: &str) -> Call<'a> {
    Call::new(&node.netns, verb, configuration).program(ours("flatnet-ipam")).attachment(
        container,
        Path::new(NO_NETNS),
        "eth0",
    )
}

/// The addresses that an ADD answers, without prefix lengths.
fn add(node: &Node, configuration: &Value, container: &str) -> Vec<String> {
    let result = call(node, "ADD", configuration, container).run().result();
    let address =
        |ip: &Value| ip["address"].as_str().unwrap().split('/').next().unwrap().to_owned();
    result["ips"].as_array().unwrap().iter().map(address).collect()
}

/// The names of the files in a folder, sorted; none if it is not there.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Addresses with their gateways as a version puts them.
fn expected(version: &str, four: [&str; 2], six: [&str; 2]) -> Value {
    let route = json!([{ "dst": "0.0.0.0/0" }]);
    if version < "0.3.0" {
        return json!({
            "cniVersion": version,
            "ip4": { "ip": four[0], "gateway": four[1], "routes": route },
            "ip6": { "ip": six[0], "gateway": six[1] },
        });
    }
    let mut ips = json!([
        { "address": four[0], "gateway": four[1] },
        { "address": six[0], "gateway": six[1] },
    ]);
    if version < "1.0.0" {
        ips[0]["version"] = json!("4");
        ips[1]["version"] = json!("6");
    }
    json!({ "cniVersion": version, "ips": ips, "routes": route })
}

#[test]
fn every_version_has_its_result() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    node.begin_with_the_first("pods");
    let data_dir = TempDir::new().unwrap();
    for (n, version) in (2..).zip(VERSIONS) {
        let container = format!("c{n}");
        let of_node = [format!("10.244.1.{n}/24"), format!("fd00:10:244:1::{n}/64")];
        let of_sets = [format!("10.77.0.{n}/24"), format!("fd77::{n}/64")];
        let cases = [
            (by_range_file(node), of_node, ["10.244.1.1", "fd00:10:244:1::1"]),
            (by_sets(data_dir.path()), of_sets, ["10.77.0.1", "fd77::1"]),
        ];
        for (ipam, [four, six], gateways) in cases {
            let configuration = configuration(version, &ipam);
            let result = call(node, "ADD", &configuration, &container).run().result();
            let wanted = expected(version, [&four, gateways[0]], [&six, gateways[1]]);
            assert_eq!(result, wanted, "{version}");
            // The same attachment has the same addresses.
            let again = call(node, "ADD", &configuration, &container).run().result();
            assert_eq!(again, result, "{version}");
            if version >= "0.4.0" {
                let mut checked = configuration.clone();
                checked["prevResult"] = result;
                call(node, "CHECK", &checked, &container).run().silent();
            }
        }
    }
    let supported = call(node, "VERSION", &json!({}), "x").run().result();
    assert_eq!(supported, json!({ "cniVersion": "1.1.0", "supportedVersions": VERSIONS }));
    for (n, version) in (2..).zip(VERSIONS) {
        for ipam in [by_range_file(node), by_sets(data_dir.path())] {
            for _ in 0..2 {
                let configuration = configuration(version, &ipam);
                call(node, "DEL", &configuration, &format!("c{n}"))
                    .without("CNI_NETNS")
                    .run()
                    .silent();
            }
        }
    }
    assert_eq!(names(&node.state().join("addresses")), Vec::<String>::new());
    assert_eq!(names(&node.state().join("leases")), Vec::<String>::new());
    let left = ["last_reserved_ip.0", "last_reserved_ip.1", "lock"];
    assert_eq!(names(&data_dir.path().join("pods")), left);
}

#[test]
fn one_network_is_served_with_flatnet_side_by_side() {
    let mut cluster = Cluster::new(1);
    cluster.nodes[0].ranges = vec![json!("10.244.1.0/28")];
    cluster.list(&[0]);
    let node = &cluster.nodes[0];
    node.begin_with_the_first("pods");
    let configuration = configuration("1.1.0", &by_range_file(node));
    let mut given = Vec::new();
    for n in 0..3 {
        let pod = node.add("pod");
        given.push(pod.v4().to_string());
        given.extend(add(node, &configuration, &format!("c{n}")));
        node.del(&pod).silent();
    }
    // One's address is no other's, and a freed one is the last to be given again.
    let expected = ["1", "2", "3", "4", "5", "6"].map(|last| format!("10.244.1.{last}"));
    assert_eq!(given, expected);
    // GC of flatnet sees no veth of theirs, and leaves them alone.
    node.call("GC").run().silent();
    assert_eq!(names(&node.state().join("addresses")), ["10.244.1.2", "10.244.1.4", "10.244.1.6"]);
}

#[test]
fn side_by_side_all_addresses_differ() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let data_dir = TempDir::new().unwrap();
    let sets = json!({ "subnet": "10.77.0.0/24", "dataDir": data_dir.path() });
    for ipam in [by_range_file(node), sets] {
        let configuration = configuration("1.1.0", &ipam);
        let mut all: Vec<String> = thread::scope(|scope| {
            let start = |n: u8| {
                let configuration = &configuration;
                scope.spawn(move || add(node, configuration, &format!("c{n}")))
            };
            let threads: Vec<_> = (0..24).map(start).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "{all:?}");
    }
}

#[test]
fn gc_frees_what_the_runtime_does_not_know() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let data_dir = TempDir::new().unwrap();
    let living = Pod::new("living");
    for ipam in [by_range_file(node), by_sets(data_dir.path())] {
        let mut configuration = configuration("1.1.0", &ipam);
        for container in ["known", "forgotten"] {
            add(node, &configuration, container);
        }
        // Forgotten too, but its namespace is there.
        let call_for = |verb, configuration: &Value| {
            call(node, verb, configuration, "living")
                .env("CNI_NETNS", &living.netns.path().display().to_string())
        };
        call_for("ADD", &configuration).run().result();
        let held = |container: &str, configuration: &Value| {
            call(node, "CHECK", configuration, container).run().status().success()
        };
        // Nothing said, nothing done.
        call(node, "GC", &configuration, "").run().silent();
        assert!(held("forgotten", &configuration));
        let mut gc = configuration.clone();
        gc["cni.dev/valid-attachments"] = json!([{ "containerID": "known", "ifname": "eth0" }]);
        call(node, "GC", &gc, "").run().silent();
        assert!(held("known", &configuration));
        assert!(!held("forgotten", &configuration));
        // host-local's lease does not say where its pod lives.
        assert_eq!(held("living", &configuration), ipam["type"] == "flatnet-ipam");
        configuration["cni.dev/valid-attachments"] = json!(null);
        call(node, "GC", &configuration, "").run().silent();
        assert!(!held("known", &configuration));
        call_for("DEL", &configuration).run().silent();
    }
    assert_eq!(names(&node.state().join("addresses")), Vec::<String>::new());
}

#[test]
fn status_says_whether_an_add_would_work() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let data_dir = TempDir::new().unwrap();
    let status = |ipam: &Value| {
        Call::new(&node.netns, "STATUS", &configuration("1.1.0", ipam))
            .program(ours("flatnet-ipam"))
            .run()
    };
    status(&by_range_file(node)).silent();
    status(&by_sets(data_dir.path())).silent();
    assert_eq!(names(data_dir.path()), Vec::<String>::new(), "looking makes nothing");
    let mut missing = by_range_file(node);
    missing["rangeFile"] = json!("/nonexistent/pods.json");
    let error = status(&missing).error();
    assert_eq!(error.code, 50);
    assert!(error.msg.contains("cannot read /nonexistent/pods.json"), "{error:?}");
    let error = status(&by_sets(Path::new("/proc/version/x"))).error();
    assert_eq!(error.code, 50, "{error:?}");
    cluster.write_range_file(&json!({ "version": 1, "nodes": [] }));
    assert_eq!(status(&by_range_file(node)).error().code, 50);
}

#[test]
fn what_is_wrong_is_named() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let data_dir = TempDir::new().unwrap();
    let sets = by_sets(data_dir.path());
    let with = |section: &Value, key: &str, value: Value| {
        let mut section = section.clone();
        section[key] = value;
        section
    };
    let file = by_range_file(node);
    let nameless = with(&file, "node", json!("node-z"));
    let unreadable = with(&file, "rangeFile", json!("/nonexistent/pods.json"));
    let small = with(&sets, "ranges", json!([[{ "subnet": "10.77.0.0/31" }]]));
    let resolv = with(&sets, "resolvConf", json!("/nonexistent/resolv.conf"));
    #[rustfmt::skip]
    let cases = [
        ("ADD", json!(null), "", 7, "ipam: gives no addresses"),
        ("ADD", nameless, "", 7, "no node is named \"node-z\""),
        ("ADD", unreadable, "", 5, "cannot read /nonexistent/pods.json"),
        ("ADD", small, "", 7, "ipam.ranges[0][0].subnet: \"10.77.0.0/31\" is too small"),
        ("ADD", resolv, "", 5, "cannot read resolvConf /nonexistent/resolv.conf"),
        ("ADD", sets.clone(), "IP=10.77.0.1", 7, "10.77.0.1 is the gateway"),
        ("ADD", sets.clone(), "IP=10.78.0.1", 7, "cannot give the requested addresses 10.78.0.1"),
        ("ADD", sets.clone(), "IP=nonsense", 4, "CNI_ARGS: IP: \"nonsense\""),
        ("ADD", file.clone(), "IP=10.244.1.1", 7, "the requested address 10.244.1.1 is not one that node node-a gives"),
        ("ADD", file.clone(), "FOO=1", 4, "CNI_ARGS: unknown keys \"FOO\""),
        ("CHECK", file.clone(), "", 105, "interface eth0 of container c1 has no lease in network pods"),
        ("CHECK", sets.clone(), "", 105, "interface eth0 of container c1 has no lease in network pods"),
    ];
    for (verb, ipam, args, code, text) in cases {
        let configuration = configuration("1.1.0", &ipam);
        let error = call(node, verb, &configuration, "c1").env("CNI_ARGS", args).run().error();
        assert_eq!((error.code, error.version.as_str()), (code, "1.1.0"), "{error:?}");
        assert!(error.msg.contains(text), "{error:?}");
    }
    assert_eq!(names(&data_dir.path().join("pods")), ["lock"], "no address was taken");
    // What cannot be read is no reason not to clean up.
    for ipam in [
        json!(null),
        json!("x"),
        json!({ "rangeFile": "/nonexistent", "stateDir": "/nonexistent" }),
    ] {
        call(node, "DEL", &configuration("1.1.0", &ipam), "c1").run().silent();
    }
    // host-local's DEL fails on what its version has no room for; the lease goes all the same.
    add(node, &configuration("0.3.0", &sets), "c2");
    let two = with(&sets, "subnet", json!("10.78.0.0/24"));
    let error = call(node, "DEL", &configuration("0.2.0", &two), "c2").run().error();
    let words = "CNI version 0.2.0 does not support more than 1 address per family";
    assert_eq!((error.code, error.msg.as_str()), (1, words));
    let left = ["last_reserved_ip.0", "last_reserved_ip.1", "lock"];
    assert_eq!(names(&data_dir.path().join("pods")), left);
    let old = call(node, "GC", &configuration("1.0.0", &sets), "").run().error();
    assert_eq!((old.code, old.msg.as_str()), (1, "config version does not allow GC"));
    let missing = Call::new(&node.netns, "ADD", &configuration("1.1.0", &sets))
        .program(ours("flatnet-ipam"))
        .run()
        .error();
    assert_eq!(missing.code, 4);
    assert!(missing.msg.ends_with("CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME"), "{missing:?}");
}

#[test]
fn full_and_taken() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let data_dir = TempDir::new().unwrap();
    let ipam = json!({ "subnet": "10.77.0.0/30", "dataDir": data_dir.path() });
    let configuration = configuration("0.4.0", &ipam);
    assert_eq!(add(node, &configuration, "a"), ["10.77.0.2"]);
    let full = call(node, "ADD", &configuration, "b").run().error();
    assert_eq!((full.code, full.version.as_str()), (100, "0.4.0"), "{full:?}");
    let taken =
        call(node, "ADD", &configuration, "b").env("CNI_ARGS", "IP=10.77.0.2").run().error();
    assert_eq!(taken.code, 101);
    assert!(taken.msg.contains("is taken by interface eth0 of container a"), "{taken:?}");
    call(node, "DEL", &configuration, "a").run().silent();
    assert_eq!(add(node, &configuration, "b"), ["10.77.0.2"]);
}
