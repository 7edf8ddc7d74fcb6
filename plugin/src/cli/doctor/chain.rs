//! The plugins that the configurations name, and the folders where runtimes look for them.

use std::path::{Path, PathBuf};

use crate::cli::finding::Finding;
use crate::cli::plugins::{find, types};

/// Looks for every plugin of every chain that flatnet is in; these are the configuration files.
pub fn check(files: &[(PathBuf, Vec<u8>)], folders: &[PathBuf]) -> Vec<Finding> {
    let missing = files.iter().flat_map(|(file, bytes)| {
        // Where it is no JSON the configuration is the finding.
        let list = serde_json::from_slice(bytes).unwrap_or_default();
        let missing = types(&list).into_iter().filter(|kind| find(kind, folders).is_none());
        missing.map(move |kind| judge(&kind, file, folders))
    });
    missing.collect()
}

fn judge(kind: &str, file: &Path, folders: &[PathBuf]) -> Finding {
    let file = file.display();
    let all: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let folder = folders.iter().find(|folder| folder.is_dir()).or(folders.first());
    let folder = folder.map(|folder| folder.display().to_string()).unwrap_or_default();
    let what = format!("the plugin {kind:?} that {file} names is not in {}", all.join(" or "));
    let why = "a runtime calls every plugin of a chain: no pod can be attached";
    match (kind, std::env::current_exe()) {
        ("flatnet", Ok(own)) => {
            Finding::run(what, why, format!("install -D -m 755 {} {folder}/flatnet", own.display()))
        }
        _ => Finding::advise(
            what,
            why,
            format!(
                "install it into {folder} (the reference plugins are Debian's package \
                 containernetworking-plugins), or take it out of {file}"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flatnet_itself_is_installed_by_a_command() {
        let found = judge("flatnet", Path::new("/c"), &["/opt/cni/bin".into()]);
        match found.mend {
            crate::cli::finding::Mend::Run(run) => {
                assert!(run.ends_with(" /opt/cni/bin/flatnet"), "{run}");
            }
            other => panic!("{other:?}"),
        }
    }
}
