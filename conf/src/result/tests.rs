//! Results in all seven versions, read and written.

use serde_json::{Value, json};

use super::*;
use crate::Version;

fn network(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A result that uses every field.
fn full() -> AddResult {
    AddResult {
        interfaces: vec![
            Interface {
                name: "veth1".to_owned(),
                mac: "02:00:00:00:00:01".to_owned(),
                ..Interface::default()
            },
            Interface {
                name: "eth0".to_owned(),
                mac: "02:00:00:00:00:02".to_owned(),
                mtu: Some(1450),
                sandbox: Some("/run/netns/c1".to_owned()),
                socket_path: Some("/run/sock".to_owned()),
                pci_id: Some("0000:00:01.0".to_owned()),
            },
        ],
        ips: vec![
            IpConfig {
                interface: Some(1),
                address: network("10.244.1.5/32"),
                gateway: Some(address("169.254.1.1")),
            },
            IpConfig { interface: Some(1), address: network("fd00::5/128"), gateway: None },
        ],
        routes: vec![
            Route {
                mtu: Some(1400),
                advmss: Some(1360),
                priority: Some(10),
                table: Some(254),
                scope: Some(253),
                ..Route::new(network("0.0.0.0/0"), Some(address("169.254.1.1")))
            },
            Route::new(network("::/0"), Some(address("fe80::1"))),
        ],
        dns: Dns { nameservers: vec!["10.96.0.10".to_owned()], ..Dns::default() },
    }
}

fn dns() -> Value {
    json!({"nameservers": ["10.96.0.10"]})
}

fn newest(version: &str) -> Value {
    json!({
        "cniVersion": version,
        "interfaces": [
            {"name": "veth1", "mac": "02:00:00:00:00:01"},
            {"name": "eth0", "mac": "02:00:00:00:00:02", "mtu": 1450, "sandbox": "/run/netns/c1",
             "socketPath": "/run/sock", "pciID": "0000:00:01.0"}
        ],
        "ips": [
            {"interface": 1, "address": "10.244.1.5/32", "gateway": "169.254.1.1"},
            {"interface": 1, "address": "fd00::5/128"}
        ],
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "169.254.1.1", "mtu": 1400, "advmss": 1360, "priority": 10,
             "table": 254, "scope": 253},
            {"dst": "::/0", "gw": "fe80::1"}
        ],
        "dns": dns()
    })
}

fn without_1_1_0(version: &str) -> Value {
    let mut value = newest(version);
    value["interfaces"][1] =
        json!({"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/c1"});
    value["routes"][0] = json!({"dst": "0.0.0.0/0", "gw": "169.254.1.1"});
    value
}

fn with_families(version: &str) -> Value {
    let mut value = without_1_1_0(version);
    value["ips"][0]["version"] = json!("4");
    value["ips"][1]["version"] = json!("6");
    value
}

