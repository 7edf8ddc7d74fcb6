//! Which node gets which subnets: each, in order, the next one of every cluster CIDR.
//!
//! Pure, and used by `ranges init` and by the lab alike.

use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::{Node, Range, RangeFile};
use ipnetwork::IpNetwork;

use crate::cli::error::CommandError;

/// VNI of a range file that names none.
const VNI: u32 = 4096;
/// UDP port of VXLAN (IANA).
const PORT: u16 = 4789;

/// A node by its name and its underlay address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAt {
    /// Its name in the range file.
    pub name: String,
    /// Its VTEP.
    pub vtep: IpAddr,
}

/// The length of each node's subnet, for each family.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// For IPv4 cluster CIDRs.
    pub v4: u8,
    /// For IPv6 ones.
    pub v6: u8,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { v4: 24, v6: 64 }
    }
}

impl Prefixes {
    /// From the lengths as given. A number tells its family by its size: a node is not
    /// given an IPv6 network of /32 or more, and IPv4 ends there.
    pub fn given(lengths: &[u8], clusters: &[IpNetwork]) -> Result<Self, CommandError> {
        let mut prefixes = Self::default();
        for (index, &length) in lengths.iter().enumerate() {
            let (v4, family) = if length <= 32 { (true, "IPv4") } else { (false, "IPv6") };
            if lengths[..index].iter().any(|earlier| (*earlier <= 32) == v4) {
                let problem = format!("--prefix {length}: there is another one for {family}");
                return Err(CommandError::Refused(problem));
            }
            if !clusters.iter().any(|cluster| cluster.is_ipv4() == v4) {
                return Err(CommandError::Refused(format!(
                    "--prefix {length} is a length for {family}, but no --cluster-cidr is {family} \
                     (up to 32 means IPv4, 33 to 128 IPv6)"
                )));
            }
            *if v4 { &mut prefixes.v4 } else { &mut prefixes.v6 } = length;
        }
        Ok(prefixes)
    }

