//! What a runtime says beside the configuration: capabilities, CNI_ARGS, `args`, in whatever case
//! it writes their keys.

use std::net::IpAddr;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cnitool::{CHAIN_VERSION, Tool, entry};
use flatnet_tests::kernel;
use flatnet_tests::node::{Node, Pod};
use serde_json::{Value, json};

/// ADD, CHECK and DEL with a configuration; returns the result.
fn round(node: &Node, configuration: &Value, args: &str) -> Value {
    let pod = Pod::new("asking");
    let call = |verb: &str, text: &Value| {
        node.call_for(verb, &pod).env("CNI_ARGS", args).stdin(text.to_string().as_bytes()).run()
    };
    let result = call("ADD", configuration).result();
    let mut with_result = configuration.clone();
    with_result["prevResult"] = result.clone();
    call("CHECK", &with_result).silent();
    let link = kernel::link(&pod.netns, "eth0").expect("the pod's interface");
    assert_eq!(link["address"], result["interfaces"][1]["mac"]);
    for _ in 0..2 {
        call("DEL", &with_result).silent();
    }
    node.assert_no_attachment();
    result
}

#[test]
fn capabilities_arrive_through_libcni() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let mut flatnet = entry(&cluster);
    flatnet["capabilities"] = json!({ "ips": true, "mac": true, "dns": true });
    let tool = Tool::new(&cluster, CHAIN_VERSION, &[flatnet]);
    let asked = json!({
        "ips": ["10.244.1.33", "fd00:10:244:1::33/64"],
        "mac": "02:11:22:33:44:55",
        "dns": { "servers": ["10.96.0.10"], "searches": ["svc.local"], "options": ["ndots:5"] },
        // Not declared by the plugin, so it never gets them.
        "portMappings": [{ "hostPort": 1, "containerPort": 2, "protocol": "tcp" }],
    });
    let pod = tool.add(node, "asking", &asked);
    let wanted: [IpAddr; 2] = [[10, 244, 1, 33].into(), "fd00:10:244:1::33".parse().unwrap()];
    assert_eq!(pod.addresses(), wanted);
    assert_eq!(pod.result["interfaces"][1]["mac"], "02:11:22:33:44:55");
    let dns = json!({
        "nameservers": ["10.96.0.10"], "search": ["svc.local"], "options": ["ndots:5"],
    });
    assert_eq!(pod.result["dns"], dns);
    tool.call(node, "check", &pod).capabilities(&asked).succeed();
    tool.call(node, "del", &pod).capabilities(&asked).succeed();
    node.assert_no_attachment();
}

#[test]
fn the_nearest_who_asks_is_heard() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let environment = "IgnoreUnknown=1;IP=10.244.1.21;MAC=02:00:00:00:00:21";
    let args = json!({ "cni": { "ips": ["10.244.1.22"], "mac": "02:00:00:00:00:22" } });
    let runtime = json!({ "ips": ["10.244.1.23/24"], "mac": "02:00:00:00:00:23" });
    let mut configuration = cluster.network.configuration.clone();
    for (key, value, n) in
        [("none", json!(0), 21), ("args", args, 22), ("runtimeConfig", runtime, 23)]
    {
        configuration[key] = value;
        let result = round(node, &configuration, environment);
        assert_eq!(result["ips"][0]["address"], format!("10.244.1.{n}/32"));
        assert_eq!(result["ips"][1]["address"].as_str().map(|a| a.contains("::")), Some(true));
        assert_eq!(result["interfaces"][1]["mac"], format!("02:00:00:00:00:{n}"));
    }
}

