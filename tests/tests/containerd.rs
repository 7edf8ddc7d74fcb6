//! containerd 1.6 through its CRI socket, as a kubelet drives it: pods with containers on two
//! nodes, host ports, failures, a hard kill.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::containerd::Containerd;
use flatnet_tests::cri::PodSpec;
use flatnet_tests::image::{GREETING, archive};
use flatnet_tests::netns::inside;
use flatnet_tests::node::Node;
use flatnet_tests::program::{command, finish, ours, said};
use flatnet_tests::{kernel, leftover};
use serde_json::json;

/// What keeps a container running.
const IDLE: [&str; 2] = ["/bin/sleep", "3600"];

/// One echo request from a container's shell.
fn ping(to: IpAddr) -> String {
    let family = if to.is_ipv4() { "-4" } else { "-6" };
    format!("/bin/ping {family} -c 1 -W 5 {to}")
}

/// The namespace of the one pod that a node has, as the runtime told the plugin.
fn namespace(node: &Node, name: &str) -> PathBuf {
    let leases = node.leases();
    let lease = leases.iter().find(|lease| lease["pod"]["name"] == name);
    let lease = lease.unwrap_or_else(|| panic!("no lease of {name} in {leases:?}"));
    PathBuf::from(lease["sandbox"].as_str().unwrap())
}

#[test]
fn pods_with_containers_reach_each_other_across_nodes() {
    let cluster = Cluster::new(2);
    let image = archive(cluster.folder());
    let runtimes = cluster.nodes.iter().map(|node| Containerd::start(&cluster, node, &[], &image));
    let runtimes: Vec<Containerd> = runtimes.collect();
    let specs = ["web-a", "web-b"].map(PodSpec::new);
    let mut pods = Vec::new();
    for (runtime, spec) in runtimes.iter().zip(&specs) {
        let pod = runtime.cri.run_pod(spec).unwrap();
        let container = runtime.cri.run_container(&pod, spec, &IDLE);
        pods.push((pod, container));
    }
    let addresses: Vec<Vec<IpAddr>> =
        runtimes.iter().zip(&pods).map(|(runtime, (pod, _))| runtime.cri.addresses(pod)).collect();
    for (node, addresses) in cluster.nodes.iter().zip(&addresses) {
        assert_eq!(node.leases()[0]["addresses"], json!(addresses));
    }
    for (from, to) in [(0, 1), (1, 0)] {
        for &address in &addresses[to] {
            runtimes[from].cri.exec(&pods[from].1, &ping(address));
        }
    }
    for (node, name) in cluster.nodes.iter().zip(["web-a", "web-b"]) {
        let leases = node.leases();
        let pod = json!({ "namespace": "default", "name": name, "uid": name });
        assert_eq!((leases.len(), &leases[0]["pod"]), (1, &pod));
        let link = kernel::link(&node.netns, leases[0]["veth"].as_str().unwrap()).unwrap();
        assert_eq!(link["ifalias"], format!("flatnet:pods/default/{name}/eth0"));
    }
    for (runtime, (pod, _)) in runtimes.iter().zip(&pods) {
        runtime.cri.stop_pod(pod).unwrap();
        assert!(!runtime.cri.is_running(pod));
        runtime.cri.remove_pod(pod).unwrap();
    }
    for node in &cluster.nodes {
        node.assert_no_attachment();
    }
}

#[test]
fn a_host_port_leads_to_the_container() {
    let cluster = Cluster::new(2);
    let image = archive(cluster.folder());
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let node = &cluster.nodes[0];
    let runtime = Containerd::start(&cluster, node, &[portmap], &image);
    let spec = PodSpec::new("web").host_port(18_095, 80);
    let pod = runtime.cri.run_pod(&spec).unwrap();
    let container =
        runtime.cri.run_container(&pod, &spec, &["/bin/httpd", "-f", "-p", "80", "-h", "/www"]);
    let web = runtime.cri.addresses(&pod)[0];
    let client = cluster.nodes[1].add("client");
    for netns in [&cluster.nodes[1].netns, &client.netns] {
        let page = netns.run(|| get(SocketAddr::new(node.vtep, 18_095)));
        assert!(page.ends_with(GREETING), "{}: {page}", netns.name());
        let direct = client.netns.run(|| get(SocketAddr::new(web, 80)));
        assert!(direct.ends_with(GREETING), "{direct}");
    }
    runtime.cri.exec(&container, "/bin/true");
    runtime.cri.stop_pod(&pod).unwrap();
    let rules = node.netns.exec("nft list ruleset");
    assert!(!rules.contains("18095"), "{rules}");
    runtime.cri.remove_pod(&pod).unwrap();
    node.assert_no_attachment();
}