    fn of(self, cluster: IpNetwork) -> u8 {
        if cluster.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// Reads `NAME=VTEP`.
pub fn node_at(text: &str) -> Result<NodeAt, String> {
    let (name, vtep) = text.split_once('=').ok_or("write NAME=VTEP, as in node-a=192.168.50.1")?;
    let vtep = vtep.parse().map_err(|_| format!("{vtep:?} is not an IPv4 or IPv6 address"))?;
    Ok(NodeAt { name: name.to_owned(), vtep })
}

/// The range file in which each node has the next subnet of each cluster CIDR.
pub fn allot(
    clusters: &[IpNetwork],
    nodes: &[NodeAt],
    prefixes: Prefixes,
) -> Result<RangeFile, CommandError> {
    for cluster in clusters {
        fits(*cluster, prefixes.of(*cluster), nodes.len())?;
    }
    let mut file = RangeFile {
        vni: VNI,
        port: PORT,
        cluster_cidrs: clusters.to_vec(),
        direct_routing: false,
        nodes: Vec::new(),
    };
    for (index, node) in nodes.iter().enumerate() {
        let mut ranges = Vec::new();
        for cluster in clusters {
            let subnet = subnet(*cluster, prefixes.of(*cluster), index as u128)?;
            ranges.push(Range::new(subnet, None, None, Vec::new())?);
        }
        file.nodes.push(Node { name: node.name.clone(), vtep: node.vtep, ranges });
    }
    // Names, duplicates and overlaps are judged by the rules every reader of the file will use.
    Ok(RangeFile::parse(Path::new("the new range file"), file.to_json().as_bytes())?)
}

/// Whether a cluster CIDR has a subnet of that length for each of so many nodes.
fn fits(cluster: IpNetwork, prefix: u8, nodes: usize) -> Result<(), CommandError> {
    let first = cluster.network();
    if first != cluster.ip() {
        let length = cluster.prefix();
        let problem = format!("--cluster-cidr {cluster} has host bits set; write {first}/{length}");
        return Err(CommandError::Refused(problem));
    }
    let room = room(cluster, prefix);
    if room >= nodes as u128 {
        return Ok(());
    }
    let longest = if cluster.is_ipv4() { 32 } else { 128 };
    // The last two bits of a length leave no room for a pod beside the VTEP address.
    let enough =
        (prefix..=longest - 2).find(|longer| self::room(cluster, *longer) >= nodes as u128);
    let advice = match enough {
        Some(length) => format!("give a larger network, or --prefix {length}"),
        None => "give a larger network".to_owned(),
    };
    Err(CommandError::Refused(format!(
        "cluster CIDR {cluster} has room for {room} {} with a /{prefix} each, but there are \
         {nodes}: {advice}",
        if room == 1 { "node" } else { "nodes" },
    )))
}

/// How many subnets of a length a network holds.
fn room(cluster: IpNetwork, prefix: u8) -> u128 {
    match prefix.checked_sub(cluster.prefix()) {
        Some(bits) => 1_u128.checked_shl(bits.into()).unwrap_or(u128::MAX),
        None => 0,
    }
}

/// The subnet of a length with this number, counted from 0.
fn subnet(cluster: IpNetwork, prefix: u8, number: u128) -> Result<IpNetwork, CommandError> {
    let first = match cluster.network() {
        IpAddr::V4(first) => {
            // `fits` keeps the number below the count of subnets, so this is within 32 bits.
            let offset = number.checked_shl(u32::from(32_u8.saturating_sub(prefix))).unwrap_or(0);
            IpAddr::from((first.to_bits() | offset as u32).to_be_bytes())
        }
        IpAddr::V6(first) => {
            let offset = number.checked_shl(u32::from(128_u8.saturating_sub(prefix))).unwrap_or(0);
            IpAddr::from((first.to_bits() | offset).to_be_bytes())
        }
    };
    IpNetwork::new(first, prefix)
        .map_err(|e| CommandError::Refused(format!("--prefix {prefix} for {cluster}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn nodes(count: usize) -> Vec<NodeAt> {
        (1..=count)
            .map(|n| node_at(&format!("node-{n}=172.31.{}.{}", n / 256, n % 256)).unwrap())
            .collect()
    }

    #[test]
    fn each_node_gets_the_next_subnet_of_each_network() {
        let clusters = networks(&["10.244.0.0/16", "fd00:10:244::/56"]);
        let file = allot(&clusters, &nodes(3), Prefixes::default()).unwrap();
        let ranges: Vec<Vec<String>> = file
            .nodes
            .iter()
            .map(|node| node.ranges.iter().map(|range| range.subnet().to_string()).collect())
            .collect();
        assert_eq!(
            ranges,
            [
                ["10.244.0.0/24", "fd00:10:244::/64"],
                ["10.244.1.0/24", "fd00:10:244:1::/64"],
                ["10.244.2.0/24", "fd00:10:244:2::/64"],
            ]
        );
        assert_eq!((file.vni, file.port), (4096, 4789));
        assert_eq!(file.nodes[2].name, "node-3");
        assert_eq!(file.nodes[2].vtep.to_string(), "172.31.0.3");
    }

    #[test]
    fn the_last_subnet_is_given_and_no_more() {
        let clusters = networks(&["10.0.0.0/22"]);
        let file = allot(&clusters, &nodes(4), Prefixes::default()).unwrap();
        assert_eq!(file.nodes[3].ranges[0].subnet().to_string(), "10.0.3.0/24");
        let cases = [
            (
                "10.0.0.0/22",
                5,
                "cluster CIDR 10.0.0.0/22 has room for 4 nodes with a /24 each, but there are 5: \
                 give a larger network, or --prefix 25",
            ),
            (
                "10.0.0.0/25",
                1,
                "cluster CIDR 10.0.0.0/25 has room for 0 nodes with a /24 each, but there are 1: \
                 give a larger network, or --prefix 25",
            ),
            (
                "10.0.0.0/30",
                9,
                "cluster CIDR 10.0.0.0/30 has room for 0 nodes with a /24 each, but there are 9: \
                 give a larger network",
            ),
            ("10.0.0.1/22", 1, "--cluster-cidr 10.0.0.1/22 has host bits set; write 10.0.0.0/22"),
        ];
        for (cluster, count, expected) in cases {
            let error = allot(&networks(&[cluster]), &nodes(count), Prefixes::default());
            assert_eq!(error.unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_length_tells_its_family() {
        let both = networks(&["10.0.0.0/8", "fd00::/48"]);
        let prefixes = Prefixes::given(&[80, 26], &both).unwrap();
        assert_eq!(prefixes, Prefixes { v4: 26, v6: 80 });
        assert_eq!(Prefixes::given(&[], &both).unwrap(), Prefixes { v4: 24, v6: 64 });
        let twice = Prefixes::given(&[24, 26], &both).unwrap_err().to_string();
        assert_eq!(twice, "--prefix 26: there is another one for IPv4");
        let none = Prefixes::given(&[26], &both[1..]).unwrap_err().to_string();
        assert!(none.starts_with("--prefix 26 is a length for IPv4, but no"), "{none}");
    }

    #[test]
    fn the_rules_of_the_range_file_hold() {
        let clusters = networks(&["10.244.0.0/16"]);
        for bad in [["a=192.0.2.1", "a=192.0.2.2"], ["a=192.0.2.1", "b=192.0.2.1"]] {
            let nodes: Vec<NodeAt> = bad.iter().map(|text| node_at(text).unwrap()).collect();
            let error = allot(&clusters, &nodes, Prefixes::default()).unwrap_err().to_string();
            assert!(error.starts_with("the new range file: nodes[1]"), "{error}");
        }
        for bad in ["a", "a=", "a=b", "192.0.2.1"] {
            assert!(node_at(bad).is_err(), "{bad}");
        }
    }
}