fn oldest(version: &str) -> Value {
    json!({
        "cniVersion": version,
        "ip4": {"ip": "10.244.1.5/32", "gateway": "169.254.1.1",
                "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]},
        "ip6": {"ip": "fd00::5/128", "routes": [{"dst": "::/0", "gw": "fe80::1"}]},
        "dns": dns()
    })
}

#[test]
fn seven_shapes() {
    let cases = [
        (Version::V0_1_0, oldest("0.1.0")),
        (Version::V0_2_0, oldest("0.2.0")),
        (Version::V0_3_0, with_families("0.3.0")),
        (Version::V0_3_1, with_families("0.3.1")),
        (Version::V0_4_0, with_families("0.4.0")),
        (Version::V1_0_0, without_1_1_0("1.0.0")),
        (Version::V1_1_0, newest("1.1.0")),
    ];
    for (version, expected) in cases {
        assert_eq!(full().to_json(version), expected);
        // The result's own version counts, not the configuration's.
        let read = AddResult::from_json(&expected, Version::V0_1_0).unwrap();
        assert_eq!(read.to_json(version), expected);
        let mut unversioned = expected.clone();
        unversioned["cniVersion"].take();
        assert_eq!(AddResult::from_json(&unversioned, version).unwrap(), read);
    }
    assert_eq!(AddResult::from_json(&newest("1.1.0"), Version::V1_1_0).unwrap(), full());
}

#[test]
fn empty_is_left_out() {
    for version in Version::ALL {
        let expected = json!({"cniVersion": version.as_str()});
        assert_eq!(AddResult::default().to_json(version), expected);
        assert_eq!(AddResult::from_json(&expected, version).unwrap(), AddResult::default());
    }
}

#[test]
fn first_of_a_family_for_the_oldest() {
    let mut result = full();
    result.ips.swap(0, 1);
    let second = IpConfig { interface: None, address: network("10.244.1.6/32"), gateway: None };
    result.ips.push(second);
    assert_eq!(result.to_json(Version::V0_2_0), oldest("0.2.0"));
}

#[test]
fn empty_texts_are_absent() {
    let value = json!({
        "cniVersion": "", "interfaces": [{"name": "eth0", "mac": "", "mtu": 0, "sandbox": ""}],
        "ips": [{"address": "10.0.0.1/24", "gateway": ""}],
        "routes": [{"dst": "0.0.0.0/0", "gw": ""}], "dns": {"domain": "", "search": []}
    });
    let expected = AddResult {
        interfaces: vec![Interface { name: "eth0".to_owned(), ..Interface::default() }],
        ips: vec![IpConfig { interface: None, address: network("10.0.0.1/24"), gateway: None }],
        routes: vec![Route::new(network("0.0.0.0/0"), None)],
        dns: Dns::default(),
    };
    assert_eq!(AddResult::from_json(&value, Version::V1_0_0).unwrap(), expected);
}

#[test]
fn refuses() {
    let cases = [
        (json!(7), "result: invalid type: integer `7`, expected an object"),
        (
            json!({"ips": [{"address": "10.0.0.1/24", "interface": 0}]}),
            "result: ips[0].interface: 0 is no index into the 0 interfaces",
        ),
        (
            json!({"interfaces": [{"name": "eth0", "mtu": -1}]}),
            "result: interfaces[0].mtu: invalid value: integer `-1`, expected a whole number",
        ),
        (
            json!({"routes": [{"dst": "0.0.0.0/0", "gw": "x"}]}),
            "result: routes[0].gw: \"x\" is not an IPv4 or IPv6 address",
        ),
        (
            json!({"cniVersion": "0.2.0", "ip6": {"ip": "fd00::1/64", "routes": [{"dst": "x"}]}}),
            "result: ip6.routes[0].dst: \"x\" is not a CIDR, as in \"10.244.1.0/24\"",
        ),
    ];
    for (value, message) in cases {
        let error = AddResult::from_json(&value, Version::V1_1_0).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.code(), 7);
    }
}

#[test]
fn append_shifts_the_indices() {
    let lo = Interface { name: "lo".to_owned(), ..Interface::default() };
    let mut chained = AddResult {
        interfaces: vec![lo.clone()],
        ips: vec![IpConfig { interface: Some(0), address: network("127.0.0.1/8"), gateway: None }],
        routes: vec![Route::new(network("10.0.0.0/8"), None)],
        dns: Dns { domain: Some("old".to_owned()), ..Dns::default() },
    };
    let before = chained.clone();
    chained.append(full());
    let names: Vec<_> = chained.interfaces.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["lo", "veth1", "eth0"]);
    let indices: Vec<_> = chained.ips.iter().map(|ip| ip.interface).collect();
    assert_eq!(indices, [Some(0), Some(2), Some(2)]);
    assert_eq!(chained.routes[0], before.routes[0]);
    assert_eq!(chained.routes[1..], full().routes);
    assert_eq!(chained.dns, full().dns);

    let mut kept = before.clone();
    kept.append(AddResult::default());
    assert_eq!(kept, before);
}
