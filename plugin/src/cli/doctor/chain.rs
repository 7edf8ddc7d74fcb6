//! The plugins that the configurations name, and the folders where runtimes look for them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use serde_json::Value;

use super::finding::Finding;

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

/// The executables that a configuration names, if flatnet is one of them: of its plugins and of
/// those that give their addresses. (CNI specification, section 1)
pub fn types(list: &Value) -> BTreeSet<String> {
    let plugins = match list.get("plugins").and_then(Value::as_array) {
        Some(plugins) => &plugins[..],
        None => std::slice::from_ref(list),
    };
    let kind = |of: &Value| of.get("type").and_then(Value::as_str).map(str::to_owned);
    let mut types: BTreeSet<String> = plugins.iter().filter_map(kind).collect();
    if !types.contains("flatnet") {
        return BTreeSet::new();
    }
    let ipams = plugins.iter().filter_map(|plugin| plugin.get("ipam"));
    types.extend(ipams.filter_map(kind));
    types
}

/// The executable of that name. One with a slash in it is no plugin's: libcni refuses it, and it would be
/// a path here.
pub fn find(kind: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let runs = |path: &PathBuf| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    let mut paths = folders.iter().map(|folder| folder.join(kind));
    paths.find(runs).filter(|_| !kind.contains('/'))
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
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_chain_with_flatnet_names_its_executables() {
        let list = serde_json::json!({ "plugins": [
            { "type": "flatnet", "ipam": { "type": "host-local" } }, { "type": "portmap" }, {},
        ] });
        assert_eq!(types(&list), ["flatnet", "host-local", "portmap"].map(String::from).into());
        assert_eq!(types(&serde_json::json!({ "type": "flatnet" })).len(), 1);
        assert_eq!(types(&serde_json::json!({ "type": "bridge" })).len(), 0);
        assert_eq!(types(&Value::Null).len(), 0);
    }

    #[test]
    fn only_an_executable_file_is_a_plugin() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [PathBuf::from("/nonexistent"), folder.path().to_owned()];
        let path = folder.path().join("portmap");
        assert_eq!(find("portmap", &folders), None);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("portmap", &folders), Some(path));
        assert_eq!(find("../portmap", &folders), None);
        assert_eq!(find("", &folders), None, "a folder is none");
    }

    #[test]
    fn flatnet_itself_is_installed_by_a_command() {
        let found = judge("flatnet", Path::new("/c"), &["/opt/cni/bin".into()]);
        match found.mend {
            super::super::finding::Mend::Run(run) => {
                assert!(run.ends_with(" /opt/cni/bin/flatnet"), "{run}");
            }
            other => panic!("{other:?}"),
        }
    }
}
