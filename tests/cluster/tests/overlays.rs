//! The shipped overlays for clusters of other kinds: whose Nodes have no `podCIDRs`, and in IPv6 alone. That for both
//! families is what all other tests have.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use flatnet_cluster::cluster::{Cluster, Settings};
use flatnet_cluster::patience::until;
use flatnet_cluster::pod::HTTP;
use flatnet_cluster::{client, network, objects, steps};
use flatnet_tests::image;

fn main() -> ExitCode {
    let settings = Settings { pod_cidrs: false, ..Settings::new("overlays", 2) };
    let steps = steps![nodes_claim_ranges, pods_have_ipv6_alone, absent_kinds_are_told];
    steps::take(&settings, steps)
}

fn nodes_claim_ranges(cluster: &mut Cluster) {
    cluster.import(image::ours());
    let [near, far] = pods_by(cluster, "claim-ranges");
    let block = |address: &IpAddr| match address {
        IpAddr::V4(address) => u32::from(*address) >> 6,
        IpAddr::V6(_) => panic!("{address}"),
    };
    assert_ne!(block(&near), block(&far), "{near} {far}");
    network::remove(cluster, "claim-ranges");
}

fn pods_have_ipv6_alone(cluster: &mut Cluster) {
    let pods = pods_by(cluster, "ipv6-only");
    assert!(pods.iter().all(IpAddr::is_ipv6), "{pods:?}");
}

fn absent_kinds_are_told(cluster: &mut Cluster) {
    let agent = network::agent(cluster, "node-a");
    let doctor = ["exec", &agent, "--namespace=kube-system", "--", "flatnet", "doctor"];
    let says = |words: &str| {
        until(words, || {
            let said = cluster.kubectl().run(&doctor).unwrap_or_else(|said| said);
            if said.contains(words) { Ok(()) } else { Err(said) }
        });
    };
    says("no finding in");
    cluster.kubectl().delete(&["crd", "flatnetnodes.flatnet.dev", "flatnetblocks.flatnet.dev"]);
    says("the API server knows no flatnet");
    network::install_overlay(cluster, "ipv6-only");
    says("no finding in");
}

/// Installs an overlay, lets two pods on two nodes ask each other, and ends them; the only address of each.
fn pods_by(cluster: &Cluster, overlay: &str) -> [IpAddr; 2] {
    network::install_overlay(cluster, overlay);
    let names = ["near", "far"];
    cluster.kubectl().apply(&[objects::pod("near", "node-a"), objects::pod("far", "node-b")]);
    cluster.kubectl().wait("condition=Ready", &["pods", "--all"]);
    let addresses = names.map(|name| {
        let pod = &cluster.kubectl().objects(&["pod", name])[0];
        let addresses = pod["status"]["podIPs"].as_array().expect("addresses").clone();
        assert_eq!(addresses.len(), 1, "{overlay}: {addresses:?}");
        let address: IpAddr = addresses[0]["ip"].as_str().expect("text").parse().expect("address");
        address
    });
    for (from, to) in [(0, 1), (1, 0)] {
        let node = &cluster.nodes[from].machine().netns;
        let host = addresses[to];
        let path = format!("/dial?protocol=http&tries=1&host={host}&port={HTTP}&request=hostname");
        // A node hears of the other's range in its own time.
        until("way between pods", || {
            let answer = client::get(node, SocketAddr::new(addresses[from], HTTP), &path)?;
            let right = answer.contains(names[to]);
            if right { Ok(()) } else { Err(format!("{overlay}: {answer}")) }
        });
    }
    cluster.kubectl().delete(&["pods", "--all"]);
    addresses
}
