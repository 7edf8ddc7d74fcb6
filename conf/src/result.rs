//! What an ADD made, in one type for all versions of the protocol.

mod read;
mod wire;
mod write;

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::raw;

pub(crate) use read::read;

/// The success result of ADD, and the `prevResult` of a chain.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AddResult {
    /// Interfaces, on the node and in the container.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<IpConfig>,
    /// Routes in the container.
    pub routes: Vec<Route>,
    /// Name resolution.
    pub dns: Dns,
}

/// An interface of a result.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address; empty where there is none.
    pub mac: String,
    /// Its MTU in bytes (1.1.0).
    pub mtu: Option<u32>,
    /// The path of the namespace it is in; `None` on the node.
    pub sandbox: Option<String>,
    /// `socketPath` (1.1.0), passed through.
    pub socket_path: Option<String>,
    /// `pciID` (1.1.0), passed through.
    pub pci_id: Option<String>,
}

/// An address of a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IpConfig {
    /// Index into [`AddResult::interfaces`].
    pub interface: Option<usize>,
    /// The address with its prefix length, host bits kept.
    pub address: IpNetwork,
    /// The default gateway.
    pub gateway: Option<IpAddr>,
}

/// A route of a result. What only 1.1.0 can say is left out of older versions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Destination.
    pub dst: IpNetwork,
    /// Next hop; `None` means the address's gateway, or on-link.
    pub gw: Option<IpAddr>,
    /// MTU of the path in bytes.
    pub mtu: Option<u32>,
    /// TCP maximum segment size to advertise, in bytes.
    pub advmss: Option<u32>,
    /// Metric.
    pub priority: Option<u32>,
    /// Routing table.
    pub table: Option<u32>,
    /// Scope, as in `rtnetlink(7)`.
    pub scope: Option<u8>,
}

/// Name resolution, passed on to the runtime: flatnet writes no resolv.conf.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Dns {
    /// Addresses of name servers, in order.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: Option<String>,
    /// Search domains, in order.
    pub search: Vec<String>,
    /// Options for the resolver.
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }
}

impl From<raw::Dns> for Dns {
    fn from(raw: raw::Dns) -> Dns {
        Dns {
            nameservers: raw.nameservers.unwrap_or_default(),
            domain: raw.domain.filter(|domain| !domain.is_empty()),
            search: raw.search.unwrap_or_default(),
            options: raw.options.unwrap_or_default(),
        }
    }
}

impl From<raw::RuntimeDns> for Dns {
    fn from(raw: raw::RuntimeDns) -> Dns {
        Dns {
            nameservers: raw.servers.unwrap_or_default(),
            domain: None,
            search: raw.searches.unwrap_or_default(),
            options: raw.options.unwrap_or_default(),
        }
    }
}

impl Route {
    /// A route to `dst` by `gw`, with nothing else set.
    pub fn new(dst: IpNetwork, gw: Option<IpAddr>) -> Route {
        Route { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }
}

impl AddResult {
    /// Puts `other` behind this result, its interface indices shifted. Its `dns` takes the place
    /// of ours if anything in it is set.
    pub fn append(&mut self, other: AddResult) {
        let shift = self.interfaces.len();
        self.interfaces.extend(other.interfaces);
        self.ips.extend(other.ips.into_iter().map(|ip| IpConfig {
            interface: ip.interface.map(|index| index.saturating_add(shift)),
            ..ip
        }));
        self.routes.extend(other.routes);
        if !other.dns.is_empty() {
            self.dns = other.dns;
        }
    }
}

#[cfg(test)]
mod tests;
