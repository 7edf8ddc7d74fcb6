//! `flatnet install`: this machine becomes a node. The executables come first, then the overlay,
//! and the configuration last, because a runtime that sees it calls the node ready: the other nodes
//! send to it and trust it from then on, whether it has a pod or not.

mod configuration;
mod netavark;
mod network;
mod place;
mod report;
mod service;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::CommandError;
use super::output::{Answer, Outcome};
use crate::runtime::folder::CONF_DIR;
pub use configuration::Configuration;
use network::{Brought, bring_up};
use place::BIN_DIR;
pub use place::{Done, EXECUTABLES, put};
use report::InstallReport;
use service::Kept;

/// The driver of Docker's networks.
const DOCKER: &str = "flatnet-docker";

/// Make this machine a node: the plugin, its network, and the configuration for the container runtime
///
/// First the executables; then what `flatnet sync` makes in the kernel; the configuration last, so
/// that a runtime which sees it finds both; then the service that keeps the network, where systemd
/// runs and the folders are the usual ones. A network that cannot be brought up is an error, and the
/// configuration is not put in place. One whose range file is not there yet, or does not list this
/// node, is a finding (exit code 1): the rest is done, and the service brings it up when the file
/// lists the node. Each file is replaced at once, by renaming; what is as it should be stays
/// untouched, so it can be repeated.
#[derive(Args)]
pub struct Command {
    /// Folder of the CNI plugins
    #[arg(long, value_name = "DIR", default_value = BIN_DIR)]
    cni_bin_dir: PathBuf,
    /// Folder of the CNI configurations
    #[arg(long, value_name = "DIR", default_value = CONF_DIR)]
    conf_dir: PathBuf,
    /// The configuration, a .conflist file that keeps its name [default: network `pods` with the
    /// range file /etc/flatnet/pods.json, unless a network of flatnet is there]
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// Replace another program's configuration that has the name of ours
    #[arg(long)]
    overwrite: bool,
    /// Make the network one that podman 5 knows: the driver `flatnet` in a plugin folder of netavark
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true,
          default_missing_value = netavark::FOLDER)]
    podman: Option<PathBuf>,
    /// Make the network one that Docker knows: the driver `flatnet`, and where systemd runs the socket that
    /// starts it
    #[arg(long)]
    docker: bool,
    /// A JSON document for scripts
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<Answer, CommandError> {
        // Judged before the first file is written.
        let configuration = Configuration::choose(self.conf.as_deref(), &self.conf_dir)?;
        configuration.judge(&self.conf_dir, self.overwrite)?;
        let mut report =
            InstallReport { network: configuration.network.clone(), ..InstallReport::default() };
        for (name, bytes) in executables(self.docker, &mut report)? {
            let done = put(&self.cni_bin_dir, name, &bytes, 0o755)?;
            report.executables.push((self.cni_bin_dir.join(name), done));
        }
        let path = self.conf_dir.join(&configuration.file);
        for conf in &configuration.networks {
            match bring_up(conf, &path)? {
                Brought::Up { summary, problems } => {
                    report.overlays.push(summary);
                    report.lacks.extend(problems);
                }
                Brought::Awaited(what) => report.lacks.push(what),
            }
        }
        // A reader learns the addresses of the cluster and where its files are.
        let done = put(&self.conf_dir, &configuration.file, &configuration.bytes, 0o600)?;
        report.notes.extend(configuration.notes(&self.cni_bin_dir, &self.conf_dir)?);
        report.lacks.extend(configuration.lacks(&path, &self.cni_bin_dir));
        report.configuration = Some((path, done));
        if self.docker {
            let driver = self.cni_bin_dir.join(DOCKER);
            let driver = report.executables.iter().find(|(path, _)| *path == driver);
            let renewed = driver.is_some_and(|(_, done)| *done == Done::Replaced);
            match service::serve_docker(&self.cni_bin_dir, &self.conf_dir, renewed)? {
                Kept::ByUnit(path, done) => report.drivers.push((path, done)),
                Kept::ByOthers(note) => report.notes.push(note),
                Kept::Not(problem) => report.lacks.push(problem),
            }
            report.notes.push(format!(
                "Docker knows the network after `docker network create -d flatnet --ipam-driver flatnet \
                 --subnet CLUSTER-CIDR {}`",
                report.network
            ));
        }
        if let Some(folder) = &self.podman {
            report.drivers.push(netavark::put(folder, &self.cni_bin_dir)?);
            report.notes.push(netavark::next(&report.network));
        }
        let renewed = report.executables.iter().any(|(_, done)| *done == Done::Replaced);
        match service::keep(&self.cni_bin_dir, &self.conf_dir, renewed)? {
            Kept::ByUnit(path, done) => report.service = Some((path, done)),
            Kept::ByOthers(note) => report.notes.push(note),
            Kept::Not(problem) => report.lacks.push(problem),
        }
        let outcome = if report.lacks.is_empty() { Outcome::Fine } else { Outcome::Finding };
        Ok(match self.json {
            true => Answer::json(&report.document(), outcome),
            false => Answer { text: report.words(), outcome },
        })
    }
}

/// This executable, and those that were built with it.
fn executables(
    docker: bool,
    report: &mut InstallReport,
) -> Result<Vec<(&'static str, Vec<u8>)>, CommandError> {
    let own = env::current_exe()
        .map_err(CommandError::file("find the executable by", Path::new("/proc/self/exe")))?;
    let mut found = Vec::new();
    for name in EXECUTABLES.into_iter().chain(docker.then_some(DOCKER)) {
        let path = if name == "flatnet" { own.clone() } else { own.with_file_name(name) };
        if name != "flatnet" && !path.exists() {
            report.notes.push(format!("{} is not there and was left out", path.display()));
            continue;
        }
        found.push((name, fs::read(&path).map_err(CommandError::file("read", &path))?));
    }
    Ok(found)
}
