//! The books follow the pods: what a node's pods are worth when the state folder is lost or another one, and
//! under another name of the node.

use std::fs;
use std::path::Path;
use std::thread;

use flatnet_tests::cli::{document, findings, flatnet};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::{kernel, probe, sync};
use serde_json::{Value, json};

/// What `list` says of each attachment.
fn rows(node: &Node, code: i32) -> Vec<Value> {
    let found = document(&flatnet(node, "list", &["--json"]), code);
    found["attachments"].as_array().expect("attachments").clone()
}

/// What `list` says of one pod.
fn row(node: &Node, code: i32, pod: &Pod) -> Value {
    let rows = rows(node, code);
    let row = rows.iter().find(|row| row["veth"] == pod.veth());
    row.unwrap_or_else(|| panic!("{} in {rows:#?}", pod.veth())).clone()
}

fn states(node: &Node, code: i32) -> Vec<Value> {
    rows(node, code).into_iter().map(|row| row["state"].clone()).collect()
}

/// A pod as Kubernetes names it.
fn add_named(node: &Node, name: &str) -> Pod {
    let mut pod = Pod::new(name);
    let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}");
    pod.result = node.call_for("ADD", &pod).env("CNI_ARGS", &args).run().result();
    pod
}

fn lose_state(node: &Node) {
    fs::remove_dir_all(&node.network.state_dir).expect("remove the state");
}

/// GC by a runtime that knows these pods alone.
fn collect(node: &Node, known: &[&Pod]) {
    let known: Vec<_> = known
        .iter()
        .map(|pod| json!({ "containerID": pod.container_id, "ifname": pod.ifname }))
        .collect();
    let mut configuration = node.network.configuration.clone();
    configuration["cni.dev/valid-attachments"] = json!(known);
    node.call("GC").stdin(configuration.to_string().as_bytes()).run().silent();
}

fn assert_apart(pods: &[&Pod]) {
    let mut all: Vec<_> = pods.iter().flat_map(|pod| pod.addresses()).collect();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "{pods:?}");
}

/// Nothing says that there ever was a fault.
fn assert_whole(node: &Node, pods: &[&Pod]) {
    assert_eq!(states(node, 0), vec![json!("whole"); pods.len()]);
    for pod in pods {
        assert_eq!(row(node, 0, pod)["addresses"], json!(pod.addresses()));
        assert_eq!(row(node, 0, pod)["sandbox"], json!(pod.netns.path()));
        node.check(pod).silent();
    }
    assert_eq!(findings(node), Vec::<Value>::new());
    assert_eq!(sync::plan(node), [""; 0]);
    let status = document(&flatnet(node, "status", &["--json"]), 0);
    assert_eq!(status["networks"][0]["pods"], pods.len());
    assert_eq!(status["networks"][0]["ranges"][0]["used"], pods.len());
    // An ADD of it is refused in its own namespace and, as its lease tells where it lives, in another.
    let elsewhere = Pod { container_id: pods[0].container_id.clone(), ..Pod::new("elsewhere") };
    for again in [pods[0], &elsewhere] {
        let error = node.call_for("ADD", again).run().error();
        assert_eq!(error.code, 102, "{error:?}");
    }
}

#[test]
fn the_next_add_makes_lost_leases_again() {
    let cluster = Cluster::new(2);
    let [node, peer] = &cluster.nodes[..] else { unreachable!() };
    let (web, plain, far) = (add_named(node, "web"), node.add("plain"), peer.add("far"));
    lose_state(node);
    // They are not made again yet: CHECK asks the kernel, and the commands tell.
    node.check(&web).silent();
    let unleased = "drifted: it has no lease";
    assert_eq!(states(node, 1), [unleased, unleased]);
    let found = findings(node);
    assert_eq!(found.len(), 1, "{found:#?}");
    let what = found[0]["what"].as_str().expect("what");
    assert!(what.starts_with("2 pods have no lease: ") && what.contains("default/web"), "{what}");
    assert!(found[0]["command"].as_str().expect("a command").contains("flatnet sync"), "{found:?}");

    let third = node.add("third");
    assert_apart(&[&web, &plain, &third]);
    assert_whole(node, &[&web, &plain, &third]);
    assert_eq!(row(node, 0, &web)["pod"], json!({ "namespace": "default", "name": "web" }));
    assert_eq!(row(node, 0, &plain)["containerID"], plain.container_id);
    for pod in [&web, &plain, &third] {
        for address in far.addresses() {
            probe::ping(&pod.netns, address);
        }
    }
    // Sync repairs what its ADD made.
    web.netns.exec("ip route del default");
    assert!(!probe::reaches(&web.netns, far.v4()));
    sync::apply(node);
    probe::ping(&web.netns, far.v4());
    // A DEL frees the addresses of a pod whose container the lease does not name.
    for pod in [&web, &plain, &third] {
        node.del(pod).silent();
        assert_eq!(kernel::link(&node.netns, pod.veth()), None);
        let folder = node.state().join("addresses");
        assert!(pod.addresses().iter().all(|ip| !folder.join(ip.to_string()).exists()), "{pod:?}");
    }
    node.assert_no_attachment();
}

