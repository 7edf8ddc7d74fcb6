//! What the agents do when nodes come and go, objects are wrong, and the API server is away, with the shipped
//! manifest and image.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use flatnet_cluster::cluster::{Cluster, Settings};
use flatnet_cluster::flow::during;
use flatnet_cluster::node::{Node, Program};
use flatnet_cluster::patience::until;
use flatnet_cluster::pod::{By, HTTP, Pod};
use flatnet_cluster::{client, network, objects, steps};
use flatnet_tests::cri::Cri;
use flatnet_tests::{image, kernel};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

#[path = "agent/wrong.rs"]
mod wrong;

use wrong::{
    an_address_that_is_written_over_puts_out_no_other_node,
    wrong_objects_are_told_and_the_rest_goes_on,
};

const NAMESPACE: &str = "--namespace=kube-system";
const OVERLAY: &str = "flat.4096";

fn main() -> ExitCode {
    let settings = Settings::new("agent", 2);
    let steps = steps![
        the_network_comes,
        a_node_joins_by_the_daemon_set_alone,
        a_node_made_again_keeps_the_range_of_its_living_pods,
        wrong_objects_are_told_and_the_rest_goes_on,
        an_address_that_is_written_over_puts_out_no_other_node,
        nothing_stops_while_the_api_server_is_away,
        a_node_that_is_gone_for_good_is_forgotten,
        its_range_serves_another_node,
    ];
    steps::take(&settings, steps)
}

fn the_network_comes(cluster: &mut Cluster) {
    cluster.import(image::ours());
    network::install(cluster);
    until("service account", || cluster.kubectl().get(&["serviceaccount", "default"]));
    start(cluster, &[("near", "node-a"), ("far", "node-b")]);
    assert_all_reach_all(cluster);
}

/// Starts pods of these names on these nodes.
fn start(cluster: &Cluster, pods: &[(&str, &str)]) {
    let described: Vec<_> = pods.iter().map(|(name, node)| objects::pod(name, node)).collect();
    cluster.kubectl().apply(&described);
    cluster.kubectl().wait("condition=Ready", &["pods", "--all"]);
}

fn reached(cluster: &Cluster, from: &Pod, to: &Pod) -> Result<(), String> {
    for address in to.addresses {
        let name = cluster.ask(from, By::Http, SocketAddr::new(address, HTTP), "hostname")?;
        if name != to.name {
            return Err(format!("{name} answered for {}", to.name));
        }
    }
    Ok(())
}

fn assert_all_reach_all(cluster: &Cluster) {
    let pods = cluster.pods("app");
    for from in &pods {
        for to in pods.iter().filter(|to| to.name != from.name) {
            until("way between pods", || reached(cluster, from, to));
        }
    }
}

/// The blocks as `RANGE`, who holds it, and whether it retires.
fn blocks(cluster: &Cluster) -> Result<BTreeMap<String, (String, bool)>, String> {
    let list = cluster.kubectl().get(&["flatnetblocks"])?;
    let block = |block: &Value| {
        let spec = &block["spec"];
        let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
        (text("range"), (text("node"), spec["retiring"] == true))
    };
    Ok(list["items"].as_array().into_iter().flatten().map(block).collect())
}

/// The ranges that the controller manager gave to a node.
fn ranges(cluster: &Cluster, node: &str) -> Result<Vec<String>, String> {
    let node = cluster.kubectl().get(&["node", node])?;
    let ranges = node["spec"]["podCIDRs"].as_array().ok_or("no podCIDRs")?.iter();
    Ok(ranges.filter_map(Value::as_str).map(str::to_owned).collect())
}

fn a_node_joins_by_the_daemon_set_alone(cluster: &mut Cluster) {
    let node = cluster.add_node();
    assert_eq!(fs::read_dir(node.file("etc/cni/net.d")).expect("a folder").count(), 0);
    cluster.kubectl().wait("condition=Ready", &["node/node-c"]);
    start(cluster, &[("third", "node-c")]);
    let given = ranges(cluster, "node-c").expect("ranges");
    let held = blocks(cluster).expect("blocks");
    let own = ("node-c".to_owned(), false);
    assert!(given.iter().all(|range| held.get(range) == Some(&own)), "{given:?} {held:?}");
    assert_all_reach_all(cluster);
}

