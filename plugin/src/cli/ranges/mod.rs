//! `flatnet ranges`: writes a range file, or says what is wrong with one.

mod check;
mod init;
mod outside;

use std::path::PathBuf;

use clap::Subcommand;
use ipnetwork::IpNetwork;

use super::allot::{self, NodeAt};
use super::error::CommandError;
use super::output::Answer;

/// The commands on range files.
#[derive(Subcommand)]
pub enum Command {
    /// Write a range file: each node gets the next free subnet of each cluster CIDR
    Init {
        /// Network of all pods; repeat it for a second family, as in 10.244.0.0/16
        #[arg(long = "cluster-cidr", value_name = "CIDR", required = true)]
        cluster_cidrs: Vec<IpNetwork>,
        /// A node's name and its underlay address, as in node-a=192.168.50.1
        #[arg(long = "node", value_name = "NAME=VTEP", required = true, value_parser = allot::node_at)]
        nodes: Vec<NodeAt>,
        /// Prefix length of each node's subnet: up to 32 it is the IPv4 one, above the IPv6 one
        /// [default: 24 and 64]
        #[arg(long = "prefix", value_name = "LEN")]
        prefixes: Vec<u8>,
        /// Write to a new file instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Say what is wrong with a range file (exit code 1), or what is in it
    ///
    /// Warns of pods of this machine whose addresses are in none of their node's ranges any more.
    Check {
        /// The range file
        file: PathBuf,
        /// Where the leases are
        #[arg(long, value_name = "DIR", default_value = "/run/flatnet")]
        state_dir: PathBuf,
        /// A JSON document for scripts
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<Answer, CommandError> {
        match self {
            Self::Init { cluster_cidrs, nodes, prefixes, output } => {
                init::run(&cluster_cidrs, &nodes, &prefixes, output.as_deref())
            }
            Self::Check { file, state_dir, json } => check::run(&file, &state_dir, json),
        }
    }
}
