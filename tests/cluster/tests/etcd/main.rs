//! Nodes without a Kubernetes: their agents go by an etcd of three members.

use std::time::Duration;

mod access;
mod administer;
mod advice;
mod beside;
mod certificates;
mod crowd;
mod documents;
mod faults;
mod flannel;
mod fleet;
mod lease;
mod overwritten;

/// For how long a flow goes on behind whatever was done.
const AFTER: Duration = Duration::from_millis(500);
