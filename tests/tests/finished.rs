//! An ADD of an attachment that stands: what stands finished is a pod's, and stays as it is; what was not
//! finished is taken over.

use std::fs::{self, File};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::wait::wait_for;
use flatnet_tests::{kernel, probe, snapshot};
use serde_json::json;

/// All of a node and of its state.
fn all(node: &Node) -> impl PartialEq + std::fmt::Debug {
    (snapshot::namespace(&node.netns), snapshot::folder(&node.state()))
}

#[test]
fn an_add_of_what_stands_is_an_error_and_changes_nothing() {
    let cluster = Cluster::new(2);
    let [node, peer] = &cluster.nodes[..] else { unreachable!() };
    let (pod, far) = (node.add("pod"), peer.add("far"));
    cluster.settle();
    let beside = node.add("beside");
    let its_veth = beside.veth().to_owned();
    drop(beside);
    kernel::wait_until_gone(&node.netns, &its_veth);
    kernel::wait_until_up(&node.netns, pod.veth());
    // The pod's link-local address is in use only when no neighbour has objected to it.
    wait_for("the pod's own address", || {
        pod.netns.json("ip -j -6 addr show tentative").is_empty().then_some(())
    });
    let before = (all(node), snapshot::namespace(&pod.netns));
    let elsewhere = Pod { container_id: pod.container_id.clone(), ..Pod::new("elsewhere") };
    for again in [&pod, &elsewhere] {
        let error = node.call_for("ADD", again).run().error();
        assert_eq!(error.code, 102, "{error:?}");
        assert!(error.msg.contains(pod.veth()) && error.msg.contains("DEL"), "{error:?}");
    }
    assert_eq!((all(node), snapshot::namespace(&pod.netns)), before);
    // Whatever is left of the books.
    fs::remove_dir_all(node.state()).expect("lose the state");
    assert_eq!(node.call_for("ADD", &elsewhere).run().error().code, 102);
    assert_eq!(kernel::link(&elsewhere.netns, "eth0"), None);
    for address in far.addresses() {
        probe::ping(&pod.netns, address);
    }
    node.del(&pod).silent();
    let mut pod = pod;
    node.attach(&mut pod);
    probe::ping(&pod.netns, far.v4());
}

#[test]
fn what_an_add_did_not_finish_is_taken_over() {
    let cluster = Cluster::new(2);
    let [node, peer] = &cluster.nodes[..] else { unreachable!() };
    let (mut pod, far) = (node.add("pod"), peer.add("far"));
    let had = pod.addresses();
    node.unfinish(&pod);
    node.attach(&mut pod);
    assert_eq!(pod.addresses(), had, "its lease is its own");
    for address in far.addresses() {
        probe::ping(&pod.netns, address);
    }
    let link = kernel::link(&node.netns, pod.veth()).expect("a veth");
    assert!(link["ifalias"].as_str().expect("an alias").starts_with("flatnet:pods/"), "{link}");
    // The same goes by DEL.
    node.unfinish(&pod);
    node.del(&pod).silent();
    node.assert_no_attachment();
}

#[test]
fn what_an_add_did_not_finish_goes_with_its_pod_by_gc() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    node.unfinish(&pod);
    let mut none = cluster.network.configuration.clone();
    none["cni.dev/valid-attachments"] = json!([]);
    let gc = || node.call("GC").stdin(none.to_string().as_bytes()).run().silent();
    gc();
    assert!(kernel::link(&node.netns, pod.veth()).is_some(), "its namespace is where it was");
    assert_eq!(node.leases().len(), 1);
    // The name is gone, and the namespace lives by the file.
    let namespace = File::open(pod.netns.path()).expect("the namespace");
    drop(pod);
    gc();
    node.assert_no_attachment();
    drop(namespace);
}

#[test]
fn the_pod_of_a_namespace_that_is_gone_is_in_no_one_s_way() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let first = node.add("first");
    let id = first.container_id.clone();
    // Its leases stay, as its DEL never came.
    let leases = fs::read_dir(node.state().join("leases")).expect("leases").count();
    drop(first);
    let mut second = Pod { container_id: id, ..Pod::new("second") };
    node.attach(&mut second);
    assert_eq!(fs::read_dir(node.state().join("leases")).expect("leases").count(), leases);
    node.del(&second).silent();
    node.assert_no_attachment();
}
