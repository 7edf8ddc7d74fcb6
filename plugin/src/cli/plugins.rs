//! The plugins that a configuration names, and where they are.

use std::collections::BTreeSet;
use std::path::PathBuf;

use nix::unistd::{AccessFlags, access};
use serde_json::Value;

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
    let ipam = |plugin: &Value| {
        let name = plugin.get("ipam").and_then(kind)?;
        // That of flatnet is built in.
        (kind(plugin)? != "flatnet" || name != "flatnet-ipam").then_some(name)
    };
    types.extend(plugins.iter().filter_map(ipam));
    types
}

/// The executable of that name. One with a slash in it is no plugin's: libcni refuses it, and it would be
/// a path here.
pub fn find(kind: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let runs = |path: &PathBuf| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    let mut paths = folders.iter().map(|folder| folder.join(kind));
    paths.find(runs).filter(|_| !kind.contains('/'))
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
        let built_in = |kind| {
            let other = serde_json::json!({ "type": kind, "ipam": { "type": "flatnet-ipam" } });
            serde_json::json!({ "plugins": [{ "type": "flatnet" }, other] })
        };
        assert_eq!(types(&built_in("flatnet")).len(), 1);
        let named = ["bridge", "flatnet", "flatnet-ipam"].map(String::from);
        assert_eq!(types(&built_in("bridge")), named.into());
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
}
