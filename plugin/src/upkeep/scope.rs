//! What an event may have made different of a network: pure, so that a table of tests can say it.

use ipnetwork::IpNetwork;

use super::devices::{Device, Devices};
use super::drift::Entry;
use super::held::Held;
use crate::identity::{trial_name, veth_group};
use crate::kernel::{Event, LinkKind, OurRoute, Way};
use crate::overlay::apply::via;
use crate::overlay::desired;
use crate::overlay::reconcile::key;

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Nothing: it was meant to be so, or it is another program's.
    Nothing,
    /// The attachment whose end on the node bears this name.
    Pod(String),
    /// An entry for a peer, which may be right.
    Entry(Entry),
    /// The packet filter.
    Rules,
    /// The overlay with all that it needs of the node.
    Overlay,
    /// The pods as well, and which node this is.
    Everything,
}

/// Judges an event about a network that stands. `was` is the device of the event as it was before, if
/// the event is about one.
pub fn judge(
    held: &Held,
    network: &str,
    devices: &Devices,
    was: Option<&Device>,
    event: &Event,
) -> Scope {
    let judge = Judge { held, network, devices };
    match event {
        Event::Link(..) | Event::LinkGone(_) => judge.link(was, event),
        Event::Address { dev, address, there } => judge.address(*dev, *address, *there),
        Event::OurRoute { route, there } => judge.our_route(route, *there),
        Event::Route { way, there } => judge.route(way, *there),
        Event::Neighbour { dev, address, ours } => match judge.on(*dev) {
            On::Overlay => Scope::Entry(Entry::Neighbour(*address, ours.clone())),
            // The kernel's own of a pod comes and goes.
            On::Pod(name) if !is_link_local((*address).into()) => Scope::Pod(name),
            _ => Scope::Nothing,
        },
        Event::Fdb { dev, entry: fdb, there } if *dev == held.index => {
            Scope::Entry(Entry::Fdb(fdb.mac, there.then(|| fdb.clone())))
        }
        Event::Fdb { .. } => Scope::Nothing,
        Event::Rule | Event::Setting(None) => Scope::Overlay,
        Event::Setting(Some(dev)) => match judge.on(*dev) {
            On::Overlay | On::Uplink => Scope::Overlay,
            On::Pod(name) => Scope::Pod(name),
            On::Other => Scope::Nothing,
        },
        Event::Filter => Scope::Rules,
        // There is a fast path only without.
        Event::Policies => Scope::Overlay,
    }
}

/// Judges an event about a network that could not be brought about: whether it may go now.
pub fn judge_failed(was: Option<&Device>, event: &Event) -> Scope {
    match event {
        // A trial of ours comes, and goes.
        Event::Link(link, _) if matches!(link.kind, LinkKind::Vxlan(_)) => Scope::Nothing,
        Event::LinkGone(link) if was.is_none() || link.dev.name.ends_with('~') => Scope::Nothing,
        Event::Link(..) | Event::LinkGone(_) => Scope::Everything,
        Event::Address { address, .. } if !is_link_local(*address) => Scope::Everything,
        Event::Route { .. } | Event::Rule | Event::Filter => Scope::Everything,
        _ => Scope::Nothing,
    }
}

/// Whose a device is.
enum On {
    Overlay,
    Pod(String),
    Uplink,
    Other,
}

struct Judge<'a> {
    held: &'a Held,
    network: &'a str,
    devices: &'a Devices,
}

