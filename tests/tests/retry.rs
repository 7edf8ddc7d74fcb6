//! Runtimes that are killed, that try again without cleaning up, and that clean up more than once.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cnitool::{Tool, entry};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::ours;
use flatnet_tests::wait::wait_for;
use flatnet_tests::{kernel, probe};
use serde_json::json;

/// A verb of the plugin for a pod, of which nothing is heard.
fn called(verb: &str, pod: &Pod) -> Command {
    let mut flatnet = Command::new(ours("flatnet"));
    flatnet
        .env_clear()
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", &pod.container_id)
        .env("CNI_NETNS", pod.netns.path())
        .env("CNI_IFNAME", &pod.ifname)
        .env("CNI_PATH", "/opt/cni/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    flatnet
}

/// Starts a verb and kills it after a while, if it still runs then.
fn killed(node: &Node, verb: &str, pod: &Pod, after: Duration) {
    let mut flatnet = called(verb, pod);
    let mut child = node.netns.run(|| flatnet.spawn()).unwrap();
    let started = Instant::now();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(node.network.configuration.to_string().as_bytes()).unwrap();
    drop(stdin);
    // Finer than a sleep can be.
    while started.elapsed() < after {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_add_that_was_killed_at_any_instant_can_be_tried_again() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let peer = cluster.nodes[1].add("peer");
    let mut pod = Pod::new("retried");
    for step in 0..24_u32 {
        // Every third time the overlay is not there either.
        if step % 3 == 0 && kernel::link(&node.netns, "flat.4096").is_some() {
            node.netns.exec("ip link del flat.4096");
        }
        killed(node, "ADD", &pod, Duration::from_micros(400) * step);
        node.attach_again(&mut pod);
        probe::ping(&pod.netns, peer.v4());
        probe::ping(&pod.netns, peer.v6());
        assert_eq!(node.leases().len(), 1, "after {step}");
        node.del(&pod).silent();
        node.assert_no_attachment();
    }
}

#[test]
fn a_del_that_was_killed_at_any_instant_can_be_tried_again() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let mut pod = Pod::new("retried");
    for step in 0..16_u32 {
        node.attach(&mut pod);
        killed(node, "DEL", &pod, Duration::from_micros(300) * step);
        node.del(&pod).silent();
        node.assert_no_attachment();
    }
}

#[test]
fn del_comes_three_times_the_last_without_a_namespace() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    let with_result = {
        let mut configuration = cluster.network.configuration.clone();
        configuration["prevResult"] = pod.result.clone();
        configuration.to_string()
    };
    node.call_for("DEL", &pod).stdin(with_result.as_bytes()).run().silent();
    node.assert_no_attachment();
    // The next pod has come meanwhile: a late DEL must not touch it.
    let next = node.add("next");
    node.del(&pod).silent();
    node.call_for("DEL", &pod).env("CNI_NETNS", "").run().silent();
    assert_eq!(node.leases().len(), 1);
    assert!(kernel::link(&node.netns, next.veth()).is_some());
    node.del(&next).silent();
    node.assert_no_attachment();
}

/// The runtime itself dies while flatnet works, comes back and adds the same container.
#[test]
fn a_runtime_that_was_killed_tries_again_without_del() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let peer = cluster.nodes[1].add("peer");
    let tool = Tool::new(&cluster, "1.1.0", &[entry(&cluster)]);
    let mut pod = Pod::new("retried");
    for step in 0..8_u32 {
        tool.call(node, "add", &pod).kill_after(Duration::from_millis(3) * step);
        // What came to its end all the same is no runtime's to add again.
        if node.stands_finished() {
            tool.call(node, "del", &pod).succeed();
        }
        pod.result = tool.call(node, "add", &pod).succeed();
        probe::ping(&pod.netns, peer.v4());
        tool.call(node, "check", &pod).succeed();
        assert_eq!(node.leases().len(), 1);
        for _ in 0..3 {
            tool.call(node, "del", &pod).succeed();
            node.assert_no_attachment();
        }
    }
}

/// A runtime that hears nothing takes an ADD for failed, and some try again without a DEL.
#[test]
fn an_add_that_cannot_tell_its_result_leaves_nothing() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = Pod::new("untold");
    let full = File::options().write(true).open("/dev/full").expect("a device that is full");
    let mut add = called("ADD", &pod);
    let mut child = node.netns.run(|| add.stdout(full).stderr(Stdio::piped()).spawn()).unwrap();
    let configuration = node.network.configuration.to_string();
    child.stdin.take().unwrap().write_all(configuration.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "flatnet: cannot write the result: No space left on device (os error 28)\n");
    node.assert_no_attachment();
    node.del(&node.add("next")).silent();
}

#[test]
fn addresses_of_killed_adds_do_not_run_out() {
    let mut cluster = Cluster::new(1);
    let range = json!({
        "subnet": "10.244.1.0/24", "rangeStart": "10.244.1.10", "rangeEnd": "10.244.1.13",
    });
    cluster.nodes[0].ranges = vec![range];
    cluster.list(&[0]);
    let node = &cluster.nodes[0];
    // Many more containers than addresses, each killed within its ADD and never heard of again.
    for step in 0..20_u32 {
        killed(node, "ADD", &Pod::new("lost"), Duration::from_micros(500) * step);
    }
    // The kernel takes a veth away some time after its namespace; until then its lease stands.
    wait_for("the end of the lost pods", || {
        kernel::link_names(&node.netns).iter().all(|name| !name.starts_with("veth")).then_some(())
    });
    let pod = node.add("survivor");
    node.del(&pod).silent();
}
