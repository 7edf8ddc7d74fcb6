//! What people do with the keys of a network: list, forget, check, import.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use flatnet_cluster::etcd::agents::Fleet;
use flatnet_cluster::patience::until;
use flatnet_tests::probe::Flow;
use flatnet_tests::program::said;
use ipnetwork::IpNetwork;
use serde_json::{Value, json};

use crate::AFTER;

#[test]
fn nodes_are_listed_checked_and_forgotten() {
    let mut fleet = Fleet::new(2, &[]);
    fleet.options = ["--lease-ttl", "80"].map(str::to_owned).into();
    fleet.start_all();
    fleet.until_listed(0, &["node-a", "node-b"]);
    let table = fleet.administers(&["list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NODE") && lines.len() == 3, "{table}");
    assert!(lines[1].starts_with("node-a  192.168.50.1  10.244."), "{table}");
    assert!(lines[1].ends_with("s ago"), "{table}");
    let document: Value =
        serde_json::from_str(&fleet.administers(&["list", "--json"])).expect("JSON");
    assert_eq!(document["nodes"][1]["vtep"], "192.168.50.2");
    assert_eq!(document["nodes"][1]["lease"]["ttl"], 80);
    assert_eq!(document["nodes"][1]["ranges"].as_array().map(Vec::len), Some(2));
    assert!(fleet.administers(&["check"]).contains("nothing wrong"));

    // A full disk is told; who reads no more, is not.
    let full = fleet.administer_to(&["list"], File::create("/dev/full").expect("open /dev/full"));
    assert_eq!(full.status.code(), Some(2), "{}", said(&full));
    assert!(said(&full).contains("cannot write standard output: No space left"), "{}", said(&full));
    let (reader, writer) = UnixStream::pair().expect("two ends");
    drop(reader);
    let closed = fleet.administer_to(&["list"], OwnedFd::from(writer));
    assert!(closed.status.success() && closed.stderr.is_empty(), "{}", said(&closed));

    // Of two VTEPs one MAC on the overlay is computed: who chose his for that would have the other's packets.
    for (node, vtep) in [("node-v", "10.227.127.226"), ("node-w", "10.192.201.232")] {
        let value = json!({ "vtep": vtep }).to_string();
        fleet.etcd.ctl(&["put", &format!("/flatnet/pods/nodes/{node}"), &value]);
    }
    fleet.until_said(
        0,
        "node node-w is left out: its VTEP 10.192.201.232 has the MAC 1e:15:bc:e6:22:c5 on the overlay, as the VTEP \
         10.227.127.226 of node-v has, which is older",
    );
    for node in ["node-v", "node-w"] {
        fleet.etcd.ctl(&["del", &format!("/flatnet/pods/nodes/{node}")]);
    }

    // Nonsense of all kinds: it is told, and what mends it is a command that does.
    for (key, value) in [
        ("nodes/a/b", r#"{"vtep":"192.168.50.9"}"#),
        ("nodes/node-x", r#"{"vtep":"192.168.50.1"}"#),
        ("blocks/10.244.250.0-24", "nonsense"),
        ("notes", "nothing"),
    ] {
        fleet.etcd.ctl(&["put", &format!("/flatnet/pods/{key}"), value]);
    }
    fleet.until_said(0, "node node-x is left out: its VTEP 192.168.50.1 is that of node-a");
    fleet.until_listed(1, &["node-a", "node-b"]);
    let output = fleet.administer(&["check"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let commands: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("    etcdctl ")).collect();
    assert_eq!(commands.len(), 4, "{text}");
    for command in commands {
        fleet.etcd.ctl(&command.split(' ').collect::<Vec<_>>());
    }
    assert!(fleet.administers(&["check"]).contains("nothing wrong"));

    let refused = fleet.administer(&["forget", "node-b"]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"), "{}", said(&refused));
    fleet.kill(1);
    let forgotten = fleet.administers(&["forget", "node-b", "--force"]);
    assert!(forgotten.starts_with("node-b is forgotten; it had 10.244."), "{forgotten}");
    fleet.until_listed(0, &["node-a"]);
    let unknown = fleet.administer(&["forget", "node-b"]);
    assert!(
        String::from_utf8_lossy(&unknown.stderr).contains("nothing is known"),
        "{}",
        said(&unknown)
    );
}

/// Nodes with a range file written by hand, and pods that live.
#[test]
fn a_range_file_is_imported_under_living_pods() {
    let mut fleet = Fleet::new(2, &[]);
    let nodes: Vec<Value> = fleet.cluster.nodes.iter().map(|node| node.entry()).collect();
    let file = json!({
        "version": 1, "vni": 4096,
        "clusterCIDRs": fleet.network["clusterCIDRs"], "nodes": nodes,
    });
    for node in &fleet.cluster.nodes {
        fs::write(&node.network.range_file, file.to_string()).expect("write a range file");
    }
    let (near, far) = (fleet.node(0).add("near"), fleet.node(1).add("far"));
    Fleet::until_reached(&near, &far);
    let before = fleet.ranges(0);
    let path = fleet.node(0).network.range_file.display().to_string();
    let flow = Flow::start(&near.netns, &far.netns, far.v4());

    let imported = fleet.administers(&["import", &path]);
    assert_eq!(imported, "2 nodes with 4 ranges: 6 keys are written, the others were there\n");
    let again = fleet.administers(&["import", &path]);
    assert_eq!(again, "2 nodes with 4 ranges: 0 keys are written, the others were there\n");
    let check = fleet.administer(&["check"]);
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(text.contains("node-a has keys that hang on no lease"), "{text}");
    fleet.start_all();
    until("leases", || match fleet.administer(&["check"]) {
        output if output.status.success() => Ok(()),
        output => Err(said(&output)),
    });
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
    assert_eq!((fleet.ranges(0), fleet.ranges(1)), (before.clone(), before));
    let new = fleet.node(0).add("new");
    Fleet::until_reached(&new, &far);

    // What contradicts what is there changes nothing.
    let text = file.to_string().replace("192.168.50.2\"", "192.168.50.3\"");
    let other = fleet.cluster.folder().join("other.json");
    fs::write(&other, text).expect("write another range file");
    let refused = fleet.administer(&["import", &other.display().to_string()]);
    assert!(said(&refused).contains("nodes/node-b is there already"), "{}", said(&refused));

    // Nor does what is another key, but would be left out beside what is there.
    let keys = || fleet.etcd.ctl(&["get", "--prefix", "--keys-only", "/flatnet/pods/"]);
    let held = fleet.ranges(1)["node-b"][0].parse::<IpNetwork>().expect("a range");
    let entry =
        |vtep: &str, range: String| json!({ "name": "new", "vtep": vtep, "ranges": [range] });
    let half = format!("{}/{}", held.network(), held.prefix() + 1);
    for (entry, problem) in [
        (entry("192.168.50.3", half.clone()), format!("new: {half} overlaps {held} of node-b")),
        (
            entry("192.168.50.1", "10.244.251.0/24".to_owned()),
            "new: its VTEP 192.168.50.1 is that of node-a".to_owned(),
        ),
    ] {
        let mut text = file.clone();
        text["nodes"] = json!([entry]);
        fs::write(&other, text.to_string()).expect("write a range file");
        let before = keys();
        let refused = fleet.administer(&["import", &other.display().to_string()]);
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        let told = said(&refused);
        assert!(told.contains("nothing is written") && told.contains(&problem), "{told}");
        assert_eq!(keys(), before);
    }
}

#[test]
fn flannels_subnets_become_blocks() {
    let mut fleet = Fleet::new(2, &[]);
    let hosts = fleet.cluster.folder().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n192.168.50.1 node-a\n192.168.50.2 node-b\n")
        .expect("write names");
    for (subnet, address) in [("10.244.7.0-24", "192.168.50.1"), ("10.244.9.0-24", "192.168.50.2")]
    {
        let value = json!({
            "PublicIP": address, "PublicIPv6": null, "BackendType": "vxlan",
            "BackendData": { "VNI": 1, "VtepMAC": "02:00:00:00:00:01" },
        });
        fleet.etcd.ctl(&[
            "put",
            &format!("/coreos.com/network/subnets/{subnet}"),
            &value.to_string(),
        ]);
    }
    fleet.network["clusterCIDRs"] = json!(["10.244.0.0/16"]);
    let arguments = ["import", "--flannel", "--hosts", &hosts.display().to_string()];
    let imported = fleet.administers(&arguments);
    assert!(imported.starts_with("2 nodes with 2 ranges: 4 keys are written"), "{imported}");
    fleet.start_all();
    fleet.until_listed(0, &["node-a", "node-b"]);
    assert_eq!(fleet.ranges(0)["node-a"], ["10.244.7.0/24"]);
    assert_eq!(fleet.ranges(1)["node-b"], ["10.244.9.0/24"]);
    let (near, far) = (fleet.node(0).add("near"), fleet.node(1).add("far"));
    assert!(near.v4().to_string().starts_with("10.244.7."), "{}", near.v4());
    Fleet::until_reached(&near, &far);
}
