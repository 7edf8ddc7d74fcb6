//! Pods, programs and nodes that come, go and die; what works meanwhile, and what is left behind.

use std::fs;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use flatnet_cluster::cluster::{Cluster, Settings};
use flatnet_cluster::node::{Node, Program};
use flatnet_cluster::patience::until;
use flatnet_cluster::pod::{By, HTTP, Pod};
use flatnet_cluster::{network, objects, steps};
use flatnet_tests::cri::Cri;
use flatnet_tests::kernel;

fn main() -> ExitCode {
    let settings = Settings::new("life", 2);
    let steps = steps![
        pods_come_up,
        other_pods_notice_nothing_of_a_rolling_update,
        programs_die_while_pods_start,
        programs_die_while_pods_stop,
        pods_start_and_stop_without_the_api_server,
        a_node_reboots_and_its_pods_come_back,
        a_node_joins,
        a_node_comes_back_with_another_range,
    ];
    steps::take(&settings, steps)
}

fn pods_come_up(cluster: &mut Cluster) {
    network::install(cluster);
    cluster.kubectl().apply(&[
        objects::pod("near", "node-a"),
        objects::pod("far", "node-b"),
        objects::deployment("many", 6),
    ]);
    cluster.kubectl().wait("condition=Ready", &["pods", "--all"]);
    cluster.kubectl().rolled_out("deployment/many");
    // Nodes hear of each other in their own time.
    until("reply of all pods", || reached(cluster));
    assert_nothing_left(cluster);
}

/// What the pod in front hears of all others, in both families.
fn reached(cluster: &Cluster) -> Result<(), String> {
    let near = cluster.pod("app=near");
    for pod in cluster.pods_or_why("app")?.iter().filter(|pod| pod.name != near.name) {
        for address in pod.addresses {
            let name = cluster.ask(&near, By::Http, SocketAddr::new(address, HTTP), "hostname")?;
            if name != pod.name {
                return Err(format!("{name} answered for {pod:?}"));
            }
        }
    }
    Ok(())
}

fn assert_reached(cluster: &Cluster) {
    assert_eq!(reached(cluster), Ok(()));
}

/// Waits until every node has exactly what its pods need: a veth and a lease each. The kubelet looks once in a
/// minute for what it has forgotten.
fn assert_nothing_left(cluster: &Cluster) {
    for node in &cluster.nodes {
        until(&format!("state of {} that its pods need", node.name), || {
            let selected = format!("--field-selector=spec.nodeName={}", node.name);
            let list = cluster.kubectl().get(&["pods", "--all-namespaces", &selected])?;
            let pods = list["items"].as_array().into_iter().flatten();
            let pods = pods.filter(|pod| pod["spec"]["hostNetwork"] != true).count();
            let kept = kept(node);
            if kept == [pods; 2] { Ok(()) } else { Err(format!("{pods} pods, {kept:?}")) }
        });
    }
}

/// How many veths and leases a node has.
fn kept(node: &Node) -> [usize; 2] {
    let links = kernel::link_names(&node.machine().netns);
    let veths = links.iter().filter(|name| name.starts_with("veth")).count();
    let leases = node.file(&format!("run/flatnet/pods/{}/leases", node.name));
    [veths, fs::read_dir(leases).map_or(0, Iterator::count)]
}

fn other_pods_notice_nothing_of_a_rolling_update(cluster: &mut Cluster) {
    let (near, far) = (cluster.pod("app=near"), cluster.pod("app=far"));
    let before = names(&cluster.pods("app=many"));
    let done = AtomicBool::new(false);
    let (asked, lost) = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut asked = 0;
            let mut lost = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let server = SocketAddr::new(far.addresses[asked % 2], HTTP);
                lost.extend(cluster.ask(&near, By::Http, server, "hostname").err());
                asked += 1;
            }
            (asked, lost)
        });
        let update = || {
            cluster.kubectl().must(&["rollout", "restart", "deployment/many"]);
            cluster.kubectl().rolled_out("deployment/many");
        };
        let updated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(update));
        done.store(true, Ordering::Relaxed);
        updated.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        client.join().expect("a client")
    });
    assert_eq!(lost, Vec::<String>::new(), "of {asked}");
    assert!(asked > 10, "{asked}");
    let after = names(&cluster.pods("app=many"));
    assert!(before.iter().all(|name| !after.contains(name)), "{before:?} {after:?}");
    assert_reached(cluster);
    assert_nothing_left(cluster);
}

fn names(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.name.clone()).collect()
}

/// Sets the number of pods, and kills programs once some are on their way, but not all.
fn scale_and_kill(cluster: &mut Cluster, replicas: usize) {
    let many =
        |cluster: &Cluster| -> usize { cluster.nodes.iter().map(|node| kept(node)[0]).sum() };
    let before = many(cluster);
    cluster.kubectl().must(&["scale", "deployment/many", &format!("--replicas={replicas}")]);
    for (index, program, distance) in [
        (0, Program::Containerd, 2),
        (1, Program::Kubelet, 4),
        (1, Program::Containerd, 6),
        (0, Program::Kubelet, 8),
    ] {
        until("change of pods", || {
            let now = many(cluster);
            if now.abs_diff(before) >= distance { Ok(()) } else { Err(format!("{before}, {now}")) }
        });
        cluster.nodes[index].kill_program(program);
        cluster.nodes[index].start_program(program);
    }
}

fn programs_die_while_pods_start(cluster: &mut Cluster) {
    scale_and_kill(cluster, 20);
    cluster.kubectl().rolled_out("deployment/many");
    assert_eq!(cluster.pods("app=many").len(), 20);
    assert_reached(cluster);
    assert_nothing_left(cluster);
}

