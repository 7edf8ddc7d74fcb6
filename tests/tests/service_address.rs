//! What `flatnet trace` tells of a packet to a Service's address, beside what becomes of one: a connection
//! where it leads to a pod, and none where it leads nowhere.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use flatnet_tests::cli::{document, flatnet, trace};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::said;
use flatnet_tests::wait::wait_for;
use serde_json::{Value, json};

const PORT: u16 = 8080;

fn nft(node: &Node, ruleset: &str) {
    let mut nft = Command::new("nft");
    let output = node.netns.finish(nft.args(["-f", "-"]), ruleset.as_bytes());
    assert!(output.status.success(), "{}", said(&output));
}

/// As kube-proxy in its mode nftables: a Service with these endpoints, and one without.
fn kube_proxy(family: &str, to: [&str; 2], endpoints: &[IpAddr]) -> String {
    let (ip, kind) = if family == "ip" { ("ip", "ipv4_addr") } else { ("ip6", "ipv6_addr") };
    let [service, empty] = to;
    let mut chains = String::new();
    let mut choices = Vec::new();
    for (n, endpoint) in endpoints.iter().enumerate() {
        let to = SocketAddr::new(*endpoint, PORT);
        chains += &format!(
            "chain endpoint-{n} {{
                {ip} saddr {endpoint} meta mark set 0x4000
                meta l4proto tcp dnat to {to}
            }}\n"
        );
        choices.push(format!("{n} : goto endpoint-{n}"));
    }
    let (count, choices) = (endpoints.len(), choices.join(", "));
    format!(
        "table {ip} kube-proxy {{
            map service-ips {{
                type {kind} . inet_proto . inet_service : verdict
                elements = {{ {service} . tcp . 80 : goto service-web, {empty} . tcp . 80 : goto service-none }}
            }}
            {chains}
            chain service-web {{ numgen random mod {count} vmap {{ {choices} }}; }}
            chain service-none {{ }}
            chain services {{ {ip} daddr . meta l4proto . th dport vmap @service-ips; }}
            chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
        }}\n"
    )
}

/// Listens in a pod, in this family.
fn listen(pod: &Pod, family: usize) -> TcpListener {
    let address = pod.addresses()[family];
    let listener = pod.netns.run(|| TcpListener::bind((address, PORT))).expect("listen");
    listener.set_nonblocking(true).expect("a listener that does not wait");
    listener
}

/// Which of these gets a connection from a pod to a Service.
fn connected(from: &Netns, service: IpAddr, listeners: &[&TcpListener]) -> Option<usize> {
    let to = SocketAddr::new(service, 80);
    let _stream = from.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(1))).ok()?;
    let got = |listener: &&TcpListener| listener.accept().is_ok();
    Some(wait_for("the connection", || listeners.iter().position(got)))
}

/// What the hops of a station say.
fn told(node: &Node, from: &str, to: &str, code: i32) -> (Vec<String>, Value) {
    let found = document(&flatnet(node, "trace", &[from, to, "--json"]), code);
    let hops = found["hops"].as_array().expect("hops").iter().filter(|hop| hop["at"] == "NAT");
    let nat = hops.map(|hop| hop["what"].as_str().expect("words").to_owned());
    (nat.collect(), found["end"].clone())
}

#[test]
fn a_service_is_followed_to_its_pods() {
    let cluster = Cluster::new(2);
    let [node, other] = &cluster.nodes[..] else { unreachable!() };
    let (pod, far) = (node.add("pod"), other.add("far"));
    for (family, service, empty, n) in
        [("ip", "10.96.0.10", "10.96.0.11", 0), ("ip6", "fd00:96::10", "fd00:96::11", 1)]
    {
        let from = pod.addresses()[n].to_string();
        let endpoint = far.addresses()[n];
        let listener = listen(&far, n);
        let (to, nowhere): (IpAddr, IpAddr) =
            (service.parse().expect("an address"), empty.parse().expect("an address"));
        // Without kube-proxy nothing leads there, and that is told.
        assert_eq!(connected(&pod.netns, to, &[&listener]), None);
        let (nat, end) = told(node, &from, service, 1);
        assert_eq!(nat, [""; 0]);
        assert!(end["what"].to_string().contains(&format!("no route to {service}")), "{end}");
        assert!(end["mend"].to_string().contains("see that kube-proxy runs"), "{end}");

        nft(node, &kube_proxy(family, [service, empty], &[endpoint]));
        assert_eq!(connected(&pod.netns, to, &[&listener]), Some(0), "{service}");
        let (nat, end) = told(node, &from, service, 0);
        let place = SocketAddr::new(endpoint, PORT);
        assert_eq!(nat, [format!("table {family} kube-proxy leads {service} to {place}")]);
        let (stations, _) = trace(node, &from, service, 0);
        assert!(
            stations.ends_with(&["underlay".to_owned(), "range file".to_owned()]),
            "{stations:?}"
        );
        let end = end["what"].as_str().expect("words");
        let words = format!(
            "leaves for node-b: arrives if that answers (`flatnet probe`) and a pod there has {endpoint}"
        );
        assert!(end.starts_with(&words), "{end}");

        // One that has no endpoint, and an address that is no Service's.
        assert_eq!(connected(&pod.netns, nowhere, &[&listener]), None);
        let (nat, end) = told(node, &from, empty, 1);
        let words = format!(
            "table {family} kube-proxy names {empty}, and leads it nowhere that flatnet understands"
        );
        assert_eq!(nat, [words]);
        assert_eq!(end["arrives"], false, "{end}");
        let (nat, _) = told(node, &from, if n == 0 { "10.96.0.99" } else { "fd00:96::99" }, 1);
        assert_eq!(nat, [""; 0]);
    }
    // The way behind the Service is followed, too: what is missing there is named.
    node.netns.exec("ip route del 10.244.2.0/24");
    let listener = listen(&far, 0);
    assert_eq!(connected(&pod.netns, [10, 96, 0, 10].into(), &[&listener]), None);
    let (_, end) = told(node, &pod.v4().to_string(), "10.96.0.10", 1);
    let what = format!("the node has no route to {} of node-b", far.v4());
    assert!(end["what"].as_str().is_some_and(|words| words.starts_with(&what)), "{end}");
}