impl Judge<'_> {
    fn on(&self, index: u32) -> On {
        if index == self.held.index {
            return On::Overlay;
        }
        match self.devices.get(index) {
            Some(device) if self.is_pods(device) => On::Pod(device.link.dev.name.clone()),
            Some(device) if self.held.is_uplink(&device.link.dev.name) => On::Uplink,
            _ => On::Other,
        }
    }

    /// By its group or its alias: one of them may be what was changed.
    fn is_pods(&self, device: &Device) -> bool {
        let link = &device.link;
        let ours = desired::is_of(self.network);
        link.kind == LinkKind::Veth
            && (link.group == veth_group(self.held.site.vni()) || ours(link))
    }

    fn link(&self, was: Option<&Device>, event: &Event) -> Scope {
        let (Event::Link(link, _) | Event::LinkGone(link)) = event else { return Scope::Nothing };
        let (name, now) = (&link.dev.name, self.devices.get(link.dev.index));
        let is_overlay = link.dev.index == self.held.index || *name == self.held.frame.link.name;
        if *name == trial_name(self.held.site.vni()) {
            return Scope::Nothing;
        }
        // Its offloads are not in the event; an earlier VNI's device is to go.
        let is_vxlan = matches!(link.kind, LinkKind::Vxlan(_));
        let ours = is_vxlan && desired::is_of(self.network)(link);
        if is_overlay || ours {
            return Scope::Overlay;
        }
        let devices = [now, was].into_iter().flatten();
        if devices.clone().any(|device| self.is_pods(device)) {
            // Of one that is gone nothing is left to be put right.
            return now.map_or(Scope::Nothing, |now| Scope::Pod(now.link.dev.name.clone()));
        }
        let mut named = devices.clone();
        if named.any(|device| self.held.is_uplink(&device.link.dev.name)) {
            return if now == was { Scope::Nothing } else { Scope::Overlay };
        }
        // A network card in a bridge makes that an uplink.
        let master = |device: Option<&Device>| device.and_then(|device| device.link.master);
        let local = devices.clone().all(Device::is_local_end);
        if master(now) != master(was) && !local { Scope::Overlay } else { Scope::Nothing }
    }

    fn address(&self, dev: u32, address: IpNetwork, there: bool) -> Scope {
        let Held { frame, vteps, index, .. } = self.held;
        if dev == *index {
            let right = there == frame.addresses.contains(&address) || is_link_local(address);
            return if right { Scope::Nothing } else { Scope::Overlay };
        }
        // That of a node that gets it by DHCP or router advertisements is renewed all the time.
        let own = address.ip() == self.held.site.node.vtep && self.held.ways.own() == Some(dev);
        if there && own || vteps.binary_search(&address.ip()).is_err() {
            return Scope::Nothing;
        }
        Scope::Everything
    }

    fn our_route(&self, route: &OurRoute, there: bool) -> Scope {
        let Held { frame, entries, site, .. } = self.held;
        let (dev, route) = match route {
            OurRoute::Leads(dev, route) => (*dev, route),
            OurRoute::Ends(route) => {
                let right = there == frame.unreachable.contains(route);
                let ours = frame.unreachable.iter().any(|own| own.metric == route.metric);
                return if right || !ours { Scope::Nothing } else { Scope::Overlay };
            }
        };
        let key = key(route);
        let wanted = entries.routes.get(&key);
        let via = via(dev, route, self.held.index, &frame.addresses, &site.file().cluster_cidrs);
        match (via, wanted) {
            (None, None) => match self.on(dev) {
                On::Pod(name) => Scope::Pod(name),
                _ => Scope::Nothing,
            },
            // Another took its place: only what has the same key can.
            (via, wanted) => {
                let another = wanted.is_some_and(|(wanted, _)| Some(*wanted) != via);
                if !there && another {
                    return Scope::Nothing;
                }
                let now = via.map(|via| (via, route.clone())).filter(|_| there);
                Scope::Entry(Entry::Route(key, now))
            }
        }
    }

    /// Another program's route.
    fn route(&self, way: &Way, there: bool) -> Scope {
        const RT_TABLE_LOCAL: u32 = 255;
        let dst = way.dst;
        if way.table == RT_TABLE_LOCAL || is_link_local(dst) || dst.ip().is_multicast() {
            return Scope::Nothing;
        }
        if dst.prefix() == 0 || self.held.has_vtep_in(dst) {
            return Scope::Overlay;
        }
        let is_host = dst.prefix() == if dst.is_ipv4() { 32 } else { 128 };
        if self.is_in_clusters(dst) {
            // It may stand where a pod's, or a peer's, stood.
            return if is_host { Scope::Everything } else { Scope::Overlay };
        }
        let closed = |(dev, gateway): &(u32, bool)| match self.devices.get(*dev) {
            Some(device) if self.held.is_uplink(&device.link.dev.name) => false,
            Some(device) => *gateway || !(is_host && device.is_local_end()),
            None => true,
        };
        let opens = there && way.hops.iter().any(closed);
        if opens { Scope::Overlay } else { Scope::Nothing }
    }

    /// Whether it takes addresses of the network, all or some.
    fn is_in_clusters(&self, dst: IpNetwork) -> bool {
        let mut clusters = self.held.site.file().cluster_cidrs.iter();
        clusters.any(|cluster| cluster.contains(dst.network()) || dst.contains(cluster.network()))
    }
}

fn is_link_local(address: IpNetwork) -> bool {
    match address {
        IpNetwork::V4(_) => false,
        IpNetwork::V6(address) => address.ip().is_unicast_link_local(),
    }
}

#[cfg(test)]
#[path = "scope_tests.rs"]
mod tests;
