//! The driver `flatnet` of netavark, which makes podman's networks: a link to the executable in one of its plugin
//! folders.

use std::path::{Path, PathBuf};

use super::place::{Done, link};
use crate::cli::error::CommandError;

/// Of the folders that podman looks in if it is not told otherwise, an administrator's own.
pub const FOLDER: &str = "/usr/local/libexec/netavark";
/// The driver's name, and therefore the link's.
const DRIVER: &str = "flatnet";

/// Puts it there.
///
/// # Errors
/// The link cannot be made.
pub fn put(folder: &Path, bin_dir: &Path) -> Result<(PathBuf, Done), CommandError> {
    let done = link(folder, DRIVER, &bin_dir.join(DRIVER))?;
    Ok((folder.join(DRIVER), done))
}

/// What is still to be done in podman.
pub fn next(network: &str) -> String {
    format!("podman 5 knows the network after `podman network create -d {DRIVER} {network}`")
}
