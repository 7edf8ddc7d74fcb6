//! `flatnet install`: the executables and a network configuration in the places where a runtime
//! looks for them.

mod configuration;
mod place;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::error::Error;
use super::output::{Answer, Outcome};
use configuration::Configuration;
use place::{Done, put};

/// The plugin, and the IPAM plugin that lies beside it.
const EXECUTABLES: [&str; 2] = ["flatnet", "flatnet-ipam"];

/// Put the plugin and a network configuration where the container runtime looks for them
///
/// Each file is replaced at once, by renaming; one that is as it should be stays untouched, so it
/// can be repeated. The configuration comes last: a runtime that sees it finds the plugin.
#[derive(Args)]
pub struct Command {
    /// Folder of the CNI plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    cni_bin_dir: PathBuf,
    /// Folder of the CNI configurations
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    conf_dir: PathBuf,
    /// The configuration, a .conflist file that keeps its name [default: network `pods` with the
    /// range file /etc/flatnet/pods.json, unless a network of flatnet is there]
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// Replace a configuration of somebody else that has the name of ours
    #[arg(long)]
    overwrite: bool,
    /// A JSON document for scripts
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<Answer, Error> {
        // Judged before the first file is written.
        let configuration = Configuration::choose(self.conf.as_deref(), &self.conf_dir)?;
        configuration.judge(&self.conf_dir, self.overwrite)?;
        let mut report = Report::default();
        for (name, bytes) in executables(&mut report)? {
            let done = put(&self.cni_bin_dir, name, &bytes, 0o755)?;
            report.executables.push((self.cni_bin_dir.join(name), done));
        }
        // Whoever may read it learns the addresses of the cluster and where its files are.
        let done = put(&self.conf_dir, &configuration.file, &configuration.bytes, 0o600)?;
        report.notes.extend(configuration.notes(&self.cni_bin_dir, &self.conf_dir)?);
        report.configuration = Some((self.conf_dir.join(&configuration.file), done));
        report.network = configuration.network;
        Ok(match self.json {
            true => Answer::json(&report.document(), Outcome::Fine),
            false => Answer::fine(report.words()),
        })
    }
}

/// This executable, and those that were built with it.
fn executables(report: &mut Report) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
    let own = env::current_exe()
        .map_err(Error::file("find the executable by", Path::new("/proc/self/exe")))?;
    let mut found = Vec::new();
    for name in EXECUTABLES {
        let path = if name == "flatnet" { own.clone() } else { own.with_file_name(name) };
        if name != "flatnet" && !path.exists() {
            report.notes.push(format!("{} is not there and was left out", path.display()));
            continue;
        }
        found.push((name, fs::read(&path).map_err(Error::file("read", &path))?));
    }
    Ok(found)
}

/// What was done, and what is still missing before a pod can start.
#[derive(Default)]
struct Report {
    executables: Vec<(PathBuf, Done)>,
    configuration: Option<(PathBuf, Done)>,
    network: String,
    notes: Vec<String>,
}

impl Report {
    /// For people.
    fn words(&self) -> String {
        let mut text = String::new();
        for (path, done) in &self.executables {
            text += &format!("{}: {}\n", path.display(), done.word());
        }
        if let Some((path, done)) = &self.configuration {
            text += &format!("{}: {}; network {}\n", path.display(), done.word(), self.network);
        }
        self.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
        text
    }

    /// For scripts.
    fn document(&self) -> Value {
        let file = |(path, done): &(PathBuf, Done)| json!({ "path": path, "action": done.word() });
        json!({
            "executables": self.executables.iter().map(file).collect::<Vec<_>>(),
            "configuration": self.configuration.as_ref().map(file),
            "network": self.network,
            "notes": self.notes,
        })
    }
}
