//! The calls of Docker's network driver: networks and endpoints.

use flatnet::endpoint::{Endpoints, Joined, Moving, Outcome, PublishedPort, Way};
use flatnet_conf::Mac;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::document::parse;
use crate::ipam::SPACE;

/// What `docker network create -o` asks for.
const OPTIONS: &str = "com.docker.network.generic";
const INTERNAL: &str = "com.docker.network.internal";
/// What `-p` asks for.
const PORTS: &str = "com.docker.network.portmap";

#[derive(Deserialize)]
struct CreateNetwork {
    #[serde(rename = "Options")]
    options: Option<Map<String, Value>>,
    #[serde(rename = "IPv4Data")]
    ipv4: Option<Vec<Pool>>,
    #[serde(rename = "IPv6Data")]
    ipv6: Option<Vec<Pool>>,
}

#[derive(Deserialize)]
struct Pool {
    #[serde(default, rename = "AddressSpace")]
    space: String,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "EndpointID")]
    id: String,
    #[serde(rename = "Interface")]
    interface: Option<Interface>,
    #[serde(default, rename = "SandboxKey")]
    sandbox: String,
    #[serde(rename = "Options")]
    options: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Interface {
    #[serde(default)]
    address: String,
    #[serde(default, rename = "AddressIPv6")]
    address_ipv6: String,
    #[serde(default)]
    mac_address: String,
}

/// As Docker's own types name it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    proto: u8,
    port: u16,
    #[serde(default)]
    host_port: u16,
    #[serde(default)]
    host_port_end: u16,
    #[serde(default, rename = "HostIP")]
    host_ip: String,
}

/// Serves a call; `None` if there is no such one.
pub fn call(name: &str, body: &[u8], endpoints: &Endpoints) -> Option<Outcome<Value>> {
    let done = |outcome: Outcome<()>| outcome.map(|()| json!({}));
    let endpoint = || parse::<Endpoint>(body);
    Some(match name {
        "GetCapabilities" => Ok(json!({ "Scope": "local", "ConnectivityScope": "global" })),
        "CreateNetwork" => done(parse(body).and_then(|call| create_network(&call))),
        // The network is this node's; Docker only knew it by another name.
        "DeleteNetwork" | "DiscoverNew" | "DiscoverDelete" => Ok(json!({})),
        "CreateEndpoint" => endpoint().and_then(|call| create_endpoint(&call, endpoints)),
        "DeleteEndpoint" => done(endpoint().and_then(|call| endpoints.remove(&call.id))),
        "EndpointOperInfo" => Ok(json!({ "Value": {} })),
        "Join" => endpoint().and_then(|call| join(&call, endpoints)),
        // The device goes with the container, or with the endpoint.
        "Leave" => Ok(json!({})),
        "ProgramExternalConnectivity" => {
            done(endpoint().and_then(|call| publish(&call, endpoints)))
        }
        "RevokeExternalConnectivity" => {
            done(endpoint().and_then(|call| endpoints.withdraw(&call.id)))
        }
        _ => return None,
    })
}

fn create_network(call: &CreateNetwork) -> Outcome<()> {
    let pools = || call.ipv4.iter().chain(&call.ipv6).flatten();
    if pools().next().is_none() || pools().any(|pool| pool.space != SPACE) {
        return Err("Docker would give addresses of its own: add --ipam-driver flatnet".to_owned());
    }
    let options = call.options.as_ref();
    if options.and_then(|options| options.get(INTERNAL)) == Some(&Value::Bool(true)) {
        return Err("--internal cannot be had: every network leads out of the node".to_owned());
    }
    let generic = options.and_then(|options| options.get(OPTIONS)).and_then(Value::as_object);
    match generic.and_then(|generic| generic.keys().next()) {
        Some(key) if key.ends_with("mtu") => Err(format!(
            "--opt {key} is said in the network's configuration, where the overlay's own does not suit: leave it out"
        )),
        Some(key) => Err(format!(
            "--opt {key} is unknown: what a network is, is said in its configuration and range file"
        )),
        None => Ok(()),
    }
}

fn create_endpoint(call: &Endpoint, endpoints: &Endpoints) -> Outcome<Value> {
    let interface = call.interface.as_ref().ok_or("the endpoint has no interface")?;
    let mac: Mac = interface.mac_address.parse().map_err(|e| format!("MAC: {e}"))?;
    let mut addresses = Vec::new();
    for text in [&interface.address, &interface.address_ipv6] {
        if let Some(bare) = text.split('/').next().filter(|bare| !bare.is_empty()) {
            addresses.push(bare.parse().map_err(|e| format!("address {text:?}: {e}"))?);
        }
    }
    endpoints.create(&call.id, mac, &addresses)?;
    // What Docker knows already it must not be told.
    Ok(json!({ "Interface": {} }))
}

