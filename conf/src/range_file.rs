//! The range file: the nodes of the cluster, where each is, and which addresses its pods have.

mod render;
pub(crate) mod rules;

use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;

use crate::{Error, Range, read_file};

/// A range file that keeps every rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeFile {
    /// VXLAN network identifier, 1 to 16777215 (24 bits, RFC 7348).
    pub vni: u32,
    /// UDP port of the overlay.
    pub port: u16,
    /// The pod network, disjoint: never masqueraded. Where the file has none, the subnets of all
    /// ranges in the order of the file.
    pub cluster_cidrs: Vec<IpNetwork>,
    /// Whether peers that are neighbours on the underlay are routed to without encapsulation.
    pub direct_routing: bool,
    /// The nodes, in the order of the file.
    pub nodes: Vec<Node>,
}

/// One node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Unique name, a DNS-1123 subdomain.
    pub name: String,
    /// The node's unique underlay address, of the same family on every node.
    pub vtep: IpAddr,
    /// Where its pods' addresses come from, in order of use; at least one.
    pub ranges: Vec<Range>,
}

impl Node {
    /// The node's own addresses on the overlay: the first address of its first range per
    /// family, IPv4 before IPv6.
    pub fn vtep_addresses(&self) -> Vec<IpAddr> {
        let first = |ipv4| {
            let subnets = self.ranges.iter().map(Range::subnet);
            subnets.map(|subnet| subnet.network()).find(|address| address.is_ipv4() == ipv4)
        };
        [true, false].into_iter().filter_map(first).collect()
    }
}

impl RangeFile {
    /// Reads the file at `path`; an error with code 5 when that fails.
    pub fn load(path: &Path) -> Result<RangeFile, Error> {
        let bytes =
            read_file(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        RangeFile::parse(path, &bytes)
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The subnets of all ranges in the order of the file.
    pub fn subnets(&self) -> impl Iterator<Item = IpNetwork> {
        self.nodes.iter().flat_map(|node| node.ranges.iter().map(Range::subnet))
    }
}

#[cfg(test)]
mod tests;
