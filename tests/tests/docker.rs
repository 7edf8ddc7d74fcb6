//! Docker with our network and IPAM driver: containers on two nodes, what is asked for, ports, and networks that come
//! and go.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::containerd::Containerd;
use flatnet_tests::cri::PodSpec;
use flatnet_tests::docker::{Docker, assert_clean, veths};
use flatnet_tests::image::{GREETING, IMAGE, archive};
use flatnet_tests::netavark::Netavark;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::said;
use flatnet_tests::wait::wait_for;
use flatnet_tests::{cli, leftover, probe, sync};
use serde_json::{Value, json};

#[test]
fn containers_reach_each_other_across_nodes() {
    let cluster = Cluster::new(2);
    let dockers = Docker::everywhere(&cluster, &[]);
    let pod = cluster.nodes[1].add("pod");
    for docker in &dockers {
        docker.idle("web", &["--network", "pods"]);
    }
    let addresses: Vec<_> = dockers.iter().map(|docker| docker.addresses("web", "pods")).collect();
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(addresses[to].len(), 2, "{addresses:?}");
        addresses[to].iter().for_each(|to| dockers[from].ping("web", *to));
    }
    pod.addresses().into_iter().for_each(|to| dockers[0].ping("web", to));
    addresses[0].iter().for_each(|to| probe::ping(&pod.netns, *to));
    // The same books, and nothing that a sync would do otherwise than Docker.
    let node = &cluster.nodes[0];
    assert_eq!(node.leases()[0]["addresses"], json!(addresses[0]));
    let listed = cli::document(&cli::flatnet(node, "list", &["--json"]), 0);
    assert_eq!(listed["attachments"][0]["whole"], true, "{listed}");
    let planned = sync::plan(node);
    assert_eq!(planned, [""; 0], "{planned:?}");
    node.call("GC").run().silent();
    dockers[0].ping("web", addresses[1][0]);
    for docker in &dockers {
        docker.ok(&["rm", "-f", "web"]);
    }
    cluster.nodes[1].del(&pod).silent();
    cluster.nodes.iter().for_each(assert_clean);
}

#[test]
fn address_and_mac_are_as_asked_for() {
    let cluster = Cluster::new(1);
    let (docker, node) = (&Docker::everywhere(&cluster, &[])[0], &cluster.nodes[0]);
    let wants = ["--network", "pods", "--ip", "10.244.1.50", "--mac-address", "02:00:00:00:00:50"];
    docker.idle("asked", &wants);
    assert_eq!(docker.addresses("asked", "pods")[0], IpAddr::from([10, 244, 1, 50]));
    let seen = docker.ok(&["exec", "asked", "cat", "/sys/class/net/eth0/address"]);
    assert_eq!(seen, "02:00:00:00:00:50");
    for (wants, words) in [
        (["--ip", "10.244.1.50"], "10.244.1.50 is taken"),
        (["--ip", "10.244.9.9"], "10.244.9.9"),
        (["--mac-address", "02:00:00:00:00:50"], "MAC 02:00:00:00:00:50 is in use by endpoint"),
    ] {
        let run = ["run", "--rm", "--network", "pods", wants[0], wants[1], IMAGE, "true"];
        let refused = docker.run(&run);
        assert!(!refused.status.success() && said(&refused).contains(words), "{}", said(&refused));
        assert_eq!((node.leases().len(), veths(node)), (1, 1), "the refused one left nothing");
    }
    docker.ok(&["rm", "-f", "asked"]);
    assert_clean(node);
}

#[test]
fn ports_are_published_by_the_plugin_behind() {
    let cluster = Cluster::new(2);
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let (docker, node) = (&Docker::everywhere(&cluster, &[portmap])[0], &cluster.nodes[0]);
    let client = cluster.nodes[1].add("client");
    let serve = ["httpd", "-f", "-p", "80", "-h", "/www"];
    let run = ["run", "-d", "--name", "web", "--network", "pods", "-p", "18098:80", IMAGE];
    docker.ok(&[&run[..], &serve].concat());
    let to = SocketAddr::new(node.vtep, 18_098);
    let page = wait_for("the page", || {
        client.netns.run(|| {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).ok()?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
            let mut page = String::new();
            stream.read_to_string(&mut page).ok().map(|_| page)
        })
    });
    assert!(page.ends_with(GREETING), "{page}");
    assert_eq!(docker.ok(&["port", "web"]), "", "Docker shows those of its own drivers");
    docker.ok(&["rm", "-f", "web"]);
    assert!(!node.netns.exec("nft list ruleset").contains("18098"));
    let refused = docker.run(&["run", "--rm", "--network", "pods", "-p", "80", IMAGE, "true"]);
    assert!(said(&refused).contains("-p must name one port of the node"), "{}", said(&refused));
    assert_clean(node);
}

