//! What the DaemonSet's container may do is enough for all that it does on a node, and nothing of it
//! is too much: each capability has something that fails without it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Output;

use flatnet_tests::cli::conf_dir;
use flatnet_tests::cluster::Cluster;
use flatnet_tests::containerd::Containerd;
use flatnet_tests::image::{self, archive};
use flatnet_tests::node::Node;
use flatnet_tests::program::{said, workspace};
use flatnet_tests::wait::wait_for;
use flatnet_tests::{kernel, sync};
use serde_json::{Value, json};

/// What `ctr` gives to a container that asks for nothing.
const USUAL: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The capabilities of the DaemonSet's one container.
fn capabilities() -> Vec<String> {
    let path = workspace().join("packaging/kubernetes/agent/daemonset.yaml");
    let daemon_set: Value = serde_yaml_ng::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let containers = daemon_set["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    let context = &containers[0]["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"], json!(true));
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    let add = context["capabilities"]["add"].as_array().unwrap().iter();
    add.map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// A node whose containerd has the image.
struct Place<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
    containerd: Containerd<'a>,
}

impl<'a> Place<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let node = &cluster.nodes[0];
        let containerd = Containerd::start(cluster, node, &[], &archive(cluster.folder()));
        containerd.ctr(&["images", "import", &image::ours().display().to_string()]);
        Self { cluster, node, containerd }
    }

    /// Runs a command in a container as the DaemonSet's is, with these capabilities.
    fn run(&self, capabilities: &[String], how: &str, command: &[&str]) -> Output {
        let named = |name: &str| format!("CAP_{name}");
        let added: Vec<String> = capabilities.iter().map(|name| named(name)).collect();
        let usual = USUAL.into_iter().map(named);
        let dropped: Vec<String> = usual.filter(|name| !added.contains(name)).collect();
        let paths = [self.cluster.folder(), Path::new("/run/netns"), Path::new("/run/flatnet")];
        let mounts = paths.map(|path| {
            let path = path.display();
            format!("type=bind,src={path},dst={path},options=rbind:rslave:rw")
        });
        let image = format!("localhost/flatnet:{}", env!("CARGO_PKG_VERSION"));
        let mut line = vec![how, "--read-only", "--seccomp", "--net-host"];
        line.extend(dropped.iter().flat_map(|name| ["--cap-drop", name]));
        line.extend(added.iter().flat_map(|name| ["--cap-add", name]));
        line.extend(mounts.iter().flat_map(|mount| ["--mount", mount]));
        line.extend([&image, "agent", "flatnet"]);
        line.extend(command);
        self.containerd.run_container(&line)
    }
}

#[test]
fn what_it_may_do_is_enough_to_keep_a_node() {
    let cluster = Cluster::new(2);
    let pods = cluster.fill(1);
    let place = Place::new(&cluster);
    let conf = conf_dir(place.node, &[]).display().to_string();
    let watch = ["sync", "--watch", "--conf-dir", &conf];
    let started = place.run(&capabilities(), "--detach", &watch);
    assert!(started.status.success(), "{}", said(&started));
    let mended = |what: &str| wait_for(what, || sync::plan(place.node).is_empty().then_some(()));
    mended("the first look");

    place.node.netns.exec("ip link del flat.4096");
    place.node.netns.exec("sysctl -qw net.ipv4.conf.under0.forwarding=0");
    pods[0][0].netns.exec("ip route flush table main");
    // Of a pod that comes while it runs, the namespace is mounted later.
    let later = place.node.add("later");
    later.netns.exec("ip route flush table main");
    wait_for("the overlay", || kernel::link(&place.node.netns, "flat.4096"));
    mended("all of it");
}

#[test]
fn each_capability_is_needed() {
    let cluster = Cluster::new(2);
    cluster.fill(1);
    let place = Place::new(&cluster);
    let conf_dir = conf_dir(place.node, &[]);
    let conf = conf_dir.display().to_string();
    let list = conf_dir.join("10-pods.conflist").display().to_string();
    // As an archive of the reference plugins leaves it.
    let theirs = cluster.folder().join("theirs");
    fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(1001), Some(1001)).unwrap();
    let bin = theirs.display().to_string();
    let sync = ["sync", "--conf-dir", &conf];
    let probe = ["probe", "--conf-dir", &conf];
    let install = ["install", "--conf", &list, "--conf-dir", &conf, "--cni-bin-dir", &bin];

    let all = capabilities();
    let needs: [(&str, &[&str]); 4] = [
        ("NET_ADMIN", &sync),
        ("SYS_ADMIN", &sync),
        ("NET_RAW", &probe),
        ("DAC_OVERRIDE", &install),
    ];
    assert_eq!(all.len(), needs.len(), "{all:?}");
    for (capability, command) in needs {
        let others: Vec<String> = all.iter().filter(|name| *name != capability).cloned().collect();
        assert_eq!(others.len(), all.len() - 1, "{capability}");
        if command[0] == "sync" {
            place.node.netns.exec("ip link del flat.4096");
            place.node.netns.exec("sysctl -qw net.ipv4.conf.under0.forwarding=0");
        }
        let without = place.run(&others, "--rm", command);
        let words = said(&without);
        assert!(without.status.code() > Some(1), "without {capability}: {words}");
        let refused = ["not permitted", "denied", "CAP_", "read-only", "Read-only"];
        assert!(refused.iter().any(|word| words.contains(word)), "without {capability}: {words}");
        let with = place.run(&all, "--rm", command);
        assert!(with.status.code() < Some(2), "{command:?}: {}", said(&with));
    }
}