fn join(call: &Endpoint, endpoints: &Endpoints) -> Outcome<Value> {
    let joined = endpoints.join(&call.id, &call.sandbox)?;
    let document = describe(&joined);
    follow(joined.moving);
    Ok(document)
}

/// Does the rest when Docker has moved the device.
pub fn follow(moving: Moving) {
    std::thread::spawn(move || {
        if let Err(problem) = moving.complete() {
            log::error!("{problem}");
        }
    });
}

fn describe(joined: &Joined) -> Value {
    let gateway = |ipv4| {
        let found = joined.gateways.iter().find(|gateway| gateway.is_ipv4() == ipv4);
        found.map(ToString::to_string).unwrap_or_default()
    };
    json!({
        "InterfaceName": { "SrcName": joined.device, "DstPrefix": "eth" },
        "Gateway": gateway(true),
        "GatewayIPv6": gateway(false),
        "StaticRoutes": joined.ways.iter().map(route).collect::<Vec<_>>(),
        // Else Docker adds a bridge of its own to each container.
        "DisableGatewayService": true,
    })
}

fn route(way: &Way) -> Value {
    const NEXT_HOP: u8 = 0;
    const ON_LINK: u8 = 1;
    match way.via {
        Some(via) => {
            json!({ "Destination": way.to.to_string(), "RouteType": NEXT_HOP, "NextHop": via })
        }
        None => json!({ "Destination": way.to.to_string(), "RouteType": ON_LINK }),
    }
}

fn publish(call: &Endpoint, endpoints: &Endpoints) -> Outcome<()> {
    let asked = call.options.as_ref().and_then(|options| options.get(PORTS)).cloned();
    let asked: Option<Vec<Binding>> = serde_json::from_value(asked.unwrap_or_default())
        .map_err(|e| format!("the ports are not what Docker sends: {e}"))?;
    let ports = asked.iter().flatten().map(Binding::port).collect::<Outcome<Vec<_>>>()?;
    if ports.is_empty() { Ok(()) } else { endpoints.publish(&call.id, &ports) }
}

impl Binding {
    fn port(&self) -> Outcome<PublishedPort> {
        let protocol = match self.proto {
            6 => "tcp",
            17 => "udp",
            132 => "sctp",
            other => return Err(format!("protocol {other} cannot be published")),
        };
        let Self { port: container, host_port: host, host_port_end: end, host_ip, .. } = self;
        if *host == 0 || !(*end == 0 || end == host) {
            return Err(format!("-p must name one port of the node: -p 8080:{container}, for one"));
        }
        Ok(PublishedPort { protocol, container: *container, host: *host, host_ip: host_ip.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_networks_with_our_addresses_are_made() {
        let judge = |call: Value| create_network(&serde_json::from_value(call).unwrap());
        let pool = |space: &str| json!([{ "AddressSpace": space, "Pool": "10.1.1.0/24" }]);
        let ours = json!({ "NetworkID": "n", "IPv4Data": pool(SPACE), "IPv6Data": null,
                           "Options": { "com.docker.network.enable_ipv6": false, OPTIONS: {} } });
        assert_eq!(judge(ours.clone()), Ok(()));
        for (key, value, words) in [
            ("IPv4Data", pool("LocalDefault"), "add --ipam-driver flatnet"),
            ("IPv4Data", Value::Null, "add --ipam-driver flatnet"),
            ("Options", json!({ INTERNAL: true }), "--internal cannot be had"),
            (
                "Options",
                json!({ OPTIONS: { "com.docker.network.driver.mtu": "1400" } }),
                "--opt com.docker.network.driver.mtu is said in the network's configuration",
            ),
            ("Options", json!({ OPTIONS: { "parent": "eth0" } }), "--opt parent is unknown"),
        ] {
            let mut call = ours.clone();
            call[key] = value;
            let problem = judge(call).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[test]
    fn a_port_is_published_where_it_is_named() {
        let port = |binding: Value| serde_json::from_value::<Binding>(binding).unwrap().port();
        let binding = json!({ "Proto": 17, "IP": "", "Port": 53, "HostIP": "192.0.2.1", "HostPort": 5353,
                              "HostPortEnd": 5353 });
        let expected = PublishedPort {
            protocol: "udp",
            container: 53,
            host: 5353,
            host_ip: "192.0.2.1".into(),
        };
        assert_eq!(port(binding), Ok(expected));
        for (host, end) in [(0, 0), (8000, 8010)] {
            let binding = json!({ "Proto": 6, "Port": 80, "HostPort": host, "HostPortEnd": end });
            assert!(port(binding).unwrap_err().contains("-p 8080:80"));
        }
    }
}
