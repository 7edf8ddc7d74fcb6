//! The difference between what should stand in the kernel and what does: pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::error::Clash;
use crate::identity::vtep_mac;
use crate::kernel::{
    Change, Dev, FdbEntry, Link, LinkKind, Neighbour, ReversePath, Route, Unreachable, VxlanLink,
};
use crate::overlay::desired::{Overlay, Via};

/// What stands of an overlay, as far as it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The VXLAN device.
    pub link: Link,
    /// Whether it forwards what comes in by it, from any source that is routed anywhere (IPv4).
    pub forwards: bool,
    /// Its addresses.
    pub addresses: Vec<IpNetwork>,
    /// Our routes to peers, over it or, where peers are routed to directly, over an uplink.
    pub routes: Vec<(Via, Route)>,
    /// This network's routes that end what they take.
    pub unreachable: Vec<Unreachable>,
    /// The network's addresses on devices that it had under other VNIs, which go when this one stands.
    pub earlier: Vec<(u32, IpNetwork)>,
    /// Our neighbour entries on it.
    pub neighbours: Vec<Neighbour>,
    /// Its forwarding database.
    pub fdb: Vec<FdbEntry>,
}

impl Observed {
    /// A device on which nothing has been looked at.
    pub fn of(link: Link) -> Self {
        Self {
            link,
            forwards: false,
            addresses: Vec::new(),
            routes: Vec::new(),
            unreachable: Vec::new(),
            earlier: Vec::new(),
            neighbours: Vec::new(),
            fdb: Vec::new(),
        }
    }

    /// A device that has just been made, down and bare.
    pub fn bare(want: &Overlay, dev: Dev) -> Self {
        let link = Link {
            dev,
            mac: Some(want.link.mac),
            mtu: want.link.mtu,
            up: false,
            alias: None,
            group: want.link.group,
            peer: None,
            peer_netns: None,
            master: None,
            xdp: false,
            kind: LinkKind::Vxlan(want.link.vxlan.clone()),
        };
        Self::of(link)
    }
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
    /// Another network or another program has a device of this name.
    Foreign(Clash),
}

/// What this network can have instead of a VNI, or a device of its name, that something else has.
pub const OTHER_VNI: &str = "give this network another vni";

/// Compares the device with what it and its alias should be.
pub fn plan_device(want: &VxlanLink, alias: &str, have: Option<&Link>) -> DevicePlan {
    let Some(have) = have else { return DevicePlan::Create };
    let name = &want.name;
    let LinkKind::Vxlan(vxlan) = &have.kind else {
        let what = format!("{name} is no VXLAN device, and not flatnet's (ip -d link show {name})");
        return DevicePlan::Foreign(Clash::new(what, OTHER_VNI, "rename or remove that device"));
    };
    if let Some(other) = have.alias.as_ref().filter(|other| !same_network(other, alias)) {
        let what = format!("{name} belongs to {other:?} and is wanted by {alias:?}");
        return DevicePlan::Foreign(Clash::new(what, OTHER_VNI, "the other one"));
    }
    // One of ours that never got its alias, because its maker was killed, has our MAC; one that
    // was made by hand in the place of ours has our name and our VNI.
    let ours = vxlan.vni == want.vxlan.vni
        || vxlan.local.is_some_and(|local| have.mac == Some(vtep_mac(vxlan.vni, local)));
    if have.alias.is_none() && !ours {
        let what = format!("the VXLAN device {name} (VNI {}) was not made by flatnet", vxlan.vni);
        return DevicePlan::Foreign(Clash::new(what, OTHER_VNI, "remove that device"));
    }
    if *vxlan == want.vxlan {
        return DevicePlan::Keep;
    }
    DevicePlan::Recreate(format!("{name} has {vxlan:?} and should have {:?}", want.vxlan))
}

/// Whether two aliases `flatnet:NETWORK/NODE` name one network, on whatever node: a node may get another
/// name. A network's name that is too long for an alias is compared as far as it fits.
fn same_network(have: &str, want: &str) -> bool {
    have.split('/').next() == want.split('/').next()
}

/// Changes to one device.
pub type Step = (Via, Vec<Change>);

