//! The kubelet of a node.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use crate::client;
use crate::containerd::SOCKET;
use crate::daemon::Daemon;
use crate::machine::{Machine, PATH};
use crate::patience::until;
use crate::pki::Pki;
use crate::plan::DNS_SERVICE;

/// Writes what it needs to become the node of this name, into the node's folder.
pub fn configure(name: &str, folder: &Path, pki: &Pki) {
    let etc = folder.join("etc/kubernetes");
    let user = pki.user(&format!("system:node:{name}"), &["system:nodes"]);
    fs::write(etc.join("kubelet.conf"), user).expect("write a kubeconfig");
    fs::copy(pki.file("ca.crt"), etc.join("ca.crt")).expect("copy the authority");
}

/// The command that runs it, with these cgroups and addresses.
pub fn command(name: &str, folder: &Path, cgroup: &str, addresses: [IpAddr; 2]) -> Command {
    let etc = folder.join("etc/kubernetes");
    fs::write(etc.join("kubelet.yaml"), configuration(cgroup)).expect("write a file");
    let mut command = Command::new("/opt/kubernetes/kubelet");
    command.env("PATH", PATH).args([
        "--config=/etc/kubernetes/kubelet.yaml",
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        "--v=2",
        &format!("--hostname-override={name}"),
        &format!("--node-ip={},{}", addresses[0], addresses[1]),
    ]);
    command
}

/// Waits until it has found its container runtime: before, it ends without one, and nobody starts it again.
pub fn wait(machine: &Machine, daemon: &mut Daemon) {
    let health = SocketAddr::from((Ipv4Addr::LOCALHOST, 10248));
    until("kubelet", || {
        daemon.check()?;
        client::get(&machine.netns, health, "/healthz")
    });
}

/// It must not meddle with the machine, which it does not have for itself, nor count what others use.
fn configuration(cgroup: &str) -> String {
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{ enabled: false }}
  webhook: {{ enabled: true }}
  x509: {{ clientCAFile: /etc/kubernetes/ca.crt }}
authorization: {{ mode: Webhook }}
containerRuntimeEndpoint: unix://{SOCKET}
staticPodPath: /etc/kubernetes/manifests
cgroupDriver: cgroupfs
cgroupRoot: {cgroup}
clusterDNS: [{DNS_SERVICE}]
clusterDomain: cluster.local
failSwapOn: false
failCgroupV1: false
localStorageCapacityIsolation: false
oomScoreAdj: 0
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 24h
evictionHard: {{ memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1% }}
nodeStatusUpdateFrequency: 4s
kubeAPIQPS: 100
kubeAPIBurst: 200
"#
    )
}