/// Wherever the addresses given before lie: they go on behind the last of these.
#[test]
fn addresses_are_of_the_parts_that_are_asked_for() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let part = [248, 249, 250, 251].map(|n| IpAddr::from([10, 244, 1, n]));
    // None of the part itself, all of which must be free.
    let mut before = node.add("before");
    while part.contains(&before.v4()) {
        node.del(&before).silent();
        before = node.add("before");
    }
    let mut configuration = cluster.network.configuration.clone();
    configuration["runtimeConfig"] = json!({ "ipRanges": [[{ "subnet": "10.244.1.248/30" }]] });
    let add = || {
        let pod = Pod::new("asking");
        let outcome = node.call_for("ADD", &pod).stdin(configuration.to_string().as_bytes()).run();
        (pod, outcome)
    };
    let mut given: Vec<(Pod, Value)> = Vec::new();
    for _ in 0..5 {
        let (pod, outcome) = add();
        if !outcome.status().success() {
            assert_eq!(given.len(), 4, "{given:?}");
            let error = outcome.error();
            assert_eq!(error.code, 100, "{error:?}");
            assert!(error.msg.contains("(10.244.1.248 to 10.244.1.251)"), "{error:?}");
            break;
        }
        given.push((pod, outcome.result()));
    }
    let mut v4: Vec<_> = given.iter().map(|(_, result)| &result["ips"][0]["address"]).collect();
    v4.sort_by_key(|address| address.to_string());
    let part = part.map(|address| json!(format!("{address}/32")));
    assert_eq!(v4, part.iter().collect::<Vec<_>>(), "{before:?}");
    let v6 = given.iter().map(|(_, result)| result["ips"][1]["address"].as_str());
    assert!(v6.flatten().all(|address| address.starts_with("fd00:10:244:1:")), "{given:?}");
}

/// containerd and Nomad send what Go makes of their structures.
#[test]
fn keys_in_gos_capitals_are_understood() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let configuration = json!({
        "CNIVersion": "1.1.0",
        "Name": "pods",
        "Type": "flatnet",
        "RangeFile": cluster.network.range_file,
        "StateDir": cluster.network.state_dir,
        "MTU": 1400,
        "RuntimeConfig": {
            "IPs": ["10.244.1.44"],
            "Mac": "02:00:00:00:00:44",
            "DNS": { "Servers": ["10.96.0.10"], "Searches": ["a.b"], "Options": ["ndots:5"] },
            "PortMappings": [{ "HostPort": 80, "ContainerPort": 80, "Protocol": "tcp" }],
            "Bandwidth": { "IngressRate": 1 },
            "io.kubernetes.cri.pod-annotations": { "a": "b" },
        },
        "Args": { "CNI": { "Labels": [{ "key": "k", "value": "v" }] } },
        "Capabilities": { "ips": true },
    });
    let pod = Pod::new("go");
    let call = |verb: &str, text: &Value| {
        node.call_for(verb, &pod).stdin(text.to_string().as_bytes()).run()
    };
    let result = call("ADD", &configuration).result();
    assert_eq!(result["ips"][0]["address"], "10.244.1.44/32");
    assert_eq!(result["interfaces"][1]["mac"], "02:00:00:00:00:44");
    assert_eq!(result["interfaces"][1]["mtu"], 1400);
    assert_eq!(result["dns"]["nameservers"], json!(["10.96.0.10"]));
    let mut with_result = configuration.clone();
    with_result["PrevResult"] = json!({
        "CNIVersion": "1.1.0",
        "Interfaces": result["interfaces"].as_array().unwrap().iter().map(|interface| json!({
            "Name": interface["name"], "Mac": interface["mac"], "Sandbox": interface["sandbox"],
        })).collect::<Vec<_>>(),
        "IPs": result["ips"].as_array().unwrap().iter().map(|ip| json!({
            "Interface": ip["interface"], "Address": ip["address"], "Gateway": ip["gateway"],
        })).collect::<Vec<_>>(),
        "Routes": [{ "Dst": "0.0.0.0/0", "GW": "169.254.1.1" }],
    });
    call("CHECK", &with_result).silent();
    call("DEL", &with_result).silent();
    node.assert_no_attachment();
}

