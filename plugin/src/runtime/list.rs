//! A network's list of plugins, found by the network's name.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::folder::{self, CONF_DIR, Configuration};
use crate::attachment::executable::Executable;

/// The plugin that publishes ports, if the file does not say.
const PORTMAP: &str = "portmap";

/// One plugin's entry, as it stands in the file.
pub type Plugin = Map<String, Value>;

/// A list with a network of flatnet in it.
#[derive(Debug)]
pub struct List {
    /// The network's name.
    pub name: String,
    /// `cniVersion`, if the file has one.
    pub version: Option<Value>,
    /// Its plugins, in order.
    pub plugins: Vec<Plugin>,
}

impl List {
    /// The list of this name: in `file`, else in the first file by name of the usual folder that has it.
    ///
    /// # Errors
    /// There is none, or it is wrong; in words for who named it.
    pub fn named(name: &str, file: Option<&Path>) -> Result<Self, String> {
        match file {
            Some(path) => {
                let file = folder::read(path).map_err(|problem| problem.error.to_string())?;
                let missing = || format!("{} has no network {name} of flatnet", path.display());
                Self::of(name, &file).ok_or_else(missing)
            }
            None => Self::in_folder(name, Path::new(CONF_DIR)),
        }
    }

    /// The list of this name in a folder.
    ///
    /// # Errors
    /// As [`List::named`].
    pub fn in_folder(name: &str, folder: &Path) -> Result<Self, String> {
        let mut wrong = None;
        for read in folder::each(folder).map_err(|e| e.to_string())? {
            match read.map(|file| Self::of(name, &file)) {
                Ok(Some(list)) => return Ok(list),
                Ok(None) => {}
                // It may be in the one that is wrong.
                Err(problem) => wrong = wrong.or(Some(problem)),
            }
        }
        let why = wrong.map(|problem| format!("; {problem}")).unwrap_or_default();
        let folder = folder.display();
        Err(format!("no configuration in {folder} has a network {name} of flatnet{why}"))
    }

    fn of(name: &str, file: &Configuration) -> Option<Self> {
        file.networks.iter().find(|network| network.name == name)?;
        // What has been read is an object.
        let mut list: Map<String, Value> = serde_json::from_slice(&file.bytes).ok()?;
        let version = list.get("cniVersion").cloned();
        let plugins = match list.remove("plugins") {
            Some(Value::Array(plugins)) => plugins.into_iter().filter_map(object).collect(),
            _ => vec![list],
        };
        Some(Self { name: name.to_owned(), version, plugins })
    }

    /// What a DEL can do without the file: flatnet's own attachment is known by its names alone, and so are ports that the
    /// usual plugin has published. Where that is not installed it has published none.
    pub fn lost(name: &str) -> Self {
        let portmap = Executable::find(PORTMAP, &folders())
            .map(|_| json!({ "type": PORTMAP, "capabilities": { "portMappings": true } }));
        let plugins = [json!({ "type": "flatnet" })].into_iter().chain(portmap);
        Self {
            name: name.to_owned(),
            // All releases of both know it.
            version: Some(json!("0.4.0")),
            plugins: plugins.filter_map(object).collect(),
        }
    }
}

fn object(value: Value) -> Option<Plugin> {
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// Where the plugins of a list may be, beside the folder that this executable is in.
pub fn folders() -> Vec<PathBuf> {
    let own = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    let usual = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"].map(PathBuf::from);
    own.into_iter().chain(usual).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_list_is_found_by_its_networks_name() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("05-cut.conflist", r#"{ "name": "pods", "plugins": [ { "type": "bridge" }, ] }"#);
        put("06-bridge.conflist", r#"{ "name": "web", "plugins": [ { "type": "bridge" } ] }"#);
        put("10-pods.conf", r#"{ "name": "pods", "type": "flatnet", "rangeFile": "/r.json" }"#);
        put(
            "20-web.conflist",
            r#"{ "cniVersion": "1.0.0", "name": "web", "plugins": [
                { "type": "flatnet", "rangeFile": "/w.json" }, { "type": "portmap" } ] }"#,
        );
        let web = List::in_folder("web", folder.path()).unwrap();
        let types: Vec<_> =
            web.plugins.iter().filter_map(|plugin| plugin["type"].as_str()).collect();
        assert_eq!((types, web.version), (vec!["flatnet", "portmap"], Some(json!("1.0.0"))));
        let pods = List::in_folder("pods", folder.path()).unwrap();
        assert_eq!((pods.plugins.len(), &pods.plugins[0]["rangeFile"]), (1, &json!("/r.json")));
        assert_eq!(pods.version, None);

        let none = List::in_folder("db", folder.path()).unwrap_err();
        assert!(
            none.contains("has a network db of flatnet; ") && none.contains("05-cut"),
            "{none}"
        );
        let file = folder.path().join("20-web.conflist");
        let other = List::named("pods", Some(&file)).unwrap_err();
        assert!(other.ends_with("20-web.conflist has no network pods of flatnet"), "{other}");
        assert!(List::named("web", Some(&file)).is_ok());
    }
}
