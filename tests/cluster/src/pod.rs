//! Pods as Kubernetes lists them, and what one hears when it asks another.

use std::net::{IpAddr, SocketAddr};

use flatnet_tests::netns::Netns;
use serde_json::Value;

use crate::client;
use crate::cluster::Cluster;

/// Where agnhost answers HTTP.
pub const HTTP: u16 = 8080;
/// Where it answers datagrams.
pub const UDP: u16 = 8081;

/// A pod that has its addresses.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its node's name.
    pub node: String,
    /// Its addresses, IPv4 first.
    pub addresses: [IpAddr; 2],
}

/// What a pod sends its question with.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A request over TCP.
    Http,
    /// A datagram.
    Udp,
}

impl By {
    /// Where agnhost waits for it.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => HTTP,
            Self::Udp => UDP,
        }
    }
}

impl Pod {
    /// The same as [`Cluster::ask`], by who knows the network of the pod's node.
    ///
    /// # Errors
    /// Why it heard nothing.
    pub fn ask(
        &self,
        node: &Netns,
        by: By,
        server: SocketAddr,
        asked: &str,
    ) -> Result<String, String> {
        let protocol = if by == By::Http { "http" } else { "udp" };
        let (host, port) = (server.ip(), server.port());
        let path =
            format!("/dial?protocol={protocol}&tries=1&host={host}&port={port}&request={asked}");
        let answer = client::get(node, SocketAddr::new(self.addresses[0], HTTP), &path)?;
        heard(&answer).map_err(|error| format!("{} asks {server} for {asked}: {error}", self.name))
    }
}

impl Cluster {
    /// The pods with this label, ready or not, that are not about to end.
    ///
    /// # Errors
    /// If one has not both addresses yet.
    pub fn pods_or_why(&self, label: &str) -> Result<Vec<Pod>, String> {
        let list = self.kubectl().get(&["pods", "--selector", label])?;
        let items = list["items"].as_array().ok_or("no list")?.iter();
        items.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).map(pod).collect()
    }

    /// The pods with this label, which have their addresses.
    pub fn pods(&self, label: &str) -> Vec<Pod> {
        self.pods_or_why(label).unwrap_or_else(|error| panic!("pods {label}: {error}"))
    }

    /// The only pod with this label.
    pub fn pod(&self, label: &str) -> Pod {
        let [pod] = self.pods(label).try_into().expect("one pod");
        pod
    }

    /// Runs `work` in a pod's network: what it opens there is the pod's.
    pub fn in_pod<T: Send>(&self, pod: &Pod, work: impl FnOnce() -> T + Send) -> T {
        self.node(&pod.node).in_pod(pod.addresses[0], work)
    }

    /// Has a pod ask a server one of agnhost's questions, once; what it heard.
    ///
    /// # Errors
    /// Why it heard nothing.
    pub fn ask(
        &self,
        pod: &Pod,
        by: By,
        server: SocketAddr,
        asked: &str,
    ) -> Result<String, String> {
        pod.ask(&self.node(&pod.node).machine().netns, by, server, asked)
    }
}

fn pod(object: &Value) -> Result<Pod, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&object["metadata"]["name"]);
    let addresses = object["status"]["podIPs"].as_array().into_iter().flatten();
    let addresses: Vec<IpAddr> =
        addresses.filter_map(|entry| text(&entry["ip"]).parse().ok()).collect();
    let addresses = addresses.try_into().map_err(|got| format!("{name} has {got:?}"))?;
    Ok(Pod { name, node: text(&object["spec"]["nodeName"]), addresses })
}

/// What `/dial` has heard.
fn heard(answer: &str) -> Result<String, String> {
    let value: Value = serde_json::from_str(answer).map_err(|error| error.to_string())?;
    let first = value["responses"][0].as_str().filter(|text| !text.is_empty());
    first.map(|text| text.trim().to_owned()).ok_or_else(|| answer.trim().to_owned())
}

/// Whom agnhost saw, of its answer to `clientip`: an address with a port.
///
/// # Errors
/// If it is none.
pub fn seen(answer: &str) -> Result<IpAddr, String> {
    let parsed: Result<SocketAddr, _> = answer.parse();
    parsed.map(|address| address.ip()).map_err(|error| format!("{answer}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_dialled_is_no_answer() {
        assert_eq!(heard(r#"{"responses":["web-1\n"]}"#), Ok("web-1".to_owned()));
        assert!(heard(r#"{"errors":["dial tcp: refused"]}"#).is_err());
        assert!(heard(r#"{"responses":[""]}"#).is_err());
        assert!(heard("no JSON").is_err());
    }

    #[test]
    fn a_client_is_seen_in_both_families() {
        assert_eq!(seen("10.244.1.2:4711"), Ok([10, 244, 1, 2].into()));
        assert_eq!(seen("[fd00::2]:4711").map(|address| address.is_ipv6()), Ok(true));
        assert!(seen("nobody").is_err());
    }
}
