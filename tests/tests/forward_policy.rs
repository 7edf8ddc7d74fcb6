//! Packet filters of others that drop what is forwarded, as Docker sets them: ADD says which chain it
//! is, and what it says to do helps.

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe;

/// Attaches a pod and tells what was logged.
fn add(node: &Node) -> (Pod, String) {
    let mut pod = Pod::new("pod");
    let outcome = node.call_for("ADD", &pod).run();
    pod.result = outcome.result();
    (pod, outcome.stderr())
}

/// The commands that a log says to run.
fn commands(log: &str) -> Vec<&str> {
    log.lines()
        .filter_map(|line| line.split_once("allow them with: "))
        .flat_map(|(_, commands)| commands.split("; "))
        .collect()
}

/// Pods are apart where these commands have run; ADD names these chains, and what it says helps.
fn named_and_mended(blockade: &[&str], chains: &[&str]) {
    let cluster = Cluster::new(2);
    let mut pods = Vec::new();
    let mut advice = Vec::new();
    for node in &cluster.nodes {
        blockade.iter().for_each(|line| drop(node.netns.exec(line)));
        let (pod, log) = add(node);
        for chain in chains {
            assert!(log.contains(chain), "{chain}: {log}");
        }
        assert_eq!(commands(&log).len(), 2 * chains.len(), "{log}");
        advice.push(log);
        pods.push(pod);
        // Once for each applying of the range file, not for each pod.
        cluster.settle();
        node.forget_overlay();
        let _applied = add(node);
        let (pod, log) = add(node);
        assert_eq!(log, "");
        pods.push(pod);
    }
    let pairs = [(0, 1), (0, 2), (2, 0), (3, 1)].map(|(from, to)| (&pods[from], &pods[to]));
    // One on the same node, one on the other: each lost packet takes its time.
    for (from, to) in &pairs[..2] {
        assert!(to.addresses().iter().all(|to| !probe::reaches(&from.netns, *to)), "{blockade:?}");
    }
    for (node, log) in cluster.nodes.iter().zip(&advice) {
        commands(log).into_iter().for_each(|command| drop(node.netns.exec(command)));
    }
    for (from, to) in pairs {
        to.addresses().into_iter().for_each(|to| probe::ping(&from.netns, to));
    }
    for node in &cluster.nodes {
        node.forget_overlay();
        assert_eq!(add(node).1, "", "{blockade:?}");
    }
}

#[test]
fn iptables_with_a_policy_of_drop() {
    named_and_mended(
        &["iptables-nft -P FORWARD DROP", "ip6tables-nft -P FORWARD DROP"],
        &[
            "chain FORWARD of table ip filter (nftables)",
            "chain FORWARD of table ip6 filter (nftables)",
        ],
    );
}

#[test]
fn legacy_iptables_with_a_policy_of_drop() {
    named_and_mended(
        &["iptables-legacy -P FORWARD DROP", "ip6tables-legacy -P FORWARD DROP"],
        &[
            "chain FORWARD of table ip filter (legacy iptables)",
            "chain FORWARD of table ip6 filter (legacy iptables)",
        ],
    );
}

#[test]
fn an_nft_chain_with_a_policy_of_drop() {
    let chain = "{ type filter hook forward priority 5 ; policy drop ; }";
    named_and_mended(
        &["nft add table inet wall", &format!("nft add chain inet wall through {chain}")],
        &["chain through of table inet wall (nftables)"],
    );
}

#[test]
fn a_chain_that_accepts_pods_is_not_cried_about() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    node.netns.exec("iptables-nft -P FORWARD DROP");
    let quiet: [&[&str]; 6] = [
        &["-I FORWARD -s 10.244.0.0/16 -j ACCEPT"],
        &["-A FORWARD -d 10.240.0.0/13 -m comment --comment pods -j ACCEPT"],
        &["-A FORWARD -i veth+ -j ACCEPT", "-A FORWARD -i flat.4096 -j ACCEPT"],
        &["-A FORWARD -o veth+ -j ACCEPT", "-A FORWARD -o flat.+ -j ACCEPT"],
        &["-N USER", "-A FORWARD -j USER", "-A USER -s 10.244.0.0/16 -d 10.244.0.0/16 -j ACCEPT"],
        &["-P FORWARD ACCEPT"],
    ];
    let loud: [&[&str]; 6] = [
        &[],
        &["-A FORWARD -s 10.244.1.0/24 -j ACCEPT"],
        &["-A FORWARD ! -s 10.244.0.0/16 -j ACCEPT"],
        &["-A FORWARD -i veth+ -j ACCEPT"],
        &["-A FORWARD -p tcp -s 10.244.0.0/16 -j ACCEPT"],
        &["-N USER", "-A FORWARD -p tcp -j USER", "-A USER -j ACCEPT"],
    ];
    for (rules, said) in
        loud.map(|rules| (rules, true)).into_iter().chain(quiet.map(|r| (r, false)))
    {
        rules.iter().for_each(|rule| drop(node.netns.exec(&format!("iptables-nft {rule}"))));
        let (pod, log) = add(node);
        assert_eq!(!log.is_empty(), said, "{rules:?}: {log}");
        node.del(&pod).silent();
        node.forget_overlay();
        node.netns.exec("iptables-nft -F");
        node.netns.exec("iptables-nft -X");
    }
}
