//! netavark 2 with our plugin, as podman 5 calls it: containers on two nodes, what is asked for, ports, several
//! networks, and ends that come too early.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cnitool::entry;
use flatnet_tests::netavark::Netavark;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::said;
use flatnet_tests::wait::PATIENCE;
use flatnet_tests::{cli, kernel, probe};
use serde_json::{Value, json};

/// How much later the plugin is killed each time, while it is young.
const STEP: Duration = Duration::from_micros(200);

fn netavarks<'a>(cluster: &'a Cluster, behind: &[Value]) -> Vec<Netavark<'a>> {
    cluster.nodes.iter().map(|node| Netavark::new(cluster, node, behind)).collect()
}

/// The addresses in what netavark tells of a container's interface.
fn addresses(status: &Value, network: &str, ifname: &str) -> Vec<IpAddr> {
    let subnets = &status[network]["interfaces"][ifname]["subnets"];
    let subnets = subnets.as_array().unwrap_or_else(|| panic!("{status}")).iter();
    let address = |subnet: &Value| {
        let (address, _) = subnet["ipnet"].as_str().unwrap().split_once('/').unwrap();
        address.parse().unwrap()
    };
    subnets.map(address).collect()
}

fn veths(node: &Node) -> usize {
    kernel::link_names(&node.netns).iter().filter(|name| name.starts_with("veth")).count()
}

#[test]
fn containers_reach_each_other_across_nodes() {
    let cluster = Cluster::new(2);
    let netavarks = netavarks(&cluster, &[]);
    let pods: Vec<Pod> = cluster.nodes.iter().map(|_| Pod::new("container")).collect();
    let told: Vec<Value> =
        netavarks.iter().zip(&pods).map(|(netavark, pod)| netavark.setup(pod, json!({}))).collect();
    for (from, to) in [(0, 1), (1, 0)] {
        let addresses = addresses(&told[to], "pods", "eth0");
        assert_eq!(addresses.len(), 2, "{told:?}");
        addresses.into_iter().for_each(|address| probe::ping(&pods[from].netns, address));
    }
    let interface = &told[0]["pods"]["interfaces"]["eth0"];
    assert_eq!(interface["subnets"][0]["gateway"], "169.254.1.1");
    let link = kernel::link(&pods[0].netns, "eth0").unwrap();
    assert_eq!(interface["mac_address"], link["address"]);
    // The same books as for CNI, under the container's name.
    let node = &cluster.nodes[0];
    let listed = cli::document(&cli::flatnet(node, "list", &["--json"]), 0);
    let listed = &listed["attachments"];
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!((&listed[0]["whole"], &listed[0]["pod"]["name"]), (&json!(true), &json!("web")));
    for (netavark, pod) in netavarks.iter().zip(&pods) {
        netavark.teardown(pod);
    }
    cluster.nodes.iter().for_each(Node::assert_no_attachment);
}

#[test]
fn address_and_mac_are_as_asked_for() {
    let cluster = Cluster::new(1);
    let (netavark, node) = (&netavarks(&cluster, &[])[0], &cluster.nodes[0]);
    let (pod, other) = (Pod::new("container"), Pod::new("other"));
    let wants = json!({ "static_ips": ["10.244.1.50"], "static_mac": "02:00:00:00:00:50" });
    let told = netavark.setup(&pod, wants.clone());
    assert_eq!(addresses(&told, "pods", "eth0")[0], IpAddr::from([10, 244, 1, 50]));
    assert_eq!(kernel::link(&pod.netns, "eth0").unwrap()["address"], "02:00:00:00:00:50");
    let refused = netavark.call("setup", &other, &netavark.options(&other, &[wants], &json!([])));
    let why = said(&refused);
    assert!(!refused.status.success() && why.contains("10.244.1.50 is taken"), "{why}");
    assert_eq!((node.leases().len(), veths(node)), (1, 1), "the refused one left nothing");
    netavark.teardown(&pod);
    node.assert_no_attachment();
}

