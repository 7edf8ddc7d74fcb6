//! Packets from outside: of a host on the network between the nodes that is none of them, and of one
//! behind a VPN.

use std::net::IpAddr;

use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::frame::{BROADCAST, Mac, ethernet, udp};
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Node;
use flatnet_tests::raw::{Port, Sink};
use flatnet_tests::{kernel, sync};
use serde_json::json;

use crate::container::Container;
use crate::scene::{self, at};
use crate::tally::{Shot, Tally};
use crate::vxlan::{outer, shapes};

#[test]
fn an_outsider_cannot_inject_into_the_overlay() {
    let mut tally = Tally::new("VXLAN from an outsider");
    for v6_underlay in [false, true] {
        let (cluster, pods, _warm) = scene::filled(2, v6_underlay);
        let (node, pod, peer) = (&cluster.nodes[0], &pods[0][0], &cluster.nodes[1]);
        let outsider = cluster.stranger();
        let port = Port::open(&outsider, UNDERLAY);
        let mac = Port::open(&node.netns, UNDERLAY).mac;
        let multicast: Mac = [0x33, 0x33, 0, 0, 0, 1];
        let same_family = |address: &IpAddr| address.is_ipv6() == v6_underlay;
        let overlay = node.vtep_addresses().into_iter().find(same_family).expect("both families");
        let (outsider, ways): (IpAddr, Vec<(IpAddr, Mac)>) = if v6_underlay {
            let all = "ff02::1".parse().expect("an address");
            ("fd00:50::c8".parse().expect("an address"), vec![(all, multicast)])
        } else {
            let all = ["192.168.50.255", "255.255.255.255", "224.0.0.1"];
            let all = all.map(|text| (text.parse().expect("an address"), BROADCAST));
            ([192, 168, 50, 200].into(), all.into())
        };
        let ways: Vec<_> = [(node.vtep, mac), (overlay, mac)].into_iter().chain(ways).collect();
        let sink = Sink::frames(&pod.netns);
        let shot = |inner, from, (to, mac): (IpAddr, Mac), kind: usize, payload: &[u8]| {
            let packets = shapes(&outer(from, to, node, inner, payload)).swap_remove(kind);
            let frame = |packet: &Vec<u8>| ethernet(mac, port.mac, packet);
            packets.iter().map(frame).collect::<Vec<_>>()
        };
        let kinds = |inner| 0..shapes(&outer(outsider, node.vtep, node, inner, &[0; 16])).len();
        for inner in pod.addresses() {
            for kind in kinds(inner) {
                let shots = ways.iter().map(|way| {
                    let what = format!("{outsider} to {} around {inner}, shape {kind}", way.0);
                    Shot::new(what, |payload| shot(inner, outsider, *way, kind, payload))
                });
                // A false VTEP is heard: who can send under another host's address on the network
                // between the nodes is beyond what a packet filter can tell.
                let honest = |payload: &[u8]| shot(inner, peer.vtep, ways[0], 0, payload);
                tally.volley(&port, &sink, (&port, honest), shots.collect());
            }
        }
        // In every shape they are good ones: without rules they arrive.
        node.netns.exec("nft delete table inet flatnet");
        for inner in pod.addresses() {
            for kind in kinds(inner) {
                let good = |payload: &[u8]| shot(inner, outsider, ways[0], kind, payload);
                Tally::new("without rules").volley(&port, &sink, (&port, good), Vec::new());
            }
        }
    }
    tally.finish();
}

/// The server of a VPN of the node's, which could send anything; the node would send it back there.
fn vpn_server(node: &Netns) -> Netns {
    let server = Netns::new("vpn");
    node.exec(&format!("ip link add vpn0 type veth peer name eth0 netns {}", server.name()));
    for (netns, device, n) in [(node, "vpn0", 1), (&server, "eth0", 2)] {
        netns.exec(&format!("ip addr add 100.64.0.{n}/24 dev {device}"));
        netns.exec(&format!("ip addr add fd00:64::{n}/64 dev {device} nodad"));
        netns.exec(&format!("ip link set {device} addrgenmode none up"));
    }
    for device in ["all", "vpn0"] {
        kernel::set_sysctl(node, &format!("ipv4/conf/{device}/rp_filter"), "0");
    }
    kernel::wait_until_up(node, "vpn0");
    kernel::wait_until_up(&server, "eth0");
    server
}

/// Adds routes by the VPN, and has flatnet take note of them.
fn route_by_vpn(node: &Node, routes: &[&str]) {
    for route in routes {
        let via = if route.contains(':') { "fd00:64::2" } else { "100.64.0.2" };
        node.netns.exec(&format!("ip route add {route} via {via} dev vpn0"));
    }
    sync::apply(node);
}

