//! What a network was last made, remembered: an event is compared with this and not with the kernel.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use flatnet_conf::Mac;
use ipnetwork::IpNetwork;

use crate::kernel::{FdbEntry, Neighbour, Route};
use crate::overlay::desired::{Overlay, Via};
use crate::overlay::reconcile::{Observed, RouteKey, key};
use crate::overlay::site::{Site, Standing};
use crate::overlay::ways::Ways;

/// A network as it stands on this node.
pub struct Held {
    /// The node, and its range file.
    pub site: Site,
    /// The underlay.
    pub ways: Ways,
    /// What the stamp tells of it.
    pub standing: Standing,
    /// Index of the overlay's device.
    pub index: u32,
    /// What should stand, without the entries for peers.
    pub frame: Overlay,
    /// The entries for peers.
    pub entries: Entries,
    /// The VTEPs of all nodes, sorted.
    pub vteps: Vec<IpAddr>,
}

/// What should stand for peers, by what the kernel tells such entries apart by.
#[derive(Debug, Default)]
pub struct Entries {
    /// Routes.
    pub routes: HashMap<RouteKey, (Via, Route)>,
    /// Neighbour entries.
    pub neighbours: HashMap<IpAddr, Mac>,
    /// The forwarding database.
    pub fdb: HashMap<Mac, IpAddr>,
}

impl Held {
    /// What stands after the overlay was brought about.
    pub fn new(site: Site, ways: Ways, index: u32, standing: Standing, overlay: Overlay) -> Self {
        let (frame, entries) = Entries::of(overlay);
        let vteps = sorted_vteps(&site);
        Self { site, ways, standing, index, frame, entries, vteps }
    }

    /// The devices by which packets leave the machine, or those of peers come in, by name.
    pub fn uplinks(&self) -> impl Iterator<Item = &BTreeSet<String>> {
        self.ways.uplinks().into_iter()
    }

    /// Whether a device of this name is one of them.
    pub fn is_uplink(&self, name: &str) -> bool {
        self.uplinks().any(|names| names.contains(name))
    }

    /// Whether a VTEP is in a network.
    pub fn has_vtep_in(&self, network: IpNetwork) -> bool {
        let next = self.vteps.partition_point(|vtep| *vtep < network.network());
        self.vteps.get(next).is_some_and(|vtep| network.contains(*vtep))
    }
}

/// The VTEPs of a range file, sorted.
pub fn sorted_vteps(site: &Site) -> Vec<IpAddr> {
    let mut vteps: Vec<_> = site.file().nodes.iter().map(|node| node.vtep).collect();
    vteps.sort_unstable();
    vteps
}

impl Entries {
    /// Takes the entries out of an overlay.
    pub fn of(overlay: Overlay) -> (Overlay, Self) {
        let Overlay { routes, neighbours, fdb, .. } = overlay;
        let mut entries = Self::default();
        entries.extend(&routes, &neighbours, &fdb);
        let (routes, neighbours, fdb) = Default::default();
        (Overlay { routes, neighbours, fdb, ..overlay }, entries)
    }

    /// Adds entries.
    pub fn extend(&mut self, routes: &[(Via, Route)], near: &[Neighbour], fdb: &[FdbEntry]) {
        self.routes.extend(routes.iter().map(|entry| (key(&entry.1), entry.clone())));
        self.neighbours.extend(near.iter().map(|entry| (entry.address, entry.mac)));
        self.fdb.extend(fdb.iter().map(|entry| (entry.mac, entry.vtep)));
    }

    /// Forgets those that stood.
    pub fn forget(&mut self, gone: &Observed) {
        for (_, route) in &gone.routes {
            self.routes.remove(&key(route));
        }
        for entry in &gone.neighbours {
            self.neighbours.remove(&entry.address);
        }
        for entry in &gone.fdb {
            self.fdb.remove(&entry.mac);
        }
    }
}