#[test]
fn ports_are_published_by_the_plugin_behind() {
    let cluster = Cluster::new(2);
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let (with, without) = (netavarks(&cluster, &[portmap]), netavarks(&cluster, &[]));
    let node = &cluster.nodes[0];
    let (server, client) = (Pod::new("server"), Pod::new("client"));
    let ports = json!([{ "container_port": 80, "host_ip": "", "host_port": 18_097,
                         "protocol": "tcp", "range": 1 }]);
    let options = with[0].options(&server, &[json!({})], &ports);
    let output = with[0].call("setup", &server, &options);
    assert!(output.status.success(), "{}", said(&output));
    with[1].setup(&client, json!({}));
    let rules = || node.netns.exec("nft list ruleset");
    assert!(rules().contains("18097"));
    let listener = server.netns.run(|| std::net::TcpListener::bind("0.0.0.0:80")).unwrap();
    let vtep = node.vtep;
    let reached = client.netns.run(|| {
        let to = std::net::SocketAddr::new(vtep, 18_097);
        std::net::TcpStream::connect_timeout(&to, Duration::from_secs(5))
    });
    assert!(reached.is_ok(), "{reached:?}");
    drop(listener);
    let output = with[0].call("teardown", &server, &options);
    assert!(output.status.success(), "{}", said(&output));
    assert!(!rules().contains("18097"));
    with[1].teardown(&client);

    let refused =
        without[0].call("setup", &server, &without[0].options(&server, &[json!({})], &ports));
    let why = said(&refused);
    assert!(!refused.status.success() && why.contains("put portmap behind flatnet"), "{why}");
    cluster.nodes.iter().for_each(Node::assert_no_attachment);
}

#[test]
fn of_two_networks_a_container_has_both_or_none() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let mut netavark = Netavark::new(&cluster, node, &[]);
    let mut second = entry(&cluster);
    let range_file = cluster.folder().join("second.json");
    let text = json!({ "version": 1, "vni": 5000, "port": 4790, "nodes": [
        { "name": "node-a", "vtep": node.vtep, "ranges": ["10.99.1.0/24"] } ] });
    fs::write(&range_file, text.to_string()).unwrap();
    second["rangeFile"] = json!(range_file);
    second["routes"] = json!([{ "dst": "10.99.0.0/16" }]);
    let file = netavark.write("second", &json!([second]));
    let made = netavark.create("second", json!({ "conf": file })).unwrap();
    netavark.add(made);
    let pod = Pod::new("container");
    let options = netavark.options(&pod, &[json!({}), json!({})], &json!([]));
    let output = netavark.call("setup", &pod, &options);
    assert!(output.status.success(), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(addresses(&told, "pods", "eth0").len(), 2, "{told}");
    assert_eq!(addresses(&told, "second", "eth1").len(), 1, "{told}");
    assert_eq!(veths(node), 2);
    assert!(netavark.call("teardown", &pod, &options).status.success());
    assert_eq!(veths(node), 0);

    // An address of nobody's range: netavark takes the first one down again.
    let wrong = [json!({}), json!({ "static_ips": ["10.99.9.9"] })];
    let output = netavark.call("setup", &pod, &netavark.options(&pod, &wrong, &json!([])));
    assert!(!output.status.success() && said(&output).contains("10.99.9.9"), "{}", said(&output));
    assert_eq!(veths(node), 0);
    node.assert_no_attachment();
}

