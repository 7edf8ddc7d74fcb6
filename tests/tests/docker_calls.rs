//! Docker's calls beside what else happens on a node: networks that are out of order, drivers that are ended
//! in between, and a runtime's GC.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, SystemTime};

use flatnet_tests::cli;
use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::Call;
use flatnet_tests::docker::{Calls, Driver, assert_clean, veths};
use flatnet_tests::kernel;
use flatnet_tests::node::Pod;
use flatnet_tests::wait::wait_for;
use serde_json::json;

#[test]
fn another_network_is_in_nobodys_way_and_is_not_brought_up() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let calls = Calls::by(Driver::start(node, &[]));
    let (conf_dir, state_dir) = (cli::conf_dir(node, &[]), &cluster.network.state_dir);
    let sound = cluster.folder().join("sound.json");
    let ranges = json!([{ "name": node.name, "vtep": node.vtep, "ranges": ["10.99.1.0/24"] }]);
    fs::write(&sound, json!({ "version": 1, "vni": 77, "nodes": ranges }).to_string()).unwrap();
    let others = json!([{ "name": "other", "vtep": "192.0.2.9", "ranges": ["10.98.1.0/24"] }]);
    let without = cluster.folder().join("without.json");
    fs::write(&without, json!({ "version": 1, "vni": 78, "nodes": others }).to_string()).unwrap();
    let missing = cluster.folder().join("missing.json");
    for (name, file) in [("missing", &missing), ("without", &without), ("sound", &sound)] {
        let plugin = json!({ "type": "flatnet", "rangeFile": file, "stateDir": state_dir });
        let list = json!({ "cniVersion": "1.0.0", "name": name, "plugins": [plugin] });
        // By its name before that of the network that is used.
        fs::write(conf_dir.join(format!("05-{name}.conflist")), list.to_string()).unwrap();
    }
    // Its books cannot be read.
    fs::create_dir_all(state_dir.join("sound")).unwrap();
    fs::create_dir_all(state_dir.join("sound/n/leases")).unwrap();
    fs::write(state_dir.join("sound/n/addresses"), "").unwrap();

    let address = calls.address().unwrap();
    calls.create(&address).unwrap();
    calls.endpoint("Join", json!({ "SandboxKey": "/nonexistent" })).unwrap();
    assert_eq!((veths(node), node.leases().len()), (2, 1));
    let links = kernel::link_names(&node.netns);
    assert!(links.contains(&node.overlay()), "{links:?}");
    assert!(!links.contains("flat.77"), "nobody uses it: {links:?}");
    calls.delete().unwrap();
    assert_clean(node);
}

/// What Docker does with the device of an endpoint that has joined.
fn move_into(calls: &Calls<'_>, pod: &Pod, device: &str) {
    let (node, name) = (calls.driver.node, pod.netns.name());
    node.netns.exec(&format!("ip link set {device} netns {name} name eth0"));
    pod.netns.exec("ip link set eth0 up");
}

#[test]
fn a_driver_that_is_ended_before_the_move_is_followed_by_one_that_waits_for_it() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let mut calls = Calls::by(Driver::start(node, &[]));
    for is_ended in [false, true] {
        let pod = Pod::new("container");
        let address = calls.address().unwrap();
        calls.create(&address).unwrap();
        let sandbox = json!({ "SandboxKey": pod.netns.path() });
        let joined = calls.endpoint("Join", sandbox).unwrap();
        if is_ended {
            calls.driver.kill();
            calls.driver.launch();
        }
        move_into(&calls, &pod, joined["InterfaceName"]["SrcName"].as_str().unwrap());
        wait_for("the gateway's MAC", || {
            let known = kernel::neighbours(&pod.netns, "eth0");
            known.iter().any(|(to, _)| to.to_string() == "169.254.1.1").then_some(())
        });
        calls.delete().unwrap();
        assert_clean(node);
    }
}

