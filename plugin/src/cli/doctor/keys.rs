//! Keys of a configuration that are nearly one of ours. The protocol wants unknown keys tolerated, so a
//! misspelt one is a setting that is not made, and no call fails for it.

use std::path::PathBuf;

use flatnet_conf::NetworkConf;

use crate::cli::finding::Finding;

/// Looks at every configuration file that flatnet is in.
pub fn check(files: &[(PathBuf, Vec<u8>)]) -> Vec<Finding> {
    // A file that cannot be used is another finding.
    let usable = files.iter().filter(|(file, bytes)| NetworkConf::parse_file(file, bytes).is_ok());
    let findings = usable.flat_map(|(file, bytes)| {
        let file = file.display();
        NetworkConf::near_misses(bytes).into_iter().map(move |miss| {
            Finding::advise(
                format!("{file}: {miss}"),
                "unknown keys are passed over, as the protocol wants: the setting is not made",
                format!("correct the key in {file}, or take it out"),
            )
        })
    });
    findings.collect()
}
