//! CHECK, GC and STATUS, the verbs that came after ADD and DEL.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::Outcome;
use flatnet_tests::cnitool::{Tool, entry};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::{kernel, probe, snapshot};
use serde_json::{Value, json};

/// CHECK with the result of the pod's ADD.
fn check(node: &Node, pod: &Pod) -> Outcome {
    let mut configuration = node.network.configuration.clone();
    configuration["prevResult"] = pod.result.clone();
    node.call_for("CHECK", pod).stdin(configuration.to_string().as_bytes()).run()
}

/// Where a case breaks something.
#[derive(Copy, Clone, Debug)]
enum Place {
    Pod,
    Node,
}

#[test]
fn check_names_the_object_that_is_wrong() {
    use Place::{Node as OnNode, Pod as InPod};
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    // (where, the command that breaks it, what the message must have); V4, V6 and VETH stand for
    // the pod's.
    let cases: [(Place, &str, &[&str]); 17] = [
        (InPod, "ip -4 route del default", &["eth0", "0.0.0.0/0", "169.254.1.1"]),
        (InPod, "ip -6 route del default", &["eth0", "::/0", "fe80::1"]),
        (InPod, "ip neigh del 169.254.1.1 dev eth0", &["eth0", "169.254.1.1", "neighbour"]),
        (
            InPod,
            "ip neigh replace fe80::1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent proto 102",
            &["eth0", "fe80::1", "02:00:00:00:00:99"],
        ),
        (InPod, "ip addr del V4/32 dev eth0", &["eth0", "lacks address V4"]),
        (InPod, "ip addr del V6/128 dev eth0", &["eth0", "lacks address V6"]),
        (InPod, "ip link set eth0 down", &["eth0: is down"]),
        (InPod, "ip link set eth0 address 02:00:00:00:00:99", &["eth0", "02:00:00:00:00:99"]),
        (OnNode, "ip route del V4/32", &["VETH", "no route to V4"]),
        (OnNode, "ip -6 route del V6/128", &["VETH", "no route to V6"]),
        (OnNode, "ip neigh del V4 dev VETH", &["VETH", "V4", "neighbour"]),
        (
            OnNode,
            "ip neigh replace V6 lladdr 02:00:00:00:00:99 dev VETH nud permanent proto 102",
            &["VETH", "V6", "02:00:00:00:00:99"],
        ),
        (OnNode, "ip link set VETH down", &["VETH: is down"]),
        (OnNode, "ip link del VETH", &["VETH: there is no such device", "eth0: there is no such"]),
        (OnNode, "ip link set VETH address 02:00:00:00:00:99", &["VETH", "02:00:00:00:00:99"]),
        (OnNode, "ip link set flat.4096 down", &["flat.4096: is down"]),
        (OnNode, "ip link del flat.4096", &["flat.4096: there is no such device"]),
    ];
    for (place, command, parts) in cases {
        let pod = node.add("checked");
        check(node, &pod).silent();
        let meant = |text: &str| {
            text.replace("V4", &pod.v4().to_string())
                .replace("V6", &pod.v6().to_string())
                .replace("VETH", pod.veth())
        };
        let netns = match place {
            Place::Pod => &*pod.netns,
            Place::Node => &node.netns,
        };
        netns.exec(&meant(command));
        let error = check(node, &pod).error();
        assert_eq!(error.code, 105, "{command}: {error:?}");
        for part in parts {
            assert!(error.msg.contains(&meant(part)), "{command}: no {part:?} in {error:?}");
        }
        node.del(&pod).silent();
    }
}

#[test]
fn check_tells_everything_that_is_wrong_at_once() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("checked");
    pod.netns.exec("ip -4 route del default");
    node.netns.exec(&format!("ip neigh del {} dev {}", pod.v6(), pod.veth()));
    let error = check(node, &pod).error();
    for part in ["0.0.0.0/0", &pod.v6().to_string()] {
        assert!(error.msg.contains(part), "{error:?}");
    }
    // An ADD of the same attachment puts it right.
    let again = node.call_for("ADD", &pod).run().result();
    assert_eq!(again["ips"], pod.result["ips"]);
    check(node, &pod).silent();
}

#[test]
fn check_misses_the_lease_and_the_namespace() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("checked");
    let never = Pod { result: pod.result.clone(), ..Pod::new("never-added") };
    let error = check(node, &never).error();
    assert_eq!(error.code, 105, "{error:?}");
    assert!(error.msg.contains("lease") && error.msg.contains(&never.container_id), "{error:?}");

    let error = node.call_for("CHECK", &pod).run().error();
    assert_eq!((error.code, error.msg.contains("prevResult")), (7, true), "{error:?}");

    let mut configuration = node.network.configuration.clone();
    configuration["prevResult"] = pod.result.clone();
    let gone = node.call_for("CHECK", &pod).env("CNI_NETNS", "/run/netns/ftest-none");
    let error = gone.stdin(configuration.to_string().as_bytes()).run().error();
    assert_eq!(error.code, 8, "{error:?}");
}

