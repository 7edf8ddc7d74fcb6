//! The record of a lab: all it may consist of, by name. `down` and `matrix` go by it.

use std::net::IpAddr;
use std::path::PathBuf;

use flatnet_conf::{AddResult, RangeFile, Version};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::name::Name;
use crate::cli::error::CommandError;

/// The protocol version that the lab speaks to the plugin.
pub const VERSION: Version = Version::V1_1_0;

/// A lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabRecord {
    /// The lab's name, and the network's.
    pub name: Name,
    /// Whether `up` came to its end.
    pub complete: bool,
    /// The plugin executable that attached the pods and will detach them.
    pub plugin: PathBuf,
    /// The network configuration that the plugin gets, without a result.
    pub configuration: Value,
    /// The namespace of the underlay's bridge.
    pub underlay: String,
    /// The nodes, in order.
    pub nodes: Vec<NodeRecord>,
}

/// A node of a lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeRecord {
    /// Its name in the range file.
    pub name: String,
    /// Its namespace.
    pub netns: String,
    /// Its pods, in order.
    pub pods: Vec<PodRecord>,
}

/// A pod of a lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodRecord {
    /// Its namespace, and its container ID.
    pub netns: String,
    /// `NODE-POD` by number, for tables.
    pub label: String,
    /// The plugin's answer to ADD; null until then.
    pub result: Value,
}

impl LabRecord {
    /// What a lab of that name would consist of.
    pub fn plan(
        name: &Name,
        file: &RangeFile,
        pods: usize,
        plugin: PathBuf,
        configuration: Value,
    ) -> Self {
        let nodes = file.nodes.iter().zip(1..).map(|(node, number): (_, usize)| NodeRecord {
            name: node.name.clone(),
            netns: format!("{name}-node-{number}"),
            pods: (1..=pods)
                .map(|pod| PodRecord {
                    netns: format!("{name}-pod-{number}-{pod}"),
                    label: format!("{number}-{pod}"),
                    result: Value::Null,
                })
                .collect(),
        });
        Self {
            name: name.clone(),
            complete: false,
            plugin,
            configuration,
            underlay: format!("{name}-underlay"),
            nodes: nodes.collect(),
        }
    }

    /// The names of all namespaces, pods first: the order in which they go.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        let pods = self.nodes.iter().flat_map(|node| &node.pods).map(|pod| pod.netns.as_str());
        let nodes = self.nodes.iter().map(|node| node.netns.as_str());
        pods.chain(nodes).chain([self.underlay.as_str()])
    }

    /// The network configuration as it stands in a file: a chain of this one plugin.
    pub fn configuration_list(&self) -> Value {
        let mut plugin = self.configuration.clone();
        let mut list = json!({});
        if let (Some(plugin), Some(list)) = (plugin.as_object_mut(), list.as_object_mut()) {
            for key in ["cniVersion", "name"] {
                list.extend(plugin.remove_entry(key));
            }
        }
        list["plugins"] = json!([plugin]);
        list
    }
}

impl PodRecord {
    /// The pod's addresses, as the plugin answered.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, CommandError> {
        let result = AddResult::from_json(&self.result, VERSION)?;
        Ok(result.ips.iter().map(|ip| ip.address.ip()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::lab::addresses;

    fn record() -> LabRecord {
        let file = addresses::range_file(2, 1, true).unwrap();
        let configuration = json!({ "cniVersion": "1.1.0", "name": "x", "type": "flatnet" });
        LabRecord::plan(&"x".parse().unwrap(), &file, 1, "/bin/flatnet".into(), configuration)
    }

    #[test]
    fn names_everything_pods_first() {
        let record = record();
        let names: Vec<&str> = record.namespaces().collect();
        assert_eq!(names, ["x-pod-1-1", "x-pod-2-1", "x-node-1", "x-node-2", "x-underlay"]);
        assert_eq!(record.nodes[1].pods[0].label, "2-1");
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<LabRecord>(&text).unwrap(), record);
    }

    #[test]
    fn the_configuration_becomes_a_chain() {
        let expected =
            json!({ "cniVersion": "1.1.0", "name": "x", "plugins": [{ "type": "flatnet" }] });
        assert_eq!(record().configuration_list(), expected);
    }

    #[test]
    fn addresses_come_from_the_answer() {
        let mut pod = record().nodes.remove(0).pods.remove(0);
        pod.result = json!({ "cniVersion": "1.1.0",
            "ips": [{ "address": "10.244.0.1/32" }, { "address": "fd00::1/128" }] });
        let addresses: Vec<String> =
            pod.addresses().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.244.0.1", "fd00::1"]);
    }
}
