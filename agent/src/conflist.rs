//! The CNI configuration that is put in place: what the network's document has of it, with what only the agent
//! knows filled in.

use std::path::Path;

use flatnet_conf::{ClusterNetwork, Error, NetworkConf};
use serde_json::{Map, Value, json};

/// A configuration for this node.
#[derive(Clone, Debug)]
pub struct Conflist {
    /// The name of its file.
    pub file: String,
    /// Its text.
    pub text: String,
    /// What flatnet's plugin in it is told.
    pub conf: NetworkConf,
}

/// Fills it in, for the node of this name and this range file. `origin` is where the document was read, for
/// messages.
///
/// # Errors
/// What the plugin would say of it, or what contradicts the document or the agent's own arguments.
pub fn conflist(
    origin: &Path,
    network: &ClusterNetwork,
    node: &str,
    range_file: &Path,
) -> Result<Conflist, Error> {
    let invalid = |path: &str, problem: String| Error::Invalid {
        origin: origin.display().to_string(),
        path: format!("conflist{path}"),
        problem,
    };
    let mut list = network.conflist.clone().unwrap_or_else(usual);
    let name = list.entry("name").or_insert_with(|| json!(network.name));
    if *name != json!(network.name) {
        return Err(invalid(
            ".name",
            format!("{name} is not the network's name, {:?}", network.name),
        ));
    }
    list.entry("cniVersion").or_insert_with(|| json!("1.0.0"));
    let range_file = range_file.to_string_lossy();
    let mut ours = 0;
    let plugins = list.get_mut("plugins").and_then(Value::as_array_mut);
    for (index, plugin) in plugins.into_iter().flatten().enumerate() {
        let Some(plugin) = plugin.as_object_mut().filter(|plugin| is_ours(plugin)) else {
            continue;
        };
        ours += 1;
        for (key, value) in [("rangeFile", &*range_file), ("node", node)] {
            let said = plugin.entry(key).or_insert_with(|| json!(value));
            if *said != json!(value) {
                let problem = format!("{said} is not what the agent has, {value:?}; leave it out");
                return Err(invalid(&format!(".plugins[{index}].{key}"), problem));
            }
        }
    }
    if ours != 1 {
        let problem = format!("{ours} of its plugins are flatnet; one must be");
        return Err(invalid(".plugins", problem));
    }
    let text = format!("{:#}\n", Value::Object(list));
    let file = format!("10-{}.conflist", network.name);
    let networks = NetworkConf::parse_file(&origin.join("conflist"), text.as_bytes())?;
    let conf = networks.into_iter().next();
    let conf = conf.ok_or_else(|| invalid(".plugins", "none of them is flatnet".to_owned()))?;
    Ok(Conflist { file, text, conf })
}

fn is_ours(plugin: &Map<String, Value>) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some("flatnet")
}

/// As `flatnet install` has it.
fn usual() -> Map<String, Value> {
    let flatnet = json!({
        "type": "flatnet", "ipMasq": true, "capabilities": { "ips": true, "mac": true }
    });
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    [("plugins".to_owned(), json!([flatnet, portmap]))].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(list: &str) -> Result<Conflist, String> {
        let comma = if list.is_empty() { "" } else { r#","conflist":"# };
        let text = format!(r#"{{"name":"pods","clusterCIDRs":["10.1.0.0/16"]{comma}{list}}}"#);
        let origin = Path::new("/etc/n.json");
        let network = ClusterNetwork::parse(origin, text.as_bytes()).unwrap();
        conflist(origin, &network, "node-a", Path::new("/var/r.json")).map_err(|e| e.to_string())
    }

    #[test]
    fn what_only_the_agent_knows_is_filled_in() {
        let usual = filled("").unwrap();
        assert_eq!(usual.file, "10-pods.conflist");
        assert_eq!(usual.conf.range_file().unwrap(), Path::new("/var/r.json"));
        assert_eq!((usual.conf.node.as_deref(), usual.conf.ip_masq), (Some("node-a"), true));
        assert!(usual.text.contains("\"portmap\""), "{}", usual.text);

        let own = r#"{"cniVersion":"1.1.0","name":"pods","disableCheck":true,
            "plugins":[{"type":"x"},{"type":"flatnet","mtu":1400,"node":"node-a"}]}"#;
        let own = filled(own).unwrap();
        assert_eq!((own.conf.mtu, own.conf.ip_masq), (Some(1400), false));
        let text: Value = serde_json::from_str(&own.text).unwrap();
        assert_eq!(text["cniVersion"], "1.1.0");
        assert_eq!(text["disableCheck"], true);
        assert_eq!(text["plugins"][0], json!({ "type": "x" }), "others are left as they are");
    }

    #[test]
    fn what_contradicts_is_told() {
        for (list, words) in [
            (
                r#"{"name":"other","plugins":[{"type":"flatnet"}]}"#,
                r#"/etc/n.json: conflist.name: "other" is not the network's name, "pods""#,
            ),
            (
                r#"{"plugins":[{"type":"flatnet","rangeFile":"/etc/r.json"}]}"#,
                r#"/etc/n.json: conflist.plugins[0].rangeFile: "/etc/r.json" is not what the agent has, "/var/r.json"; leave it out"#,
            ),
            (
                r#"{"plugins":[{"type":"bridge"}]}"#,
                "/etc/n.json: conflist.plugins: 0 of its plugins are flatnet; one must be",
            ),
            (
                r#"{"plugins":[{"type":"flatnet","mtu":3}]}"#,
                "/etc/n.json/conflist: mtu: 3 is out of range",
            ),
        ] {
            let error = filled(list).unwrap_err();
            assert!(error.starts_with(words), "{error}");
        }
    }
}
