//! etcd, API server, controller manager and scheduler, in a network namespace of their own. Their machine is no node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatnet_tests::netns::Netns;

use crate::daemon::Daemon;
use crate::kubectl::Kubectl;
use crate::patience::until;
use crate::pki::Pki;
use crate::plan::{CONTROL, POD_CIDRS, SERVICE_CIDRS, addresses};
use crate::tools;

const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PEER: &str = "http://127.0.0.1:2380";

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    /// Its network.
    pub netns: Netns,
    /// Who may make kubeconfigs.
    pub pki: Pki,
    /// The administrator's.
    pub kubectl: Kubectl,
    folder: PathBuf,
    api_server: Option<Daemon>,
    // Ended after the API server, which would complain.
    etcd: Option<Daemon>,
    _others: Vec<Daemon>,
}

impl ControlPlane {
    /// Starts it in a namespace that is on the underlay. It answers when this returns.
    pub fn start(netns: Netns, folder: &Path, pod_cidrs: bool) -> Self {
        let mut plane = Self::without_controllers(netns, folder);
        plane.start_controllers(pod_cidrs);
        plane
    }

    /// etcd and the API server alone: nothing happens to objects but what their makers do.
    pub fn without_controllers(netns: Netns, folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder for the control plane");
        let pki = Pki::new(&folder.join("pki"));
        let kubeconfig = folder.join("admin.conf");
        let admin = pki.user("kubernetes-admin", &["system:masters"]);
        fs::write(&kubeconfig, admin).expect("write a kubeconfig");
        let kubectl = Kubectl::new(&netns, &kubeconfig);
        let mut plane = Self {
            netns,
            pki,
            kubectl,
            folder: folder.to_owned(),
            api_server: None,
            etcd: None,
            _others: Vec::new(),
        };
        plane.start_etcd();
        plane.start_api_server();
        plane
    }

    fn start_controllers(&mut self, pod_cidrs: bool) {
        for (name, args) in [
            ("kube-controller-manager", self.controller_manager(pod_cidrs)),
            ("kube-scheduler", Vec::new()),
        ] {
            let kubeconfig = self.folder.join(format!("{name}.conf"));
            let user = self.pki.user(&format!("system:{name}"), &[]);
            fs::write(&kubeconfig, user).expect("write a kubeconfig");
            let mut all = vec![format!("--kubeconfig={}", kubeconfig.display())];
            all.extend(["--leader-elect=false", "--bind-address=127.0.0.1"].map(str::to_owned));
            all.extend(args);
            let daemon = self.launch(name, &all);
            self._others.push(daemon);
        }
        // The API server has a certificate of kubeadm's administrators, to run commands in pods with.
        self.kubectl.must(&[
            "create",
            "clusterrolebinding",
            "kubeadm:cluster-admins",
            "--clusterrole=cluster-admin",
            "--group=kubeadm:cluster-admins",
        ]);
    }

    /// Starts the API server, and waits until it answers.
    pub fn start_api_server(&mut self) {
        let mut daemon = self.launch("kube-apiserver", &self.api_server());
        until("API server", || {
            daemon.check()?;
            self.kubectl.run(&["get", "--raw", "/readyz"])
        });
        self.api_server = Some(daemon);
    }

    /// Kills the API server.
    pub fn kill_api_server(&mut self) {
        drop(self.api_server.take().expect("a running API server"));
    }

    /// Starts what the API server keeps its objects in.
    pub fn start_etcd(&mut self) {
        self.etcd = Some(self.launch("etcd", &etcd(&self.folder)));
    }

    /// Kills it.
    pub fn kill_etcd(&mut self) {
        drop(self.etcd.take().expect("a running etcd"));
    }

    /// Keeps a copy of what etcd has now. It is down meanwhile.
    pub fn copy_etcd(&mut self) {
        self.kill_etcd();
        self.copy("etcd", "etcd.copy");
        self.start_etcd();
    }

    /// Starts etcd with what it had then.
    pub fn restore_etcd(&mut self) {
        self.kill_etcd();
        let data = self.folder.join("etcd");
        fs::remove_dir_all(&data).expect("remove what etcd has");
        self.copy("etcd.copy", "etcd");
        self.start_etcd();
    }

    fn copy(&self, from: &str, to: &str) {
        let paths = [from, to].map(|name| self.folder.join(name));
        let copied = Command::new("cp").arg("--archive").args(paths).status();
        assert!(copied.is_ok_and(|status| status.success()), "copying {from}");
    }

    fn launch(&self, name: &str, args: &[String]) -> Daemon {
        let mut command = Command::new(tools::kubernetes().join(name));
        self.netns.run(|| Daemon::start(name, &self.folder, command.args(args)))
    }

    fn api_server(&self) -> Vec<String> {
        let [address, _] = addresses(CONTROL);
        let flags = [
            ("advertise-address", address.to_string()),
            ("etcd-servers", ETCD.to_owned()),
            ("service-cluster-ip-range", SERVICE_CIDRS.to_owned()),
            ("authorization-mode", "Node,RBAC".to_owned()),
            ("enable-admission-plugins", "NodeRestriction".to_owned()),
            ("allow-privileged", "true".to_owned()),
            ("kubelet-preferred-address-types", "InternalIP".to_owned()),
            ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".to_owned()),
            // As kubeadm has them: aggregated API servers believe who comes with this certificate.
            ("requestheader-allowed-names", "front-proxy-client".to_owned()),
            ("requestheader-username-headers", "X-Remote-User".to_owned()),
            ("requestheader-group-headers", "X-Remote-Group".to_owned()),
            ("requestheader-extra-headers-prefix", "X-Remote-Extra-".to_owned()),
        ];
        let files = [
            ("client-ca-file", "ca.crt"),
            ("tls-cert-file", "apiserver.crt"),
            ("tls-private-key-file", "apiserver.key"),
            ("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
            ("kubelet-client-key", "apiserver-kubelet-client.key"),
            ("service-account-key-file", "sa.pub"),
            ("service-account-signing-key-file", "sa.key"),
            ("requestheader-client-ca-file", "front-proxy-ca.crt"),
            ("proxy-client-cert-file", "front-proxy-client.crt"),
            ("proxy-client-key-file", "front-proxy-client.key"),
        ];
        let files = files.map(|(name, file)| (name, self.pki.file(file)));
        flags.into_iter().chain(files).map(|(name, value)| format!("--{name}={value}")).collect()
    }

    fn controller_manager(&self, pod_cidrs: bool) -> Vec<String> {
        vec![
            format!("--allocate-node-cidrs={pod_cidrs}"),
            format!("--cluster-cidr={POD_CIDRS}"),
            format!("--service-cluster-ip-range={SERVICE_CIDRS}"),
            "--use-service-account-credentials".to_owned(),
            format!("--root-ca-file={}", self.pki.file("ca.crt")),
            format!("--service-account-private-key-file={}", self.pki.file("sa.key")),
            format!("--cluster-signing-cert-file={}", self.pki.file("ca.crt")),
            format!("--cluster-signing-key-file={}", self.pki.file("ca.key")),
        ]
    }
}

/// What it stores need not outlive this machine's crash.
fn etcd(folder: &Path) -> Vec<String> {
    vec![
        "--unsafe-no-fsync".to_owned(),
        "--name=control".to_owned(),
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        format!("--listen-peer-urls={ETCD_PEER}"),
        format!("--initial-advertise-peer-urls={ETCD_PEER}"),
        format!("--initial-cluster=control={ETCD_PEER}"),
    ]
}