/// The changes that make what stands into what should stand, in an order that loses no packet
/// between pods that do not change: what is new first, what is stale last, and each peer's way from
/// the wire up (FDB entry, neighbour, route).
///
/// But no way leads over an address that is still this node's own (`fib_check_nh`, `ip6_validate_gw`):
/// where a range has moved to a peer, its first address goes before that peer's way is made. By then all
/// other routes prefer a source that stays.
pub fn plan_objects(want: &Overlay, have: &Observed) -> Vec<Step> {
    let mut before = device_changes(want, have);
    let missing = |address: &&IpNetwork| !have.addresses.contains(address);
    before.extend(want.addresses.iter().filter(missing).copied().map(Change::AddAddress));
    let fdb = difference(&want.fdb, &have.fdb);
    before.extend(fdb.absent.into_iter().cloned().map(Change::PutFdb));
    // With its MAC a device loses its neighbour entries, permanent ones too (`neigh_changeaddr`).
    let keeps = have.link.mac == Some(want.link.mac);
    let standing = if keeps { &have.neighbours[..] } else { &[] };
    let neighbours = difference(&want.neighbours, standing);
    let moved = Moved::of(want, have);
    let (late, soon): (Vec<_>, Vec<_>) =
        neighbours.absent.into_iter().cloned().partition(|entry| moved.has(&entry.address));
    before.extend(soon.into_iter().map(Change::PutNeighbour));
    let routes = route_changes(&want.routes, &have.routes, &moved);

    let mut after = Vec::new();
    // What is wanted with another content was replaced above; the old one is no more.
    if neighbours.others {
        let wanted: HashSet<_> = want.neighbours.iter().map(|entry| entry.address).collect();
        let stale = standing.iter().map(|entry| entry.address);
        after.extend(stale.filter(|ip| !wanted.contains(ip)).map(Change::DelNeighbour));
    }
    if fdb.others {
        let wanted: HashSet<_> = want.fdb.iter().map(|entry| entry.mac).collect();
        let stale = have.fdb.iter().filter(|entry| !wanted.contains(&entry.mac));
        after.extend(stale.cloned().map(Change::DelFdb));
    }
    let ends = want.unreachable.iter().filter(|route| !have.unreachable.contains(route));
    let ends = ends.cloned().map(Change::PutUnreachable).collect();
    let no_end = have.unreachable.iter().filter(|route| !want.unreachable.contains(route));
    after.extend(no_end.cloned().map(Change::DelUnreachable));
    // An address goes last: the kernel drops the routes that prefer it as their source.
    let stale = stale_addresses(want, have).filter(|address| !moved.has(&address.ip()));
    after.extend(stale.map(Change::DelAddress));

    let mut steps = vec![(Via::Overlay, before)];
    steps.extend(routes.in_the_way);
    steps.extend(routes.put);
    steps.extend(moved.addresses);
    steps.push((Via::Overlay, late.into_iter().map(Change::PutNeighbour).collect()));
    steps.extend(routes.late);
    steps.push((Via::Overlay, ends));
    steps.extend(routes.stale);
    steps.push((Via::Overlay, after));
    merge(steps)
}

/// Addresses of the device that it should not have, but for those that the kernel gives.
fn stale_addresses(want: &Overlay, have: &Observed) -> impl Iterator<Item = IpNetwork> {
    let all = have.addresses.iter().copied();
    all.filter(|address| !want.addresses.contains(address) && !is_link_local(address))
}

/// Own addresses that have become a peer's.
struct Moved {
    /// Their removal, by device.
    addresses: ByDevice,
    ips: Vec<IpAddr>,
}

impl Moved {
    fn of(want: &Overlay, have: &Observed) -> Self {
        let mut moved = Self { addresses: ByDevice::new(), ips: Vec::new() };
        let stale = stale_addresses(want, have).map(|address| (Via::Overlay, address));
        // To the steps a device of another VNI is one like an uplink.
        let earlier = have.earlier.iter().map(|(dev, address)| (Via::Uplink(*dev), *address));
        for (via, address) in stale.chain(earlier) {
            if want.neighbours.iter().any(|entry| entry.address == address.ip()) {
                push(&mut moved.addresses, via, Change::DelAddress(address));
                moved.ips.push(address.ip());
            }
        }
        moved
    }