#[test]
fn a_gc_of_another_runtime_takes_nothing_from_a_container_that_starts() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let calls = Calls::by(Driver::start(node, &[]));
    let mut configuration = cluster.network.configuration.clone();
    configuration["cni.dev/valid-attachments"] = json!([]);
    let gc = || Call::new(&node.netns, "GC", &configuration).run().silent();
    let address = calls.address().unwrap();
    gc();
    calls.create(&address).unwrap();
    gc();
    calls.endpoint("Join", json!({ "SandboxKey": "/run/ftest-not-there-yet" })).unwrap();
    gc();
    assert_eq!((veths(node), node.leases().len()), (2, 1));
    assert_eq!(node.leases()[0]["addresses"], json!([address.trim_end_matches("/32")]));
    calls.delete().unwrap();
    assert_clean(node);
    // What nobody comes for goes all the same.
    calls.address().unwrap();
    let lease = fs::read_dir(node.state().join("leases")).unwrap().next().unwrap().unwrap().path();
    let earlier = SystemTime::now() - Duration::from_secs(61);
    fs::File::open(lease).unwrap().set_modified(earlier).unwrap();
    gc();
    node.assert_no_attachment();
}

#[test]
fn a_network_with_addresses_of_another_plugin_is_refused() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let driver = Driver::start(node, &[]);
    let ipam = json!({ "type": "host-local", "ranges": [[{ "subnet": "10.244.1.0/24" }]] });
    let mut plugin = cluster.network.configuration.clone();
    let more = json!({ "name": "other", "ipam": ipam });
    plugin.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    driver.configure("other", &json!([plugin]));
    let pool = |network: &str| {
        let options = json!({ "network": network });
        let body = json!({ "Pool": "10.244.0.0/16", "Options": options, "V6": false });
        driver.call("IpamDriver.RequestPool", &body).unwrap()
    };
    assert_eq!(pool("pods")["PoolID"], "pods/4");
    let mac = json!({ "com.docker.network.endpoint.macaddress": "02:42:0a:00:00:07" });
    // One that was made before, too.
    let body = json!({ "PoolID": "other/4", "Address": "10.244.1.7", "Options": mac });
    for answer in [pool("other"), driver.call("IpamDriver.RequestAddress", &body).unwrap()] {
        let words = answer["Err"].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert!(words.contains("network other has its addresses from the plugin host-local"));
    }
    assert_eq!((veths(node), node.leases().len()), (0, 0));
}

#[test]
fn a_port_that_a_server_of_the_node_has_is_not_published() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let calls = Calls::by(Driver::start(node, &[portmap]));
    let address = calls.address().unwrap();
    calls.create(&address).unwrap();
    let pod = Pod::new("container");
    calls.endpoint("Join", json!({ "SandboxKey": pod.netns.path() })).unwrap();
    let publish = |protocol: u8| {
        let port =
            json!({ "Proto": protocol, "Port": 80, "HostPort": 18_097, "HostPortEnd": 18_097 });
        let ports = json!({ "com.docker.network.portmap": [port] });
        let body = json!({ "EndpointID": "3f".repeat(32), "Options": ports });
        calls.driver.call("NetworkDriver.ProgramExternalConnectivity", &body).unwrap()
    };
    let led = || node.netns.exec("nft list ruleset").contains("18097");
    let refused = "flatnet: Bind for 0.0.0.0:18097 failed: port is already allocated";
    let server = node.netns.run(|| TcpListener::bind((node.vtep, 18_097)).unwrap());
    assert_eq!(publish(6)["Err"], refused);
    drop(server);
    let server = node.netns.run(|| UdpSocket::bind(("0.0.0.0", 18_097)).unwrap());
    assert_eq!(publish(17)["Err"], refused);
    assert!(!led());
    // Another protocol's, and then nobody's.
    assert_eq!(publish(6), json!({}));
    drop(server);
    assert_eq!(publish(17), json!({}));
    assert!(led());
    calls.endpoint("RevokeExternalConnectivity", json!({})).unwrap();
    assert!(!led());
    calls.delete().unwrap();
    assert_clean(node);
}