#[test]
fn a_running_container_joins_and_leaves() {
    let cluster = Cluster::new(1);
    let (docker, node) = (&Docker::everywhere(&cluster, &[])[0], &cluster.nodes[0]);
    let peer = node.add("peer");
    // A bridge of Docker's, by which the default route goes.
    docker.ok(&["network", "create", "own"]);
    docker.idle("web", &["--network", "own"]);
    docker.ok(&["network", "connect", "pods", "web"]);
    let addresses = docker.addresses("web", "pods");
    // The device is moved when the command ends, and the rest is done a moment later.
    peer.addresses().into_iter().for_each(|to| docker.ping("web", to));
    addresses.iter().for_each(|to| probe::ping(&peer.netns, *to));
    assert_eq!(sync::plan(node), [""; 0], "the default route is Docker's to choose");
    let listed = cli::document(&cli::flatnet(node, "list", &["--json"]), 0);
    assert_eq!(listed["attachments"][1]["whole"], true, "{listed}");
    docker.ok(&["network", "disconnect", "pods", "web"]);
    assert_eq!(node.leases().len(), 1, "the peer's");
    docker.create("again", &["--subnet", "10.244.0.0/16"]);
    docker.ok(&["network", "connect", "again", "web"]);
    docker.ping("web", peer.v4());
    docker.ok(&["rm", "-f", "web"]);
    docker.ok(&["network", "rm", "own", "again"]);
    node.del(&peer).silent();
    assert_clean(node);
}

/// Makes a second network on all machines.
fn make_second(cluster: &Cluster, dockers: &[Docker<'_>]) {
    let file = cluster.folder().join("second.json");
    let node = |(n, node): (u32, &Node)| {
        let ranges = [format!("10.99.{n}.0/24"), format!("fd00:99:0:{n}::/64")];
        json!({ "name": node.name, "vtep": node.vtep, "ranges": ranges })
    };
    let nodes: Vec<Value> = (1..).zip(&cluster.nodes).map(node).collect();
    let cidrs = ["10.99.0.0/16", "fd00:99::/56"];
    let text = json!({ "version": 1, "vni": 5000, "clusterCIDRs": cidrs, "nodes": nodes });
    fs::write(&file, text.to_string()).unwrap();
    let entry = json!([{ "type": "flatnet", "rangeFile": file,
                         "stateDir": cluster.network.state_dir }]);
    for docker in dockers {
        docker.driver.configure("second", &entry);
        docker.create("second", &["--ipv6", "--subnet", cidrs[0], "--subnet", cidrs[1]]);
    }
}

#[test]
fn a_container_is_in_two_networks() {
    let cluster = Cluster::new(2);
    let mut dockers = Docker::everywhere(&cluster, &[]);
    make_second(&cluster, &dockers);
    dockers[0].idle("web", &["--network", "pods"]);
    dockers[0].ok(&["network", "connect", "second", "web"]);
    // The other has both when it begins.
    dockers[1].ok(&["create", "--name", "web", "--network", "pods", IMAGE, "sleep", "3600"]);
    dockers[1].ok(&["network", "connect", "second", "web"]);
    dockers[1].ok(&["start", "web"]);
    let assert_reach = |dockers: &[Docker<'_>]| {
        for (from, to) in [(0, 1), (1, 0)] {
            for network in ["pods", "second"] {
                let addresses = dockers[to].addresses("web", network);
                assert_eq!(addresses.len(), 2, "{network}: {addresses:?}");
                // The way is there a moment after the command has ended.
                wait_for(network, || {
                    let ping = |to: &IpAddr| {
                        let to = to.to_string();
                        let ping = ["exec", "web", "ping", "-c", "1", "-W", "1", &to];
                        dockers[from].run(&ping).status.success()
                    };
                    addresses.iter().all(ping).then_some(())
                });
            }
            let routes = dockers[from].ok(&["exec", "web", "ip", "route"]);
            assert_eq!(routes.matches("default via 169.254.1.1 ").count(), 1, "{routes}");
        }
    };
    assert_reach(&dockers);
    let node = &cluster.nodes[0];
    let listed = cli::document(&cli::flatnet(node, "list", &["--json"]), 0);
    for attachment in listed["attachments"].as_array().unwrap() {
        assert_eq!(attachment["whole"], true, "{listed}");
    }
    dockers[0].driver.kill();
    dockers[0].driver.launch();
    assert_reach(&dockers);
    dockers[0].ok(&["restart", "-t", "0", "web"]);
    assert_reach(&dockers);
    // Whichever comes next has the routes that one had which has left.
    dockers[0].ok(&["network", "disconnect", "pods", "web"]);
    dockers[0].ok(&["network", "connect", "pods", "web"]);
    assert_reach(&dockers);
    for (docker, node) in dockers.iter().zip(&cluster.nodes) {
        docker.ok(&["rm", "-f", "web"]);
        wait_for("the veths to go", || (veths(node) == 0).then_some(()));
        assert!(node.leases().is_empty());
    }
}

#[test]
fn what_docker_would_do_itself_is_refused() {
    let cluster = Cluster::new(1);
    let docker = &Docker::everywhere(&cluster, &[])[0];
    let driver = docker.driver.name.as_str();
    let ipam = ["--ipam-driver", driver];
    for (more, words) in [
        (&["--subnet", "172.31.0.0/16"][..], "add --ipam-driver flatnet"),
        (&[ipam[0], ipam[1], "--subnet", "172.31.0.0/16"], "172.31.0.0/16 in its clusterCIDRs"),
        (&[ipam[0], ipam[1]], "--subnet 10.244.0.0/16"),
        (&[ipam[0], ipam[1], "--ipam-opt", "network=db"], "has a network db of flatnet"),
        (
            &[ipam[0], ipam[1], "--subnet", "10.244.0.0/16", "--internal"],
            "--internal cannot be had",
        ),
        (
            &[ipam[0], ipam[1], "--subnet", "10.244.0.0/16", "--opt", "parent=eth0"],
            "--opt parent is unknown",
        ),
    ] {
        let create = ["network", "create", "-d", driver];
        let refused = docker.run(&[&create[..], more, &["other"]].concat());
        assert!(!refused.status.success() && said(&refused).contains(words), "{}", said(&refused));
    }
}

/// A container of some runtime.
struct Place<'a> {
    name: String,
    addresses: Vec<IpAddr>,
    ping: Box<dyn Fn(IpAddr) + 'a>,
}

