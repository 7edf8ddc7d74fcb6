//! `flatnet probe`: round trips from this node, and from its pods, to every node.

mod report;
mod shade;
mod svg;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use flatnet_conf::NetworkConf;
use serde_json::json;

use super::ask::{Question, TIMEOUT};
use super::error::CommandError;
use super::networks::Networks;
use super::output::{Answer, Outcome, columns, complain};
use super::pod_name::pod_name;
use crate::error::Error as PluginError;
use crate::kernel::Netlink;
use crate::kernel::netns::Netns;
use crate::overlay::site::Site;
use flatnet_ipam::Leases;
use report::{ProbeReport, Sender, Target};

/// Round trips over the overlay to every node: from this node, and with --pods from each of its pods
///
/// Each node is asked by echo requests at its own addresses in the network; its best answer of
/// three counts.
#[derive(Args)]
pub struct Command {
    #[command(flatten)]
    networks: Networks,
    /// Ask from each pod of this node, too
    #[arg(long)]
    pods: bool,
    /// Write a heat map to this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// A JSON document for scripts
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Probes; exit code 1 if a node or pod does not answer.
    pub fn run(self) -> Result<Answer, CommandError> {
        let mut outcome = Outcome::Fine;
        let (mut reports, mut documents) = (Vec::new(), Vec::new());
        for conf in &self.networks.find()? {
            match probe(conf, self.pods) {
                Ok(report) => {
                    let fine = if report.is_complete() { Outcome::Fine } else { Outcome::Finding };
                    outcome = outcome.max(fine);
                    documents.push(report.json());
                    reports.push(report);
                }
                Err(error) => {
                    outcome = Outcome::Failed;
                    complain(&format!("network {}: {error}", conf.name));
                    documents.push(json!({ "network": conf.name, "error": error.to_string() }));
                }
            }
        }
        if let Some(path) = &self.svg {
            fs::write(path, svg::draw(&reports)).map_err(CommandError::file("write", path))?;
        }
        match self.json {
            true => Ok(Answer::json(&json!({ "networks": documents }), outcome)),
            false => {
                let within = columns();
                let texts: Vec<_> = reports.iter().map(|report| report.text(within)).collect();
                Ok(Answer { text: texts.join("\n"), outcome })
            }
        }
    }
}

fn probe(conf: &NetworkConf, pods: bool) -> Result<ProbeReport, PluginError> {
    let mut kernel = Netlink::open()?;
    let own = kernel.netns().inode()?;
    let site = Site::find(&mut kernel, conf)?;
    let targets: Vec<Target> = site
        .file()
        .nodes
        .iter()
        .flat_map(|node| node.vtep_addresses().into_iter().map(|ip| (node.name.clone(), ip)))
        .map(|(node, address)| Target { node, address })
        .collect();
    let mut sources = vec![(site.node.name.clone(), site.node.vtep_addresses(), Netns::own()?)];
    if pods {
        sources.extend(pods_of(conf, &site.node.name, own)?);
    }

    // One after the other asks, so that nothing but the network is timed; for late answers, which
    // are mostly none, all wait together.
    let mut asked = Vec::new();
    for (name, addresses, netns) in sources {
        let of_family = |to: &IpAddr| addresses.iter().any(|own| own.is_ipv4() == to.is_ipv4());
        let to: Vec<IpAddr> =
            targets.iter().map(|target| target.address).filter(of_family).collect();
        let question = netns.run(|| Question::put(&to, None))??;
        asked.push((name, to, question));
    }
    let deadline = Instant::now() + TIMEOUT;
    let mut report = ProbeReport {
        network: conf.name.clone(),
        node: site.node.name.clone(),
        targets,
        sources: Vec::new(),
    };
    for (name, asked, question) in asked {
        report.sources.push(Sender { name, asked, answers: question.answers(deadline)? });
    }
    Ok(report)
}

/// The living pods of this node: names, addresses and namespaces.
fn pods_of(
    conf: &NetworkConf,
    node: &str,
    own: u64,
) -> Result<Vec<(String, Vec<IpAddr>, Netns)>, PluginError> {
    let Some(leases) = Leases::existing(&conf.state_dir, &conf.name, node)? else {
        return Ok(Vec::new());
    };
    let mut pods = Vec::new();
    for lease in leases.list()?.leases {
        let holder = &lease.attachment;
        let sandbox = holder.sandbox.as_deref().unwrap_or_default();
        if holder.netns != own || holder.is_delegated() {
            continue;
        }
        if let Some(netns) = Netns::open(Path::new(sandbox))? {
            pods.push((pod_name(holder), lease.addresses.clone(), netns));
        }
    }
    pods.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(pods)
}
