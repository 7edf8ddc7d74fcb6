//! CHECK names each object that is not as ADD made it, and tolerates what others do beside us.

use std::fs;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::Pod;
use flatnet_tests::{kernel, snapshot, sync};
use serde_json::json;

/// Where a case breaks something.
#[derive(Copy, Clone, Debug)]
enum Place {
    Pod,
    Node,
}

#[test]
fn check_names_the_object_that_is_wrong() {
    use Place::{Node as OnNode, Pod as InPod};
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    // (where, the command that breaks it, what the message must have); V4, V6 and VETH stand for
    // the pod's.
    let cases: [(Place, &str, &[&str]); 17] = [
        (InPod, "ip -4 route del default", &["eth0", "0.0.0.0/0", "169.254.1.1"]),
        (InPod, "ip -6 route del default", &["eth0", "::/0", "fe80::1"]),
        (InPod, "ip neigh del 169.254.1.1 dev eth0", &["eth0", "169.254.1.1", "neighbour"]),
        (
            InPod,
            "ip neigh replace fe80::1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent proto 102",
            &["eth0", "fe80::1", "02:00:00:00:00:99"],
        ),
        (InPod, "ip addr del V4/32 dev eth0", &["eth0", "lacks address V4"]),
        (InPod, "ip addr del V6/128 dev eth0", &["eth0", "lacks address V6"]),
        (InPod, "ip link set eth0 down", &["eth0: is down"]),
        (InPod, "ip link set eth0 address 02:00:00:00:00:99", &["eth0", "02:00:00:00:00:99"]),
        (OnNode, "ip route del V4/32", &["VETH", "no route to V4"]),
        (OnNode, "ip -6 route del V6/128", &["VETH", "no route to V6"]),
        (OnNode, "ip neigh del V4 dev VETH", &["VETH", "V4", "neighbour"]),
        (
            OnNode,
            "ip neigh replace V6 lladdr 02:00:00:00:00:99 dev VETH nud permanent proto 102",
            &["VETH", "V6", "02:00:00:00:00:99"],
        ),
        (OnNode, "ip link set VETH down", &["VETH: is down"]),
        (OnNode, "ip link del VETH", &["VETH: there is no such device", "eth0: there is no such"]),
        (OnNode, "ip link set VETH address 02:00:00:00:00:99", &["VETH", "02:00:00:00:00:99"]),
        (OnNode, "ip link set flat.4096 down", &["flat.4096: is down"]),
        (OnNode, "ip link del flat.4096", &["flat.4096: there is no such device"]),
    ];
    for (place, command, parts) in cases {
        let pod = node.add("checked");
        node.check(&pod).silent();
        let meant = |text: &str| {
            text.replace("V4", &pod.v4().to_string())
                .replace("V6", &pod.v6().to_string())
                .replace("VETH", pod.veth())
        };
        let netns = match place {
            Place::Pod => &*pod.netns,
            Place::Node => &node.netns,
        };
        netns.exec(&meant(command));
        let error = node.check(&pod).error();
        assert_eq!(error.code, 105, "{command}: {error:?}");
        for part in parts {
            assert!(error.msg.contains(&meant(part)), "{command}: no {part:?} in {error:?}");
        }
        node.del(&pod).silent();
    }
}

#[test]
fn check_tells_everything_that_is_wrong_at_once() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("checked");
    pod.netns.exec("ip -4 route del default");
    node.netns.exec(&format!("ip neigh del {} dev {}", pod.v6(), pod.veth()));
    let error = node.check(&pod).error();
    for part in ["0.0.0.0/0", &pod.v6().to_string()] {
        assert!(error.msg.contains(part), "{error:?}");
    }
    // An ADD of the same attachment is none, whatever it lacks.
    let error = node.call_for("ADD", &pod).run().error();
    assert_eq!(error.code, 102, "{error:?}");
    assert!(node.check(&pod).error().msg.contains("0.0.0.0/0"));
    sync::apply(node);
    node.check(&pod).silent();
}