#[test]
fn what_podman_would_give_twice_is_refused() {
    let cluster = Cluster::new(1);
    let netavark = &netavarks(&cluster, &[])[0];
    let made = netavark.create("pods", json!({ "conf": netavark.file() })).unwrap();
    assert_eq!(
        (&made["dns_enabled"], &made["ipam_options"]["driver"]),
        (&json!(false), &json!("none"))
    );
    for (name, options, words) in [
        ("pods", json!({ "conf": "/nonexistent" }), "cannot read /nonexistent"),
        ("pods", json!({ "mtu": "1400" }), "is said in the network's configuration"),
        ("pods", json!({ "vlan": "7" }), "the only option is conf=FILE"),
        ("other", json!({ "conf": netavark.file() }), "has no network other of flatnet"),
    ] {
        let why = netavark.create(name, options).unwrap_err();
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn a_container_goes_whatever_is_gone_already() {
    let cluster = Cluster::new(1);
    let (netavark, node) = (&netavarks(&cluster, &[])[0], &cluster.nodes[0]);
    let pod = Pod::new("container");
    netavark.setup(&pod, json!({}));
    netavark.teardown(&pod);
    netavark.teardown(&pod);
    netavark.setup(&pod, json!({}));
    pod.netns.unname();
    netavark.teardown(&pod);
    node.assert_no_attachment();
    // Nobody says in which folder its lease is, which is taken back when nothing stands for it.
    let pod = Pod::new("container");
    netavark.setup(&pod, json!({}));
    fs::remove_file(netavark.file()).unwrap();
    netavark.teardown(&pod);
    assert_eq!((veths(node), node.leases().len()), (0, 1));
    node.call("GC").run().silent();
    node.assert_no_attachment();
}

#[test]
fn ports_go_without_the_configuration() {
    let cluster = Cluster::new(1);
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let (netavark, node) = (&netavarks(&cluster, &[portmap])[0], &cluster.nodes[0]);
    let ports = json!([{ "container_port": 80, "host_ip": "", "host_port": 18_096,
                         "protocol": "tcp", "range": 1 }]);
    let rules = || node.netns.exec("nft list ruleset");
    for cut in [true, false] {
        let pod = Pod::new("container");
        let (file, whole) = (netavark.file(), fs::read(netavark.file()).unwrap());
        let options = netavark.options(&pod, &[json!({})], &ports);
        let output = netavark.call("setup", &pod, &options);
        assert!(output.status.success() && rules().contains("18096"), "{}", said(&output));
        if cut {
            fs::write(&file, "{").unwrap()
        } else {
            fs::remove_file(&file).unwrap()
        }
        let output = netavark.call("teardown", &pod, &options);
        assert!(output.status.success(), "{}", said(&output));
        assert!(!rules().contains("18096"), "{}", rules());
        assert_eq!(veths(node), 0);
        fs::write(&file, whole).unwrap();
    }
}

/// As a podman does that was killed before it wrote down what it had set up.
#[test]
fn a_container_that_was_forgotten_is_set_up_anew() {
    let cluster = Cluster::new(1);
    let (netavark, node) = (&netavarks(&cluster, &[])[0], &cluster.nodes[0]);
    // The peer's address is not the one that is asked for.
    node.begin_with_the_first("pods");
    let (forgotten, peer) = (Pod::new("forgotten"), node.add("peer"));
    let wants = json!({ "static_ips": ["10.244.1.50"] });
    netavark.setup(&forgotten, wants.clone());
    let mut pod = Pod::new("container");
    pod.container_id = forgotten.container_id.clone();
    let told = netavark.setup(&pod, wants);
    let address = IpAddr::from([10, 244, 1, 50]);
    assert_eq!(addresses(&told, "pods", "eth0")[0], address);
    probe::ping(&peer.netns, address);
    assert!(!kernel::link_names(&forgotten.netns).contains("eth0"));
    assert_eq!((veths(node), node.leases().len()), (2, 2), "its own and the peer's");
    netavark.teardown(&pod);
    node.del(&peer).silent();
    node.assert_no_attachment();
}

/// netavark asks for no teardown where a setup failed.
#[test]
fn what_nobody_is_told_of_does_not_stay() {
    let cluster = Cluster::new(1);
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let (netavark, node) = (&netavarks(&cluster, &[portmap])[0], &cluster.nodes[0]);
    let pod = Pod::new("container");
    let (mut command, input) = netavark.plugin("setup", &pod);
    let mut input: Value = serde_json::from_slice(&input).unwrap();
    input["port_mappings"] = json!([{ "container_port": 80, "host_ip": "", "host_port": 18_097,
                                      "protocol": "tcp", "range": 1 }]);
    let full = fs::File::create("/dev/full").unwrap();
    command.stdin(Stdio::piped()).stdout(full).stderr(Stdio::piped());
    let mut child = node.netns.run(|| command.spawn()).unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", said(&ended));
    assert!(said(&ended).contains("cannot write the answer"), "{}", said(&ended));
    node.assert_no_attachment();
    let rules = node.netns.exec("nft list ruleset");
    assert!(!rules.contains("18097"), "{rules}");
    netavark.setup(&pod, json!({}));
    netavark.teardown(&pod);
}

/// Kills the plugin ever later, until it comes to its end before, however slow the machine is.
fn kill_ever_later(node: &Node, netavark: &Netavark<'_>, verb: &str, pod: &Pod) -> bool {
    let (mut step, mut pause) = (0, Duration::ZERO);
    loop {
        if verb == "teardown" {
            netavark.setup(pod, json!({}));
        }
        let (mut command, input) = netavark.plugin(verb, pod);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = node.netns.run(|| command.spawn()).unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        sleep(pause);
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        match verb {
            // What was killed may have come to its end all the same.
            "setup" => {
                netavark.teardown(pod);
                netavark.setup(pod, json!({}));
                netavark.teardown(pod);
            }
            _ => netavark.teardown(pod),
        }
        node.assert_no_attachment();
        if ended {
            return step > 3;
        }
        assert!(pause < PATIENCE, "{verb} never came to its end");
        step += 1;
        pause += STEP.max(pause / 50);
    }
}

#[test]
fn what_is_killed_half_way_leaves_nothing() {
    let cluster = Cluster::new(1);
    let (netavark, node) = (&netavarks(&cluster, &[])[0], &cluster.nodes[0]);
    let pod = Pod::new("container");
    for verb in ["setup", "teardown"] {
        assert!(kill_ever_later(node, netavark, verb, &pod), "{verb} was killed too seldom");
    }
}
