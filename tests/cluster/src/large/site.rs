//! etcd and the API server, with the objects that agents need, and a way to write others fast.

use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;

use flatnet_cluster::agent;
use flatnet_cluster::control_plane::ControlPlane;
use flatnet_cluster::plan::{CONTROL, addresses};
use flatnet_tests::netns::{Netns, inside};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::runtime::Builder;

use super::ground::Ground;

/// A control plane without controllers.
pub struct Site {
    /// Who is asked.
    pub control: ControlPlane,
    /// What it stands on.
    pub ground: Ground,
}

impl Site {
    /// Starts it.
    pub fn start() -> Self {
        let ground = Ground::new();
        let netns = Netns::new("control");
        ground.underlay.connect(&netns, "control", CONTROL);
        let control = ControlPlane::without_controllers(netns, &ground.folder().join("control"));
        agent::install_into(&control);
        Self { control, ground }
    }

    /// Where the API server is.
    pub fn server(&self) -> IpAddr {
        let [server, _] = addresses(CONTROL);
        server
    }

    /// Who writes as its administrator.
    pub fn writer(&self) -> Writer {
        Writer {
            netns: self.ground.underlay.outside.path(),
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
