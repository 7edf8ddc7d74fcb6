//! Entries for peers that are not as they should be, as events have told; and what makes them so.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::net::IpAddr;

use flatnet_conf::Mac;

use super::held::{Entries, Held};
use crate::kernel::{Dev, FdbEntry, Neighbour, Route};
use crate::overlay::desired::{Overlay, Via};
use crate::overlay::reconcile::{Observed, RouteKey, Step, plan_objects};

/// By what an entry is told apart, and what stands there now; nothing if that is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A route.
    Route(RouteKey, Option<(Via, Route)>),
    /// A neighbour entry.
    Neighbour(IpAddr, Option<Neighbour>),
    /// An entry of the forwarding database.
    Fdb(Mac, Option<FdbEntry>),
}

/// The last that was heard of each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Drift {
    routes: BTreeMap<RouteKey, Option<(Via, Route)>>,
    neighbours: BTreeMap<IpAddr, Option<Neighbour>>,
    fdb: BTreeMap<[u8; 6], Option<FdbEntry>>,
}

impl Drift {
    /// Takes in what stands now, and forgets what has become right.
    pub fn add(&mut self, wanted: &Entries, entry: Entry) {
        match entry {
            Entry::Route(key, now) => {
                let right = now.as_ref() == wanted.routes.get(&key);
                put(self.routes.entry(key), now, right);
            }
            Entry::Neighbour(address, now) => {
                let mac = now.as_ref().map(|entry| &entry.mac);
                let right = mac == wanted.neighbours.get(&address);
                put(self.neighbours.entry(address), now, right);
            }
            Entry::Fdb(mac, now) => {
                let vtep = now.as_ref().map(|entry| &entry.vtep);
                let right = vtep == wanted.fdb.get(&mac);
                put(self.fdb.entry(mac.0), now, right);
            }
        }
    }

    /// Whether all is right.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.neighbours.is_empty() && self.fdb.is_empty()
    }

    /// The changes that make of these what should stand.
    pub fn plan(&self, held: &Held) -> Vec<Step> {
        let Held { frame, entries, index, .. } = held;
        let mut want = frame.clone();
        let mut have = whole(frame, *index);
        for (key, now) in &self.routes {
            want.routes.extend(entries.routes.get(key).cloned());
            have.routes.extend(now.clone());
        }
        for (address, now) in &self.neighbours {
            let wanted = entries.neighbours.get(address);
            want.neighbours.extend(wanted.map(|mac| Neighbour { address: *address, mac: *mac }));
            have.neighbours.extend(now.clone());
        }
        for (mac, now) in &self.fdb {
            let mac = Mac(*mac);
            want.fdb.extend(entries.fdb.get(&mac).map(|vtep| FdbEntry { mac, vtep: *vtep }));
            have.fdb.extend(now.clone());
        }
        plan_objects(&want, &have)
    }
}

fn put<K: Ord, T>(place: Place<'_, K, T>, now: T, right: bool) {
    match place {
        Place::Occupied(place) if right => drop(place.remove()),
        Place::Occupied(mut place) => drop(place.insert(now)),
        Place::Vacant(place) if !right => drop(place.insert(now)),
        Place::Vacant(_) => {}
    }
}

/// The overlay's device as it should be, with no entry for a peer.
pub fn whole(frame: &Overlay, index: u32) -> Observed {
    let dev = Dev { index, name: frame.link.name.clone() };
    let mut have = Observed::bare(frame, dev);
    have.link.up = true;
    have.link.alias = Some(frame.alias.clone());
    have.forwards = true;
    have.addresses = frame.addresses.clone();
    have.unreachable = frame.unreachable.clone();
    have
}
