//! `flatnet remove`: takes a network off this node.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::error::CommandError;
use super::output::{Answer, Outcome};
use crate::upkeep::remove;

/// Take a network off this node, with its device, routes, packet filter rules and leases
///
/// First its configuration, so that no runtime and no service brings it back; then the node's entry
/// in the range file, on every node; then this. Calls of a runtime that are under way are waited for. As
/// long as a running `flatnet sync --watch` keeps the network, which is what the service flatnet-sync does,
/// it is not removed, with --force neither: it would be back at once. The watch lets go of a network whose
/// configuration is gone.
#[derive(Args)]
pub struct Command {
    /// The network's name
    network: String,
    /// Where the leases are
    #[arg(long, value_name = "DIR", default_value = "/run/flatnet")]
    state_dir: PathBuf,
    /// Although the range file still lists this node. The other nodes go on sending pods' packets
    /// here and trusting this node's VTEP; any program here whose packets leave under that address
    /// can then send into their pods
    #[arg(long)]
    force: bool,
    /// A JSON document for scripts
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Does it. A network that is not there is a finding.
    pub fn run(self) -> Result<Answer, CommandError> {
        let Self { network, state_dir, force, json } = self;
        let removed = remove::run(&state_dir, &network, force)?;
        let devices: Vec<_> = removed.vnis.iter().map(|vni| format!("flat.{vni}")).collect();
        let there = !devices.is_empty() || !removed.nodes.is_empty();
        let outcome = if there { Outcome::Fine } else { Outcome::Finding };
        if json {
            let document =
                json!({ "network": network, "removed": devices, "nodes": removed.nodes });
            return Ok(Answer::json(&document, outcome));
        }
        let text = match there {
            true => format!(
                "{network}: removed {} from {}\n",
                devices.join(", "),
                removed.nodes.join(", ")
            ),
            false => format!("{network}: there is nothing of it on this node\n"),
        };
        Ok(Answer { text, outcome })
    }
}
