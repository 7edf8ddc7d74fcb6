//! The network between the nodes, as this one sees it: looked at once for all who need it.
//!
//! Ways are asked for as the kernel will ask for those of the outer packets: from this node's VTEP,
//! by UDP to the overlay's port, and where the VTEP is in a VRF, there. A rule may send these
//! elsewhere than what else goes to a peer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use flatnet_conf::{Node, RangeFile};
use ipnetwork::IpNetwork;

use crate::error::Error;
use crate::kernel::{Dev, Flow, Observe, OurRoutes, Path, Ways};
use crate::overlay::outlets;

/// How many peers are asked about of those that are routed alike: among equal-cost nexthops the
/// kernel chooses by a hash of the address.
const ASKED: usize = 16;

/// The ways to the peers.
#[derive(Debug)]
pub struct Underlay {
    /// VTEPs and the way there, at least one for each way; `None` where there is no route now.
    pub peers: Vec<(IpAddr, Option<Path>)>,
    /// Where this node's end is.
    pub place: Place,
    /// The routes of ours of the VTEPs' family.
    pub ours: OurRoutes,
    /// Names of the devices by which packets of the VTEPs' family leave the machine.
    pub outlets: BTreeSet<String>,
    devices: BTreeSet<String>,
}

/// Where a node's VTEP is.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Index of the device that has it, if any has.
    pub own: Option<u32>,
    /// The VRF that this device is in.
    pub vrf: Option<Dev>,
    /// How the kernel chooses the way of outer packets.
    pub flow: Flow,
}

impl Place {
    /// Of some ways those with no router between, and the uplink of each; none in a VRF: its routes are
    /// not those of the pods.
    pub fn adjacent(
        &self,
        ways: impl Iterator<Item = (IpAddr, Option<Path>)>,
    ) -> HashMap<IpAddr, u32> {
        let paths = ways.filter_map(|(vtep, path)| Some((vtep, path?)));
        let paths = paths.filter(|(_, path)| path.on_link && self.vrf.is_none());
        paths.map(|(vtep, path)| (vtep, path.dev)).collect()
    }

    /// Looks for the VTEP of a node.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn look(kernel: &mut dyn Observe, file: &RangeFile, node: &Node) -> Result<Self, Error> {
        let addresses = kernel.addresses()?;
        let own = addresses.iter().find(|(_, address)| address.ip() == node.vtep);
        let own = own.map(|(dev, _)| *dev);
        let link = own.map(|own| kernel.link_by_index(own)).transpose()?.flatten();
        let vrf = link.map(|link| outlets::vrf_of(kernel, &link)).transpose()?.flatten();
        let vrf = vrf.map(|vrf| vrf.dev);
        let flow = Flow {
            // There is no way from an address that is nowhere.
            source: own.map(|_| node.vtep),
            port: Some(file.port),
            vrf: vrf.as_ref().map(|vrf| vrf.index),
        };
        Ok(Self { own, vrf, flow })
    }
}

impl Underlay {
    /// Looks up the ways to the peers of `node`. Ten thousand lookups would take longer than all
    /// the rest, and most peers are reached by the same few routes.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn look(kernel: &mut dyn Observe, file: &RangeFile, node: &Node) -> Result<Self, Error> {
        let others = file.nodes.iter().filter(|peer| peer.name != node.name);
        let mut vteps: Vec<IpAddr> = others.map(|peer| peer.vtep).collect();
        vteps.sort_unstable();
        let (ways, ours) = kernel.ways_and_ours(node.vtep.is_ipv4())?;
        let place = Place::look(kernel, file, node)?;
        let asked: Vec<IpAddr> = match file.direct_routing {
            // Each peer's own way matters.
            true => vteps.clone(),
            false => routed_alike(&vteps, distinctions(&ways))
                .flat_map(|alike| alike.iter().take(ASKED))
                .copied()
                .collect(),
        };
        let paths = kernel.paths(&asked, &place.flow)?;
        let outlets = outlets::look(kernel, &ways)?;

        // Whoever may say where a peer is names no bridge of containers so.
        let leads_out = |dev: &u32| place.vrf.is_some() || outlets.contains_key(dev);
        let used = paths.iter().flatten().map(|path| path.dev).filter(leads_out);
        let used: BTreeSet<u32> = used.chain(place.own).chain(place.flow.vrf).collect();
        let mut devices = BTreeSet::new();
        for index in &used {
            let name = match outlets.get(index) {
                Some(link) => Some(link.dev.name.clone()),
                None => kernel.link_by_index(*index)?.map(|link| link.dev.name),
            };
            devices.extend(name.filter(|name| name != "lo"));
        }
        let peers: Vec<_> = asked.into_iter().zip(paths).collect();
        // In a VRF all come in by that.
        if place.vrf.is_none() {
            let beside = beside(&ways, &peers).into_iter();
            devices.extend(beside.filter_map(|dev| Some(outlets.get(&dev)?.dev.name.clone())));
        }
        Ok(Self {
            peers,
            place,
            ours,
            outlets: outlets.into_values().map(|link| link.dev.name).collect(),
            devices,
        })
    }

    /// The names of the devices by which outer packets of any peer may come in, as the packet filter sees
    /// them: those by which packets to the peers leave the machine, or would by another route of the same
    /// kind, the one with the VTEP, and its VRF. By a device toward containers or virtual machines of this
    /// machine, one of which is a node, it may be that one only.
    pub fn devices(&self) -> &BTreeSet<String> {
        &self.devices
    }

    /// The peers that no router stands before, and the index of the uplink to each; all of them where
    /// the range file asks for direct routing. None in a VRF: its routes are not those of the pods.
    pub fn adjacent(&self) -> HashMap<IpAddr, u32> {
        self.place.adjacent(self.peers.iter().copied())
    }
}