#[test]
fn sync_and_status_and_gc_make_them_again_too() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let web = add_named(node, "web");
    let told = |web: &Pod| {
        let [v4, v6] = &web.addresses()[..] else { unreachable!() };
        format!("lease made again: {v4}, {v6} of interface eth0 of pod default/web")
    };
    for again in ["sync", "STATUS", "GC"] {
        lose_state(node);
        assert_eq!(states(node, 1), ["drifted: it has no lease"], "{again}");
        match again {
            "sync" => {
                assert_eq!(sync::plan(node), [told(&web)], "and made none");
                assert!(sync::apply(node).contains(&told(&web)));
            }
            "STATUS" => node.call("STATUS").run().silent(),
            _ => collect(node, &[&web]),
        }
        assert_eq!(states(node, 0), ["whole"], "{again}");
        assert_eq!(node.leases().len(), 1);
    }
    node.del(&web).silent();
    node.assert_no_attachment();
}

#[test]
fn gc_judges_leases_that_were_made_again() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let (known, forgotten) = (add_named(node, "known"), add_named(node, "forgotten"));
    let (dead, held) = (add_named(node, "dead"), add_named(node, "held"));
    lose_state(node);
    node.call("STATUS").run().silent();
    assert_eq!(node.leases().len(), 4);
    // The kernel takes the veth of the one; what has the other's namespace open keeps its veth.
    let veth = dead.veth().to_owned();
    drop(dead);
    kernel::wait_until_gone(&node.netns, &veth);
    let open = fs::File::open(held.netns.path()).expect("the namespace");
    let veth = held.veth().to_owned();
    drop(held);
    assert!(kernel::link(&node.netns, &veth).is_some(), "the file holds it");
    collect(node, &[&known]);
    assert_eq!(kernel::link(&node.netns, &veth), None);
    drop(open);
    // A runtime that has lost its list kills no living pod.
    assert_whole(node, &[&known, &forgotten]);
}

#[test]
fn a_pod_that_only_processes_lead_to_has_its_lease_made_again() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let (pod, forgotten) = (add_named(node, "pod"), add_named(node, "forgotten"));
    let processes = [&pod, &forgotten].map(Process::sleeping);
    for pod in [&pod, &forgotten] {
        pod.netns.unname();
    }
    lose_state(node);
    node.call("STATUS").run().silent();
    let found = row(node, 0, &pod);
    assert_eq!((&found["addresses"], &found["sandbox"]), (&json!(pod.addresses()), &Value::Null));
    let state = "unknown: nothing but processes leads to its network namespace";
    assert_eq!(states(node, 0), [state, state]);
    assert_eq!(findings(node), Vec::<Value>::new());
    collect(node, &[&pod]);
    assert_eq!(states(node, 0), [state, state], "a process lives there");
    drop(processes);
    for pod in [&pod, &forgotten] {
        kernel::wait_until_gone(&node.netns, pod.veth());
    }
    collect(node, &[]);
    node.assert_no_attachment();
}

#[test]
fn a_state_folder_elsewhere_is_filled() {
    let mut cluster = Cluster::new(1);
    let first = add_named(&cluster.nodes[0], "first");
    let elsewhere = cluster.folder().join("elsewhere");
    cluster.configure("stateDir", json!(elsewhere));
    cluster.nodes[0].network.state_dir = elsewhere;
    let node = &cluster.nodes[0];
    let second = node.add("second");
    assert_apart(&[&first, &second]);
    assert_whole(node, &[&first, &second]);
    node.del(&first).silent();
    node.del(&second).silent();
    node.assert_no_attachment();
}

