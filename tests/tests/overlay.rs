//! One flat network: who reaches whom, with which packets, through which kernel objects.

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener, TcpStream};

use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::kernel::{self, Route};
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe;
use serde_json::json;

#[test]
fn every_pod_reaches_every_pod() {
    let cluster = Cluster::new(3);
    let pods: Vec<Pod> = cluster.fill(2).into_iter().flatten().collect();
    for (i, from) in pods.iter().enumerate() {
        for (_, to) in pods.iter().enumerate().filter(|(j, _)| i != *j) {
            assert_eq!(to.addresses().len(), 2, "one address per family: {}", to.result);
            for address in to.addresses() {
                probe::ping(&from.netns, address);
            }
        }
    }
}

#[test]
fn a_pod_is_seen_under_its_own_address() {
    let mut cluster = Cluster::new(2);
    // Masquerading is for what leaves the cluster only.
    cluster.configure("ipMasq", json!(true));
    let pods = cluster.fill(1);
    let (client, server) = (&pods[0][0], &pods[1][0]);
    for (from, to) in client.addresses().into_iter().zip(server.addresses()) {
        let listener = server.netns.run(|| TcpListener::bind((to, 0))).unwrap();
        let target = listener.local_addr().unwrap();
        let stream = client.netns.run(|| TcpStream::connect(target)).unwrap();
        let (_, seen) = listener.accept().unwrap();
        assert_eq!(seen.ip(), from, "{stream:?}");
    }
}

#[test]
fn nodes_and_pods_reach_each_other() {
    let cluster = Cluster::new(2);
    let pods = cluster.fill(1);
    for (n, node) in cluster.nodes.iter().enumerate() {
        for pod in [&pods[n][0], &pods[1 - n][0]] {
            for address in pod.addresses() {
                probe::ping(&node.netns, address);
            }
            for address in node.vtep_addresses().into_iter().chain([node.vtep]) {
                probe::ping(&pod.netns, address);
            }
        }
    }
}

#[test]
fn who_has_a_route_reaches_a_pod_from_the_underlay() {
    let cluster = Cluster::new(1);
    let (host, _) = cluster.outsider(200);
    let pod = cluster.nodes[0].add("pod");
    host.exec("ip route add 10.244.1.0/24 via 192.168.50.1");
    probe::ping(&host, pod.v4());
    probe::transfer(&host, &pod.netns, pod.v4(), 1 << 20);
}

#[test]
fn a_full_size_packet_passes_and_one_byte_more_is_refused() {
    // (underlay MTU, IPv6 underlay, configured MTU, MTU the pods must have)
    let cases = [
        (1500, false, None, 1450),
        (1500, true, None, 1430),
        (9000, false, None, 8950),
        (1400, false, None, 1350),
        (1500, false, Some(1300), 1300),
    ];
    for (mtu, v6_underlay, configured, expected) in cases {
        let mut cluster = Cluster::with(Settings { nodes: 2, mtu, v6_underlay });
        cluster.configure("mtu", json!(configured));
        let pods = cluster.fill(1);
        let (from, to) = (&pods[0][0], &pods[1][0]);
        let node = &cluster.nodes[0];
        let devices: [(&Netns, &str); 3] =
            [(&from.netns, "eth0"), (&node.netns, from.veth()), (&node.netns, &node.overlay())];
        for (netns, link) in devices {
            let link = kernel::link(netns, link).unwrap();
            assert_eq!(link["mtu"], expected, "underlay {mtu}: {link}");
        }
        for address in to.addresses() {
            let fits = probe::ping_of_size(&from.netns, address, expected);
            assert!(fits.status.success(), "underlay {mtu}, {expected} bytes: {fits:?}");
            let over = probe::ping_of_size(&from.netns, address, expected + 1);
            let said = String::from_utf8_lossy(&over.stderr).to_lowercase();
            assert!(!over.status.success(), "underlay {mtu}: {over:?}");
            assert!(said.contains("message too long"), "underlay {mtu}: {over:?}");
        }
    }
}

/// Sixty peers are reached by the same route, but for one that has a route of its own, and then for
/// one more that a rule sends to another table: the narrowest way counts.
#[test]
fn the_narrowest_of_many_ways_gives_the_mtu() {
    for (v6_underlay, family, overhead) in [(false, "-4", 50), (true, "-6", 70)] {
        let cluster = Cluster::with(Settings { nodes: 1, mtu: 1500, v6_underlay });
        let node = &cluster.nodes[0];
        let vtep = |n: u8| match v6_underlay {
            true => format!("fd00:50::{n:x}"),
            false => format!("192.168.50.{n}"),
        };
        let peer = |n: u8| json!({ "name": format!("peer-{n}"), "vtep": vtep(n), "ranges": [format!("10.244.{n}.0/24")] });
        let nodes: Vec<_> = [node.entry()].into_iter().chain((2..62).map(peer)).collect();
        cluster.write_range_file(&json!({ "version": 1, "vni": 4096, "nodes": nodes }));
        let (own, ruled) = (vtep(40), vtep(50));
        let steps = [
            (1500, vec![]),
            (1480, vec![format!("route add {own} dev {UNDERLAY} mtu 1480")]),
            (
                1460,
                vec![
                    format!("route add {ruled} dev {UNDERLAY} mtu 1460 table 77"),
                    format!("rule add to {ruled} lookup 77"),
                ],
            ),
        ];
        for (narrowest, commands) in steps {
            for command in commands {
                node.netns.exec(&format!("ip {family} {command}"));
            }
            node.del(&node.add("pod")).silent();
            let link = kernel::link(&node.netns, &node.overlay()).expect("the overlay");
            assert_eq!(link["mtu"], narrowest - overhead, "{family}: {link}");
            node.forget_overlay();
        }
    }
}

