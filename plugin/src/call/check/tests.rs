use flatnet_conf::{IpConfig, Route as ResultRoute};

use super::*;
use crate::kernel::{Dev, LinkKind, Neighbour, Route, Settings};

const POD: Mac = Mac([2, 0, 0, 0, 0, 1]);
const NODE: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn result() -> AddResult {
    let interface = |name: &str, mac: Mac, sandbox: Option<&str>| Interface {
        name: name.into(),
        mac: mac.to_string(),
        sandbox: sandbox.map(str::to_owned),
        ..Interface::default()
    };
    AddResult {
        interfaces: vec![interface("veth1", NODE, None), interface("eth0", POD, Some("/n"))],
        ips: vec![IpConfig {
            interface: Some(1),
            address: "10.1.1.7/32".parse().unwrap(),
            gateway: Some(ip("169.254.1.1")),
        }],
        routes: vec![ResultRoute::new("0.0.0.0/0".parse().unwrap(), Some(ip("169.254.1.1")))],
        ..AddResult::default()
    }
}

fn side(name: &str, mac: Mac, dst: &str, gateway: Option<&str>, neighbour: (&str, Mac)) -> Side {
    Side {
        link: Link {
            dev: Dev { index: 5, name: name.into() },
            mac: Some(mac),
            mtu: 1450,
            up: true,
            alias: None,
            group: 0,
            peer: None,
            peer_netns: None,
            master: None,
            xdp: false,
            kind: LinkKind::Veth,
        },
        settings: Settings::default(),
        addresses: vec!["10.1.1.7/32".parse().unwrap()],
        routes: vec![Route {
            dst: dst.parse().unwrap(),
            gateway: gateway.map(ip),
            onlink: false,
            source: None,
            metric: None,
        }],
        neighbours: vec![Neighbour { address: ip(neighbour.0), mac: neighbour.1 }],
    }
}

fn node() -> Side {
    side("veth1", NODE, "10.1.1.7/32", None, ("10.1.1.7", POD))
}

fn pod() -> Side {
    side("eth0", POD, "0.0.0.0/0", Some("169.254.1.1"), ("169.254.1.1", NODE))
}

#[test]
fn what_is_whole_has_no_problem() {
    let (result, leased) = (result(), [ip("10.1.1.7")]);
    let expected = Expected::new(&result, "eth0", "veth1", &leased);
    assert_eq!(expected.missing_addresses(), [""; 0]);
    assert_eq!(expected.node_problems(Some(&node())), [""; 0]);
    assert_eq!(expected.pod_problems(Some(&pod())), [""; 0]);
}

#[test]
fn each_object_of_the_node_is_named() {
    let (result, leased) = (result(), [ip("10.1.1.7")]);
    let expected = Expected::new(&result, "eth0", "veth1", &leased);
    let problems = |change: fn(&mut Side)| {
        let mut node = node();
        change(&mut node);
        expected.node_problems(Some(&node)).join("; ")
    };
    assert_eq!(problems(|n| n.link.up = false), "veth1: is down");
    assert_eq!(
        problems(|n| n.link.mac = None),
        "veth1: has MAC none, prevResult says 02:00:00:00:00:02"
    );
    assert_eq!(problems(|n| n.routes.clear()), "veth1: the node has no route to 10.1.1.7/32 on it");
    assert_eq!(
        problems(|n| n.neighbours.clear()),
        "veth1: there is no permanent neighbour entry for 10.1.1.7 on it"
    );
    let settings =
        "veth1: forwarding and rp_filter of the device are not both 1; `flatnet sync` sets them";
    assert_eq!(problems(|n| n.settings.forwarding = Some(0)), settings);
    assert_eq!(problems(|n| n.settings.rp_filter = Some(0)), settings);
    assert_eq!(expected.node_problems(None), ["veth1: there is no such device on the node"]);
}

#[test]
fn each_object_of_the_pod_is_named() {
    let (result, leased) = (result(), [ip("10.1.1.7")]);
    let expected = Expected::new(&result, "eth0", "veth1", &leased);
    let problems = |change: fn(&mut Side)| {
        let mut pod = pod();
        change(&mut pod);
        expected.pod_problems(Some(&pod)).join("; ")
    };
    assert_eq!(problems(|p| p.addresses.clear()), "eth0: lacks address 10.1.1.7");
    assert_eq!(
        problems(|p| p.routes.clear()),
        "eth0: the pod has no route to 0.0.0.0/0 via 169.254.1.1"
    );
    assert_eq!(
        problems(|p| p.neighbours[0].mac = POD),
        "eth0: the neighbour entry for 169.254.1.1 has MAC 02:00:00:00:00:01, \
         the other end has 02:00:00:00:00:02"
    );
    assert_eq!(expected.pod_problems(None), ["eth0: there is no such interface in the pod"]);
}

#[test]
fn others_routes_and_addresses_are_not_ours_to_check() {
    let mut result = result();
    result.routes.push(ResultRoute::new("10.9.0.0/16".parse().unwrap(), Some(ip("10.1.1.254"))));
    result.ips.push(IpConfig {
        interface: None,
        address: "127.0.0.1/8".parse().unwrap(),
        gateway: None,
    });
    let leased = [ip("10.1.1.7")];
    let expected = Expected::new(&result, "eth0", "veth1", &leased);
    assert_eq!(expected.pod_problems(Some(&pod())), [""; 0]);
    let other = [ip("10.1.1.8")];
    let expected = Expected::new(&result, "eth0", "veth1", &other);
    assert_eq!(
        expected.missing_addresses(),
        ["prevResult: lacks 10.1.1.8, which the attachment has"]
    );
}
