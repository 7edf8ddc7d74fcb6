//! `flatnet-agent`: writes the range file of a node from what its cluster says, and keeps the node as the
//! file says. The plugin needs none of it: ADD and DEL go on from the file while the agent or its source is
//! away.

mod aged;
mod agent;
mod assemble;
mod backoff;
mod books;
mod causes;
mod claims;
pub mod cli;
pub mod cluster;
mod conflist;
mod document;
mod done;
pub mod etcd;
#[cfg(test)]
mod fixture;
mod held;
mod http;
mod install;
mod judge;
mod keep;
pub mod kubernetes;
mod metrics;
mod patience;
mod publish;
mod rejected;
mod requests;
mod room;
pub mod source;
mod state;
mod tls;
mod told;
mod trouble;
mod turns;
mod usage;
mod watching;

pub use cli::run;
