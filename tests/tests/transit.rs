//! Nodes whose packets pass another node: virtual machines behind its bridge, say.

use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Node;
use flatnet_tests::{kernel, probe};
use serde_json::json;

/// Puts the end of the node's cable into a bridge, which gets its address.
fn bridge(node: &Node) {
    let (prefix, flags) = if node.vtep.is_ipv4() { (24, "") } else { (64, "nodad") };
    for line in [
        "ip link add br0 type bridge stp_state 0 forward_delay 0".to_owned(),
        format!("ip addr flush dev {UNDERLAY}"),
        format!("ip link set {UNDERLAY} master br0"),
        "ip link set br0 addrgenmode none up".to_owned(),
        format!("ip addr add {}/{prefix} dev br0 {flags}", node.vtep),
    ] {
        node.netns.exec(&line);
    }
    kernel::wait_until_up(&node.netns, "br0");
}

/// Takes a node off the cluster's switch and makes it a port of that bridge.
fn plug(machine: &Node, node: &Netns) {
    let (prefix, flags) = if machine.vtep.is_ipv4() { (24, "") } else { (64, "nodad") };
    machine.netns.exec(&format!("ip link del {UNDERLAY}"));
    node.exec(&format!(
        "ip link add vnet0 type veth peer name {UNDERLAY} netns {}",
        machine.netns.name()
    ));
    node.exec("ip link set vnet0 master br0 up");
    machine.netns.exec(&format!("ip link set {UNDERLAY} addrgenmode none up"));
    machine.netns.exec(&format!("ip addr add {}/{prefix} dev {UNDERLAY} {flags}", machine.vtep));
    kernel::wait_until_up(node, "vnet0");
    kernel::wait_until_up(&machine.netns, UNDERLAY);
}

/// With `bridge-nf-call-iptables`, which kubeadm asks for, the node's rules see what passes its bridge.
#[test]
fn nodes_reach_each_other_through_the_bridge_of_a_third() {
    for (v6_underlay, masquerade) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut cluster = Cluster::with(Settings { nodes: 3, mtu: 1500, v6_underlay });
        cluster.configure("ipMasq", json!(masquerade));
        let [host, elsewhere, machine] = &cluster.nodes[..] else { unreachable!() };
        bridge(host);
        plug(machine, &host.netns);
        let pods = [host, elsewhere, machine].map(|node| node.add("pod"));
        for called in ["0", "1"] {
            for tables in ["iptables", "ip6tables"] {
                kernel::set_sysctl(&host.netns, &format!("bridge/bridge-nf-call-{tables}"), called);
            }
            for from in &pods {
                for to in pods.iter().filter(|to| to.netns.name() != from.netns.name()) {
                    for address in to.addresses() {
                        probe::ping(&from.netns, address);
                        probe::transfer(&from.netns, &to.netns, address, 100_000);
                    }
                }
            }
        }
    }
}
