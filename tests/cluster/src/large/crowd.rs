//! Nodes that are objects alone, as large as kubelets make them, and as both networks know them: with flannel's
//! annotations, and with a FlatnetNode and a FlatnetBlock.

use std::net::Ipv4Addr;
use std::time::Instant;

use flatnet_agent::kubernetes::objects::{
    FlatnetBlock, FlatnetBlockSpec, FlatnetNode, FlatnetNodeSpec,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::site::Site;

/// All pods.
pub const NETWORK: &str = "10.128.0.0/9";
/// Requests at one time.
const AT_ONCE: usize = 16;
/// What a Node is at least, in bytes: those that were counted in real clusters have 3.6 kB and more.
const LEAST: usize = 3600;

/// The name of one of them.
pub fn name(index: u32) -> String {
    format!("crowd-{index:05}")
}

/// The range of its pods.
pub fn range(index: u32) -> String {
    let [_, _, high, low] = index.to_be_bytes();
    format!("10.{}.{low}.0/24", 128 + high)
}

/// Where it would be.
pub fn address(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 20, 0, 1)) + index)
}

/// Makes so many of them; how large a Node is then, as JSON.
pub fn make(site: &Site, count: u32) -> usize {
    let written = site.writer().run(|client| async move {
        let all = stream::iter(0..count).map(|index| {
            let client = client.clone();
            async move {
                let node = node(&name(index), address(index), &range(index));
                put(&client, node).await?;
                put_flatnet(&client, index).await
            }
        });
        all.buffer_unordered(AT_ONCE).try_collect::<()>().await
    });
    written.expect("objects of all nodes");
    let path = format!("/api/v1/nodes/{}", name(0));
    let size = site.control.kubectl.must(&["get", "--raw", &path]).len();
    assert!(size >= LEAST, "a Node of {size} bytes is smaller than real ones");
    size
}

/// Another Node.
pub async fn put(client: &Client, node: Value) -> kube::Result<()> {
    let node = serde_json::from_value(node).expect("a Node");
    nodes(client).create(&PostParams::default(), &node).await.map(drop)
}

/// What an agent would write for it.
pub async fn put_flatnet(client: &Client, index: u32) -> kube::Result<()> {
    let (name, range) = (name(index), range(index));
    let node = FlatnetNode::new(&name, FlatnetNodeSpec { vtep: address(index).to_string() });
    Api::all(client.clone()).create(&PostParams::default(), &node).await?;
    let block = range.replace(['.', '/'], "-");
    let block = FlatnetBlock::new(&block, FlatnetBlockSpec { range, node: name, retiring: false });
    Api::all(client.clone()).create(&PostParams::default(), &block).await.map(drop)
}

/// Nodes of the API server.
pub fn nodes(client: &Client) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Node"));
    Api::all_with(client.clone(), &kind)
}

/// One of the crowd joins, with the objects that its own agent would write at once; when that began.
pub fn join(site: &Site, index: u32) -> Instant {
    site.writer().run(|client| async move {
        let begun = Instant::now();
        let node = node(&name(index), address(index), &range(index));
        put(&client, node).await.expect("a Node");
        put_flatnet(&client, index).await.expect("a node's objects");
        begun
    })
}

/// The MAC of flannel's device there.
pub fn mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// A Node as a kubelet registers it, and as flannel has written on it.
pub fn node(name: &str, address: Ipv4Addr, range: &str) -> Value {
    let mac = mac(address);
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "False", "reason": format!("KubeletHasSufficient{kind}"),
            "message": format!("kubelet has sufficient {kind} available"),
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let image = |number| {
        json!({
            "names": [format!("registry.example/project/image-{number}@sha256:{number:064x}")],
            "sizeBytes": 10_000_000 + number,
        })
    };
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64" },
            "annotations": {
                "flannel.alpha.coreos.com/backend-data": format!(r#"{{"VNI":1,"VtepMAC":"{mac}"}}"#),
                "flannel.alpha.coreos.com/backend-type": "vxlan",
                "flannel.alpha.coreos.com/kube-subnet-manager": "true",
                "flannel.alpha.coreos.com/public-ip": address,
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        },
        "spec": { "podCIDR": range, "podCIDRs": [range] },
        "status": {
            "addresses": [
                { "type": "InternalIP", "address": address },
                { "type": "Hostname", "address": name },
            ],
            "capacity": { "cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi" },
            "allocatable": { "cpu": "8", "memory": "31Gi", "pods": "110", "ephemeral-storage": "90Gi" },
            "conditions": (["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].map(condition)),
            "images": (0..12).map(image).collect::<Vec<_>>(),
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kernelVersion": "6.1.0-37-amd64",
                "osImage": "Debian GNU/Linux 12 (bookworm)", "containerRuntimeVersion": "containerd://2.2.0",
                "kubeletVersion": "v1.34.4", "kubeProxyVersion": "", "bootID": "", "machineID": "", "systemUUID": "",
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_place_and_a_range_of_its_own() {
        assert_eq!((name(7).as_str(), range(7).as_str()), ("crowd-00007", "10.128.7.0/24"));
        assert_eq!(
            (range(5000).as_str(), address(5000).to_string().as_str()),
            ("10.147.136.0/24", "172.20.19.137")
        );
        assert!(node(&name(0), address(0), &range(0)).to_string().len() > 2000);
    }
}