#[test]
fn pod_names_stand_in_lease_and_alias() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let mut pod = Pod::new("named");
    // containerd sends them in any order.
    let args = "K8S_POD_UID=6f1c;K8S_POD_NAMESPACE=shop;K8S_POD_INFRA_CONTAINER_ID=c0ffee;\
                IgnoreUnknown=1;K8S_POD_NAME=web-0";
    pod.result = node.call_for("ADD", &pod).env("CNI_ARGS", args).run().result();
    let leases = node.leases();
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert_eq!(leases[0]["pod"], json!({ "namespace": "shop", "name": "web-0", "uid": "6f1c" }));
    assert_eq!(leases[0]["containerID"], json!(pod.container_id));
    assert_eq!(leases[0]["sandbox"], json!(pod.netns.path()));
    assert_eq!(leases[0]["addresses"], json!(pod.addresses()));
    let link = kernel::link(&node.netns, pod.veth()).expect("the node's end");
    assert_eq!(link["ifalias"], "flatnet:pods/shop/web-0/eth0");
    // The DEL comes without them.
    node.del(&pod).silent();
    node.assert_no_attachment();
}

/// Longer than a device's alias can be, which Kubernetes allows (253 and 63 characters) and CNI does not limit.
#[test]
fn names_may_be_long() {
    let mut cluster = Cluster::new(1);
    let node = &mut cluster.nodes[0];
    let [name, namespace, id] = [("n", 253), ("s", 63), ("c", 300)].map(|(c, n)| c.repeat(n));
    let mut pod = Pod::new("named");
    let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}");
    pod.result = node.call_for("ADD", &pod).env("CNI_ARGS", &args).run().result();
    let mut other = Pod::new("long");
    other.container_id = id;
    node.attach(&mut other);
    let begins = [format!("flatnet:pods/{namespace}/nnn"), "flatnet:pods/-/ccc".to_owned()];
    for (pod, begin) in [&pod, &other].into_iter().zip(begins) {
        let link = kernel::link(&node.netns, pod.veth()).expect("the node's end");
        let alias = link["ifalias"].as_str().expect("an alias");
        assert!(alias.starts_with(&begin) && alias.ends_with("/eth0"), "{alias}");
        assert_eq!(alias.len(), 254);
        node.del(pod).silent();
    }
    node.assert_no_attachment();
}

#[test]
fn a_network_and_its_nodes_may_have_long_names() {
    let mut cluster = Cluster::new(2);
    let network = "n".repeat(200);
    cluster.configure("name", json!(network));
    cluster.nodes[0].name = "node-".to_owned() + &"a".repeat(58);
    cluster.list(&[0, 1]);
    let node = &cluster.nodes[0];
    node.call("STATUS").run().silent();
    let alias = kernel::link(&node.netns, &node.overlay()).expect("the overlay")["ifalias"].clone();
    assert_eq!(alias, format!("flatnet:{network}/{}", node.name)[..254]);
    let pod = node.add("pod");
    node.del(&pod).silent();
    node.assert_no_attachment();
}

/// podman asks for 0.4.0 and fails on an interface without a MAC.
#[test]
fn podmans_version_has_what_podman_needs() {
    let mut cluster = Cluster::new(1);
    cluster.configure("cniVersion", json!("0.4.0"));
    let args = "IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.244.1.50;MAC=02:00:00:00:00:50";
    let result = round(&cluster.nodes[0], &cluster.network.configuration, args);
    assert_eq!(result["cniVersion"], "0.4.0");
    assert_eq!(result["ips"][0]["version"], "4");
    assert_eq!(result["ips"][0]["address"], "10.244.1.50/32");
    let interfaces = result["interfaces"].as_array().unwrap();
    let with_mac =
        |interface: &&Value| interface["mac"].as_str().is_some_and(|mac| mac.len() == 17);
    assert_eq!(interfaces.iter().filter(with_mac).count(), interfaces.len(), "{interfaces:?}");
    let inside: Vec<&Value> = interfaces.iter().filter(|i| !i["sandbox"].is_null()).collect();
    assert_eq!(inside.len(), 1);
    assert_eq!(inside[0]["mac"], "02:00:00:00:00:50");
}
