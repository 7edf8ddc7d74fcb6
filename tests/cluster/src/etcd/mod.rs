//! An etcd of three members on an underlay, and nodes whose agents go by it.

pub mod agents;
pub mod certificates;
pub mod members;
