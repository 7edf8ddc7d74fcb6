//! The network between the nodes, as this one sees it: looked at once for all who need it.
//!
//! Ways are asked for as the kernel will ask for those of the outer packets: from this node's VTEP,
//! by UDP to the overlay's port, and where the VTEP is in a VRF, there. A rule may send these
//! elsewhere than what else goes to a peer.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use flatnet_conf::{Node, RangeFile};
use ipnetwork::IpNetwork;

use crate::error::Error;
use crate::kernel::{Dev, Flow, Observe, OurRoutes, Path, Way, Ways};
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

        let used = paths.iter().flatten().map(|path| path.dev).chain(place.own);
        let used: BTreeSet<u32> = used.chain(place.flow.vrf).collect();
        let mut devices = BTreeSet::new();
        for index in &used {
            let name = match outlets.get(index) {
                Some(link) => Some(link.dev.name.clone()),
                None => kernel.link_by_index(*index)?.map(|link| link.dev.name),
            };
            devices.extend(name.filter(|name| name != "lo"));
        }
        // In a VRF all come in by that.
        let spare = toward(&ways, &vteps).filter(|_| place.vrf.is_none());
        devices.extend(spare.filter_map(|dev| Some(outlets.get(&dev)?.dev.name.clone())));
        Ok(Self {
            peers: asked.into_iter().zip(paths).collect(),
            place,
            ours,
            outlets: outlets.into_values().map(|link| link.dev.name).collect(),
            devices,
        })
    }

    /// The names of the devices by which outer packets of peers may come in, as the packet filter sees
    /// them: those toward the peers, by whatever route but a spare default, the one with the VTEP, and
    /// its VRF.
    pub fn devices(&self) -> &BTreeSet<String> {
        &self.devices
    }

    /// The peers that no router stands before, and the index of the uplink to each; all of them where
    /// the range file asks for direct routing. None in a VRF: its routes are not those of the pods.
    pub fn adjacent(&self) -> HashMap<IpAddr, u32> {
        self.place.adjacent(self.peers.iter().copied())
    }
}

/// The devices of all routes that lead to one of these sorted addresses. Not of a default route: where the
/// VTEPs are on a network of their own, the device toward the Internet would be heard.
fn toward<'a>(ways: &'a Ways, vteps: &'a [IpAddr]) -> impl Iterator<Item = u32> + 'a {
    let leads = |way: &&Way| {
        let narrow = way.dst.prefix() > 0 && ways.tables.contains(&way.table);
        narrow && !within(vteps, way.dst).is_empty()
    };
    ways.routes.iter().filter(leads).flat_map(|way| &way.hops).map(|(dev, _)| *dev)
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
