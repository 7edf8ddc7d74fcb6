//! `flatnet lab`: several nodes as network namespaces on this machine, with pods that the plugin
//! attaches as it would for a runtime, and a matrix of who reaches whom.
//!
//! A lab lives in namespaces of its own (`ip netns`) and in one folder below `/run/flatnet-lab`.
//! The record in that folder names everything the lab may consist of and is written before the
//! first of it is made, so that `down` clears away whatever an `up` that died has left. Nothing in
//! the machine's own network namespace is touched.

mod addresses;
mod down;
mod folder;
mod interrupt;
mod matrix;
mod name;
mod namespace;
mod namespace_folder;
mod record;
mod report;
mod runtime;
mod underlay;
mod up;

use clap::{Args, Subcommand};

use super::error::CommandError;
use super::output::Answer;
use name::Name;

/// The commands on labs.
#[derive(Subcommand)]
pub enum Command {
    /// Build nodes on one underlay, with pods attached by this plugin
    Up {
        /// How many nodes
        #[arg(long, value_name = "N", default_value_t = 3)]
        nodes: usize,
        /// How many pods on each node
        #[arg(long, value_name = "M", default_value_t = 2)]
        pods: usize,
        #[command(flatten)]
        lab: Which,
        /// A JSON document for scripts: the namespaces of nodes and pods, and the pods' addresses
        #[arg(long)]
        json: bool,
    },
    /// Show who reaches whom, with round-trip times (exit code 1 if any pair is not reached)
    Matrix {
        #[command(flatten)]
        lab: Which,
        /// A JSON document for scripts
        #[arg(long)]
        json: bool,
    },
    /// Remove all of it (exit code 1 if there is no such lab)
    Down {
        #[command(flatten)]
        lab: Which,
    },
}

/// Which lab is meant.
#[derive(Args)]
pub struct Which {
    /// The lab's name, the first part of its namespaces' names; labs live side by side
    #[arg(long, default_value = "lab")]
    name: Name,
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<Answer, CommandError> {
        if !nix::unistd::geteuid().is_root() {
            let problem = "lab needs root: it makes network namespaces and devices in them";
            return Err(CommandError::Refused(problem.to_owned()));
        }
        match self {
            Self::Up { nodes, pods, lab, json } => up::run(&lab.name, nodes, pods, json),
            Self::Matrix { lab, json } => matrix::run(&lab.name, json),
            Self::Down { lab } => down::run(&lab.name),
        }
    }
}
