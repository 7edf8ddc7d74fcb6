//! What keys come to, from the first byte of a key to the range file, without an etcd: for who tries what anyone may
//! write there.

use flatnet_conf::{ClusterNetwork, RangeFile};

use super::keys::Keys;
use super::state::Objects;
use super::wire::KeyValue;
use crate::assemble::range_file;
use crate::judge::judge;

/// What an agent makes of the keys of its network.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// The range file; `None` if no node has a range.
    pub range_file: Option<RangeFile>,
    /// What is left out, and why, a line for each.
    pub left_out: Vec<String>,
}

/// Reads keys with their values in the order of their creation.
pub fn outcome<'a>(
    network: &ClusterNetwork,
    keys: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Outcome {
    let mut objects = Objects::none_of(&Keys::of(&network.name), "");
    for (create_revision, (key, value)) in (1..).zip(keys) {
        let (key, value, mod_revision) = (key.to_vec(), value.to_vec(), create_revision);
        objects.put(KeyValue { key, value, create_revision, mod_revision, lease: 0 });
    }
    let judged = judge(network, objects.cluster());
    Outcome {
        range_file: range_file(network, &judged, &|_| false),
        left_out: judged.rejected().map(ToString::to_string).collect(),
    }
}
