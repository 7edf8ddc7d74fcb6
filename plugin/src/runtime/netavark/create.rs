//! Whether a network that podman is asked for can be one of flatnet's, and what podman is to know of it.

use serde_json::{Value, json};

use super::protocol::CONF;

/// The network as podman is to keep it: without addresses of podman's own, which would give them a second
/// time, and without its name server, which netavark does not run for plugins.
///
/// # Errors
/// It asks for what the network's configuration says, or what cannot be had; in words for who asked.
pub fn judge(mut network: Value) -> Result<Value, String> {
    let has = |key: &str| match network.get(key) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    };
    let configured = "is said in the network's configuration and range file: leave it out";
    for (key, option, why) in [
        ("subnets", "--subnet", configured),
        ("routes", "--route", configured),
        ("network_interface", "--interface-name", configured),
        ("internal", "--internal", "cannot be had: every network leads out of the node"),
        (
            "network_dns_servers",
            "--dns",
            "needs a name server of podman's, which plugins do not have",
        ),
    ] {
        if has(key) {
            return Err(format!("{option} {why}"));
        }
    }
    let driver = network["ipam_options"]["driver"].as_str();
    if let Some(driver) = driver.filter(|driver| !["", "none"].contains(driver)) {
        return Err(format!("--ipam-driver {driver}: flatnet gives the addresses; leave it out"));
    }
    for (key, value) in network["options"].as_object().into_iter().flatten() {
        let problem = match (key.as_str(), value.as_str()) {
            (CONF, Some(path)) if path.starts_with('/') => continue,
            ("mtu", _) => {
                "is said in the network's configuration, where the overlay's own does not suit: leave it out"
            }
            (CONF, _) => "must be the absolute path of a CNI configuration list",
            _ => "is unknown; the only option is conf=FILE, a CNI configuration list",
        };
        return Err(format!("option {key}={value}: {problem}"));
    }
    let Some(object) = network.as_object_mut() else {
        return Err("standard input is not what netavark sends: no object".to_owned());
    };
    object.insert("dns_enabled".into(), json!(false));
    object.insert("ipam_options".into(), json!({ "driver": "none" }));
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As podman 5.4 sends it.
    fn network(more: Value) -> Value {
        let mut network = json!({
            "name": "pods", "id": "2f25", "driver": "flatnet", "created": "0001-01-01T00:00:00Z",
            "ipv6_enabled": false, "internal": false, "dns_enabled": true,
        });
        let object = network.as_object_mut().unwrap();
        object.extend(more.as_object().unwrap().clone());
        network
    }

    #[test]
    fn podman_gives_no_address_and_no_name() {
        let judged = judge(network(json!({ "options": { "conf": "/etc/x.conflist" } }))).unwrap();
        let expected =
            network(json!({ "options": { "conf": "/etc/x.conflist" }, "dns_enabled": false,
            "ipam_options": { "driver": "none" } }));
        assert_eq!(judged, expected);
        assert!(judge(network(json!({ "ipam_options": { "driver": "" }, "subnets": [] }))).is_ok());
    }

    #[test]
    fn what_is_said_elsewhere_is_refused() {
        for (more, words) in [
            (json!({ "subnets": [{ "subnet": "10.1.0.0/16" }] }), "--subnet is said in"),
            (json!({ "internal": true }), "--internal cannot be had"),
            (json!({ "network_interface": "eth1" }), "--interface-name is said"),
            (json!({ "ipam_options": { "driver": "dhcp" } }), "--ipam-driver dhcp: flatnet gives"),
            (json!({ "options": { "mtu": "1400" } }), "option mtu=\"1400\": is said in"),
            (json!({ "options": { "vlan": "7" } }), "option vlan=\"7\": is unknown"),
            (json!({ "options": { "conf": "x" } }), "option conf=\"x\": must be the absolute path"),
        ] {
            let problem = judge(network(more)).unwrap_err();
            assert!(problem.starts_with(words), "{problem}");
        }
        assert!(judge(json!([])).is_err());
    }
}
