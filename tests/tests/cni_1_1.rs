//! GC and STATUS, the verbs of CNI 1.1.0. CHECK, older, has a file of its own.

use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, Instant};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::Outcome;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::{kernel, probe, snapshot, sync};
use serde_json::{Value, json};

/// GC with a list of valid attachments; null as it is, no key where there is none.
fn gc(node: &Node, key: &str, valid: Option<Value>) -> Outcome {
    let mut configuration = node.network.configuration.clone();
    if let Some(valid) = valid {
        configuration[key] = valid;
    }
    node.call("GC").stdin(configuration.to_string().as_bytes()).run()
}

/// The specification's key.
const VALID: &str = "cni.dev/valid-attachments";

/// An attachment as GC lists it.
fn listed(pod: &Pod) -> Value {
    json!({ "containerID": pod.container_id, "ifname": pod.ifname })
}

/// An attachment whose namespace the runtime has forgotten: the name is gone, but a process (the
/// test, by the file) keeps it alive, and so its veth.
struct Forgotten {
    veth: String,
    container_id: String,
    _namespace: File,
}

fn forgotten(node: &Node) -> Forgotten {
    let pod = node.add("forgotten");
    let namespace = File::open(pod.netns.path()).unwrap();
    let (veth, container_id) = (pod.veth().to_owned(), pod.container_id.clone());
    drop(pod);
    assert!(kernel::link(&node.netns, &veth).is_some());
    Forgotten { veth, container_id, _namespace: namespace }
}

/// Whether a container has a lease on the node.
fn has_lease(node: &Node, container_id: &str) -> bool {
    node.leases().iter().any(|lease| lease["containerID"] == container_id)
}

#[test]
fn gc_removes_what_the_runtime_does_not_know() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let (known, unknown) = (node.add("known"), node.add("unknown"));
    let elsewhere = cluster.nodes[1].add("elsewhere");
    for key in [VALID, "cni.dev/attachments"] {
        let lost = forgotten(node);
        gc(node, key, Some(json!([listed(&known)]))).silent();
        assert_eq!(kernel::link(&node.netns, &lost.veth), None, "{key}");
        assert!(!has_lease(node, &lost.container_id), "{key}");
    }
    // A pod whose namespace stands where the runtime had it lives, whatever the list says.
    for pod in [&known, &unknown] {
        assert!(has_lease(node, &pod.container_id));
        probe::ping(&pod.netns, elsewhere.v4());
    }
    // The other node shares the state folder, but its pods cannot be seen from here.
    assert!(has_lease(&cluster.nodes[1], &elsewhere.container_id));
}

/// The process by which the runtime named it is gone, and the pod goes on.
#[test]
fn gc_keeps_a_pod_whose_namespace_is_elsewhere_by_now() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let mut pod = Pod::new("pod");
    let mut first = pod.netns.run(|| Command::new("sleep").arg("1000").spawn()).expect("a process");
    let path = format!("/proc/{}/ns/net", first.id());
    pod.result = node.call_for("ADD", &pod).env("CNI_NETNS", &path).run().result();
    first.kill().expect("its end");
    first.wait().expect("its end");
    let lost = forgotten(node);
    gc(node, VALID, Some(json!([]))).silent();
    assert!(!has_lease(node, &lost.container_id), "nothing leads there");
    assert!(has_lease(node, &pod.container_id));
    probe::ping(&node.netns, pod.v4());
    node.del(&pod).silent();
    node.assert_no_attachment();
}

#[test]
fn gc_with_null_knows_of_no_attachment_and_without_the_key_of_none_it_may_judge() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let living = node.add("living");
    let lost = forgotten(node);
    let dead = node.add("dead");
    let (dead_veth, dead_id) = (dead.veth().to_owned(), dead.container_id.clone());
    drop(dead);
    kernel::wait_until_gone(&node.netns, &dead_veth);

    gc(node, VALID, None).silent();
    assert!(!has_lease(node, &dead_id), "its veth is gone: it is dead whatever is listed");
    assert!(has_lease(node, &lost.container_id), "the runtime did not say that it is stale");
    assert!(kernel::link(&node.netns, &lost.veth).is_some());

    gc(node, VALID, Some(Value::Null)).silent();
    assert!(!has_lease(node, &lost.container_id));
    assert_eq!(kernel::link(&node.netns, &lost.veth), None);
    assert!(has_lease(node, &living.container_id));
    node.del(&living).silent();
    node.assert_no_attachment();
}

