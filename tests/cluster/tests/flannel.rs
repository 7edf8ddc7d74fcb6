//! A cluster with flannel as its network moves to flatnet node by node, as docs/kubernetes.md has it, while pods on
//! its other nodes talk.

use std::net::SocketAddr;
use std::process::{Command, ExitCode};

use flatnet_cluster::cluster::{Cluster, Settings};
use flatnet_cluster::flow::{Flow, during};
use flatnet_cluster::machine::PATH;
use flatnet_cluster::patience::until;
use flatnet_cluster::pod::{By, Pod};
use flatnet_cluster::{flannel, network, objects, steps};
use flatnet_tests::program::said;
use flatnet_tests::{image, kernel};

fn main() -> ExitCode {
    let settings = Settings::new("flannel", 3);
    let steps = steps![
        it_is_the_network,
        flatnet_comes_beside_it,
        a_node_moves_while_others_talk,
        its_daemons_begin_anew,
        the_others_move,
        nothing_of_it_is_left,
    ];
    steps::take(&settings, steps)
}

fn it_is_the_network(cluster: &mut Cluster) {
    cluster.import(image::ours());
    flannel::install(cluster);
    until("service account", || cluster.kubectl().get(&["serviceaccount", "default"]));
    cluster.kubectl().apply(&[objects::deployment("web", 3)]);
    cluster.kubectl().rolled_out("deployment/web");
    // Its daemons hear of each other's nodes in their own time.
    until("way between all pods", || all_reach_all(cluster));
    for node in &cluster.nodes {
        assert_eq!(ports_of_bridge(cluster, &node.name), 1, "{}", node.name);
    }
}

