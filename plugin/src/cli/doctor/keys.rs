//! Keys of a configuration that are nearly one of ours. The protocol wants unknown keys tolerated, so a
//! misspelt one is a setting that nobody makes, and no call fails for it.

use flatnet_conf::{NetworkConf, read_file};

use super::finding::Finding;
use crate::cli::error::Error;
use crate::cli::networks::Networks;

/// Looks at every configuration that flatnet is in.
pub fn check(networks: &Networks) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    // A file that cannot be used is another finding.
    for file in networks.files().unwrap_or_default() {
        let Ok(bytes) = read_file(&file) else { continue };
        if NetworkConf::parse_file(&file, &bytes).is_err() {
            continue;
        }
        let file = file.display();
        findings.extend(NetworkConf::near_misses(&bytes).into_iter().map(|miss| {
            Finding::advise(
                format!("{file}: {miss}"),
                "unknown keys are passed over, as the protocol wants: the setting is not made",
                format!("correct the key in {file}, or take it out"),
            )
        }));
    }
    Ok(findings)
}
