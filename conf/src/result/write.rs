//! From a result to its text in each version.

use std::net::IpAddr;

use serde_json::Value;

use super::{AddResult, Dns, Interface, IpConfig, Route, wire};
use crate::{Version, raw};

impl AddResult {
    /// The result in the shape of `version`, `cniVersion` set. What the version cannot say is
    /// left out: 0.1.0 and 0.2.0 have one address per family and no interfaces.
    pub fn to_json(&self, version: Version) -> Value {
        let mut document = wire::Document {
            cni_version: Some(version.as_str().to_owned()),
            dns: dns(&self.dns),
            ..wire::Document::default()
        };
        if version < Version::V0_3_0 {
            document.ip4 = old_address(self, IpAddr::is_ipv4);
            document.ip6 = old_address(self, IpAddr::is_ipv6);
        } else {
            document.interfaces = list(&self.interfaces, |item| interface(item, version));
            document.ips = list(&self.ips, |item| address(item, version));
            document.routes = list(&self.routes, |item| route(item, version));
        }
        // Texts and numbers under fixed keys: there is nothing in it that could fail.
        serde_json::to_value(document).unwrap_or_default()
    }
}

/// An empty list is left out.
fn list<T, U>(items: &[T], write: impl Fn(&T) -> U) -> Option<Vec<U>> {
    (!items.is_empty()).then(|| items.iter().map(write).collect())
}

fn interface(interface: &Interface, version: Version) -> wire::Interface {
    let newest = version >= Version::V1_1_0;
    wire::Interface {
        name: interface.name.clone(),
        mac: Some(interface.mac.clone()).filter(|mac| !mac.is_empty()),
        mtu: interface.mtu.filter(|_| newest),
        sandbox: interface.sandbox.clone(),
        socket_path: interface.socket_path.clone().filter(|_| newest),
        pci_id: interface.pci_id.clone().filter(|_| newest),
    }
}

fn address(ip: &IpConfig, version: Version) -> wire::Address {
    let family = if ip.address.is_ipv4() { "4" } else { "6" };
    wire::Address {
        version: (version < Version::V1_0_0).then(|| family.to_owned()),
        interface: ip.interface,
        address: ip.address.to_string(),
        gateway: ip.gateway.map(|gateway| gateway.to_string()),
    }
}

/// The first address of a family, and the routes of that family.
fn old_address(result: &AddResult, of_family: fn(&IpAddr) -> bool) -> Option<wire::OldAddress> {
    let ip = result.ips.iter().find(|ip| of_family(&ip.address.ip()))?;
    let routes: Vec<_> =
        result.routes.iter().filter(|route| of_family(&route.dst.ip())).cloned().collect();
    Some(wire::OldAddress {
        ip: ip.address.to_string(),
        gateway: ip.gateway.map(|gateway| gateway.to_string()),
        routes: list(&routes, |item| route(item, Version::V0_1_0)),
    })
}

fn route(route: &Route, version: Version) -> wire::Route {
    let newest = version >= Version::V1_1_0;
    wire::Route {
        dst: route.dst.to_string(),
        gw: route.gw.map(|gateway| gateway.to_string()),
        mtu: route.mtu.filter(|_| newest),
        advmss: route.advmss.filter(|_| newest),
        priority: route.priority.filter(|_| newest),
        table: route.table.filter(|_| newest),
        scope: route.scope.filter(|_| newest),
    }
}

fn dns(dns: &Dns) -> Option<raw::Dns> {
    (!dns.is_empty()).then(|| raw::Dns {
        nameservers: list(&dns.nameservers, String::clone),
        domain: dns.domain.clone(),
        search: list(&dns.search, String::clone),
        options: list(&dns.options, String::clone),
    })
}
