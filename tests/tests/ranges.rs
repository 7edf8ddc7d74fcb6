//! `flatnet ranges`: the file that `init` writes is one that the plugin takes, and `check` tells
//! people and scripts what is wrong with another.

use std::fs;
use std::process::{Command, Output};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::probe;
use flatnet_tests::program::{finish, ours, said};
use serde_json::{Value, json};

/// `flatnet ARGS...` as a person calls it.
fn flatnet(args: &[&str]) -> Output {
    let mut command = Command::new(ours("flatnet"));
    finish(command.args(args).env_remove("CNI_COMMAND"), b"")
}

/// The arguments of an `init` for two nodes of a cluster.
const INIT: [&str; 10] = [
    "ranges",
    "init",
    "--cluster-cidr",
    "10.244.0.0/16",
    "--cluster-cidr",
    "fd00:10:244::/56",
    "--node",
    "node-a=192.168.50.1",
    "--node",
    "node-b=192.168.50.2",
];

#[test]
fn what_init_writes_makes_a_cluster_that_works() {
    let cluster = Cluster::new(2);
    let output = flatnet(&INIT);
    assert!(output.status.success(), "{}", said(&output));
    let file: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(file["version"], 1);
    assert_eq!(file["clusterCIDRs"], json!(["10.244.0.0/16", "fd00:10:244::/56"]));
    let expected = json!([
        { "name": "node-a", "vtep": "192.168.50.1", "ranges": ["10.244.0.0/24", "fd00:10:244::/64"] },
        { "name": "node-b", "vtep": "192.168.50.2", "ranges": ["10.244.1.0/24", "fd00:10:244:1::/64"] },
    ]);
    assert_eq!(file["nodes"], expected);
    cluster.write_range_file(&file);
    let pods = cluster.fill(1);
    for address in pods[1][0].addresses() {
        probe::ping(&pods[0][0].netns, address);
    }
}

#[test]
fn prefix_changes_the_size_of_a_node() {
    let output = flatnet(&[&INIT[..], &["--prefix", "26", "--prefix", "80"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let file: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(file["nodes"][1]["ranges"], json!(["10.244.0.64/26", "fd00:10:244:0:1::/80"]));
}

#[test]
fn init_refuses_what_cannot_be() {
    let cases: [(&[&str], &[&str]); 5] = [
        (
            &["--cluster-cidr", "10.244.0.0/24", "--node", "a=192.0.2.1", "--node", "b=192.0.2.2"],
            &["10.244.0.0/24", "room"],
        ),
        (
            &["--cluster-cidr", "10.244.0.1/16", "--node", "a=192.0.2.1"],
            &["10.244.0.1/16", "10.244.0.0/16"],
        ),
        (&["--cluster-cidr", "10.244.0.0/16", "--node", "a"], &["NAME=VTEP"]),
        (
            &["--cluster-cidr", "10.244.0.0/16", "--node", "a=192.0.2.1", "--node", "a=192.0.2.2"],
            &["name"],
        ),
        (&["--node", "a=192.0.2.1"], &["--cluster-cidr"]),
    ];
    for (args, parts) in cases {
        let output = flatnet(&[&["ranges", "init"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{}", said(&output));
        let stderr = String::from_utf8_lossy(&output.stderr);
        for part in parts {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
    }
}

#[test]
fn check_tells_a_good_file_from_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.json");
    let bad = folder.path().join("bad.json");
    let [good_path, bad_path] = [&good, &bad].map(|path| path.to_str().unwrap());
    let written = flatnet(&[&INIT[..], &["--output", good_path]].concat());
    assert!(written.status.success(), "{}", said(&written));
    let again = flatnet(&[&INIT[..], &["--output", good_path]].concat());
    assert_eq!(again.status.code(), Some(2), "an existing file stays: {}", said(&again));

    let summary = flatnet(&["ranges", "check", good_path]);
    assert!(summary.status.success(), "{}", said(&summary));
    for part in ["node-a", "node-b", "192.168.50.2", "2 nodes"] {
        assert!(said(&summary).contains(part), "{part}: {}", said(&summary));
    }
    let document = flatnet(&["ranges", "check", "--json", good_path]);
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(
        (&document["valid"], &document["nodes"][1]["name"]),
        (&json!(true), &json!("node-b"))
    );

    let mut broken: Value = serde_json::from_slice(&fs::read(&good).unwrap()).unwrap();
    broken["nodes"][1]["vtep"] = json!("192.168.50.1");
    fs::write(&bad, broken.to_string()).unwrap();
    let finding = flatnet(&["ranges", "check", bad_path]);
    assert_eq!(finding.status.code(), Some(1), "{}", said(&finding));
    for part in [bad_path, "nodes[1].vtep", "192.168.50.1"] {
        assert!(said(&finding).contains(part), "{part}: {}", said(&finding));
    }
    let document = flatnet(&["ranges", "check", "--json", bad_path]);
    assert_eq!(document.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(document["valid"], false);

    let absent = flatnet(&["ranges", "check", "/nonexistent/pods.json"]);
    assert_eq!(absent.status.code(), Some(2), "{}", said(&absent));
}

#[test]
fn an_unknown_command_is_not_understood() {
    for args in [&["frobnicate"][..], &[], &["ranges", "check"]] {
        let output = flatnet(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains("Usage"), "{}", said(&output));
    }
    let version = flatnet(&["--version"]);
    assert!(said(&version).contains("static"), "says how it was linked: {}", said(&version));
}
