//! The range file as written. Texts are those of the file itself: ten thousand nodes have many.

use std::borrow::Cow;
use std::fmt;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::json::Object;

/// The nodes of a flatnet cluster and the addresses of their pods; the same file on every node.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(title = "flatnet range file"))]
pub(crate) struct RangeFile<'a> {
    /// The version of this format.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1), example = 1))]
    pub(crate) version: u64,
    /// The VXLAN network identifier. Each network of a node has one of its own; it names the overlay
    /// device (`flat.4096`).
    #[cfg_attr(
        feature = "schema",
        schemars(range(min = 1, max = 16_777_215), extend("default" = 4096), example = 4097)
    )]
    pub(crate) vni: Option<u64>,
    /// The UDP port of the overlay.
    #[cfg_attr(
        feature = "schema",
        schemars(range(min = 1, max = 65_535), extend("default" = 4789), example = 8472)
    )]
    pub(crate) port: Option<u64>,
    /// The pod network in CIDR notation, disjoint: what goes there is never masqueraded, ends on the
    /// sender's node where no pod or node has the address, and no other network of a node may have
    /// addresses of it. All ranges lie in it. Where absent, it is the ranges themselves; write it
    /// down, so that a node that joins changes nothing for the packet filter of the others.
    #[serde(rename = "clusterCIDRs")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1), extend("examples" = [["10.244.0.0/16", "fd00:10:244::/56"]]))
    )]
    pub(crate) cluster_cidrs: Option<Vec<String>>,
    /// Whether packets to a node on the same subnet of the underlay (no router before its VTEP) go
    /// as they are, by a route over the uplink; to all others they go through VXLAN. IPv6 pods over
    /// an IPv4 underlay, and IPv4 pods over an IPv6 one, go through VXLAN always.
    #[cfg_attr(feature = "schema", schemars(extend("default" = false), example = true))]
    pub(crate) direct_routing: Option<bool>,
    /// The nodes of the cluster. Their ranges do not overlap.
    #[serde(borrow, deserialize_with = "objects")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub(crate) nodes: Vec<Node<'a>>,
}

/// One node of the cluster.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct Node<'a> {
    /// Unique name, a DNS-1123 subdomain. Leases lie in a folder of this name.
    #[serde(borrow)]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253), example = "node-a"))]
    pub(crate) name: Cow<'a, str>,
    /// The node's address on the network between the nodes, IPv4 or IPv6, the same family on every
    /// node, unique. It may be on any device, the loopback among them.
    #[serde(borrow)]
    #[cfg_attr(feature = "schema", schemars(example = "192.168.50.1"))]
    pub(crate) vtep: Cow<'a, str>,
    /// The addresses of the node's pods, of either family or both: subnets in CIDR notation, or
    /// objects that give out a part of one. Pods get the addresses of a family's ranges in turn, each
    /// range after the one before it. The first address of the first range of each family is the
    /// node's own on the overlay; it and an IPv4 range's broadcast address are given to no pod.
    #[serde(borrow)]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1), extend("examples" = [["10.244.1.0/24", "fd00:10:244:1::/64"]]))
    )]
    pub(crate) ranges: Vec<Range<'a>>,
}

/// A range of pod addresses: a subnet in CIDR notation, or an object that gives out a part of it.
#[derive(Serialize)]
#[serde(untagged)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) enum Range<'a> {
    /// All of a subnet, in CIDR notation.
    Subnet(Cow<'a, str>),
    /// A part of a subnet.
    Object(RangeObject),
}

/// A part of a subnet.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct RangeObject {
    /// The subnet in CIDR notation.
    #[cfg_attr(feature = "schema", schemars(example = "10.244.1.0/24"))]
    pub(crate) subnet: String,
    /// The first address given to a pod; the subnet's first where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(example = "10.244.1.10"))]
    pub(crate) range_start: Option<String>,
    /// The last address given to a pod; the subnet's last where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(example = "10.244.1.200"))]
    pub(crate) range_end: Option<String>,
    /// Networks in CIDR notation inside the subnet whose addresses are not given to pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(
        feature = "schema",
        schemars(extend("default" = []), extend("examples" = [["10.244.1.64/28"]]))
    )]
    pub(crate) exclude: Vec<String>,
    /// Whether the range is held for the pods that live in it alone: the node has it, and gives no new pod an
    /// address of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false), example = true))]
    pub(crate) retiring: bool,
}

fn objects<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Node<'a>>, D::Error> {
    let nodes: Vec<Object<Node<'a>>> = Vec::deserialize(deserializer)?;
    Ok(nodes.into_iter().map(|node| node.0).collect())
}

/// By hand, because an untagged enum would forget where in the object an error is.
impl<'de: 'a, 'a> Deserialize<'de> for Range<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Range<'a>, D::Error> {
        deserializer.deserialize_any(RangeVisitor)
    }
}

struct RangeVisitor;

impl<'de> Visitor<'de> for RangeVisitor {
    type Value = Range<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a CIDR string, or an object with the key subnet")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Range<'de>, E> {
        Ok(Range::Subnet(text.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Range<'de>, E> {
        Ok(Range::Subnet(text.to_owned().into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Range<'de>, A::Error> {
        RangeObject::deserialize(MapAccessDeserializer::new(map)).map(Range::Object)
    }
}
