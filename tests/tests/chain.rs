//! flatnet in a chain, as libcni runs it: the reference plugins behind it, others before it, and
//! the result handed down from one to the next.

use std::net::IpAddr;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cnitool::{CHAIN_VERSION, Tool, entry, script};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::{kernel, probe};
use serde_json::{Value, json};

/// A pod on each of two nodes through a chain with these plugins behind flatnet: ADD, CHECK, every
/// pair reached, what the test looks at, CHECK again, DEL twice, nothing left.
fn round(behind: &[Value], capabilities: &Value, look: impl Fn(&Node, &Pod)) {
    let cluster = Cluster::new(2);
    let tool = Tool::behind(&cluster, behind);
    let has = |name: &str| behind.iter().any(|plugin| plugin["type"] == name);
    // The CHECK of portmap 1.1.1 looks for the IPv4 rules in the IPv6 table as well, and so
    // always fails (containernetworking/plugins issue 819): there, flatnet's alone is called.
    let check = |node: &Node, pod: &Pod| match has("portmap") {
        true => check_ours(node, pod),
        false => drop(tool.call(node, "check", pod).capabilities(capabilities).succeed()),
    };
    let pods: Vec<Pod> =
        cluster.nodes.iter().map(|node| tool.add(node, "chained", capabilities)).collect();
    for (node, pod) in cluster.nodes.iter().zip(&pods) {
        check(node, pod);
        look(node, pod);
    }
    for (from, to) in [(&pods[0], &pods[1]), (&pods[1], &pods[0])] {
        probe::ping_as(&from.netns, from.v4(), to.v4());
        probe::ping_as(&from.netns, from.v6(), to.v6());
    }
    for (node, pod) in cluster.nodes.iter().zip(&pods) {
        check(node, pod);
        // The DEL of sbr fails where the interface is gone already.
        let times = if has("sbr") { 1 } else { 2 };
        for _ in 0..times {
            tool.call(node, "del", pod).capabilities(capabilities).succeed();
            node.assert_no_attachment();
            assert_eq!(kernel::link_names(&pod.netns), ["lo".into()].into());
        }
    }
}

/// flatnet's CHECK with the result of the whole chain.
fn check_ours(node: &Node, pod: &Pod) {
    let mut configuration = node.network.configuration.clone();
    configuration["cniVersion"] = json!(CHAIN_VERSION);
    configuration["prevResult"] = pod.result.clone();
    node.call_for("CHECK", pod)
        .env("CNI_CONTAINERID", &Tool::container_id(node, pod))
        .stdin(configuration.to_string().as_bytes())
        .run()
        .silent();
}

/// The rules of both families that name one of a pod's addresses.
fn rules_of(node: &Node, pod: &Pod) -> Vec<String> {
    let ruleset = node.netns.exec("nft list ruleset");
    let names = |line: &&str| pod.addresses().iter().any(|a| line.contains(&a.to_string()));
    ruleset.lines().filter(names).map(str::to_owned).collect()
}

fn portmap() -> (Value, Value) {
    let plugin = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let mapping = json!({ "hostPort": 18_090, "containerPort": 80, "protocol": "tcp" });
    (plugin, json!({ "portMappings": [mapping] }))
}

fn bandwidth() -> (Value, Value) {
    let plugin = json!({ "type": "bandwidth", "capabilities": { "bandwidth": true } });
    let rates = json!({
        "ingressRate": 80_000_000, "ingressBurst": 8_000_000,
        "egressRate": 80_000_000, "egressBurst": 8_000_000,
    });
    (plugin, json!({ "bandwidth": rates }))
}

fn tuning() -> Value {
    json!({ "type": "tuning", "sysctl": { "net.core.somaxconn": "500" }, "mtu": 1300 })
}

#[test]
fn portmap_works_behind_flatnet() {
    let (plugin, capabilities) = portmap();
    round(&[plugin], &capabilities, |node, pod| {
        let rules = node.netns.exec("nft list ruleset");
        assert!(rules.contains(&format!("{}:80", pod.v4())), "{rules}");
    });
}

#[test]
fn bandwidth_works_behind_flatnet() {
    let (plugin, capabilities) = bandwidth();
    round(&[plugin], &capabilities, |node, pod| {
        let shaped = node.netns.exec(&format!("tc qdisc show dev {}", pod.veth()));
        assert!(shaped.contains("tbf"), "{shaped}");
        assert_eq!(kernel::link_names(&node.netns).iter().filter(is_ifb).count(), 1);
    });
}

/// Whether a link is one that the bandwidth plugin shapes a pod's sending with.
fn is_ifb(name: &&String) -> bool {
    name.starts_with("bwp")
}