#[test]
fn an_mtu_the_underlay_cannot_carry_is_refused() {
    let mut cluster = Cluster::new(2);
    cluster.configure("mtu", json!(1451));
    let pod = Pod::new("pod");
    let error = cluster.nodes[0].call_for("ADD", &pod).run().error();
    assert_eq!(error.code, 7, "{error:?}");
    for part in ["mtu", "1451", "1450"] {
        assert!(error.msg.contains(part), "{part}: {error:?}");
    }
    assert_eq!(kernel::link_names(&pod.netns), ["lo".into()].into());
}

#[test]
fn tcp_carries_megabytes_unchanged_across_nodes() {
    let cluster = Cluster::new(2);
    let pods = cluster.fill(1);
    for address in pods[1][0].addresses() {
        probe::transfer(&pods[0][0].netns, &pods[1][0].netns, address, 8 << 20);
    }
    for address in pods[0][0].addresses() {
        probe::transfer(&pods[1][0].netns, &pods[0][0].netns, address, 8 << 20);
    }
}

#[test]
fn the_overlay_device_is_as_designed() {
    let cluster = Cluster::new(3);
    let _pods = cluster.fill(1);
    let mut macs = BTreeSet::new();
    for node in &cluster.nodes {
        let link = kernel::link(&node.netns, "flat.4096").expect("an overlay device");
        let data = &link["linkinfo"]["info_data"];
        assert_eq!(link["linkinfo"]["info_kind"], "vxlan", "{link}");
        assert_eq!(data["id"], 4096, "{link}");
        assert_eq!(data["local"], node.vtep.to_string(), "{link}");
        assert_eq!(data["port"], 4789, "{link}");
        assert_eq!(data["learning"], false, "{link}");
        assert_eq!(data["group"], json!(null), "no multicast: {link}");
        let ports = &data["port_range"];
        assert!(ports["low"].as_u64() > Some(0), "an explicit source-port range: {link}");
        assert!(ports["high"].as_u64() > ports["low"].as_u64(), "{link}");
        assert!(link["flags"].as_array().unwrap().contains(&json!("UP")), "{link}");
        assert!(macs.insert(link["address"].to_string()), "VTEP MACs differ: {link}");
        let expected: BTreeSet<String> = node
            .vtep_addresses()
            .iter()
            .map(|address| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }))
            .collect();
        assert_eq!(kernel::addresses(&node.netns, "flat.4096"), expected);
    }
}

#[test]
fn each_peer_has_its_routes_neighbours_and_fdb_entry() {
    let cluster = Cluster::new(3);
    let _pods = cluster.fill(1);
    let mut metrics = BTreeSet::new();
    for node in &cluster.nodes {
        let dev = node.overlay();
        let peers: Vec<&Node> =
            cluster.nodes.iter().filter(|peer| peer.name != node.name).collect();
        let routes: Vec<Route> =
            kernel::routes(&node.netns).into_iter().filter(|route| route.dev == dev).collect();
        let mut expected_routes = Vec::new();
        let mut neighbours = BTreeSet::new();
        let mut fdb = BTreeSet::new();
        for peer in peers {
            let mac = mac_of(peer);
            fdb.insert((mac.clone(), peer.vtep));
            let own = node.vtep_addresses();
            for (n, via) in peer.vtep_addresses().into_iter().enumerate() {
                neighbours.insert((via, mac.clone()));
                let dst = peer.ranges[n].as_str().unwrap().to_owned();
                let metric = routes.iter().find(|route| route.dst == dst).map_or(0, |r| r.metric);
                metrics.insert((dst.clone(), metric));
                expected_routes.push(Route {
                    dst,
                    via: Some(via.to_string()),
                    dev: dev.clone(),
                    src: Some(own[n].to_string()),
                    metric,
                    onlink: true,
                });
            }
        }
        expected_routes.sort();
        assert_eq!(routes, expected_routes, "{}", node.name);
        assert_eq!(kernel::neighbours(&node.netns, &dev), neighbours, "{}", node.name);
        assert_eq!(kernel::fdb(&node.netns, &dev), fdb, "{}", node.name);
    }
    // Every node gives a peer the same metric, and no two peers share one of a family.
    assert_eq!(metrics.len(), 6, "one metric per range, the same everywhere: {metrics:?}");
    for family in ["10.244.", "fd00:"] {
        let of_family = metrics.iter().filter(|(dst, _)| dst.starts_with(family));
        let distinct: BTreeSet<u64> = of_family.map(|(_, metric)| *metric).collect();
        assert_eq!(distinct.len(), 3, "{metrics:?}");
        assert!(!distinct.contains(&0), "{metrics:?}");
    }
}

