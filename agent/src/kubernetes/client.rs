//! The way to the API server: whose word is taken for it, and when a silent one is given up.
//!
//! In a pod the server is where `KUBERNETES_SERVICE_HOST` and `_PORT` say. A pod on the host's network needs no
//! name server for that, but it does need kube-proxy; where kube-proxy waits for the network, the DaemonSet
//! sets the two variables to an address of the API server itself, as other networks' do. There is no option
//! for it, as the variables are one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderValue, USER_AGENT};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::{Client as Http, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::util::BoxCloneService;
use tower::{BoxError, ServiceBuilder};

use super::count::CountLayer;
use super::token::Renewing;
use crate::requests::Requests;

const CONNECT: Duration = Duration::from_secs(5);
/// A peer that is gone without a word is noticed after `PROBE` and three times `AGAIN`: a watch may be silent
/// for long, as an API server sends bookmarks only once it has seen a change of that kind.
const PROBE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_secs(5);
/// Longer than the longest silence of a watch at an API server that lives: etcd tells it of progress every ten
/// minutes, and a bookmark follows. It is for a proxy between, whose kernel answers for a server that is gone.
const SILENCE: Duration = Duration::from_secs(15 * 60);
/// For what waits to be sent.
const WRITE: Duration = Duration::from_secs(15);

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file that says how.
    #[error("reading the kubeconfig {path}: {error}", path = path.display())]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: kube::config::KubeconfigError,
    },
    /// The service account of a pod.
    #[error("no service account of a pod ({0}); outside of a cluster give --kubeconfig FILE")]
    InCluster(#[from] kube::config::InClusterError),
    /// A kubeconfig may name one.
    #[error("the kubeconfig names the proxy {0}; flatnet-agent goes to the API server itself")]
    Proxy(String),
    /// Certificates or credentials.
    #[error("the credentials for {server}: {error}")]
    Credentials {
        /// The API server.
        server: String,
        /// What is wrong.
        error: kube::Error,
    },
    /// It goes into requests.
    #[error("{0:?} is no name of a Kubernetes node: lower-case letters, digits, hyphens and dots")]
    NodeName(String),
    /// It is a label of its blocks.
    #[error(
        "network {0:?} cannot be a secondary one: its name is a label of its blocks, at most 63 letters, digits, _, . \
         and -, the first and the last a letter or digit"
    )]
    NetworkName(String),
}

/// A client with the credentials of the kubeconfig, else of the pod, and where its server is. The token of a pod is read again
/// every minute, as the kubelet renews it, and when it is refused.
pub async fn connect(
    kubeconfig: Option<&Path>,
    counts: &Arc<Requests>,
) -> Result<(Client, String), ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => from_file(path).await?,
        None => Config::incluster_env()?,
    };
    if let Some(proxy) = &config.proxy_url {
        return Err(ConnectError::Proxy(proxy.to_string()));
    }
    let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    config.write_timeout = Some(WRITE);
    let server = config.cluster_url.to_string();
    match stack(config, counts) {
        Ok(client) => Ok((client, server)),
        Err(error) => Err(ConnectError::Credentials { server, error }),
    }
}

async fn from_file(path: &Path) -> Result<Config, ConnectError> {
    let failed = |error| ConnectError::Kubeconfig { path: path.to_owned(), error };
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(file, &options).await.map_err(failed)
}

/// What kube's own builder makes, with probes of silent connections, with counts, and without its log line for
/// every request that failed.
fn stack(config: Config, counts: &Arc<Requests>) -> Result<Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(PROBE));
    tcp.set_keepalive_interval(Some(AGAIN));
    tcp.set_keepalive_retries(Some(3));
    // Probes do not count while something sent waits for its acknowledgement.
    tcp.set_tcp_user_timeout(Some(PROBE + 3 * AGAIN));
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let http: Http<_, Body> = Http::builder(TokioExecutor::new()).build(connector);
    let (namespace, counts) = (config.default_namespace.clone(), Arc::clone(counts));
    let service = Renewing::new(move || {
        let way = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer()?)
            .layer(config.extra_headers_layer()?)
            .layer(CountLayer(Arc::clone(&counts)))
            .map_err(BoxError::from)
            .service(http.clone());
        Ok(BoxCloneService::new(way))
    })?;
    Ok(Client::new(service, namespace))
}
