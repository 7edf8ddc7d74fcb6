//! What netavark sends a network driver: of a network that is accepted podman gives nothing itself, and what a container
//! asks for is bounded.

use std::path::Path;

use flatnet::runtime::netavark::{asked, judge};
use flatnet_conf::one_line;
use serde_json::{Value, json};

use crate::reply::assert_text;

/// A node has no more ports, of three protocols.
const MOST_PORTS: usize = 3 * 65_535;

/// The bytes as the input of `create`, and of `setup` and `teardown`.
pub fn netavark(data: &[u8]) {
    match judge(data) {
        Ok(network) => network_accepted(&network),
        Err(problem) => refused(&problem),
    }
    match asked(data) {
        Ok(asked) => container_accepted(&Value::from(asked)),
        Err(problem) => refused(&problem),
    }
}

/// As it is printed.
fn refused(problem: &str) {
    assert_ne!(problem, "", "an error without words");
    assert_text(&one_line(problem));
}

fn network_accepted(network: &Value) {
    assert_eq!(
        (&network["dns_enabled"], &network["ipam_options"]),
        (&json!(false), &json!({ "driver": "none" }))
    );
    for (key, value) in network["options"].as_object().into_iter().flatten() {
        let path = value.as_str().unwrap_or_default();
        assert!(key == "conf" && Path::new(path).is_absolute(), "{key}: {value}");
    }
    let text = network.to_string();
    assert_eq!(judge(text.as_bytes()).as_ref(), Ok(network), "what podman keeps it may ask for");
}

fn container_accepted(asked: &Value) {
    let ports = asked["portMappings"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(ports.len() <= MOST_PORTS, "{} ports", ports.len());
    for port in ports {
        let protocol = port["protocol"].as_str().unwrap_or_default();
        assert!(["tcp", "udp", "sctp"].contains(&protocol), "{port}");
        for key in ["hostPort", "containerPort"] {
            assert!(port[key].as_u64().is_some_and(|number| number <= 65_535), "{port}");
        }
    }
    for ip in asked["ips"].as_array().into_iter().flatten() {
        let ip = ip.as_str().unwrap_or_default();
        assert!(ip.parse::<std::net::IpAddr>().is_ok(), "{ip}");
    }
}
