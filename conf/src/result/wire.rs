//! A result as written, with the keys of all versions.

use serde::{Deserialize, Serialize};

use crate::keys::{Keys, LEAF};
use crate::raw::Dns;

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cni_version: Option<String>,
    /// From 0.3.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interfaces: Option<Vec<Interface>>,
    /// From 0.3.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ips: Option<Vec<Address>>,
    /// Before 0.3.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip4: Option<OldAddress>,
    /// Before 0.3.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip6: Option<OldAddress>,
    /// From 0.3.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) routes: Option<Vec<Route>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dns: Option<Dns>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct Interface {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sandbox: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) socket_path: Option<String>,
    #[serde(rename = "pciID", skip_serializing_if = "Option::is_none")]
    pub(super) pci_id: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Address {
    /// `4` or `6`, before 1.0.0; the address says as much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interface: Option<usize>,
    pub(super) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct OldAddress {
    pub(super) ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) routes: Option<Vec<Route>>,
}

#[derive(Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Route {
    pub(super) dst: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advmss: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) table: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<u8>,
}

const ROUTE: Keys = Keys(&[
    ("dst", LEAF),
    ("gw", LEAF),
    ("mtu", LEAF),
    ("advmss", LEAF),
    ("priority", LEAF),
    ("table", LEAF),
    ("scope", LEAF),
]);

const OLD_ADDRESS: Keys = Keys(&[("ip", LEAF), ("gateway", LEAF), ("routes", ROUTE)]);

/// Every key of every version.
pub(super) const KEYS: Keys = Keys(&[
    ("cniVersion", LEAF),
    (
        "interfaces",
        Keys(&[
            ("name", LEAF),
            ("mac", LEAF),
            ("mtu", LEAF),
            ("sandbox", LEAF),
            ("socketPath", LEAF),
            ("pciID", LEAF),
        ]),
    ),
    ("ips", Keys(&[("interface", LEAF), ("address", LEAF), ("gateway", LEAF)])),
    ("ip4", OLD_ADDRESS),
    ("ip6", OLD_ADDRESS),
    ("routes", ROUTE),
    ("dns", Keys(&[("nameservers", LEAF), ("domain", LEAF), ("search", LEAF), ("options", LEAF)])),
]);
