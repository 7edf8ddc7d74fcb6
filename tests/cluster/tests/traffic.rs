//! What passes between pods of several nodes, and between them and the nodes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;

use flatnet_cluster::cluster::{Cluster, Settings};
use flatnet_cluster::patience::until;
use flatnet_cluster::pod::{By, HTTP, seen};
use flatnet_cluster::{client, network, objects, steps};

fn main() -> ExitCode {
    let settings = Settings::new("traffic", 2);
    let steps = steps![
        nodes_are_not_ready_without_a_network,
        nodes_become_ready_by_the_network_alone,
        every_pod_reaches_every_pod_and_is_seen_as_itself,
        nodes_reach_all_pods_and_pods_all_nodes,
        a_port_of_a_node_leads_to_its_pod,
    ];
    steps::take(&settings, steps)
}

/// The condition `Ready` of every node, with what the kubelet says of it.
fn readiness(cluster: &Cluster) -> Result<Vec<(String, String)>, String> {
    let nodes = cluster.kubectl().objects(&["nodes"]);
    let ready = |node: &serde_json::Value| {
        let mut conditions = node["status"]["conditions"].as_array()?.iter();
        let ready = conditions.find(|condition| condition["type"] == "Ready")?;
        Some((ready["status"].as_str()?.to_owned(), ready["message"].as_str()?.to_owned()))
    };
    nodes.iter().map(|node| ready(node).ok_or_else(|| format!("no condition: {node}"))).collect()
}

fn nodes_are_not_ready_without_a_network(cluster: &mut Cluster) {
    // For every other reason than the network, a kubelet is ready before it has seen its runtime once.
    let told = until("verdict about the network", || {
        let told = readiness(cluster)?;
        let all = told.iter().all(|(_, message)| message.contains("cni plugin not initialized"));
        if all { Ok(told) } else { Err(format!("{told:?}")) }
    });
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(status, _)| status == "False"), "{told:?}");
}

fn nodes_become_ready_by_the_network_alone(cluster: &mut Cluster) {
    network::install_by_hand(cluster);
    let told = readiness(cluster).expect("conditions");
    assert!(told.iter().all(|(status, _)| status == "True"), "{told:?}");
}

fn every_pod_reaches_every_pod_and_is_seen_as_itself(cluster: &mut Cluster) {
    cluster.kubectl().apply(&[objects::deployment("web", 4)]);
    cluster.kubectl().rolled_out("deployment/web");
    let pods = cluster.pods("app=web");
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in &pods {
        *on_node.entry(&pod.node).or_default() += 1;
    }
    assert_eq!(on_node, [("node-a", 2), ("node-b", 2)].into());
    let mut asked = 0;
    for from in &pods {
        for to in pods.iter().filter(|to| to.name != from.name) {
            for (own, other) in from.addresses.into_iter().zip(to.addresses) {
                for by in [By::Http, By::Udp] {
                    let server = SocketAddr::new(other, by.port());
                    assert_eq!(cluster.ask(from, by, server, "hostname"), Ok(to.name.clone()));
                    let client = cluster.ask(from, by, server, "clientip");
                    assert_eq!(client.and_then(|client| seen(&client)), Ok(own), "{from:?} {to:?}");
                    asked += 1;
                }
            }
        }
    }
    assert_eq!(asked, 4 * 3 * 2 * 2);
}

fn nodes_reach_all_pods_and_pods_all_nodes(cluster: &mut Cluster) {
    cluster.kubectl().apply(&[objects::on_every_node("host", 9080)]);
    cluster.kubectl().rolled_out("daemonset/host");
    let pods = cluster.pods("app=web");
    for node in &cluster.nodes {
        let netns = &node.machine().netns;
        for pod in &pods {
            for address in pod.addresses {
                let server = SocketAddr::new(address, HTTP);
                assert_eq!(client::get(netns, server, "/hostname"), Ok(pod.name.clone()));
            }
            for address in node.addresses() {
                let server = SocketAddr::new(address, 9080);
                assert_eq!(cluster.ask(pod, By::Http, server, "hostname"), Ok(node.name.clone()));
            }
        }
    }
}

fn a_port_of_a_node_leads_to_its_pod(cluster: &mut Cluster) {
    let mut pod = objects::pod("ported", "node-b");
    pod["spec"]["containers"][0]["ports"] =
        serde_json::json!([{ "containerPort": HTTP, "hostPort": 8888 }]);
    cluster.kubectl().apply(&[pod]);
    cluster.kubectl().wait("condition=Ready", &["pod/ported"]);
    for address in cluster.node("node-b").addresses() {
        let server = SocketAddr::new(address, 8888);
        let outside = client::get(&cluster.underlay.outside, server, "/hostname");
        assert_eq!(outside, Ok("ported".to_owned()));
        for pod in cluster.pods("app=web") {
            assert_eq!(cluster.ask(&pod, By::Http, server, "hostname"), Ok("ported".to_owned()));
        }
    }
    // Nobody has that port on the other node.
    let [other, _] = cluster.node("node-a").addresses();
    let nobody = client::get(&cluster.underlay.outside, SocketAddr::new(other, 8888), "/hostname");
    assert!(nobody.is_err(), "{nobody:?}");
}
