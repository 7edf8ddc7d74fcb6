//! Services of every kind, with both kinds of rules that kube-proxy makes: one pod behind a service, on either node,
//! so that it is known which way a packet went.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use flatnet_cluster::cluster::{Cluster, Settings};
use flatnet_cluster::kube_proxy::Mode;
use flatnet_cluster::patience::until;
use flatnet_cluster::plan::{API_SERVICE, OUTSIDE, addresses};
use flatnet_cluster::pod::{By, seen};
use flatnet_cluster::steps::Step;
use flatnet_cluster::{client, network, objects, steps};
use flatnet_tests::fast_path::state;
use flatnet_tests::program::workspace;

#[path = "services/fast_path.rs"]
mod fast_path;

use fast_path::{
    a_client_stays_with_its_endpoint, agents_tell_what_takes_it, flows_between_pods_take_it,
    flows_by_a_service_go_the_usual_way, flows_end_with_their_endpoint,
};

/// Ports of every node that lead to `far`, for HTTP; the next is for UDP.
const CLUSTER: u16 = 30080;
/// The same for a service whose client must be seen.
const LOCAL: u16 = 30082;

fn main() -> ExitCode {
    let steps: &[Step] = steps![
        pods_and_services_come_up,
        a_service_leads_to_its_pod_which_sees_the_client,
        a_pod_reaches_itself_by_its_service,
        a_node_reaches_services,
        a_service_leads_to_all_of_its_pods,
        a_service_without_pods_refuses,
        a_pod_reaches_the_api_server,
        a_port_of_every_node_leads_to_the_pod,
        a_local_port_shows_the_client_and_is_on_its_node_alone,
        the_fast_path_is_switched_on,
        flows_between_pods_take_it,
        agents_tell_what_takes_it,
        a_service_leads_to_its_pod_which_sees_the_client,
        a_pod_reaches_itself_by_its_service,
        a_service_leads_to_all_of_its_pods,
        a_port_of_every_node_leads_to_the_pod,
        a_local_port_shows_the_client_and_is_on_its_node_alone,
        flows_by_a_service_go_the_usual_way,
        a_client_stays_with_its_endpoint,
        flows_end_with_their_endpoint,
    ];
    let with =
        |name: &str, proxy| steps::take(&Settings { proxy, ..Settings::new(name, 2) }, steps);
    let codes =
        [with("services-nftables", Mode::Nftables), with("services-iptables", Mode::Iptables)];
    codes.into_iter().find(|code| *code != ExitCode::SUCCESS).unwrap_or(ExitCode::SUCCESS)
}

fn pods_and_services_come_up(cluster: &mut Cluster) {
    network::install(cluster);
    cluster.kubectl().apply(&[
        objects::pod("near", "node-a"),
        objects::pod("far", "node-b"),
        objects::deployment("web", 4),
        objects::service("near", "near"),
        objects::service("far", "far"),
        objects::service("web", "web"),
        objects::service("nobody", "nobody"),
        objects::node_port("far-cluster", "far", CLUSTER, false),
        objects::node_port("far-local", "far", LOCAL, true),
    ]);
    cluster.kubectl().wait("condition=Ready", &["pods", "--all"]);
    cluster.kubectl().rolled_out("deployment/web");
    // When kube-proxy has heard of it, on both nodes.
    for node in &cluster.nodes {
        for service in ["near", "far", "web"] {
            for address in service_addresses(cluster, service) {
                let server = SocketAddr::new(address, 80);
                until("rules of a service", || {
                    client::get(&node.machine().netns, server, "/hostname")
                });
            }
        }
        // Other Services have other EndpointSlices, which it may hear of later.
        let local = (node.name == "node-b").then_some(LOCAL);
        for port in [Some(CLUSTER), local].into_iter().flatten() {
            for address in node.addresses() {
                until("rules of a port", || {
                    let server = SocketAddr::new(address, port);
                    client::get(&cluster.underlay.outside, server, "/hostname")
                });
            }
        }
    }
}

/// As docs/kubernetes.md has it, in the folder that was applied.
fn the_fast_path_is_switched_on(cluster: &mut Cluster) {
    for node in &cluster.nodes {
        assert_eq!(state(node)["wanted"], false, "{}", node.name);
    }
    let applied = PathBuf::from(network::manifest());
    let folder = tempfile::tempdir_in(workspace().join("target")).expect("a folder");
    for name in ["kustomization.yaml", "network.json"] {
        let text = fs::read_to_string(applied.join(name)).expect("a file of the overlay");
        let text = text.replace("../../base", "../../packaging/kubernetes/base");
        fs::write(folder.path().join(name), text).expect("write a file");
    }
    let commands = network::commands("docs/kubernetes.md", "kubectl apply -k .\n");
    let commands = format!("cd {}\n{commands}", folder.path().display());
    network::administer(cluster, &commands);
    for node in &cluster.nodes {
        assert_eq!(state(node)["stands"], true, "{}", node.name);
    }
}

