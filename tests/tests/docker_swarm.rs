//! Services of a Swarm of three machines in one network of flatnet's, which a managed plugin of Docker's serves.

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::Node;
use flatnet_tests::swarm::{Swarm, Task};
use flatnet_tests::wait::wait_for;
use serde_json::json;

/// Below those that a Swarm gives its own overlays, which are at the same port.
const VNI: u32 = 42;

fn cluster(nodes: u8) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    cluster.network.vni = VNI;
    cluster.nodes.iter_mut().for_each(|node| node.network.vni = VNI);
    cluster.list(&(0..usize::from(nodes)).collect::<Vec<_>>());
    cluster
}

fn assert_all_reach(swarm: &Swarm<'_>, from: &[Task], to: &[Task]) {
    for task in from {
        for other in to.iter().filter(|other| other.id != task.id) {
            assert_eq!(other.addresses.len(), 2, "{other:?}");
            other.addresses.iter().for_each(|to| swarm.daemons[task.node].ping(&task.id, *to));
        }
    }
}

fn wait_for_no_lease(node: &Node) {
    wait_for("the leases to go", || node.leases().is_empty().then_some(()));
}

#[test]
fn services_of_a_swarm_are_in_the_network() {
    let cluster = cluster(3);
    let swarm = Swarm::start(&cluster, &[]);
    swarm.serve("web", &["--mode", "global"]);
    swarm.serve("db", &["--replicas", "2"]);
    let (web, db) = (swarm.tasks("web", 3), swarm.tasks("db", 2));
    assert_all_reach(&swarm, &web, &web);
    assert_all_reach(&swarm, &web, &db);
    for task in &web {
        let own = format!("10.244.{}.", task.node + 1);
        assert!(task.addresses[0].to_string().starts_with(&own), "{task:?} is not of its machine");
    }
    // By their names on every machine, all of a service.
    let pod = cluster.nodes[1].add("pod");
    for task in &web {
        // One daemon hears of another's containers some time later.
        wait_for("all addresses of the name", || {
            let told = swarm.daemons[task.node].run(&["exec", &task.id, "nslookup", "db"]);
            let told = String::from_utf8_lossy(&told.stdout).into_owned();
            let all = db.iter().all(|other| told.contains(&other.addresses[0].to_string()));
            all.then_some(())
        });
        swarm.daemons[task.node].ping(&task.id, pod.v4());
    }
    // And what is no service.
    swarm.daemons[2].idle("alone", &["--network", "pods"]);
    let first = web.iter().find(|task| task.node == 0).unwrap();
    let ping = ["exec", first.id.as_str(), "ping", "-c", "1", "-W", "5", "alone"];
    wait_for("the name", || swarm.daemons[0].run(&ping).status.success().then_some(()));
    swarm.daemons[2].ok(&["rm", "-f", "alone"]);
    swarm.daemons[0].ok(&["service", "rm", "web", "db"]);
    cluster.nodes[1].del(&pod).silent();
    cluster.nodes.iter().for_each(wait_for_no_lease);
}

#[test]
fn a_machine_of_a_swarm_comes_back() {
    let cluster = cluster(2);
    let mut swarm = Swarm::start(&cluster, &[]);
    swarm.serve("web", &["--mode", "global"]);
    let before = swarm.tasks("web", 2);
    swarm.daemons[1].kill();
    swarm.daemons[1].launch();
    let again = |task: &Task| before.iter().all(|earlier| earlier.id != task.id || task.node == 0);
    let after = wait_for("the new task", || {
        let tasks = swarm.tasks("web", 2);
        tasks.iter().all(again).then_some(tasks)
    });
    assert_all_reach(&swarm, &after, &after);
    swarm.daemons[0].ok(&["service", "rm", "web"]);
    wait_for("the containers to go", || {
        let left = swarm.daemons.iter().map(|daemon| daemon.ok(&["ps", "-q"])).collect::<String>();
        left.is_empty().then_some(())
    });
    // What the daemon did not live to give back has no device any more, a moment behind the container.
    for node in &cluster.nodes {
        wait_for("the leases to be taken back", || {
            node.call("GC").run().silent();
            node.leases().is_empty().then_some(())
        });
    }
}

#[test]
fn a_service_is_beside_other_networks_of_the_swarm() {
    let cluster = cluster(2);
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let swarm = Swarm::start(&cluster, &[portmap]);
    swarm.daemons[0].ok(&["network", "create", "-d", "overlay", "--attachable", "other"]);
    let publish = ["--publish", "mode=host,published=18099,target=80"];
    swarm.serve("web", &[&publish[..], &["--network", "other", "--mode", "global"]].concat());
    let web = swarm.tasks("web", 2);
    assert_all_reach(&swarm, &web, &web);
    let other: Vec<_> =
        web.iter().map(|task| swarm.daemons[task.node].addresses(&task.id, "other")[0]).collect();
    swarm.daemons[web[0].node].ping(&web[0].id, other[1]);
    for node in &cluster.nodes {
        assert!(node.netns.exec("nft list ruleset").contains("18099"), "{}", node.name);
    }
    swarm.daemons[0].ok(&["service", "rm", "web"]);
    cluster.nodes.iter().for_each(wait_for_no_lease);
    for node in &cluster.nodes {
        assert!(!node.netns.exec("nft list ruleset").contains("18099"), "{}", node.name);
    }
}
