//! CoreDNS in a cluster, for tests that ask for names.

use flatnet_cluster::cluster::Cluster;
use flatnet_cluster::plan::DNS_SERVICE;
use serde_json::{Value, json};

/// The name of its image.
pub const IMAGE: &str = "localhost/flatnet/coredns:test";

const NAMESPACE: &str = "kube-system";
const COREFILE: &str = ".:53 {
    errors
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
    cache 30
}
";

/// Starts it; it answers when this returns.
pub fn install(cluster: &Cluster) {
    let mut objects = rights();
    objects.extend([configuration(), deployment(), service()]);
    cluster.kubectl().apply(&objects);
    cluster.kubectl().rolled_out_in(NAMESPACE, "deployment/coredns");
}

fn metadata(name: &str) -> Value {
    json!({ "name": name, "namespace": NAMESPACE, "labels": { "k8s-app": "kube-dns" } })
}

fn rights() -> Vec<Value> {
    let group = "rbac.authorization.k8s.io";
    let rule = |group: &str, resources: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": ["list", "watch"] });
    vec![
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("coredns") }),
        json!({
            "apiVersion": format!("{group}/v1"),
            "kind": "ClusterRole",
            "metadata": { "name": "system:coredns" },
            "rules": [
                rule("", &["endpoints", "services", "pods", "namespaces"]),
                rule("discovery.k8s.io", &["endpointslices"]),
            ],
        }),
        json!({
            "apiVersion": format!("{group}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "system:coredns" },
            "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": "system:coredns" },
            "subjects": [
                { "kind": "ServiceAccount", "name": "coredns", "namespace": NAMESPACE },
            ],
        }),
    ]
}

fn configuration() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata("coredns"),
        "data": { "Corefile": COREFILE },
    })
}

fn deployment() -> Value {
    let labels = json!({ "k8s-app": "kube-dns" });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata("coredns"),
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "serviceAccountName": "coredns",
                    "dnsPolicy": "Default",
                    "containers": [{
                        "name": "coredns",
                        "image": IMAGE,
                        "imagePullPolicy": "Never",
                        "args": ["-conf", "/etc/coredns/Corefile"],
                        "volumeMounts": [{ "name": "conf", "mountPath": "/etc/coredns" }],
                        "readinessProbe": {
                            "httpGet": { "path": "/ready", "port": 8181 }, "periodSeconds": 1,
                        },
                    }],
                    "volumes": [{ "name": "conf", "configMap": { "name": "coredns" } }],
                },
            },
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata("kube-dns"),
        "spec": {
            "clusterIP": DNS_SERVICE,
            "selector": { "k8s-app": "kube-dns" },
            "ports": [
                { "name": "dns", "port": 53, "protocol": "UDP" },
                { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
            ],
        },
    })
}
