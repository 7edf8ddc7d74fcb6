//! What flatnet reads and writes, without touching the system: the network configuration, the
//! range file, the network of a cluster, the CNI environment, and results and errors in every version
//! of the protocol.
//!
//! What was said (`raw`) is turned once into what it means; the types made here cannot hold a
//! broken rule, so nothing downstream checks again. Everything but [`read_file`],
//! [`RangeFile::load`], [`ClusterNetwork::load`] and [`complain`] is a pure function of its arguments.

mod address;
mod args;
mod call;
mod cluster_network;
mod complaint;
mod encoding;
mod error;
mod file;
mod invocation;
mod ipam;
mod json;
mod keys;
mod mac;
pub mod matters;
mod name;
mod near;
mod network;
mod one_line;
mod range;
mod range_file;
mod range_set;
mod raw;
mod reply;
mod result;
mod span;
mod version;
mod vtep_mac;
mod whoami;

pub use args::CniArgs;
pub use call::{Failure, Reply, call};
pub use cluster_network::ClusterNetwork;
pub use complaint::complain;
pub use error::{Code, Error};
pub use file::read_file;
pub use invocation::{Command, Invocation};
pub use ipam::{AddressSource, IpamConf};
pub use mac::Mac;
pub use name::node_name_problem;
pub use network::{AttachmentId, FastPath, LogLevel, NetworkConf};
pub use one_line::{one_line, printable};
pub use range::Range;
pub use range_file::rules::vtep as parse_vtep;
pub use range_file::{Node, RangeFile};
pub use range_set::{RangeSet, SetRange};
pub use reply::{error_json, reply_version, versions_json};
pub use result::{AddResult, Dns, Interface, IpConfig, Route};
pub use version::Version;
pub use vtep_mac::{peer_digest, vtep_mac};
pub use whoami::find_node;

#[cfg(feature = "schema")]
pub mod schema;
