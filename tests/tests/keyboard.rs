//! The commands for people on a node: what they tell when all is well, and when it is not.

use flatnet_tests::cli::{document, flatnet, text, trace};
use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::node::Pod;
use flatnet_tests::{kernel, sync};
use serde_json::{Value, json};

/// A pod with the names that Kubernetes gives.
fn named(cluster: &Cluster, namespace: &str, name: &str) -> Pod {
    let node = &cluster.nodes[0];
    let mut pod = Pod::new("pod");
    let args = format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};IgnoreUnknown=1");
    pod.result = node.call_for("ADD", &pod).env("CNI_ARGS", &args).run().result();
    pod
}

#[test]
fn status_tells_what_stands_and_why() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let before = text(&flatnet(node, "status", &[]), 1);
    assert!(before.contains("flat.4096, missing, VNI 4096, UDP port 4789"), "{before}");

    let _pods = (node.add("one"), node.add("two"));
    assert_eq!(
        text(&flatnet(node, "status", &[]), 0),
        "pods on node-a: in sync\n\
         \x20 overlay  flat.4096, up, VNI 4096, UDP port 4789\n\
         \x20 VTEP     192.168.50.1 on under0\n\
         \x20 MTU      1450: under0 carries 1500 toward 192.168.50.2, less 50 of outer headers\n\
         \x20 file     b4da8a86 (on every node that agrees)\n\
         \x20 peers    1, in sync\n\
         \x20 pods     2\n\
         \x20 RANGE               USED  FREE\n\
         \x20 10.244.1.0/24          2   252\n\
         \x20 fd00:10:244:1::/64     2  2^64\n"
    );

    node.netns.exec("ip neigh del 10.244.2.0 dev flat.4096");
    let drifted = text(&flatnet(node, "status", &[]), 1);
    assert!(drifted.starts_with("pods on node-a: drifted, 1 change to make"), "{drifted}");
    assert!(drifted.contains("peers    1, 1 drifted: node-b"), "{drifted}");
    let document = document(&flatnet(node, "status", &["--json"]), 1);
    let network = &document["networks"][0];
    assert_eq!(network["peers"], json!({ "total": 1, "drifted": ["node-b"] }));
    assert_eq!(network["ranges"][0], json!({ "subnet": "10.244.1.0/24", "used": 2, "free": 252 }));
}

#[test]
fn what_cannot_be_looked_at_is_an_exit_code_of_its_own() {
    let mut cluster = Cluster::new(1);
    cluster.configure("node", json!("node-x"));
    let node = &cluster.nodes[0];
    for command in ["status", "list"] {
        let output = flatnet(node, command, &[]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("network pods: ") && said.contains("\"node-x\""), "{said}");
    }
    let document = document(&flatnet(node, "status", &["--json"]), 2);
    assert!(document["networks"][0]["error"].is_string(), "{document}");
}

#[test]
fn list_tells_of_each_attachment_whether_it_is_whole() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    assert_eq!(
        text(&flatnet(node, "list", &[]), 0),
        "POD  INTERFACE  ADDRESSES  VETH  AGE  STATE\n"
    );
    let whole = named(&cluster, "default", "web-0");
    let drifted = named(&cluster, "default", "web-1");
    let in_pod = named(&cluster, "default", "web-2");
    let lost = named(&cluster, "default", "web-3");
    let _unnamed = node.add("unnamed");
    let listed = text(&flatnet(node, "list", &[]), 0);
    assert_eq!(listed.lines().count(), 6, "{listed}");
    assert!(listed.lines().skip(1).all(|line| line.ends_with("  whole")), "{listed}");

    node.netns.exec(&format!("ip neigh del {} dev {}", drifted.v4(), drifted.veth()));
    in_pod.netns.exec("ip link set eth0 mtu 1500");
    node.netns.exec(&format!("ip link del {}", lost.veth()));
    let document = document(&flatnet(node, "list", &["--json"]), 1);
    let of = |name: &str| -> Value {
        let all = document["attachments"].as_array().expect("a list");
        let found = all.iter().find(|entry| entry["pod"]["name"] == name);
        found.unwrap_or_else(|| panic!("{name} in {document}")).clone()
    };
    assert_eq!((&of("web-0")["state"], &of("web-0")["whole"]), (&json!("whole"), &json!(true)));
    assert_eq!(of("web-0")["addresses"], json!(whole.addresses()));
    assert_eq!(of("web-0")["veth"], whole.veth());
    assert_eq!(of("web-1")["state"], "drifted: 1 change to make");
    assert_eq!(of("web-2")["state"], "drifted: 1 change to make");
    assert_eq!(of("web-3")["state"], "lost: the node's end of the veth pair is gone");
    let listed = text(&flatnet(node, "list", &[]), 1);
    let rows: Vec<&str> = listed.lines().skip(1).collect();
    let names = rows.iter().map(|row| row.split(' ').next().expect("a name"));
    assert!(names.is_sorted(), "{listed}");
    let row = rows.iter().find(|line| line.starts_with("default/web-3 ")).expect("a row");
    assert!(row.ends_with("lost: the node's end of the veth pair is gone"), "{row}");
}

