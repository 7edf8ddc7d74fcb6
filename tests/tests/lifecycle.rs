//! One attachment from ADD to DEL and on: nothing is left, nothing is refused that a runtime
//! repeats, and an address is not given again at once.

use std::collections::BTreeSet;
use std::fs;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::kernel;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::snapshot;

/// Asserts that nothing of a pod is left on its node: no veth, no route, no lease.
fn assert_gone(node: &Node, pod: &Pod) {
    assert_eq!(kernel::link(&node.netns, pod.veth()), None);
    for address in pod.addresses() {
        let routes = kernel::routes(&node.netns);
        assert!(routes.iter().all(|route| route.dst != address.to_string()), "{routes:?}");
    }
    let leases = leases(node);
    assert!(leases.iter().all(|lease| !lease.contains(&pod.container_id)), "{leases:?}");
}

/// The content of every file of the node's state that tells of a container.
fn leases(node: &Node) -> Vec<String> {
    let files = snapshot::folder(&node.state()).into_values();
    let texts = files.map(|(_, content)| String::from_utf8(content).expect("a text file"));
    texts.filter(|text| text.contains("containerID")).collect()
}

#[test]
fn del_leaves_nothing_and_may_be_repeated() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    assert!(!leases(node).is_empty(), "a lease is on disk while the pod lives");
    for _ in 0..3 {
        node.del(&pod).silent();
        assert_gone(node, &pod);
        assert_eq!(kernel::link_names(&pod.netns), ["lo".into()].into());
    }
}

#[test]
fn del_restores_what_was_before_add() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    // The first pod brings the overlay, which stays.
    let first = node.add("first");
    kernel::wait_until_up(&node.netns, first.veth());
    let before = (snapshot::namespace(&node.netns), leases(node));
    let second = node.add("second");
    assert_ne!(snapshot::namespace(&node.netns), before.0);
    node.del(&second).silent();
    let changed = snapshot::difference(&before.0, &snapshot::namespace(&node.netns));
    assert_eq!(changed, Vec::<String>::new());
    assert_eq!(leases(node), before.1);
    node.del(&first).silent();
    assert_eq!(leases(node), Vec::<String>::new());
}

#[test]
fn del_works_without_what_may_be_gone() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let range_file = &cluster.network.range_file;
    let content = fs::read(range_file).unwrap();

    let pod = node.add("no-netns-variable");
    node.call_for("DEL", &pod).without("CNI_NETNS").run().silent();
    assert_gone(node, &pod);

    let pod = node.add("empty-netns-variable");
    node.call_for("DEL", &pod).env("CNI_NETNS", "").run().silent();
    assert_gone(node, &pod);

    let pod = node.add("netns-path-gone");
    node.call_for("DEL", &pod).env("CNI_NETNS", "/run/netns/ftest-was-never-there").run().silent();
    assert_gone(node, &pod);

    let pod = node.add("netns-no-namespace");
    node.call_for("DEL", &pod).env("CNI_NETNS", "/proc/version").run().silent();
    assert_gone(node, &pod);

    let pod = node.add("range-file-gone");
    fs::remove_file(range_file).unwrap();
    node.del(&pod).silent();
    assert_gone(node, &pod);
    fs::write(range_file, &content).unwrap();

    let pod = node.add("range-file-unreadable");
    fs::write(range_file, "{ not JSON").unwrap();
    node.del(&pod).silent();
    assert_gone(node, &pod);
    fs::write(range_file, &content).unwrap();

    let pod = node.add("range-file-a-folder");
    fs::remove_file(range_file).unwrap();
    fs::create_dir(range_file).unwrap();
    node.del(&pod).silent();
    assert_gone(node, &pod);
    fs::remove_dir(range_file).unwrap();
    fs::write(range_file, &content).unwrap();

    let pod = node.add("range-file-not-configured");
    let mut configuration = cluster.network.configuration.clone();
    configuration.as_object_mut().unwrap().remove("rangeFile");
    node.call_for("DEL", &pod).stdin(configuration.to_string().as_bytes()).run().silent();
    assert_gone(node, &pod);
    assert_eq!(leases(node), Vec::<String>::new());
}

