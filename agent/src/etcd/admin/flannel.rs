//! flannel's subnets in etcd: each is a range, with the address of the host that has it. Names of hosts flannel does
//! not keep; they come from a file like /etc/hosts.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::{Range, node_name_problem, one_line};
use ipnetwork::IpNetwork;
use serde_json::Value;

use super::super::client::Client;
use super::super::list::list;
use super::super::wire::KeyValue;
use super::found::Found;

/// What flannel keeps below a prefix.
pub async fn read(client: &Client, prefix: &str, hosts: &Path) -> Result<Vec<Found>, String> {
    let prefix = format!("{}/subnets/", prefix.trim_end_matches('/'));
    let mut keys = Vec::new();
    let listed = list(client, &prefix, |kv| keys.push(kv)).await;
    listed.map_err(|failure| format!("reading {prefix}: {failure}"))?;
    if keys.is_empty() {
        return Err(format!("there are no subnets of flannel below {prefix}"));
    }
    let text = fs::read_to_string(hosts);
    let text = text.map_err(|e| format!("cannot read {}: {e}", hosts.display()))?;
    found(&prefix, &keys, &names(&text))
        .map_err(|problem| format!("{problem} (names come from {})", hosts.display()))
}

/// The first name of each address that a node could have.
fn names(text: &str) -> BTreeMap<IpAddr, String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut names = BTreeMap::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        if let Some(name) = words.find(|name| node_name_problem(name).is_none()) {
            names.entry(address).or_insert_with(|| name.to_owned());
        }
    }
    names
}

fn found(
    prefix: &str,
    keys: &[KeyValue],
    names: &BTreeMap<IpAddr, String>,
) -> Result<Vec<Found>, String> {
    let mut sorted: Vec<&KeyValue> = keys.iter().collect();
    sorted.sort_by_key(|kv| kv.create_revision);
    let mut nodes: Vec<Found> = Vec::new();
    for kv in sorted {
        let key = String::from_utf8_lossy(&kv.key);
        let problem = |what: &str| one_line(&format!("{key}: {what}"));
        let name = key.strip_prefix(prefix).unwrap_or_default();
        let ranges = name.split('&').map(range).collect::<Option<Vec<_>>>();
        let ranges = ranges.ok_or_else(|| problem("this is no subnet of flannel"))?;
        let host = host(&kv.value).ok_or_else(|| problem("it has no PublicIP"))?;
        let name = names.get(&host);
        let name = name.ok_or_else(|| problem(&format!("the host {host} has no name")))?;
        match nodes.iter_mut().find(|node| node.vtep == host) {
            Some(node) => node.ranges.extend(ranges),
            None => nodes.push(Found { name: name.clone(), vtep: host, ranges }),
        }
    }
    Ok(nodes)
}

/// `10.244.7.0-24`
fn range(text: &str) -> Option<Range> {
    let (address, length) = text.rsplit_once('-')?;
    let subnet: IpNetwork = format!("{address}/{length}").parse().ok()?;
    Range::parse(&subnet.to_string()).ok()
}

/// Where the host is: its IPv4 address, unless it has none.
fn host(value: &[u8]) -> Option<IpAddr> {
    let value: Value = serde_json::from_slice(value).ok()?;
    let addresses = ["PublicIP", "PublicIPv6"].into_iter();
    let addresses = addresses.filter_map(|key| value.get(key)?.as_str()?.parse::<IpAddr>().ok());
    addresses.into_iter().find(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "/coreos.com/network/subnets/";

    fn kv(name: &str, value: &str, create_revision: i64) -> KeyValue {
        let (key, value) = (format!("{PREFIX}{name}").into_bytes(), value.as_bytes().to_vec());
        KeyValue { key, value, create_revision, mod_revision: 9, lease: 7 }
    }

    #[test]
    fn subnets_are_ranges_of_hosts_with_names() {
        let names =
            names("127.0.0.1 localhost\n192.0.2.7 node_7 node-7 n7 # it\n192.0.2.8\tnode-8\n");
        let keys = [
            kv("10.1.9.0-24", r#"{"PublicIP":"192.0.2.7","BackendType":"vxlan"}"#, 5),
            kv(
                "10.1.8.0-24&fd00:1:8::-64",
                r#"{"PublicIP":"192.0.2.8","PublicIPv6":"2001:db8::8"}"#,
                3,
            ),
        ];
        let nodes = found(PREFIX, &keys, &names).unwrap();
        let shown: Vec<_> = nodes
            .iter()
            .map(|node| {
                let ranges: Vec<_> = node.ranges.iter().map(|r| r.subnet().to_string()).collect();
                format!("{} {} {}", node.name, node.vtep, ranges.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            ["node-8 192.0.2.8 10.1.8.0/24 fd00:1:8::/64", "node-7 192.0.2.7 10.1.9.0/24"]
        );
    }

    #[test]
    fn what_is_no_subnet_is_told() {
        let names = names("192.0.2.7 node-7");
        for (name, value, words) in [
            ("x", "{}", "no subnet of flannel"),
            ("10.1.9.0-33", r#"{"PublicIP":"192.0.2.7"}"#, "no subnet of flannel"),
            ("10.1.9.0-24", r#"{"PublicIP":"0.0.0.0"}"#, "no PublicIP"),
            ("10.1.9.0-24", "nonsense", "no PublicIP"),
            ("10.1.9.0-24", r#"{"PublicIP":"192.0.2.9"}"#, "the host 192.0.2.9 has no name"),
        ] {
            let error = found(PREFIX, &[kv(name, value, 1)], &names).unwrap_err();
            assert!(error.starts_with(PREFIX) && error.contains(words), "{error}");
        }
    }
}