#[test]
fn gc_clears_damaged_files_and_keeps_the_addresses_of_living_pods() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let (living, dead) = (node.add("living"), node.add("dead"));
    let dead_veth = dead.veth().to_owned();
    drop(dead);
    kernel::wait_until_gone(&node.netns, &dead_veth);
    // As a crash of the machine leaves files: empty, or half written.
    let files: Vec<_> = fs::read_dir(node.state().join("leases")).unwrap().collect();
    assert_eq!(files.len(), 2);
    for file in files {
        fs::write(file.unwrap().path(), "{\"containerID\":").unwrap();
    }
    fs::write(node.state().join("leases/00112233445566778899aabbccddeeff.new"), "").unwrap();
    gc(node, VALID, Some(json!([listed(&living)]))).silent();
    let taken = snapshot::folder(&node.state().join("addresses"));
    let taken: Vec<_> = taken.keys().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(taken, [living.v4().to_string(), living.v6().to_string()]);
    // Its address is not given to another.
    let next = node.add("next");
    assert_ne!(next.v4(), living.v4());
    for pod in [&living, &next] {
        node.del(pod).silent();
    }
    // DEL leaves a lease that does not say which node made it; now it is dead.
    gc(node, VALID, Some(json!([]))).silent();
    node.assert_no_attachment();
}

#[test]
fn gc_works_without_anything_to_collect_or_to_read() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let before = snapshot::namespace(&node.netns);
    gc(node, VALID, Some(json!([]))).silent();
    fs::remove_file(&cluster.network.range_file).unwrap();
    gc(node, VALID, Some(json!([{ "containerID": "never", "ifname": "eth0" }]))).silent();
    assert_eq!(snapshot::namespace(&node.netns), before);
}

#[test]
fn status_says_whether_an_add_would_work() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let seen = || (snapshot::namespace(&node.netns), snapshot::folder(&cluster.network.state_dir));
    let status = || {
        let started = Instant::now();
        let outcome = node.call("STATUS").run();
        assert!(started.elapsed() < Duration::from_secs(5), "asked every few seconds");
        outcome
    };
    // A node that is ready has its overlay, before the first pod.
    status().silent();
    assert!(kernel::link(&node.netns, "flat.4096").is_some());
    assert_eq!(sync::plan(node), Vec::<String>::new());
    let pod = node.add("pod");
    kernel::wait_until_up(&node.netns, pod.veth());
    cluster.settle();
    status().silent();
    let stands = seen();
    status().silent();
    assert_eq!(seen(), stands, "where all of it stands nothing is changed");

    let good = fs::read(&cluster.network.range_file).unwrap();
    let origin = cluster.network.range_file.display().to_string();
    fs::write(&cluster.network.range_file, "{").unwrap();
    let error = status().error();
    assert_eq!((error.code, error.msg.contains(&origin)), (50, true), "{error:?}");
    cluster.list(&[1]);
    let error = status().error();
    assert_eq!((error.code, error.msg.contains("node-b")), (50, true), "{error:?}");
    fs::remove_file(&cluster.network.range_file).unwrap();
    assert_eq!(status().error().code, 50);
    assert_eq!(seen(), stands, "what cannot be brought up changes nothing");
    // The pod is cut off as well, and no ADD can bring the overlay back.
    node.netns.exec("ip link del flat.4096");
    assert_eq!(status().error().code, 51);
    // With a good file STATUS makes it again, as the next ADD would: on a node that is out of service
    // there is no next ADD.
    fs::write(&cluster.network.range_file, good).unwrap();
    status().silent();
    assert_eq!(sync::plan(node), Vec::<String>::new());
    probe::ping(&node.netns, pod.v4());
    node.del(&pod).silent();
}

/// A pod gets an address of each family that its node has.
#[test]
fn status_says_of_which_family_no_range_gives_addresses() {
    let mut cluster = Cluster::new(1);
    let [v4, v6] = ["10.244.1.0/24", "fd00:10:244:1::/64"].map(|subnet| json!(subnet));
    let retiring = |subnet: &Value| json!({ "subnet": subnet, "retiring": true });
    for (ranges, refused) in [
        (vec![v4.clone(), v6.clone()], None),
        (vec![retiring(&v4), v6.clone()], Some("IPv4")),
        (vec![v4.clone(), retiring(&v6)], Some("IPv6")),
        (vec![retiring(&v4), json!("10.244.9.0/24"), v6.clone()], None),
    ] {
        cluster.nodes[0].ranges = ranges;
        cluster.list(&[0]);
        let node = &cluster.nodes[0];
        let outcome = node.call("STATUS").run();
        match refused {
            None => outcome.silent(),
            Some(family) => {
                let error = outcome.error();
                assert_eq!(error.code, 50, "{error:?}");
                let reason = format!("all {family} ranges of node node-a are held for the pods");
                assert!(error.msg.contains(&reason), "{error:?}");
            }
        }
        let pod = Pod::new("pod");
        let added = node.call_for("ADD", &pod).run();
        assert_eq!(added.status().success(), refused.is_none(), "STATUS says what an ADD would do");
        node.del(&pod).silent();
    }
}