/// The devices of the routes beside the one that packets to a peer take: to the same destination in
/// the same table, spare ones and those of equal cost, by which the peer's packets may come in.
///
/// Not of a wider route: a VPN may have one to a whole company, or two that together are a default
/// route, and who is behind it is no node. Nor of a default route itself: where the VTEPs are on a
/// network of their own, the device toward the Internet would be heard. Nor of one that a router
/// advertisement has brought, which anybody on that link may have sent.
fn beside(ways: &Ways, peers: &[(IpAddr, Option<Path>)]) -> BTreeSet<u32> {
    let vteps: Vec<IpAddr> = peers.iter().map(|(vtep, _)| *vtep).collect();
    // By table, length and destination; few routes of a large table lead to a peer.
    let mut tables: BTreeMap<u32, BTreeMap<u8, HashMap<IpAddr, BTreeSet<u32>>>> = BTreeMap::new();
    for way in &ways.routes {
        let narrow = way.dst.prefix() > 0 && ways.tables.contains(&way.table);
        if narrow && !within(&vteps, way.dst).is_empty() {
            let lengths = tables.entry(way.table).or_default();
            let routes = lengths.entry(way.dst.prefix()).or_default();
            let devices = routes.entry(way.dst.network()).or_default();
            devices.extend(way.hops.iter().map(|(dev, _)| *dev).filter(|_| !way.advertised));
        }
    }
    let mut beside = BTreeSet::new();
    for (vtep, path) in peers {
        let Some(path) = path else { continue };
        for lengths in tables.values() {
            let narrowest = lengths.iter().rev().find_map(|(length, routes)| {
                routes.get(&IpNetwork::new(*vtep, *length).ok()?.network())
            });
            // Where packets leave by another device, another table decides.
            beside.extend(
                narrowest.filter(|devices| devices.contains(&path.dev)).into_iter().flatten(),
            );
        }
    }
    beside
}

/// Every prefix by which rules, or routes of any table, tell destinations apart: two addresses that
/// are in the same ones of these are sent the same way (but for equal-cost nexthops).
fn distinctions(ways: &Ways) -> impl Iterator<Item = IpNetwork> {
    ways.rules.iter().copied().chain(ways.routes.iter().map(|way| way.dst))
}

/// Those of sorted addresses that are in a network.
fn within(addresses: &[IpAddr], network: IpNetwork) -> &[IpAddr] {
    let (first, end) = bounds(addresses, network);
    &addresses[first..end]
}

fn bounds(addresses: &[IpAddr], network: IpNetwork) -> (usize, usize) {
    let first = addresses.partition_point(|address| *address < network.network());
    let end = addresses.partition_point(|address| *address <= network.broadcast());
    // Those of the other family are all before or all after.
    (first, end.max(first))
}

