//! Good configurations, and what a command or the environment changes. Wrong ones are in the
//! crate's `tests`.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::{CniArgs, Command, Interface, Invocation, IpConfig};

fn invocation(command: Command) -> Invocation {
    Invocation {
        command,
        container_id: "c1".to_owned(),
        netns: Some("/run/netns/c1".into()),
        ifname: "eth0".to_owned(),
        path: vec!["/opt/cni/bin".into()],
        args: CniArgs::default(),
        netns_override: false,
    }
}

fn parse(text: &str) -> NetworkConf {
    NetworkConf::parse(text.as_bytes(), &invocation(Command::Add)).unwrap()
}

fn minimal() -> NetworkConf {
    NetworkConf {
        cni_version: Version::V0_1_0,
        name: "pods".to_owned(),
        range_file: Some("/etc/flatnet/pods.json".into()),
        ipam: None,
        node: None,
        mtu: None,
        ip_masq: false,
        ip_masq_nodes: true,
        fast_path: FastPath::Off,
        routes: None,
        state_dir: "/run/flatnet".into(),
        log_level: LogLevel::Warn,
        log_file: None,
        dns: Dns::default(),
        prev_result: None,
        requested_ips: Vec::new(),
        ip_ranges: Vec::new(),
        mac: None,
        is_shaped: false,
        valid_attachments: None,
    }
}

#[test]
fn defaults() {
    let conf = parse(include_str!("../../testdata/good/network-minimal.json"));
    assert_eq!(conf, minimal());
    assert_eq!(conf.range_file().unwrap(), Path::new("/etc/flatnet/pods.json"));
}

#[test]
fn every_field() {
    let loopback = AddResult {
        interfaces: vec![Interface {
            name: "lo".to_owned(),
            mac: "00:00:00:00:00:00".to_owned(),
            sandbox: Some("/run/netns/c1".to_owned()),
            ..Interface::default()
        }],
        ips: vec![IpConfig {
            interface: Some(0),
            address: "127.0.0.1/8".parse().unwrap(),
            gateway: None,
        }],
        ..AddResult::default()
    };
    let expected = NetworkConf {
        cni_version: Version::V1_1_0,
        node: Some("node-a".to_owned()),
        mtu: Some(1400),
        ip_masq: true,
        ip_masq_nodes: true,
        fast_path: FastPath::Off,
        routes: Some(vec!["10.0.0.0/8".parse().unwrap(), "::/0".parse().unwrap()]),
        state_dir: "/var/lib/flatnet".into(),
        log_level: LogLevel::Debug,
        log_file: Some("/var/log/flatnet.log".into()),
        dns: Dns {
            nameservers: vec!["10.96.0.10".to_owned()],
            domain: Some("cluster.local".to_owned()),
            search: vec!["svc.cluster.local".to_owned()],
            options: vec!["ndots:5".to_owned()],
        },
        prev_result: Some(loopback),
        requested_ips: vec!["10.244.1.9".parse().unwrap(), "fd00:10:244:1::9".parse().unwrap()],
        mac: Some(Mac([2, 0, 0, 0, 0, 9])),
        ..minimal()
    };
    let full = include_str!("../../testdata/good/network-full.json");
    assert_eq!(parse(full), expected);
    // What cleans up reads the same from a configuration with nothing wrong in it.
    for command in [Command::Del, Command::Gc] {
        let conf = NetworkConf::parse(full.as_bytes(), &invocation(command)).unwrap();
        assert_eq!(conf, expected);
    }
}

#[test]
fn keys_in_capitals() {
    let expected = NetworkConf {
        cni_version: Version::V0_4_0,
        mtu: Some(1400),
        ip_masq: true,
        ip_masq_nodes: true,
        fast_path: FastPath::Off,
        routes: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        dns: Dns { nameservers: vec!["10.96.0.10".to_owned()], ..Dns::default() },
        prev_result: Some(AddResult {
            ips: vec![IpConfig {
                interface: None,
                address: "10.0.0.1/24".parse().unwrap(),
                gateway: None,
            }],
            ..AddResult::default()
        }),
        requested_ips: vec!["10.244.1.9".parse().unwrap()],
        mac: Some(Mac([2, 0, 0, 0, 0, 9])),
        ..minimal()
    };
    let conf = parse(include_str!("../../testdata/good/network-capitals.json"));
    assert_eq!(conf, expected);
}