#[test]
fn tuning_works_behind_flatnet() {
    round(&[tuning()], &json!({}), |_, pod| {
        assert_eq!(kernel::sysctl(&pod.netns, "core/somaxconn"), "500");
        let link = kernel::link(&pod.netns, "eth0").expect("the pod's interface");
        assert_eq!(link["mtu"], 1300);
    });
}

#[test]
fn firewall_works_behind_flatnet() {
    let plugin = json!({ "type": "firewall", "backend": "iptables" });
    round(&[plugin], &json!({}), |node, pod| {
        let rules = rules_of(node, pod);
        for address in pod.addresses() {
            let address = address.to_string();
            assert!(rules.iter().any(|rule| rule.contains(&address)), "{address}: {rules:?}");
        }
    });
}

#[test]
fn sbr_works_behind_flatnet() {
    round(&[json!({ "type": "sbr" })], &json!({}), |_, pod| {
        let rules = pod.netns.exec("ip rule");
        assert!(rules.contains(&format!("from {}", pod.v4())), "{rules}");
        let main = pod.netns.exec("ip -4 route show table main default");
        assert_eq!(main.trim(), "", "the routes are in a table of their own now");
    });
}

#[test]
fn all_of_them_work_behind_flatnet_together() {
    let ((portmap, ports), (bandwidth, rates)) = (portmap(), bandwidth());
    let firewall = json!({ "type": "firewall", "backend": "iptables" });
    let behind = [json!({ "type": "sbr" }), tuning(), bandwidth, firewall, portmap];
    let mut capabilities = ports;
    capabilities["bandwidth"] = rates["bandwidth"].clone();
    round(&behind, &capabilities, |node, pod| {
        assert!(!rules_of(node, pod).is_empty());
        assert_eq!(kernel::link_names(&node.netns).iter().filter(is_ifb).count(), 1);
        assert_eq!(kernel::sysctl(&pod.netns, "core/somaxconn"), "500");
        assert!(pod.netns.exec("ip rule").contains(&format!("from {}", pod.v4())));
    });
}

#[test]
fn flatnet_works_behind_loopback() {
    let cluster = Cluster::new(2);
    let tool =
        Tool::new(&cluster, CHAIN_VERSION, &[json!({ "type": "loopback" }), entry(&cluster)]);
    let pods = [0, 1].map(|n| tool.add(&cluster.nodes[n], "behind-lo", &json!({})));
    for (node, pod) in cluster.nodes.iter().zip(&pods) {
        let interfaces = pod.result["interfaces"].as_array().unwrap();
        let names: Vec<&Value> = interfaces.iter().map(|interface| &interface["name"]).collect();
        assert_eq!(names[0], "lo", "{}", pod.result);
        assert_eq!(names[2], "eth0", "{}", pod.result);
        tool.call(node, "check", pod).succeed();
    }
    let ours = |ip: &&Value| ip["interface"] == 2;
    let ips = pods[1].result["ips"].as_array().unwrap();
    assert_eq!(ips.iter().filter(ours).count(), 2, "{ips:?}");
    for ip in ips.iter().filter(ours) {
        let (address, _) = ip["address"].as_str().unwrap().split_once('/').unwrap();
        probe::ping(&pods[0].netns, address.parse().unwrap());
    }
    for (node, pod) in cluster.nodes.iter().zip(&pods) {
        tool.call(node, "del", pod).succeed();
        node.assert_no_attachment();
    }
}

/// What a plugin in front of flatnet answers: an interface on the node, one in the pod.
fn result_before() -> Value {
    json!({
        "cniVersion": CHAIN_VERSION,
        "interfaces": [
            { "name": "outer0", "mac": "02:00:00:00:00:01" },
            { "name": "inner0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/elsewhere" },
        ],
        "ips": [{ "interface": 1, "address": "192.0.2.7/24", "gateway": "192.0.2.1" }],
        "routes": [{ "dst": "198.51.100.0/24", "gw": "192.0.2.1" }],
        "dns": { "nameservers": ["192.0.2.53"] },
    })
}

