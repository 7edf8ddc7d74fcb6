//! `flatnet-docker`: a network and IPAM driver of Docker, by libnetwork's remote driver protocol (HTTP with JSON on a
//! socket in Docker's plugin folder). Each call is decided by `flatnet`'s own library.

mod answer;
pub mod cli;
mod document;
mod host;
mod ipam;
mod network;
mod serve;
mod socket;

pub use answer::{Answer, answer};
pub use cli::run;