#[test]
fn who_may_ask_for_addresses() {
    let environment = CniArgs {
        ip: vec!["10.0.0.3".parse().unwrap()],
        mac: Some(Mac([2, 0, 0, 0, 0, 3])),
        ..CniArgs::default()
    };
    let invocation = Invocation { args: environment, ..invocation(Command::Add) };
    let runtime = json!({"ips": ["10.0.0.1"], "mac": "02:00:00:00:00:01"});
    let args = json!({"cni": {"ips": ["10.0.0.2/24"], "mac": "02:00:00:00:00:02"}});
    let nothing = json!({"ips": [], "mac": ""});
    let cases = [
        (json!(runtime), json!(args), 1),
        (json!(nothing), json!(args), 2),
        (json!(null), json!(args), 2),
        (json!(nothing), json!({"cni": nothing}), 3),
        (json!(null), json!({"cni": null}), 3),
        (json!(null), json!(null), 3),
    ];
    for (runtime, args, expected) in cases {
        let conf = json!({
            "name": "pods", "type": "flatnet", "rangeFile": "/etc/flatnet/pods.json",
            "runtimeConfig": runtime, "args": args
        });
        let conf = NetworkConf::parse(conf.to_string().as_bytes(), &invocation).unwrap();
        assert_eq!(conf.requested_ips, [IpAddr::from([10, 0, 0, expected])]);
        assert_eq!(conf.mac, Some(Mac([2, 0, 0, 0, 0, expected])));
    }
}

#[test]
fn who_may_say_how_names_are_resolved() {
    let said = json!({"Servers": ["10.0.0.1"], "Searches": ["a.b"], "Options": ["ndots:2"]});
    let runtime = Dns {
        nameservers: vec!["10.0.0.1".to_owned()],
        domain: None,
        search: vec!["a.b".to_owned()],
        options: vec!["ndots:2".to_owned()],
    };
    let configured = Dns { domain: Some("c.d".to_owned()), ..Dns::default() };
    for (said, expected) in
        [(said, runtime), (json!({}), configured.clone()), (json!(null), configured)]
    {
        let conf = json!({
            "name": "pods", "type": "flatnet", "rangeFile": "/etc/flatnet/pods.json",
            "dns": {"domain": "c.d"}, "runtimeConfig": {"dns": said}
        });
        assert_eq!(parse(&conf.to_string()).dns, expected);
    }
}

#[test]
fn commands_and_versions() {
    let since = [
        (Command::Add, Version::V0_1_0),
        (Command::Del, Version::V0_1_0),
        (Command::Check, Version::V0_4_0),
        (Command::Gc, Version::V1_1_0),
        (Command::Status, Version::V1_1_0),
    ];
    for (command, since) in since {
        for version in Version::ALL {
            let text = format!(
                "{{\"cniVersion\": \"{version}\", \"name\": \"pods\", \"type\": \"flatnet\",
                  \"rangeFile\": \"/etc/flatnet/pods.json\"}}"
            );
            let parsed = NetworkConf::parse(text.as_bytes(), &invocation(command));
            if version >= since {
                assert_eq!(parsed.unwrap().cni_version, version);
                continue;
            }
            let error = parsed.unwrap_err();
            let message = format!("config version does not allow {}", command.as_str());
            assert_eq!((error.to_string(), error.code()), (message, 1));
        }
    }
}

