//! `docs/configuration.md`: every example in it is run, and every key has one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use flatnet_tests::cluster::{Cluster, Settings};
use flatnet_tests::cnitool::{CHAIN_VERSION, Tool, cni_path};
use flatnet_tests::node::Pod;
use flatnet_tests::program::{finish, ours, said, workspace};
use serde_json::{Value, json};

/// What only a runtime makes.
const WITHOUT_EXAMPLE: [&str; 1] = ["prevResult"];

/// What a configuration may ask for that its result shows as it is.
const SHOWN_IN_RESULT: [&str; 8] = [
    "/routes/1/dst",
    "/dns/nameservers/0",
    "/dns/domain",
    "/runtimeConfig/ips/0",
    "/runtimeConfig/mac",
    "/runtimeConfig/dns/searches/0",
    "/args/cni/ips/0",
    "/args/cni/mac",
];

/// The examples of the document: what kind each is, and its JSON.
fn examples() -> Vec<(String, Value)> {
    let path = workspace().join("docs/configuration.md");
    let text = fs::read_to_string(path).expect("the document");
    let mut blocks = text.split("\n```");
    blocks.next();
    // Between two fences is an example, then text, in turn.
    let blocks: Vec<&str> = blocks.step_by(2).collect();
    blocks
        .into_iter()
        .map(|block| {
            let (info, body) = block.split_once('\n').expect("a first line");
            let kind = info.strip_prefix("json ").unwrap_or_else(|| panic!("{info:?}: no kind"));
            let example = serde_json::from_str(body);
            (kind.to_owned(), example.unwrap_or_else(|error| panic!("{error}: {body}")))
        })
        .collect()
}

/// The examples of one kind, of which there must be some.
fn of_kind(kind: &str) -> Vec<Value> {
    let found = examples().into_iter().filter(|(of, _)| of == kind);
    let found: Vec<Value> = found.map(|(_, example)| example).collect();
    assert!(!found.is_empty(), "no example of kind {kind}");
    found
}

/// Puts the files of an example where a test may have them: whatever has an absolute path.
fn relocate(value: &mut Value, cluster: &Cluster) {
    let folder = cluster.folder();
    let moved = |path: &Value| {
        let name = Path::new(path.as_str().expect("a path")).file_name().expect("a name");
        json!(folder.join(name))
    };
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match key.as_str() {
                    "rangeFile" => *value = json!(cluster.network.range_file),
                    "stateDir" | "dataDir" | "logFile" => *value = moved(value),
                    _ => relocate(value, cluster),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| relocate(value, cluster)),
        _ => {}
    }
}

/// A cluster that the examples fit: the VTEPs and ranges of the document's first files.
fn cluster(v6_underlay: bool) -> Cluster {
    Cluster::with(Settings { nodes: 2, mtu: 1500, v6_underlay })
}

#[test]
fn every_range_file_is_checked_and_applied() {
    for example in of_kind("range-file") {
        let v6_underlay = example["nodes"][0]["vtep"].as_str().expect("a VTEP").contains(':');
        let cluster = cluster(v6_underlay);
        cluster.write_range_file(&example);
        let mut check = Command::new(ours("flatnet"));
        check.args(["ranges", "check"]).arg(&cluster.network.range_file).env_remove("CNI_COMMAND");
        let output = finish(&mut check, b"");
        assert!(output.status.success(), "{example}: {}", said(&output));
        for node in &cluster.nodes {
            let pod = node.add("pod");
            assert!(!pod.addresses().is_empty(), "{example}");
            node.del(&pod).silent();
        }
    }
}

#[test]
fn every_network_configuration_attaches_a_pod() {
    for example in of_kind("network") {
        let cluster = cluster(false);
        let node = &cluster.nodes[0];
        let mut configuration = example.clone();
        relocate(&mut configuration, &cluster);
        configuration["cniVersion"] = json!(CHAIN_VERSION);
        configuration["name"] = json!("pods");
        if configuration.get("stateDir").is_none() {
            configuration["stateDir"] = json!(cluster.network.state_dir);
        }
        let pod = Pod::new("pod");
        let call = |verb, configuration: &Value| {
            let text = configuration.to_string();
            let call = node.call_for(verb, &pod).env("CNI_PATH", &cni_path(&cluster));
            call.stdin(text.as_bytes()).run()
        };
        let result = call("ADD", &configuration).result();
        assert!(result["ips"][0]["address"].is_string(), "{example}: {result}");
        for place in SHOWN_IN_RESULT {
            let asked = example.pointer(place).and_then(Value::as_str).unwrap_or_default();
            assert!(result.to_string().contains(asked), "{place} of {example}: {result}");
        }
        configuration["prevResult"] = result;
        call("CHECK", &configuration).silent();
        call("DEL", &configuration).silent();
    }
}

#[test]
fn every_list_attaches_a_pod() {
    for example in of_kind("list") {
        let mut cluster = cluster(false);
        cluster.network.configuration["name"] = example["name"].clone();
        let mut plugins = example["plugins"].clone();
        relocate(&mut plugins, &cluster);
        for plugin in plugins.as_array_mut().expect("plugins") {
            if plugin["type"] == "flatnet" {
                plugin["stateDir"] = json!(cluster.network.state_dir);
            }
        }
        let version = example["cniVersion"].as_str().expect("a version");
        let tool = Tool::new(&cluster, version, plugins.as_array().expect("plugins"));
        let node = &cluster.nodes[0];
        let pod = tool.add(node, "pod", &json!({}));
        assert!(!pod.addresses().is_empty(), "{example}");
        tool.call(node, "del", &pod).succeed();
    }
}

/// Every key of the properties that a schema describes, at any depth.
fn described(schema: &Value, keys: &mut BTreeSet<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        keys.extend(properties.keys().cloned());
    }
    for part in schema["$defs"].as_object().into_iter().flat_map(|parts| parts.values()) {
        described(part, keys);
    }
}

/// Every key of a value, at any depth.
fn used(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            keys.extend(object.keys().cloned());
            object.values().for_each(|value| used(value, keys));
        }
        Value::Array(list) => list.iter().for_each(|value| used(value, keys)),
        _ => {}
    }
}

#[test]
fn every_key_has_an_example() {
    for (schema, kinds) in [("network", &["network", "list"][..]), ("range-file", &["range-file"])]
    {
        let path = workspace().join(format!("conf/schema/{schema}.schema.json"));
        let text = fs::read_to_string(path).expect("a schema");
        let mut keys = BTreeSet::new();
        described(&serde_json::from_str(&text).expect("JSON"), &mut keys);
        assert!(keys.len() > 5, "{keys:?}");
        let mut shown: BTreeSet<String> = WITHOUT_EXAMPLE.map(str::to_owned).into();
        kinds.iter().flat_map(|kind| of_kind(kind)).for_each(|example| used(&example, &mut shown));
        let missing: Vec<&String> = keys.difference(&shown).collect();
        assert!(missing.is_empty(), "docs/configuration.md has no example of {missing:?}");
    }
}