/// A service's addresses, IPv4 first.
fn service_addresses(cluster: &Cluster, name: &str) -> [IpAddr; 2] {
    let service = cluster.kubectl().objects(&["service", name]).remove(0);
    let addresses = service["spec"]["clusterIPs"].as_array().expect("addresses").iter();
    let addresses = addresses.map(|text| text.as_str().expect("text").parse().expect("an address"));
    addresses.collect::<Vec<_>>().try_into().expect("both families")
}

fn a_service_leads_to_its_pod_which_sees_the_client(cluster: &mut Cluster) {
    let near = cluster.pod("app=near");
    for (own, service) in near.addresses.into_iter().zip(service_addresses(cluster, "far")) {
        for (by, port) in [(By::Http, 80), (By::Udp, 81)] {
            let server = SocketAddr::new(service, port);
            assert_eq!(cluster.ask(&near, by, server, "hostname"), Ok("far".to_owned()));
            let client = cluster.ask(&near, by, server, "clientip");
            assert_eq!(client.and_then(|client| seen(&client)), Ok(own));
        }
    }
}

fn a_pod_reaches_itself_by_its_service(cluster: &mut Cluster) {
    let near = cluster.pod("app=near");
    for service in service_addresses(cluster, "near") {
        for (by, port) in [(By::Http, 80), (By::Udp, 81)] {
            let server = SocketAddr::new(service, port);
            assert_eq!(cluster.ask(&near, by, server, "hostname"), Ok("near".to_owned()));
        }
    }
}

fn a_node_reaches_services(cluster: &mut Cluster) {
    for node in &cluster.nodes {
        let netns = &node.machine().netns;
        for name in ["near", "far"] {
            for service in service_addresses(cluster, name) {
                let http = client::get(netns, SocketAddr::new(service, 80), "/hostname");
                assert_eq!(http, Ok(name.to_owned()));
                let udp = client::datagram(netns, SocketAddr::new(service, 81), "hostname");
                assert_eq!(udp, Ok(name.to_owned()));
            }
        }
    }
}

fn a_service_leads_to_all_of_its_pods(cluster: &mut Cluster) {
    let near = cluster.pod("app=near");
    let names: BTreeSet<String> = cluster.pods("app=web").into_iter().map(|pod| pod.name).collect();
    assert_eq!(names.len(), 4);
    for service in service_addresses(cluster, "web") {
        let server = SocketAddr::new(service, 80);
        let mut answered = BTreeSet::new();
        until("answer of each pod", || {
            answered.insert(cluster.ask(&near, By::Http, server, "hostname")?);
            if answered.len() == names.len() { Ok(()) } else { Err(format!("{answered:?}")) }
        });
        assert_eq!(answered, names);
    }
}

fn a_service_without_pods_refuses(cluster: &mut Cluster) {
    let near = cluster.pod("app=near");
    for service in service_addresses(cluster, "nobody") {
        let answer = cluster.ask(&near, By::Http, SocketAddr::new(service, 80), "hostname");
        assert!(answer.as_ref().is_err_and(|error| error.contains("refused")), "{answer:?}");
    }
}

fn a_pod_reaches_the_api_server(cluster: &mut Cluster) {
    let connect = |port: u16| {
        let server = format!("{API_SERVICE}:{port}");
        let line = ["exec", "near", "--", "/bin/agnhost", "connect", "--timeout=5s", &server];
        cluster.kubectl().run(&line)
    };
    assert_eq!(connect(443), Ok(String::new()));
    let other = connect(444);
    assert!(other.is_err(), "a port that no service has: {other:?}");
}

fn a_port_of_every_node_leads_to_the_pod(cluster: &mut Cluster) {
    let outside = &cluster.underlay.outside;
    let near = cluster.pod("app=near");
    for address in cluster.nodes.iter().flat_map(|node| node.addresses()) {
        let http = SocketAddr::new(address, CLUSTER);
        let udp = SocketAddr::new(address, CLUSTER + 1);
        let wanted = Ok("far".to_owned());
        assert_eq!(client::get(outside, http, "/hostname"), wanted);
        assert_eq!(client::datagram(outside, udp, "hostname"), wanted);
        assert_eq!(cluster.ask(&near, By::Http, http, "hostname"), wanted);
    }
}

fn a_local_port_shows_the_client_and_is_on_its_node_alone(cluster: &mut Cluster) {
    let outside = &cluster.underlay.outside;
    for (own, address) in addresses(OUTSIDE).into_iter().zip(cluster.node("node-b").addresses()) {
        let http = client::get(outside, SocketAddr::new(address, LOCAL), "/clientip");
        assert_eq!(http.and_then(|client| seen(&client)), Ok(own));
        let udp = client::datagram(outside, SocketAddr::new(address, LOCAL + 1), "clientip");
        assert_eq!(udp.and_then(|client| seen(&client)), Ok(own));
    }
    for address in cluster.node("node-a").addresses() {
        let server = SocketAddr::new(address, LOCAL + 1);
        let nothing = client::datagram_within(outside, server, "hostname", Duration::from_secs(2));
        assert!(nothing.is_err(), "{nothing:?}");
    }
}
