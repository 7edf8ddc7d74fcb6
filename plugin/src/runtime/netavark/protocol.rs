//! What netavark says of a container, and what it wants to hear, as far as it matters here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::AddResult;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The option of a podman network that names the file of its configuration.
pub const CONF: &str = "conf";
/// What can be published.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];
/// A node has no more ports, of all protocols.
const MOST_PORTS: usize = PROTOCOLS.len() * u16::MAX as usize;

/// The input of `setup` and `teardown`.
#[derive(Debug, Deserialize)]
pub struct Exec {
    /// The container's ID, 64 hex digits.
    pub container_id: String,
    /// Its name.
    #[serde(default)]
    pub container_name: String,
    /// The ports that are to be published.
    port_mappings: Option<Vec<PortMapping>>,
    /// The network.
    pub network: Network,
    /// What the container wants of it.
    pub network_options: PerNetwork,
}

/// A podman network.
#[derive(Debug, Deserialize)]
pub struct Network {
    /// Its name, which is that of the network in the configuration.
    pub name: String,
    options: Option<BTreeMap<String, String>>,
}

/// A container's interface in a network.
#[derive(Debug, Deserialize)]
pub struct PerNetwork {
    /// Its name in the container.
    pub interface_name: String,
    static_ips: Option<Vec<IpAddr>>,
    static_mac: Option<String>,
    aliases: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct PortMapping {
    container_port: u16,
    #[serde(default)]
    host_ip: String,
    host_port: u16,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    range: u16,
}

impl Network {
    /// The file of its configuration, if it is not in the usual folder.
    pub fn conf(&self) -> Option<&Path> {
        self.options.as_ref()?.get(CONF).map(Path::new)
    }
}

impl Exec {
    /// What is asked for, by CNI's capabilities.
    ///
    /// # Errors
    /// No node has such ports.
    pub fn asked(&self) -> Result<Map<String, Value>, String> {
        let PerNetwork { static_ips, static_mac, aliases, .. } = &self.network_options;
        let mut asked = Map::new();
        // `podman network reload` adds what the container has to what was asked for at first.
        let ips: BTreeSet<_> = static_ips.iter().flatten().collect();
        if !ips.is_empty() {
            asked.insert("ips".into(), json!(ips));
        }
        if let Some(mac) = static_mac.as_ref().filter(|mac| !mac.is_empty()) {
            asked.insert("mac".into(), json!(mac));
        }
        if let Some(aliases) = aliases.as_ref().filter(|aliases| !aliases.is_empty()) {
            asked.insert("aliases".into(), json!({ &self.network.name: aliases }));
        }
        let mut ports = Vec::new();
        for mapping in self.port_mappings.iter().flatten() {
            let protocols = mapping.protocols()?;
            ports.extend(protocols.into_iter().flat_map(|protocol| mapping.each(protocol)));
            if ports.len() > MOST_PORTS {
                return Err(format!("more than {MOST_PORTS} ports are to be published"));
            }
        }
        if !ports.is_empty() {
            asked.insert("portMappings".into(), ports.into());
        }
        Ok(asked)
    }
}

impl PortMapping {
    fn protocols(&self) -> Result<BTreeSet<&str>, String> {
        let named = if self.protocol.is_empty() { "tcp" } else { &self.protocol };
        let named: BTreeSet<_> = named.split(',').filter(|name| !name.is_empty()).collect();
        match named.iter().find(|name| !PROTOCOLS.contains(name)) {
            Some(other) => Err(format!("ports of protocol {other:?} cannot be published")),
            None => Ok(named),
        }
    }

