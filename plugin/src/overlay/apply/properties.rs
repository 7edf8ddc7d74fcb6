//! What holds of applying any range file to whatever stands: apply(diff(a, b), a) = b, a second
//! time nothing, and what a and b have in common is not touched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flatnet_conf::{Mac, Node, Range, RangeFile};
use ipnetwork::IpNetwork;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::firewall::Masquerade;
use crate::kernel::fake::{Fake, FakeLink};
use crate::kernel::{Change, FdbEntry, Kernel as _, LinkKind, Neighbour, Route};
use crate::overlay::apply;
use crate::overlay::desired::{self, Overlay};

const DEVICE: &str = "flat.7";
/// The index of the device on the underlay.
const UPLINK: u32 = 1;

/// A namespace in which nothing of ours stands.
fn namespace() -> Fake {
    let mut fake = Fake::default();
    assert_eq!(fake.add("under0", 1500, &[], LinkKind::Veth), UPLINK);
    fake
}

/// What the node and its peers may be, by their numbers; 1 is this node.
#[derive(Clone, Debug)]
struct Cluster {
    /// VTEPs are IPv6 addresses.
    v6_underlay: bool,
    /// The last part of this node's VTEP, which it may change.
    own_vtep: u8,
    port: u16,
    mtu: u32,
    name: String,
    masquerade: bool,
    /// The peers that are neighbours on the underlay, if that matters.
    direct: Option<BTreeSet<u8>>,
    /// This node's ranges, and each peer's by the last part of its VTEP.
    own: Vec<RangeNumber>,
    peers: BTreeMap<u8, Vec<RangeNumber>>,
}

/// Whether it is an IPv4 range, and which.
type RangeNumber = (bool, u8);

fn clusters() -> impl Strategy<Value = Cluster> {
    let ranges =
        |numbers: std::ops::Range<u8>| prop::collection::btree_set((any::<bool>(), numbers), 1..4);
    // Some of them may have been this node's, and the other way round.
    let peers = prop::collection::btree_map(10u8..16, ranges(0..16), 0..6);
    let device = (prop::bool::weighted(0.1), 1u8..3, 4789u16..4791, 1400u32..1403);
    let names = prop::sample::select(vec!["node-a", "node-b"]);
    let direct = prop::option::of(prop::collection::btree_set(10u8..16, 0..6));
    (device, names, any::<bool>(), direct, ranges(0..6), peers).prop_map(
        |((v6_underlay, own_vtep, port, mtu), name, masquerade, direct, own, peers)| {
            let mut taken: BTreeSet<_> = own.clone();
            let apart = peers.into_iter().map(|(vtep, mut ranges)| {
                // A range is one node's.
                ranges.retain(|range| taken.insert(*range));
                (vtep, ranges.into_iter().collect::<Vec<_>>())
            });
            let peers = apart.filter(|(_, ranges)| !ranges.is_empty()).collect();
            let own = own.into_iter().collect();
            let name = name.to_owned();
            Cluster { v6_underlay, own_vtep, port, mtu, name, masquerade, direct, own, peers }
        },
    )
}

impl Cluster {
    fn vtep(&self, last: u8) -> IpAddr {
        match self.v6_underlay {
            false => IpAddr::from([192, 0, 2, last]),
            true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
        }
    }

    fn neighbours(&self) -> impl Iterator<Item = &u8> {
        self.direct.iter().flatten()
    }

    fn file(&self) -> RangeFile {
        let node = |name: String, last: u8, ranges: &[RangeNumber]| Node {
            name,
            vtep: self.vtep(last),
            ranges: ranges.iter().map(range).collect(),
        };
        let own = node(self.name.clone(), self.own_vtep, &self.own);
        let peers = self.peers.iter().map(|(last, of)| node(format!("peer-{last}"), *last, of));
        let nodes = std::iter::once(own).chain(peers).collect();
        let file = RangeFile {
            vni: 7,
            port: self.port,
            cluster_cidrs: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()],
            direct_routing: self.neighbours().next().is_some(),
            nodes,
        };
        // As it would be read.
        RangeFile::parse("t.json".as_ref(), file.to_json().as_bytes()).unwrap()
    }

    fn want(&self) -> Overlay {
        let file = self.file();
        let adjacent: HashMap<IpAddr, u32> =
            self.neighbours().map(|last| (self.vtep(*last), UPLINK)).collect();
        desired::overlay("pods", &file, &file.nodes[0], self.mtu, &adjacent)
    }

    fn apply(&self, fake: &mut Fake) {
        let file = self.file();
        let masquerade = if self.masquerade { Masquerade::On } else { Masquerade::Off };
        let policy = desired::policy("pods", &file, &file.nodes[0], &BTreeSet::new(), masquerade);
        let found = fake.links.get(&self.want().link.name).map(|link| link.link.clone());
        apply::apply(fake, &self.want(), &policy, &[], apply::Seen { link: found, routes: None })
            .unwrap();
    }
}