fn flatnet_comes_beside_it(cluster: &mut Cluster) {
    let block = block("label nodes --all network=flannel");
    let manifest = format!("kubectl apply --kustomize {}", network::manifest());
    let block = block.replace("kubectl apply -f packaging/kubernetes/flatnet.yaml", &manifest);
    undisturbed(cluster, "node-b", "node-c", || network::administer(cluster, &block));
    for node in &cluster.nodes {
        // An agent that is ready may have heard of one of the others alone.
        let routes = until("ways to both others", || {
            let routes = node.machine().netns.exec("ip -6 route show proto 102");
            let both = routes.matches(" via ").count() == 2;
            if both { Ok(routes) } else { Err(format!("{}: {routes}", node.name)) }
        });
        assert!(!routes.contains("/128"), "{}: {routes}", node.name);
    }
    let said = doctor(cluster, "node-a");
    for words in ["10-flannel.conflist comes before flatnet's", "take another program's route"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // New pods are still flannel's.
    cluster.kubectl().must(&["delete", "pods", "--selector=app=web"]);
    cluster.kubectl().rolled_out("deployment/web");
    assert_all_reach_all(cluster);
    assert_eq!(ports_of_bridge(cluster, "node-a"), 1);
}

fn a_node_moves_while_others_talk(cluster: &mut Cluster) {
    // Both are still flannel's.
    moves(cluster, "node-a", "node-b", "node-c");
}

/// They put no routes back to a node that has moved.
fn its_daemons_begin_anew(cluster: &mut Cluster) {
    undisturbed(cluster, "node-a", "node-b", || {
        network::administer(
            cluster,
            "kubectl --namespace kube-flannel rollout restart daemonset kube-flannel-ds
             kubectl --namespace kube-flannel rollout status daemonset kube-flannel-ds",
        );
    });
    let ranges = cluster.kubectl().objects(&["node", "node-a"])[0]["spec"]["podCIDRs"].clone();
    for range in ranges.as_array().expect("ranges") {
        let range = range.as_str().expect("a range");
        let family = if range.contains(':') { "-6" } else { "-4" };
        for node in ["node-b", "node-c"] {
            let show = format!("ip {family} route show {range}");
            let said = cluster.node(node).machine().netns.exec(&show);
            assert!(said.lines().count() == 1 && said.contains("dev flat.4096"), "{said}");
        }
    }
    assert_all_reach_all(cluster);
}

fn the_others_move(cluster: &mut Cluster) {
    // One has moved and the other has not, and then both have.
    moves(cluster, "node-b", "node-a", "node-c");
    moves(cluster, "node-c", "node-a", "node-b");
}

fn nothing_of_it_is_left(cluster: &mut Cluster) {
    network::administer(cluster, &block("delete namespace kube-flannel"));
    for node in &cluster.nodes {
        let netns = &node.machine().netns;
        for what in ["iptables-save", "ip6tables-save", "ip link", "ip route", "ip -6 route"] {
            let said = netns.exec(what).to_lowercase();
            assert!(!said.contains("flannel") && !said.contains("cni0"), "{}: {said}", node.name);
        }
    }
    for node in &cluster.nodes {
        until("nothing to find", || match doctor(cluster, &node.name) {
            said if said.contains("no finding in") => Ok(()),
            said => Err(format!("{}: {said}", node.name)),
        });
    }
    assert_all_reach_all(cluster);
}

/// A node moves while pods on two others talk.
fn moves(cluster: &Cluster, name: &str, from: &str, to: &str) {
    let [leave, clean, routes] =
        ["kubectl drain", "rm /etc/cni/net.d/10-flannel.conflist", "ip route del $range"]
            .map(block);
    let leave = leave.replace("NODE=worker-1", &format!("NODE={name}"));
    undisturbed(cluster, from, to, || {
        network::administer(cluster, &leave);
        let node = cluster.node(name);
        let mut shell = Command::new("bash");
        shell.env_clear().env("PATH", PATH).args(["-euc", &clean]);
        let output = node.machine().finish(&mut shell);
        assert!(output.status.success(), "{name}: {}", said(&output));
        network::administer(cluster, &format!("NODE={name}\n{routes}"));
        cluster.kubectl().rolled_out("deployment/web");
    });
    let veths = kernel::link_names(&cluster.node(name).machine().netns);
    assert!(!veths.contains("cni0"), "{veths:?}");
    assert_all_reach_all(cluster);
}

/// Does something while two pods talk by datagrams, of which none is lost.
fn undisturbed(cluster: &Cluster, from: &str, to: &str, work: impl FnOnce()) {
    let pods = cluster.pods("app=web");
    let on = |name: &str| pods.iter().find(|pod| pod.node == name).expect("a pod on each node");
    let netns = &cluster.node(from).machine().netns;
    let ((), Flow { answered, lost }) = during(netns, on(from), on(to), work);
    println!("{from} to {to}: {answered} datagrams were answered, {} were not", lost.len());
    assert!(lost.is_empty() && answered > 10, "{lost:?} of {answered}");
}

fn assert_all_reach_all(cluster: &Cluster) {
    assert_eq!(all_reach_all(cluster), Ok(()));
}

fn all_reach_all(cluster: &Cluster) -> Result<(), String> {
    let pods: Vec<Pod> = cluster.pods_or_why("app=web")?;
    if pods.len() != 3 {
        return Err(format!("{pods:?}"));
    }
    for from in &pods {
        for to in &pods {
            for (address, by) in to.addresses.into_iter().zip([By::Http, By::Udp]) {
                let server = SocketAddr::new(address, by.port());
                let answer = cluster.ask(from, by, server, "hostname")?;
                if answer != to.name {
                    return Err(format!("{answer} answered {from:?} for {to:?}"));
                }
            }
        }
    }
    Ok(())
}

/// What `flatnet doctor` says on a node.
fn doctor(cluster: &Cluster, node: &str) -> String {
    let agent = network::agent(cluster, node);
    let doctor = ["exec", &agent, "--namespace=kube-system", "--", "flatnet", "doctor"];
    cluster.kubectl().run(&doctor).unwrap_or_else(|said| said)
}

/// How many pods are on flannel's bridge.
fn ports_of_bridge(cluster: &Cluster, node: &str) -> usize {
    cluster.node(node).machine().netns.exec("ip -o link show master cni0").lines().count()
}

/// The block of docs/kubernetes.md that has these words.
fn block(words: &str) -> String {
    network::commands("docs/kubernetes.md", words)
}
