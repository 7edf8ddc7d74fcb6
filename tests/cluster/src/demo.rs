//! Nodes with pods, shown as an administrator sees them, and who reaches whom.

use std::net::SocketAddr;
use std::time::Instant;

use flatnet_cluster::cluster::{Cluster, Settings};
use flatnet_cluster::pod::{By, Pod};
use flatnet_cluster::{network, objects};

/// Shows it; whether every pod reached every other.
pub fn run(nodes: u8) -> bool {
    let started = Instant::now();
    let say = |what: &str| println!("{:5.1} s  {what}", started.elapsed().as_secs_f32());
    say(&format!("starting a control plane and {nodes} nodes"));
    let settings = Settings::new("demo", nodes);
    let cluster = Cluster::start(&settings);
    say("installing flatnet");
    network::install(&cluster);
    say("the nodes are Ready; starting two pods for each, and a service");
    let pods = usize::from(nodes) * 2;
    cluster.kubectl().apply(&[objects::deployment("web", pods), objects::service("web", "web")]);
    cluster.kubectl().rolled_out("deployment/web");
    say("the pods are ready");
    for line in [
        &["get", "nodes", "--output=wide"][..],
        &["get", "pods", "--all-namespaces", "--output=wide"],
        &["get", "flatnetnodes,flatnetblocks"],
    ] {
        println!("\n# kubectl {}\n{}", line.join(" "), cluster.kubectl().must(line));
    }
    println!("# which pod (row) reaches which (column): HTTP and UDP, IPv4 and IPv6");
    let all = matrix(&cluster, &cluster.pods("app=web"));
    println!();
    say("removing everything");
    drop(cluster);
    say("done");
    all
}

/// Prints who reaches whom; whether all do.
fn matrix(cluster: &Cluster, pods: &[Pod]) -> bool {
    let titles: Vec<String> = (1..)
        .zip(pods)
        .map(|(number, pod)| format!("{number} {} on {}", pod.name, pod.node))
        .collect();
    let width = titles.iter().map(String::len).max().unwrap_or_default();
    let header: String = (1..=pods.len()).map(|number| format!(" {number:>4}")).collect();
    println!("{:width$}{header}", "");
    let mut all = true;
    for (title, from) in titles.iter().zip(pods) {
        let mut row = String::new();
        for to in pods {
            let reached = reaches(cluster, from, to);
            all &= reached == 4;
            row += &format!(" {:>4}", format!("{reached}/4"));
        }
        println!("{title:width$}{row}");
    }
    all
}

/// In how many of four ways one pod reaches another.
fn reaches(cluster: &Cluster, from: &Pod, to: &Pod) -> usize {
    let servers = to.addresses.into_iter();
    let ways = servers.flat_map(|address| [(address, By::Http), (address, By::Udp)]);
    let answers = ways.map(|(address, by)| {
        cluster.ask(from, by, SocketAddr::new(address, by.port()), "hostname")
    });
    answers.filter(|answer| answer.as_ref() == Ok(&to.name)).count()
}
