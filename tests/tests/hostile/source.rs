//! False sources: addresses and MACs that are not the pod's own.

use std::net::{IpAddr, Ipv6Addr};

use flatnet_tests::frame::{BROADCAST, Mac, ethernet, tagged, udp};
use flatnet_tests::raw::Sink;

use crate::scene::{PORT, Scene, at};
use crate::tally::{Shot, Tally};

/// Sources that the attacker has no right to, of one family: those of all others in the cluster,
/// and of none.
fn stolen(scene: &Scene, ipv4: bool) -> Vec<IpAddr> {
    let known = [&scene.neighbour, &scene.target].into_iter().flat_map(|pod| pod.addresses());
    let nodes = scene.cluster.nodes.iter();
    let known = known.chain(nodes.flat_map(|n| n.vtep_addresses().into_iter().chain([n.vtep])));
    let others = [
        "0.0.0.0",
        "0.0.0.1",
        "10.244.1.250",
        "10.244.77.7",
        "127.0.0.1",
        "169.254.1.1",
        "169.254.169.254",
        "203.0.113.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.244.1.1",
        "fd00:10:244:1::fa",
        "fd00:10:244:77::7",
        "2001:db8::9",
        "64:ff9b::a00:1",
        "fe80::1",
        "fe80::bad",
        "fec0::1",
        "ff02::1",
    ];
    let others = others.map(|text| text.parse().expect("an address"));
    known.chain(others).filter(|address| address.is_ipv4() == ipv4).collect()
}

#[test]
fn a_pod_sends_under_its_own_address_only() {
    let mut tally = Tally::new("false source addresses");
    for v6_underlay in [false, true] {
        let scene = Scene::new(v6_underlay);
        for ipv4 in [true, false] {
            let of_family = |address: &IpAddr| address.is_ipv4() == ipv4;
            let pods = [&scene.neighbour, &scene.target].map(|pod| {
                let to = pod.addresses().into_iter().find(of_family).expect("both families");
                (to, Sink::frames(&pod.netns))
            });
            let on_node = scene.node().vtep_addresses().into_iter().chain([scene.node().vtep]);
            let on_node = on_node.filter(of_family);
            let node = on_node.map(|to| (to, Sink::udp(&scene.node().netns, ipv4, PORT)));
            // One at a time: two sinks of the node cannot have the same port.
            for (to, sink) in pods.into_iter().chain(node) {
                let forged = |from| {
                    let what = format!("{from} to {to}");
                    Shot::new(what, |payload| vec![scene.datagram(from, to, payload)])
                };
                let shots = stolen(&scene, ipv4).into_iter().map(forged).collect();
                let own = scene.own(to);
                let honest = |payload: &[u8]| vec![scene.datagram(own, to, payload)];
                tally.volley(&scene.port, &sink, (&scene.port, honest), shots);
            }
        }
    }
    tally.finish();
}

#[test]
fn a_tag_does_not_hide_a_false_source() {
    let scene = Scene::new(false);
    let mut tally = Tally::new("false sources behind a VLAN tag");
    for (to, from) in scene.target.addresses().into_iter().zip(scene.neighbour.addresses()) {
        let sink = Sink::frames(&scene.target.netns);
        let forged = |vlan: u16| {
            Shot::new(format!("{from} to {to} in VLAN {vlan}"), |payload| {
                vec![tagged(&scene.datagram(from, to, payload), vlan)]
            })
        };
        // VLAN 0 is no VLAN: the kernel takes the tag off.
        let honest = |payload: &[u8]| vec![tagged(&scene.datagram(scene.own(to), to, payload), 0)];
        tally.volley(&scene.port, &sink, (&scene.port, honest), [0, 1, 4094].map(forged).into());
    }
    tally.finish();
}

#[test]
fn loopback_addresses_are_not_reached() {
    let scene = Scene::new(false);
    let mut tally = Tally::new("datagrams to a node's loopback");
    for (loopback, to) in
        [("127.0.0.1", scene.node().vtep), ("::1", scene.node().vtep_addresses()[1])]
    {
        let loopback: IpAddr = loopback.parse().expect("an address");
        let sink = Sink::udp(&scene.node().netns, to.is_ipv4(), PORT);
        let own = scene.own(to);
        let shot = Shot::new(format!("{own} to {loopback}"), |payload| {
            vec![scene.datagram(own, loopback, payload)]
        });
        let honest = |payload: &[u8]| vec![scene.datagram(own, to, payload)];
        tally.volley(&scene.port, &sink, (&scene.port, honest), vec![shot]);
    }
    tally.finish();
}

/// The MACs of others, and of none.
fn foreign_macs(scene: &Scene) -> [Mac; 5] {
    let node = |name: &str| flatnet_tests::raw::Port::open(&scene.node().netns, name).mac;
    [scene.gateway, node("flat.4096"), node(scene.neighbour.veth()), BROADCAST, [0; 6]]
}

#[test]
fn a_false_source_mac_deceives_no_node_or_pod() {
    let scene = Scene::new(false);
    let before = scene.acquaintances();
    let mut tally = Tally::new("false source MACs");
    for mac in foreign_macs(&scene) {
        for (to, stolen) in scene.target.addresses().into_iter().zip(scene.neighbour.addresses()) {
            let under = |mac| {
                move |from, payload: &[u8], gateway| {
                    vec![ethernet(gateway, mac, &udp(at(from), at(to), payload))]
                }
            };
            // The MAC is not looked at: an honest packet arrives, one from a false address does not.
            let shot = Shot::new(format!("{stolen} as {mac:x?}"), |payload| {
                under(mac)(stolen, payload, scene.gateway)
            });
            let honest = |payload: &[u8]| under(mac)(scene.own(to), payload, scene.gateway);
            tally.volley(
                &scene.port,
                &Sink::frames(&scene.target.netns),
                (&scene.port, honest),
                vec![shot],
            );
        }
    }
    assert_eq!(scene.acquaintances(), before, "a MAC was believed");
    scene.count_eavesdropping(&mut tally);
    tally.finish();
}

#[test]
fn a_frame_to_another_mac_goes_nowhere() {
    let scene = Scene::new(false);
    let mut tally = Tally::new("frames to another MAC than the gateway's");
    for pod in [&scene.neighbour, &scene.target] {
        let sink = Sink::frames(&pod.netns);
        let inside = flatnet_tests::raw::Port::open(&pod.netns, "eth0").mac;
        let elsewhere =
            [inside, BROADCAST, [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1], [0; 6]];
        for to in pod.addresses() {
            let own = scene.own(to);
            let forged = |mac: Mac| {
                Shot::new(format!("{to} by {mac:x?}"), |payload| {
                    vec![ethernet(mac, scene.port.mac, &udp(at(own), at(to), payload))]
                })
            };
            let honest = |payload: &[u8]| vec![scene.datagram(own, to, payload)];
            tally.volley(&scene.port, &sink, (&scene.port, honest), elsewhere.map(forged).into());
        }
        let link_local: Ipv6Addr = "ff02::1".parse().expect("an address");
        let own = scene.attacker.v6();
        let shot = Shot::new("all nodes of the link", |payload| {
            let datagram = udp(at(own), at(link_local.into()), payload);
            vec![ethernet([0x33, 0x33, 0, 0, 0, 1], scene.port.mac, &datagram)]
        });
        let honest = |payload: &[u8]| vec![scene.datagram(own, pod.v6(), payload)];
        tally.volley(&scene.port, &sink, (&scene.port, honest), vec![shot]);
    }
    tally.finish();
}
