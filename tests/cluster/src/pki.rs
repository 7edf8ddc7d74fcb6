//! Certificates and kubeconfigs, made by kubeadm without a cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatnet_tests::program::{finish, said};

use crate::plan::{CONTROL, POD_CIDRS, SERVICE_CIDRS, addresses};
use crate::tools;

/// The authority of one cluster.
#[derive(Debug)]
pub struct Pki {
    folder: PathBuf,
}

impl Pki {
    /// Makes all certificates of a control plane into a folder.
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder for certificates");
        let pki = Self { folder: folder.to_owned() };
        fs::write(pki.configuration(), configuration(folder)).expect("write kubeadm's file");
        pki.kubeadm(&["init", "phase", "certs", "all"]);
        pki
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The kubeconfig of somebody in these groups.
    pub fn user(&self, name: &str, groups: &[&str]) -> String {
        let mut line = vec!["kubeconfig", "user", "--client-name", name];
        line.extend(groups.iter().flat_map(|group| ["--org", *group]));
        self.kubeadm(&line)
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("kubeadm.yaml")
    }

    fn kubeadm(&self, line: &[&str]) -> String {
        let mut kubeadm = Command::new(tools::kubernetes().join("kubeadm"));
        let output = finish(kubeadm.args(line).arg("--config").arg(self.configuration()), b"");
        assert!(output.status.success(), "kubeadm {line:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text output")
    }
}

/// Keys of elliptic curves are made at once, those of RSA take seconds.
fn configuration(folder: &Path) -> String {
    let [address, _] = addresses(CONTROL);
    let folder = folder.display();
    format!(
        r#"apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{ advertiseAddress: {address}, bindPort: 6443 }}
nodeRegistration: {{ name: control, criSocket: "unix:///run/containerd/containerd.sock" }}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {version}
controlPlaneEndpoint: {address}:6443
certificatesDir: {folder}
encryptionAlgorithm: ECDSA-P256
networking: {{ podSubnet: "{POD_CIDRS}", serviceSubnet: "{SERVICE_CIDRS}" }}
"#,
        version = version(),
    )
}

/// The version of Kubernetes; kubeadm would ask the network for one.
fn version() -> String {
    let mut kubeadm = Command::new(tools::kubernetes().join("kubeadm"));
    let output = finish(kubeadm.args(["version", "-o", "short"]), b"");
    assert!(output.status.success(), "kubeadm version: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
