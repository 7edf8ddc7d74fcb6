//! The network of a cluster as written.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What is the same for all nodes of a cluster, and no node's own: from it and from what the nodes say of
/// themselves flatnet-agent makes the range file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(title = "flatnet cluster network"))]
pub(crate) struct ClusterNetwork {
    /// The network's name: letters, digits, `_`, `.` and `-`, the first a letter or digit.
    #[cfg_attr(feature = "schema", schemars(required, example = &"pods"))]
    pub(crate) name: Option<String>,
    /// The VXLAN network identifier, as in the range file.
    #[cfg_attr(
        feature = "schema",
        schemars(range(min = 1, max = 16_777_215), extend("default" = 4096), example = 4097)
    )]
    pub(crate) vni: Option<u64>,
    /// The UDP port of the overlay, as in the range file.
    #[cfg_attr(
        feature = "schema",
        schemars(range(min = 1, max = 65_535), extend("default" = 4789), example = 8472)
    )]
    pub(crate) port: Option<u64>,
    /// The pod network in CIDR notation, disjoint, as in the range file: all blocks lie in it, and where
    /// nodes are given no ranges they claim them from it.
    #[serde(rename = "clusterCIDRs")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1), extend("examples" = [["10.244.0.0/16", "fd00:10:244::/56"]]))
    )]
    pub(crate) cluster_cidrs: Vec<String>,
    /// Whether neighbours on the underlay are routed to without encapsulation, as in the range file.
    #[cfg_attr(feature = "schema", schemars(extend("default" = false), example = true))]
    pub(crate) direct_routing: Option<bool>,
    /// How large the blocks are that a node claims. Where it is said, nodes claim at once; else one waits twenty
    /// seconds for its Node's podCIDRs first.
    #[serde(default)]
    pub(crate) block_sizes: BlockSizes,
    /// A node whose free addresses of a family are fewer than one in so many claims another block.
    #[cfg_attr(
        feature = "schema",
        schemars(range(min = 2, max = 255), extend("default" = 8), example = 4)
    )]
    pub(crate) growth_share: Option<u64>,
    /// The CNI configuration list that is put in place on each node as `10-NAME.conflist`. Its `name`, and
    /// `rangeFile` and `node` of the plugin `flatnet` in it, are filled in. Where absent, none is put in
    /// place.
    pub(crate) conflist: Option<Map<String, Value>>,
}

/// Prefix lengths of blocks.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct BlockSizes {
    /// The prefix length of a block of IPv4 addresses; that of the network in `clusterCIDRs` where it is
    /// longer.
    #[cfg_attr(
        feature = "schema",
        schemars(range(min = 8, max = 30), extend("default" = 24), example = 26)
    )]
    pub(crate) ipv4: Option<u64>,
    /// The prefix length of a block of IPv6 addresses; that of the network in `clusterCIDRs` where it is
    /// longer.
    #[cfg_attr(
        feature = "schema",
        schemars(range(min = 8, max = 127), extend("default" = 120), example = 112)
    )]
    pub(crate) ipv6: Option<u64>,
}
