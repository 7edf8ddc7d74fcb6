//! Which network configuration is put in place, and what may stand in its way.

use std::path::Path;

use flatnet_conf::{NetworkConf, read_file};
use serde_json::Value;

use super::place::EXECUTABLES;
use crate::cli::error::CommandError;
use crate::cli::versions;
use crate::runtime::folder;

/// The network that is put in place if none is named: also an example for people.
const DEFAULT: (&str, &[u8]) =
    ("10-pods.conflist", include_bytes!("../../../../packaging/examples/10-pods.conflist"));

/// A configuration that holds a network of flatnet.
#[derive(Debug)]
pub struct Configuration {
    /// The name of its file.
    pub file: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// The network's name.
    pub network: String,
    /// What it says of each of flatnet's plugins in it; one in all but odd cases.
    pub networks: Vec<NetworkConf>,
    plugins: Vec<String>,
}

impl Configuration {
    /// The one of this file; else the one of flatnet that the folder has; else the default.
    pub fn choose(given: Option<&Path>, folder: &Path) -> Result<Self, CommandError> {
        if let Some(path) = given {
            return Self::read(path);
        }
        let has = neighbours(folder)?.into_iter().find(|file| file.plugins.iter().any(is_ours));
        match has {
            Some(file) => Self::read(&folder.join(file.name)),
            None => Self::parse(Path::new(DEFAULT.0), DEFAULT.1.to_vec()),
        }
    }

    fn read(path: &Path) -> Result<Self, CommandError> {
        Self::parse(path, read_file(path).map_err(CommandError::file("read", path))?)
    }

    /// One that is to be put in place under the name of this path.
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, CommandError> {
        let shown = path.display();
        let refused = |problem: &str| CommandError::Refused(format!("{shown}: {problem}"));
        let name = path.file_name().and_then(|name| name.to_str());
        let file = name
            .filter(|name| name.ends_with(".conflist"))
            .ok_or_else(|| refused("the name of a list of plugins must end in .conflist"))?;
        let networks = NetworkConf::parse_file(path, &bytes)?;
        let Some(network) = networks.first().map(|first| first.name.clone()) else {
            return Err(refused("none of its plugins is flatnet"));
        };
        let seen = Seen::parse(file, &bytes);
        if !seen.is_list {
            return Err(refused("has no list `plugins`, as a .conflist must"));
        }
        Ok(Self { file: file.to_owned(), network, networks, plugins: seen.plugins, bytes })
    }

    /// Refuses to replace another's file unless told to, and to give a network's name twice.
    pub fn judge(&self, folder: &Path, overwrite: bool) -> Result<(), CommandError> {
        for other in neighbours(folder)? {
            let same_network = other.network.as_ref() == Some(&self.network);
            let ours = same_network && other.plugins.iter().any(is_ours);
            let path = folder.join(&other.name);
            if other.name != self.file {
                if same_network {
                    return Err(CommandError::Refused(format!(
                        "{} has a network {} already; remove it, or give yours that file name",
                        path.display(),
                        self.network,
                    )));
                }
            } else if !(ours || overwrite) {
                return Err(CommandError::Refused(format!(
                    "{} is not network {} of flatnet; name your file otherwise, or replace that \
                     one with --overwrite",
                    path.display(),
                    self.network,
                )));
            }
        }
        Ok(())
    }

    /// What keeps a runtime from attaching pods with it.
    pub fn lacks(&self, path: &Path, bin_dir: &Path) -> Vec<String> {
        let found = versions::of_file(path, &self.bytes, &[bin_dir.to_owned()]).into_iter();
        found.map(|finding| finding.words()).collect()
    }

    /// What is missing of the chain, and what a runtime may do otherwise than expected.
    pub fn notes(&self, bin_dir: &Path, folder: &Path) -> Result<Vec<String>, CommandError> {
        let mut notes = Vec::new();
        if let Some(first) = neighbours(folder)?.first().filter(|first| first.name != self.file) {
            notes.push(format!(
                "{} comes first by name: a runtime that joins pods to one network takes that",
                folder.join(&first.name).display(),
            ));
        }
        let others = self.plugins.iter().filter(|name| !EXECUTABLES.contains(&name.as_str()));
        for plugin in others.filter(|plugin| !bin_dir.join(plugin).exists()) {
            let (plugin, bin) = (plugin.escape_default(), bin_dir.display());
            notes.push(format!("plugin {plugin} of the configuration is not in {bin}"));
        }
        notes.extend(NetworkConf::near_misses(&self.bytes));
        Ok(notes)
    }
}

fn is_ours(plugin: &String) -> bool {
    plugin == "flatnet"
}

/// A file in the folder of the configurations, by any program and with any content.
#[derive(Default)]
struct Seen {
    name: String,
    network: Option<String>,
    plugins: Vec<String>,
    is_list: bool,
}

impl Seen {
    fn parse(name: &str, bytes: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let plugins = value["plugins"].as_array();
        Self {
            name: name.to_owned(),
            network: text(&value["name"]),
            plugins: match plugins {
                Some(plugins) => plugins.iter().filter_map(|p| text(&p["type"])).collect(),
                None => text(&value["type"]).into_iter().collect(),
            },
            is_list: plugins.is_some(),
        }
    }
}

/// The folder's configurations in the order of their names; none if there is no folder.
fn neighbours(dir: &Path) -> Result<Vec<Seen>, CommandError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let files = folder::files(dir)?.into_iter();
    Ok(files
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            // An illegible one is another program's.
            Some(Seen::parse(&name, &read_file(&path).unwrap_or_default()))
        })
        .collect())
}

#[cfg(test)]
mod tests;
