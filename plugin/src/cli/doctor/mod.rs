//! `flatnet doctor`: what is wrong, why it matters, and what mends it.
//!
//! Each check has a file of its own: what it looks at, and apart from that how it judges.

mod agent;
mod bandwidth;
mod blockade;
mod chain;
mod checksum;
mod clash;
mod configuration;
mod drift;
mod duplicate;
mod fast_path;
mod full;
mod host;
mod inotify;
mod kernel;
mod keys;
mod kube_proxy;
mod managers;
mod namespaces;
mod outside;
mod own_addresses;
mod path_mtu;
mod peers;
mod receive_offload;
mod refusal;
mod report;
mod reverse_path;
mod scene;
mod shadow;
mod source;
mod state;
mod unleased;

use std::path::PathBuf;

use clap::Args;
use flatnet_conf::NetworkConf;

use super::error::CommandError;
use super::finding::Finding;
use super::networks::Networks;
use super::output::Answer;
use super::versions;
use crate::error::Error as PluginError;
use report::{DoctorReport, Section};
use scene::Scene;

/// Look for what keeps pods from talking: each finding with its reason and what mends it
///
/// Peers are asked by echo requests and by datagrams that they refuse, and the underlay by ARP whether
/// another host has this node's VTEP, and silent peers theirs; nothing is changed.
#[derive(Args)]
pub struct Command {
    #[command(flatten)]
    networks: Networks,
    /// Folder of the CNI plugins; may be repeated
    #[arg(long, value_name = "DIR", default_values = ["/opt/cni/bin", "/usr/lib/cni"])]
    cni_bin_dir: Vec<PathBuf>,
    /// A JSON document for scripts
    #[arg(long)]
    json: bool,
}

/// What a check of a network is called, and how it looks.
type Check = (&'static str, fn(&mut Scene<'_>) -> Result<Vec<Finding>, PluginError>);

const CHECKS: [Check; 17] = [
    ("kernel", kernel::check),
    ("clashes", clash::check),
    ("drift", drift::check),
    ("forward chains", blockade::check),
    ("addresses of others", own_addresses::check),
    ("routes of others", shadow::check),
    ("VTEP", duplicate::check),
    ("peers", peers::check),
    ("checksums", checksum::check),
    ("path MTU", path_mtu::check),
    ("receive offload", receive_offload::check),
    ("fast path", fast_path::check),
    ("ranges", full::check),
    ("pods", outside::check),
    ("leases", unleased::check),
    ("state folder", state::check),
    ("kube-proxy", kube_proxy::check),
];

impl Command {
    /// Checks everything; exit code 1 if there is a finding, 2 if something could not be looked at.
    pub fn run(self) -> Result<Answer, CommandError> {
        let mut report = DoctorReport::default();
        let mut host = Section::new("this node");
        let (networks, problems) = self.networks.look();
        host.found("configuration", problems.iter().map(configuration::unusable).collect());
        let files = self.networks.contents();
        host.found("keys", keys::check(&files));
        host.found("first configuration", agent::first(&files, &networks).into_iter().collect());
        host.found("CNI plugins", chain::check(&files, &self.cni_bin_dir));
        host.found("bandwidth", bandwidth::check(&files));
        host.found("CNI versions", versions::check(&files, &self.cni_bin_dir));
        host.record("network managers", managers::check(&self.networks.command("sync")));
        host.record("inotify", inotify::check());
        report.sections.push(host);
        for conf in &networks {
            report.sections.push(self.network(conf));
        }
        Ok(report.answer(self.json))
    }

    fn network(&self, conf: &NetworkConf) -> Section {
        let mut section = Section::new(format!("network {}", conf.name));
        section.found("cluster", agent::check(conf));
        let mut scene = match Scene::at(conf, self.networks.command("sync")) {
            Ok(scene) => scene,
            Err(error) => {
                match configuration::broken(conf, &error) {
                    Some(finding) => section.found("configuration", vec![finding]),
                    None => section.failed("configuration", &error),
                }
                return section;
            }
        };
        section.title = format!("network {} on {}", conf.name, scene.look.site.node.name);
        section.found("configuration", Vec::new());
        for (name, check) in CHECKS {
            section.record(name, check(&mut scene));
        }
        section
    }
}
