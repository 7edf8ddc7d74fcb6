//! The cluster changes while pods talk: a changed range file sends the difference and nothing
//! else, and no packet between unchanged pods is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::Call;
use flatnet_tests::event::Monitor;
use flatnet_tests::kernel;
use flatnet_tests::node::Node;
use flatnet_tests::probe::{self, Flow};
use serde_json::{Value, json};

/// How long traffic goes on after the last change.
const AFTER: Duration = Duration::from_millis(300);

/// The VTEPs a node's FDB knows, and the destinations of its routes over the overlay.
fn peers(node: &Node) -> (BTreeSet<String>, BTreeSet<String>) {
    let dev = node.overlay();
    let vteps = kernel::fdb(&node.netns, &dev).into_iter().map(|(_, vtep)| vtep.to_string());
    let routes = kernel::routes(&node.netns).into_iter().filter(|route| route.dev == dev);
    (vteps.collect(), routes.map(|route| route.dst).collect())
}

/// What `peers` must say where these node numbers (from 1) are the peers.
fn numbers(peers: &[u8]) -> (BTreeSet<String>, BTreeSet<String>) {
    let vteps = peers.iter().map(|n| format!("192.168.50.{n}")).collect();
    let v4 = peers.iter().map(|n| format!("10.244.{n}.0/24"));
    let v6 = peers.iter().map(|n| format!("fd00:10:244:{n}::/64"));
    (vteps, v4.chain(v6).collect())
}

#[test]
fn a_node_that_joins_is_reached_and_no_packet_is_lost() {
    let cluster = Cluster::new(3);
    let [a, b, c] = &cluster.nodes[..] else { unreachable!() };
    cluster.list(&[0, 1]);
    let (left, right) = (a.add("left"), b.add("right"));
    probe::ping(&left.netns, right.v4());
    probe::ping(&left.netns, right.v6());
    let start = |address| Flow::start(&left.netns, &right.netns, address);
    let flows: Vec<Flow> = right.addresses().into_iter().map(start).collect();

    cluster.list(&[0, 1, 2]);
    // The next ADD on each node applies the file.
    let newcomers = [a.add("new-a"), b.add("new-b"), c.add("new-c")];
    for flow in flows {
        let tally = flow.finish(AFTER);
        assert_eq!(tally.sent, tally.answered, "packets lost while a node joined");
    }
    assert_eq!(peers(a), numbers(&[2, 3]));
    assert_eq!(peers(b), numbers(&[1, 3]));
    assert_eq!(peers(c), numbers(&[1, 2]));
    for pod in [&left, &right, &newcomers[0], &newcomers[1]] {
        for address in newcomers[2].addresses() {
            probe::ping(&pod.netns, address);
        }
    }
}

#[test]
fn a_node_that_leaves_is_forgotten_and_no_packet_is_lost() {
    let cluster = Cluster::new(3);
    let [a, b, c] = &cluster.nodes[..] else { unreachable!() };
    let (left, right, leaver) = (a.add("left"), b.add("right"), c.add("leaver"));
    probe::ping(&left.netns, leaver.v4());
    probe::ping(&left.netns, right.v4());
    let neighbours = kernel::neighbours(&a.netns, &a.overlay());
    assert_eq!(neighbours.len(), 4, "{neighbours:?}");
    let flow = Flow::start(&left.netns, &right.netns, right.v4());

    cluster.list(&[0, 1]);
    let _applied = [a.add("new-a"), b.add("new-b")];
    let tally = flow.finish(AFTER);
    assert_eq!(tally.sent, tally.answered, "packets lost while a node left");
    assert_eq!(peers(a), numbers(&[2]));
    assert_eq!(peers(b), numbers(&[1]));
    let expected: BTreeSet<_> = b.vtep_addresses().into_iter().collect();
    let left_over: BTreeSet<_> = kernel::neighbours(&a.netns, &a.overlay())
        .into_iter()
        .map(|(address, _)| address)
        .collect();
    assert_eq!(left_over, expected);
    assert!(!probe::reaches(&left.netns, leaver.v4()), "the leaver is reached no more");
}

#[test]
fn a_changed_file_touches_only_what_changed() {
    let cluster = Cluster::new(3);
    let [a, ..] = &cluster.nodes[..] else { unreachable!() };
    cluster.list(&[0, 1]);
    let _first = a.add("first");
    let monitor = Monitor::start(&a.netns);
    cluster.list(&[0, 1, 2]);
    let second = a.add("second");
    let about_overlay: Vec<String> =
        monitor.events().into_iter().filter(|line| line.contains("flat.4096")).collect();
    assert!(about_overlay.iter().all(|line| !line.contains("Deleted")), "{about_overlay:?}");
    for old in ["10.244.2.0", "fd00:10:244:2:", "192.168.50.2 "] {
        assert!(about_overlay.iter().all(|line| !line.contains(old)), "{old}: {about_overlay:?}");
    }
    for new in ["10.244.3.0/24", "fd00:10:244:3::/64", "192.168.50.3 "] {
        assert!(about_overlay.iter().any(|line| line.contains(new)), "{new}: {about_overlay:?}");
    }
    drop(second);
}

#[test]
fn a_node_may_move_to_another_underlay_address() {
    let mut cluster = Cluster::new(2);
    let (left, right) = (cluster.nodes[0].add("left"), cluster.nodes[1].add("right"));
    probe::ping(&left.netns, right.v4());
    let moved = &mut cluster.nodes[1];
    moved.netns.exec("ip addr del 192.168.50.2/24 dev under0");
    moved.netns.exec("ip addr add 192.168.50.77/24 dev under0");
    moved.vtep = [192, 168, 50, 77].into();
    cluster.list(&[0, 1]);
    let _applied = [cluster.nodes[0].add("new-a"), cluster.nodes[1].add("new-b")];
    for address in right.addresses() {
        probe::ping(&left.netns, address);
    }
}

#[test]
fn a_new_vni_takes_the_old_overlay_away() {
    let cluster = Cluster::new(2);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let old = a.overlay();
    a.add("before");
    let nodes: Vec<Value> = cluster.nodes.iter().map(Node::entry).collect();
    cluster.write_range_file(&json!({ "version": 1, "vni": 77, "nodes": nodes }));
    let (left, right) = (a.add("left"), b.add("right"));

    probe::ping(&left.netns, right.v4());
    let links = kernel::link_names(&a.netns);
    assert!(links.contains("flat.77") && !links.contains(&old), "{links:?}");
    let rules = a.netns.exec("nft list table inet flatnet");
    assert!(rules.contains("prerouting-77") && !rules.contains("-4096"), "{rules}");
}

#[test]
fn two_networks_of_one_vni_are_an_error_that_names_both() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    let before = node.netns.exec("nft list table inet flatnet");
    let mut other = cluster.network.configuration.clone();
    other["name"] = json!("storage");
    let refused = Call::new(&node.netns, "ADD", &other)
        .attachment("second", &pod.netns.path(), "net1")
        .run()
        .error();
    assert_eq!(refused.code, 104);
    for part in ["flat.4096", "flatnet:pods/node-a", "flatnet:storage/node-a"] {
        assert!(refused.msg.contains(part), "{part}: {}", refused.msg);
    }
    assert_eq!(node.netns.exec("nft list table inet flatnet"), before);
    probe::ping(&node.netns, pod.v4());
}
