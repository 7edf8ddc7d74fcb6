//! What the difference between range file and kernel means: which peers it concerns.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use flatnet_conf::{Mac, Node, RangeFile};
use ipnetwork::IpNetwork;

use crate::identity::vtep_mac;
use crate::kernel::{Change, FdbEntry};

/// The peers of a range file, by what stands for them in the kernel.
pub struct Peers<'a> {
    macs: HashMap<Mac, &'a str>,
    gateways: HashMap<IpAddr, &'a str>,
    subnets: HashMap<IpNetwork, &'a str>,
}

impl<'a> Peers<'a> {
    /// All nodes of a file but this one.
    pub fn of(file: &'a RangeFile, node: &Node) -> Self {
        let mut peers =
            Self { macs: HashMap::new(), gateways: HashMap::new(), subnets: HashMap::new() };
        for peer in file.nodes.iter().filter(|peer| peer.name != node.name) {
            let name = peer.name.as_str();
            peers.macs.insert(vtep_mac(file.vni, peer.vtep), name);
            peers.gateways.extend(peer.vtep_addresses().into_iter().map(|ip| (ip, name)));
            peers.subnets.extend(peer.ranges.iter().map(|range| (range.subnet(), name)));
        }
        peers
    }

    /// The peer whose entries a change touches; `None` for what is no peer's.
    pub fn of_change(&self, change: &Change) -> Option<&'a str> {
        let found = match change {
            Change::PutFdb(FdbEntry { mac, .. }) | Change::DelFdb(FdbEntry { mac, .. }) => {
                self.macs.get(mac)
            }
            Change::PutNeighbour(entry) => self.gateways.get(&entry.address),
            Change::DelNeighbour(address) => self.gateways.get(address),
            Change::AddRoute(route) | Change::PutRoute(route) | Change::DelRoute(route) => {
                self.subnets.get(&route.dst)
            }
            _ => None,
        };
        found.copied()
    }

    /// The peers that any of the changes touches, by name.
    pub fn of_changes<'c>(
        &self,
        changes: impl Iterator<Item = (&'c str, &'c Change)>,
    ) -> BTreeSet<&'a str> {
        changes.filter_map(|(_, change)| self.of_change(change)).collect()
    }
}

/// The command by which packets of a family to the cluster's ranges take our routes, whatever rules
/// lead to other tables.
pub fn past_other_tables(file: &RangeFile, ipv6: bool) -> String {
    let ip = if ipv6 { "ip -6" } else { "ip" };
    let of_family = file.cluster_cidrs.iter().filter(|cidr| cidr.is_ipv6() == ipv6);
    let rules = of_family.map(|cidr| format!("{ip} rule add pref 1 to {cidr} lookup main"));
    rules.collect::<Vec<_>>().join(" && ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Neighbour, Route};

    #[test]
    fn a_change_belongs_to_the_peer_whose_entry_it_is() {
        let text = r#"{"version":1,"vni":7,"nodes":[
            {"name":"a","vtep":"192.0.2.1","ranges":["10.1.1.0/24"]},
            {"name":"b","vtep":"192.0.2.2","ranges":["10.1.2.0/24","fd00:2::/64"]},
            {"name":"c","vtep":"192.0.2.3","ranges":["10.1.3.0/24"]}]}"#;
        let file = RangeFile::parse(std::path::Path::new("t.json"), text.as_bytes()).unwrap();
        let peers = Peers::of(&file, &file.nodes[0]);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mac = |vtep: &str| vtep_mac(7, ip(vtep));
        let route = |dst: &str| Route {
            dst: dst.parse().unwrap(),
            gateway: None,
            onlink: false,
            source: None,
            metric: None,
        };
        let vtep = ip("192.0.2.66");
        let neighbour = Neighbour { address: ip("10.1.2.0"), mac: mac("192.0.2.9") };
        let table = [
            (Change::PutFdb(FdbEntry { mac: mac("192.0.2.2"), vtep }), Some("b")),
            (Change::DelFdb(FdbEntry { mac: mac("192.0.2.9"), vtep }), None),
            (Change::PutNeighbour(neighbour), Some("b")),
            (Change::DelNeighbour(ip("fd00:2::")), Some("b")),
            (Change::PutRoute(route("10.1.3.0/24")), Some("c")),
            (Change::DelRoute(route("10.1.9.0/24")), None),
            (Change::PutRoute(route("10.1.1.0/24")), None),
            (Change::Up, None),
        ];
        for (change, peer) in &table {
            assert_eq!(peers.of_change(change), *peer, "{change:?}");
        }
        let all = peers.of_changes(table.iter().map(|(change, _)| ("flat.7", change)));
        assert_eq!(all, ["b", "c"].into());
    }
}
