//! etcd and the API server, with the objects that agents need, and a way to write others fast.

use std::future::Future;
use std::path::{Path, PathBuf};

use flatnet_cluster::agent;
use flatnet_cluster::control_plane::ControlPlane;
use flatnet_cluster::plan::CONTROL;
use flatnet_cluster::remains;
use flatnet_cluster::underlay::Underlay;
use flatnet_tests::netns::{Netns, inside};
use flatnet_tests::program::require_root;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tempfile::TempDir;
use tokio::runtime::Builder;

/// A control plane without controllers on an underlay.
pub struct Site {
    /// Who is asked.
    pub control: ControlPlane,
    /// The network below.
    pub underlay: Underlay,
    folder: TempDir,
}

impl Site {
    /// Starts it.
    pub fn start() -> Self {
        require_root();
        remains::sweep();
        let folder = tempfile::Builder::new().prefix(&remains::prefix()).tempdir();
        let folder = folder.expect("a folder");
        let underlay = Underlay::new();
        let netns = Netns::new("control");
        underlay.connect(&netns, "control", CONTROL);
        let control = ControlPlane::without_controllers(netns, &folder.path().join("control"));
        agent::install_into(&control);
        Self { control, underlay, folder }
    }

    /// The folder of all its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Who writes as its administrator.
    pub fn writer(&self) -> Writer {
        Writer {
            netns: self.underlay.outside.path(),
            kubeconfig: self.control.kubectl.kubeconfig().to_owned(),
        }
    }
}

/// An administrator on a host of its own.
#[derive(Clone)]
pub struct Writer {
    netns: PathBuf,
    kubeconfig: PathBuf,
}

impl Writer {
    /// Does something with a client, to its end.
    pub fn run<T: Send, F: Future<Output = T>>(&self, work: impl FnOnce(Client) -> F + Send) -> T {
        inside(&self.netns, || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { work(self.client().await).await })
        })
    }

    async fn client(&self) -> Client {
        let file = Kubeconfig::read_from(&self.kubeconfig).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(file, &options).await;
        Client::try_from(config.expect("a configuration")).expect("a client")
    }
}