#[test]
fn check_tolerates_what_later_plugins_and_the_pod_do() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let pod = node.add("changed");
    for line in [
        "ip link set eth0 mtu 1300",
        "ip addr add 192.0.2.1/32 dev eth0",
        "ip route add 198.51.100.0/24 dev eth0",
        "ip link add other0 type bridge",
        "ip neigh replace 169.254.1.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
        // Source-based routing: the routes stand in another table.
        "ip route add 169.254.1.1 dev eth0 table 100",
        "ip route add default via 169.254.1.1 dev eth0 table 100",
        "ip route del default",
    ] {
        pod.netns.exec(line);
    }
    node.netns.exec(&format!(
        "tc qdisc add dev {} root tbf rate 1mbit burst 32k latency 50ms",
        pod.veth()
    ));
    node.netns.exec("ip route add 203.0.113.0/24 dev under0");
    let mut result = pod.result.clone();
    // What a later plugin adds to the result is its own to check.
    result["interfaces"].as_array_mut().unwrap().push(json!({ "name": "ifb-other", "mac": "" }));
    result["ips"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "address": "192.0.2.1/32", "interface": 1 }));
    result["routes"].as_array_mut().unwrap().push(json!({ "dst": "192.0.2.0/24" }));
    check(node, &Pod { result, ..pod.again("eth0") }).silent();
}

#[test]
fn check_changes_nothing() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let pod = node.add("checked");
    kernel::wait_until_up(&node.netns, pod.veth());
    let before = (snapshot::namespace(&node.netns), snapshot::folder(&cluster.network.state_dir));
    check(node, &pod).silent();
    pod.netns.exec("ip -4 route del default");
    check(node, &pod).error();
    let after = (snapshot::namespace(&node.netns), snapshot::folder(&cluster.network.state_dir));
    assert_eq!(snapshot::difference(&before.0, &after.0), Vec::<String>::new());
    assert_eq!(snapshot::difference(&before.1, &after.1), Vec::<String>::new());
}

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
    assert!(has_lease(node, &lost.container_id), "nobody said that it is stale");
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
    let status = || {
        let started = Instant::now();
        let before =
            (snapshot::namespace(&node.netns), snapshot::folder(&cluster.network.state_dir));
        let outcome = node.call("STATUS").run();
        let after =
            (snapshot::namespace(&node.netns), snapshot::folder(&cluster.network.state_dir));
        assert_eq!(snapshot::difference(&before.0, &after.0), Vec::<String>::new());
        assert_eq!(snapshot::difference(&before.1, &after.1), Vec::<String>::new());
        assert!(started.elapsed() < Duration::from_secs(5), "asked every few seconds");
        outcome
    };
    status().silent();
    let pod = node.add("pod");
    kernel::wait_until_up(&node.netns, pod.veth());
    status().silent();

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
    // The pod is cut off as well, and no ADD can bring the overlay back.
    node.netns.exec("ip link del flat.4096");
    assert_eq!(status().error().code, 51);
    // With a good file the overlay's absence is no reason: the next ADD makes it.
    fs::write(&cluster.network.range_file, good).unwrap();
    status().silent();
    node.del(&pod).silent();
}

/// The verbs through the reference library, in the version that has them all.
#[test]
fn cnitool_knows_all_verbs() {
    let mut cluster = Cluster::new(2);
    // Its GC ends every attachment of a network of that name that it has in its cache.
    cluster.configure("name", json!(format!("pods-{}", cluster.underlay.name())));
    let tool = Tool::new(&cluster, "1.1.0", &[entry(&cluster)]);
    let pods = [0, 1].map(|n| tool.add(&cluster.nodes[n], "tool", &json!({})));
    let lost = tool.add(&cluster.nodes[0], "lost", &json!({}));
    probe::ping(&pods[0].netns, pods[1].v4());
    for (node, pod) in cluster.nodes.iter().zip(&pods) {
        tool.call(node, "status", pod).succeed();
        tool.call(node, "check", pod).succeed();
    }
    pods[0].netns.exec("ip -4 route del default");
    let said = tool.call(&cluster.nodes[0], "check", &pods[0]).fail();
    assert!(said.contains("0.0.0.0/0"), "{said}");
    for (node, pod) in cluster.nodes.iter().zip(&pods) {
        tool.call(node, "del", pod).succeed();
    }
    assert_eq!(cluster.nodes[0].leases().len(), 1);
    tool.call(&cluster.nodes[0], "gc", &lost).succeed();
    for node in &cluster.nodes {
        node.assert_no_attachment();
    }
    fs::write(&cluster.network.range_file, "{").unwrap();
    let said = tool.call(&cluster.nodes[0], "status", &lost).fail();
    assert!(said.contains("pods.json"), "{said}");
}
