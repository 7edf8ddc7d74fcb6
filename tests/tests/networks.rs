//! Several networks on one node: a pod in two of them, the border between them, and what happens
//! when two claim the same addresses.

use std::fs;
use std::net::IpAddr;
use std::sync::Barrier;
use std::thread;

use flatnet_tests::capture::Capture;
use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::cni::Outcome;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe::{self, Counter};
use flatnet_tests::program::{bin_dir, said};
use flatnet_tests::wait::wait_for;
use flatnet_tests::watcher::Watcher;
use flatnet_tests::{cli, kernel, snapshot};
use serde_json::{Value, json};

/// The second network, beside the cluster's own: `storage`, with its own files and folders.
struct Storage<'a> {
    cluster: &'a Cluster,
    configuration: Value,
}

const VNI: u32 = 4097;

impl<'a> Storage<'a> {
    /// `10.245.n.0/24` and `fd00:10:245:n::/64` on node `n` (from 1).
    fn new(cluster: &'a Cluster) -> Self {
        let configuration = json!({
            "cniVersion": "1.1.0",
            "name": "storage",
            "type": "flatnet",
            "rangeFile": cluster.folder().join("storage.json"),
            "stateDir": cluster.folder().join("another-state"),
        });
        let storage = Self { cluster, configuration };
        storage.write(VNI, &["10.245.0.0/16", "fd00:10:245::/56"], |n| {
            vec![format!("10.245.{n}.0/24"), format!("fd00:10:245:{n}::/64")]
        });
        storage
    }

    /// The range file.
    fn write(&self, vni: u32, cidrs: &[&str], ranges: impl Fn(usize) -> Vec<String>) {
        let nodes: Vec<Value> = self
            .cluster
            .nodes
            .iter()
            .zip(1..)
            .map(|(node, n)| json!({"name": node.name, "vtep": node.vtep, "ranges": ranges(n)}))
            .collect();
        let file = json!({"version": 1, "vni": vni, "clusterCIDRs": cidrs, "nodes": nodes});
        let path = self.configuration["rangeFile"].as_str().expect("a path");
        fs::write(path, file.to_string()).expect("write the range file");
    }

    /// A call of the plugin with this network's configuration.
    fn call(&self, verb: &str, node: &Node, pod: &Pod) -> Outcome {
        let text = self.configuration.to_string();
        node.call_for(verb, pod).stdin(text.as_bytes()).run()
    }

    fn attach(&self, node: &Node, pod: &mut Pod) {
        pod.result = self.call("ADD", node, pod).result();
    }

    fn add(&self, node: &Node) -> Pod {
        let mut pod = Pod::new("storage");
        self.attach(node, &mut pod);
        pod
    }
}

/// Sends one echo request to each address of a pod and tells which networks carried it: VNI, inner
/// source and destination.
fn carried(wire: &Capture, from: &Netns, to: &Pod) -> Vec<(u32, IpAddr, IpAddr)> {
    drop(wire.packets());
    to.addresses().into_iter().for_each(|address| probe::ping(from, address));
    let packets = wire.packets().into_iter().filter_map(|packet| packet.inner);
    let requests = packets.filter(|(_, inner)| to.addresses().contains(&inner.destination));
    requests.map(|(vni, inner)| (vni, inner.source, inner.destination)).collect()
}

#[test]
fn a_pod_may_be_in_two_networks() {
    let cluster = Cluster::new(2);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let mut storage = Storage::new(&cluster);
    let (pods_peer, storage_peer) = (b.add("peer"), storage.add(b));

    let first = a.add("both");
    let mut second = first.again("net1");
    storage.configuration["routes"] =
        json!([{ "dst": "10.245.0.0/16" }, { "dst": "fd00:10:245::/56" }]);
    storage.attach(a, &mut second);
    assert!(second.v4().to_string().starts_with("10.245.1."), "{}", second.v4());
    assert!(second.v6().to_string().starts_with("fd00:10:245:1::"), "{}", second.v6());
    for family in ["-4", "-6"] {
        let routes = first.netns.json(&format!("ip -j {family} route show default"));
        assert_eq!(routes.len(), 1, "{routes:?}");
        assert_eq!(routes[0]["dev"], "eth0");
    }
    let wire = Capture::start(&cluster.underlay, "node-a");
    for (own, peer, vni) in [(&first, &pods_peer, 4096), (&second, &storage_peer, VNI)] {
        let expected: Vec<_> = own
            .addresses()
            .into_iter()
            .zip(peer.addresses())
            .map(|(source, destination)| (vni, source, destination))
            .collect();
        assert_eq!(carried(&wire, &first.netns, peer), expected);
    }
    // Each goes without the other.
    a.del(&first).silent();
    storage_peer.addresses().into_iter().for_each(|to| probe::ping(&first.netns, to));
    storage.call("DEL", a, &second).silent();
    assert_eq!(kernel::link_names(&first.netns), ["lo".into()].into());
}

