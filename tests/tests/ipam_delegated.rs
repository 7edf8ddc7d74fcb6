//! `flatnet-ipam` under the reference main plugins, in every version that they speak, with the
//! range file and with host-local's keys.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::cni::Call;
use flatnet_tests::kernel;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe;
use flatnet_tests::program::{bin_dir, ours, reference_plugins};
use serde_json::{Value, json};

/// What the main plugins of Debian 12 speak.
const VERSIONS: [&str; 6] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];

/// A node with one range of IPv4, for IPv6 would wait for duplicate address detection each time.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(1);
    cluster.nodes[0].ranges = vec![json!("10.244.1.0/24")];
    cluster.list(&[0]);
    cluster
}

/// The configuration of a main plugin with this section `ipam`.
fn configuration(main: &str, version: &str, ipam: &Value) -> Value {
    let mut configuration = json!({
        "cniVersion": version, "name": format!("{main}-net"), "type": main, "ipam": ipam,
    });
    match main {
        "bridge" => {
            // A bridge has one gateway address.
            let by_file = ipam.get("rangeFile").is_some();
            configuration["bridge"] = json!(if by_file { "br-file" } else { "br-sets" });
            configuration["isGateway"] = json!(true);
        }
        "macvlan" => configuration["master"] = json!(UNDERLAY),
        _ => {}
    }
    configuration
}

fn call<'a>(node: &'a Node, verb: &str, configuration: &Value, pod: &Pod) -> Call<'a> {
    let main = configuration["type"].as_str().unwrap();
    let path = format!("{}:{}", bin_dir().display(), reference_plugins().display());
    Call::new(&node.netns, verb, configuration)
        .program(reference_plugins().join(main))
        .env("CNI_PATH", &path)
        .attachment(&pod.container_id, &pod.netns.path(), &pod.ifname)
}

/// The IPv4 address with its prefix length, whatever the version.
fn address(result: &Value) -> String {
    let text = match &result["ip4"]["ip"] {
        Value::Null => &result["ips"][0]["address"],
        old => old,
    };
    text.as_str().unwrap_or_else(|| panic!("no address in {result}")).to_owned()
}

/// ADD, CHECK where there is one, traffic, DEL twice.
fn live(node: &Node, configuration: &Value, expected: &str, gateway: &str) {
    let (main, version) = (&configuration["type"], configuration["cniVersion"].as_str().unwrap());
    let pod = Pod::new("pod");
    let result = call(node, "ADD", configuration, &pod).run().result();
    assert_eq!(address(&result), expected, "{main} {version}");
    let inside = pod.netns.exec("ip -4 -o address show dev eth0");
    assert!(inside.contains(&format!("inet {expected} ")), "{main} {version}: {inside}");
    // No device has the address of a macvlan's gateway.
    if main != "macvlan" {
        probe::ping(&pod.netns, gateway.parse().unwrap());
    }
    if version >= "0.4.0" {
        let mut checked = configuration.clone();
        checked["prevResult"] = result;
        call(node, "CHECK", &checked, &pod).run().silent();
    }
    for _ in 0..2 {
        call(node, "DEL", configuration, &pod).run().silent();
        assert_eq!(kernel::link_names(&pod.netns), ["lo".into()].into(), "{main} {version}");
    }
}

/// The addresses that are taken, by the names of the files.
fn taken(folder: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect()
}

fn serves(main: &str) {
    ours("flatnet-ipam");
    let cluster = cluster();
    let node = &cluster.nodes[0];
    let network = &node.network;
    let data_dir = cluster.folder().join("data");
    let file = json!({
        "type": "flatnet-ipam", "rangeFile": network.range_file, "stateDir": network.state_dir,
    });
    let sets = json!({ "type": "flatnet-ipam", "subnet": "10.77.0.0/24", "dataDir": data_dir });
    let name = format!("{main}-net");
    node.begin_with_the_first(&name);
    for (n, version) in (2..).zip(VERSIONS) {
        let wanted = format!("10.244.1.{n}/24");
        live(node, &configuration(main, version, &file), &wanted, "10.244.1.1");
        let wanted = format!("10.77.0.{n}/24");
        live(node, &configuration(main, version, &sets), &wanted, "10.77.0.1");
    }
    let addresses = network.state_dir.join(&name).join(&node.name).join("addresses");
    assert!(addresses.is_dir(), "{}", addresses.display());
    for folder in [addresses, data_dir.join(name)] {
        assert_eq!(taken(folder), Vec::<String>::new());
    }
}

#[test]
fn under_bridge() {
    serves("bridge");
}

#[test]
fn under_ptp() {
    serves("ptp");
}

#[test]
fn under_macvlan() {
    serves("macvlan");
}

#[test]
fn in_both_families() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let network = &node.network;
    let ipam = json!({
        "type": "flatnet-ipam", "rangeFile": network.range_file, "stateDir": network.state_dir,
    });
    let configuration = configuration("ptp", "1.0.0", &ipam);
    let pod = Pod::new("pod");
    let result = call(node, "ADD", &configuration, &pod).run().result();
    let gateways = json!(["10.244.1.1", "fd00:10:244:1::1"]);
    assert_eq!(json!([result["ips"][0]["gateway"], result["ips"][1]["gateway"]]), gateways);
    for gateway in ["10.244.1.1", "fd00:10:244:1::1"] {
        probe::ping(&pod.netns, gateway.parse().unwrap());
    }
    call(node, "DEL", &configuration, &pod).run().silent();
}

#[test]
fn in_the_place_of_host_local_and_back() {
    let cluster = cluster();
    let node = &cluster.nodes[0];
    let data_dir = cluster.folder().join("data");
    let bin = cluster.folder().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(ours("flatnet-ipam"), bin.join("host-local")).unwrap();
    let ipam = json!({
        "type": "host-local", "dataDir": data_dir, "resolvConf": "/etc/resolv.conf",
        "ranges": [[{ "subnet": "10.77.0.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }],
    });
    let configuration = configuration("ptp", "1.0.0", &ipam);
    let call_with = |ours: bool, verb, pod: &Pod| {
        let path = if ours { bin.clone() } else { reference_plugins() };
        let path = path.display().to_string();
        call(node, verb, &configuration, pod).env("CNI_PATH", &path).run()
    };
    // Each takes up where the other left off, and frees what the other has given.
    let mut pods = Vec::new();
    for (ours, expected) in [(false, "2"), (true, "3"), (false, "4"), (true, "5")] {
        let pod = Pod::new("pod");
        let result = call_with(ours, "ADD", &pod).result();
        assert_eq!(address(&result), format!("10.77.0.{expected}/24"), "{ours}");
        let lease = data_dir.join(format!("ptp-net/10.77.0.{expected}"));
        let content = fs::read_to_string(&lease).unwrap();
        assert_eq!(content, format!("{}\r\neth0", pod.container_id), "{ours}");
        pods.push((ours, pod));
    }
    for (ours, pod) in &pods {
        call_with(!ours, "DEL", pod).silent();
    }
    assert_eq!(taken(data_dir.join("ptp-net")), Vec::<String>::new());
}