/// The MAC of a node's overlay device.
fn mac_of(node: &Node) -> String {
    let link = kernel::link(&node.netns, &node.overlay()).expect("an overlay device");
    link["address"].as_str().unwrap().to_owned()
}

#[test]
fn an_attachment_is_as_designed() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let mut pod = Pod::new("pod");
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0";
    pod.result = node.call_for("ADD", &pod).env("CNI_ARGS", args).run().result();

    let veth = pod.veth();
    let digits = veth.strip_prefix("veth").expect("a veth's name");
    assert_eq!(digits.len(), 11, "{veth}");
    assert!(digits.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()), "{veth}");
    kernel::wait_until_up(&node.netns, veth);
    let outer = kernel::link(&node.netns, veth).expect("the node's end");
    let inner = kernel::link(&pod.netns, "eth0").expect("the pod's end");
    assert_eq!(outer["ifalias"], "flatnet:pods/shop/web-0/eth0", "{outer}");
    for (link, position) in [(&outer, 0), (&inner, 1)] {
        let reported = &pod.result["interfaces"][position];
        assert_eq!(link["linkinfo"]["info_kind"], "veth", "{link}");
        assert_eq!(link["num_tx_queues"], 1, "{link}");
        assert_eq!(link["num_rx_queues"], 1, "{link}");
        assert_eq!(link["operstate"], "UP", "{link}");
        assert_eq!(link["ifname"], reported["name"]);
        assert_eq!(link["address"], reported["mac"]);
        assert_eq!(link["mtu"], reported["mtu"]);
    }
    assert_ne!(outer["address"], inner["address"]);

    inside_the_pod(&pod, outer["address"].as_str().unwrap());
    on_the_node(node, &pod, inner["address"].as_str().unwrap());
}

/// What stands in the pod's namespace, given the MAC of the node's end.
fn inside_the_pod(pod: &Pod, gateway_mac: &str) {
    let cidrs = [format!("{}/32", pod.v4()), format!("{}/128", pod.v6())];
    assert_eq!(kernel::addresses(&pod.netns, "eth0"), cidrs.into());
    let gateways: [IpAddr; 2] = [[169, 254, 1, 1].into(), [0xfe80, 0, 0, 0, 0, 0, 0, 1].into()];
    let expected: BTreeSet<(IpAddr, String)> =
        gateways.into_iter().map(|gateway| (gateway, gateway_mac.to_owned())).collect();
    assert_eq!(kernel::neighbours(&pod.netns, "eth0"), expected);
    for (family, gateway) in [("-4", "169.254.1.1"), ("-6", "fe80::1")] {
        let routes = pod.netns.json(&format!("ip -j {family} route show default"));
        assert_eq!(routes.len(), 1, "{routes:?}");
        assert_eq!(routes[0]["gateway"], gateway);
        assert_eq!(routes[0]["dev"], "eth0");
    }
    assert_eq!(kernel::sysctl(&pod.netns, "ipv6/conf/eth0/accept_ra"), "0");
}

/// What stands on the node for a pod, given the MAC of the pod's end.
fn on_the_node(node: &Node, pod: &Pod, pod_mac: &str) {
    let veth = pod.veth();
    let routes = kernel::routes(&node.netns);
    let to_pod: BTreeSet<&str> =
        routes.iter().filter(|route| route.dev == veth).map(|route| route.dst.as_str()).collect();
    let (v4, v6) = (pod.v4().to_string(), pod.v6().to_string());
    assert_eq!(to_pod, [v4.as_str(), v6.as_str()].into());
    let neighbours = kernel::neighbours(&node.netns, veth);
    assert_eq!(neighbours, [(pod.v4(), pod_mac.into()), (pod.v6(), pod_mac.into())].into());
    let all: u8 = kernel::sysctl(&node.netns, "ipv4/conf/all/rp_filter").parse().unwrap();
    let own: u8 =
        kernel::sysctl(&node.netns, &format!("ipv4/conf/{veth}/rp_filter")).parse().unwrap();
    assert_eq!(all.max(own), 1, "a strict reverse-path filter is in force");
    for dev in [veth, &node.overlay()] {
        assert_eq!(kernel::sysctl(&node.netns, &format!("ipv4/conf/{dev}/forwarding")), "1");
    }
    assert_eq!(kernel::sysctl(&node.netns, "ipv6/conf/all/forwarding"), "1");
}
