//! The difference between what should stand in the kernel and what does: pure.

use std::collections::{HashMap, HashSet};

use ipnetwork::IpNetwork;

use crate::desired::Overlay;
use crate::kernel::{Change, FdbEntry, Link, LinkKind, Neighbour, Route};

/// What stands on an overlay device, as far as it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The device.
    pub link: Link,
    /// Its addresses.
    pub addresses: Vec<IpNetwork>,
    /// Our routes over it.
    pub routes: Vec<Route>,
    /// Our neighbour entries on it.
    pub neighbours: Vec<Neighbour>,
    /// Its forwarding database.
    pub fdb: Vec<FdbEntry>,
}

/// What must happen to the device itself before its objects can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DevicePlan {
    /// There is none.
    Create,
    /// It has a parameter that cannot be changed: the reason, for the log.
    Recreate(String),
    /// It can stay.
    Keep,
    /// Another network or another program has a device of this name: the reason, for the user.
    Foreign(String),
}

/// Compares the device with what it should be.
pub fn plan_device(want: &Overlay, have: Option<&Link>) -> DevicePlan {
    let Some(have) = have else { return DevicePlan::Create };
    let name = &want.link.name;
    let LinkKind::Vxlan(vxlan) = &have.kind else {
        return DevicePlan::Foreign(format!("{name} is no VXLAN device ({:?})", have.kind));
    };
    if let Some(alias) = have.alias.as_ref().filter(|alias| !same_network(alias, &want.alias)) {
        return DevicePlan::Foreign(format!(
            "{name} belongs to {alias:?} and is wanted by {:?}; give each network its own vni",
            want.alias
        ));
    }
    if *vxlan == want.link.vxlan {
        return DevicePlan::Keep;
    }
    DevicePlan::Recreate(format!("{name} has {vxlan:?} and should have {:?}", want.link.vxlan))
}

/// Whether two aliases `flatnet:NETWORK/NODE` name one network: a node may change its name.
fn same_network(have: &str, want: &str) -> bool {
    have.split('/').next() == want.split('/').next()
}

/// The changes that make what stands into what should stand, in an order that loses no packet
/// between pods that do not change: what is new first, what is stale last, and each peer's way from
/// the wire up (FDB entry, neighbour, route).
pub fn plan_objects(want: &Overlay, have: &Observed) -> Vec<Change> {
    let mut changes = device_changes(want, have);
    let missing = |address: &&IpNetwork| !have.addresses.contains(address);
    changes.extend(want.addresses.iter().filter(missing).copied().map(Change::AddAddress));
    changes.extend(absent_from(&want.fdb, &have.fdb).map(Change::PutFdb));
    changes.extend(absent_from(&want.neighbours, &have.neighbours).map(Change::PutNeighbour));
    let (put, mut stale_routes) = route_changes(&want.routes, &have.routes);
    changes.extend(put);

    stale_routes.sort();
    changes.extend(stale_routes.into_iter().map(Change::DelRoute));
    let wanted: HashSet<_> = want.neighbours.iter().map(|entry| entry.address).collect();
    let stale = have.neighbours.iter().map(|entry| entry.address);
    changes.extend(stale.filter(|address| !wanted.contains(address)).map(Change::DelNeighbour));
    // An entry whose MAC stays and whose VTEP changes was replaced above; the old one is no more.
    let wanted: HashSet<_> = want.fdb.iter().map(|entry| entry.mac).collect();
    let stale = have.fdb.iter().filter(|entry| !wanted.contains(&entry.mac));
    changes.extend(stale.cloned().map(Change::DelFdb));
    // An address goes last: the kernel drops the routes that prefer it as their source.
    let stale = have.addresses.iter().filter(|address| !want.addresses.contains(address));
    changes.extend(stale.filter(|a| !is_link_local(a)).copied().map(Change::DelAddress));
    changes
}

fn device_changes(want: &Overlay, have: &Observed) -> Vec<Change> {
    let mut changes = Vec::new();
    if have.link.mac != Some(want.link.mac) {
        changes.push(Change::Mac(want.link.mac));
    }
    if have.link.mtu != want.link.mtu {
        changes.push(Change::Mtu(want.link.mtu));
    }
    if have.link.alias.as_ref() != Some(&want.alias) {
        changes.push(Change::Alias(want.alias.clone()));
    }
    if !have.link.up {
        changes.push(Change::Forward { strict_rp_filter: false });
        changes.push(Change::NoLinkLocal);
        changes.push(Change::Up);
    }
    changes
}

/// Routes to put, and routes to remove. One with the same destination and metric as a stale one
/// replaces it in one step.
fn route_changes(want: &[Route], have: &[Route]) -> (Vec<Change>, Vec<Route>) {
    let mut stale: HashMap<_, _> = have.iter().map(|route| (key(route), route)).collect();
    let mut put = Vec::new();
    for route in want {
        match stale.remove(&key(route)) {
            Some(same) if same == route => {}
            Some(_) => put.push(Change::ReplaceRoute(route.clone())),
            None => put.push(Change::AddRoute(route.clone())),
        }
    }
    (put, stale.into_values().cloned().collect())
}

fn key(route: &Route) -> (IpNetwork, Option<u32>) {
    (route.dst, route.metric)
}

fn absent_from<'a, T: Clone + Eq + std::hash::Hash>(
    want: &'a [T],
    have: &[T],
) -> impl Iterator<Item = T> + use<'a, T> {
    let have: HashSet<T> = have.iter().cloned().collect();
    want.iter().filter(move |entry| !have.contains(entry)).cloned()
}

/// The kernel may give a device an IPv6 link-local address of its own accord.
fn is_link_local(address: &IpNetwork) -> bool {
    matches!(address, IpNetwork::V6(address) if address.ip().is_unicast_link_local())
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
