//! The shipped objects with the shipped image: nodes become ready by them alone, an update loses no packet, and they
//! leave the cluster and its nodes as they were.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use flatnet_cluster::cluster::{Cluster, Settings};
use flatnet_cluster::machine::PATH;
use flatnet_cluster::node::{Node, Program};
use flatnet_cluster::patience::until;
use flatnet_cluster::plan::POD_CIDRS;
use flatnet_cluster::pod::{By, HTTP};
use flatnet_cluster::{client, network, objects, steps};
use flatnet_tests::kernel;
use flatnet_tests::program::{finish, said, workspace};
use serde_json::Value;

const NAMESPACE: &str = "--namespace=kube-system";

fn main() -> ExitCode {
    let settings = Settings::new("manifest", 2);
    let steps = steps![
        nodes_become_ready_by_it,
        pods_reach_each_other,
        an_operator_finds_nothing_wrong,
        a_second_network_stands_beside_it,
        their_objects_are_apart,
        an_operator_finds_nothing_wrong,
        a_prometheus_may_ask_both_by_the_component,
        it_leaves_the_first_alone,
        a_kube_proxy_that_takes_others_for_pods_is_told,
        what_is_undone_comes_back,
        pods_notice_nothing_of_an_update,
        it_leaves_the_cluster_and_the_nodes,
    ];
    flatnet_cluster::steps::take(&settings, steps)
}

fn nodes_become_ready_by_it(cluster: &mut Cluster) {
    for node in &cluster.nodes {
        assert!(!node.file("etc/cni/net.d/10-pods.conflist").exists(), "{}", node.name);
    }
    network::install(cluster);
    for node in &cluster.nodes {
        // An agent that is ready is about to tell it.
        until("condition", || {
            let object = cluster.kubectl().get(&["node", &node.name])?;
            let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
            let ours = conditions.find(|one| one["type"] == "NetworkUnavailable");
            let set = ours.is_some_and(|one| one["status"] == "False");
            if set { Ok(()) } else { Err(object["status"]["conditions"].to_string()) }
        });
    }
}

fn pods_reach_each_other(cluster: &mut Cluster) {
    until("service account", || cluster.kubectl().get(&["serviceaccount", "default"]));
    cluster.kubectl().apply(&[objects::pod("near", "node-a"), objects::pod("far", "node-b")]);
    cluster.kubectl().wait("condition=Ready", &["pods", "near", "far"]);
    let (near, far) = (cluster.pod("app=near"), cluster.pod("app=far"));
    for (from, to) in [(&near, &far), (&far, &near)] {
        for address in to.addresses {
            let server = SocketAddr::new(address, HTTP);
            until("way between pods", || {
                let answer = cluster.ask(from, By::Http, server, "hostname")?;
                if answer == to.name { Ok(()) } else { Err(answer) }
            });
        }
    }
}

/// The names of the first network's agents' pods, of all nodes.
fn agents(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.kubectl().objects(&["pods", NAMESPACE]);
    let names = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str());
    let first = |name: &&str| name.starts_with("flatnet-") && !name.starts_with("flatnet-storage-");
    names.filter(first).map(str::to_owned).collect()
}

fn an_operator_finds_nothing_wrong(cluster: &mut Cluster) {
    let agents = agents(cluster);
    assert_eq!(agents.len(), 2, "{agents:?}");
    for agent in agents {
        for (command, words) in
            [("doctor", "no finding in"), ("status", ": in sync"), ("list", "whole")]
        {
            let run = ["exec", &agent, NAMESPACE, "--", "flatnet", command];
            until(words, || match cluster.kubectl().run(&run)? {
                said if said.contains(words) => Ok(()),
                said => Err(format!("{agent}: {said}")),
            });
        }
    }
}

const SECOND: &str = "packaging/kubernetes/overlays/second-network";

