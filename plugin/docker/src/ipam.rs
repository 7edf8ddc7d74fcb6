//! The calls of Docker's IPAM driver: pools and addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use flatnet::endpoint::{Endpoints, Outcome, gateway_of};
use flatnet_conf::Mac;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::document::parse;

/// What Docker calls the place that our pools are in.
pub const SPACE: &str = "flatnet";
/// An option of the pool: which network.
const NETWORK: &str = "network";
/// An option of the address: the MAC of the interface.
const MAC: &str = "com.docker.network.endpoint.macaddress";
/// An answer to the pool: its gateway.
const GATEWAY: &str = "com.docker.network.gateway";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RequestPool {
    #[serde(default)]
    pool: String,
    #[serde(default)]
    sub_pool: String,
    options: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "V6")]
    v6: bool,
}

#[derive(Deserialize)]
struct Address {
    #[serde(rename = "PoolID")]
    pool: String,
    #[serde(default, rename = "Address")]
    address: String,
    #[serde(rename = "Options")]
    options: Option<BTreeMap<String, String>>,
}

/// Serves a call; `None` if there is no such one.
pub fn call(name: &str, body: &[u8], endpoints: &Endpoints) -> Option<Outcome<Value>> {
    Some(match name {
        "GetCapabilities" => {
            Ok(json!({ "RequiresMACAddress": true, "RequiresRequestReplay": false }))
        }
        "GetDefaultAddressSpaces" => Ok(json!({
            "LocalDefaultAddressSpace": SPACE, "GlobalDefaultAddressSpace": SPACE,
        })),
        "RequestPool" => parse(body).and_then(|call| request_pool(&call, endpoints)),
        // It is the node's as long as the range file says so.
        "ReleasePool" => Ok(json!({})),
        "RequestAddress" => parse(body).and_then(|call| request_address(&call, endpoints)),
        "ReleaseAddress" => parse(body).and_then(|call| release_address(&call, endpoints)),
        _ => return None,
    })
}

fn request_pool(call: &RequestPool, endpoints: &Endpoints) -> Outcome<Value> {
    if !call.sub_pool.is_empty() {
        return Err("--ip-range is said in the range file: leave it out".to_owned());
    }
    let mut named = None;
    for (key, value) in call.options.iter().flatten() {
        match key.as_str() {
            NETWORK => named = Some(value.as_str()),
            _ => {
                return Err(format!(
                    "--ipam-opt {key} is unknown; the only option is {NETWORK}=NAME"
                ));
            }
        }
    }
    let subnet = match call.pool.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|e| format!("--subnet {text}: {e}"))?),
    };
    let ipv4 = !call.v6;
    let pool = endpoints.pool(named, subnet, ipv4)?;
    let gateway = gateway_of(ipv4);
    let length = if ipv4 { 32 } else { 128 };
    Ok(json!({
        "PoolID": PoolId { network: &pool.network, ipv4 }.text(),
        "Pool": pool.subnet.to_string(),
        "Data": { GATEWAY: format!("{gateway}/{length}") },
    }))
}

fn request_address(call: &Address, endpoints: &Endpoints) -> Outcome<Value> {
    let PoolId { network, ipv4 } = PoolId::parse(&call.pool)?;
    let option = call.options.as_ref().and_then(|options| options.get(MAC));
    let Some(mac) = option else {
        return Err(
            "an address without an interface cannot be had: leave --gateway and --aux-address out"
                .to_owned(),
        );
    };
    let mac: Mac = mac.parse().map_err(|e| format!("MAC: {e}"))?;
    let wanted = address(&call.address)?;
    let given = endpoints.reserve(network, mac, ipv4, wanted)?;
    let length = if ipv4 { 32 } else { 128 };
    Ok(json!({ "Address": format!("{given}/{length}"), "Data": {} }))
}

fn release_address(call: &Address, endpoints: &Endpoints) -> Outcome<Value> {
    let PoolId { network, .. } = PoolId::parse(&call.pool)?;
    if let Some(address) = address(&call.address)? {
        endpoints.release(network, address)?;
    }
    Ok(json!({}))
}

fn address(text: &str) -> Outcome<Option<IpAddr>> {
    let bare = text.split('/').next().unwrap_or_default();
    let parse = |text: &str| text.parse().map_err(|e| format!("address {text:?}: {e}"));
    Some(bare).filter(|bare| !bare.is_empty()).map(parse).transpose()
}

/// What Docker keeps of a pool, and brings back with each address: all that is to be known of it.
struct PoolId<'a> {
    network: &'a str,
    ipv4: bool,
}

impl<'a> PoolId<'a> {
    fn text(&self) -> String {
        format!("{}/{}", self.network, if self.ipv4 { 4 } else { 6 })
    }

    fn parse(text: &'a str) -> Outcome<Self> {
        match text.rsplit_once('/') {
            Some((network, "4")) => Ok(Self { network, ipv4: true }),
            Some((network, "6")) => Ok(Self { network, ipv4: false }),
            _ => Err(format!("pool {text:?} is none of flatnet's")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_its_network_and_family() {
        for ipv4 in [true, false] {
            let text = PoolId { network: "pods", ipv4 }.text();
            let parsed = PoolId::parse(&text).unwrap();
            assert_eq!((parsed.network, parsed.ipv4), ("pods", ipv4));
        }
        for text in ["", "pods", "pods/5"] {
            assert!(PoolId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_comes_with_or_without_its_length() {
        assert_eq!(address("").unwrap(), None);
        assert_eq!(address("10.1.1.7/32").unwrap(), Some([10, 1, 1, 7].into()));
        assert_eq!(address("fd00::7").unwrap(), Some("fd00::7".parse().unwrap()));
        assert!(address("x/32").is_err());
    }
}
