//! The parts of the benchmark, what they share, and what the benchmark of large clusters has in common with them.

pub mod attach;
pub mod bars;
pub mod cni;
pub mod datapath;
pub mod extent;
pub mod fastpath;
pub mod measure;
pub mod pods;
pub mod process;
pub mod progress;
pub mod report;
pub mod scale;
pub mod scratch;
pub mod stats;
