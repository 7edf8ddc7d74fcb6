//! A pod's gateway, an address that no device has: what is sent to it ends at the node.

use std::net::IpAddr;

use flatnet_tests::frame::udp;
use flatnet_tests::raw::Sink;
use serde_json::json;

use crate::scene::{Scene, at};
use crate::tally::{Shot, Tally};

/// The first byte of it, behind an IPv4 header.
const UDP_CHECKSUM: usize = 26;

#[test]
fn what_is_sent_to_the_gateway_does_not_leave_the_node() {
    let mut tally = Tally::new("datagrams to the gateway");
    for masquerade in [false, true] {
        let scene = Scene::with(false, json!(masquerade));
        let node = &scene.node().netns;
        let outside = scene.cluster.host([192, 168, 50, 200].into());
        outside.exec("ip addr add fd00:50::c8/64 dev under0 nodad");
        for line in [
            "ip addr add fd00:50::1/64 dev under0 nodad",
            "ip addr add fe80::50:1/64 dev under0 nodad",
            "ip route add default via 192.168.50.200",
            "ip route add default via fd00:50::c8",
        ] {
            node.exec(line);
        }
        let sink = Sink::frames(&outside);
        let world: [IpAddr; 2] =
            [[192, 0, 2, 1].into(), "2001:db8::1".parse().expect("an address")];
        let gateways: [IpAddr; 2] =
            [[169, 254, 1, 1].into(), "fe80::1".parse().expect("an address")];
        for (gateway, world) in gateways.into_iter().zip(world) {
            let own = scene.own(world);
            let to = |to: IpAddr, payload: &[u8]| vec![scene.frame(&udp(at(own), at(to), payload))];
            let shot = Shot::new(format!("{gateway}"), |payload| to(gateway, payload));
            let honest = |payload: &[u8]| to(world, payload);
            tally.volley(&scene.port, &sink, (&scene.port, honest), vec![shot]);
        }
        // Conntrack knows no connection of it, so NAT's chains do not see it.
        let invalid = |payload: &[u8]| {
            let mut packet = udp(at(scene.attacker.v4()), at(gateways[0]), payload);
            packet[UDP_CHECKSUM] ^= 0x55;
            vec![scene.frame(&packet)]
        };
        let to_world = |payload: &[u8]| {
            vec![scene.frame(&udp(at(scene.attacker.v4()), at([192, 0, 2, 1].into()), payload))]
        };
        let shot = Shot::new("169.254.1.1, with a wrong checksum", invalid);
        tally.volley(&scene.port, &sink, (&scene.port, to_world), vec![shot]);
        // Without our rules IPv4 would: the node has a way to everything.
        node.exec("nft delete table inet flatnet");
        let leaves = |payload: &[u8]| {
            vec![scene.frame(&udp(at(scene.attacker.v4()), at(gateways[0]), payload))]
        };
        for leaves in [&leaves as &dyn Fn(&[u8]) -> Vec<Vec<u8>>, &invalid] {
            let tally = &mut Tally::new("without rules");
            tally.volley(&scene.port, &sink, (&scene.port, leaves), Vec::new());
        }
    }
    tally.finish();
}