#[test]
fn a_del_beside_the_making_leaves_no_lease() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    for _ in 0..8 {
        let pod = node.add("pod");
        for part in ["leases", "addresses"] {
            fs::remove_dir_all(node.state().join(part)).expect("remove leases");
        }
        thread::scope(|scope| {
            scope.spawn(|| sync::apply(node));
            scope.spawn(|| node.del(&pod).silent());
        });
        node.assert_no_attachment();
    }
}

#[test]
fn leases_are_made_again_in_either_family() {
    for of in [|n: u8| format!("10.244.{n}.0/24"), |n: u8| format!("fd00:10:244:{n:x}::/64")] {
        let mut cluster = Cluster::new(1);
        cluster.set_ranges(|n| vec![of(n)]);
        let node = &cluster.nodes[0];
        let first = add_named(node, "first");
        lose_state(node);
        let second = node.add("second");
        assert_apart(&[&first, &second]);
        assert_whole(node, &[&first, &second]);
    }
}

#[test]
fn a_node_with_another_name_keeps_its_pods() {
    let mut cluster = Cluster::new(2);
    let (pod, far) = (cluster.nodes[0].add("pod"), cluster.nodes[1].add("far"));
    let under = |cluster: &Cluster, name: &str| cluster.network.state_dir.join("pods").join(name);
    let kept = |folder: &Path| fs::read_dir(folder.join("leases")).expect("leases").count();
    for (name, before) in [("web-7", "node-a"), ("node-a", "web-7")] {
        cluster.nodes[0].name = name.into();
        cluster.list(&[0, 1]);
        let node = &cluster.nodes[0];
        let later = node.add("later");
        assert_apart(&[&pod, &later]);
        assert_whole(node, &[&pod, &later]);
        // Nothing is kept twice.
        let [now, earlier] = [name, before].map(|name| under(&cluster, name));
        assert_eq!((kept(&now), kept(&earlier)), (2, 0), "{name}");
        assert!(now.join("overlay.json").exists() && !earlier.join("overlay.json").exists());
        let taken = fs::read_dir(earlier.join("addresses")).expect("addresses");
        assert_eq!(taken.count(), 0);
        pod.netns.exec("ip route del default");
        assert!(!probe::reaches(&pod.netns, far.v4()));
        sync::apply(node);
        probe::ping(&pod.netns, far.v4());
        node.del(&later).silent();
    }
    let node = &cluster.nodes[0];
    node.del(&pod).silent();
    node.assert_no_attachment();
}

#[test]
fn the_leases_of_another_node_stay_its_own() {
    let cluster = Cluster::new(2);
    let [node, peer] = &cluster.nodes[..] else { unreachable!() };
    let (pod, far) = (node.add("pod"), peer.add("far"));
    // Both are below one folder, as namespaces of one machine have it.
    sync::apply(node);
    collect(peer, &[]);
    assert_eq!((node.leases().len(), peer.leases().len()), (1, 1));
    fs::remove_dir_all(node.state()).expect("remove the state");
    node.call("STATUS").run().silent();
    assert_whole(node, &[&pod]);
    assert_whole(peer, &[&far]);
}

#[test]
fn what_an_add_did_not_finish_gets_no_lease_and_is_cleared_with_its_pod() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let (pod, beside) = (node.add("pod"), node.add("beside"));
    node.unfinish(&pod);
    lose_state(node);
    let third = node.add("third");
    assert_apart(&[&pod, &beside, &third]);
    let found = findings(node);
    assert_eq!(found.len(), 1, "{found:#?}");
    let what = found[0]["what"].as_str().expect("what");
    assert_eq!(what, format!("1 device was left by an ADD that was killed: {}", pod.veth()));
    let line = format!("left: {}, of an ADD that did not come to its end", pod.veth());
    assert!(sync::apply(node).contains(&line));
    // A process may be in its namespace.
    collect(node, &[&beside, &third]);
    assert!(kernel::link(&node.netns, pod.veth()).is_some());
    let open = fs::File::open(pod.netns.path()).expect("the namespace");
    let veth = pod.veth().to_owned();
    drop(pod);
    collect(node, &[&beside, &third]);
    assert_eq!(kernel::link(&node.netns, &veth), None);
    drop(open);
    assert_whole(node, &[&beside, &third]);
}

/// A process in a pod, ended with this.
struct Process(std::process::Child);

impl Process {
    fn sleeping(pod: &Pod) -> Self {
        let mut sleep = std::process::Command::new("sleep");
        Self(pod.netns.run(move || sleep.arg("600").spawn()).expect("sleep"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
