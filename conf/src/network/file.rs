//! Network configurations as an administrator writes them: a list with its plugins, or one plugin
//! alone, in a file of the runtime's configuration folder (`/etc/cni/net.d`).

use std::path::Path;

use serde_json::Value;

use super::parse::KEYS;
use super::{NetworkConf, document, invalid};
use crate::error::Broken;
use crate::json;
use crate::keys::{self, Keys, LEAF};
use crate::{CniArgs, Error, near};

const LIST: Keys = Keys(&[("cniVersion", LEAF), ("name", LEAF), ("plugins", KEYS)]);
/// The keys of a list itself.
const NAMES: Keys = Keys(&[("cniVersion", LEAF), ("name", LEAF), ("plugins", LEAF)]);
/// `type` of the plugins that are ours.
const TYPE: &str = "flatnet";

impl NetworkConf {
    /// Reads a configuration file: each of its plugins that is flatnet, as a runtime would hand it
    /// over (CNI specification, section 3, "Deriving runtime configuration"), but for what only a
    /// runtime knows. Nothing if none is.
    ///
    /// # Errors
    /// Code 6 if it is not JSON, 1 or 7 if a field breaks its rule; the message names the file.
    pub fn parse_file(path: &Path, bytes: &[u8]) -> Result<Vec<NetworkConf>, Error> {
        let origin = path.display().to_string();
        let object: json::Object<_> = json::from_bytes(&origin, bytes)?;
        let networks = of_list(Value::Object(object.0));
        networks.map_err(|error| match error {
            Error::Invalid { path, problem, .. } => Error::Invalid { origin, path, problem },
            Error::Version(problem) => Error::Version(format!("{origin}: {problem}")),
            other => other,
        })
    }

    /// The keys of a configuration file that are unknown and nearly one of ours, with what was
    /// probably meant: `plugins[0].rangefiles is unknown; did you mean rangeFile?` Nothing if none of
    /// its plugins is flatnet.
    pub fn near_misses(bytes: &[u8]) -> Vec<String> {
        let Ok(mut list) = serde_json::from_slice::<Value>(bytes) else { return Vec::new() };
        keys::fold_case(&mut list, &LIST);
        let plugins = list.get("plugins").and_then(Value::as_array);
        let mut found = Vec::new();
        let mut ours = false;
        for (index, plugin) in plugins.into_iter().flatten().enumerate().filter(|(_, p)| is_ours(p))
        {
            found.extend(near::misses(&format!("plugins[{index}]"), plugin, &KEYS));
            ours = true;
        }
        if plugins.is_none() && is_ours(&list) {
            found = near::misses("", &list, &KEYS);
        } else if ours {
            found.extend(near::misses("", &list, &NAMES));
        }
        found.iter().map(ToString::to_string).collect()
    }
}

fn is_ours(plugin: &Value) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some(TYPE)
}

fn of_list(mut list: Value) -> Result<Vec<NetworkConf>, Error> {
    keys::fold_case(&mut list, &LIST);
    let version = list.get("cniVersion").cloned();
    let name = list.get("name").cloned();
    let plugins = match list.get_mut("plugins").map(Value::take) {
        Some(Value::Array(plugins)) => plugins,
        Some(_) => return Err(invalid(Broken::new("is not a list").under("plugins"))),
        None => vec![list],
    };
    let ours = plugins.into_iter().filter(is_ours);
    ours.map(|mut plugin| {
        if let Some(plugin) = plugin.as_object_mut() {
            for (key, value) in [("name", &name), ("cniVersion", &version)] {
                if let Some(value) = value {
                    plugin.insert(key.to_owned(), value.clone());
                }
            }
        }
        keys::fold_case(&mut plugin, &KEYS);
        let version = document::version(plugin.get("cniVersion"))?;
        NetworkConf::validate(plugin, version, false, &CniArgs::default())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<NetworkConf>, Error> {
        NetworkConf::parse_file(Path::new("/etc/cni/net.d/10-pods.conflist"), text.as_bytes())
    }

    #[test]
    fn a_list_gives_its_plugins_name_and_version() {
        let text = r#"{ "cniVersion": "1.1.0", "name": "pods", "plugins": [
            { "type": "flatnet", "rangeFile": "/etc/flatnet/pods.json", "IPMasq": true },
            { "type": "portmap", "capabilities": { "portMappings": true } } ] }"#;
        let networks = parse(text).unwrap();
        assert_eq!(networks.len(), 1);
        assert_eq!((networks[0].name.as_str(), networks[0].ip_masq), ("pods", true));
        assert_eq!(networks[0].cni_version, crate::Version::V1_1_0);
    }

    #[test]
    fn one_plugin_alone_is_a_list_of_one() {
        let text = r#"{ "name": "pods", "type": "flatnet", "rangeFile": "/r.json" }"#;
        assert_eq!(parse(text).unwrap()[0].range_file().unwrap(), Path::new("/r.json"));
    }

    #[test]
    fn other_plugins_networks_are_none_of_ours() {
        assert_eq!(parse(r#"{ "name": "b", "type": "bridge", "bridge": 7 }"#).unwrap(), []);
        assert_eq!(
            parse(r#"{ "name": "b", "plugins": [ { "type": "bridge" }, 7 ] }"#).unwrap(),
            []
        );
    }

    #[test]
    fn errors_name_the_file() {
        for (text, words) in [
            ("{", "10-pods.conflist: not valid JSON"),
            (r#"{ "plugins": 7 }"#, "10-pods.conflist: plugins: is not a list"),
            (
                r#"{ "name": "pods", "plugins": [ { "type": "flatnet" } ] }"#,
                "10-pods.conflist: rangeFile: is missing",
            ),
            (
                r#"{ "cniVersion": "1.0", "type": "flatnet" }"#,
                "10-pods.conflist: cniVersion \"1.0\" is not supported",
            ),
            ("\u{feff}{}", "10-pods.conflist: not valid JSON: it begins with a byte-order mark"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_key_that_is_nearly_ours_is_told() {
        let misses = |text: &str| NetworkConf::near_misses(text.as_bytes());
        let list = r#"{ "cni-version": "1.0.0", "name": "pods", "plugins": [
            { "type": "portmap", "mtuu": 1 },
            { "type": "flatnet", "RangeFile": "/r.json", "ip_masq": true, "ipam": { "typ": "x" } } ] }"#;
        assert_eq!(
            misses(list),
            [
                "plugins[1].ip_masq is unknown; did you mean ipMasq?",
                "plugins[1].ipam.typ is unknown; did you mean type?",
                "cni-version is unknown; did you mean cniVersion?",
            ]
        );
        let alone = r#"{ "name": "pods", "type": "flatnet", "range_file": "/r.json" }"#;
        assert_eq!(misses(alone), ["range_file is unknown; did you mean rangeFile?"]);
        for other in [r#"{ "name": "b", "type": "bridge", "mtuu": 7 }"#, "[]", "{", "7"] {
            assert_eq!(misses(other), [""; 0], "{other}");
        }
    }
}
