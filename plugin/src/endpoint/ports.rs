//! Ports of the node that lead to a container: by the plugin that the network's configuration has for that, as for
//! any other runtime.

use serde_json::{Value, json};

use super::known::Found;
use super::{Endpoints, Outcome};
use crate::overlay::gateway::gateway;
use crate::runtime::chain::{self, Wanted};
use crate::runtime::list::List;

/// A port of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The container's.
    pub container: u16,
    /// The node's.
    pub host: u16,
    /// The node's address that it is at; all if empty.
    pub host_ip: String,
}

impl Endpoints {
    /// Leads them to an endpoint.
    ///
    /// # Errors
    /// There is none who does it, or it fails.
    pub fn publish(&self, endpoint: &str, ports: &[PublishedPort]) -> Outcome<()> {
        let found = self.get(endpoint)?;
        let ports: Vec<Value> = ports.iter().map(PublishedPort::in_words_of_cni).collect();
        let list = List::in_folder(&found.conf.name, &self.conf_dir)?;
        chain::publish(&list, &wanted(&found, ports), &result(&found))
    }

    /// Leads none there any more. Nothing happens where none can be. The network's configuration may be gone.
    ///
    /// # Errors
    /// It fails, or it cannot be told whether there is such an endpoint.
    pub fn withdraw(&self, endpoint: &str) -> Outcome<()> {
        let Some(found) = self.find(endpoint)? else { return Ok(()) };
        let name = &found.conf.name;
        let list = List::in_folder(name, &self.conf_dir).unwrap_or_else(|problem| {
            log::warn!("{problem}; going on without");
            List::lost(name)
        });
        // The plugin takes them away by the container, and does nothing for one that has none.
        let any = json!({ "hostPort": 1, "containerPort": 1, "protocol": "tcp" });
        chain::withdraw(&list, &wanted(&found, vec![any]))
    }
}

impl PublishedPort {
    fn in_words_of_cni(&self) -> Value {
        let mut port = json!({
            "hostPort": self.host, "containerPort": self.container, "protocol": self.protocol,
        });
        if !self.host_ip.is_empty() {
            port["hostIP"] = json!(self.host_ip);
        }
        port
    }
}

fn wanted(found: &Found, ports: Vec<Value>) -> Wanted {
    let holder = &found.record.attachment;
    Wanted {
        container_id: holder.container_id.clone(),
        name: String::new(),
        netns: holder.sandbox.clone().unwrap_or_default(),
        ifname: holder.ifname.clone(),
        asked: [("portMappings".to_owned(), Value::from(ports))].into_iter().collect(),
    }
}

/// What an ADD would have answered, as far as it matters to who publishes ports.
fn result(found: &Found) -> Value {
    let holder = &found.record.attachment;
    let ips = found.record.addresses.iter().map(|address| {
        let length = if address.is_ipv4() { 32 } else { 128 };
        json!({ "interface": 1, "address": format!("{address}/{length}"), "version": if address.is_ipv4() { "4" } else { "6" },
                "gateway": gateway(address.is_ipv4()) })
    });
    json!({
        "cniVersion": "0.4.0",
        "interfaces": [
            { "name": holder.veth },
            { "name": holder.ifname, "sandbox": holder.sandbox.clone().unwrap_or_default() },
        ],
        "ips": ips.collect::<Vec<_>>(),
    })
}
