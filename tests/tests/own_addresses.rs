//! Addresses that the node itself has are given to no pod.

use flatnet_tests::cluster::Cluster;
use flatnet_tests::{cli, kernel, probe};
use serde_json::json;

#[test]
fn a_bridge_that_another_plugin_left_behind() {
    let cluster = Cluster::new(2);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    for line in [
        "ip link add cni0 type bridge",
        "ip addr add 10.244.1.1/24 dev cni0",
        "ip addr add fd00:10:244:1::1/64 dev cni0 nodad",
        // A smaller network, whose last address is its broadcast address.
        "ip addr add 10.244.1.3/32 broadcast 10.244.1.4 dev cni0",
        "ip link set cni0 up",
        // No route leads to the address of a device that is down; it may come up at any time.
        "ip link add cni1 type bridge",
        "ip addr add 10.244.1.6/24 dev cni1",
    ] {
        a.netns.exec(line);
    }
    a.begin_with_the_first("pods");
    let pod = a.add("pod");
    let given: Vec<String> = pod.addresses().iter().map(ToString::to_string).collect();
    assert_eq!(given, ["10.244.1.2", "fd00:10:244:1::2"]);
    let second = a.add("second");
    let given: Vec<String> = second.addresses().iter().map(ToString::to_string).collect();
    assert_eq!(given, ["10.244.1.5", "fd00:10:244:1::3"]);
    let far = b.add("far");
    for address in far.addresses() {
        probe::ping(&pod.netns, address);
        probe::ping(&second.netns, address);
    }

    // It is told where people look, and the doctor's advice mends it.
    let status = cli::flatnet(a, "status", &[]);
    cli::text(&status, 1);
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(said.contains("cni0 has 10.244.1.1/24 of this node's ranges"), "{said}");
    let doctor = cli::flatnet(a, "doctor", &["--json"]);
    let findings = cli::document(&doctor, 1).to_string();
    for (address, dev) in [("10.244.1.1/24", "cni0"), ("fd00:10:244:1::1/64", "cni0")] {
        let what = format!("{dev} has {address}, which is in the cluster's ranges");
        assert!(findings.contains(&what), "{findings}");
        let command = format!("ip addr del {address} dev {dev}");
        assert!(findings.contains(&command), "{findings}");
        a.netns.exec(&command);
    }
    a.netns.exec("ip addr del 10.244.1.3/32 dev cni0");
    let third = a.add("third");
    assert_eq!(third.addresses()[0].to_string(), "10.244.1.7", "not cni1's");
    a.netns.exec("ip link del cni1");
    let free = kernel::addresses(&a.netns, "cni0");
    assert!(free.is_empty(), "{free:?}");
    // The plugins are in no folder where runtimes look.
    let findings = cli::document(&cli::flatnet(a, "doctor", &["--json"]), 1).to_string();
    assert!(!findings.contains("cni0"), "{findings}");
}

#[test]
fn one_that_is_asked_for_is_refused() {
    let mut cluster = Cluster::new(1);
    cluster.configure("capabilities", json!({ "ips": true }));
    cluster.nodes[0].begin_with_the_first("pods");
    cluster.nodes[0].netns.exec("ip link add cni0 type bridge");
    cluster.nodes[0].netns.exec("ip link set cni0 up");
    cluster.nodes[0].netns.exec("ip addr add 10.244.1.9/24 dev cni0");
    cluster.nodes[0].netns.exec("ip addr add fd00:10:244:1::9/64 dev cni0 nodad");
    for (asked, other) in [("10.244.1.9", "10.244.1.10"), ("fd00:10:244:1::9", "fd00:10:244:1::10")]
    {
        cluster.configure("runtimeConfig", json!({ "ips": [asked] }));
        let node = &cluster.nodes[0];
        let pod = flatnet_tests::node::Pod::new("pod");
        let error = node.call_for("ADD", &pod).run().error();
        assert_eq!(error.code, 101);
        let said = format!("the requested address {asked} is taken by cni0, a device of this node");
        assert!(error.msg.contains(&said), "{}", error.msg);
        node.assert_no_attachment();
        cluster.configure("runtimeConfig", json!({ "ips": [other] }));
        let pod = cluster.nodes[0].add("pod");
        let given: Vec<String> = pod.addresses().iter().map(ToString::to_string).collect();
        assert!(given.contains(&other.to_owned()), "{given:?}");
        cluster.nodes[0].del(&pod);
    }
}