#[test]
fn of_several_endpoints_one_is_followed() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let (pod, near, far) = (node.add("pod"), node.add("near"), cluster.nodes[1].add("far"));
    let listeners = [&listen(&near, 0), &listen(&far, 0)];
    nft(node, &kube_proxy("ip", ["10.96.0.10", "10.96.0.11"], &[near.v4(), far.v4()]));
    assert!(connected(&pod.netns, [10, 96, 0, 10].into(), &listeners).is_some());
    let (nat, end) = told(node, &pod.v4().to_string(), "10.96.0.10", 0);
    let (near, far) = (near.v4(), far.v4());
    assert_eq!(
        nat,
        [
            format!("table ip kube-proxy leads 10.96.0.10 to {near}:{PORT}, {far}:{PORT}"),
            format!("{near} is followed")
        ]
    );
    assert!(end["what"].as_str().is_some_and(|words| words.starts_with("arrives at ")), "{end}");
}

/// As kube-proxy in its mode iptables; and a published port of this node, which is about no Service.
#[test]
fn rules_of_iptables_are_followed() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let (pod, far) = (node.add("pod"), cluster.nodes[1].add("far"));
    let listener = listen(&far, 0);
    let to = format!("{}:{PORT}", far.v4());
    for rule in [
        "-N KUBE-SERVICES".to_owned(),
        "-N KUBE-SVC-WEB".to_owned(),
        "-N KUBE-SEP-FAR".to_owned(),
        "-A PREROUTING -m comment --comment portals -j KUBE-SERVICES".to_owned(),
        "-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-WEB".to_owned(),
        "-A KUBE-SVC-WEB -m comment --comment far -j KUBE-SEP-FAR".to_owned(),
        format!("-A KUBE-SEP-FAR -p tcp -m tcp -j DNAT --to-destination {to}"),
        "-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 80 -j DNAT --to-destination 10.244.2.9:80"
            .to_owned(),
    ] {
        node.netns.exec(&format!("iptables-nft -t nat {rule}"));
    }
    assert_eq!(connected(&pod.netns, [10, 96, 0, 10].into(), &[&listener]), Some(0));
    let (nat, end) = told(node, &pod.v4().to_string(), "10.96.0.10", 0);
    assert_eq!(nat, [format!("table ip nat leads 10.96.0.10 to {to}")]);
    assert_eq!(end["arrives"], true);
    let (nat, _) = told(node, &pod.v4().to_string(), &far.v4().to_string(), 0);
    assert_eq!(nat, [""; 0], "nothing is said of a pod's own address");
}

#[test]
fn under_which_address_a_packet_leaves_the_cluster_is_told() {
    let mut cluster = Cluster::new(2);
    let (_outside, address) = cluster.outsider(200);
    for (masquerade, nodes, to, words) in [
        (json!(false), Value::Null, address, "with its own address SOURCE (ipMasq is off)"),
        (json!(true), Value::Null, address, "under the node's address (ipMasq)"),
        (json!(true), json!(false), address, "under the node's address (ipMasq)"),
        (
            json!(true),
            json!(false),
            cluster.nodes[1].vtep,
            "with its own address SOURCE (ipMasqNodes is off)",
        ),
    ] {
        cluster.configure("ipMasq", masquerade);
        cluster.configure("ipMasqNodes", nodes);
        let node = &cluster.nodes[0];
        let pod = node.add("pod");
        let (_, end) = told(node, &pod.v4().to_string(), &to.to_string(), 0);
        let words = words.replace("SOURCE", &pod.v4().to_string());
        let what = format!("leaves the cluster by under0, {words}");
        assert!(end["what"].as_str().is_some_and(|told| told.starts_with(&what)), "{what}: {end}");
        node.del(&pod).silent();
    }
}