/// Our chains that keep networks apart.
fn forward_chains(node: &Node) -> Vec<String> {
    let table = node.netns.exec("nft list table inet flatnet");
    let names = table.lines().filter_map(|line| line.trim().strip_prefix("chain "));
    let names = names.filter_map(|name| name.strip_suffix(" {"));
    names.filter(|name| name.starts_with("forward-")).map(str::to_owned).collect()
}

/// Asserts that nothing of `from` arrives at `to`, then that it does once `open` was done.
fn assert_closed(from: &Pod, to: &Pod, open: impl Fn()) {
    let try_all = || to.addresses().into_iter().map(|a| probe::reaches(&from.netns, a)).collect();
    let sources: Vec<String> = from.addresses().iter().map(IpAddr::to_string).collect();
    let arrived: Vec<Counter> = sources
        .iter()
        .map(|source| {
            let family = if source.contains(':') { "ip6" } else { "ip" };
            Counter::new(&to.netns, "input", &format!("{family} saddr {source}"))
        })
        .collect();
    let counts = || arrived.iter().map(Counter::packets).collect::<Vec<u64>>();
    let reached: Vec<bool> = try_all();
    assert_eq!((reached, counts()), (vec![false; 2], vec![0; 2]), "{sources:?}");
    open();
    let reached: Vec<bool> = try_all();
    assert_eq!((reached, counts()), (vec![true; 2], vec![1; 2]), "{sources:?}, opened");
}

#[test]
fn networks_do_not_reach_each_other() {
    // From one network to the other and back, on one node and across two.
    for (source, target, back) in [(0, 0, false), (0, 1, false), (0, 0, true), (0, 1, true)] {
        let cluster = Cluster::new(2);
        let storage = Storage::new(&cluster);
        let (from, to) = (&cluster.nodes[source], &cluster.nodes[target]);
        // Both networks stand on both nodes.
        let pods: Vec<Pod> = cluster.nodes.iter().map(|node| node.add("pod")).collect();
        let stores: Vec<Pod> = cluster.nodes.iter().map(|node| storage.add(node)).collect();
        for of_one in [&pods, &stores] {
            for address in of_one[1].addresses() {
                probe::ping(&of_one[0].netns, address);
            }
        }
        // The one that came second keeps both apart. Without its rules the packets pass: they were
        // good ones.
        let (sources, targets) = if back { (&stores, &pods) } else { (&pods, &stores) };
        assert_closed(&sources[source], &targets[target], || {
            for node in [from, to] {
                assert_eq!(forward_chains(node), ["forward-4097"]);
                // Nor does one network's overlay carry the other's sources.
                for chain in ["forward-4097", "source-4096", "source-4097"] {
                    node.netns.exec(&format!("nft flush chain inet flatnet {chain}"));
                }
            }
        });
    }
}

#[test]
fn networks_that_come_at_once_do_not_miss_each_other() {
    let cluster = Cluster::new(2);
    let storage = Storage::new(&cluster);
    let node = &cluster.nodes[0];
    let (barrier, storage, mut store) = (Barrier::new(2), &storage, Pod::new("storage"));
    for _ in 0..10 {
        let pod = thread::scope(|scope| {
            let pod = scope.spawn(|| {
                barrier.wait();
                node.add("pod")
            });
            barrier.wait();
            storage.attach(node, &mut store);
            pod.join().expect("an ADD")
        });
        let chains = forward_chains(node);
        assert_eq!(chains.len(), 1, "{chains:?}");
        node.del(&pod).silent();
        storage.call("DEL", node, &store).silent();
        node.netns.exec("nft delete table inet flatnet");
    }
}

