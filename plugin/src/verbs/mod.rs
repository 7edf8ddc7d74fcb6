//! The verbs of the CNI specification, one file each.

pub mod add;
pub mod check;
pub mod del;
pub mod gc;
mod pod_netns;
pub mod status;