fn a_node_made_again_keeps_the_range_of_its_living_pods(cluster: &mut Cluster) {
    let (near, far) = (cluster.pod("app=near"), cluster.pod("app=far"));
    let before = ranges(cluster, "node-b").expect("ranges");
    let (front, behind) = cluster.nodes.split_at_mut(1);
    let kubectl = &cluster.control.kubectl;
    let ((), flow) = during(&front[0].machine().netns, &near, &far, || {
        kubectl.delete(&["node", "node-b"]);
        // Its kubelet registers it as a new one.
        behind[0].kill_program(Program::Kubelet);
        behind[0].start_program(Program::Kubelet);
        until("Node", || kubectl.get(&["node", "node-b"]));
        kubectl.wait("condition=Ready", &["node/node-b"]);
    });
    println!("{} datagrams were answered, {} were not", flow.answered, flow.lost.len());
    assert!(flow.lost.is_empty() && flow.answered > 10, "{flow:?}");

    let after = until("other ranges", || ranges(cluster, "node-b"));
    assert!(after.iter().all(|range| !before.contains(range)), "{before:?} {after:?}");
    until("both ranges", || {
        let held = blocks(cluster)?;
        let holds = |ranges: &[String], retiring| {
            ranges.iter().all(|range| held.get(range) == Some(&("node-b".to_owned(), retiring)))
        };
        let right = holds(&before, true) && holds(&after, false);
        if right { Ok(()) } else { Err(format!("{before:?} {after:?} {held:?}")) }
    });
    start(cluster, &[("late", "node-b")]);
    let late = cluster.pod("app=late");
    for (range, address) in after.iter().zip(late.addresses) {
        assert!(is_in(address, range), "{address} {range}");
    }
    assert_eq!(cluster.pod("app=far").addresses, far.addresses);
    assert_all_reach_all(cluster);

    cluster.kubectl().delete(&["pod", "far"]);
    until("end of the old ranges", || {
        let held = blocks(cluster)?;
        let gone = before.iter().all(|range| !held.contains_key(range));
        if gone { Ok(()) } else { Err(format!("{held:?}")) }
    });
    assert_all_reach_all(cluster);
}

fn is_in(address: IpAddr, range: &str) -> bool {
    range.parse::<ipnetwork::IpNetwork>().expect("a range").contains(address)
}

/// The agent's pod of a node.
fn agent(cluster: &Cluster, node: &str) -> String {
    let pods = cluster.kubectl().objects(&["pods", NAMESPACE]);
    let pod = pods.iter().find(|pod| pod["spec"]["nodeName"] == node);
    let name = pod.and_then(|pod| pod["metadata"]["name"].as_str());
    name.unwrap_or_else(|| panic!("no agent on {node}")).to_owned()
}

/// What the agent of a node answers its kubelet and Prometheus.
fn asked(node: &Node, path: &str) -> Result<String, String> {
    client::get(&node.machine().netns, (Ipv4Addr::LOCALHOST, 9449).into(), path)
}

/// How many objects it leaves out.
fn rejected(node: &Node) -> Result<usize, String> {
    let metrics = asked(node, "/metrics")?;
    let lines = metrics.lines().filter(|line| line.starts_with("flatnet_agent_rejected_objects{"));
    lines
        .map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<usize>().ok()))
        .sum::<Option<_>>()
        .ok_or(metrics)
}

/// The processes that are agents on a node.
fn agents(node: &Node) -> Vec<Pid> {
    let is_agent = |pid: &Pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim() == "flatnet-agent")
    };
    node.machine().cgroup.processes().into_iter().filter(is_agent).collect()
}

/// Kills the agent of a node, of which its kubelet may just be starting another, and waits for the next.
fn kill_agent(node: &Node) {
    let before = until("one agent", || match agents(node)[..] {
        [agent] if kill(agent, Signal::SIGKILL).is_ok() => Ok(agent),
        ref found => Err(format!("{found:?}")),
    });
    until("another agent", || match agents(node)[..] {
        [after] if after != before => asked(node, "/healthz").map(drop),
        ref found => Err(format!("{before}: {found:?}")),
    });
}

fn nothing_stops_while_the_api_server_is_away(cluster: &mut Cluster) {
    let (near, late) = (cluster.pod("app=near"), cluster.pod("app=late"));
    cluster.control.kill_api_server();
    cluster.control.kill_etcd();
    let node = cluster.node("node-b");
    let netns = &node.machine().netns;
    let ((), flow) = during(&cluster.node("node-a").machine().netns, &near, &late, || {
        let [agent] = agents(node).try_into().expect("one agent");
        kill(agent, Signal::SIGSTOP).expect("stop an agent");
        a_pod_comes_and_goes(cluster, node, &near);
        kill_agent(node);
    });
    assert!(flow.lost.is_empty() && flow.answered > 10, "{flow:?}");
    let unready = asked(node, "/readyz").expect_err("an agent that has read nothing");
    assert!(unready.contains("this node has not been brought up yet"), "{unready}");
    until("trouble", || {
        let metrics = asked(node, "/metrics")?;
        if metrics.contains("flatnet_agent_source_connected 0") { Ok(()) } else { Err(metrics) }
    });
    netns.exec(&format!("ip link delete {OVERLAY}"));
    until("way that was taken", || reached(cluster, &near, &late));

    a_pod_comes_and_goes(cluster, node, &near);
    assert_eq!(asked(cluster.node("node-a"), "/readyz").map(drop), Ok(()), "it was ready before");

    lose_the_network(node);
    assert!(reached(cluster, &near, &late).is_err());
    kill_agent(node);
    until("network", || reached(cluster, &near, &late));
    until("way back", || reached(cluster, &late, &near));
    a_pod_comes_and_goes(cluster, node, &near);

    cluster.control.start_etcd();
    cluster.control.start_api_server();
    let node = cluster.node("node-b");
    until("readiness", || asked(node, "/readyz"));
    // A kubelet looks for pods again after pauses that have grown to a minute and more.
    cluster.nodes[1].kill_program(Program::Kubelet);
    cluster.nodes[1].start_program(Program::Kubelet);
    cluster.kubectl().wait("condition=Ready", &["nodes", "--all"]);
    start(cluster, &[("after", "node-b")]);
    assert_all_reach_all(cluster);
}

