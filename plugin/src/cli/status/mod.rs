//! `flatnet status`: this node, network by network.

mod fast_path;
mod view;

use clap::Args;
use flatnet_conf::NetworkConf;
use serde_json::{Value, json};

use super::drift::Peers;
use super::error::CommandError;
use super::look::Look;
use super::networks::Networks;
use super::output::{Answer, Outcome, complain};
use super::usage;
use crate::attachment::outside;
use crate::cli::fingerprint::fingerprint;
use crate::identity::overlay_name;
use crate::kernel::Observe as _;
use crate::overlay::agent;
use crate::overlay::fast_path::Report;
use crate::overlay::mtu;
use crate::overlay::own_addresses;
use crate::overlay::underlay::Underlay;
use view::{Mtu, OverlayView, View};

/// This node, network by network: overlay, MTU and why, peers, ranges and how full they are, pods, fast path
#[derive(Args)]
pub struct Command {
    #[command(flatten)]
    networks: Networks,
    /// A JSON document for scripts
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Tells; exit code 1 if a network has drifted or a range is full.
    pub fn run(self) -> Result<Answer, CommandError> {
        let (networks, mut outcome) = self.networks.usable()?;
        let mut texts = Vec::new();
        let mut documents: Vec<Value> = Vec::new();
        for conf in &networks {
            match view(conf) {
                Ok(view) => {
                    outcome = outcome.max(view.outcome());
                    view.problems.iter().for_each(|problem| complain(problem));
                    texts.push(view.text());
                    documents.push(view.json());
                }
                Err(error) => {
                    outcome = Outcome::Failed;
                    complain(&format!("network {}: {error}", conf.name));
                    documents.push(json!({ "network": conf.name, "error": error.to_string() }));
                }
            }
        }
        match self.json {
            true => Ok(Answer::json(&json!({ "networks": documents }), outcome)),
            false => Ok(Answer { text: texts.join("\n"), outcome }),
        }
    }
}

fn view(conf: &NetworkConf) -> Result<View, crate::error::Error> {
    let mut look = Look::at(conf)?;
    let listing = look.attachments(conf)?;
    let Look { kernel, site, drift, .. } = &mut look;
    let (file, node) = (site.file(), &site.node);
    let underlay = Underlay::look(kernel, file, node)?;
    let mtu = mtu::decide(kernel, &underlay, node, conf.mtu)?;
    let uplink = match underlay.place.own {
        Some(index) => kernel.link_by_index(index)?.map(|link| link.dev.name),
        None => None,
    };
    let name = overlay_name(file.vni);
    let link = kernel.link(&name)?;
    let drifted = Peers::of(file, node).of_changes(drift.changes.changes());
    let held = listing.leases.iter().flat_map(|lease| lease.addresses.iter().copied()).collect();
    let mut problems = std::mem::take(&mut drift.problems);
    // Sync has told of those files that are no lease at all.
    problems.extend(listing.broken.iter().map(ToString::to_string));
    problems.sort();
    problems.dedup();
    problems.append(&mut drift.warnings);
    let waits = agent::waits(conf).into_iter();
    problems.extend(waits.map(|wait| format!("network {}: {wait}", conf.name)));
    let own: Vec<_> = node.ranges.iter().map(|range| range.subnet()).collect();
    problems.extend(own_addresses::within(kernel, &own)?.iter().map(|(address, dev)| {
        format!(
            "network {}: {dev} has {address} of this node's ranges: `flatnet doctor`",
            conf.name
        )
    }));
    problems.extend(outside::attachments(file, node, &listing.leases).iter().map(|outside| {
        format!("network {}: {}: {outside}: `flatnet doctor`", conf.name, outside.holder)
    }));
    let fast_path = Report::of(kernel, conf, file.vni)?;
    Ok(View {
        network: conf.name.clone(),
        node: node.name.clone(),
        vtep: node.vtep,
        uplink,
        vrf: underlay.place.vrf.map(|vrf| vrf.name),
        overlay: OverlayView {
            name,
            vni: file.vni,
            port: file.port,
            up: link.as_ref().map(|link| link.up),
        },
        mtu: Mtu {
            stands: link.map(|link| link.mtu),
            configured: conf.mtu,
            overhead: mtu.needed.overhead,
            decides: mtu.by,
        },
        file: fingerprint(file),
        peers: file.nodes.len().saturating_sub(1),
        drifted: drifted.into_iter().map(str::to_owned).collect(),
        changes: drift.count(),
        ranges: usage::of(&node.ranges, &held),
        pods: listing.leases.len(),
        fast_path,
        problems,
    })
}