/// Divides sorted addresses into runs, none of which any of the networks tells apart.
fn routed_alike(
    addresses: &[IpAddr],
    networks: impl Iterator<Item = IpNetwork>,
) -> impl Iterator<Item = &[IpAddr]> {
    let mut cuts = vec![0, addresses.len()];
    for network in networks {
        let (first, end) = bounds(addresses, network);
        // Most networks hold no VTEP: a pod's, or a peer's range.
        if first < end {
            cuts.extend([first, end]);
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    let runs: Vec<_> = cuts.windows(2).map(|ends| &addresses[ends[0]..ends[1]]).collect();
    runs.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Way;

    /// The devices beside, to one peer whose packets leave by device 1: of routes, each with its table and
    /// device. Rules lead to the tables 52 and 254.
    fn found(vtep: &str, routes: &[(&str, u32, u32)]) -> Vec<u32> {
        let way = |(dst, table, dev): &(&str, u32, u32)| Way {
            dst: dst.parse().unwrap(),
            table: *table,
            hops: vec![(*dev, true)],
            advertised: false,
        };
        let routes = routes.iter().map(way).collect();
        let ways = Ways { rules: Vec::new(), routes, tables: [52, 254].into() };
        let path = Path { dev: 1, mtu: None, on_link: false };
        let peers = [(vtep.parse().unwrap(), Some(path))];
        beside(&ways, &peers).into_iter().collect()
    }

    #[test]
    fn routes_of_the_same_kind_are_beside() {
        for (vtep, all, wide, narrow, host, halves) in [
            (
                "10.1.2.3",
                "0.0.0.0/0",
                "10.0.0.0/8",
                "10.1.2.0/24",
                "10.1.2.3/32",
                ["0.0.0.0/1", "128.0.0.0/1"],
            ),
            ("fd00:1::3", "::/0", "fd00::/8", "fd00:1::/64", "fd00:1::3/128", ["::/1", "8000::/1"]),
        ] {
            for (why, routes, expected) in [
                ("spare", &[(narrow, 254, 1), (narrow, 254, 2)][..], &[1, 2][..]),
                ("to one of them", &[(host, 254, 1), (host, 254, 2), (narrow, 254, 3)], &[1, 2]),
                ("a wider one", &[(narrow, 254, 1), (wide, 254, 2)], &[1]),
                (
                    "a default in two parts",
                    &[(narrow, 254, 1), (halves[0], 254, 2), (halves[1], 254, 2)],
                    &[1],
                ),
                ("a spare default", &[(all, 254, 1), (all, 254, 2)], &[]),
                ("another table's", &[(narrow, 52, 1), (narrow, 52, 2), (narrow, 254, 3)], &[1, 2]),
                (
                    "a table with a default for them",
                    &[(all, 52, 1), (halves[0], 254, 2), (halves[1], 254, 2)],
                    &[],
                ),
                ("a table that no rule leads to", &[(narrow, 53, 1), (narrow, 53, 2)], &[]),
                (
                    "not to the peer",
                    &[(narrow, 254, 1), ("198.51.100.0/24", 254, 2), ("2001:db8::/32", 254, 2)],
                    &[1],
                ),
            ] {
                assert_eq!(found(vtep, routes), expected, "{vtep}: {why}");
            }
        }
    }

    #[test]
    fn what_a_router_advertisement_says_is_not_beside() {
        let hop = |dev| vec![(dev, false)];
        let dst: IpNetwork = "fd00:1::/64".parse().unwrap();
        let own = Way { dst, table: 254, hops: hop(1), advertised: false };
        let ways = |advertised| {
            let other = Way { hops: hop(2), advertised, ..own.clone() };
            let wider = Way {
                dst: "fd00::/8".parse().unwrap(),
                hops: [hop(1), hop(3)].concat(),
                ..own.clone()
            };
            let routes = vec![own.clone(), other, wider];
            Ways { rules: Vec::new(), routes, tables: [254].into() }
        };
        let path = Path { dev: 1, mtu: None, on_link: true };
        let peers = [("fd00:1::3".parse().unwrap(), Some(path))];
        assert_eq!(beside(&ways(true), &peers), [1].into());
        assert_eq!(beside(&ways(false), &peers), [1, 2].into());
        assert_eq!(beside(&ways(false), &[(peers[0].0, None)]), [].into(), "there is no way");
    }

    fn divided(addresses: &[&str], networks: &[&str]) -> Vec<String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let networks: Vec<_> = networks.iter().map(|text| text.parse().unwrap()).collect();
        let text = |run: &[IpAddr]| run.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
        routed_alike(&addresses, networks.iter().copied()).map(text).collect()
    }

    #[test]
    fn what_a_network_tells_apart_is_divided() {
        let all = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.2.1"];
        assert_eq!(divided(&all, &[]), ["10.0.0.1 10.0.0.2 10.0.1.1 10.0.2.1"]);
        assert_eq!(divided(&all, &["0.0.0.0/0", "10.9.0.0/16"]).len(), 1, "all in it, or none");
        assert_eq!(divided(&all, &["10.0.0.0/24"]), ["10.0.0.1 10.0.0.2", "10.0.1.1 10.0.2.1"]);
        assert_eq!(
            divided(&all, &["10.0.1.0/24", "10.0.0.0/23", "10.0.1.1/32"]),
            ["10.0.0.1 10.0.0.2", "10.0.1.1", "10.0.2.1"]
        );
        assert_eq!(
            divided(&["fd00::1", "fd00::2"], &["::/0", "fd00::2/128", "0.0.0.0/0"]).len(),
            2
        );
    }

    #[test]
    fn no_peers_make_no_runs() {
        assert_eq!(divided(&[], &["0.0.0.0/0"]), [""; 0]);
    }

    /// What the division promises: the same networks hold all of a run.
    #[test]
    fn one_of_a_run_stands_for_all() {
        let addresses: Vec<IpAddr> = (0..=255).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let networks: Vec<IpNetwork> =
            [(0, 25), (128, 26), (130, 31), (64, 28), (70, 32), (192, 32)]
                .map(|(n, length)| IpNetwork::new([10, 0, 0, n].into(), length).unwrap())
                .to_vec();
        let mut seen = 0;
        for run in routed_alike(&addresses, networks.iter().copied()) {
            let holders =
                |of: &IpAddr| networks.iter().map(|n| n.contains(*of)).collect::<Vec<_>>();
            assert!(run.iter().all(|address| holders(address) == holders(&run[0])), "{run:?}");
            seen += run.len();
        }
        assert_eq!(seen, addresses.len());
    }
}
