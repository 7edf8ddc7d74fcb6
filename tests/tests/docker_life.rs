//! Docker's containers through their lives: what they find when they begin, networks that come later, and a daemon that is
//! killed in the middle of a start.

use std::fs;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::Duration;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::docker::{Docker, assert_clean, veths};
use flatnet_tests::image::IMAGE;
use flatnet_tests::kernel;
use flatnet_tests::program::said;
use flatnet_tests::wait::wait_for;
use serde_json::{Value, json};

#[test]
fn a_container_finds_the_overlays_mtu_and_dockers_names() {
    let cluster = Cluster::new(2);
    let dockers = Docker::everywhere(&cluster, &[]);
    let (docker, node) = (&dockers[0], &cluster.nodes[0]);
    docker.idle("web", &["--network", "pods", "--network-alias", "shop"]);
    docker.idle("db", &["--network", "pods"]);
    dockers[1].idle("far", &["--network", "pods"]);
    let mtu = docker.ok(&["exec", "web", "cat", "/sys/class/net/eth0/mtu"]);
    let overlay = kernel::link(&node.netns, &node.overlay()).unwrap();
    assert_eq!(mtu, overlay["mtu"].to_string());
    let driver = docker.driver.name.as_str();
    let create = ["network", "create", "-d", driver, "--ipam-driver", driver];
    let mtu = ["--subnet", "10.244.0.0/16", "-o", "com.docker.network.driver.mtu=1400", "other"];
    let refused = docker.run(&[&create[..], &mtu].concat());
    let why = said(&refused);
    assert!(!refused.status.success() && why.contains("is said in the network's config"), "{why}");

    let ping = |name: &str| docker.run(&["exec", "db", "ping", "-c", "1", "-W", "5", name]);
    for name in ["web", "shop"] {
        assert!(ping(name).status.success(), "{name}");
    }
    let unknown = ping("far");
    assert!(said(&unknown).contains("bad address"), "{}", said(&unknown));
    let far = format!("far:{}", dockers[1].addresses("far", "pods")[0]);
    let run = ["run", "--rm", "--network", "pods", "--add-host", &far, IMAGE, "ping", "-c", "1"];
    docker.ok(&[&run[..], &["-W", "5", "far"]].concat());

    let told: Value = serde_json::from_str(&docker.ok(&["network", "inspect", "pods"])).unwrap();
    let containers = told[0]["Containers"].as_object().unwrap().values();
    let mut listed: Vec<_> = containers.map(|one| (&one["Name"], &one["IPv4Address"])).collect();
    listed.sort_by_key(|(name, _)| name.to_string());
    let address = |name: &str| json!(format!("{}/32", docker.addresses(name, "pods")[0]));
    assert_eq!(listed, [(&json!("db"), &address("db")), (&json!("web"), &address("web"))]);
    assert_eq!(told[0]["IPAM"]["Config"][0]["Subnet"], "10.244.0.0/16");
    docker.ok(&["rm", "-f", "web", "db"]);
    dockers[1].ok(&["rm", "-f", "far"]);
    cluster.nodes.iter().for_each(assert_clean);
}

#[test]
fn a_container_without_a_network_gets_one_later() {
    let cluster = Cluster::new(1);
    let (docker, node) = (&Docker::everywhere(&cluster, &[])[0], &cluster.nodes[0]);
    node.begin_with_the_first("pods");
    let peer = node.add("peer");
    docker.idle("web", &["--network", "none"]);
    // Docker's own rule.
    let refused = docker.run(&["network", "connect", "pods", "web"]);
    assert!(said(&refused).contains("private (none) mode"), "{}", said(&refused));
    docker.ok(&["network", "disconnect", "none", "web"]);
    docker.ok(&["network", "connect", "--ip", "10.244.1.50", "pods", "web"]);
    assert_eq!(docker.addresses("web", "pods")[0], IpAddr::from([10, 244, 1, 50]));
    docker.ping("web", peer.v4());
    docker.ok(&["restart", "-t", "0", "web"]);
    assert_eq!(docker.addresses("web", "pods")[0], IpAddr::from([10, 244, 1, 50]));
    docker.ping("web", peer.v4());
    docker.ok(&["rm", "-f", "web"]);
    node.del(&peer).silent();
    assert_clean(node);
}

#[test]
fn a_container_goes_without_its_configuration() {
    let cluster = Cluster::new(1);
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let (docker, node) = (&Docker::everywhere(&cluster, &[portmap])[0], &cluster.nodes[0]);
    let file = docker.driver.conf_dir.join("10-pods.conflist");
    let whole = fs::read(&file).unwrap();
    let rules = || node.netns.exec("nft list ruleset");
    for cut in [true, false] {
        docker.idle("web", &["--network", "pods", "-p", "18095:80"]);
        assert!(rules().contains("18095") && veths(node) == 1, "{}", rules());
        if cut {
            fs::write(&file, "{").unwrap()
        } else {
            fs::remove_file(&file).unwrap()
        }
        docker.ok(&["rm", "-f", "web"]);
        wait_for("the veth to go", || (veths(node) == 0).then_some(()));
        assert!(!rules().contains("18095"), "{}", rules());
        // In which folder its lease is, nobody says.
        fs::write(&file, &whole).unwrap();
        assert_eq!(node.leases().len(), 1);
        node.call("GC").run().silent();
        assert_clean(node);
    }
}

#[test]
fn what_a_killed_daemon_leaves_is_in_nobodys_way() {
    let cluster = Cluster::new(1);
    let mut dockers = Docker::everywhere(&cluster, &[]);
    let (docker, node) = (&mut dockers[0], &cluster.nodes[0]);
    let wants = ["--network", "pods", "--ip", "10.244.1.50", IMAGE, "sleep", "3600"];
    let run = [&["run", "-d", "--name", "web"][..], &wants].concat();
    let mut killed = 0;
    for step in 1..=12_u32 {
        let mut client = docker.client(&run);
        sleep(Duration::from_millis(40) * step);
        let ended = client.try_wait().unwrap().is_some();
        docker.kill();
        client.wait().unwrap();
        docker.launch();
        // Of whatever state it is.
        docker.run(&["rm", "-f", "web"]);
        assert_eq!((veths(node), node.leases().len()), (0, 0), "killed after {step} steps");
        docker.ok(&run);
        docker.ok(&["rm", "-f", "web"]);
        assert_clean(node);
        killed += u32::from(!ended);
        if ended {
            break;
        }
    }
    assert!(killed > 0, "each came to its end");
}