#[test]
fn trace_follows_a_packet_to_its_end() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let web = named(&cluster, "default", "web");
    let other = named(&cluster, "default", "other");
    let peer = cluster.nodes[1].add("peer");

    let inside = ["lease", "pod", "veth", "filters", "route"];
    let across = [&inside[..], &["neighbour", "FDB", "underlay", "range file"]].concat();
    for (from, to) in [
        ("default/web", peer.v4()),
        ("web", peer.v6()),
        (&web.container_id[..], peer.v4()),
        (&web.v6().to_string()[..], peer.v6()),
    ] {
        let (at, end) = trace(node, from, &to.to_string(), 0);
        assert_eq!(at, across, "{from} {to}");
        let what = format!(
            "leaves for node-b: arrives if that answers (`flatnet probe`) and a pod there has {to} \
             (`flatnet list` on node-b)"
        );
        assert_eq!(end, json!({ "arrives": true, "what": what }));
    }
    // What is for the node itself is not forwarded.
    let here = ["lease", "pod", "veth", "route"];
    let other = format!("arrives at interface eth0 of container {}", other.container_id);
    for (to, what, stations) in [
        ("default/other", other, &inside[..]),
        ("10.244.1.0", "arrives at this node".to_owned(), &here),
        ("192.168.50.1", "arrives at this node".to_owned(), &here),
        ("192.168.50.2", format!("leaves the cluster by {UNDERLAY}"), &inside),
    ] {
        let (at, end) = trace(node, "default/web", to, 0);
        assert_eq!(at, stations, "{to}");
        assert!(end["what"].as_str().is_some_and(|told| told.starts_with(&what)), "{to}: {end}");
    }
    let (_, end) = trace(node, "web", "10.244.2.0", 0);
    assert_eq!(
        end["what"],
        "leaves for node-b, whose own address on the overlay it is (`flatnet probe` asks it)"
    );
    let (at, end) = trace(node, "web", &web.v4().to_string(), 0);
    assert_eq!(at, ["lease"], "{end}");

    let text = text(&flatnet(node, "trace", &["web", &peer.v4().to_string()]), 0);
    assert!(
        text.contains("\n  ok  route       via 10.244.2.0 dev flat.4096, MTU 1450\n"),
        "{text}"
    );
}