    /// One for each port, as CNI has them.
    fn each(&self, protocol: &str) -> impl Iterator<Item = Value> {
        // One that would lead past 65535 is podman's to refuse.
        (0..self.range.max(1)).filter_map(move |n| {
            let port = |first: u16| first.checked_add(n);
            let mut one = json!({
                "hostPort": port(self.host_port)?,
                "containerPort": port(self.container_port)?,
                "protocol": protocol,
            });
            if !self.host_ip.is_empty() {
                one["hostIP"] = json!(self.host_ip);
            }
            Some(one)
        })
    }
}

/// The answer to `setup`.
#[derive(Debug, Serialize, PartialEq)]
pub struct Status {
    dns_search_domains: Vec<String>,
    dns_server_ips: Vec<IpAddr>,
    interfaces: BTreeMap<String, Interface>,
}

#[derive(Debug, Serialize, PartialEq)]
struct Interface {
    mac_address: String,
    subnets: Vec<Subnet>,
}

#[derive(Debug, Serialize, PartialEq)]
struct Subnet {
    gateway: Option<IpAddr>,
    ipnet: String,
}

impl Status {
    /// The container's interface of this name in a result of CNI.
    pub fn of(result: &AddResult, ifname: &str) -> Self {
        let in_container = |i: &flatnet_conf::Interface| i.sandbox.is_some() && i.name == ifname;
        let index = result.interfaces.iter().position(in_container);
        let mac = index.and_then(|index| result.interfaces.get(index)).map(|i| i.mac.clone());
        let subnets =
            result.ips.iter().filter(|ip| ip.interface.is_none() || ip.interface == index);
        let subnets = subnets
            .map(|ip| Subnet { gateway: ip.gateway, ipnet: ip.address.to_string() })
            .collect();
        let interface = Interface { mac_address: mac.unwrap_or_default(), subnets };
        let dns = &result.dns;
        Self {
            dns_search_domains: dns.domain.iter().chain(&dns.search).cloned().collect(),
            dns_server_ips: dns
                .nameservers
                .iter()
                .filter_map(|server| server.parse().ok())
                .collect(),
            interfaces: BTreeMap::from([(ifname.to_owned(), interface)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use flatnet_conf::Version;

    use super::*;

    #[test]
    fn what_podman_asks_for_is_said_in_cnis_words() {
        // As podman 5.4 sends it to netavark 2.1, and that to its plugin.
        let input = json!({
            "container_id": "752947ff", "container_name": "web",
            "port_mappings": [
                { "container_port": 80, "host_ip": "127.0.0.1", "host_port": 8080, "protocol": "tcp", "range": 2 },
                { "container_port": 53, "host_ip": "", "host_port": 53, "protocol": "tcp,udp", "range": 1 },
            ],
            "network": { "dns_enabled": false, "driver": "flatnet", "id": "2f25", "internal": false,
                "ipv6_enabled": false, "name": "pods", "network_interface": null,
                "options": { "conf": "/etc/x.conflist" }, "subnets": null },
            "network_options": { "aliases": ["752947ff"], "interface_name": "eth0", "options": null,
                "static_ips": ["10.88.0.50", "fd00::50", "10.88.0.50"], "static_mac": "aa:bb:cc:dd:aa:00" },
        });
        let exec: Exec = serde_json::from_value(input).unwrap();
        assert_eq!(exec.network.conf(), Some(Path::new("/etc/x.conflist")));
        let port = |host: u16, container: u16, protocol| json!({ "hostPort": host, "containerPort": container, "protocol": protocol });
        let local = |host, container| {
            let mut port = port(host, container, "tcp");
            port["hostIP"] = json!("127.0.0.1");
            port
        };
        let ports = [local(8080, 80), local(8081, 81), port(53, 53, "tcp"), port(53, 53, "udp")];
        assert_eq!(
            Value::from(exec.asked().unwrap()),
            json!({ "ips": ["10.88.0.50", "fd00::50"], "mac": "aa:bb:cc:dd:aa:00",
                    "aliases": { "pods": ["752947ff"] }, "portMappings": ports })
        );
    }

    #[test]
    fn nothing_asked_is_nothing_said() {
        let input = json!({ "container_id": "c", "network": { "name": "pods" },
            "network_options": { "interface_name": "eth1", "static_ips": [], "static_mac": "" } });
        let exec: Exec = serde_json::from_value(input).unwrap();
        assert_eq!((exec.asked(), exec.network.conf()), (Ok(Map::new()), None));
    }

    #[test]
    fn ports_that_no_node_has_are_refused() {
        let asked = |ports: Vec<Value>| {
            let input = json!({ "container_id": "c", "network": { "name": "pods" }, "port_mappings": ports,
                "network_options": { "interface_name": "eth1" } });
            serde_json::from_value::<Exec>(input).unwrap().asked()
        };
        let mapping = |protocol: &str| json!({ "container_port": 1, "host_port": 1, "range": 65_535, "protocol": protocol });
        let all = mapping("tcp,udp,sctp,tcp,,udp");
        let most = asked(vec![all.clone()]).unwrap();
        assert_eq!(most["portMappings"].as_array().map(Vec::len), Some(MOST_PORTS));
        assert!(asked(vec![all.clone(), all]).unwrap_err().contains("are to be published"));
        assert!(asked(vec![mapping("tcp,icmp")]).unwrap_err().contains("protocol \"icmp\""));
    }

    #[test]
    fn a_result_is_told_as_netavark_wants_it() {
        let result = json!({
            "cniVersion": "1.0.0",
            "interfaces": [ { "name": "veth1", "mac": "02:00:00:00:00:01" },
                { "name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/c" } ],
            "ips": [ { "interface": 1, "address": "10.1.1.7/32", "gateway": "169.254.1.1" },
                { "interface": 1, "address": "fd00::7/128", "gateway": "fe80::1" } ],
            "dns": { "nameservers": ["10.1.0.10"], "domain": "a.test", "search": ["b.test"] },
        });
        let result = AddResult::from_json(&result, Version::V1_0_0).unwrap();
        assert_eq!(
            serde_json::to_value(Status::of(&result, "eth0")).unwrap(),
            json!({ "dns_search_domains": ["a.test", "b.test"], "dns_server_ips": ["10.1.0.10"],
                "interfaces": { "eth0": { "mac_address": "02:00:00:00:00:02", "subnets": [
                    { "gateway": "169.254.1.1", "ipnet": "10.1.1.7/32" },
                    { "gateway": "fe80::1", "ipnet": "fd00::7/128" } ] } } })
        );
    }
}
