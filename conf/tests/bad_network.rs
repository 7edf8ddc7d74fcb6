//! Every wrong network configuration in `testdata/bad`, with the code and the message that an ADD
//! gets, and what a DEL makes of it.

mod testdata;

use std::path::PathBuf;

use flatnet_conf::{CniArgs, Command, Invocation, NetworkConf};

/// File, code, and message behind `network configuration`.
#[rustfmt::skip]
const CASES: &[(&str, u32, &str)] = &[
    ("network-args-ips", 7, r#"args.cni.ips[0]: "10.244.1.9/99" is not a CIDR, as in "10.244.1.0/24""#),
    ("network-args-mac", 7, r#"args.cni.mac: "x" is not a MAC address, as in "02:00:5e:10:00:01""#),
    ("network-dns-type", 7, r#"dns.nameservers: invalid type: string "10.0.0.1", expected a sequence"#),
    ("network-empty", 6, "not valid JSON: EOF while parsing a value at line 1 column 0"),
    ("network-fast-path-text", 7, r#"fastPath: "yes" is unknown; use true, false or "uplink""#),
    ("network-ip-masq-text", 7, r#"ipMasq: invalid type: string "yes", expected a boolean"#),
    ("network-ipam-other", 7, r#"ipam.type: "../host-local" is not the name of a plugin; write one that lies in CNI_PATH, as "host-local", or leave ipam out"#),
    ("network-ipam-type-number", 7, "ipam.type: invalid type: integer `1`, expected a string"),
    ("network-list", 7, "invalid type: sequence, expected an object at line 1 column 0"),
    ("network-log-file", 7, r#"logFile: "flatnet.log" is not an absolute path"#),
    ("network-log-level", 7, r#"logLevel: "trace" is unknown; use error, warn, info or debug"#),
    ("network-mtu-fraction", 7, "mtu: invalid type: floating point `1400.5`, expected a whole number"),
    ("network-mtu-large", 7, "mtu: 65536 is out of range; use 68 to 65535"),
    ("network-mtu-negative", 7, "mtu: invalid value: integer `-1`, expected a whole number"),
    ("network-mtu-small", 7, "mtu: 67 is out of range; use 68 to 65535"),
    ("network-mtu-text", 7, r#"mtu: invalid type: string "1400", expected a whole number"#),
    ("network-name-absent", 7, "name: is missing; give the network a name"),
    ("network-name-dots", 7, r#"name: ".." must begin with a letter or digit and hold only letters, digits, _, . and -"#),
    ("network-name-empty", 7, r#"name: "" must begin with a letter or digit and hold only letters, digits, _, . and -"#),
    ("network-name-number", 7, "name: invalid type: integer `5`, expected a string"),
    ("network-name-slash", 7, r#"name: "a/b" must begin with a letter or digit and hold only letters, digits, _, . and -"#),
    ("network-node-empty", 7, r#"node: "" must have 1 to 253 characters"#),
    ("network-node-upper", 7, r#"node: "Node-A" must hold only lower-case letters, digits, - and ."#),
    ("network-not-json", 6, "not valid JSON: expected value at line 1 column 11"),
    ("network-prev-result-address", 7, r#"prevResult.ips[0].address: "10.0.0.1" is not a CIDR, as in "10.244.1.0/24""#),
    ("network-prev-result-index", 7, "prevResult.ips[0].interface: 1 is no index into the 1 interfaces"),
    ("network-prev-result-list", 7, "prevResult: invalid type: sequence, expected an object"),
    ("network-prev-result-type", 7, r#"prevResult.ips: invalid type: string "x", expected a sequence"#),
    ("network-prev-result-version", 7, r#"prevResult: cniVersion "3.0.0" is not supported; supported are 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"#),
    ("network-range-file-absent", 7, "rangeFile: is missing; give the absolute path of the range file"),
    ("network-range-file-empty", 7, r#"rangeFile: "" is not an absolute path"#),
    ("network-range-file-relative", 7, r#"rangeFile: "pods.json" is not an absolute path"#),
    ("network-range-file-type", 7, "rangeFile: invalid type: sequence, expected a string"),
    ("network-route-gateway", 7, r#"routes[0].gw: "10.0.0.1" cannot be: the node is the gateway; leave gw out"#),
    ("network-route-host-bits", 7, r#"routes[1].dst: "172.16.0.1/12" has host bits set; write "172.16.0.0/12""#),
    ("network-route-no-dst", 7, "routes[0]: missing field `dst`"),
    ("network-route-text", 7, r#"routes[0]: invalid type: string "10.0.0.0/8", expected an object"#),
    ("network-route-twice", 7, r#"routes[1].dst: "10.0.0.0/8" is also routes[0].dst; name it once"#),
    ("network-runtime-ips", 7, r#"runtimeConfig.ips[1]: "10.244.1.x" is not an IPv4 or IPv6 address"#),
    ("network-runtime-mac", 7, r#"runtimeConfig.mac: "ff:ff:ff:ff:ff:ff" is a multicast address; use a unicast one"#),
    ("network-state-dir-nul", 7, r#"stateDir: "/a\0b" is not an absolute path"#),
    ("network-state-dir-relative", 7, r#"stateDir: "state" is not an absolute path"#),
    ("network-text", 7, r#"invalid type: string "pods", expected an object at line 1 column 6"#),
    ("network-type-absent", 7, r#"type: is missing; write the plugin's name, "flatnet""#),
    ("network-version-number", 7, "cniVersion: 1 is not a string"),
    ("network-version-unknown", 1, r#"cniVersion "1.2.0" is not supported; supported are 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"#),
];

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

fn message(code: u32, text: &str) -> String {
    // A version that is not known is not the document's fault.
    if code == 1 { text.to_owned() } else { format!("network configuration: {text}") }
}

#[test]
fn each_gets_its_message() {
    for (name, code, text) in CASES {
        let bytes = testdata::read("bad", name);
        let error = NetworkConf::parse(&bytes, &invocation(Command::Add)).unwrap_err();
        assert_eq!(error.to_string(), message(*code, text), "{name}");
        assert_eq!(error.code(), *code, "{name}");
    }
}

#[test]
fn every_file_is_in_the_table() {
    let listed: Vec<_> = CASES.iter().map(|case| case.0.to_owned()).collect();
    assert_eq!(testdata::names("bad", "network-"), listed);
}

/// DEL and GC need JSON, a name and a version; whatever else is wrong counts as absent, and what
/// is right is kept.
#[test]
fn cleaning_up_is_lenient() {
    let needed = [
        "network-empty",
        "network-list",
        "network-not-json",
        "network-text",
        "network-name-",
        "network-version-",
    ];
    for (name, code, text) in CASES {
        for command in [Command::Del, Command::Gc] {
            let bytes = testdata::read("bad", name);
            let parsed = NetworkConf::parse(&bytes, &invocation(command));
            if needed.iter().any(|prefix| name.starts_with(prefix)) {
                let error = parsed.unwrap_err();
                assert_eq!(error.to_string(), message(*code, text), "{name}");
                assert_eq!(error.code(), *code, "{name}");
                continue;
            }
            let conf = parsed.unwrap();
            assert_eq!(conf.name, "pods", "{name}");
            assert_eq!(conf.state_dir, PathBuf::from("/run/flatnet"), "{name}");
            assert_eq!(conf.requested_ips.len(), 0, "{name}");
            assert_eq!(conf.mac, None, "{name}");
            assert_eq!(conf.prev_result, None, "{name}");
            let range_file = conf.range_file().map_err(|error| (error.code(), error.to_string()));
            let expected = if name.starts_with("network-range-file-") {
                Err((
                    7,
                    "network configuration: rangeFile: is missing; give the absolute path of \
                         the range file"
                        .to_owned(),
                ))
            } else {
                Ok("/etc/flatnet/pods.json".as_ref())
            };
            assert_eq!(range_file, expected, "{name}");
        }
    }
}
