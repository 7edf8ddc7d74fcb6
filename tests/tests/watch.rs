//! `flatnet sync --watch`: what is changed is put right without being asked to.

use std::fs;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::Node;
use flatnet_tests::wait::wait_for;
use flatnet_tests::watcher::Watcher;
use flatnet_tests::{kernel, probe, sync};
use serde_json::json;

/// One thing is put right after the other, those of the second family last.
fn is_put_right(node: &Node, what: &str) {
    wait_for(what, || sync::plan(node).is_empty().then_some(()));
}

#[test]
fn what_changes_is_put_right() {
    let cluster = Cluster::new(3);
    cluster.list(&[0, 1]);
    let [a, b, c] = &cluster.nodes[..] else { unreachable!() };
    let watchers = [Watcher::start(a), Watcher::start(b)];
    // It brings the overlay about before there is any pod.
    watchers.iter().for_each(|watcher| watcher.says(" changes made\n"));
    let (left, right) = (a.add("left"), b.add("right"));
    let peer = |dst: &str| kernel::routes(&a.netns).into_iter().find(|route| route.dst == dst);
    let before = peer("10.244.2.0/24").expect("a route to the peer");

    for spoil in [
        "ip route del 10.244.2.0/24",
        "nft flush ruleset",
        "ip link del flat.4096",
        "sysctl -qw net.ipv4.conf.under0.forwarding=0",
    ] {
        a.netns.exec(spoil);
        let mended = || {
            let rules = a.netns.attempt("nft list table inet flatnet").status.success();
            let forwards = kernel::sysctl(&a.netns, "ipv4/conf/under0/forwarding") == "1";
            (peer("10.244.2.0/24").as_ref() == Some(&before) && rules && forwards).then_some(())
        };
        wait_for(spoil, mended);
        is_put_right(a, spoil);
        right.addresses().iter().for_each(|address| probe::ping(&left.netns, *address));
    }

    // A node joins: the others hear of it by the file.
    cluster.list(&[0, 1, 2]);
    let third = c.add("third");
    wait_for("the way to the new node", || peer("10.244.3.0/24"));
    is_put_right(a, "all of the way to the new node");
    wait_for("the way from the new node", || {
        kernel::routes(&b.netns).into_iter().find(|route| route.dst == "10.244.3.0/24")
    });
    third.addresses().iter().for_each(|address| probe::ping(&left.netns, *address));

    // A broken file changes nothing, and is named.
    let good = fs::read(&cluster.network.range_file).expect("the range file");
    fs::write(&cluster.network.range_file, "{").expect("spoil the range file");
    watchers[0].says("pods.json: not valid JSON");
    right.addresses().iter().for_each(|address| probe::ping(&left.netns, *address));
    fs::write(&cluster.network.range_file, good).expect("mend the range file");
    a.netns.exec("ip route del 10.244.2.0/24");
    wait_for("the route after the file", || peer("10.244.2.0/24"));
    let said = watchers[0].said();
    assert!(said.contains("  ip route replace 10.244.2.0/24 via 10.244.2.0 "), "{said}");
}

#[test]
fn goes_on_where_nothing_can_be_printed() {
    let cluster = Cluster::new(2);
    cluster.list(&[0, 1]);
    let node = &cluster.nodes[0];
    let watcher = Watcher::full(node);
    for round in 1..3 {
        is_put_right(node, "the overlay");
        let told = || watcher.said().matches("cannot write standard output").count();
        wait_for("what cannot be printed", || (told() >= round).then_some(()));
        node.netns.exec("ip link del flat.4096");
    }
    is_put_right(node, "the overlay in the end");
}

#[test]
fn what_it_changes_is_logged_where_the_network_says() {
    let mut cluster = Cluster::new(2);
    let file = cluster.folder().join("log");
    cluster.configure("logLevel", json!("info"));
    cluster.configure("logFile", json!(file));
    let node = &cluster.nodes[0];
    let lines = || -> Vec<String> {
        let log = fs::read_to_string(&file).unwrap_or_default();
        let text = |line: &str| line.split_once("] INFO: ").map(|(_, text)| text.to_owned());
        log.lines().filter_map(text).collect()
    };
    let watcher = Watcher::start(node);
    watcher.says(" changes made\n");
    wait_for("the new overlay", || (!lines().is_empty()).then_some(()));
    let before = lines();
    assert!(before.iter().all(|line| line.starts_with("sync of pods: ")), "{before:?}");

    node.netns.exec("ip route del 10.244.2.0/24");
    wait_for("a line for the route", || {
        let added = "sync of pods: ip route replace 10.244.2.0/24 via 10.244.2.0 dev flat.4096 ";
        lines()[before.len()..].iter().any(|line| line.starts_with(added)).then_some(())
    });
    let told = watcher.said();
    assert!(!told.contains("INFO"), "standard error has none of it: {told}");
}
