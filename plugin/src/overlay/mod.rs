//! What stands for a network on this node: what should (`desired`), what does, and the difference
//! (`reconcile`), from the range file to the kernel (`site`).

pub mod agent;
pub mod apply;
pub mod dead_end;
pub mod desired;
pub mod fast_path;
pub mod forwarding;
pub mod gateway;
pub mod last_read;
pub mod lock;
pub mod mtu;
pub mod network_lock;
pub mod node_lock;
pub mod other_networks;
pub mod outlets;
pub mod own_addresses;
pub mod receiver;
pub mod reconcile;
pub mod retire;
pub mod site;
pub mod stamp;
pub mod underlay;
pub mod ways;
pub mod witness;
