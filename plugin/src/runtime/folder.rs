//! The configurations that a runtime has: files of a folder, some of which are flatnet's.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flatnet_conf::{NetworkConf, read_file};

/// Where runtimes have their configurations if they are not told otherwise.
pub const CONF_DIR: &str = "/etc/cni/net.d";

/// What to do about a file that is not flatnet's.
pub const LEFT_OUT: &str =
    "it was left out: correct it if it is of flatnet, else move it out of the folder";

/// A file that can be read as a configuration.
#[derive(Debug)]
pub struct Configuration {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its networks of flatnet; none in another program's.
    pub networks: Vec<NetworkConf>,
}

/// Why a folder or a file of it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a configuration, or breaks a rule.
    #[error(transparent)]
    Conf(#[from] flatnet_conf::Error),
    /// An earlier file has its network.
    #[error(transparent)]
    SameName(#[from] SameName),
}

/// A network's name in two files.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: {} has a network {name} already, and counts; give this one another name, or move one of the two \
     files out of the folder",
    path.display(),
    first.display()
)]
pub struct SameName {
    /// The name.
    pub name: String,
    /// The file that came first.
    pub first: PathBuf,
    /// The file that has it once more.
    pub path: PathBuf,
}

impl Error {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// What is wrong with a configuration file.
#[derive(Debug)]
pub struct Problem<E = Error> {
    /// What it is.
    pub error: E,
    /// Whether the file is flatnet's, or was named as such.
    pub ours: bool,
}

impl<E: fmt::Display> fmt::Display for Problem<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ours {
            true => self.error.fmt(f),
            false => write!(f, "{}; {LEFT_OUT}", self.error),
        }
    }
}

/// What a runtime takes for a configuration, by its name, in the order of the names.
///
/// # Errors
/// The folder cannot be listed.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::file("list", folder))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::file("list", folder))?.path();
        if path.extension().is_some_and(|end| end == "conflist" || end == "conf" || end == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads one of them.
///
/// # Errors
/// It cannot be read, or is wrong, which may be another program's trouble.
pub fn read(path: &Path) -> Result<Configuration, Problem> {
    let failed = |source| Problem { error: Error::file("read", path)(source), ours: false };
    let bytes = read_file(path).map_err(failed)?;
    match NetworkConf::parse_file(path, &bytes) {
        Ok(networks) => Ok(Configuration { bytes, networks }),
        Err(error) => Err(Problem { error: error.into(), ours: names_flatnet(&bytes) }),
    }
}

/// Reads each of a folder, as [`in_order`] does.
///
/// # Errors
/// The folder cannot be listed.
pub fn each(folder: &Path) -> Result<impl Iterator<Item = Result<Configuration, Problem>>, Error> {
    Ok(in_order(files(folder)?))
}

/// Reads each of these, as they are asked for. One that is wrong does not hide the others. Of those with one
/// network's name the first counts, as it does for a runtime.
pub fn in_order(files: Vec<PathBuf>) -> impl Iterator<Item = Result<Configuration, Problem>> {
    let mut first_of = HashMap::new();
    files.into_iter().map(move |path| {
        let configuration = read(&path)?;
        for network in &configuration.networks {
            let first: &PathBuf =
                first_of.entry(network.name.clone()).or_insert_with(|| path.clone());
            if *first != path {
                let (name, first) = (network.name.clone(), first.clone());
                return Err(Problem { error: SameName { name, first, path }.into(), ours: true });
            }
        }
        Ok(configuration)
    })
}

/// Whether a text that cannot be read as a configuration, in whatever encoding, has our plugin's name
/// in quotes.
fn names_flatnet(bytes: &[u8]) -> bool {
    const NAME: &[u8] = b"\"flatnet\"";
    let bytes: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    bytes.windows(NAME.len()).any(|part| part == NAME)
}
