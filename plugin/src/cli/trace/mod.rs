//! `flatnet trace POD DEST`: the way of a packet as this node would send it, station by station, and
//! where it ends. No packet is sent: the kernel is asked what it would do.

mod fast_path;
mod hop;
mod overlay;
mod pod;
mod stations;
mod walk;

use std::net::IpAddr;

use clap::Args;
use flatnet_ipam::Record;

use super::error::CommandError;
use super::look::Look;
use super::networks::Networks;
use super::output::Answer;
use walk::Walk;

/// The way of a packet from a pod of this node, station by station, and where it ends
///
/// Leases, routes, neighbours, FDB entries and packet filters are looked at, and the kernel is asked
/// what it would do; no packet is sent. Where nftables leads a Service's address elsewhere, it is followed
/// there, as far as the rules are understood. What is beyond this node is told as the range file says.
#[derive(Args)]
pub struct Command {
    /// The pod: namespace/name, name, an address, or the container's ID or its beginning
    #[arg(value_name = "POD")]
    pod: String,
    /// Where to: an address, or a pod of this node
    #[arg(value_name = "DEST")]
    to: String,
    #[command(flatten)]
    networks: Networks,
    /// A JSON document for scripts
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Traces; exit code 1 if the packet ends early.
    pub fn run(self) -> Result<Answer, CommandError> {
        let confs = self.networks.find()?;
        let mut looks = Vec::new();
        for conf in &confs {
            let failed = |error: crate::error::Error| {
                CommandError::Refused(format!(
                    "network {}: {error}; see `flatnet doctor`",
                    conf.name
                ))
            };
            let mut look = Look::at(conf).map_err(failed)?;
            let leases = look.attachments(conf).map_err(failed)?.leases;
            looks.push((conf, look, leases));
        }
        let all: Vec<Record> = looks.iter().flat_map(|(.., leases)| leases.clone()).collect();
        let from = pod::named(&all, &self.pod)?;
        let to = destination(&all, &from, &self.to)?;
        let mut walk = Walk::new(looks, &from, to, self.networks.command("sync"))?;
        let failed = |error: crate::error::Error| CommandError::Refused(error.to_string());
        Ok(walk.trace().map_err(failed)?.answer(self.json))
    }
}

/// The address that is meant: of a pod, one in a family that the other has too.
fn destination(leases: &[Record], from: &[&Record], word: &str) -> Result<IpAddr, CommandError> {
    if let Ok(address) = word.parse() {
        return Ok(address);
    }
    let own: Vec<_> = from.iter().flat_map(|lease| &lease.addresses).collect();
    let pod = pod::named(leases, word)?;
    let mut addresses = pod.iter().flat_map(|lease| &lease.addresses);
    let shared = addresses.find(|to| own.iter().any(|own| own.is_ipv4() == to.is_ipv4()));
    shared.copied().ok_or_else(|| {
        CommandError::Refused(format!("{word} has no address of a family that the first pod has"))
    })
}