#[test]
fn containers_of_docker_podman_and_containerd_reach_each_other() {
    let cluster = Cluster::new(2);
    let image = archive(cluster.folder());
    let nodes = || cluster.nodes.iter();
    let dockers: Vec<_> = nodes().map(|node| Docker::start(&cluster, node, &[], &image)).collect();
    let netavarks: Vec<_> = nodes().map(|node| Netavark::new(&cluster, node, &[])).collect();
    let containerds: Vec<_> =
        nodes().map(|node| Containerd::start(&cluster, node, &[], &image)).collect();
    let podmans: Vec<Pod> = nodes().map(|_| Pod::new("container")).collect();
    let mut places: Vec<Place<'_>> = Vec::new();
    let mut pods = Vec::new();
    for index in 0..2 {
        let node = &cluster.nodes[index].name;
        let docker = &dockers[index];
        docker.idle("web", &["--network", "pods"]);
        places.push(Place {
            name: format!("docker on {node}"),
            addresses: docker.addresses("web", "pods"),
            ping: Box::new(move |to| docker.ping("web", to)),
        });
        let (netavark, pod) = (&netavarks[index], &podmans[index]);
        let told = netavark.setup(pod, json!({}));
        let subnets = told["pods"]["interfaces"]["eth0"]["subnets"].as_array().unwrap().iter();
        let address = |subnet: &Value| {
            subnet["ipnet"].as_str().unwrap().split('/').next().unwrap().parse().unwrap()
        };
        places.push(Place {
            name: format!("podman on {node}"),
            addresses: subnets.map(address).collect(),
            ping: Box::new(|to| probe::ping(&pod.netns, to)),
        });
        let (cri, spec) = (&containerds[index].cri, PodSpec::new("web"));
        let pod = cri.run_pod(&spec).unwrap();
        let container = cri.run_container(&pod, &spec, &["/bin/sleep", "3600"]);
        places.push(Place {
            name: format!("containerd on {node}"),
            addresses: cri.addresses(&pod),
            ping: Box::new(move |to| {
                let family = if to.is_ipv4() { "-4" } else { "-6" };
                cri.exec(&container, &format!("/bin/ping {family} -c 1 -W 5 {to}"));
            }),
        });
        pods.push(pod);
    }
    let mut reached = 0;
    for from in &places {
        for to in places.iter().filter(|to| to.name != from.name) {
            to.addresses.iter().for_each(|to| (from.ping)(*to));
            reached += to.addresses.len();
        }
    }
    assert_eq!(reached, 6 * 5 * 2);
    drop(places);
    for index in 0..2 {
        dockers[index].ok(&["rm", "-f", "web"]);
        netavarks[index].teardown(&podmans[index]);
        containerds[index].cri.stop_pod(&pods[index]).unwrap();
        containerds[index].cri.remove_pod(&pods[index]).unwrap();
    }
    cluster.nodes.iter().for_each(assert_clean);
}

#[test]
fn nothing_of_docker_is_left() {
    let cluster = Cluster::new(1);
    let mut dockers = Docker::everywhere(&cluster, &[]);
    let node = &cluster.nodes[0];
    dockers[0].idle("abandoned", &["--network", "pods"]);
    let folder: PathBuf = dockers[0].folder().to_owned();
    assert!(!leftover::processes(&folder).is_empty() && !leftover::mounts(&folder).is_empty());
    dockers.clear();
    assert!(leftover::processes(&folder).is_empty());
    assert!(!folder.exists());
    assert_clean(node);
}
