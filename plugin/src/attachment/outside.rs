//! Pods whose addresses are in none of this node's ranges: the range file has changed under them, as
//! when a Kubernetes Node is deleted and registered again with another podCIDR.
//!
//! All of them stands in the kernel and is as it was made, but no other node sends to this one what is
//! meant for them.

use std::fmt;
use std::net::IpAddr;

use flatnet_conf::{Node, RangeFile};
use flatnet_ipam::{Holder, Record};

/// One address of one attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside<'a> {
    /// Whose it is.
    pub holder: &'a Holder,
    /// The address.
    pub address: IpAddr,
    /// The other node that has it in a range now; `None` if no node has.
    pub owner: Option<&'a Node>,
}

/// Those of the attachments that have addresses in none of `node`'s ranges, in their order.
pub fn attachments<'a>(
    file: &'a RangeFile,
    node: &Node,
    attachments: &'a [Record],
) -> Vec<Outside<'a>> {
    let has = |node: &Node, address| node.ranges.iter().any(|range| range.contains(address));
    let all = attachments
        .iter()
        .flat_map(|record| record.addresses.iter().map(|address| (&record.attachment, *address)));
    let outside = all.filter(|(_, address)| !has(node, *address));
    let owner = |address| file.nodes.iter().find(|other| has(other, address));
    outside.map(|(holder, address)| Outside { holder, address, owner: owner(address) }).collect()
}

/// `10.244.1.7 is in a range of node-b now`
impl fmt::Display for Outside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner {
            Some(owner) => write!(f, "{} is in a range of {} now", self.address, owner.name),
            None => write!(f, "{} is in no node's range any more", self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn record(id: &str, addresses: &[&str]) -> Record {
        let attachment = Holder { container_id: id.into(), ..Holder::default() };
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Record { attachment, addresses }
    }

    #[test]
    fn an_address_of_another_nodes_range_and_one_of_none() {
        let text = br#"{"version":1,"clusterCIDRs":["10.1.0.0/16","fd00::/16"],"nodes":[
            {"name":"a","vtep":"192.0.2.1","ranges":["10.1.7.0/24","fd00:1::/64",
             {"subnet":"10.1.8.0/24","rangeStart":"10.1.8.9"}]},
            {"name":"b","vtep":"192.0.2.2","ranges":["10.1.1.0/24"]}]}"#;
        let file = RangeFile::parse(Path::new("t.json"), text).unwrap();
        let records = [
            record("whole", &["10.1.7.1", "fd00:1::1"]),
            record("not given, but routed here", &["10.1.8.1"]),
            record("moved", &["10.1.1.1", "fd00:1::2"]),
            record("nowhere", &["10.1.7.2", "fd00:9::2"]),
        ];
        let node = file.node("a").unwrap();
        let found: Vec<_> = attachments(&file, node, &records)
            .iter()
            .map(|outside| (&outside.holder.container_id[..], outside.to_string()))
            .collect();
        let expected = [
            ("moved", "10.1.1.1 is in a range of b now".to_owned()),
            ("nowhere", "fd00:9::2 is in no node's range any more".to_owned()),
        ];
        assert_eq!(found, expected);
    }
}
