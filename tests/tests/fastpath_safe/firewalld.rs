//! A real firewalld: what it forbids is in force for flows on the fast path as soon as it would be without it.

use std::net::UdpSocket;
use std::time::Duration;

use flatnet_tests::conntrack;
use flatnet_tests::firewalld::Firewalld;
use flatnet_tests::node::Pod;
use flatnet_tests::stream::Stream;
use flatnet_tests::wait::{PATIENCE, again};

use crate::rules::forbid;
use crate::scene::Scene;

/// Two nodes, firewalld on the first with the network in its trusted zone, as docs/troubleshooting.md has it, and a policy
/// for what passes in it.
fn beside_firewalld(test: impl FnOnce(&Scene, &Firewalld<'_>)) {
    let scene = Scene::new();
    let firewalld = Firewalld::start(scene.nodes()[0]);
    for range in ["10.244.0.0/16", "fd00:10:244::/56"] {
        firewalld.cmd(&["--permanent", "--zone=trusted", &format!("--add-source={range}")]);
    }
    for words in [
        &["--add-port=4789/udp"][..],
        &["--new-policy=pods"],
        &["--policy=pods", "--add-ingress-zone=trusted"],
        &["--policy=pods", "--add-egress-zone=trusted"],
    ] {
        firewalld.cmd(&[&["--permanent"], words].concat());
    }
    firewalld.cmd(&["--reload"]);
    test(&scene, &firewalld);
}

#[test]
fn what_firewalld_forbids_running_flows() {
    beside_firewalld(|scene, firewalld| {
        let streams = scene.warm_streams();
        // As soon as it is switched on nothing passes.
        forbid(&streams, || firewalld.cmd(&["--panic-on"]), || firewalld.cmd(&["--panic-off"]));
        let direct = |what: &str| {
            for family in ["ipv4", "ipv6"] {
                let rule = ["filter", "FORWARD", "0", "-p", "udp", "-j", "DROP"];
                firewalld.cmd(&[&["--direct", what, family], &rule[..]].concat());
            }
        };
        forbid(&streams, || direct("--add-rule"), || direct("--remove-rule"));
        for (stream, (_, _, nodes)) in streams.iter().zip(scene.flows()) {
            stream.warm(&nodes);
        }
    });
}

/// Its zones and policies are asked for the first packet of a connection: all others pass by its first rule, with the
/// fast path or without, until conntrack has forgotten the connection.
#[test]
fn what_firewalld_forbids_new_flows() {
    beside_firewalld(|scene, firewalld| {
        let streams = scene.warm_streams();
        // Both ways: else an answer under way would be the first packet of a connection that is allowed.
        let rule = |what: &str| {
            for (family, own) in [("ipv4", scene.near.v4()), ("ipv6", scene.near.v6())] {
                for end in ["source", "destination"] {
                    let rule = format!("rule family={family} {end} address={own} drop");
                    firewalld.cmd(&["--policy=pods", &format!("{what}={rule}")]);
                }
            }
        };
        rule("--add-rich-rule");
        streams.iter().for_each(Stream::goes_on);
        let to = scene.far.netns.run(|| UdpSocket::bind((scene.far.v4(), 0))).expect("bind");
        let target = to.local_addr().expect("an address");
        let say = |from: &Pod| {
            let asking = from.netns.run(|| UdpSocket::bind(("0.0.0.0", 0))).expect("bind");
            asking.send_to(b"new", target).expect("send");
        };
        say(&scene.near);
        say(&scene.beside);
        let hear = |within: Duration| {
            to.set_read_timeout(Some(within)).expect("a timeout");
            again(|| to.recv_from(&mut [0; 8])).ok().map(|(_, from)| from.ip())
        };
        assert_eq!(hear(PATIENCE), Some(scene.beside.v4()));
        assert_eq!(hear(Duration::from_millis(500)), None);
        rule("--remove-rich-rule");
        let forget = || {
            rule("--add-rich-rule");
            conntrack::flush(&scene.nodes()[0].netns);
        };
        forbid(&streams, forget, || rule("--remove-rich-rule"));
    });
}

/// It takes all of its rules away meanwhile, and puts them back.
#[test]
fn firewalld_reads_its_configuration_again_under_flows() {
    beside_firewalld(|scene, firewalld| {
        let streams = scene.warm_streams();
        for _ in 0..3 {
            firewalld.cmd(&["--reload"]);
            streams.iter().for_each(Stream::goes_on);
        }
        for (stream, (_, _, nodes)) in streams.iter().zip(scene.flows()) {
            stream.warm(&nodes);
        }
    });
}
