//! What an IPAM plugin reads of a network configuration, as written. Keys that are not listed are
//! the main plugin's.

use serde::Deserialize;
use serde_json::Value;

use super::args::Args;

/// The network configuration of some main plugin.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(crate) struct IpamNetwork {
    pub(crate) name: Option<String>,
    /// An [`IpamSection`], read by itself, so that one wrong key of it spoils no other.
    pub(crate) ipam: Option<Value>,
    pub(crate) prev_result: Option<Value>,
    pub(crate) runtime_config: Option<IpamRuntimeConfig>,
    pub(crate) args: Option<Args>,
}

/// The section `ipam`: our own keys, and those of the reference plugin host-local.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(crate) struct IpamSection {
    pub(crate) range_file: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) state_dir: Option<String>,
    pub(crate) ranges: Option<Vec<Vec<IpamRange>>>,
    pub(crate) subnet: Option<String>,
    pub(crate) range_start: Option<String>,
    pub(crate) range_end: Option<String>,
    pub(crate) gateway: Option<String>,
    pub(crate) data_dir: Option<String>,
    pub(crate) routes: Option<Value>,
    pub(crate) resolv_conf: Option<String>,
}

/// A range in a range set.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct IpamRange {
    /// The subnet in CIDR notation.
    #[cfg_attr(feature = "schema", schemars(required, example = "10.244.1.128/25"))]
    pub(crate) subnet: Option<String>,
    /// The first address to give; the subnet's first where absent.
    #[cfg_attr(feature = "schema", schemars(example = "10.244.1.130"))]
    pub(crate) range_start: Option<String>,
    /// The last address to give; the subnet's last where absent.
    #[cfg_attr(feature = "schema", schemars(example = "10.244.1.140"))]
    pub(crate) range_end: Option<String>,
    /// Read by `flatnet-ipam` only; flatnet's gateway is always the node.
    #[cfg_attr(feature = "schema", schemars(example = "10.244.1.129"))]
    pub(crate) gateway: Option<String>,
}

/// What the runtime says for this attachment, by the capabilities `ips` and `ipRanges`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(crate) struct IpamRuntimeConfig {
    pub(crate) ips: Option<Vec<String>>,
    pub(crate) ip_ranges: Option<Vec<Vec<IpamRange>>>,
}