#[test]
fn what_stands_before_flatnet_is_passed_on_with_ours_behind_it() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let answer = format!("[ $CNI_COMMAND = ADD ] && echo '{}'; exit 0", result_before());
    script(&cluster, "before", &answer);
    let (portmap, ports) = portmap();
    let list = [json!({ "type": "before" }), entry(&cluster), portmap];
    let tool = Tool::new(&cluster, CHAIN_VERSION, &list);
    let pod = tool.add(node, "pod", &ports);
    let before = result_before();
    for key in ["interfaces", "ips", "routes"] {
        let first = before[key].as_array().unwrap();
        let all = pod.result[key].as_array().unwrap();
        assert_eq!(all[..first.len()], first[..], "{key}");
    }
    assert_eq!(pod.result["dns"], before["dns"]);
    let interfaces = pod.result["interfaces"].as_array().unwrap();
    assert_eq!(interfaces.len(), 4, "{interfaces:?}");
    assert_eq!(interfaces[3]["name"], "eth0");
    assert_eq!(interfaces[3]["sandbox"], json!(pod.netns.path()));
    for ip in &pod.result["ips"].as_array().unwrap()[1..] {
        assert_eq!(ip["interface"], 3, "{ip}");
    }
    check_ours(node, &pod);
    tool.call(node, "del", &pod).capabilities(&ports).succeed();
    node.assert_no_attachment();
}

#[test]
fn a_chain_that_fails_behind_flatnet_leaves_nothing_after_del() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let object = json!({ "cniVersion": CHAIN_VERSION, "code": 11, "msg": "not today" });
    script(
        &cluster,
        "behind",
        &format!("[ $CNI_COMMAND = ADD ] || exit 0; echo '{object}'; exit 1"),
    );
    let failing = Tool::behind(&cluster, &[json!({ "type": "behind" })]);
    let mut pod = Pod::new("unlucky");
    assert!(failing.call(node, "add", &pod).fail().contains("not today"));
    // Again without a DEL between, as some runtimes try: ours is attached, and stays as it is.
    assert!(failing.call(node, "add", &pod).fail().contains("attached already"));
    failing.call(node, "del", &pod).succeed();
    node.assert_no_attachment();
    let sound = Tool::behind(&cluster, &[]);
    pod.result = sound.call(node, "add", &pod).succeed();
    sound.call(node, "del", &pod).succeed();
    node.assert_no_attachment();
}

/// As Multus attaches: a further interface of the same container, from a configuration of its own
/// that must not take the default route.
#[test]
fn a_second_attachment_reaches_the_other_node_by_its_own_routes() {
    let cluster = Cluster::new(2);
    let first = Tool::behind(&cluster, &[]);
    let mut routed = entry(&cluster);
    routed["routes"] = json!([{ "dst": "10.244.0.0/16" }]);
    let second = Tool::new(&cluster, CHAIN_VERSION, &[routed]);
    let node = &cluster.nodes[0];
    let peer = cluster.nodes[1].add("peer");
    let pod = first.add(node, "multi", &json!({}));
    let mut extra = pod.again("net1");
    extra.result = second.call(node, "add", &extra).succeed();
    assert_eq!(extra.result["interfaces"][1]["name"], "net1");
    let to: IpAddr = peer.v4();
    let path = pod.netns.exec(&format!("ip route get {to}"));
    assert!(path.contains("dev net1") && path.contains(&extra.v4().to_string()), "{path}");
    probe::ping(&pod.netns, to);
    probe::ping(&peer.netns, extra.v4());
    let default = pod.netns.json("ip -j -4 route show default");
    assert_eq!((default.len(), &default[0]["dev"]), (1, &json!("eth0")));
    first.call(node, "check", &pod).succeed();
    second.call(node, "check", &extra).succeed();
    // One goes, the other stays whole.
    second.call(node, "del", &extra).succeed();
    first.call(node, "check", &pod).succeed();
    probe::ping(&pod.netns, to);
    first.call(node, "del", &pod).succeed();
    node.assert_no_attachment();
}

/// What `sbr` is for: both addresses of a container with two attachments can be reached, because
/// each answers through its own interface.
#[test]
fn sbr_lets_both_attachments_of_a_container_be_reached() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let mut routed = entry(&cluster);
    routed["routes"] = json!([{ "dst": "10.244.0.0/16" }, { "dst": "fd00:10:244::/56" }]);
    let first = Tool::behind(&cluster, &[]);
    let second = Tool::new(&cluster, CHAIN_VERSION, &[routed, json!({ "type": "sbr" })]);
    let peer = cluster.nodes[1].add("peer");
    let pod = first.add(node, "multi", &json!({}));
    let mut extra = pod.again("net1");
    extra.result = second.call(node, "add", &extra).succeed();
    for address in pod.addresses().into_iter().chain(extra.addresses()) {
        probe::ping(&peer.netns, address);
    }
    second.call(node, "check", &extra).succeed();
    first.call(node, "check", &pod).succeed();
    second.call(node, "del", &extra).succeed();
    first.call(node, "del", &pod).succeed();
    node.assert_no_attachment();
}
