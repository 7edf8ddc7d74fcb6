//! A runtime's call: from environment and standard input to one document on standard output. The verbs of
//! the CNI specification have a file each.

mod add;
mod check;
mod del;
mod dispatch;
mod gc;
mod pod_netns;
mod request;
mod status;
mod summary;

pub use dispatch::call;
