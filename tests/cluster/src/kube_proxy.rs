//! kube-proxy on a node.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::machine::PATH;
use crate::pki::Pki;
use crate::plan::POD_CIDRS;

/// What its rules are made of.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its own nf_tables.
    Nftables,
    /// Chains of iptables.
    Iptables,
}

/// Writes what it needs into a node's folder.
pub fn configure(name: &str, folder: &Path, pki: &Pki, mode: Mode) {
    let etc = folder.join("etc/kubernetes");
    fs::write(etc.join("kube-proxy.conf"), pki.user("system:kube-proxy", &[]))
        .expect("write a kubeconfig");
    fs::write(etc.join("kube-proxy.yaml"), configuration(name, mode)).expect("write a file");
}

/// The command that runs it.
pub fn command() -> Command {
    let mut command = Command::new("/opt/kubernetes/kube-proxy");
    command.env("PATH", PATH).args(["--config=/etc/kubernetes/kube-proxy.yaml", "--v=2"]);
    command
}

/// Connection tracking keeps its limits, which are the whole machine's.
fn configuration(name: &str, mode: Mode) -> String {
    let mode = match mode {
        Mode::Nftables => "nftables",
        Mode::Iptables => "iptables",
    };
    format!(
        r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
clusterCIDR: "{POD_CIDRS}"
hostnameOverride: {name}
clientConnection: {{ kubeconfig: /etc/kubernetes/kube-proxy.conf }}
conntrack: {{ maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s }}
detectLocalMode: ClusterCIDR
bindAddress: 0.0.0.0
oomScoreAdj: 0
"#
    )
}
