//! Both kinds of section, what outranks what, and what cleaning up can do without.

use serde_json::{Value, json};

use super::*;
use crate::IpConfig;

fn invocation(command: Command) -> Invocation {
    Invocation {
        command,
        container_id: "c1".to_owned(),
        netns: Some("/run/netns/c1".into()),
        ifname: "eth0".to_owned(),
        path: Vec::new(),
        args: Default::default(),
        netns_override: false,
    }
}

fn parse_for(command: Command, value: &Value) -> Result<IpamConf, Error> {
    IpamConf::parse(value.to_string().as_bytes(), &invocation(command))
}

/// A configuration with this section `ipam`.
fn with(ipam: Value) -> Value {
    json!({"cniVersion": "1.1.0", "name": "pods", "type": "bridge", "ipam": ipam})
}

fn problem(value: &Value) -> String {
    let error = parse_for(Command::Add, value).unwrap_err();
    assert_eq!(error.code(), 7, "{error}");
    error.to_string().strip_prefix("network configuration: ").unwrap().to_owned()
}

/// The sets, each as text.
fn sets_of(value: &Value) -> Vec<String> {
    match parse_for(Command::Add, value).unwrap().source {
        Some(AddressSource::Sets(sets)) => sets.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_range_file() {
    let value = with(json!({
        "type": "flatnet-ipam", "rangeFile": "/etc/pods.json", "node": "node-a",
        "stateDir": "/run/x", "routes": [{"dst": "10.0.0.0/8", "gw": "10.1.0.1", "mtu": 1400}],
        "resolvConf": "/etc/resolv.conf"
    }));
    let mut route = Route::new("10.0.0.0/8".parse().unwrap(), Some([10, 1, 0, 1].into()));
    route.mtu = Some(1400);
    let expected = IpamConf {
        cni_version: Version::V1_1_0,
        name: "pods".to_owned(),
        source: Some(AddressSource::RangeFile {
            path: "/etc/pods.json".into(),
            node: Some("node-a".to_owned()),
        }),
        by_range_file: true,
        by_sets: false,
        state_dir: "/run/x".into(),
        data_dir: DEFAULT_DATA_DIR.into(),
        sets_too_many: None,
        routes: vec![route],
        resolv_conf: Some("/etc/resolv.conf".into()),
        requested_ips: Vec::new(),
        prev_result: None,
        valid_attachments: None,
    };
    for command in [Command::Add, Command::Check, Command::Status] {
        assert_eq!(parse_for(command, &value).unwrap(), expected);
    }
    // Nothing is asked for, so nothing is read that could be wrong.
    let cleaning = IpamConf { source: None, ..expected };
    for command in [Command::Del, Command::Gc] {
        assert_eq!(parse_for(command, &value).unwrap(), cleaning);
    }
}

#[test]
fn range_sets_in_their_order() {
    let mut value = with(json!({
        "type": "host-local", "dataDir": "/var/x",
        "ranges": [[{"subnet": "10.3.0.0/30"}, {"subnet": "10.3.0.4/30"}], [{"subnet": "fd00::/126"}]],
        "subnet": "10.2.0.0/30", "rangeStart": "10.2.0.2", "gateway": "10.2.0.3",
    }));
    value["runtimeConfig"] = json!({"ipRanges": [[{"subnet": "10.1.0.0/30"}]]});
    let expected = [
        "10.1.0.1-10.1.0.2",
        "10.2.0.2-10.2.0.2",
        "10.3.0.1-10.3.0.2, 10.3.0.5-10.3.0.6",
        "fd00::1-fd00::3",
    ];
    assert_eq!(sets_of(&value), expected);
    let conf = parse_for(Command::Add, &value).unwrap();
    assert_eq!((conf.by_range_file, conf.by_sets), (false, true));
    assert_eq!(conf.data_dir, PathBuf::from("/var/x"));
    // The section's own range counts with a subnet only.
    let value = with(json!({"ranges": [[{"subnet": "10.3.0.0/30"}]], "rangeStart": "10.2.0.2"}));
    assert_eq!(sets_of(&value), ["10.3.0.1-10.3.0.2"]);
}

#[test]
fn keys_in_capitals() {
    let value = json!({
        "CNIVersion": "0.4.0", "Name": "pods",
        "IPAM": {"Ranges": [[{"Subnet": "10.1.0.0/24", "RANGEEND": "10.1.0.3"}]], "DataDir": "/x"},
        "RuntimeConfig": {"IPs": ["10.1.0.2/24"], "IPRanges": [[{"SubNet": "10.0.0.0/30"}]]},
        "prevResult": {"IPs": [{"version": "4", "Address": "10.1.0.2/24"}]}
    });
    assert_eq!(sets_of(&value), ["10.0.0.1-10.0.0.2", "10.1.0.1-10.1.0.3"]);
    let conf = parse_for(Command::Check, &value).unwrap();
    assert_eq!(conf.requested_ips, [IpAddr::from([10, 1, 0, 2])]);
    let address = "10.1.0.2/24".parse().unwrap();
    let ips = vec![IpConfig { interface: None, address, gateway: None }];
    assert_eq!(conf.prev_result, Some(AddResult { ips, ..AddResult::default() }));
}

#[test]
fn requests_outrank_each_other_or_add_up() {
    let requested = |ipam: Value| {
        let mut value = with(ipam);
        value["runtimeConfig"] = json!({"ips": ["10.1.0.3", "10.1.0.2/24"]});
        value["args"] = json!({"cni": {"ips": ["10.1.0.2"], "mac": "02:00:00:00:00:01"}});
        let mut invocation = invocation(Command::Add);
        invocation.args.ip = vec![[10, 1, 0, 1].into()];
        IpamConf::parse(value.to_string().as_bytes(), &invocation).unwrap().requested_ips
    };
    let address = |last| IpAddr::from([10, 1, 0, last]);
    assert_eq!(requested(json!({"rangeFile": "/r"})), [3, 2].map(address));
    assert_eq!(requested(json!({"subnet": "10.1.0.0/24"})), [1, 2, 3].map(address));
}

#[test]
fn refuses() {
    let sets = |sets: Value| with(json!({ "ranges": sets }));
    let one = |subnet: &str| json!([{ "subnet": subnet }]);
    let mut both = with(json!({"rangeFile": "/r"}));
    both["runtimeConfig"] = json!({"ipRanges": [one("10.1.0.0/24")]});
    #[rustfmt::skip]
    let cases = [
        (json!({"name": "pods"}), "ipam: gives no addresses; set rangeFile, or ranges or subnet as for host-local"),
        (with(json!({"ranges": []})), "ipam: gives no addresses; set rangeFile, or ranges or subnet as for host-local"),
        (with(json!([])), "ipam: invalid type: sequence, expected an object"),
        (with(json!({"rangeFile": "pods.json"})), r#"ipam.rangeFile: "pods.json" is not an absolute path"#),
        (with(json!({"rangeFile": "/r", "node": "A"})), r#"ipam.node: "A" must hold only lower-case letters, digits, - and ."#),
        (with(json!({"rangeFile": "/r", "stateDir": "x"})), r#"ipam.stateDir: "x" is not an absolute path"#),
        (with(json!({"rangeFile": "/r", "ranges": []})), "ipam.rangeFile: cannot be combined with subnet, ranges or runtimeConfig.ipRanges; leave out one or the other"),
        (both, "ipam.rangeFile: cannot be combined with subnet, ranges or runtimeConfig.ipRanges; leave out one or the other"),
        (with(json!({"subnet": "10.1.0.0/31"})), r#"ipam.subnet: "10.1.0.0/31" is too small; use a /30 or larger"#),
        (with(json!({"subnet": "10.1.0.0/24", "dataDir": "x"})), r#"ipam.dataDir: "x" is not an absolute path"#),
        (with(json!({"subnet": "10.1.0.0/24", "routes": [{"dst": "10.0.0.0"}]})), r#"ipam.routes[0].dst: "10.0.0.0" is not a CIDR, as in "10.244.1.0/24""#),
        (sets(json!([[]])), "ipam.ranges[0]: has no range; give it one with a subnet"),
        (sets(json!([one("10.1.0.0/24"), one("10.2.0.0/33")])), r#"ipam.ranges[1][0].subnet: "10.2.0.0/33" is not a CIDR, as in "10.244.1.0/24""#),
        (sets(json!([one("10.1.0.0/16"), one("10.1.2.0/24")])), "ipam.ranges[1]: 10.1.2.1-10.1.2.254 overlaps ipam.ranges[0]"),
    ];
    for (value, expected) in cases {
        assert_eq!(problem(&value), expected, "{value}");
    }
    let mut wrong = with(json!({"subnet": "10.1.0.0/24"}));
    wrong["runtimeConfig"] = json!({"ips": ["10.1.0.300"]});
    let expected = "runtimeConfig.ips[0]: \"10.1.0.300\" is not an IPv4 or IPv6 address";
    assert_eq!(problem(&wrong), expected);
}

#[test]
fn old_versions_have_one_address_of_each_family() {
    let mut value =
        with(json!({"ranges": [[{"subnet": "10.1.0.0/30"}], [{"subnet": "fd00::/126"}]]}));
    value["cniVersion"] = json!("0.1.0");
    assert_eq!(sets_of(&value), ["10.1.0.1-10.1.0.2", "fd00::1-fd00::3"]);
    for more in ["10.2.0.0/30", "fd01::/126"] {
        let mut value = value.clone();
        value["ipam"]["subnet"] = json!(more);
        value["cniVersion"] = json!("0.2.0");
        let error = parse_for(Command::Add, &value).unwrap_err();
        let expected = "CNI version 0.2.0 does not support more than 1 address per family";
        assert_eq!((error.code(), error.to_string().as_str()), (1, expected));
        let del = parse_for(Command::Del, &value).unwrap();
        assert_eq!(del.sets_too_many.as_deref(), Some(expected));
        value["cniVersion"] = json!("0.3.0");
        assert_eq!(sets_of(&value).len(), 3);
        assert_eq!(parse_for(Command::Del, &value).unwrap().sets_too_many, None);
    }
}

#[test]
fn cleaning_up_reads_what_can_be_read() {
    // (section, leases of which kind there may be, their folders)
    let cases = [
        (json!({"rangeFile": 7, "ranges": "x", "dataDir": "/d", "node": "A"}), (false, true)),
        (json!({"rangeFile": "x", "dataDir": "/d", "resolvConf": "x"}), (true, true)),
        (json!({"rangeFile": "/r", "dataDir": 7, "routes": 7}), (true, false)),
        (json!({"subnet": "x", "dataDir": "/d"}), (false, true)),
        (json!({"subnet": "10.1.0.0/24"}), (false, true)),
        (json!({"type": "flatnet-ipam"}), (true, true)),
        (json!("x"), (true, true)),
        (json!(null), (true, true)),
    ];
    for command in [Command::Del, Command::Gc] {
        for (section, kinds) in &cases {
            let mut value = with(section.clone());
            value["prevResult"] = json!(7);
            value["runtimeConfig"] = json!({"ips": ["x"]});
            let conf = parse_for(command, &value).unwrap();
            assert_eq!((conf.by_range_file, conf.by_sets), *kinds, "{section}");
            let data_dir = section.get("dataDir").and_then(Value::as_str);
            assert_eq!(conf.data_dir, PathBuf::from(data_dir.unwrap_or(DEFAULT_DATA_DIR)));
            assert_eq!(conf.state_dir, PathBuf::from("/run/flatnet"));
        }
        let nameless = parse_for(command, &json!({"cniVersion": "1.1.0"}));
        assert_eq!(nameless.unwrap_err().code(), 7);
    }
}

#[test]
fn versions_allow_what_they_have() {
    let mut value = with(json!({"subnet": "10.1.0.0/24"}));
    value["cniVersion"] = json!("0.3.1");
    for command in [Command::Check, Command::Status, Command::Gc] {
        let error = parse_for(command, &value).unwrap_err();
        let expected = format!("config version does not allow {}", command.as_str());
        assert_eq!((error.code(), error.to_string()), (1, expected));
    }
}

#[test]
fn attachments_that_the_runtime_knows() {
    let mut value = with(json!({"subnet": "10.1.0.0/24"}));
    assert_eq!(parse_for(Command::Gc, &value).unwrap().valid_attachments, None);
    value["cni.dev/valid-attachments"] = json!([{"containerID": "a", "ifname": "eth0"}]);
    let known = AttachmentId { container_id: "a".to_owned(), ifname: "eth0".to_owned() };
    assert_eq!(parse_for(Command::Gc, &value).unwrap().valid_attachments, Some(vec![known]));
}