fn a_second_network_stands_beside_it(cluster: &mut Cluster) {
    let folder = workspace().join(SECOND).display().to_string();
    cluster.kubectl().must(&["apply", "--kustomize", &folder]);
    cluster.kubectl().rolled_out_in("kube-system", "daemonset/flatnet-storage");
    // As Multus does: the configuration that it finds by the network's name, for a further interface.
    let attach = |node: &Node| {
        let machine = node.machine();
        machine.exec("ip netns add further");
        let list = node.file("etc/cni/multus/net.d/10-storage.conflist");
        let list: Value = serde_json::from_slice(&fs::read(list).expect("a list")).expect("JSON");
        let mut plugin = list["plugins"][0].clone();
        for key in ["name", "cniVersion"] {
            plugin[key] = list[key].clone();
        }
        let mut add = Command::new("/opt/cni/bin/flatnet");
        add.env_clear().env("PATH", PATH).envs([
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "further"),
            ("CNI_NETNS", "/run/netns/further"),
            ("CNI_IFNAME", "net1"),
            ("CNI_PATH", "/opt/cni/bin"),
        ]);
        let output = machine.run(|| finish(&mut add, plugin.to_string().as_bytes()));
        assert!(output.status.success(), "{}: {}", node.name, said(&output));
        let result: Value = serde_json::from_slice(&output.stdout).expect("a result");
        let address = result["ips"][0]["address"].as_str().expect("an address").to_owned();
        assert!(address.starts_with("10.245."), "{address}");
        address.split('/').next().unwrap_or_default().to_owned()
    };
    let addresses: Vec<String> = cluster.nodes.iter().map(attach).collect();
    for (node, address) in cluster.nodes.iter().zip(addresses.iter().rev()) {
        until("way in the second network", || {
            let ping = format!("netns exec further ping -n -c 1 -W 1 {address}");
            let mut ip = Command::new("ip");
            ip.env("PATH", PATH).args(ping.split(' '));
            let output = node.machine().finish(&mut ip);
            if output.status.success() { Ok(()) } else { Err(said(&output)) }
        });
    }
}

fn a_kube_proxy_that_takes_others_for_pods_is_told(cluster: &mut Cluster) {
    let node = cluster.nodes.len() - 1;
    let file = cluster.nodes[node].file("etc/kubernetes/kube-proxy.yaml");
    let right = fs::read_to_string(&file).expect("a configuration");
    let wrong = right.replace(POD_CIDRS, "10.99.0.0/16,fd00:99::/56");
    let iptables = wrong.replace("mode: nftables", "mode: iptables");
    let told = "to kube-proxy the addresses of pods are 10.99.0.0 to 10.99.255.255";
    for (configuration, words) in [(wrong, told), (iptables, told), (right, "no finding in")] {
        fs::write(&file, configuration).expect("write a configuration");
        cluster.nodes[node].kill_program(Program::KubeProxy);
        cluster.nodes[node].start_program(Program::KubeProxy);
        let agent = network::agent(cluster, &cluster.nodes[node].name);
        until(words, || {
            let doctor = ["exec", &agent, NAMESPACE, "--", "flatnet", "doctor"];
            let said = cluster.kubectl().run(&doctor).unwrap_or_else(|said| said);
            if said.contains(words) { Ok(()) } else { Err(said) }
        });
    }
}

fn their_objects_are_apart(cluster: &mut Cluster) {
    let ranges = |selector: &str| -> Vec<String> {
        let blocks = cluster.kubectl().objects(&["flatnetblocks", "--selector", selector]);
        blocks
            .iter()
            .map(|block| block["spec"]["range"].as_str().expect("a range").to_owned())
            .collect()
    };
    let (first, second) = (ranges("!flatnet.dev/network"), ranges("flatnet.dev/network=storage"));
    assert_eq!((first.len(), second.len()), (4, 2), "{first:?} {second:?}");
    assert!(second.iter().all(|range| range.starts_with("10.245.")), "{second:?}");
    assert_eq!(
        cluster.kubectl().objects(&["flatnetnodes"]).len(),
        2,
        "where a node is, is said once"
    );
    for node in &cluster.nodes {
        let has = |file: &str| fs::read_to_string(node.file(file)).expect("a range file");
        let (pods, storage) = (has("lib/flatnet/pods.json"), has("lib/flatnet/storage.json"));
        for (range, of_first) in
            first.iter().map(|r| (r, true)).chain(second.iter().map(|r| (r, false)))
        {
            let quoted = format!("\"{range}\"");
            assert_eq!((pods.contains(&quoted), storage.contains(&quoted)), (of_first, !of_first));
        }
        assert!(!node.file("etc/cni/net.d/10-storage.conflist").exists(), "{}", node.name);
    }
}

/// The metrics of each network, at every address of a node.
fn a_prometheus_may_ask_both_by_the_component(cluster: &mut Cluster) {
    let place = tempfile::tempdir_in(workspace().join("target")).expect("a folder");
    let resources = [PathBuf::from(network::manifest()), workspace().join(SECOND)].map(relative);
    let kustomization = serde_json::json!({
        "resources": resources,
        "components": [relative("packaging/kubernetes/components/metrics")],
    });
    fs::write(place.path().join("kustomization.yaml"), kustomization.to_string()).expect("write");
    let asked = |answers: bool| {
        let [asker, node] = [0, 1].map(|index| &cluster.nodes[index]);
        for (port, network) in [(9449, "flatnet"), (9450, "flatnet-storage")] {
            cluster.kubectl().rolled_out_in("kube-system", &format!("daemonset/{network}"));
            for address in node.addresses() {
                let text = client::get(&asker.machine().netns, (address, port).into(), "/metrics");
                let told = text.is_ok_and(|text| text.contains("flatnet_agent_ready 1"));
                assert_eq!(told, answers, "{network} at {address}");
            }
        }
    };
    asked(false);
    let apply = |folder: &Path| {
        cluster.kubectl().must(&["apply", "--kustomize", &folder.display().to_string()]);
    };
    apply(place.path());
    asked(true);
    apply(Path::new(&network::manifest()));
    apply(&workspace().join(SECOND));
    asked(false);
}