#[test]
fn del_works_when_the_namespace_died_first() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("short-lived");
    let path = pod.netns.path();
    let (container_id, ifname) = (pod.container_id.clone(), pod.ifname.clone());
    let veth = pod.veth().to_owned();
    drop(pod);
    let del = || node.call("DEL").attachment(&container_id, &path, &ifname).run();
    del().silent();
    assert_eq!(kernel::link(&node.netns, &veth), None);
    assert_eq!(leases(node), Vec::<String>::new());
    del().silent();
}

#[test]
fn del_of_what_never_was_succeeds() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let before = snapshot::namespace(&node.netns);
    let pod = Pod::new("never");
    node.del(&pod).silent();
    assert_eq!(snapshot::namespace(&node.netns), before);
}

#[test]
fn add_again_gives_the_next_address() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    node.begin_with_the_first("pods");
    let mut pod = node.add("pod");
    assert_eq!(pod.v4().to_string(), "10.244.1.1");
    assert_eq!(pod.v6().to_string(), "fd00:10:244:1::1");
    for n in 2..=4 {
        node.del(&pod).silent();
        node.attach(&mut pod);
        assert_eq!(pod.v4().to_string(), format!("10.244.1.{n}"));
        assert_eq!(pod.v6().to_string(), format!("fd00:10:244:1::{n}"));
    }
}

/// The state folder is below /run, which a reboot empties, and what else is in the cluster still knows
/// the pods that had the addresses before.
#[test]
fn after_a_reboot_addresses_begin_somewhere_else() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let starts = |_| {
        let pod = node.add("pod");
        let addresses = pod.addresses();
        let next = node.add("next");
        for address in addresses.iter().chain(&next.addresses()) {
            let mut of_node = ["10.244.1.", "fd00:10:244:1::"].iter();
            assert!(of_node.any(|range| address.to_string().starts_with(range)), "{address}");
        }
        node.del(&pod).silent();
        node.del(&next).silent();
        fs::remove_dir_all(node.state()).expect("a state folder");
        addresses
    };
    let starts: BTreeSet<_> = (0..6).map(starts).collect();
    assert!(starts.len() > 3, "{starts:?}");
    for n in 0..2 {
        let different: BTreeSet<_> = starts.iter().map(|addresses| addresses[n]).collect();
        assert!(different.len() > 2, "{starts:?}");
    }
}

#[test]
fn an_interface_that_exists_is_refused_and_untouched() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = Pod::new("occupied");
    pod.netns.exec("ip link add eth0 type bridge");
    pod.netns.exec("ip addr add 10.1.1.1/24 dev eth0");
    let before = (snapshot::namespace(&pod.netns), leases(node));
    let error = node.call_for("ADD", &pod).run().error();
    assert!(error.msg.contains("eth0"), "{error:?}");
    assert_eq!((snapshot::namespace(&pod.netns), leases(node)), before);
    assert!(kernel::link_names(&node.netns).iter().all(|name| !name.starts_with("veth")));
}

#[test]
fn two_interfaces_of_one_container_stand_side_by_side() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let mut configuration = cluster.network.configuration.clone();
    configuration["routes"] = serde_json::json!([{ "dst": "10.244.0.0/16" }]);
    let pod = node.add("multi");
    let second = node
        .call_for("ADD", &pod)
        .env("CNI_IFNAME", "net1")
        .stdin(configuration.to_string().as_bytes())
        .run()
        .result();
    assert_ne!(second["ips"][0]["address"], pod.result["ips"][0]["address"]);
    let routes = pod.netns.json("ip -j -4 route show default");
    assert_eq!(routes.len(), 1, "the second attachment took no default route: {routes:?}");
    assert_eq!(routes[0]["dev"], "eth0");
    node.del(&pod).silent();
    assert_eq!(kernel::link_names(&pod.netns), ["lo".into(), "net1".into()].into());
    node.call_for("DEL", &pod).env("CNI_IFNAME", "net1").run().silent();
    assert_eq!(kernel::link_names(&pod.netns), ["lo".into()].into());
    assert_eq!(leases(node), Vec::<String>::new());
}

#[test]
fn the_state_is_for_its_owner_only() {
    let cluster = Cluster::new(1);
    let pod = cluster.nodes[0].add("pod");
    let files = snapshot::folder(&cluster.network.state_dir);
    assert!(files.len() > pod.addresses().len() + 4, "{:?}", files.keys());
    for (path, (mode, _)) in files {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode & 0o777, expected, "{}: {mode:o}", path.display());
    }
}