#[test]
fn networks_may_be_routed_to_each_other_on_purpose() {
    let cluster = Cluster::new(2);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let storage = Storage::new(&cluster);
    let (pod, store) = (a.add("pod"), storage.add(b));
    let _both = (b.add("pod"), storage.add(a));
    assert!(!probe::reaches(&pod.netns, store.v4()));
    // A router outside of the nodes, to which they send what one network has for the other.
    let (router, address) = cluster.outsider(200);
    kernel::set_sysctl(&router, "ipv4/ip_forward", "1");
    kernel::set_sysctl(&router, "ipv4/conf/all/send_redirects", "0");
    router.exec("ip route add 10.244.1.0/24 via 192.168.50.1");
    router.exec("ip route add 10.245.2.0/24 via 192.168.50.2");
    for (node, from, to) in
        [(a, "10.244.0.0/16", "10.245.0.0/16"), (b, "10.245.0.0/16", "10.244.0.0/16")]
    {
        node.netns.exec(&format!("ip rule add from {from} to {to} lookup 100"));
        node.netns.exec(&format!("ip route add default via {address} dev {UNDERLAY} table 100"));
    }
    probe::ping(&pod.netns, store.v4());
    probe::transfer(&pod.netns, &store.netns, store.v4(), 1 << 20);
}

#[test]
fn overlapping_cluster_ranges_are_an_error_that_names_both() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let storage = Storage::new(&cluster);
    let (pod, store) = (node.add("pod"), storage.add(node));
    let peer = cluster.nodes[1].add("peer");
    kernel::wait_until_up(&node.netns, store.veth());
    // A part of it, all of it, a part of the other family.
    for (cidrs, range, own, other) in [
        (["10.244.128.0/17", "fd08::/56"], "10.244.20N.0/24", "10.244.128.0/17", "10.244.0.0/16"),
        (["10.240.0.0/12", "fd08::/56"], "10.241.N.0/24", "10.240.0.0/12", "10.244.0.0/16"),
        (
            ["10.246.0.0/16", "fd00:10:244:80::/57"],
            "10.246.N.0/24",
            "fd00:10:244:80::/57",
            "fd00:10:244::/56",
        ),
    ] {
        storage.write(VNI, &cidrs, |n| vec![range.replace('N', &n.to_string())]);
        let before = snapshot::namespace(&node.netns);
        let refused = storage.call("ADD", node, &Pod::new("refused")).error();
        assert_eq!(refused.code, 104, "{refused:?}");
        for part in [own, other, "\"storage\"", "flatnet:pods/node-a", "flat.4096", "clusterCIDRs"]
        {
            assert!(refused.msg.contains(part), "{part}: {refused:?}");
        }
        let after = snapshot::namespace(&node.netns);
        assert_eq!(snapshot::difference(&before, &after), Vec::<String>::new());
    }
    // No pod that was there suffers, and each leaves as ever.
    pod.addresses().iter().zip(peer.addresses()).for_each(|(_, to)| probe::ping(&pod.netns, to));
    node.del(&pod).silent();
    storage.call("DEL", node, &store).silent();
    let links = kernel::link_names(&node.netns);
    assert!(links.iter().all(|name| !name.starts_with("veth")), "{links:?}");
    let leases = cluster.folder().join("another-state/storage/node-a/leases");
    assert!(snapshot::folder(&leases).is_empty() && node.leases().is_empty());
    // The network that gives way can be used again.
    storage.write(VNI, &["10.246.0.0/16"], |n| vec![format!("10.246.{n}.0/24")]);
    assert!(storage.add(node).v4().to_string().starts_with("10.246.1."));
}

#[test]
fn a_network_may_take_its_addresses_to_another_vni() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let storage = Storage::new(&cluster);
    let old = storage.add(node);
    storage.write(99, &["10.245.0.0/16"], |n| vec![format!("10.245.{n}.0/24")]);
    let new = storage.add(node);
    probe::ping(&old.netns, new.v4());
    probe::ping(&new.netns, old.v4());
    // And what it has left is free for others.
    storage.call("DEL", node, &old).silent();
    storage.call("DEL", node, &new).silent();
    storage.write(99, &["10.246.0.0/16"], |n| vec![format!("10.246.{n}.0/24")]);
    storage.add(node);
    let mut third = storage.configuration.clone();
    third["name"] = json!("third");
    third["rangeFile"] = json!(cluster.folder().join("third.json"));
    let third = Storage { cluster: &cluster, configuration: third };
    third.write(100, &["10.245.0.0/16"], |n| vec![format!("10.245.{n}.0/24")]);
    assert!(third.add(node).v4().to_string().starts_with("10.245.1."));
}

