//! The network configuration as written. Keys that are not listed are tolerated: the protocol
//! adds its own, and so do runtimes.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::args::Args;
use super::ipam::IpamRange;

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
    /// The version of the CNI protocol, one that the runtime speaks: 0.1.0 to 1.1.0.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "0.1.0"), example = "1.0.0"))]
    #[expect(dead_code, reason = "read before all else; here for the schema")]
    pub(crate) cni_version: Option<String>,
    /// The network's name: letters, digits, `_`, `.` and `-`, the first a letter or digit.
    #[cfg_attr(feature = "schema", schemars(required, example = &"pods"))]
    pub(crate) name: Option<String>,
    /// The plugin's executable: `flatnet`.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "schema", schemars(required, example = &"flatnet"))]
    pub(crate) kind: Option<String>,
    /// Absolute path of the range file.
    #[cfg_attr(feature = "schema", schemars(required, example = "/etc/flatnet/pods.json"))]
    pub(crate) range_file: Option<String>,
    /// This node's name in the range file. Where absent, it is the one node whose `vtep` is an
    /// address of this machine, else the one named as the host.
    #[cfg_attr(feature = "schema", schemars(example = "node-a"))]
    pub(crate) node: Option<String>,
    /// The MTU of pods and overlay, in bytes. Where absent, it is what the narrowest way to a peer
    /// carries (its device, or an `mtu` on the route), less 50 bytes of outer headers, or 70 over
    /// IPv6. More than the device of this node's VTEP carries is an error; less is for a hop in between
    /// that carries less than this node can see. IPv6 needs 1280. A peer whose way carries less than this,
    /// or than IPv6 needs, is told of and does not count.
    #[cfg_attr(feature = "schema", schemars(range(min = 68, max = 65_535), example = 1400))]
    pub(crate) mtu: Option<u64>,
    /// Whether what pods send out of the range file's `clusterCIDRs` takes the node's address, and what
    /// enters the overlay from outside takes the address that the node has there. Pods always see each
    /// other's own addresses. Multicast out of `clusterCIDRs` keeps the pod's address.
    #[cfg_attr(feature = "schema", schemars(extend("default" = false), example = true))]
    pub(crate) ip_masq: Option<bool>,
    /// Whether `ipMasq` also covers what pods send to other nodes' VTEPs. With `false` those nodes see the
    /// pod's own address, which needs: an underlay that delivers packets with pods' addresses (most
    /// clouds drop them), no strict reverse-path filter and no routing by source on any node, and this
    /// network standing on every node.
    #[cfg_attr(feature = "schema", schemars(extend("default" = true), example = false))]
    pub(crate) ip_masq_nodes: Option<bool>,
    /// Whether packets of established flows between pods take a shorter way, by BPF programs at the overlay's
    /// device and at the pods'; with `"uplink"` also at the devices by which other nodes' packets come in. Where
    /// the kernel or another program does not allow it, all goes the usual way.
    #[cfg_attr(
        feature = "schema",
        schemars(
            extend("type" = ["boolean", "string", "null"]),
            extend("enum" = [true, false, "uplink", null]),
            extend("default" = false),
            example = true
        )
    )]
    pub(crate) fast_path: Option<Value>,
    /// What the pod reaches through this network; a default route for each family where absent.
    /// For a pod's second network, which must not take the default route. The gateway is always the
    /// node; `gw` is an error.
    pub(crate) routes: Option<Vec<Route>>,
    /// Absolute path of the folder for leases and locks. It should be empty after a reboot, as the
    /// namespaces are.
    #[cfg_attr(
        feature = "schema",
        schemars(extend("default" = "/run/flatnet"), example = "/run/flatnet")
    )]
    pub(crate) state_dir: Option<String>,
    /// What is logged: with `info` also a line for each call of the runtime and for each change that
    /// `flatnet sync` makes, with `debug` also each message to the kernel as an `ip` command.
    #[cfg_attr(
        feature = "schema",
        schemars(
            extend("enum" = ["error", "warn", "info", "debug", null]),
            extend("default" = "warn"),
            example = &"debug"
        )
    )]
    pub(crate) log_level: Option<String>,
    /// Absolute path of the file to log to; where absent, lines go to standard error, and those of failed
    /// calls also to syslog, the journal or the kernel log. At 10 MB the file becomes
    /// `FILE.1`, in the place of an earlier one.
    #[cfg_attr(feature = "schema", schemars(example = "/var/log/flatnet.log"))]
    pub(crate) log_file: Option<String>,
    /// Who gives the addresses; flatnet itself where absent.
    pub(crate) ipam: Option<Ipam>,
    /// Name resolution, passed on in the result; flatnet itself resolves nothing.
    pub(crate) dns: Option<Dns>,
    /// Put in by the runtime: the result of the plugins before this one.
    pub(crate) prev_result: Option<Value>,
    /// Put in by the runtime: what it asks for with this pod, by `capabilities`.
    pub(crate) runtime_config: Option<RuntimeConfig>,
    /// What runtimes without capabilities ask for.
    pub(crate) args: Option<Args>,
}

/// A route of the pod; the next hop is always the node.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct Route {
    /// The destination in CIDR notation.
    #[cfg_attr(feature = "schema", schemars(example = "10.244.0.0/16"))]
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
    /// The IPAM plugin, an executable of that name in the runtime's folder (`CNI_PATH`), called by
    /// the CNI protocol; `flatnet-ipam` is built in. What else stands in `ipam` is for it. Its
    /// addresses must lie in the node's ranges.
    #[serde(rename = "type")]
    #[cfg_attr(
        feature = "schema",
        schemars(extend("default" = "flatnet-ipam"), example = "host-local")
    )]
    pub(crate) kind: Option<String>,
}

/// Name resolution.
#[derive(Default, Serialize, Deserialize)]
#[serde(expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct Dns {
    /// Addresses of name servers, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [["10.244.0.10"]])))]
    pub(crate) nameservers: Option<Vec<String>>,
    /// The local domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(example = "example.org"))]
    pub(crate) domain: Option<String>,
    /// Search domains, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [["example.org"]])))]
    pub(crate) search: Option<Vec<String>>,
    /// Options for the resolver.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [["ndots:2"]])))]
    pub(crate) options: Option<Vec<String>>,
}

/// What the runtime says for this attachment, by capability.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct RuntimeConfig {
    /// Addresses asked for, with or without prefix length (capability `ips`).
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [["10.244.1.77"]])))]
    pub(crate) ips: Option<Vec<String>>,
    /// Parts of the node's ranges from which the addresses are to be (capability `ipRanges`).
    pub(crate) ip_ranges: Option<Vec<Vec<IpamRange>>>,
    /// MAC address asked for (capability `mac`).
    #[cfg_attr(feature = "schema", schemars(example = "02:00:00:00:00:07"))]
    pub(crate) mac: Option<String>,
    /// Name resolution instead of the configured one (capability `dns`).
    pub(crate) dns: Option<RuntimeDns>,
    /// Limits that the plugin bandwidth is to keep (capability `bandwidth`): packets of such a pod take no fast
    /// path.
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub(crate) bandwidth: Option<Value>,
}

/// Name resolution as runtimes say it.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct RuntimeDns {
    /// Addresses of name servers, in order.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [["10.244.0.10"]])))]
    pub(crate) servers: Option<Vec<String>>,
    /// Search domains, in order.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [["example.org"]])))]
    pub(crate) searches: Option<Vec<String>>,
    /// Options for the resolver.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [["ndots:2"]])))]
    pub(crate) options: Option<Vec<String>>,
}