/// `GET /`, with all that comes back. The server may start a moment after its container.
fn get(target: SocketAddr) -> String {
    let mut stream = flatnet_tests::wait::wait_for(&format!("a server on {target}"), || {
        TcpStream::connect_timeout(&target, Duration::from_secs(5)).ok()
    });
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn a_failing_add_reaches_the_caller_and_leaves_nothing() {
    let mut cluster = Cluster::new(1);
    cluster.nodes[0].ranges = vec![json!({
        "subnet": "10.244.1.0/24", "rangeStart": "10.244.1.10", "rangeEnd": "10.244.1.10",
    })];
    cluster.list(&[0]);
    let image = archive(cluster.folder());
    let node = &cluster.nodes[0];
    let runtime = Containerd::start(&cluster, node, &[], &image);
    let first = runtime.cri.run_pod(&PodSpec::new("first")).unwrap();
    let error = runtime.cri.run_pod(&PodSpec::new("second")).unwrap_err();
    for part in ["10.244.1.10", "node-a"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    assert_eq!(node.leases().len(), 1, "the failed pod has none");
    runtime.cri.stop_pod(&first).unwrap();
    let second = runtime.cri.run_pod(&PodSpec::new("second")).unwrap();
    assert_eq!(runtime.cri.addresses(&second), [IpAddr::from([10, 244, 1, 10])]);
    for pod in [&first, &second] {
        runtime.cri.stop_pod(pod).unwrap();
        runtime.cri.remove_pod(pod).unwrap();
    }
    node.assert_no_attachment();
}

#[test]
fn pods_outlive_a_hard_kill_of_containerd() {
    let cluster = Cluster::new(2);
    let image = archive(cluster.folder());
    let node = &cluster.nodes[0];
    let mut runtime = Containerd::start(&cluster, node, &[], &image);
    let peer = cluster.nodes[1].add("peer");
    let spec = PodSpec::new("survivor");
    let pod = runtime.cri.run_pod(&spec).unwrap();
    let container = runtime.cri.run_container(&pod, &spec, &IDLE);
    let address = runtime.cri.addresses(&pod)[0];
    let sandbox = namespace(node, "survivor");

    runtime.kill();
    flatnet_tests::probe::ping(&peer.netns, address);
    ping_inside(&sandbox, peer.v4());

    runtime.launch();
    assert!(runtime.cri.is_running(&pod));
    runtime.cri.exec(&container, &ping(peer.v4()));
    // A new pod beside the old one, with another address.
    let next = runtime.cri.run_pod(&PodSpec::new("next")).unwrap();
    assert_ne!(runtime.cri.addresses(&next)[0], address);
    for pod in [&pod, &next] {
        runtime.cri.stop_pod(pod).unwrap();
        runtime.cri.remove_pod(pod).unwrap();
    }
    node.assert_no_attachment();
    assert!(!sandbox.exists());
}

/// One echo request from a namespace that a runtime has made.
fn ping_inside(namespace: &Path, to: IpAddr) {
    let line = ["-n", "-c", "1", "-W", "5", &to.to_string()].map(str::to_owned);
    let output = inside(namespace, || finish(&mut command("ping", line), b""));
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn del_comes_again_without_a_namespace_and_a_failed_one_is_repeated() {
    let cluster = Cluster::new(1);
    let image = archive(cluster.folder());
    let node = &cluster.nodes[0];
    let runtime = Containerd::start(&cluster, node, &[], &image);
    let notes = cluster.folder().join("calls");
    let refuse = cluster.folder().join("refuse");
    let refusal = json!({ "cniVersion": "1.0.0", "code": 11, "msg": "not now" });
    runtime.replace_flatnet(&format!(
        "echo \"$CNI_COMMAND $CNI_NETNS\" >> {notes}
         if [ $CNI_COMMAND = DEL ] && [ -e {refuse} ]; then echo '{refusal}'; exit 1; fi
         exec {flatnet}",
        notes = notes.display(),
        refuse = refuse.display(),
        flatnet = ours("flatnet").display(),
    ));
    let pod = runtime.cri.run_pod(&PodSpec::new("twice")).unwrap();
    let sandbox = namespace(node, "twice").display().to_string();
    fs::write(&refuse, "").unwrap();
    let error = runtime.cri.stop_pod(&pod).unwrap_err();
    assert!(error.contains("not now"), "{error}");
    assert_eq!(node.leases().len(), 1);
    fs::remove_file(&refuse).unwrap();
    runtime.cri.stop_pod(&pod).unwrap();
    node.assert_no_attachment();
    runtime.cri.remove_pod(&pod).unwrap();
    node.assert_no_attachment();
    let calls = fs::read_to_string(&notes).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    let with = |verb: &str, netns: &str| format!("{verb} {netns}");
    assert_eq!(calls[..3], [with("ADD", &sandbox), with("DEL", &sandbox), with("DEL", &sandbox)]);
    assert!(calls[3..].iter().all(|call| *call == "DEL "), "{calls:?}");
    assert!(calls.len() > 3, "the last comes without a namespace: {calls:?}");
}

#[test]
fn nothing_of_a_runtime_is_left() {
    let cluster = Cluster::new(1);
    let image = archive(cluster.folder());
    let runtime = Containerd::start(&cluster, &cluster.nodes[0], &[], &image);
    let spec = PodSpec::new("abandoned");
    let pod = runtime.cri.run_pod(&spec).unwrap();
    runtime.cri.run_container(&pod, &spec, &IDLE);
    let folder = runtime.folder().to_owned();
    assert!(!leftover::processes(&folder).is_empty() && !leftover::mounts(&folder).is_empty());
    drop(runtime);
    assert!(leftover::processes(&folder).is_empty());
    assert_eq!(leftover::mounts(&folder), Vec::<PathBuf>::new());
    assert!(!folder.exists());
    cluster.nodes[0].assert_no_attachment();
}