#[test]
fn trace_names_what_is_missing_and_its_mend() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    node.begin_with_the_first("pods");
    let web = named(&cluster, "default", "web");
    let to = cluster.nodes[1].add("peer").v4().to_string();
    let (veth, source) = (web.veth().to_owned(), web.v4());
    let (mac, _) = kernel::fdb(&node.netns, "flat.4096").into_iter().next().expect("an entry");
    for (spoil, at, what) in [
        ("ip route del 10.244.2.0/24", "route", "the node has no route to "),
        ("ip neigh del 10.244.2.0 dev flat.4096", "neighbour", "there is no entry for 10.244.2.0"),
        (
            &format!("bridge fdb replace {mac} dev flat.4096 dst 192.168.50.66 self"),
            "FDB",
            "is taken to be behind 192.168.50.66, but node-b is 192.168.50.2",
        ),
        (&format!("ip link set {veth} down"), "veth", "is down"),
        (&format!("sysctl -qw net/ipv4/conf/{veth}/forwarding=0"), "veth", "forwarding is off"),
        (&format!("ip route del {source} dev {veth}"), "veth", "is not routed back to "),
        ("pod: ip route del default", "pod", "the pod has no route to "),
        (
            "pod: ip neigh del 169.254.1.1 dev eth0",
            "pod",
            "it does not know the MAC of 169.254.1.1",
        ),
    ] {
        match spoil.strip_prefix("pod: ") {
            Some(line) => web.netns.exec(line),
            None => node.netns.exec(spoil),
        };
        let (_, end) = trace(node, "web", &to, 1);
        assert_eq!((&end["arrives"], &end["at"]), (&json!(false), &json!(at)), "{spoil}: {end}");
        assert!(end["what"].as_str().is_some_and(|told| told.contains(what)), "{spoil}: {end}");
        let mend = end["mend"].as_str().expect("a mend");
        assert!(mend.starts_with("flatnet sync --conf-dir "), "{mend}");
        sync::apply(node);
        kernel::wait_until_up(&node.netns, &veth);
        assert_eq!(trace(node, "web", &to, 0).1["arrives"], true, "after {spoil}");
    }

    node.netns.exec("iptables-nft -P FORWARD DROP");
    let (_, end) = trace(node, "web", &to, 1);
    assert_eq!(end["at"], "filters", "{end}");
    let commands = end["mend"].as_str().expect("a mend").to_owned();
    commands.split(" && ").for_each(|command| drop(node.netns.exec(command)));
    assert_eq!(trace(node, "web", &to, 0).1["arrives"], true);

    for (to, what) in [
        ("10.244.1.99", "no pod of this node has 10.244.1.99"),
        ("10.244.99.1", "10.244.99.1 is in the cluster's ranges, but in no node's"),
        ("198.51.100.1", "the node has no route to 198.51.100.1"),
    ] {
        let (_, end) = trace(node, "web", to, 1);
        assert!(end["what"].as_str().is_some_and(|told| told.starts_with(what)), "{end}");
    }
    node.netns.exec(&format!("ip link del {veth}"));
    let (_, end) = trace(node, "web", "10.244.2.1", 1);
    assert_eq!(
        (&end["at"], &end["mend"]),
        (&json!("veth"), &json!("delete the pod, its runtime makes it again"),)
    );
    let unknown = flatnet(node, "trace", &["unknown", "10.244.2.1"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no pod of this node is named"));
}

#[test]
fn probe_asks_every_node_from_here_and_from_the_pods() {
    let cluster = Cluster::new(3);
    let node = &cluster.nodes[0];
    let _peers: Vec<Pod> = cluster.nodes[1..].iter().map(|peer| peer.add("peer")).collect();
    let _pods = (named(&cluster, "default", "a"), named(&cluster, "default", "b"));
    let printed = text(&flatnet(node, "probe", &[]), 0);
    assert!(printed.starts_with("pods from node-a\nNODE    ADDRESS"), "{printed}");
    assert!(printed.ends_with("\n6 of 6 answered\n"), "{printed}");

    let picture = cluster.folder().join("probe.svg");
    let with_pods = ["--pods", "--json", "--svg", &picture.display().to_string()];
    let whole = document(&flatnet(node, "probe", &with_pods), 0);
    let pairs = whole["networks"][0]["pairs"].as_array().expect("a list");
    assert_eq!(pairs.len(), 18, "{whole:#}");
    for from in ["node-a", "default/a", "default/b"] {
        for (peer, address) in cluster
            .nodes
            .iter()
            .flat_map(|peer| peer.vtep_addresses().into_iter().map(move |ip| (peer, ip)))
        {
            let pair = pairs.iter().find(|pair| {
                pair["from"] == from && pair["to"] == peer.name && pair["address"] == json!(address)
            });
            let trip = pair.and_then(|pair| pair["rttMs"].as_f64());
            assert!(trip.is_some_and(|trip| trip > 0.0), "{from} {address}: {pair:?}");
        }
    }
    let picture = std::fs::read_to_string(picture).expect("a picture");
    assert_eq!(picture.matches("<title>default/b to node-c: ").count(), 2, "{picture}");

    cluster.nodes[2].netns.exec(&format!("ip link set {UNDERLAY} down"));
    let printed = text(&flatnet(node, "probe", &["--pods"]), 1);
    let row = printed.lines().find(|line| line.starts_with("node-c  10.244.3.0")).expect("a row");
    assert_eq!(row.split_whitespace().skip(2).collect::<Vec<_>>(), ["x", "xx"], "{printed}");
    assert!(printed.contains("no answer: from default/a to node-c (10.244.3.0)\n"), "{printed}");
    assert!(printed.ends_with("\n12 of 18 answered\n"), "{printed}");
}