    fn has(&self, address: &IpAddr) -> bool {
        self.ips.contains(address)
    }
}

/// Makes one step of neighbours for the same device, and none of nothing.
fn merge(steps: Vec<Step>) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::with_capacity(steps.len());
    for (via, changes) in steps.into_iter().filter(|(_, changes)| !changes.is_empty()) {
        match merged.last_mut() {
            Some((last, before)) if *last == via => before.extend(changes),
            _ => merged.push((via, changes)),
        }
    }
    merged
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
    if have.link.group != want.link.group {
        changes.push(Change::Group(want.link.group));
    }
    if !have.forwards {
        changes.push(Change::Forward(ReversePath::Loose));
    }
    if !have.link.up {
        changes.push(Change::NoLinkLocal);
        changes.push(Change::Up);
    }
    changes
}

/// Changes of routes, by device, in the order in which they are made.
#[derive(Default)]
struct RouteChanges {
    in_the_way: ByDevice,
    put: ByDevice,
    /// Those by way of an address that is still an own one.
    late: ByDevice,
    stale: ByDevice,
}

type ByDevice = BTreeMap<Via, Vec<Change>>;

fn push(to: &mut ByDevice, via: Via, change: Change) {
    to.entry(via).or_default().push(change);
}

/// One with the same destination and metric replaces what is there in one step, also if that was
/// over another device. But IPv6 takes no on-link gateway that another route leads to by another
/// device (`ip6_route_check_nh_onlink`), and the gateway is in the range that is routed: there the
/// old route goes first, and so do those of a network that had another VNI.
///
/// A missing one is put, not added: our metric is as good as a signature, so that what is in its
/// place is ours with its protocol number changed.
fn route_changes(want: &[(Via, Route)], have: &[(Via, Route)], moved: &Moved) -> RouteChanges {
    let mut changes = RouteChanges::default();
    let there = difference(want, have);
    if there.absent.is_empty() && !there.others {
        return changes;
    }
    let mut stale: HashMap<_, _> = have.iter().map(|entry| (key(&entry.1), entry)).collect();
    for entry in want {
        let (via, route) = entry;
        let same = stale.remove(&key(route));
        if same == Some(entry) {
            continue;
        }
        if let Some((old, old_route)) = same.filter(|(old, _)| route.dst.is_ipv6() && old != via) {
            push(&mut changes.in_the_way, *old, Change::DelRoute(old_route.clone()));
        }
        let late = route.gateway.is_some_and(|gateway| moved.has(&gateway));
        let put = if late { &mut changes.late } else { &mut changes.put };
        push(put, *via, Change::PutRoute(route.clone()));
    }
    let mut stale: Vec<_> = stale.into_values().cloned().collect();
    stale.sort();
    let puts_v6 = changes.put.get(&Via::Overlay).is_some_and(|put| {
        put.iter().any(|put| matches!(put, Change::PutRoute(route) if route.dst.is_ipv6()))
    });
    for (via, route) in stale {
        let first = puts_v6 && via != Via::Overlay && route.dst.is_ipv6();
        let to = if first { &mut changes.in_the_way } else { &mut changes.stale };
        push(to, via, Change::DelRoute(route));
    }
    changes
}

/// By which the kernel tells routes apart: destination and metric.
pub type RouteKey = (IpNetwork, Option<u32>);

/// See [`RouteKey`].
pub fn key(route: &Route) -> RouteKey {
    (route.dst, route.metric)
}

/// How two lists without duplicates differ.
struct Difference<'a, T> {
    /// What is wanted and not there.
    absent: Vec<&'a T>,
    /// Whether anything is there that is not wanted like this.
    others: bool,
}

fn difference<'a, T: Eq + std::hash::Hash>(want: &'a [T], have: &[T]) -> Difference<'a, T> {
    let there: HashSet<&T> = have.iter().collect();
    let absent: Vec<_> = want.iter().filter(|entry| !there.contains(entry)).collect();
    let others = want.len() - absent.len() < have.len();
    Difference { absent, others }
}

/// The kernel may give a device an IPv6 link-local address of its own accord.
fn is_link_local(address: &IpNetwork) -> bool {
    matches!(address, IpNetwork::V6(address) if address.ip().is_unicast_link_local())
}

#[cfg(test)]
mod tests;
