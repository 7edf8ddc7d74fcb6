//! From a result as written, in any version, to what it means.

use std::net::IpAddr;

use serde_json::Value;

use super::{AddResult, Dns, Interface, IpConfig, Route, wire};
use crate::address::{parse_address, parse_network};
use crate::error::Broken;
use crate::json;
use crate::keys;
use crate::{Error, Version};

impl AddResult {
    /// Reads a result of its own `cniVersion`, or of `expected` where it has none. An error,
    /// with code 7, names the field.
    pub fn from_json(value: &Value, expected: Version) -> Result<AddResult, Error> {
        read(value, expected).map_err(|broken| broken.in_document("result"))
    }
}

/// Reads a result of its own `cniVersion`, or of `expected` where it has none.
pub(crate) fn read(value: &Value, expected: Version) -> Result<AddResult, Broken> {
    let mut value = value.clone();
    keys::fold_case(&mut value, &wire::KEYS);
    let document: wire::Document = json::from_value(&value)?;
    let version = match document.cni_version.as_deref() {
        None | Some("") => expected,
        Some(text) => Version::parse(text).map_err(|error| Broken::new(error.to_string()))?,
    };
    let dns = document.dns.map(Dns::from).unwrap_or_default();
    if version < Version::V0_3_0 {
        let mut result = AddResult { dns, ..AddResult::default() };
        for (address, field) in [(document.ip4, "ip4"), (document.ip6, "ip6")] {
            if let Some(address) = address {
                old_address(address, &mut result).map_err(|broken| broken.under(field))?;
            }
        }
        return Ok(result);
    }
    let interfaces: Vec<_> =
        document.interfaces.unwrap_or_default().into_iter().map(interface).collect();
    let ips = each(document.ips, "ips", |ip| address(ip, interfaces.len()))?;
    let routes = each(document.routes, "routes", route)?;
    Ok(AddResult { interfaces, ips, routes, dns })
}

fn each<T, U>(
    items: Option<Vec<T>>,
    field: &str,
    read: impl Fn(T) -> Result<U, Broken>,
) -> Result<Vec<U>, Broken> {
    let at = |(index, item)| {
        read(item).map_err(|broken: Broken| broken.under(format_args!("{field}[{index}]")))
    };
    items.unwrap_or_default().into_iter().enumerate().map(at).collect()
}

fn interface(wire: wire::Interface) -> Interface {
    Interface {
        name: wire.name,
        mac: wire.mac.unwrap_or_default(),
        mtu: wire.mtu.filter(|mtu| *mtu > 0),
        sandbox: some(wire.sandbox),
        socket_path: some(wire.socket_path),
        pci_id: some(wire.pci_id),
    }
}

fn address(wire: wire::Address, interfaces: usize) -> Result<IpConfig, Broken> {
    if let Some(index) = wire.interface.filter(|index| *index >= interfaces) {
        let problem = format!("{index} is no index into the {interfaces} interfaces");
        return Err(Broken::new(problem).under("interface"));
    }
    Ok(IpConfig {
        interface: wire.interface,
        address: parse_network(&wire.address)
            .map_err(|problem| Broken::new(problem).under("address"))?,
        gateway: gateway(wire.gateway, "gateway")?,
    })
}

fn old_address(wire: wire::OldAddress, result: &mut AddResult) -> Result<(), Broken> {
    result.ips.push(IpConfig {
        interface: None,
        address: parse_network(&wire.ip).map_err(|problem| Broken::new(problem).under("ip"))?,
        gateway: gateway(wire.gateway, "gateway")?,
    });
    result.routes.extend(each(wire.routes, "routes", route)?);
    Ok(())
}

fn route(wire: wire::Route) -> Result<Route, Broken> {
    Ok(Route {
        dst: parse_network(&wire.dst).map_err(|problem| Broken::new(problem).under("dst"))?,
        gw: gateway(wire.gw, "gw")?,
        mtu: wire.mtu,
        advmss: wire.advmss,
        priority: wire.priority,
        table: wire.table,
        scope: wire.scope,
    })
}

fn gateway(text: Option<String>, field: &str) -> Result<Option<IpAddr>, Broken> {
    some(text)
        .map(|text| parse_address(&text))
        .transpose()
        .map_err(|problem| Broken::new(problem).under(field))
}

/// Programs written in Go write what is unset as an empty text.
fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
