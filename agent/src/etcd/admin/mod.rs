//! `flatnet-agent etcd list`, `forget`, `check` and `import`: for people, from any machine that may ask etcd.

mod check;
#[cfg(test)]
mod fixture;
mod flannel;
mod forget;
mod found;
mod import;
mod lease;
mod list;
mod site;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use flatnet::cli::{self, Outcome};
use flatnet_conf::{ClusterNetwork, complain};
use tokio::runtime::Builder;

use super::access::Access;
use super::client::Client;
use super::keys::Keys;
use site::{Answer, Site};

/// What an administrator may want.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// The nodes of a network: where they are, their ranges, and when their agents were last heard of
    List {
        /// Where.
        #[command(flatten)]
        place: Place,
        /// A JSON document for scripts
        #[arg(long)]
        json: bool,
    },
    /// Takes a node out at once, instead of when its lease runs out
    ///
    /// Other nodes lose their way to its pods, and its ranges are free for others.
    Forget {
        /// Where.
        #[command(flatten)]
        place: Place,
        /// The node's name
        #[arg(value_name = "NAME")]
        node: String,
        /// Also a node whose agent was heard of lately
        #[arg(long)]
        force: bool,
    },
    /// What is inconsistent, with the command that mends it; exit code 1 if there is something
    Check {
        /// Where.
        #[command(flatten)]
        place: Place,
    },
    /// Nodes and ranges that there are already, so that agents go on with them
    ///
    /// From a range file, or from flannel's subnets in the same etcd. What is there already is left as it is; where
    /// it contradicts, nothing is written.
    Import {
        /// Where.
        #[command(flatten)]
        place: Place,
        /// The range file
        #[arg(value_name = "FILE", required_unless_present = "flannel")]
        file: Option<PathBuf>,
        /// flannel's subnets instead, below this prefix [default: /coreos.com/network]
        #[arg(long, value_name = "PREFIX", num_args = 0..=1, default_missing_value = "/coreos.com/network", conflicts_with = "file")]
        flannel: Option<String>,
        /// Names for the addresses of flannel's hosts, as /etc/hosts has them
        #[arg(long, value_name = "FILE", default_value = "/etc/hosts")]
        hosts: PathBuf,
    },
}

/// Which network, and where.
#[derive(Args, Clone, Debug)]
pub struct Place {
    #[command(flatten)]
    access: Access,
    /// What all nodes have in common: a JSON document with name and clusterCIDRs
    // Where the packages' agent has it: commands are printed without it.
    #[arg(long, value_name = "FILE", default_value = "/etc/flatnet/network.json")]
    network: PathBuf,
}

impl Command {
    /// Does it.
    pub fn run(&self) -> ExitCode {
        let printed = self.answer().and_then(|(text, outcome)| {
            cli::Answer { text, outcome }.print().map_err(|error| error.to_string())
        });
        let outcome = printed.unwrap_or_else(|error| {
            complain("flatnet-agent", &error);
            Outcome::Failed
        });
        ExitCode::from(outcome as u8)
    }

    fn answer(&self) -> Answer {
        let (Self::List { place, .. }
        | Self::Forget { place, .. }
        | Self::Check { place }
        | Self::Import { place, .. }) = self;
        let network = ClusterNetwork::load(&place.network).map_err(|e| e.to_string())?;
        let (client, keys) = (Client::new(place.access.members()?), Keys::of(&network.name));
        let site = Site { client, network, keys };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("there can be no runtime: {e}"))?;
        runtime.block_on(async {
            match self {
                Self::List { json, .. } => list::run(&site, *json).await,
                Self::Forget { node, force, .. } => forget::run(&site, node, *force).await,
                Self::Check { .. } => check::run(&site).await,
                Self::Import { file, flannel, hosts, .. } => {
                    import::run(&site, file.as_deref(), flannel.as_deref(), hosts).await
                }
            }
        })
    }
}