#[test]
fn check_misses_the_lease_and_the_namespace() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("checked");
    let never = Pod { result: pod.result.clone(), ..Pod::new("never-added") };
    let error = node.check(&never).error();
    assert_eq!(error.code, 105, "{error:?}");
    assert!(error.msg.contains("lease") && error.msg.contains(&never.container_id), "{error:?}");

    let error = node.call_for("CHECK", &pod).run().error();
    assert_eq!((error.code, error.msg.contains("prevResult")), (7, true), "{error:?}");

    let mut configuration = node.network.configuration.clone();
    configuration["prevResult"] = pod.result.clone();
    let gone = node.call_for("CHECK", &pod).env("CNI_NETNS", "/run/netns/ftest-none");
    let error = gone.stdin(configuration.to_string().as_bytes()).run().error();
    assert_eq!(error.code, 8, "{error:?}");
}

#[test]
fn check_tolerates_what_later_plugins_and_the_pod_do() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let pod = node.add("changed");
    for line in [
        "ip link set eth0 mtu 1300",
        "ip addr add 192.0.2.1/32 dev eth0",
        "ip route add 198.51.100.0/24 dev eth0",
        "ip link add other0 type bridge",
        "ip neigh replace 169.254.1.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
        // Source-based routing: the routes stand in another table.
        "ip route add 169.254.1.1 dev eth0 table 100",
        "ip route add default via 169.254.1.1 dev eth0 table 100",
        "ip route del default",
    ] {
        pod.netns.exec(line);
    }
    node.netns.exec(&format!(
        "tc qdisc add dev {} root tbf rate 1mbit burst 32k latency 50ms",
        pod.veth()
    ));
    node.netns.exec("ip route add 203.0.113.0/24 dev under0");
    let mut result = pod.result.clone();
    // What a later plugin adds to the result is its own to check.
    result["interfaces"].as_array_mut().unwrap().push(json!({ "name": "ifb-other", "mac": "" }));
    result["ips"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "address": "192.0.2.1/32", "interface": 1 }));
    result["routes"].as_array_mut().unwrap().push(json!({ "dst": "192.0.2.0/24" }));
    node.check(&Pod { result, ..pod.again("eth0") }).silent();
}

#[test]
fn check_changes_nothing() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let pod = node.add("checked");
    kernel::wait_until_up(&node.netns, pod.veth());
    let before = (snapshot::namespace(&node.netns), snapshot::folder(&cluster.network.state_dir));
    node.check(&pod).silent();
    pod.netns.exec("ip -4 route del default");
    node.check(&pod).error();
    let after = (snapshot::namespace(&node.netns), snapshot::folder(&cluster.network.state_dir));
    assert_eq!(snapshot::difference(&before.0, &after.0), Vec::<String>::new());
    assert_eq!(snapshot::difference(&before.1, &after.1), Vec::<String>::new());
}

#[test]
fn a_check_is_about_the_pod_whatever_was_written_down() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let pod = node.add("checked");
    let stamp = node.state().join("overlay.json");
    let written = fs::read_to_string(&stamp).expect("a stamp");
    let with = |key: &str, value: serde_json::Value| {
        let mut stamp: serde_json::Value = serde_json::from_str(&written).expect("JSON");
        assert!(stamp.get(key).is_some(), "{stamp}");
        stamp[key] = value;
        stamp.to_string()
    };
    let elsewhere = node.state().join("a-folder");
    for spoiled in [
        None,
        Some(String::new()),
        Some("{".into()),
        Some(with("format", json!(1))),
        // What was applied last was never written down.
        Some(with("vni", json!(77))),
        Some(with("vtep", json!("192.168.50.77"))),
        Some(with("node", json!("node-x"))),
    ] {
        match &spoiled {
            None => fs::rename(&stamp, &elsewhere).expect("lose the stamp"),
            Some(text) => fs::write(&stamp, text).expect("spoil the stamp"),
        }
        node.check(&pod).silent();
        // A control: it still sees what is wrong with the pod, and with the overlay.
        node.netns.exec(&format!("ip -6 route del {}/128", pod.v6()));
        node.netns.exec("ip link set flat.4096 down");
        let failure = node.check(&pod).error();
        for part in [pod.v6().to_string(), "flat.4096: is down".into()] {
            assert!(failure.msg.contains(&part), "{spoiled:?}: {failure:?}");
        }
        fs::write(&stamp, &written).expect("put the stamp back");
        sync::apply(node);
    }
    node.netns.exec("ip link del flat.4096");
    fs::remove_file(&stamp).expect("lose the stamp");
    let failure = node.check(&pod).error();
    assert!(failure.msg.contains("network pods: there is no such device"), "{failure:?}");
}
