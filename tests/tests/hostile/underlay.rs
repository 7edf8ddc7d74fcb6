//! VXLAN from outside: a host on the network between the nodes that is none of them.

use std::net::IpAddr;

use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::frame::{BROADCAST, Mac, ethernet};
use flatnet_tests::raw::{Port, Sink};

use crate::scene;
use crate::tally::{Shot, Tally};
use crate::vxlan::{outer, shapes};

#[test]
fn an_outsider_cannot_inject_into_the_overlay() {
    let mut tally = Tally::new("VXLAN from an outsider");
    for v6_underlay in [false, true] {
        let cluster = scene::cluster(2, v6_underlay);
        cluster.nodes.iter().for_each(|node| node.begin_with_the_first("pods"));
        let pods = cluster.fill(1);
        let _warm = scene::warm(&cluster, &pods.iter().flatten().collect::<Vec<_>>());
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