/// What a VPN has the machine send it is not the way to the peers, which are nearer: not a default route,
/// nor one in parts, nor one to more than the network of the nodes.
#[test]
fn nobody_behind_a_vpn_is_taken_for_a_node() {
    let mut tally = Tally::new("packets from behind a VPN");
    for v6_underlay in [false, true] {
        let (cluster, pods, _warm) = scene::filled(2, v6_underlay);
        let (node, pod, peer) = (&cluster.nodes[0], &pods[0][0], &cluster.nodes[1]);
        let server = vpn_server(&node.netns);
        let (far, near) = (Port::open(&server, "eth0"), Port::open(&peer.netns, UNDERLAY));
        let [far_mac, near_mac] = ["vpn0", UNDERLAY].map(|dev| kernel::mac(&node.netns, dev));
        let sink = Sink::frames(&pod.netns);
        let wrapped = |inner, payload: &[u8]| outer(peer.vtep, node.vtep, node, inner, payload);
        let by_vpn = |packet: Vec<u8>| vec![ethernet(far_mac, far.mac, &packet)];
        let bare = |inner: IpAddr, payload: &[u8]| {
            let source = if inner.is_ipv4() { pods[1][0].v4() } else { pods[1][0].v6() };
            by_vpn(udp(at(source), at(inner), payload))
        };
        // The last are beside the way to the peers: such an uplink may be the one that packets come by.
        let beside =
            if v6_underlay { "fd00:50::/64 metric 1024" } else { "192.168.50.0/24 metric 9" };
        for (routes, heard) in [
            (&["default metric 9", "::/0 metric 9"][..], false),
            (&["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"], false),
            (&["192.0.0.0/2", "f800::/5"], false),
            (&["192.168.0.0/16", "fd00::/8"], false),
            (&[beside], true),
        ] {
            route_by_vpn(node, routes);
            for inner in pod.addresses() {
                if heard {
                    let good = |payload: &[u8]| by_vpn(wrapped(inner, payload));
                    Tally::new("a spare route").volley(&far, &sink, (&far, good), Vec::new());
                    continue;
                }
                let what = |kind| format!("{kind} to {inner}, with {routes:?} by the VPN");
                let shots = vec![
                    Shot::new(what("VXLAN"), |payload| by_vpn(wrapped(inner, payload))),
                    Shot::new(what("bare"), |payload| bare(inner, payload)),
                ];
                let honest =
                    |payload: &[u8]| vec![ethernet(near_mac, near.mac, &wrapped(inner, payload))];
                tally.volley(&far, &sink, (&near, honest), shots);
            }
        }
        // Without rules both kinds arrive, whatever the routes.
        node.netns.exec("nft delete table inet flatnet");
        node.netns.exec(&format!("ip route del {beside} dev vpn0"));
        for inner in pod.addresses() {
            let mut good = Tally::new("without rules");
            good.volley(&far, &sink, (&far, |p: &[u8]| by_vpn(wrapped(inner, p))), Vec::new());
            good.volley(&far, &sink, (&far, |p: &[u8]| bare(inner, p)), Vec::new());
        }
    }
    tally.finish();
}

/// Who may say where a node is, an agent with a token, may say that one is among the containers of another machine: that one is
/// heard from there, and nobody else.
#[test]
fn a_node_among_containers_is_heard_from_there_alone() {
    let mut tally = Tally::new("packets of containers beside a node");
    for v6_underlay in [false, true] {
        let (cluster, pods, _warm) = scene::filled(2, v6_underlay);
        let (node, peer, pod) = (&cluster.nodes[0], &cluster.nodes[1], &pods[0][0]);
        let container = Container::new(node, v6_underlay);
        let forwarding = "ipv4/conf/docker0/forwarding";
        kernel::set_sysctl(&node.netns, forwarding, "0");
        for device in ["all", "docker0"] {
            kernel::set_sysctl(&node.netns, &format!("ipv4/conf/{device}/rp_filter"), "0");
        }
        let beside: IpAddr =
            if v6_underlay { "fd00:17::99" } else { "172.17.0.99" }.parse().expect("an address");
        let entry = json!({ "name": "beside", "vtep": beside, "ranges": ["10.244.9.0/24"] });
        cluster.write_range_file(&json!({
            "version": 1,
            "vni": node.network.vni,
            "clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/56"],
            "nodes": [node.entry(), peer.entry(), entry],
        }));
        sync::apply(node);
        assert_eq!(kernel::sysctl(&node.netns, forwarding), "0", "no router for containers");

        let sink = Sink::frames(&pod.netns);
        let wrapped = |from, inner, payload: &[u8]| {
            vec![container.frame(&outer(from, node.vtep, node, inner, payload))]
        };
        for inner in pod.addresses() {
            let source = pods[1][0].like(inner);
            let shots = vec![
                Shot::new(format!("VXLAN to {inner}"), |payload| {
                    wrapped(peer.vtep, inner, payload)
                }),
                Shot::new(format!("bare to {inner}"), |payload| {
                    vec![container.frame(&udp(at(source), at(inner), payload))]
                }),
            ];
            let honest = |payload: &[u8]| wrapped(beside, inner, payload);
            tally.volley(&container.port, &sink, (&container.port, honest), shots);
        }
        node.netns.exec("nft delete table inet flatnet");
        for inner in pod.addresses() {
            let good = |payload: &[u8]| wrapped(peer.vtep, inner, payload);
            let tally = &mut Tally::new("without rules");
            tally.volley(&container.port, &sink, (&container.port, good), Vec::new());
        }
    }
    tally.finish();
}
