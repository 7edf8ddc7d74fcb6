//! What the files say, field by field and without any rule: the types that serde fills, and
//! that the JSON Schemas are made from. The modules of the same names turn them into what is meant.

mod args;
mod cluster_network;
mod ipam;
mod network;
mod range_file;

pub(crate) use args::{Args, CniArgs};
pub(crate) use cluster_network::{BlockSizes, ClusterNetwork};
pub(crate) use ipam::{IpamNetwork, IpamRange, IpamSection};
pub(crate) use network::{Dns, Ipam, Network, Route, RuntimeConfig, RuntimeDns};
pub(crate) use range_file::{Node, Range, RangeFile, RangeObject};
