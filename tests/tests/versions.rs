//! The result of ADD in every version of the protocol, and the answer to VERSION.

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Node, Pod};
use serde_json::{Value, json};

/// Every version of the protocol, as VERSION lists them.
const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// An ADD with `cniVersion` as given; absent where there is none.
fn add(node: &Node, pod: &Pod, version: Option<&str>) -> Value {
    let mut configuration = node.network.configuration.clone();
    let object = configuration.as_object_mut().unwrap();
    match version {
        Some(version) => object.insert("cniVersion".into(), json!(version)),
        None => object.remove("cniVersion"),
    };
    node.call_for("ADD", pod).stdin(configuration.to_string().as_bytes()).run().result()
}

/// The result every version must have for the `n`th pod of node-a, given what the kernel chose.
fn expected(version: &str, n: usize, answer: &Value, pod: &Pod) -> Value {
    let (v4, v6) = (format!("10.244.1.{n}/32"), format!("fd00:10:244:1::{n}/128"));
    if version.starts_with("0.1") || version.starts_with("0.2") {
        return json!({
            "cniVersion": version,
            "ip4": { "ip": v4, "gateway": "169.254.1.1", "routes": [{ "dst": "0.0.0.0/0", "gw": "169.254.1.1" }] },
            "ip6": { "ip": v6, "gateway": "fe80::1", "routes": [{ "dst": "::/0", "gw": "fe80::1" }] },
            "dns": answer["dns"],
        });
    }
    let mut interfaces = json!([
        { "name": answer["interfaces"][0]["name"], "mac": answer["interfaces"][0]["mac"] },
        { "name": "eth0", "mac": answer["interfaces"][1]["mac"], "sandbox": pod.netns.path() },
    ]);
    let mut ips = json!([
        { "interface": 1, "address": v4, "gateway": "169.254.1.1" },
        { "interface": 1, "address": v6, "gateway": "fe80::1" },
    ]);
    if version.starts_with("0.") {
        ips[0]["version"] = json!("4");
        ips[1]["version"] = json!("6");
    }
    if version == "1.1.0" {
        interfaces[0]["mtu"] = json!(1450);
        interfaces[1]["mtu"] = json!(1450);
    }
    json!({
        "cniVersion": version,
        "interfaces": interfaces,
        "ips": ips,
        "routes": [{ "dst": "0.0.0.0/0", "gw": "169.254.1.1" }, { "dst": "::/0", "gw": "fe80::1" }],
        "dns": answer["dns"],
    })
}

/// A result without the keys that a version may leave out when they say nothing.
fn bare(mut value: Value) -> Value {
    let object = value.as_object_mut().unwrap();
    object.retain(|_, value| !value.is_null() && *value != json!({}));
    value
}

#[test]
fn add_answers_in_every_version() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    node.begin_with_the_first("pods");
    for (n, version) in VERSIONS.into_iter().enumerate() {
        let pod = Pod::new("pod");
        let answer = add(node, &pod, Some(version));
        let wanted = expected(version, n + 1, &answer, &pod);
        assert_eq!(bare(answer), bare(wanted), "{version}");
    }
}

#[test]
fn an_absent_version_is_the_oldest() {
    let cluster = Cluster::new(1);
    cluster.nodes[0].begin_with_the_first("pods");
    let pod = Pod::new("pod");
    let answer = add(&cluster.nodes[0], &pod, None);
    let wanted = expected("0.1.0", 1, &answer, &pod);
    assert_eq!(bare(answer), bare(wanted));
}

#[test]
fn dns_of_the_configuration_is_in_the_result() {
    let mut cluster = Cluster::new(1);
    let dns = json!({ "nameservers": ["10.96.0.10"], "search": ["cluster.local"] });
    cluster.configure("dns", dns.clone());
    let pod = cluster.nodes[0].add("pod");
    assert_eq!(pod.result["dns"], dns);
}

#[test]
fn a_previous_result_is_passed_on_with_ours_behind_it() {
    let mut cluster = Cluster::new(1);
    cluster.configure(
        "prevResult",
        json!({
            "cniVersion": "1.1.0",
            "interfaces": [{ "name": "lo", "mac": "00:00:00:00:00:00", "sandbox": "/run/x" }],
            "ips": [{ "interface": 0, "address": "127.0.0.1/8" }],
            "routes": [{ "dst": "192.0.2.0/24" }],
        }),
    );
    let pod = cluster.nodes[0].add("pod");
    let names: Vec<&Value> =
        pod.result["interfaces"].as_array().unwrap().iter().map(|i| &i["name"]).collect();
    assert_eq!(names[0], "lo");
    assert_eq!(names[2], "eth0");
    let ips: Vec<(&Value, &Value)> = pod.result["ips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ip| (&ip["interface"], &ip["address"]))
        .collect();
    assert_eq!(ips[0], (&json!(0), &json!("127.0.0.1/8")));
    let own = &cluster.nodes[0].leases()[0]["addresses"][0];
    assert_eq!(ips[1], (&json!(2), &json!(format!("{}/32", own.as_str().unwrap()))));
    assert_eq!(pod.result["routes"][0], json!({ "dst": "192.0.2.0/24" }));
}

#[test]
fn version_needs_neither_input_nor_variables() {
    let cluster = Cluster::new(1);
    let call = || cluster.nodes[0].call("VERSION").without("CNI_PATH");
    let supported = json!(VERSIONS);
    let answer = call().stdin(b"").run().result();
    assert_eq!(answer, json!({ "cniVersion": "1.1.0", "supportedVersions": supported }));
    // Runtimes send a configuration, dummy variables, or both.
    let dummies = call()
        .env("CNI_CONTAINERID", "dummy")
        .env("CNI_NETNS", "dummy")
        .env("CNI_IFNAME", "dummy")
        .env("CNI_PATH", "dummy")
        .stdin(br#"{"cniVersion":"0.4.0"}"#)
        .run()
        .result();
    assert_eq!(dummies["supportedVersions"], supported);
    assert_eq!(call().stdin(b"not JSON").run().result()["supportedVersions"], supported);
}
