//! Nodes without a Kubernetes, whose agents go by an etcd of three members, of which one dies, as does a node.

use std::time::Instant;

use flatnet_cluster::etcd::agents::Fleet;
use flatnet_tests::node::Pod;
use flatnet_tests::probe::reaches;

const NODES: u8 = 4;

/// Shows it; whether every pod reached every other each time.
pub fn run() -> bool {
    let started = Instant::now();
    let say = |what: &str| println!("{:5.1} s  {what}", started.elapsed().as_secs_f32());
    say(&format!("starting an etcd of three members, and agents on {NODES} nodes"));
    let mut fleet = Fleet::new(NODES, &[]);
    fleet.start_all();
    let names: Vec<String> = fleet.cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    (0..names.len()).for_each(|index| fleet.until_listed(index, &names));
    say("each node has ranges; starting a pod on each");
    let mut pods: Vec<Pod> = fleet.cluster.nodes.iter().map(|node| node.add("pod")).collect();
    show(&fleet);
    let mut all = matrix(&names, &pods);

    let leader = fleet.etcd.leader();
    say(&format!("the leader of etcd, member {leader}, is killed; the agent of node-b, too"));
    fleet.etcd.kill_member(leader);
    fleet.kill(1);
    all &= matrix(&names, &pods);
    fleet.start(1);
    fleet.until_ready(1);

    say("node-d is gone for good, and is forgotten");
    fleet.kill(3);
    drop(pods.pop());
    print!("{}", fleet.administers(&["forget", "node-d", "--force"]));
    (0..3).for_each(|index| fleet.until_listed(index, &names[..3]));
    pods.push(fleet.node(0).add("pod"));
    show(&fleet);
    all &= matrix(&[names[0], names[1], names[2], names[0]], &pods);
    say("removing everything");
    drop((pods, fleet));
    say("done");
    all
}

fn show(fleet: &Fleet) {
    println!("\n# flatnet-agent etcd list\n{}", fleet.administers(&["list"]));
}

/// Prints who reaches whom; whether all do.
fn matrix(nodes: &[&str], pods: &[Pod]) -> bool {
    println!("# which pod (row) reaches which (column), by IPv4 and IPv6");
    let titles: Vec<String> =
        nodes.iter().zip(pods).map(|(node, pod)| format!("{} on {node}", pod.v4())).collect();
    let width = titles.iter().map(String::len).max().unwrap_or_default();
    let mut all = true;
    for (title, from) in titles.iter().zip(pods) {
        let mut row = String::new();
        for to in pods {
            let addresses = to.addresses();
            let reached = addresses.iter().filter(|to| reaches(&from.netns, **to)).count();
            all &= reached == addresses.len();
            row += &format!("  {reached}/{}", addresses.len());
        }
        println!("{title:width$}{row}");
    }
    println!();
    all
}
