//! The network configuration that comes on standard input, validated.

mod document;
pub(crate) mod fields;
mod file;
mod parse;

pub(crate) use document::{invalid, open, read, version};

use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use crate::keys::{Keys, LEAF};
use crate::{AddResult, Dns, Mac, Range, Version};

/// How much is logged.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum LogLevel {
    /// What made a command fail.
    Error,
    /// And what an operator should look at.
    #[default]
    Warn,
    /// And what was done.
    Info,
    /// And why.
    Debug,
}

/// Which packets of established flows between pods pass the kernel's network stack by.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub enum FastPath {
    /// None.
    #[default]
    Off,
    /// Those that come to a pod's device or to the overlay's.
    On,
    /// On their way in already those that come to the uplink.
    Uplink,
}

/// What one network is to be, for one invocation.
#[derive(Clone, PartialEq, Debug)]
pub struct NetworkConf {
    /// `cniVersion`: the version that the answer is given in.
    pub cni_version: Version,
    /// `name`: letters, digits, `_`, `.` and `-`; any length.
    pub name: String,
    /// `rangeFile`, absolute; use [`NetworkConf::range_file`]. Present for all but DEL and GC.
    pub range_file: Option<PathBuf>,
    /// `ipam.type`: the executable that gives the addresses; `None` is the built-in one.
    pub ipam: Option<String>,
    /// `node`: this node's name in the range file, where it is not to be found out.
    pub node: Option<String>,
    /// `mtu` in bytes, 68 to 65535; `None` derives it from the underlay.
    pub mtu: Option<u32>,
    /// `ipMasq`: what leaves the cluster's networks takes the node's address, and what enters the overlay
    /// from outside takes the node's address on it.
    pub ip_masq: bool,
    /// `ipMasqNodes`: with `ip_masq`, also what pods send to other nodes' VTEPs.
    pub ip_masq_nodes: bool,
    /// `fastPath`.
    pub fast_path: FastPath,
    /// `routes`: destinations to route; `None` means a default route per family.
    pub routes: Option<Vec<IpNetwork>>,
    /// `stateDir`, absolute: where leases and locks are kept.
    pub state_dir: PathBuf,
    /// `logLevel`.
    pub log_level: LogLevel,
    /// `logFile`, absolute; `None` is standard error.
    pub log_file: Option<PathBuf>,
    /// `runtimeConfig.dns`, else `dns`, as it is to appear in the result.
    pub dns: Dns,
    /// `prevResult`: what the plugins before this one in the chain made.
    pub prev_result: Option<AddResult>,
    /// Addresses asked for: `runtimeConfig.ips`, else `args.cni.ips`, else `IP` of `CNI_ARGS`.
    pub requested_ips: Vec<IpAddr>,
    /// Ranges asked for, `runtimeConfig.ipRanges`: the addresses are to be of these parts of the
    /// node's ranges. Empty where the runtime does not care.
    pub ip_ranges: Vec<Range>,
    /// MAC asked for: `runtimeConfig.mac`, else `args.cni.mac`, else `MAC` of `CNI_ARGS`.
    pub mac: Option<Mac>,
    /// Whether the plugin bandwidth is to limit this pod, by `runtimeConfig.bandwidth`.
    pub is_shaped: bool,
    /// For GC: the attachments that the runtime knows, `cni.dev/valid-attachments`. An empty list
    /// (or null) says that there is none; `None` that the runtime did not say.
    pub valid_attachments: Option<Vec<AttachmentId>>,
}

/// What names an attachment within a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttachmentId {
    /// `containerID`.
    pub container_id: String,
    /// `ifname`.
    pub ifname: String,
}

/// Where a DEL looks for leases if it is not told, and everything else if nothing is said.
pub(crate) const DEFAULT_STATE_DIR: &str = "/run/flatnet";

/// All that an error's answer needs of a configuration.
pub(crate) const VERSION_KEY: Keys = Keys(&[("cniVersion", LEAF)]);

/// The key of the specification (section 4, GC), and the one that has been seen in its place.
pub(crate) const VALID_ATTACHMENTS: [&str; 2] =
    ["cni.dev/valid-attachments", "cni.dev/attachments"];

pub(crate) const ATTACHMENT: Keys = Keys(&[("containerID", LEAF), ("ifname", LEAF)]);

#[cfg(test)]
mod tests;
