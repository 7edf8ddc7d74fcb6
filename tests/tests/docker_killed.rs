//! Docker's daemon and our driver, killed: containers stay, and a call that came half way is made again.

use std::thread::{self, sleep};
use std::time::Duration;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::docker::{Calls, Docker, Driver, assert_clean, veths};
use flatnet_tests::probe;
use serde_json::json;

#[test]
fn containers_outlive_daemon_and_driver() {
    let cluster = Cluster::new(2);
    let mut dockers = Docker::everywhere(&cluster, &[]);
    for docker in &dockers {
        docker.idle("web", &["--network", "pods"]);
    }
    let other = dockers[1].addresses("web", "pods");
    let before = dockers[0].addresses("web", "pods");
    dockers[0].kill();
    dockers[0].driver.kill();
    let client = cluster.nodes[1].add("client");
    before.iter().for_each(|to| probe::ping(&client.netns, *to));
    dockers[0].driver.launch();
    dockers[0].launch();
    other.iter().for_each(|to| dockers[0].ping("web", *to));
    assert_eq!(dockers[0].addresses("web", "pods"), before);
    dockers[0].idle("new", &["--network", "pods"]);
    dockers[0].ping("new", other[0]);
    for name in ["web", "new"] {
        dockers[0].ok(&["rm", "-f", name]);
    }
    assert_clean(&cluster.nodes[0]);
}

#[test]
fn a_call_that_is_killed_half_way_is_made_again() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let mut calls = Calls::by(Driver::start(node, &[]));
    // The overlay comes with the first.
    let address = calls.address().unwrap();
    calls.create(&address).unwrap();
    calls.delete().unwrap();
    assert_clean(node);
    for verb in ["RequestAddress", "CreateEndpoint", "DeleteEndpoint"] {
        let mut killed = 0;
        for step in 0..60_u32 {
            let address = if verb == "RequestAddress" { None } else { calls.address() };
            if verb == "DeleteEndpoint" {
                calls.create(address.as_ref().unwrap()).unwrap();
            }
            let call = |calls: &Calls<'_>| match verb {
                "RequestAddress" => calls.address().is_some(),
                "CreateEndpoint" => calls.create(address.as_ref().unwrap()).is_some(),
                _ => calls.delete().is_some(),
            };
            let answered = thread::scope(|scope| {
                let answered = scope.spawn(|| call(&calls));
                sleep(Duration::from_micros(25) * step);
                calls.driver.shoot();
                answered.join().unwrap()
            });
            calls.driver.kill();
            calls.driver.launch();
            // Docker makes the call again, to the driver that systemd has started meanwhile.
            let address = address.or_else(|| calls.address()).unwrap();
            if verb != "DeleteEndpoint" {
                calls.create(&address).unwrap();
                assert_eq!((veths(node), node.leases().len()), (2, 1), "{verb} {step}");
            }
            calls.delete().unwrap();
            calls.delete().unwrap();
            let release = json!({ "PoolID": "pods/4", "Address": address });
            calls.driver.call("IpamDriver.ReleaseAddress", &release).unwrap();
            assert_clean(node);
            killed += u32::from(!answered);
        }
        assert!(killed > 0, "{verb} always came to its end");
    }
}

#[test]
fn what_a_daemon_left_half_made_goes_when_the_next_begins() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let mut calls = Calls::by(Driver::start(node, &[]));
    let address = calls.address().unwrap();
    calls.create(&address).unwrap();
    calls.mac = "02:42:0a:00:00:08";
    calls.address().unwrap();
    assert_eq!((veths(node), node.leases().len()), (2, 2));
    calls.driver.call("Plugin.Activate", &json!({})).unwrap();
    assert_clean(node);
}
