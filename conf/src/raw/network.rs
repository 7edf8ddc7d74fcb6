//! The network configuration as written. Keys that are not listed are tolerated: the protocol
//! adds its own, and so do runtimes.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::IpamRange;

/// One flatnet network, as an entry of `plugins` in a CNI configuration list with `name` and
/// `cniVersion` of the list put in, which is how a runtime passes it on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
#[cfg_attr(
    feature = "schema",
    derive(JsonSchema),
    schemars(title = "flatnet network configuration")
)]
pub(crate) struct Network {
    /// The version of the CNI protocol; 0.1.0 where absent.
    #[expect(dead_code, reason = "read before all else; here for the schema")]
    pub(crate) cni_version: Option<String>,
    /// The network's name: letters, digits, `_`, `.` and `-`, the first a letter or digit.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub(crate) name: Option<String>,
    /// The plugin's executable: `flatnet`.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "schema", schemars(required))]
    pub(crate) kind: Option<String>,
    /// Absolute path of the range file.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub(crate) range_file: Option<String>,
    /// This node's name in the range file. Where absent, it is the node whose `vtep` is an
    /// address of this machine, else the one named as the host.
    pub(crate) node: Option<String>,
    /// MTU of the pods and the overlay in bytes; derived from the underlay where absent.
    #[cfg_attr(feature = "schema", schemars(range(min = 68, max = 65_535)))]
    pub(crate) mtu: Option<u64>,
    /// Masquerade what pods send out of the range file's `clusterCIDRs`; off where absent.
    pub(crate) ip_masq: Option<bool>,
    /// What the pod reaches through this network; everything where absent.
    pub(crate) routes: Option<Vec<Route>>,
    /// Absolute path of the folder for leases and locks; `/run/flatnet` where absent.
    pub(crate) state_dir: Option<String>,
    /// `error`, `warn`, `info` or `debug`; `warn` where absent.
    pub(crate) log_level: Option<String>,
    /// Absolute path of a file to log to, which becomes `FILE.1` at 10 MB; standard error where absent.
    pub(crate) log_file: Option<String>,
    /// Who gives the addresses; flatnet itself where absent.
    pub(crate) ipam: Option<Ipam>,
    /// Name resolution, passed on in the result.
    pub(crate) dns: Option<Dns>,
    /// Put in by the runtime: the result of the plugins before this one.
    pub(crate) prev_result: Option<Value>,
    /// Put in by the runtime, by `capabilities`.
    pub(crate) runtime_config: Option<RuntimeConfig>,
    /// Put in by the runtime.
    pub(crate) args: Option<Args>,
}

/// A route of the pod; the next hop is always the node.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct Route {
    /// The destination in CIDR notation.
    pub(crate) dst: String,
    /// Not allowed; read so that it can be refused.
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub(crate) gw: Option<String>,
}

/// Who gives the addresses.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct Ipam {
    /// The IPAM plugin, an executable in CNI_PATH; `flatnet-ipam` is built in. What else stands
    /// in `ipam` is for it.
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
}

/// Name resolution.
#[derive(Default, Serialize, Deserialize)]
#[serde(expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct Dns {
    /// Addresses of name servers, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nameservers: Option<Vec<String>>,
    /// The local domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) domain: Option<String>,
    /// Search domains, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) search: Option<Vec<String>>,
    /// Options for the resolver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) options: Option<Vec<String>>,
}

/// What the runtime says for this attachment, by capability.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct RuntimeConfig {
    /// Addresses asked for, with or without prefix length (capability `ips`).
    pub(crate) ips: Option<Vec<String>>,
    /// Parts of the node's ranges from which the addresses are to be (capability `ipRanges`).
    pub(crate) ip_ranges: Option<Vec<Vec<IpamRange>>>,
    /// MAC address asked for (capability `mac`).
    pub(crate) mac: Option<String>,
    /// Name resolution instead of the configured one (capability `dns`).
    pub(crate) dns: Option<RuntimeDns>,
}

/// Name resolution as runtimes say it.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct RuntimeDns {
    /// Addresses of name servers, in order.
    pub(crate) servers: Option<Vec<String>>,
    /// Search domains, in order.
    pub(crate) searches: Option<Vec<String>>,
    /// Options for the resolver.
    pub(crate) options: Option<Vec<String>>,
}

/// Arguments by the conventions of the CNI project.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct Args {
    /// Arguments for every plugin.
    pub(crate) cni: Option<CniArgs>,
}

/// Arguments for every plugin.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct CniArgs {
    /// Addresses asked for, with or without prefix length.
    pub(crate) ips: Option<Vec<String>>,
    /// MAC address asked for.
    pub(crate) mac: Option<String>,
}
