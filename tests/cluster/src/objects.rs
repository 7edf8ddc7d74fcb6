//! Objects of Kubernetes, as the tests and the demo want them: pods that serve with agnhost, and what stands in
//! front of them.

use serde_json::{Value, json};

use crate::image::AGNHOST;
use crate::pod::{HTTP, UDP};

/// What every pod of ours is: it serves, and ends at once.
fn pod_spec() -> Value {
    json!({
        "terminationGracePeriodSeconds": 1,
        "enableServiceLinks": false,
        "containers": [{
            "name": "agnhost",
            "image": AGNHOST,
            "imagePullPolicy": "Never",
            "args": ["netexec", format!("--http-port={HTTP}"), format!("--udp-port={UDP}")],
            "readinessProbe": { "httpGet": { "path": "/hostname", "port": HTTP }, "periodSeconds": 1 },
        }],
    })
}

/// A pod on a node, with a label `app` of its name.
pub fn pod(name: &str, node: &str) -> Value {
    let mut spec = pod_spec();
    spec["nodeName"] = json!(node);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": spec,
    })
}

/// So many pods, spread over all nodes, with a label `app` of its name.
pub fn deployment(name: &str, replicas: usize) -> Value {
    let labels = json!({ "app": name });
    let mut spec = pod_spec();
    spec["topologySpreadConstraints"] = json!([{
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": labels },
    }]);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
    })
}

/// A service in both families for the pods with this label `app`: port 80 is HTTP, 81 is UDP.
pub fn service(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": {
            "ipFamilyPolicy": "RequireDualStack",
            "selector": { "app": app },
            "ports": [
                { "name": "http", "port": 80, "targetPort": HTTP },
                { "name": "udp", "port": 81, "targetPort": UDP, "protocol": "UDP" },
            ],
        },
    })
}

/// The same, at ports of every node: this one for HTTP, the next for UDP.
pub fn node_port(name: &str, app: &str, port: u16, local: bool) -> Value {
    let mut service = service(name, app);
    service["spec"]["type"] = json!("NodePort");
    service["spec"]["externalTrafficPolicy"] = json!(if local { "Local" } else { "Cluster" });
    for (index, port) in [port, port + 1].into_iter().enumerate() {
        service["spec"]["ports"][index]["nodePort"] = json!(port);
    }
    service
}

/// A pod in the network of every node itself, with a label `app` of its name, that serves HTTP at this port.
pub fn on_every_node(name: &str, port: u16) -> Value {
    let labels = json!({ "app": name });
    let mut spec = pod_spec();
    spec["hostNetwork"] = json!(true);
    let container = &mut spec["containers"][0];
    container["args"] = json!(["netexec", format!("--http-port={port}"), "--udp-port=-1"]);
    container["readinessProbe"]["httpGet"]["port"] = json!(port);
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": name },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
    })
}
