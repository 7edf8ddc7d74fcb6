//! flannel as a cluster's network, which flatnet is to take the place of: its real daemon, as flannel's own manifest runs
//! it, and the plugins that its CNI plugin calls.

use std::fs;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::image::AGNHOST;
use crate::node::Node;
use crate::patience::until;
use crate::plan::POD_CIDRS;
use crate::tools;

/// The namespace of its objects.
pub const NAMESPACE: &str = "kube-flannel";
/// Its DaemonSet.
pub const DAEMON_SET: &str = "kube-flannel-ds";
/// Where a node has the daemon, which its manifest has in an image.
const FOLDER: &str = "opt/flannel";

/// Installs it. All nodes are ready by it.
pub fn install(cluster: &Cluster) {
    let program = tools::built("flanneld").join("flanneld");
    for node in &cluster.nodes {
        fs::create_dir_all(node.file(FOLDER)).expect("a folder for flannel");
        fs::copy(&program, node.file(FOLDER).join("flanneld")).expect("copy flannel's daemon");
    }
    cluster.kubectl().apply(&objects());
    cluster.nodes.iter().for_each(configure);
    cluster.kubectl().wait("condition=Ready", &["nodes", "--all"]);
}

/// Waits for its daemon on a node, and puts the configuration for the runtime in place.
pub fn configure(node: &Node) {
    let subnet = until("subnet of flannel", || subnet(node));
    let file = node.file("etc/cni/net.d/10-flannel.conflist");
    fs::write(file, conflist(&subnet).to_string()).expect("write the configuration");
}

/// What the daemon has written down: a node's ranges, IPv4 first, and the MTU.
struct Subnet {
    gateways: [String; 2],
    mtu: u32,
}

fn subnet(node: &Node) -> Result<Subnet, String> {
    let file = node.file("run/flannel/subnet.env");
    let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(str::to_owned).ok_or_else(|| format!("no {key} in {text}"))
    };
    let mtu = value("FLANNEL_MTU")?.parse().map_err(|error| format!("{error}: {text}"))?;
    Ok(Subnet { gateways: [value("FLANNEL_SUBNET")?, value("FLANNEL_IPV6_SUBNET")?], mtu })
}

/// What flannel's CNI plugin makes of that for the bridge plugin. Of the plugin itself the Go proxies have no version
/// that knows IPv6.
fn conflist(Subnet { gateways, mtu }: &Subnet) -> Value {
    let ranges = gateways.each_ref().map(|gateway| {
        let network: ipnetwork::IpNetwork = gateway.parse().expect("an address with its prefix");
        json!([{ "subnet": format!("{}/{}", network.network(), network.prefix()) }])
    });
    let routes: Vec<Value> = POD_CIDRS.split(',').map(|dst| json!({ "dst": dst })).collect();
    json!({
        "cniVersion": "0.3.1",
        "name": "cbr0",
        "plugins": [
            {
                "type": "bridge",
                "hairpinMode": true,
                "isDefaultGateway": true,
                "ipMasq": false,
                "mtu": mtu,
                "ipam": { "type": "host-local", "ranges": ranges, "routes": routes },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

/// Its manifest, but for the image: the daemon is the node's, with the libraries and iptables that it needs.
fn objects() -> Vec<Value> {
    let metadata = json!({ "name": "flannel", "namespace": NAMESPACE });
    vec![
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": "flannel" },
            "rules": [
                { "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] },
                { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"] },
                { "apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"] },
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "flannel" },
            "roleRef":
                { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flannel" },
            "subjects": [{ "kind": "ServiceAccount", "name": "flannel", "namespace": NAMESPACE }],
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": "kube-flannel-cfg", "namespace": NAMESPACE },
            "data": { "net-conf.json": net_conf().to_string() },
        }),
        daemon_set(),
    ]
}

fn net_conf() -> Value {
    let (v4, v6) = POD_CIDRS.split_once(',').expect("two families");
    json!({
        "Network": v4,
        "IPv6Network": v6,
        "EnableIPv6": true,
        "EnableNFTables": false,
        "Backend": { "Type": "vxlan" },
    })
}

fn daemon_set() -> Value {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let host = |name: &str, path: &str| {
        let volume = json!({ "name": name, "hostPath": { "path": path } });
        (volume, json!({ "name": name, "mountPath": path }))
    };
    let (mut volumes, mut mounts): (Vec<_>, Vec<_>) = [
        host("flannel", "/opt/flannel"),
        host("run", "/run/flannel"),
        host("usr", "/usr"),
        host("lib", "/lib"),
        host("lib64", "/lib64"),
        host("alternatives", "/etc/alternatives"),
    ]
    .into_iter()
    .unzip();
    volumes[1]["hostPath"]["type"] = json!("DirectoryOrCreate");
    volumes.push(json!({ "name": "cfg", "configMap": { "name": "kube-flannel-cfg" } }));
    mounts.push(json!({ "name": "cfg", "mountPath": "/etc/kube-flannel" }));
    volumes.push(json!({
        "name": "lock",
        "hostPath": { "path": "/run/xtables.lock", "type": "FileOrCreate" },
    }));
    mounts.push(json!({ "name": "lock", "mountPath": "/run/xtables.lock" }));
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": DAEMON_SET, "namespace": NAMESPACE },
        "spec": {
            "selector": { "matchLabels": { "app": "flannel" } },
            "template": {
                "metadata": { "labels": { "app": "flannel" } },
                "spec": {
                    "hostNetwork": true,
                    "priorityClassName": "system-node-critical",
                    "tolerations": [{ "operator": "Exists", "effect": "NoSchedule" }],
                    "serviceAccountName": "flannel",
                    "containers": [{
                        "name": "kube-flannel",
                        "image": AGNHOST,
                        "imagePullPolicy": "Never",
                        "command": ["/opt/flannel/flanneld"],
                        "args": ["--ip-masq", "--kube-subnet-mgr"],
                        "env": [
                            { "name": "PATH", "value": "/usr/sbin:/usr/bin" },
                            field("POD_NAME", "metadata.name"),
                            field("POD_NAMESPACE", "metadata.namespace"),
                            { "name": "EVENT_QUEUE_DEPTH", "value": "5000" },
                        ],
                        "securityContext": { "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] } },
                        "volumeMounts": mounts,
                    }],
                    "volumes": volumes,
                },
            },
        },
    })
}