/// A file says what the API server would.
fn a_pod_comes_and_goes(cluster: &Cluster, node: &Node, near: &Pod) {
    let manifest = node.file("etc/kubernetes/manifests/static.yaml");
    let runtime = Cri::new(&node.file("run/containerd/containerd.sock"));
    let known = runtime.pods().expect("pods");
    let mut pod = objects::pod("static", &node.name);
    pod["spec"].as_object_mut().expect("an object").remove("nodeName");
    fs::write(&manifest, pod.to_string()).expect("write a manifest");
    let addresses = until("static pod", || {
        let new = runtime.pods()?.into_iter().find(|pod| !known.contains(pod)).ok_or("none")?;
        <[IpAddr; 2]>::try_from(runtime.addresses(&new)).map_err(|got| format!("{got:?}"))
    });
    let pod = Pod { name: format!("static-{}", node.name), node: node.name.clone(), addresses };
    until("answer", || reached(cluster, near, &pod));
    fs::remove_file(&manifest).expect("remove a manifest");
    until("end of the static pod", || {
        match client::get(&node.machine().netns, SocketAddr::new(addresses[0], HTTP), "/hostname") {
            Ok(name) => Err(name),
            Err(_) => Ok(()),
        }
    });
}

/// What a reboot takes: all that the kernel and /run had of the network. The route to a pod that lives on stays, which
/// alone tells its address. The agent that runs has the folder that is gone, and can bring nothing back.
fn lose_the_network(node: &Node) {
    node.machine().exec("rm -r /run/flatnet");
    let netns = &node.machine().netns;
    netns.exec(&format!("ip link delete {OVERLAY}"));
    let tables = netns.exec("nft list tables");
    for table in tables.lines().filter(|table| table.contains("flatnet")) {
        netns.exec(&format!("nft delete {table}"));
    }
    for family in ["-4", "-6"] {
        netns.exec(&format!("ip {family} route flush type unreachable proto 102"));
    }
}

fn a_node_that_is_gone_for_good_is_forgotten(cluster: &mut Cluster) {
    let given = ranges(cluster, "node-c").expect("ranges");
    let knows = |node: &Node| {
        let file = fs::read_to_string(node.file("lib/flatnet/pods.json")).expect("a range file");
        let routes = kernel::routes(&node.machine().netns);
        let routed = given.iter().any(|range| routes.iter().any(|route| route.dst == *range));
        (file.contains("node-c"), routed)
    };
    for node in &cluster.nodes[..2] {
        assert_eq!(knows(node), (true, true), "{}", node.name);
    }
    cluster.take_away("node-c");
    let held = blocks(cluster).expect("blocks");
    assert!(given.iter().all(|range| held.contains_key(range)), "{given:?} {held:?}");
    cluster.kubectl().delete(&["node", "node-c"]);
    until("end of its objects", || {
        let nodes = cluster.kubectl().get(&["flatnetnodes"])?.to_string();
        let held = blocks(cluster)?;
        let gone = !nodes.contains("node-c") && given.iter().all(|range| !held.contains_key(range));
        if gone { Ok(()) } else { Err(format!("{nodes} {held:?}")) }
    });
    for node in &cluster.nodes {
        until("end of its ways", || match knows(node) {
            (false, false) => Ok(()),
            known => Err(format!("{}: {known:?}", node.name)),
        });
    }
    cluster.kubectl().must(&[
        "delete",
        "pod",
        "third",
        "--force",
        "--grace-period=0",
        "--ignore-not-found",
    ]);
    // For the next step, which gives them to another.
    fs::write(cluster.folder().join("ranges.json"), json!(given).to_string()).expect("a file");
    assert_all_reach_all(cluster);
}

fn its_range_serves_another_node(cluster: &mut Cluster) {
    let text = fs::read_to_string(cluster.folder().join("ranges.json")).expect("a file");
    let given: Vec<String> = serde_json::from_str(&text).expect("ranges");
    let spec = json!({ "podCIDR": given[0], "podCIDRs": given });
    cluster.kubectl().apply(&[json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node-d" }, "spec": spec })]);
    cluster.add_node();
    cluster.kubectl().wait("condition=Ready", &["node/node-d"]);
    start(cluster, &[("fourth", "node-d")]);
    let fourth = cluster.pod("app=fourth");
    assert!(is_in(fourth.addresses[0], &given[0]), "{fourth:?} {given:?}");
    assert_eq!(
        blocks(cluster).expect("blocks").get(&given[0]),
        Some(&("node-d".to_owned(), false))
    );
    assert_all_reach_all(cluster);
}