fn range((v4, number): &RangeNumber) -> Range {
    let subnet = match v4 {
        true => IpNetwork::new(Ipv4Addr::new(10, *number, 0, 0).into(), 24),
        false => {
            IpNetwork::new(Ipv6Addr::new(0xfd00, (*number).into(), 0, 0, 0, 0, 0, 0).into(), 64)
        }
    };
    Range::new(subnet.unwrap(), None, None, Vec::new()).unwrap()
}

/// What another program did to the device, or to one of the objects on it.
#[derive(Clone, Debug)]
enum Drift {
    DeviceGone,
    Down,
    Gro,
    Learning,
    Mtu(u32),
    Mac(u8),
    NoAlias,
    RouteGone(Index),
    RouteElsewhere(Index, u8),
    StaleRoute(u8),
    NeighbourGone(Index),
    NeighbourWrong(Index, u8),
    StaleNeighbour(u8),
    FdbGone(Index),
    FdbElsewhere(Index, u8),
    StaleFdb(u8),
    AddressGone(Index),
    StaleAddress(u8),
    LinkLocal,
    NoRules,
}

fn drifts() -> impl Strategy<Value = Vec<Drift>> {
    let at = any::<Index>;
    // None of a peer's.
    let other = 200u8..204;
    let drift = prop_oneof![
        Just(Drift::DeviceGone),
        Just(Drift::Down),
        Just(Drift::Gro),
        Just(Drift::Learning),
        (1300u32..1303).prop_map(Drift::Mtu),
        other.clone().prop_map(Drift::Mac),
        Just(Drift::NoAlias),
        at().prop_map(Drift::RouteGone),
        (at(), other.clone()).prop_map(|(at, to)| Drift::RouteElsewhere(at, to)),
        other.clone().prop_map(Drift::StaleRoute),
        at().prop_map(Drift::NeighbourGone),
        (at(), other.clone()).prop_map(|(at, to)| Drift::NeighbourWrong(at, to)),
        other.clone().prop_map(Drift::StaleNeighbour),
        at().prop_map(Drift::FdbGone),
        (at(), other.clone()).prop_map(|(at, to)| Drift::FdbElsewhere(at, to)),
        other.clone().prop_map(Drift::StaleFdb),
        at().prop_map(Drift::AddressGone),
        other.prop_map(Drift::StaleAddress),
        Just(Drift::LinkLocal),
        Just(Drift::NoRules),
    ];
    prop::collection::vec(drift, 0..6)
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn ip(last: u8) -> IpAddr {
    [10, 200, 0, last].into()
}

fn drift(fake: &mut Fake, drift: Drift) {
    fn gone<T>(from: &mut Vec<T>, at: Index) {
        if !from.is_empty() {
            from.remove(at.index(from.len()));
        }
    }
    fn one<T>(of: &mut [T], at: Index) -> Option<&mut T> {
        let index = (!of.is_empty()).then(|| at.index(of.len()))?;
        of.get_mut(index)
    }
    match drift {
        Drift::DeviceGone => return drop(fake.delete_link(DEVICE)),
        Drift::NoRules => return fake.rules.clear(),
        Drift::AddressGone(at) => {
            if let Some(link) = fake.links.get(DEVICE).filter(|link| !link.addresses.is_empty()) {
                let address = *at.get(&link.addresses);
                let dev = link.link.dev.clone();
                fake.apply(&dev, &[Change::DelAddress(address)]).unwrap();
            }
            return;
        }
        _ => {}
    }
    let Some(FakeLink { link, addresses, routes, neighbours, fdb, gro, .. }) =
        fake.links.get_mut(DEVICE)
    else {
        return;
    };
    let mut entries: Vec<&mut Neighbour> = neighbours.values_mut().collect();
    match drift {
        Drift::DeviceGone | Drift::NoRules | Drift::AddressGone(_) => {}
        Drift::Down => link.up = false,
        Drift::Gro => *gro = true,
        Drift::Learning => {
            if let LinkKind::Vxlan(vxlan) = &mut link.kind {
                vxlan.learning = true;
            }
        }
        Drift::Mtu(mtu) => link.mtu = mtu,
        Drift::Mac(last) => link.mac = Some(mac(last)),
        Drift::NoAlias => link.alias = None,
        Drift::RouteGone(at) => gone(routes, at),
        Drift::RouteElsewhere(at, to) => {
            one(routes, at).into_iter().for_each(|route| route.gateway = Some(ip(to)));
        }
        Drift::StaleRoute(n) => {
            let route = Route {
                dst: IpNetwork::from(ip(n)),
                gateway: None,
                onlink: false,
                source: None,
                metric: Some(n.into()),
            };
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
        Drift::NeighbourGone(at) => {
            let address = one(&mut entries, at).map(|entry| entry.address);
            address.map(|address| neighbours.remove(&address));
        }
        Drift::NeighbourWrong(at, to) => {
            one(&mut entries, at).into_iter().for_each(|entry| entry.mac = mac(to));
        }
        Drift::StaleNeighbour(n) => {
            neighbours.insert(ip(n), Neighbour { address: ip(n), mac: mac(n) });
        }
        Drift::FdbGone(at) => gone(fdb, at),
        Drift::FdbElsewhere(at, to) => {
            one(fdb, at).into_iter().for_each(|entry| entry.vtep = ip(to));
        }
        Drift::StaleFdb(n) => {
            let entry = FdbEntry { mac: mac(n), vtep: ip(n) };
            if !fdb.contains(&entry) {
                fdb.push(entry);
            }
        }
        Drift::StaleAddress(n) => {
            if !addresses.contains(&ip(n).into()) {
                addresses.push(ip(n).into());
            }
        }
        // The kernel's own.
        Drift::LinkLocal => {
            let address = "fe80::1/64".parse().unwrap();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
}

/// What stands, without what has no order and what is the kernel's to choose.
fn standing(fake: &Fake) -> Fake {
    let mut fake = fake.clone();
    fake.log.clear();
    let link = fake.links.get_mut(DEVICE).unwrap();
    link.link.dev.index = 0;
    let kernels_own: IpNetwork = "fe80::1/64".parse().unwrap();
    link.addresses.retain(|address| *address != kernels_own);
    link.addresses.sort();
    link.fdb.sort_by_key(|entry| (entry.mac.0, entry.vtep));
    fake.links.values_mut().for_each(|link| link.routes.sort());
    fake.unreachable.sort();
    fake
}

/// The same in a namespace where nothing stood.
fn fresh(cluster: &Cluster) -> Fake {
    let mut fake = namespace();
    cluster.apply(&mut fake);
    standing(&fake)
}

fn assert_stands(fake: &Fake, cluster: &Cluster) -> Result<(), TestCaseError> {
    let (have, want) = (standing(fake), fresh(cluster));
    prop_assert_eq!(&have.links, &want.links);
    prop_assert_eq!(&have.rules, &want.rules);
    prop_assert_eq!(&have.unreachable, &want.unreachable);
    Ok(())
}

/// Each object of the overlay as commands name it, whatever they do to it.
fn named(fake: &Fake) -> BTreeSet<String> {
    let FakeLink { addresses, routes, neighbours, fdb, .. } = &fake.links[DEVICE];
    let mut removals: Vec<Change> = addresses.iter().copied().map(Change::DelAddress).collect();
    removals.extend(routes.iter().cloned().map(Change::DelRoute));
    removals.extend(fdb.iter().cloned().map(Change::DelFdb));
    let object = |removal: &Change| {
        let command = removal.command(DEVICE);
        command.split_once(" delete ").unwrap().1.to_owned()
    };
    let mut names: BTreeSet<String> = removals.iter().map(object).collect();
    names
        .extend(neighbours.values().map(|entry| format!("{} lladdr {}", entry.address, entry.mac)));
    names
}

proptest! {
    #[test]
    fn what_two_range_files_have_in_common_is_not_touched(
        before in clusters(), after in clusters(),
    ) {
        let mut fake = namespace();
        before.apply(&mut fake);
        let names = named(&fake);
        fake.log.clear();
        after.apply(&mut fake);
        let made_anew = fake.log.iter().any(|command| command.starts_with("ip link add"));
        prop_assert_eq!(made_anew, before.want().link.vxlan != after.want().link.vxlan);
        if !made_anew {
            for name in names.intersection(&named(&fake)) {
                let touched = fake.log.iter().find(|command| command.contains(name.as_str()));
                prop_assert_eq!(touched, None, "{}", name);
            }
        }
    }

    #[test]
    fn whatever_stands_becomes_what_is_wanted(
        before in clusters(), drifted in drifts(), after in prop::option::of(clusters()),
    ) {
        // Drift shows best where nothing else changes.
        let after = after.unwrap_or_else(|| before.clone());
        let mut fake = namespace();
        before.apply(&mut fake);
        assert_stands(&fake, &before)?;
        drifted.into_iter().for_each(|what| drift(&mut fake, what));
        after.apply(&mut fake);
        assert_stands(&fake, &after)?;
        // diff(b, b) is empty.
        let done = fake.clone();
        after.apply(&mut fake);
        prop_assert_eq!(fake, done);
    }
}
