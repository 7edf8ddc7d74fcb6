//! Docker on three machines with one range file: everybody reaches everybody, whatever becomes of one machine's
//! daemon and driver.

use std::net::IpAddr;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::docker::{Docker, assert_clean};
use flatnet_tests::wait::wait_for;

/// Every container of this name reaches each other machine's, by both families.
fn assert_all_reach(dockers: &[Docker<'_>], name: &str) {
    let addresses: Vec<Vec<IpAddr>> =
        dockers.iter().map(|docker| docker.addresses(name, "pods")).collect();
    for (from, docker) in dockers.iter().enumerate() {
        for (to, addresses) in addresses.iter().enumerate().filter(|(to, _)| *to != from) {
            assert_eq!(addresses.len(), 2, "machine {to}: {addresses:?}");
            addresses.iter().for_each(|address| docker.ping(name, *address));
        }
    }
}

#[test]
fn three_machines_are_one_network() {
    let cluster = Cluster::new(3);
    let mut dockers = Docker::everywhere(&cluster, &[]);
    dockers.iter().for_each(|docker| docker.idle("web", &["--network", "pods"]));
    assert_all_reach(&dockers, "web");
    let (away, others) = dockers.split_last_mut().unwrap();
    let before = away.addresses("web", "pods");
    away.kill();
    away.driver.kill();
    // Containers go on without both, and new ones of the others reach them.
    others[0].idle("new", &["--network", "pods"]);
    for (docker, name) in [(&others[0], "web"), (&others[0], "new"), (&others[1], "web")] {
        before.iter().for_each(|address| docker.ping(name, *address));
    }
    away.driver.launch();
    away.launch();
    others[1].idle("new", &["--network", "pods"]);
    away.idle("new", &["--network", "pods"]);
    assert_eq!(away.addresses("web", "pods"), before);
    for name in ["web", "new"] {
        assert_all_reach(&dockers, name);
        dockers.iter().for_each(|docker| drop(docker.ok(&["rm", "-f", name])));
    }
    cluster.nodes.iter().for_each(assert_clean);
}

#[test]
fn what_is_always_restarted_comes_back_with_its_daemon() {
    let cluster = Cluster::new(2);
    cluster.begin_with_the_first();
    let mut dockers = Docker::everywhere(&cluster, &[]);
    let fixed = ["--network", "pods", "--restart", "always", "--ip", "10.244.1.50"];
    dockers[0].idle("fixed", &fixed);
    dockers[0].idle("free", &fixed[..4]);
    dockers[0].idle("once", &fixed[..2]);
    dockers[1].idle("web", &fixed[..2]);
    // From now on a daemon that begins ends what an earlier one has left.
    dockers[0].configure(false);
    dockers[0].kill();
    dockers[0].driver.kill();
    dockers[0].driver.launch();
    dockers[0].launch();
    let is_running = |name: &str| {
        let state = dockers[0].ok(&["inspect", "-f", "{{.State.Running}}", name]);
        (state == "true").then_some(())
    };
    for name in ["fixed", "free"] {
        wait_for(name, || is_running(name));
    }
    assert_eq!(dockers[0].addresses("fixed", "pods")[0], IpAddr::from([10, 244, 1, 50]));
    for name in ["fixed", "free"] {
        let addresses = dockers[0].addresses(name, "pods");
        assert_eq!(addresses.len(), 2, "{addresses:?}");
        addresses.into_iter().for_each(|to| dockers[1].ping("web", to));
    }
    assert_eq!(is_running("once"), None);
    assert_eq!(cluster.nodes[0].leases().len(), 2, "the one that has ended has no lease");
    dockers[0].ok(&["rm", "-f", "fixed", "free", "once"]);
    assert_clean(&cluster.nodes[0]);
}