#[test]
fn empty_says_nothing() {
    let conf = parse(
        r#"{"cniVersion": "", "name": "pods", "type": "flatnet", "ipam": {}, "routes": [],
            "rangeFile": "/etc/flatnet/pods.json", "dns": {"domain": ""}, "prevResult": null}"#,
    );
    assert_eq!(conf, NetworkConf { routes: Some(Vec::new()), ..minimal() });
}

#[test]
fn attachments_that_the_runtime_knows() {
    let known = |container_id: &str| AttachmentId {
        container_id: container_id.to_owned(),
        ifname: "eth0".to_owned(),
    };
    let cases = [
        (json!({}), None),
        (json!({"cni.dev/valid-attachments": null}), Some(vec![])),
        (json!({"cni.dev/valid-attachments": []}), Some(vec![])),
        (
            json!({"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]}),
            Some(vec![known("a")]),
        ),
        (
            json!({"cni.dev/attachments": [{"ContainerID": "b", "IfName": "eth0"}]}),
            Some(vec![known("b")]),
        ),
        // What cannot be read makes nothing stale.
        (json!({"cni.dev/valid-attachments": "all"}), None),
        (json!({"cni.dev/valid-attachments": [{"containerID": "a"}]}), None),
    ];
    for (more, expected) in cases {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "pods", "type": "flatnet"});
        conf.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let conf = NetworkConf::parse(conf.to_string().as_bytes(), &invocation(Command::Gc));
        assert_eq!(conf.unwrap().valid_attachments, expected, "{more}");
    }
}

#[test]
fn who_gives_the_addresses() {
    let conf = |ipam| {
        format!(r#"{{"name": "pods", "type": "flatnet", "rangeFile": "/r.json", "ipam": {ipam}}}"#)
    };
    for built_in in ["null", "{}", r#"{"type": ""}"#, r#"{"type": "flatnet-ipam"}"#] {
        assert_eq!(parse(&conf(built_in)).ipam, None, "{built_in}");
    }
    let other = parse(&conf(r#"{"type": "host-local", "subnet": "10.1.0.0/16"}"#));
    assert_eq!(other.ipam.as_deref(), Some("host-local"));
    let itself = conf(r#"{"type": "flatnet"}"#);
    let refused = NetworkConf::parse(itself.as_bytes(), &invocation(Command::Add)).unwrap_err();
    assert_eq!(refused.code(), 7);
    assert!(refused.to_string().contains("ipam.type: \"flatnet\" is no IPAM plugin"), "{refused}");
    let taken_away = NetworkConf::parse(itself.as_bytes(), &invocation(Command::Del)).unwrap();
    assert_eq!(taken_away.ipam, None);
}

#[test]
fn ranges_that_the_runtime_asks_for() {
    let conf = |ranges: &str| {
        let text = format!(
            r#"{{"name": "pods", "type": "flatnet", "rangeFile": "/r.json",
                 "runtimeConfig": {{"IPRanges": {ranges}}}}}"#
        );
        NetworkConf::parse(text.as_bytes(), &invocation(Command::Add))
    };
    let asked = conf(
        r#"[[{"Subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "gateway": "10.1.0.1"}],
            [{"subnet": "fd00::/64"}]]"#,
    );
    let start = Some(IpAddr::from([10, 1, 0, 9]));
    let expected = [
        Range::new("10.1.0.0/24".parse().unwrap(), start, None, Vec::new()).unwrap(),
        Range::parse("fd00::/64").unwrap(),
    ];
    assert_eq!(asked.unwrap().ip_ranges, expected);
    let part = r#"[{"subnet": "10.1.0.0/24"}]"#;
    let error = conf(&format!("[{part}, {part}]")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "network configuration: runtimeConfig.ipRanges[1][0]: overlaps \
         runtimeConfig.ipRanges[0][0]; ask for each part once"
    );
    let error = conf(r#"[[], [{"rangeStart": "10.1.0.9"}]]"#).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.code()),
        (
            "network configuration: runtimeConfig.ipRanges[1][0].subnet: is missing; \
             give the subnet in CIDR notation",
            7
        )
    );
}