/// Neither stands when both look whether the other does.
#[test]
fn of_two_networks_with_the_same_addresses_that_begin_at_once_one_stands() {
    for round in 0..6 {
        let cluster = Cluster::new(1);
        let node = &cluster.nodes[0];
        let mut other = node.network.clone();
        other.range_file = cluster.folder().join("other.json");
        let text = fs::read_to_string(&node.network.range_file).expect("the range file");
        fs::write(&other.range_file, text.replace("4096", "4097")).expect("another range file");
        other.configuration["name"] = json!("other");
        other.configuration["rangeFile"] = json!(other.range_file);
        // Their state is not in one place either.
        other.configuration["stateDir"] = json!(cluster.folder().join("elsewhere"));
        let (first, second) = (Pod::new("first"), Pod::new("second"));
        let stdin = other.configuration.to_string();
        let (one, two) = thread::scope(|scope| {
            let one = scope.spawn(|| node.call_for("ADD", &first).run());
            let two = node.call_for("ADD", &second).stdin(stdin.as_bytes()).run();
            (one.join().expect("an ADD"), two)
        });
        let (stands, refused) = match (one.status().success(), two.status().success()) {
            (true, false) => ("pods", two.error()),
            (false, true) => ("other", one.error()),
            both => panic!("round {round}: {both:?}"),
        };
        assert_eq!(refused.code, 104, "{refused:?}");
        assert!(refused.msg.contains(&format!("flatnet:{stands}/")), "{refused:?}");
    }
}

/// As when a file is copied for a second network, and the name is left.
#[test]
fn of_two_configurations_with_one_name_the_first_counts() {
    let cluster = Cluster::new(2);
    let [node, peer] = &cluster.nodes[..] else { unreachable!() };
    let (pod, far) = (node.add("pod"), peer.add("far"));
    cluster.settle();
    let folder = cli::conf_dir(node, &[]);
    let path = |name: &str| folder.join(name).display().to_string();
    let (first, second) = (path("10-pods.conflist"), path("20-blue.conflist"));
    let blue = cluster.folder().join("blue.json");
    let text = fs::read_to_string(&node.network.range_file).expect("the range file");
    let text = text.replace("4096", "55").replace("10.244", "10.88").replace(":10:244", ":10:88");
    fs::write(&blue, text).expect("another range file");
    let list = fs::read_to_string(&first).expect("the configuration");
    let range_file = node.network.range_file.display().to_string();
    let copy = list.replace(&range_file, &blue.display().to_string());
    assert_ne!(copy, list);
    let names_both = |words: &str| words.contains(&first) && words.contains(&second);
    let stands = || {
        assert!(!kernel::link_names(&node.netns).contains("flat.55"));
        kernel::link(&node.netns, &node.overlay()).expect("an overlay")["ifindex"].clone()
    };
    let device = stands();

    // A copy that differs, and one that does not.
    for copy in [&copy, &list] {
        fs::write(&second, copy).expect("a copy");
        let run = |command: &str, more: &[&str]| {
            cli::run(node, command, &[&["--conf-dir", folder.to_str().unwrap()], more].concat())
        };
        for output in [run("sync", &["--dry-run"]), run("sync", &[])] {
            assert_eq!(output.status.code(), Some(2), "{}", said(&output));
            assert!(names_both(&said(&output)), "{}", said(&output));
            assert_eq!(stands(), device);
        }
        let listed = cli::document(&run("list", &["--json"]), 2);
        assert_eq!(listed["attachments"].as_array().map(Vec::len), Some(1), "{listed}");
        let found = cli::findings_in(node, &folder, &bin_dir());
        assert!(found.iter().any(|found| names_both(&found.to_string())), "{found:?}");
    }
    fs::write(&second, &copy).expect("a copy");
    let watcher = Watcher::ready(node, "watch");
    assert!(names_both(&watcher.said()), "{}", watcher.said());
    node.netns.exec(&format!("ip link set {} down", node.overlay()));
    wait_for("the overlay as the first says", || {
        cli::run(node, "sync", &["--dry-run", &first]).status.success().then_some(())
    });
    assert_eq!(stands(), device);
    far.addresses().into_iter().for_each(|address| probe::ping(&pod.netns, address));
}
