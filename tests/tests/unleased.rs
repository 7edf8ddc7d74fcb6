//! Pods whose addresses another IPAM plugin gave: no lease of ours tells of them, and the commands for
//! people do, as far as the node's end of their veth pairs shows.

use std::fs;
use std::path::Path;

use flatnet_tests::cli::{document, flatnet, run, text, trace};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::Call;
use flatnet_tests::cnitool::cni_path;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::sync;
use serde_json::{Value, json};

/// A cluster of two nodes of which the first's addresses are host-local's.
fn delegating(data: &Path) -> Cluster {
    let mut cluster = Cluster::new(2);
    let range = json!({ "subnet": "10.244.1.0/24", "rangeStart": "10.244.1.40" });
    let ipam = json!({ "type": "host-local", "ranges": [[range]], "dataDir": data });
    // The reference host-local of Debian 12 speaks no later one.
    cluster.configure("cniVersion", json!("1.0.0"));
    cluster.configure("ipam", ipam);
    cluster
}

fn call<'a>(cluster: &'a Cluster, verb: &str, pod: &Pod) -> Call<'a> {
    cluster.nodes[0].call_for(verb, pod).env("CNI_PATH", &cni_path(cluster))
}

/// A pod with the names that Kubernetes gives, or without.
fn add(cluster: &Cluster, name: Option<&str>) -> Pod {
    let mut pod = Pod::new("pod");
    let named = |name| format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}");
    let args = name.map(named).unwrap_or_default();
    pod.result = call(cluster, "ADD", &pod).env("CNI_ARGS", &args).run().result();
    pod
}

/// The attachments that `flatnet list` tells of.
fn listed(node: &Node, code: i32) -> Vec<Value> {
    let document = document(&flatnet(node, "list", &["--json"]), code);
    document["attachments"].as_array().expect("a list").clone()
}

/// The row of one pod.
fn row(node: &Node, code: i32, pod: &Pod) -> Value {
    let rows = listed(node, code);
    let row = rows.iter().find(|row| row["veth"] == pod.veth());
    row.unwrap_or_else(|| panic!("{} in {rows:#?}", pod.veth())).clone()
}

#[test]
fn pods_of_another_ipam_plugin_are_told_of() {
    let data = tempfile::tempdir().expect("a folder");
    let cluster = delegating(data.path());
    let node = &cluster.nodes[0];
    let (web, plain) = (add(&cluster, Some("web")), add(&cluster, None));

    let found = row(node, 0, &web);
    assert_eq!(found["pod"], json!({ "namespace": "default", "name": "web" }));
    assert_eq!((&found["ifname"], &found["containerID"]), (&json!("eth0"), &Value::Null));
    assert_eq!(found["addresses"], json!([web.v4()]));
    let state = "unknown: another IPAM plugin has its lease";
    assert_eq!((&found["state"], &found["whole"]), (&json!(state), &json!(false)));
    assert_eq!(row(node, 0, &plain)["containerID"], plain.container_id);

    let status = document(&flatnet(node, "status", &["--json"]), 0);
    let network = &status["networks"][0];
    assert_eq!(network["pods"], 2);
    assert_eq!(network["ranges"][0], json!({ "subnet": "10.244.1.0/24", "used": 2, "free": 252 }));

    let (at, end) = trace(node, "default/web", "10.244.2.9", 0);
    assert_eq!(at[..4], ["route back", "veth", "filters", "route"]);
    assert_eq!(
        end["what"],
        "leaves for node-b: arrives if that answers (`flatnet probe`) and a pod there has 10.244.2.9 \
         (`flatnet list` on node-b)"
    );
    let (_, end) = trace(node, &plain.container_id, "web", 0);
    assert_eq!(end["what"], "arrives at interface eth0 of pod default/web");

    let told = text(&flatnet(node, "sync", &[]), 0);
    assert_eq!(
        told,
        "pods on node-a: in sync\n  not looked at: pods with addresses of host-local: 2\n"
    );
    let synced = document(&flatnet(node, "sync", &["--json"]), 0);
    assert_eq!(synced["networks"][0]["unleased"], 2);

    let state_dir = node.network.state_dir.display().to_string();
    let refused = run(node, "remove", &["pods", "--state-dir", &state_dir]);
    let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{reason}");
    assert!(reason.contains("remove them first: ") && reason.contains("default/web"), "{reason}");

    node.netns.exec(&format!("ip link set {} down", web.veth()));
    let state = "lost: the node's end of the veth pair is down";
    assert_eq!(row(node, 1, &web)["state"], state);
    node.netns.exec(&format!("sysctl -qw net/ipv4/conf/{}/forwarding=0", plain.veth()));
    let (_, end) = trace(node, &plain.container_id, "10.244.2.9", 1);
    assert_eq!(end["mend"], "delete the pod, its runtime makes it again", "{end}");
    call(&cluster, "DEL", &web).run().silent();
    call(&cluster, "DEL", &plain).run().silent();
    assert_eq!(listed(node, 0), Vec::<Value>::new());
    fs::remove_file(&cluster.network.range_file).expect("the range file");
    assert!(run(node, "remove", &["pods", "--state-dir", &state_dir]).status.success());
}

#[test]
fn a_pod_whose_lease_is_lost_is_a_finding() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    let folder = node.network.state_dir.join("pods/node-a");
    for part in ["leases", "addresses"] {
        fs::remove_dir_all(folder.join(part)).expect("remove leases");
    }
    let found = row(node, 1, &pod);
    assert_eq!(found["state"], "drifted: it has no lease");
    assert_eq!(found["addresses"], json!(pod.addresses()));
    sync::apply(node);
    assert_eq!(row(node, 0, &pod)["state"], "whole");
}