/// From a folder of `target`, as kustomize wants it.
fn relative(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    Path::new("../..").join(path.strip_prefix(workspace()).unwrap_or(path))
}

/// As docs/kubernetes.md has it.
fn it_leaves_the_first_alone(cluster: &mut Cluster) {
    for node in &cluster.nodes {
        node.machine().exec("ip netns delete further");
    }
    let daemon_set = ["daemonset", "flatnet-storage", NAMESPACE, "--cascade=foreground"];
    cluster.kubectl().delete(&daemon_set);
    cluster.kubectl().delete(&["flatnetblocks", "--selector=flatnet.dev/network=storage"]);
    let folder = workspace().join(SECOND).display().to_string();
    cluster.kubectl().must(&["delete", "--kustomize", &folder, "--ignore-not-found"]);
    for node in &cluster.nodes {
        network::run_documented(node, "/flatnet remove storage\n");
        let netns = &node.machine().netns;
        assert_eq!(kernel::link(netns, "flat.4097"), None, "{}", node.name);
        assert!(kernel::link(netns, "flat.4096").is_some(), "{}", node.name);
    }
    pods_reach_each_other(cluster);
}

fn what_is_undone_comes_back(cluster: &mut Cluster) {
    for node in &cluster.nodes {
        let netns = &node.machine().netns;
        netns.exec("ip link delete flat.4096");
        until("overlay", || kernel::link(netns, "flat.4096").ok_or_else(|| "none".to_owned()));
    }
    until("way", || {
        let (near, far) = (cluster.pod("app=near"), cluster.pod("app=far"));
        cluster.ask(&near, By::Http, SocketAddr::new(far.addresses[0], HTTP), "hostname")
    });
}

fn pods_notice_nothing_of_an_update(cluster: &mut Cluster) {
    let (near, far) = (cluster.pod("app=near"), cluster.pod("app=far"));
    let before = agents(cluster);
    let done = AtomicBool::new(false);
    let (asked, lost) = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let (mut asked, mut lost) = (0, Vec::new());
            while !done.load(Ordering::Relaxed) {
                let server = SocketAddr::new(far.addresses[asked % 2], HTTP);
                lost.extend(cluster.ask(&near, By::Http, server, "hostname").err());
                asked += 1;
            }
            (asked, lost)
        });
        let update = ["rollout", "restart", "daemonset/flatnet", NAMESPACE];
        let done_by = ["rollout", "status", "daemonset/flatnet", NAMESPACE, "--timeout=150s"];
        let updated = cluster.kubectl().run(&update).and(cluster.kubectl().run(&done_by));
        done.store(true, Ordering::Relaxed);
        updated.expect("an update");
        client.join().expect("a client")
    });
    assert_eq!(lost, Vec::<String>::new(), "of {asked}");
    assert!(asked > 10, "{asked}");
    until("other agents", || {
        let after = agents(cluster);
        let all_new = after.len() == 2 && after.iter().all(|name| !before.contains(name));
        if all_new { Ok(()) } else { Err(format!("{before:?} {after:?}")) }
    });
}

fn it_leaves_the_cluster_and_the_nodes(cluster: &mut Cluster) {
    cluster.kubectl().delete(&["pods", "near", "far"]);
    network::remove(cluster, network::DUAL_STACK);
    assert_eq!(agents(cluster), Vec::<String>::new());
    // Not by their own name, under which kubectl may still know them.
    let kinds = cluster.kubectl().must(&["get", "crds", "--output=name"]);
    assert!(!kinds.contains("flatnet"), "{kinds}");
    for node in &cluster.nodes {
        assert_nothing_left(node);
    }
}

fn assert_nothing_left(node: &Node) {
    let netns = &node.machine().netns;
    assert_eq!(kernel::link(netns, "flat.4096"), None, "{}", node.name);
    assert!(!netns.exec("nft list tables").contains("flatnet"), "{}", node.name);
    for protocol in ["-4", "-6"] {
        assert_eq!(netns.exec(&format!("ip {protocol} route show proto 102")), "");
    }
    let left = |path: &str| fs::exists(node.file(path)).expect("look at a file");
    for path in ["opt/cni/bin/flatnet", "lib/flatnet", "run/flatnet"] {
        assert!(!left(path), "{}: {path}", node.name);
    }
    assert!(left("opt/cni/bin/loopback"), "{}", node.name);
}
