//! What is the same for all nodes of a cluster, where the cluster itself says which nodes there are: all of a
//! range file but its nodes, and how nodes come by their ranges.

use std::path::Path;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

use crate::error::Broken;
use crate::network::fields;
use crate::range_file::rules::{cluster_cidrs, number, port, vni};
use crate::{Error, json, raw, read_file};

/// A network that keeps every rule.
#[derive(Clone, PartialEq, Debug)]
pub struct ClusterNetwork {
    /// Its name, which can be a part of a file's name.
    pub name: String,
    /// VXLAN network identifier.
    pub vni: u32,
    /// UDP port of the overlay.
    pub port: u16,
    /// The pod network, disjoint; at least one.
    pub cluster_cidrs: Vec<IpNetwork>,
    /// Whether peers that are neighbours on the underlay are routed to without encapsulation.
    pub direct_routing: bool,
    /// Prefix lengths of the blocks that nodes claim: IPv4, IPv6.
    pub block_sizes: [u8; 2],
    /// Whether the document says how large they are: then it is known that nodes claim, and are given no ranges.
    pub claims: bool,
    /// A node with fewer free addresses than one in so many claims another block.
    pub growth_share: u64,
    /// The CNI configuration list for each node, as it is written.
    pub conflist: Option<Map<String, Value>>,
}

impl ClusterNetwork {
    /// Reads and validates; `origin` is the file's path, for messages.
    pub fn parse(origin: &Path, bytes: &[u8]) -> Result<ClusterNetwork, Error> {
        let origin = origin.display().to_string();
        let raw: json::Object<raw::ClusterNetwork> = json::from_bytes(&origin, bytes)?;
        validated(raw.0).map_err(|broken| broken.in_document(origin))
    }

    /// Reads the file at `path`; an error with code 5 when that fails.
    pub fn load(path: &Path) -> Result<ClusterNetwork, Error> {
        let bytes =
            read_file(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        ClusterNetwork::parse(path, &bytes)
    }

    /// The prefix length of blocks in one of the network's ranges.
    pub fn block_size(&self, cluster_cidr: IpNetwork) -> u8 {
        let [ipv4, ipv6] = self.block_sizes;
        cluster_cidr.prefix().max(if cluster_cidr.is_ipv4() { ipv4 } else { ipv6 })
    }
}

fn validated(raw: raw::ClusterNetwork) -> Result<ClusterNetwork, Broken> {
    let raw::BlockSizes { ipv4, ipv6 } = raw.block_sizes;
    let size = |value, default, max, key| {
        number(value, default, (8, max), key).map_err(|broken| broken.under("blockSizes"))
    };
    Ok(ClusterNetwork {
        name: fields::name(raw.name.as_deref())?,
        vni: vni(raw.vni)?,
        port: port(raw.port)?,
        cluster_cidrs: cluster_cidrs(&raw.cluster_cidrs)?,
        direct_routing: raw.direct_routing.unwrap_or(false),
        claims: ipv4.is_some() || ipv6.is_some(),
        block_sizes: [size(ipv4, 24, 30, "ipv4")?, size(ipv6, 120, 127, "ipv6")?],
        growth_share: number(raw.growth_share, 8, (2, u8::MAX), "growthShare")?.into(),
        conflist: raw.conflist,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ClusterNetwork, String> {
        ClusterNetwork::parse(Path::new("n.json"), text.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_not_said_is_what_the_range_file_has() {
        let network = parse(r#"{"name":"pods","clusterCIDRs":["10.244.0.0/16","fd00::/124"]}"#);
        let network = network.unwrap();
        assert_eq!((network.vni, network.port, network.direct_routing), (4096, 4789, false));
        assert_eq!((network.block_sizes, network.growth_share), ([24, 120], 8));
        assert!(!network.claims);
        assert_eq!(network.conflist, None);
        let sizes = network.cluster_cidrs.iter().map(|cidr| network.block_size(*cidr));
        assert_eq!(sizes.collect::<Vec<_>>(), [24, 124], "no block is larger than its network");
    }

    #[test]
    fn all_of_it() {
        let text = r#"{"name":"pods","vni":7,"port":8472,"clusterCIDRs":["10.244.0.0/16"],
            "directRouting":true,"blockSizes":{"ipv4":26,"ipv6":112},"growthShare":4,
            "conflist":{"plugins":[]}}"#;
        let network = parse(text).unwrap();
        assert_eq!((network.vni, network.port, network.direct_routing), (7, 8472, true));
        assert_eq!((network.block_sizes, network.growth_share), ([26, 112], 4));
        assert!(network.claims);
        assert_eq!(Value::Object(network.conflist.unwrap()).to_string(), r#"{"plugins":[]}"#);
    }

    #[test]
    fn errors_name_the_key() {
        for (text, words) in [
            ("[]", "n.json: invalid type: sequence, expected an object at line 1 column 0"),
            ("{", "n.json: not valid JSON: EOF while parsing an object at line 1 column 1"),
            (r#"{"name":"pods"}"#, "n.json: missing field `clusterCIDRs` at line 1 column 15"),
            (
                r#"{"clusterCIDRs":["10.0.0.0/8"]}"#,
                "n.json: name: is missing; give the network a name",
            ),
            (
                r#"{"name":"../x","clusterCIDRs":["10.0.0.0/8"]}"#,
                r#"n.json: name: "../x" must begin with a letter or digit and hold only letters, digits, _, . and -"#,
            ),
            (
                r#"{"name":"a","clusterCIDRs":["10.0.0.0/8","10.1.0.0/16"]}"#,
                r#"n.json: clusterCIDRs[1]: "10.1.0.0/16" overlaps clusterCIDRs[0], "10.0.0.0/8""#,
            ),
            (
                r#"{"name":"a","clusterCIDRs":["10.0.0.0/8"],"blockSizes":{"ipv4":31}}"#,
                "n.json: blockSizes.ipv4: 31 is out of range; use 8 to 30",
            ),
            (
                r#"{"name":"a","clusterCIDRs":["10.0.0.0/8"],"growthShare":1}"#,
                "n.json: growthShare: 1 is out of range; use 2 to 255",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), words, "{text}");
        }
        let near = parse(r#"{"name":"a","clusterCIDRs":["10.0.0.0/8"],"blocksize":{}}"#);
        let near = near.unwrap_err();
        assert!(near.ends_with("did you mean blockSizes?"), "{near}");
    }
}