fn programs_die_while_pods_stop(cluster: &mut Cluster) {
    scale_and_kill(cluster, 2);
    until("end of pods", || {
        // Those that are about to end as well.
        let count = cluster.kubectl().objects(&["pods", "--selector=app=many"]).len();
        if count == 2 { Ok(()) } else { Err(format!("{count}")) }
    });
    assert_nothing_left(cluster);
    assert_reached(cluster);
}

fn pods_start_and_stop_without_the_api_server(cluster: &mut Cluster) {
    let (near, far) = (cluster.pod("app=near"), cluster.pod("app=far"));
    let server = SocketAddr::new(far.addresses[0], HTTP);
    let node = cluster.node("node-b");
    let before = kept(node);
    let manifest = node.file("etc/kubernetes/manifests/static.yaml");
    let runtime = Cri::new(&node.file("run/containerd/containerd.sock"));
    let known = runtime.pods().expect("pods");
    cluster.control.kill_api_server();
    assert!(cluster.kubectl().run(&["get", "nodes"]).is_err());

    // A file says what the API server would.
    let mut pod = objects::pod("static", "node-b");
    pod["spec"].as_object_mut().expect("an object").remove("nodeName");
    fs::write(&manifest, pod.to_string()).expect("write a manifest");
    let addresses = until("static pod", || {
        let new = runtime.pods()?.into_iter().find(|pod| !known.contains(pod)).ok_or("none")?;
        let addresses = runtime.addresses(&new);
        if addresses.len() == 2 { Ok(addresses) } else { Err(format!("{addresses:?}")) }
    });
    for address in addresses {
        let server = SocketAddr::new(address, HTTP);
        let name = until("answer", || cluster.ask(&near, By::Http, server, "hostname"));
        assert_eq!(name, "static-node-b");
    }
    assert_eq!(cluster.ask(&near, By::Http, server, "hostname"), Ok("far".to_owned()));
    let node = cluster.node("node-b");
    assert_eq!(kept(node), before.map(|count| count + 1));
    fs::remove_file(&manifest).expect("remove a manifest");
    until("end of the static pod", || {
        let kept = kept(node);
        if kept == before { Ok(()) } else { Err(format!("{before:?} {kept:?}")) }
    });

    cluster.control.start_api_server();
    cluster.kubectl().wait("condition=Ready", &["nodes", "--all"]);
    assert_nothing_left(cluster);
    assert_reached(cluster);
}

fn a_node_reboots_and_its_pods_come_back(cluster: &mut Cluster) {
    let restarts = |cluster: &Cluster| -> Result<u64, String> {
        let far = cluster.kubectl().get(&["pod", "far"])?;
        let count = &far["status"]["containerStatuses"][0]["restartCount"];
        count.as_u64().ok_or_else(|| format!("{count}"))
    };
    let before = restarts(cluster).expect("a count");
    cluster.reboot(1);
    until("restart of a pod", || {
        let now = restarts(cluster)?;
        if now > before { Ok(()) } else { Err(format!("{now}")) }
    });
    cluster.kubectl().wait("condition=Ready", &["pods", "--all"]);
    until("reply of all pods", || reached(cluster));
    assert_nothing_left(cluster);
}

fn a_node_joins(cluster: &mut Cluster) {
    cluster.add_node();
    network::install(cluster);
    cluster.kubectl().apply(&[objects::pod("new", "node-c")]);
    cluster.kubectl().wait("condition=Ready", &["pod/new"]);
    // The others apply the new range file in their own time.
    until("reply of the new pod", || reached(cluster));
    let new = cluster.pod("app=new");
    for name in ["near", "far"] {
        for address in cluster.pod(&format!("app={name}")).addresses {
            let server = SocketAddr::new(address, HTTP);
            until("reply to the new pod", || {
                let answer = cluster.ask(&new, By::Http, server, "hostname")?;
                if answer == name { Ok(()) } else { Err(answer) }
            });
        }
    }
    assert_nothing_left(cluster);
}

fn a_node_comes_back_with_another_range(cluster: &mut Cluster) {
    let far = cluster.pod("app=far");
    let ranges = |cluster: &Cluster| -> Result<Vec<String>, String> {
        let node = cluster.kubectl().get(&["node", "node-b"])?;
        let ranges = node["spec"]["podCIDRs"].as_array().ok_or("no podCIDRs")?.iter();
        Ok(ranges.filter_map(|range| range.as_str()).map(str::to_owned).collect())
    };
    let before = ranges(cluster).expect("ranges");
    cluster.kubectl().delete(&["node", "node-b"]);
    // Its kubelet registers it as a new one.
    cluster.nodes[1].kill_program(Program::Kubelet);
    cluster.nodes[1].start_program(Program::Kubelet);
    let after = until("Node", || ranges(cluster));
    assert!(after.iter().all(|range| !before.contains(range)), "{before:?} {after:?}");
    cluster.kubectl().wait("condition=Ready", &["node/node-b"]);

    cluster.kubectl().apply(&[objects::pod("late", "node-b")]);
    cluster.kubectl().wait("condition=Ready", &["pod/late"]);
    let late = cluster.pod("app=late");
    let [v4, _] = late.addresses;
    let subnet = after[0].strip_suffix("0/24").expect("a range of 256 addresses");
    assert!(v4.to_string().starts_with(subnet), "{v4} {after:?}");
    // Pods that were there live on in the range that the node had, and everybody reaches them.
    assert_eq!(cluster.pod("app=far").addresses, far.addresses);
    until("reply of old and new pods", || reached(cluster));
    for address in cluster.pod("app=near").addresses {
        for pod in [&late, &far] {
            let server = SocketAddr::new(address, HTTP);
            assert_eq!(cluster.ask(pod, By::Http, server, "hostname"), Ok("near".to_owned()));
        }
    }
    assert_nothing_left(cluster);
}
